"""What this plugin registers."""

from __future__ import annotations

from restore import Component, hookimpl


@hookimpl
def restore_degradations() -> list[Component]:
    """Combing."""
    return [Component("weave", "restore_fields.weave:Weave", "every other row is that of the frame before")]


@hookimpl
def restore_losses() -> list[Component]:
    """A robust loss."""
    return [Component("lorentzian", "restore_fields.lorentzian:Lorentzian", "log(1 + (d/scale)^2 / 2)")]
