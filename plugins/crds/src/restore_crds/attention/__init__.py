"""Neighborhood attention, with guidance by optical flow."""

from restore_crds.attention.guidance import guided_attention, shifted_window_attention
from restore_crds.attention.neighborhood import Backend, neighborhood_attention

__all__ = ["Backend", "guided_attention", "neighborhood_attention", "shifted_window_attention"]
