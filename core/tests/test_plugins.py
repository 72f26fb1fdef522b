"""Discovery with fake distributions: dist-info folders on the path of a fresh process."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

GOOD = """
from restore import Component, hookimpl

@hookimpl
def restore_losses():
    return [Component("{name}", "fake_parts:Loss", "a loss")]
"""
PARTS = """
class Loss:
    def __init__(self, weight: float, *, mode: str = "soft") -> None:
        self.weight, self.mode = weight, mode
"""
HEAVY = ("torch", "numpy", "av", "PIL", "lightning_fabric", "matplotlib")
MAIN = "from restore.cli.main import main; main()"


class Site:
    """A folder of fake installed distributions."""

    def __init__(self, folder):
        self.folder = folder

    def add(self, distribution, name, source, version="1.0", group="restore.v1"):
        module = f"{distribution.replace('-', '_')}_plugin"
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        return self

    def python(self, code, *arguments, **env):
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("RESTORE_")}, **env}
        env["PYTHONPATH"] = os.pathsep.join(p for p in (str(self.folder), env.get("PYTHONPATH")) if p)
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    def restore(self, *arguments, **env):
        return self.python(MAIN, *arguments, **env)

    def plugins(self, **env):
        answer = self.restore("plugins", "--json", **env)
        assert answer.code == 0, answer.err
        return {entry["name"]: entry for entry in json.loads(answer.out)}


@pytest.fixture
def site(tmp_path):
    (tmp_path / "fake_parts.py").write_text(PARTS)
    return Site(tmp_path)


@pytest.fixture
def zoo(site):
    """Everything that can be wrong, beside one that is right."""
    site.add("good-one", "good", GOOD.format(name="nice"), "2.3")
    site.add("raises", "raises", "raise OSError('first line\\nsecond line')")
    site.add("exits", "exits", "import sys; sys.exit(0)")
    site.add("twin-a", "twin", "raise RuntimeError('a twin was imported')")
    site.add("twin-b", "twin", "raise RuntimeError('a twin was imported')")
    site.add("tomorrow", "future", "raise RuntimeError('a newer plugin was imported')", group="restore.v2")
    site.add("unmarked", "unmarked", "def restore_models():\n    return []\n")
    misspelt = "from restore import hookimpl\n\n@hookimpl\ndef restore_modells():\n    return []\n"
    site.add("misspelt", "misspelt", misspelt)
    wrong = "from restore import hookimpl\n\n@hookimpl\ndef restore_models():\n    return ['net']\n"
    site.add("noncomponent", "noncomponent", wrong)
    site.add("missing-import", "lacks", "import surely_not_installed")
    return site


def test_broken_plugins_cost_one_line_each(zoo):
    found = zoo.plugins()
    status = {name: entry["status"] for name, entry in found.items()}
    broken = ("raises", "exits", "unmarked", "misspelt", "noncomponent", "lacks")
    assert {n for n, s in status.items() if s == "broken"} == set(broken)
    assert status["good"] == status["core"] == "ok"
    assert status["twin"] == "conflict"
    assert status["future"] == "newer"
    assert found["raises"]["cause"] == "OSError: first line"
    assert "SystemExit" in found["exits"]["cause"]
    assert "@hookimpl" in found["unmarked"]["cause"]
    assert "did you mean 'restore_models'" in found["misspelt"]["cause"]
    assert "not a Component" in found["noncomponent"]["cause"]
    assert "surely_not_installed" in found["lacks"]["cause"]
    assert (found["good"]["distribution"], found["good"]["version"], found["good"]["components"]) == (
        "good-one",
        "2.3",
        1,
    )
    assert "restore.v2" in found["future"]["cause"]
    assert "upgrade restorekit" in found["future"]["cause"]


def test_both_claimants_are_named_and_neither_is_imported(zoo):
    answer = zoo.restore("plugins", "--json")
    twins = [entry for entry in json.loads(answer.out) if entry["name"] == "twin"]
    assert {t["distribution"] for t in twins} == {"twin-a", "twin-b"}
    assert all("twin-a" in t["cause"] and "twin-b" in t["cause"] for t in twins)
    assert "was imported" not in answer.out + answer.err


def test_doctor_names_everything_and_exits_with_1(zoo):
    answer = zoo.restore("doctor")
    assert answer.code == 1
    for name in ("raises", "exits", "twin-a", "twin-b", "future", "unmarked", "misspelt", "noncomponent", "good"):
        assert name in answer.out, name
    assert "Traceback" not in answer.out + answer.err
    for flag in ("--verbose", "--debug"):
        more = zoo.restore("doctor", flag)
        assert more.code == 1
        assert "Traceback" in more.out
        assert "second line" in more.out
    document = json.loads(zoo.restore("doctor", "--json").out)
    assert {"raises", "twin", "future"} <= {p["name"] for p in document["plugins"]}
    assert document["environment"]["restorekit"] != "not installed"


def test_doctor_is_content_without_faults(site):
    site.add("tomorrow", "future", "raise RuntimeError", group="restore.v2")
    assert site.restore("doctor", RESTORE_DISABLE_PLUGINS="srsenet").code == 0


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("components",), ("components", "nice", "--json"), ("recipes", "--json"), ("describe", "nice"),
     ("describe",), ("describe", "core:bicubic"), ("run", "--help")],
)  # fmt: skip
def test_every_other_command_works_beside_broken_plugins(zoo, arguments):
    answer = zoo.restore(*arguments)
    assert (answer.code, answer.err) == (0, "")


def test_a_broken_plugin_is_named_where_it_is_wanted(zoo):
    answer = zoo.restore("components", "raises:anything")
    assert answer.code == 2
    assert "OSError: first line" in answer.err
    assert len(answer.err.strip().splitlines()) <= 2


def test_parameters_come_from_the_signature(zoo):
    entry = json.loads(zoo.restore("components", "good:nice", "--json").out)[0]
    assert (entry["name"], entry["kind"], entry["summary"]) == ("good:nice", "loss", "a loss")
    weight, mode = entry["parameters"]
    assert weight == {"name": "weight", "type": "float", "default": None, "required": True}
    assert mode == {"name": "mode", "type": "str", "default": "soft", "required": False}


def test_environment_switches(zoo):
    only = zoo.plugins(RESTORE_PLUGINS="core,nobody")
    assert {n for n, e in only.items() if e["status"] == "ok"} == {"core"}
    assert only["nobody"]["status"] == "missing"
    assert only["raises"]["status"] == "disabled"
    none = zoo.plugins(RESTORE_PLUGINS="")
    assert not [n for n, e in none.items() if e["status"] == "ok"]
    without = zoo.plugins(RESTORE_DISABLE_PLUGINS="raises, good")
    assert without["raises"]["status"] == without["good"]["status"] == "disabled"
    assert without["core"]["status"] == "ok"


@pytest.mark.parametrize("name", ["raises", "exits", "misspelt"])
def test_strict_lets_the_fault_through(zoo, name):
    answer = zoo.restore("plugins", RESTORE_STRICT="1", RESTORE_PLUGINS=name, RESTORE_DISABLE_PLUGINS="twin")
    assert answer.code == 1
    assert answer.err.startswith("restore: ")


def test_strict_refuses_two_claimants(site):
    site.add("twin-a", "twin", "").add("twin-b", "twin", "")
    answer = site.restore("plugins", RESTORE_STRICT="1")
    assert answer.code == 1
    assert "twin-a and twin-b" in answer.err


def test_short_names_work_while_they_are_unambiguous(site):
    site.add("one", "one", GOOD.format(name="l1")).add("two", "two", GOOD.format(name="mine"))
    code = """
from restore.errors import RequestError
from restore.plugins import registry
r = registry()
print(r.find("loss", "mine").name, r.find("loss", "core:l1").name)
for name in ("l1", "mien", "one:mine", "nobody:l1"):
    try:
        r.find("loss", name)
    except RequestError as error:
        print(error)
"""
    lines = site.python(code).out.splitlines()
    assert lines[0] == "two:mine core:l1"
    assert "core:l1" in lines[1]
    assert "one:l1" in lines[1]
    assert "did you mean 'mine'" in lines[2]
    assert "no loss 'one:mine'" in lines[3]
    assert "'nobody'" in lines[4]


def test_two_components_of_one_name_in_one_plugin_are_a_fault(site):
    source = GOOD.format(name="same").replace("]", ', Component("same", "fake_parts:Loss")]')
    assert "two components" in site.add("dup", "dup", source).plugins()["dup"]["cause"]


LIGHT = [("--help",), ("plugins",), ("components",), ("recipes",), ("doctor",), ("weights", "list"), ("describe",),
         ("run", "--help"), ("train", "--help"), ("eval", "--help"), ("degrade", "--help"),
         ("describe", "x", "--help")]  # fmt: skip


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_listing_imports_nothing_heavy(site, arguments):
    code = f"""
import sys
from restore.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
found = [m for m in {HEAVY} if m in sys.modules]
assert not found, found
"""
    answer = site.python(code, *arguments)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("entry", sorted(entry_points(group="restore.v1"), key=lambda e: e.name), ids=lambda e: e.name)
def test_entry_point_modules_import_nothing_heavy(site, entry):
    code = f"import sys, {entry.module}\nassert not [m for m in {HEAVY} if m in sys.modules]"
    answer = site.python(code)
    assert answer.code == 0, answer.err


def test_help_runs_no_plugin(zoo):
    code = "import sys\nfrom restore.cli.main import main\ntry:\n    main()\nexcept SystemExit: pass\n"
    code += "assert not [m for m in sys.modules if m.endswith('_plugin') or m.startswith('restore_')]"
    assert zoo.python(code, "--help").code == 0


@pytest.mark.parametrize(("arguments", "budget"), [(("--help",), 0.25), (("plugins",), 0.4)])
def test_listing_is_quick(site, arguments, budget):
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert site.restore(*arguments).code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, not wall time: other work on the machine must not fail the test.
    assert min(seconds() for _ in range(4)) < budget


def test_a_wrong_command_names_the_nearest(site):
    answer = site.restore("plugin")
    assert answer.code == 2
    assert "did you mean 'plugins'" in answer.err
    assert site.restore("describe", "bicubik").err.strip().endswith("did you mean 'bicubic'?")
