"""The pytest plugin: it spreads :func:`restore.testing.conformance_tests` over its cases, and prints broken promises
without a traceback. pytest loads it in everybody's runs, so it imports no torch."""

from __future__ import annotations

import importlib
import traceback
from typing import Generator

import pytest

from restore.testing.conformance import ConformanceError
from restore.testing.suite import MARKER


def pytest_configure(config: pytest.Config) -> None:
    """The marker, for --strict-markers."""
    config.addinivalue_line("markers", f"{MARKER}(names, ...): checks of restore components; see restore.testing")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case."""
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None or "restore_case" not in metafunc.fixturenames:
        return
    found = importlib.import_module("restore.testing.running").cases(*marker.args[0], **marker.kwargs)
    metafunc.parametrize("restore_case", found, ids=[case.id for case in found])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A broken promise is its own message; what the component raised by itself keeps its traceback."""
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    if call.excinfo is not None and isinstance(error, ConformanceError):
        text = call.excinfo.getrepr(style="value", chain=False)
        if error.__cause__ is not None:
            text.addsection("what the component raised", "".join(traceback.format_exception(error.__cause__)))
        report.longrepr = text
    return report
