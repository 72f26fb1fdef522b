"""What this plugin registers. Imports nothing heavy."""

from __future__ import annotations

from restore import Component, hookimpl

_PAPER = "Lee & Heo, Noise-free Optimization in Early Training Steps for Image Super-Resolution, AAAI 2024"
_EDSR = "Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPRW 2017"
_RCAN = "Zhang et al., Image Super-Resolution Using Very Deep Residual Channel Attention Networks, ECCV 2018"
_SWINIR = "Liang et al., SwinIR: Image Restoration Using Swin Transformer, ICCVW 2021"
_MIXUP = "Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018"


@hookimpl
def restore_models() -> list[Component]:
    """The networks of the paper's tables."""
    here = "restore_eco.networks"
    return [
        Component(
            "edsr-baseline",
            f"{here}.edsr:edsr_baseline",
            "RGB super-resolution, 16 plain residual blocks of 64 channels",
            _EDSR,
            weights={"edsr-baseline-x2": "restore_eco:weights/edsr-baseline-x2.safetensors"},
        ),
        Component("edsr", f"{here}.edsr:EDSR", "the same with 32 blocks of 256 channels", _EDSR),
        Component("rcan", f"{here}.rcan:RCAN", "RGB super-resolution, 200 blocks with channel attention", _RCAN),
        Component("swinir", f"{here}.swinir:SwinIR", "RGB super-resolution by attention in windows, small", _SWINIR),
    ]


@hookimpl
def restore_degradations() -> list[Component]:
    """Training pairs with a teacher, and mixup."""
    here = "restore_eco.centroid"
    return [
        Component("centroid", f"{here}:Centroid", "ECO: from a teacher's answer to the clean clip, around any", _PAPER),
        Component("noise-free", f"{here}:noise_free", "a teacher's answer and what it degrades to", _PAPER),
        Component("real-world", f"{here}:real_world", "ECO with noise after blending", _PAPER),
        Component("distill", f"{here}:Distill", "a teacher's answer as target: knowledge distillation", _PAPER),
        Component("residual", f"{here}:Residual", "what a teacher misses as target", _PAPER),
        Component("mixup", "restore_eco.mixup:Mixup", "pairs blended with those of other samples", _MIXUP),
    ]


# Three twins each: ECO, knowledge distillation, plain training.
_TWINS = {
    "edsr-baseline-x2": "EDSR-baseline x2 at the paper's settings",
    "edsr-baseline-x2-small": "the same for two cores: 8 blocks of 32 channels",
    "srsenet-x2": "SrSENet x2 at its paper's settings",
    "srsenet-x2-small": "SrSENet x2 for two cores",
}
_KINDS = {"": "ECO", "-kd": "distillation", "-vanilla": "plain training"}
_RECIPES = {
    "run": "super-resolution of images and video, x2",
    **{name + suffix: f"{what}, {kind}" for name, what in _TWINS.items() for suffix, kind in _KINDS.items()},
    "edsr-x2": "EDSR x2 with ECO, Table 1",
    "edsr-x4": "EDSR x4 or x3 with ECO from the x2 weights, Table 1",
    "rcan-x2": "RCAN x2 with ECO, Table 1",
    "rcan-x4": "RCAN x4 with ECO from the x2 weights, Table 1",
    "swinir-x2": "SwinIR-small x2 with ECO, Table 2(a)",
    "real-world-x2": "EDSR-baseline x2 under noise with ECO, Table 2(c)",
    "edsr-baseline-x8": "EDSR-baseline x8 with ECO, Table 2(d)",
    "noise-regression": "a network that regresses what a teacher misses, Appendix B",
}


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes; see this package's README for which does what."""
    return [Component(name, f"restore_eco:recipes/{name}.toml", what, _PAPER) for name, what in _RECIPES.items()]
