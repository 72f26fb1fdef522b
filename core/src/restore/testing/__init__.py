"""The conformance kit: whether an installed component keeps the contract of its kind (see :mod:`restore.contracts`).

A plugin's tests need one line. With pytest, which loads the rest by itself::

    from restore.testing import conformance_tests

    test_conformance = conformance_tests("mynet")

Every component of the plugin ``mynet`` is built from its defaults and goes through the checks of its kind; one with
parameters that have no default needs an example of them::

    test_conformance = conformance_tests(
        "mynet",
        examples={
            "mynet:net": [{"scale": 2}, {"scale": 4}],
            "mynet:frames": lambda folder: {"root": write_images(folder)},
        },
    )

Without pytest, ``outcomes(cases("mynet"))`` gives the same one by one, and every check can be called by itself:
``checks("model")`` lists them, and each takes a built component and a :class:`Sample`. A failed check raises
:class:`ConformanceError`, which says what was promised, what was seen, and how to mend it.

Importing this package imports no torch and no pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from restore.testing.conformance import Check, ConformanceError, NotApplicableError, checks
from restore.testing.suite import conformance_tests

if TYPE_CHECKING:
    from restore.testing.content import write_frames, write_images, write_video
    from restore.testing.running import Case, Example, Outcome, cases, outcomes
    from restore.testing.sample import Sample

__all__ = [
    "Case",
    "Check",
    "ConformanceError",
    "Example",
    "NotApplicableError",
    "Outcome",
    "Sample",
    "cases",
    "checks",
    "conformance_tests",
    "outcomes",
    "write_frames",
    "write_images",
    "write_video",
]

_LATER = {
    **dict.fromkeys(("Case", "Example", "Outcome", "cases", "outcomes"), "running"),
    **dict.fromkeys(("write_frames", "write_images", "write_video"), "content"),
    "Sample": "sample",
}


def __getattr__(name: str) -> Any:
    """Names whose modules import torch, when they are asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"restore.testing.{_LATER[name]}"), name)
