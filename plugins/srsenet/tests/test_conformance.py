"""Every component of the plugin keeps the contract of its kind."""

from __future__ import annotations

from restore.testing import conformance_tests

test_conformance = conformance_tests(
    "srsenet",
    examples={
        "model srsenet:srsenet": [{"blocks": 2, "features": 8, "scale": scale} for scale in (2, 3)]
        + [{"blocks": 2, "features": 8, "share_blocks": True, "fig2_activations": True}],
    },
)
