"""CRDS and the auto-encoder that it is pre-trained as."""

from restore_crds.network.autoencoder import LatentAutoEncoder
from restore_crds.network.crds import CRDS
from restore_crds.network.presets import auto_encoder_small, auto_encoder_tiny, small, tiny

auto_encoder = LatentAutoEncoder

__all__ = ["CRDS", "LatentAutoEncoder", "auto_encoder", "auto_encoder_small", "auto_encoder_tiny", "small", "tiny"]
