"""Checks of a plugin as it is installed: quick to list, safe to load, documented, and whole."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterator, get_type_hints

from restore.build import asset_path, import_factory, schema
from restore.errors import RestoreError
from restore.plugins import Registered
from restore.testing.conformance import NotApplicableError, check, fail
from restore.testing.packages import Package
from restore.testing.sample import Sample

IMPORT_SECONDS = 0.1
_PICKLES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin")
_BROUGHT = {"optimizer": ("params", "lr")}


@check("package", "the plugin loads: its module imports, its hooks are known, nobody else has its name", devices=False)
def loads(package: Package, sample: Sample) -> None:
    """As `restore doctor` says it."""
    mends = {
        "broken": "mend what its module raises; `restore doctor --verbose` shows where",
        "conflict": "take another name for your plugin: the key in [project.entry-points], and `restore new-plugin`",
        "newer": "upgrade restorekit, or name the entry point's group restore.v1",
        "disabled": "leave it out of RESTORE_DISABLE_PLUGINS, or put it into RESTORE_PLUGINS",
    }
    for info in package.infos:
        if info.status != "ok":
            fail(f"{info.status}: {info.cause}", mends.get(info.status, "install it"))


@check("package", "listing plugins stays quick: the plugin's module imports nothing heavy, and says nothing")
def listing(package: Package, sample: Sample) -> None:
    """In a fresh process."""
    found = package.listing()
    if found.error:
        fail(found.error, "the module that the entry point names must import by itself")
    if found.heavy:
        name, file, line = found.heavy[0]
        more = f" (and {', '.join(h[0] for h in found.heavy[1:])})" if len(found.heavy) > 1 else ""
        fail(
            f"{package.entry.module} imports {name}{more}: line {line} of {file}",
            "name components by import path, Component('net', 'package.model:Net'), and import nothing else there",
        )
    if found.said:
        fail(f"importing {package.entry.module} printed {found.said!r}", "print nothing while being imported")


@check(
    "package",
    f"the plugin's module imports in {1000 * IMPORT_SECONDS:.0f} ms of processor time",
    devices=False,
    thorough=True,
)
def import_budget(package: Package, sample: Sample) -> None:
    """Beyond what the core imports for itself."""
    found = package.listing()
    if found.error:
        raise NotApplicableError("it cannot be imported at all")
    if found.seconds > IMPORT_SECONDS:
        fail(
            f"{1000 * found.seconds:.0f} ms for {found.modules} modules",
            "move imports into the modules that components name; `python -X importtime -c 'import "
            f"{package.entry.module}'` shows what takes long",
        )


@check("package", "every component has a summary of one line", devices=False)
def summaries(package: Package, sample: Sample) -> None:
    """For listings."""
    for registered in package.components:
        text = registered.component.summary
        if not text.strip() or "\n" in text:
            fail(
                f"{registered.kind} {registered.name} has the summary {text!r}",
                "say in a few words what it does: Component(name, factory, summary)",
            )


@check("package", "every parameter of every component is documented in its docstring", devices=False)
def parameters(package: Package, sample: Sample) -> None:
    """An ``Args:`` or ``Attributes:`` section, ``:param name:``, or the name in double backticks."""
    lost: list[str] = []
    for registered in package.components:
        if registered.kind != "recipe":
            lost += [f"{registered.name}: {name}" for name in undocumented(registered)]
    if lost:
        more = f" and {len(lost) - 6} more" if len(lost) > 6 else ""
        fail(
            f"nothing is said of {'; '.join(lost[:6])}{more}",
            "add an `Args:` section to the class's docstring, with what it means, its unit and its range",
        )


def undocumented(registered: Registered) -> list[str]:
    """Parameters of a component that its docstring does not mention."""
    factory = import_factory(registered)
    said = mentioned(factory)
    return [name for name in schema(factory, _BROUGHT.get(registered.kind, ())) if name not in said]


def mentioned(factory: Callable[..., Any]) -> set[str]:
    """The names that a factory's docstring explains; of a function, also that of the class it gives, and where the
    constructor is inherited, that of the class it comes from."""
    texts = [inspect.getdoc(factory) or ""]
    if not inspect.isclass(factory):
        given = get_type_hints(factory).get("return")
        return _names(texts) | (mentioned(given) if inspect.isclass(given) else set())
    owner = next(c for c in factory.__mro__ if "__init__" in vars(c))
    texts += [owner.__doc__ or "", vars(owner)["__init__"].__doc__ or ""] if owner is not object else []
    return _names(texts)


def _names(texts: list[str]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        for line in text.splitlines():
            # "name:", "name (type):", "one, two, three:", and numpy's "name : type".
            head = re.match(r"\s*([*\w]+(?:\s*,\s*[*\w]+)*)\s*(?:\([^)]*\))?\s*:(?!:)", line)
            found |= set(re.findall(r"\w+", head.group(1))) if head else set()
        found |= set(re.findall(r":param\s+(?:[\w\[\], ]+\s)?(\w+)\s*:", text))
        found |= {name for quoted in re.findall(r"``([^`]+)``", text) for name in re.findall(r"[A-Za-z_]\w*", quoted)}
    return found


@check("package", "weights are safetensors, and nothing in the package is a pickle", devices=False)
def safe_weights(package: Package, sample: Sample) -> None:
    """A pickle runs whatever code it likes when it is loaded."""
    mend = "convert them once: safetensors.torch.save_file(torch.load(path, weights_only=True), ...)"
    for registered, name, location in _weights(package):
        if not location.endswith(".safetensors"):
            fail(f"the weights {name!r} of {registered.name} are {location}", mend)
    for path in _files(package):
        if Path(path).suffix.lower() in _PICKLES:
            fail(f"the package holds {path}", f"{mend}; leave the other file out")


def _weights(package: Package) -> Iterator[tuple[Registered, str, str]]:
    """Those that ship; what is fetched by its hash is another affair."""
    for registered in package.components:
        for name, location in registered.component.weights.items():
            if isinstance(location, str):
                yield registered, name, location


def _files(package: Package) -> list[str]:
    """Files of the distribution, or of the source of an editable one, by their path inside the installed packages."""
    try:
        source, listed = package.source, package.distribution.files or []
    except NotApplicableError:
        return []
    if source is None:
        return [str(path) for path in listed]
    folder = next((f for f in (source / "src", source) if (f / package.entry.module.split(".")[0]).is_dir()), None)
    if folder is None:
        return []
    top = folder / package.entry.module.split(".")[0]
    return [p.relative_to(folder).as_posix() for p in top.rglob("*") if p.is_file() and "__pycache__" not in p.parts]


@check("package", "recipes and weights that components name are inside the installed package", devices=False,
       thorough=True)  # fmt: skip
def files(package: Package, sample: Sample) -> None:
    """Where `restore run` looks for them."""
    named = [(r.name, r.component.factory) for r in package.components if r.kind == "recipe"]
    named += [(f"{r.name}, weights {name!r}", location) for r, name, location in _weights(package)]
    if not named:
        raise NotApplicableError("it names no files")
    for name, location in named:
        try:
            asset_path(location)
        except RestoreError as error:
            fail(f"{name}: {error}", "put the file there, or take the name out of plugin.py")


@check("package", "the wheel that would be published holds every file that components name", devices=False,
       thorough=True)  # fmt: skip
def wheel(package: Package, sample: Sample) -> None:
    """Of an editable installation, the wheel is built; what else is installed came out of one."""
    source = package.source
    if source is None:
        raise NotApplicableError("it was not installed in editable form: what is installed is the wheel")
    inside = _built(source)
    top = package.entry.module.split(".")[0]
    for registered in package.components:
        locations = [registered.component.factory] if registered.kind == "recipe" else []
        for location in [*locations, *(w for w in registered.component.weights.values() if isinstance(w, str))]:
            owner, _, path = location.partition(":")
            wanted = f"{owner.replace('.', '/')}/{path}"
            if owner.split(".")[0] == top and wanted not in inside:
                fail(
                    f"{wanted}, which {registered.name} names, is not in the wheel",
                    "let the build backend take it along: with hatchling, packages = ['src/...'] takes all that "
                    ".gitignore does not name; [tool.hatch.build] artifacts = ['*.safetensors'] takes the rest",
                )
    odd = [name for name in inside if name.split("/")[0] in ("tests", "test", "docs", "runs")]
    if odd:
        fail(f"the wheel holds {odd[0]}", "say what goes in: [tool.hatch.build.targets.wheel] packages = ['src/...']")


def _built(source: Path) -> set[str]:
    """The names in the wheel of a project."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, "--wheel-dir", folder, str(source)], capture_output=True, text=True, timeout=300, check=False
        )
        made = list(Path(folder).glob("*.whl"))
        if not made and re.search(r"BackendUnavailable|Cannot import|No module named", done.stderr):
            raise NotApplicableError("its build backend is not installed here: pip install hatchling, and check again")
        if not made:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["pip said nothing"]
            fail(f"building the wheel failed: {lines[-1].strip()}", f"`python -m build {source}` must work")
        with zipfile.ZipFile(made[0]) as archive:
            return set(archive.namelist())


@check("package", "the metadata names a licence, and holds nobody back by upper limits on restorekit or torch",
       devices=False)  # fmt: skip
def metadata(package: Package, sample: Sample) -> None:
    """What PyPI shows, and what pip solves."""
    data = package.distribution.metadata
    requires = data.get_all("Requires-Dist") or []
    for line in requires:
        name = re.match(r"[\w.-]+", line)
        limits = re.findall(r"(<=?|==|~=|===)\s*[\w.*]+", line.split(";")[0])
        if name and name.group().lower().replace("_", "-") in ("restorekit", "torch") and limits:
            fail(f"it requires {line!r}", "give a minimum alone: an upper limit keeps its users from everything newer")
    classified = any("License ::" in c for c in data.get_all("Classifier") or [])
    if not (data.get("License-Expression") or data.get("License") or classified):
        if requires or data.get("Summary"):
            fail("its metadata names no licence", 'say license = "MIT", or another one, in [project] of pyproject.toml')
        raise NotApplicableError("its metadata holds a name and a version alone: it was not built by a build backend")
