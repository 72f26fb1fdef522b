"""Every component keeps the contract of its kind."""

from __future__ import annotations

from restore.testing import Example, conformance_tests

_TINY = {"features": 8, "blocks": 1, "tail_features": 8, "flow_levels": 2, "flow_widths": [8, 8]}
# The kit's predictions hold no features; test_ssl_loss.py does all of these with some.
_NO_FEATURES = {f"loss.{name}": "reads hidden states or flows" for name in
                ("scalar", "gradient", "equality", "pure", "precision")}  # fmt: skip

test_conformance = conformance_tests(
    "ssl_prune",
    examples={
        "ssl_prune:basicvsr": [_TINY, {**_TINY, "bidirectional": False, "activation": "relu", "hidden_states": True}],
        "ssl_prune:basicvsr-uni": _TINY,
        "ssl_prune:basicvsr-small": {"features": 8, "blocks": 1},
        "ssl_prune:temporal": Example({"teacher": "core:identity"}, skip=_NO_FEATURES),
        "ssl_prune:middle-frame": Example(shapes=((2, 14, 3, 16, 20), (2, 7, 3, 16, 16))),
        "ssl_prune:photometric": Example(skip=_NO_FEATURES),
    },
)
