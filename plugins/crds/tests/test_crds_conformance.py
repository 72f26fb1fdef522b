"""Models keep their contract, with other than their default parts too; recipes and the package theirs."""

from __future__ import annotations

from restore.testing import conformance_tests

_SIZE = {
    "features": 8, "encoder_blocks": 1, "decoder_blocks": 1, "fusion_blocks": 1, "propagation_blocks": 1, "window": 3,
    "flow_levels": 2, "flow_widths": [8, 8],
}  # fmt: skip

test_conformance = conformance_tests(
    "crds:crds",
    "crds:small",
    "crds:tiny",
    "crds:ldr-ae",
    "crds:ldr-ae-small",
    "crds:ldr-ae-tiny",
    examples={
        "model crds:crds": [
            {**_SIZE, "references": 2, "blocks": 2, "bias": "none"},
            {**_SIZE, "alignment": "flow", "upsampling": "one-step"},
            {**_SIZE, "prediction": False, "blocks": 1},
        ],
        "model crds:ldr-ae": {"features": 8, "encoder_blocks": 1, "decoder_blocks": 1},
    },
    checks=["model.*", "engine.*"],
)
# Losses, degradations and data are in test_crds_training.py and test_crds_data.py.
test_recipes_and_package = conformance_tests("crds", checks=["recipe.*", "package.*"])
