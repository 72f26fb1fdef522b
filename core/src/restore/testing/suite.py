"""The one line that a plugin's tests need."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

MARKER = "restore_conformance"


def conformance_tests(
    *names: str,
    examples: Mapping[str, Any] | None = None,
    checks: Sequence[str] = ("*",),
    shapes: Sequence[tuple[int, ...]] | None = None,
    devices: Sequence[str] | None = None,
) -> Callable[..., None]:
    """A test over component x example x check x shape x dtype x device; bind it to a name that pytest collects.

    What a component needs and has no default is skipped with the reason, as is a check that says nothing about it.

    Args:
        names: plugins (all their components) or components, ``mynet`` or ``mynet:net``.
        examples: by component, ``mynet:net`` or ``net`` (``degradation mynet:net`` where several kinds have that name):
            a table of parameters as a recipe writes them, a function that gets an empty folder, writes files there and
            returns such a table, a :class:`restore.testing.Example`, or a list of these.
        checks: patterns (``fnmatch``) on check names, ``model.*``, ``*.deterministic``; one that begins with ``!``
            leaves out.
        shapes: ``(B, T, C, H, W)`` of the clips, for all kinds; an example's own come first. Left out, the kit's.
        devices: names of torch devices; left out, the CPU, and CUDA where there is some.

    Raises:
        RequestError: when pytest collects: no such plugin or component, an example or a pattern that fits nothing.
    """
    import pytest

    @pytest.mark.restore_conformance(names, examples=examples, checks=checks, shapes=shapes, devices=devices)
    def test_conformance(restore_case: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
        from restore.testing.conformance import NotApplicableError

        try:
            restore_case.run(lambda: tmp_path_factory.mktemp("conformance"))
        except NotApplicableError as reason:
            pytest.skip(str(reason))

    made: Callable[..., None] = test_conformance
    return made
