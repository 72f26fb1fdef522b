"""What this plugin registers. Imports nothing heavy."""

from __future__ import annotations

from restore import Component, hookimpl

_PAPER = "Xia et al., Structured Sparsity Learning for Efficient Video Super-Resolution (SSL), CVPR 2023"
_BASICVSR = "Chan et al., BasicVSR: The Search for Essential Components in Video Super-Resolution, CVPR 2021"
_WEIGHTS = {n: f"restore_ssl_prune:weights/{n}.safetensors" for n in ("basicvsr-small", "basicvsr-small-ssl")}


@hookimpl
def restore_models() -> list[Component]:
    """The host networks."""
    here = "restore_ssl_prune.basicvsr"
    return [
        Component("basicvsr", f"{here}:BasicVSR", "RGB video super-resolution x4, recurrent both ways", _BASICVSR),
        Component("basicvsr-uni", f"{here}:uni", "the same, forward in time only", _PAPER),
        Component("basicvsr-small", f"{here}:small", "the same for two CPU cores", _BASICVSR, weights=_WEIGHTS),
        Component("basicvsr-tiny", f"{here}:tiny", "the same for tests"),
    ]


@hookimpl
def restore_pruners() -> list[Component]:
    """SSL and what it is compared with."""
    here = "restore_ssl_prune.pruning"
    assl = "Zhang et al., Aligned Structured Sparsity Learning for Efficient Image Super-Resolution, NeurIPS 2021"
    return [
        Component("ssl", f"{here}:SSL", "half of all channels, by a rising penalty on their factors", _PAPER),
        Component("assl", f"{here}:ASSL", "the same with skips narrowed alike all along", assl),
        Component("l1-norm", f"{here}:l1_norm", "the smallest filters at once, skips narrowed, no penalty", _PAPER),
    ]


@hookimpl
def restore_metrics() -> list[Component]:
    """What Vimeo-90K is scored by."""
    return [Component("middle-frame", "restore_ssl_prune.metrics:MiddleFrame", "PSNR or SSIM of a septuplet's middle")]


@hookimpl
def restore_losses() -> list[Component]:
    """What looks at hidden states and flows."""
    here = "restore_ssl_prune.losses"
    return [
        Component(
            "temporal", f"{here}:TemporalLoss", "hidden states near an unpruned network's (reconstructed)", _PAPER
        ),
        Component("photometric", f"{here}:Photometric", "brightness constancy of the flow that aligns frames"),
    ]


_RECIPES = {
    "run": "video super-resolution x4 with the pruned network",
    "basicvsr": "BasicVSR x4 at the paper's settings",
    "basicvsr-small": "BasicVSR x4 for one CPU core, from scratch",
    "basicvsr-gated": "BasicVSR x4 trained with its gates, at the paper's settings",
    "basicvsr-ssl": "BasicVSR x4 pruned by half with temporal finetuning, at the paper's settings",
    "basicvsr-small-ssl": "the same for two CPU cores, from the small network",
    "basicvsr-small-eco": "the same, finetuned with ECO by the same frozen network",
    "srsenet-x2": "SrSENet x2 pruned by half, at SSL's settings",
    "srsenet-x2-small": "the SrSENet x2 that ships pruned to half of its multiplications, for two CPU cores",
    "edsr-baseline-x2": "EDSR-baseline x2 pruned by half, at SSL's settings",
    "edsr-baseline-x2-small": "the same for two CPU cores",
    "rcan-x2": "RCAN x2 pruned by half, at SSL's settings",
    "crds-small": "CRDS for two CPU cores, trunks, encoder and decoder pruned by half",
}


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes; see this package's README for which does what."""
    return [Component(name, f"restore_ssl_prune:recipes/{name}.toml", what, _PAPER) for name, what in _RECIPES.items()]
