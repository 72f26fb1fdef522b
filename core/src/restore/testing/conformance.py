"""What a check is, how it fails, and the table of all checks by kind of component. Imports no torch."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any, Callable

import attrs

from restore.errors import RestoreError

if TYPE_CHECKING:
    from restore.testing.sample import Sample

CheckFunction = Callable[[Any, "Sample"], None]

DEFAULT_DTYPES = ("float32",)


class ConformanceError(RestoreError):
    """A component does not keep its contract.

    Attributes:
        check: ``kind.name`` of the check.
        promised: what the contract says.
        seen: what the component did instead, with numbers.
        mend: what its author can do.
    """

    def __init__(self, check: str, promised: str, seen: str, mend: str) -> None:
        super().__init__(check, promised, seen, mend)
        self.check, self.promised, self.seen, self.mend = check, promised, seen, mend

    def __str__(self) -> str:
        return f"{self.check}: {self.seen}\n  promised: {self.promised}\n  to mend:  {self.mend}"


class NotApplicableError(Exception):
    """This check says nothing about this component; the message is the reason. Runners count it as skipped."""


class _BrokenError(Exception):
    def __init__(self, seen: str, mend: str) -> None:
        super().__init__(seen)
        self.seen, self.mend = seen, mend


def fail(seen: str, mend: str) -> None:
    """End a check: what was seen, and how to mend it. What was promised the check itself knows."""
    raise _BrokenError(seen, mend)


@attrs.frozen
class Check:
    """One promise of a contract, and the function that looks whether it is kept.

    Calling it runs the function.

    Attributes:
        kind: of the components it is for, or ``operator``, or ``inverse`` for models that are given one.
        name: in the table, e.g. ``halo``.
        promised: the promise, one sentence.
        function: takes the built component and a :class:`~restore.testing.sample.Sample`.
        shapes: whether it is worth running at every shape; otherwise the first is enough.
        dtypes: names of the torch dtypes it runs in.
        devices: whether the device matters.
        thorough: it takes long, or looks at what tests cannot know; `restore check` runs it, tests need not.
    """

    kind: str
    name: str
    promised: str
    function: CheckFunction
    shapes: bool = False
    dtypes: tuple[str, ...] = DEFAULT_DTYPES
    devices: bool = True
    thorough: bool = False

    @property
    def full_name(self) -> str:
        """``model.halo``."""
        return f"{self.kind}.{self.name}"

    def __call__(self, component: Any, sample: Sample) -> None:
        """Look.

        Raises:
            ConformanceError: the promise is broken, or the component raised something by itself.
            NotApplicableError: there is nothing to look at.
        """
        try:
            self.function(component, sample)
        except (ConformanceError, NotApplicableError):
            raise
        except _BrokenError as broken:
            raise ConformanceError(self.full_name, self.promised, broken.seen, broken.mend) from None
        except Exception as error:
            raise ConformanceError(
                self.full_name,
                self.promised,
                f"{type(error).__name__}: {error}",
                f"the component raised this while it was looked at ({sample.describe()}); "
                "where it takes no such input, give the kit an example whose shapes it takes",
            ) from error


# By kind, then by name. The checks of linear operators run on what degradations carry: "operator" is a kind here.
_TABLE: dict[str, dict[str, Check]] = {}


def check(
    kind: str,
    promised: str,
    *,
    shapes: bool = False,
    dtypes: tuple[str, ...] = DEFAULT_DTYPES,
    devices: bool = True,
    thorough: bool = False,
) -> Callable[[CheckFunction], Check]:
    """Enters a function into the table under its own name; attributes are those of :class:`Check`.

    Raises:
        ValueError: the name is taken.
    """

    def enter(function: CheckFunction) -> Check:
        name = function.__name__
        if name in _TABLE.setdefault(kind, {}):
            raise ValueError(f"there is a check {kind}.{name} already")
        made = _TABLE[kind][name] = Check(kind, name, promised, function, shapes, dtypes, devices, thorough)
        return made

    return enter


@functools.cache
def checks(kind: str) -> tuple[Check, ...]:
    """The checks of a kind of component; those of ``degradation`` end with those of the operators they carry, those of
    ``model`` with those of models that are given an operator, and with what the engine does to models.

    Imports torch. A kind that has no contract beyond its type has no checks.
    """
    module = f"restore.testing.kinds.{kind}"
    if importlib.util.find_spec(module) is None:
        return ()
    importlib.import_module(module)
    found = tuple(_TABLE[kind].values())
    for more in {"degradation": ("operator",), "model": ("inverse", "engine")}.get(kind, ()):
        found += checks(more)
    return found
