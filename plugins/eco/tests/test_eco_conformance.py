"""Every component keeps the contract of its kind."""

from __future__ import annotations

from restore.testing import Example, conformance_tests

_BASE = {"use": "core:bicubic", "scale": 2}
_PAIR = {"base": _BASE, "teacher": {"use": "core:bicubic", "scale": 2}}
_NOISY = {"base": {"use": "core:gaussian-noise", "sigma": [0.01, 0.1]}, "teacher": {"use": "core:identity"}}
_TINY = {
    "edsr-baseline": {"blocks": 2, "features": 8},
    "edsr": {"blocks": 2, "features": 8},
    "rcan": {"groups": 2, "blocks": 1, "features": 16, "reduction": 1},
    "swinir": {"features": 12, "depths": [2], "heads": 3, "window": 4},
}

test_conformance = conformance_tests(
    "eco",
    examples={
        **{f"eco:{name}": [{"scale": 2, **more}, {"scale": 3, **more}] for name, more in _TINY.items()},
        "eco:centroid": [
            {**_PAIR, "clean_weight": 0.5},
            {**_NOISY, "clean_weight": 0.5, "sample_pairs": True},
            {**_NOISY, "clean_weight": 0.5, "mode": "re-degrade"},
        ],
        "eco:noise-free": _PAIR,
        "eco:real-world": {**_PAIR, "clean_weight": 0.5},
        "eco:distill": _PAIR,
        "eco:residual": [_PAIR, {**_PAIR, "magnitude": False}],
        "eco:mixup": Example({"base": _BASE}, skip={"degradation.batch": "mixing samples is what it is for"}),
    },
)
