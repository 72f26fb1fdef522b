"""Every component of the plugin keeps the contract, with other than its default parts too."""

from __future__ import annotations

from restore.testing import Example, conformance_tests

_SIZE = {
    "features": 8, "encoder_blocks": 1, "decoder_blocks": 1, "fusion_blocks": 1, "propagation_blocks": 1, "window": 3,
    "flow_levels": 2, "flow_widths": [8, 8],
}  # fmt: skip
# test_crds_training.py does these with pairs of crds:levels.
_SIX_CHANNELS = {f"loss.{name}": "takes pairs of crds:levels, of six channels" for name in
                 ("scalar", "gradient", "equality", "pure", "precision")}  # fmt: skip

test_conformance = conformance_tests(
    "crds",
    examples={
        "model crds:crds": [
            {**_SIZE, "references": 2, "blocks": 2, "bias": "none"},
            {**_SIZE, "alignment": "flow", "upsampling": "one-step"},
            {**_SIZE, "prediction": False, "blocks": 1},
        ],
        "loss crds:ldr": Example(skip=_SIX_CHANNELS),
        "model crds:ldr-ae": {"features": 8, "encoder_blocks": 1, "decoder_blocks": 1},
    },
)
