"""What this plugin registers. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from restore import Component, hookimpl

_PAPER = "Sun et al., Compression-Realized Deep Structural Network for Video Quality Enhancement, 2024"

# Networks of crds:small that ship, by the names of their files.
_WEIGHTS = sorted(path.stem for path in (Path(__file__).parent / "weights").glob("*.safetensors"))


@hookimpl
def restore_models() -> list[Component]:
    """The network in three sizes, and the auto-encoder that it is pre-trained as."""
    sizes = (("", "as in the paper"), ("-small", "in the size of crds:small"), ("-tiny", "in the size of crds:tiny"))
    return [
        Component("crds", "restore_crds.network:CRDS", "better compressed video, 8.06 M parameters", _PAPER),
        Component(
            "small",
            "restore_crds.network:small",
            "the same for two processor cores",
            _PAPER,
            weights={name: f"restore_crds:weights/{name}.safetensors" for name in _WEIGHTS},
        ),
        Component("tiny", "restore_crds.network:tiny", "the same for tests", _PAPER),
        *(
            Component(
                f"ldr-ae{suffix}",
                f"restore_crds.network:auto_encoder{suffix.replace('-', '_')}",
                f"the latent degradation residual auto-encoder that CRDS is pre-trained as, {size}",
                _PAPER,
            )
            for suffix, size in sizes
        ),
    ]


@hookimpl
def restore_losses() -> list[Component]:
    """Those of the paper that the core lacks."""
    here = "restore_crds.losses"
    return [
        Component("staged", f"{here}:Staged", "L_I: each block's frame against a blend of both sides", _PAPER),
        Component("ldr", f"{here}:LatentDegradation", "the loss of the LDR-AE, weighted by level", _PAPER),
    ]


@hookimpl
def restore_degradations() -> list[Component]:
    """What the LDR-AE is trained on."""
    return [
        Component("levels", "restore_crds.degradations:Levels", "a spoilt clip and one that is spoilt less", _PAPER)
    ]


@hookimpl
def restore_datasets() -> list[Component]:
    """The paper's data."""
    here = "restore_crds.data"
    return [
        Component("mfqe", f"{here}:mfqe", "MFQE 2.0: raw videos and what HM made of them", "Guan et al., 2019"),
        Component("ldv", f"{here}:ldv", "LDV 2.0: videos and what HM made of them", "Yang et al., NTIRE 2022"),
        Component("level-pairs", f"{here}:LevelPairs", "pairs for the LDR-AE out of pairs", _PAPER),
    ]


_RECIPES = {
    "run": "compressed video made better",
    "ldr-ae": "pre-training of the auto-encoder at the paper's settings",
    "ldr-ae-small": "the same for two cores, for crds:small",
    "paper-mfqe": "training on MFQE 2.0 at the paper's settings",
    "paper-ldv": "training on LDV 2.0 at the paper's settings",
    "small-frames": "training for two cores, first leg, on frames that crds:pool made",
    "small": "training for two cores, on clips that crds:pool made",
    "small-strength": "how strongly what the others made corrects which frames, with all else frozen",
    "small-direct": "the same, clips coded as they are drawn",
    "pool": "what python -m restore_crds.pool codes for crds:small",
}


@hookimpl
def restore_recipes() -> list[Component]:
    """Recipes; see this package's README for which does what."""
    return [Component(name, f"restore_crds:recipes/{name}.toml", what, _PAPER) for name, what in _RECIPES.items()]
