"""Which checks an installed plugin goes through, and running them."""

from __future__ import annotations

import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Literal, Mapping, Sequence

import attrs
import torch
from torch import nn

from restore.build import Parameter, import_factory, schema
from restore.catalogue import matching, recipe_document
from restore.component import Component
from restore.document import Document
from restore.errors import RequestError, RestoreError
from restore.modelling import builder
from restore.plugins import Registered, Registry, nearest
from restore.plugins import registry as installed
from restore.recipe import Use
from restore.testing.conformance import Check, ConformanceError, NotApplicableError, checks
from restore.testing.packages import Package
from restore.testing.sample import Sample, Sizes

Folder = Callable[[], Path]

SHAPES: dict[str, tuple[Sizes, ...]] = {
    "model": ((2, 2, 3, 12, 16), (1, 1, 3, 17, 23)),
    "degradation": ((3, 3, 3, 24, 32), (2, 4, 3, 17, 23)),
    "operator": ((2, 3, 3, 8, 8), (2, 4, 3, 9, 13)),
    "metric": ((2, 3, 3, 32, 40),),
}
_OTHERS: tuple[Sizes, ...] = ((2, 2, 3, 9, 12),)


@attrs.frozen
class Example:
    """How the kit makes a component and what it feeds to it.

    Attributes:
        parameters: as a recipe's table writes them, nested tables too; paths may be ``Path``. Or a function that gets
            an empty folder, writes files there and returns the table.
        shapes: ``(B, T, C, H, W)`` of the clips, for all its checks; None takes those of the kit.
        skip: checks that are left out, ``{"model.halo": "why"}``; they are reported as skipped, with the reason.
        model: a function that makes a model: for a pruner, the one it is tried on; for a loss that reads features, the
            one whose predictions it is given.
    """

    parameters: Mapping[str, Any] | Callable[[Path], Mapping[str, Any]] = attrs.field(factory=dict)
    shapes: Sequence[Sizes] | None = None
    skip: Mapping[str, str] = attrs.field(factory=dict)
    model: Callable[[], nn.Module] | None = None


_DEFAULT = Example()


class Source:
    """One component with one example: builds it. An example's function is called once.

    Attributes:
        registered: the component.
        example: of its parameters; the default one where nobody gave any.
        registry: where its nested components are found.
        label: tells examples of one component apart.
    """

    def __init__(self, registered: Registered, example: Example, number: int, registry: Registry) -> None:
        self.registered, self.example, self.registry = registered, example, registry
        given = example.parameters
        self._parameters = None if callable(given) else {k: _toml_like(v) for k, v in given.items()}
        values = self._parameters
        if values is None or any(isinstance(v, (dict, list)) for v in values.values()):
            self.label = f"#{number + 1}" if number else ""
        else:
            self.label = "".join(f",{k}={v}" for k, v in values.items())

    def parameters(self, folder: Folder) -> dict[str, Any]:
        """The example's table, its files written."""
        if self._parameters is None:
            assert callable(self.example.parameters)
            self._parameters = {k: _toml_like(v) for k, v in self.example.parameters(folder()).items()}
        return self._parameters

    def build(self, folder: Folder) -> Any:
        """A fresh component; a recipe as its document, an optimizer as a function of the parameters to optimise.

        Raises:
            NotApplicableError: parameters without default that no example gives.
            RestoreError: it cannot be built.
        """
        registered = self.registered
        if registered.kind == "recipe":
            return recipe_document(self.registry, recipe=registered.name)
        parameters = self.parameters(folder)
        missing = self._missing(parameters)
        if missing:
            needs = ", ".join(f"{p.name} ({p.type_name})" for p in missing)
            raise NotApplicableError(f"{registered.name} needs {needs}; {_give_one(registered)}")
        place = Document(f"the example of {registered.name}", "", parameters).root
        use = Use(registered.name, parameters, place)
        if registered.kind == "optimizer":
            return lambda params: builder(self.registry).build("optimizer", use, params=params, lr=1.0)
        return builder(self.registry).build(registered.kind, use)

    def _missing(self, parameters: Mapping[str, Any]) -> list[Parameter]:
        """Parameters that have no default and are not given."""
        if self.registered.kind == "recipe":
            return []
        brought = ("params", "lr") if self.registered.kind == "optimizer" else ()
        known = schema(import_factory(self.registered), brought)
        return [p for p in known.values() if p.required and p.name not in parameters]

    @property
    def lacks(self) -> bool:
        """Whether it is known already that parameters are missing."""
        try:
            return self._parameters is not None and bool(self._missing(self._parameters))
        except RestoreError:  # said when it is built
            return False


def _give_one(registered: Registered) -> str:
    name = f"{registered.kind} {registered.name}"
    return f"give the kit an example of its parameters: examples={{{name!r}: {{...}}}}"


def _example(given: Any) -> Example:
    if isinstance(given, Example):
        return given
    if isinstance(given, Mapping) or callable(given):
        return Example(given)
    raise RequestError(f"an example is a table of parameters, an Example, or a function of a folder, not {given!r}")


def _toml_like(value: Any) -> Any:
    """Paths and tuples as TOML would have them."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {k: _toml_like(v) for k, v in value.items()}
    return [_toml_like(v) for v in value] if isinstance(value, (list, tuple)) else value


@attrs.frozen(eq=False)
class Case:
    """One check of one component at one shape, in one dtype, on one device.

    Attributes:
        source: the component and its example.
        check: what is looked at.
        sample: what it is fed with.
        id: ``core:bicubic,scale=2-degradation.shapes-3x3x24x32``; shape, dtype and device where they tell cases apart.
    """

    source: Source
    check: Check
    sample: Sample
    id: str

    def run(self, folder: Folder) -> None:
        """Build the component and look.

        Args:
            folder: makes an empty folder, for examples that write files.

        Raises:
            ConformanceError: the promise is broken, or the component cannot be built.
            NotApplicableError: there is nothing to look at, or the example leaves this check out.
        """
        example = self.source.example
        reason = example.skip.get(self.check.full_name)
        if reason is not None:
            raise NotApplicableError(reason)
        sample = attrs.evolve(self.sample, make=lambda: self._build(folder, 1), model=example.model)
        self.check(self._build(folder, 0), sample)

    def _build(self, folder: Folder, seed: int) -> Any:
        name = self.source.registered.name
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                built = self.source.build(folder)
        except RestoreError as error:
            if self.source.example is _DEFAULT and isinstance(error, RequestError):
                raise NotApplicableError(
                    f"{name} cannot be built from its defaults: {error}; {_give_one(self.source.registered)}"
                ) from error
            raise ConformanceError(
                self.check.full_name,
                f"{name} can be built from the parameters of its example, or its defaults",
                str(error),
                "correct the factory, its type hints, or the example that the kit was given",
            ) from error
        return built.to(self.sample.device) if isinstance(built, nn.Module) else built


@attrs.frozen
class Outcome:
    """How a case went.

    Attributes:
        case: which.
        status: ``passed``, ``failed`` or ``skipped``.
        reason: of a skip.
        error: of a failure: promised, seen, mend.
        seconds: building included.
    """

    case: Case
    status: Literal["passed", "failed", "skipped"]
    reason: str = ""
    error: ConformanceError | None = None
    seconds: float = 0.0


def outcomes(every: Iterable[Case], folder: Folder) -> Iterator[Outcome]:
    """Run cases one after the other, without pytest; ``folder`` makes an empty folder."""
    for case in every:
        start = time.perf_counter()
        try:
            case.run(folder)
        except NotApplicableError as reason:
            yield Outcome(case, "skipped", reason=str(reason), seconds=time.perf_counter() - start)
        except ConformanceError as error:
            yield Outcome(case, "failed", error=error, seconds=time.perf_counter() - start)
        else:
            yield Outcome(case, "passed", seconds=time.perf_counter() - start)


def cases(
    *names: str,
    examples: Mapping[str, Any] | None = None,
    checks: Sequence[str] = ("*",),
    shapes: Sequence[Sizes] | None = None,
    devices: Sequence[str] | None = None,
    registry: Registry | None = None,
    thorough: bool = False,
) -> list[Case]:
    """All cases of plugins or components; arguments are those of :func:`restore.testing.conformance_tests`. With
    ``thorough``, also the checks that take long.

    Raises:
        RequestError: no such plugin or component, or an example, skip or pattern that fits nothing.
    """
    registry = installed() if registry is None else registry
    wanted = _wanted(names, registry)
    _check_keys(examples or {}, wanted)
    found: list[Case] = []
    for registered in wanted:
        for number, given in enumerate(_given(registered, examples or {})):
            source = Source(registered, given, number, registry)
            found += _cases_of(source, checks, shapes, _devices() if devices is None else devices)
    for name in dict.fromkeys(r.plugin for r in wanted if r.plugin in names):
        found += package_cases(name, registry, checks, [r for r in wanted if r.plugin == name])
    if not thorough:
        found = [case for case in found if not case.check.thorough]
    if not found:
        raise RequestError(f"{' and '.join(names)} has nothing to check under the patterns {list(checks)}")
    return found


class _Installed(Source):
    """The plugin itself, in the place of a component."""

    def __init__(self, package: Package, registered: Registered) -> None:
        super().__init__(registered, _DEFAULT, 0, package.registry)
        self.package = package

    def build(self, folder: Folder) -> Package:
        """There is nothing to build."""
        return self.package


def package_cases(
    plugin: str, registry: Registry, patterns: Sequence[str], components: Sequence[Registered]
) -> Iterator[Case]:
    """The cases of a plugin as it is installed, looking at these of its components."""
    stand_in = Registered(plugin, "package", Component("package", f"{__name__}:Package", "the plugin as installed"))
    source = _Installed(Package(plugin, registry, tuple(components)), stand_in)
    for check in checks("package"):
        if _chosen(check.full_name, patterns):
            yield Case(source, check, Sample(registry=registry), f"{plugin}-{check.full_name}")


def _wanted(names: Sequence[str], registry: Registry) -> list[Registered]:
    if not names:
        raise RequestError("name at least one plugin or component to check")
    found: dict[tuple[str, str], Registered] = {}
    for name in names:
        if any(info.name == name for info in registry.plugins):
            registry.plugin(name)
            every = sorted((c for c in registry.components if c.plugin == name), key=lambda c: (c.kind, c.name))
        else:
            every = matching(registry, name)
        found |= {(c.kind, c.name): c for c in every}
    return list(found.values())


def _keys(registered: Registered) -> tuple[str, ...]:
    """What an example of a component may be called, the most exact first."""
    short = registered.component.name
    return f"{registered.kind} {registered.name}", f"{registered.kind} {short}", registered.name, short


def _given(registered: Registered, examples: Mapping[str, Any]) -> list[Example]:
    for key in _keys(registered):
        if key in examples and registered.kind != "recipe":
            given = examples[key]
            return [_example(g) for g in (given if isinstance(given, (list, tuple)) else [given])]
    return [_DEFAULT]


def _check_keys(examples: Mapping[str, Any], wanted: Sequence[Registered]) -> None:
    known = {key for registered in wanted for key in _keys(registered)}
    for key in examples:
        if key not in known:
            raise RequestError(f"there is an example for {key!r}, which is not checked here{nearest(key, known)}")


def _cases_of(
    source: Source, patterns: Sequence[str], shapes: Sequence[Sizes] | None, devices: Sequence[str]
) -> Iterator[Case]:
    every = checks(source.registered.kind)
    for name in source.example.skip:
        if name not in [c.full_name for c in every]:
            hint = nearest(name, [c.full_name for c in every])
            raise RequestError(f"the example of {source.registered.name} skips {name!r}, which is no check{hint}")
    chosen = [c for c in every if _chosen(c.full_name, patterns)]
    if source.lacks:
        # One skip says it as well as twenty.
        chosen, shapes, devices = chosen[:1], (), devices[:1]
    for check in chosen:
        sizes = source.example.shapes or shapes or SHAPES.get(check.kind, _OTHERS)
        for shape in sizes if check.shapes and not source.lacks else sizes[:1]:
            for dtype in check.dtypes[:1] if source.lacks else check.dtypes:
                for device in devices if check.devices else devices[:1]:
                    sample = Sample(tuple(shape), dtype, device, registry=source.registry)
                    yield Case(source, check, sample, _id(source, check, sample))


def _chosen(name: str, patterns: Sequence[str]) -> bool:
    inside = [p for p in patterns if not p.startswith("!")] or ["*"]
    outside = [p[1:] for p in patterns if p.startswith("!")]
    return any(fnmatch(name, p) for p in inside) and not any(fnmatch(name, p) for p in outside)


def _id(source: Source, check: Check, sample: Sample) -> str:
    parts = [source.registered.name + source.label, check.full_name]
    parts += ["x".join(map(str, sample.shape[1:]))] * check.shapes
    parts += [sample.dtype] * (check.dtypes != ("float32",)) + [sample.device] * (sample.device != "cpu")
    return "-".join(parts)


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
