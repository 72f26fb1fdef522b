"""The pages say what is so: commands run, recipes are right, links lead somewhere, nothing is left out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import click
import numpy as np
import pytest
import reference
from pages import ROOT, anchors, blocks, links, pages
from PIL import Image
from reference import house
from restore import hookspecs
from restore.build import import_factory, schema
from restore.catalogue import recipe_document
from restore.cli.main import COMMANDS, cli
from restore.document import load, parse
from restore.errors import RequestError
from restore.modelling import builder
from restore.plugins import registry
from restore.recipe import check, uses
from restore.testing import write_images
from restore.training.optimizers import find_factory

PAGES = pages()
GENERATED = reference.pages(registry())
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OTHERS = ("make", "cd", "pip", "pytest", "python", "torchrun")


# --- the reference ----------------------------------------------------------------------------------------------------


def test_nothing_lacks_its_explanation():
    assert reference.missing(registry()) == []


def test_every_component_hook_and_command_is_on_its_page():
    ours = [c for c in registry().components if c.plugin in reference.OURS]
    assert {c.plugin for c in ours} == set(reference.OURS)
    for registered in ours:
        text = GENERATED[f"reference/components/{registered.kind}.md"]
        heading = f"| `{registered.name}` |" if registered.kind == "recipe" else f"## {registered.name}\n"
        assert heading in text, registered.name
        if registered.kind != "recipe":
            section = text.partition(heading)[2].partition("\n## ")[0]
            names = schema(import_factory(registered), ("params",) if registered.kind == "optimizer" else ())
            assert [n for n in names if f"| `{n}` |" not in section] == [], registered.name
    hooks = [name for name in vars(hookspecs) if name.startswith("restore_")]
    assert [h for h in hooks if f"## {h}\n" not in GENERATED["reference/hooks.md"]] == []
    assert [c for c in COMMANDS if f"## restore {c}\n" not in GENERATED["reference/commands.md"]] == []
    rooms = {
        p.stem for p in (ROOT / "core/src/restore").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()
    }
    assert {r for r in rooms - {"__init__"} if f"| `{r}` |" not in house.floors()} == set()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("restore.cli.doctor.command.help", "restore doctor has no help"),
        ("restore.hookspecs.restore_losses.__doc__", "hook restore_losses has no docstring"),
        ("restore.recipe.Segments.__doc__", "recipe key [run.segments] at is not described"),
        ("restore_srsenet.model.SrSENet.__doc__", "model srsenet:srsenet has no docstring"),
    ],
)
def test_what_is_not_explained_is_found(place, said, monkeypatch):
    monkeypatch.setattr(place, "")
    assert said in reference.missing(registry())


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    docs = ROOT / "docs"
    for link in links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.relative_to(docs).as_posix() if target.is_relative_to(docs) else ""
        assert target.exists() or inside in GENERATED, f"{page.name}: {link}"
        if anchor:
            text = GENERATED.get(inside) or target.read_text(encoding="utf-8")
            assert anchor in anchors(text), f"{page.name}: {link}"


def test_the_site_has_every_page_in_its_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r"[\w./-]+\.md$", menu, re.MULTILINE)
    written = {p.relative_to(ROOT / "docs").as_posix() for p in PAGES[1:]}
    assert sorted(named) == sorted({*written, *GENERATED})


def test_generated_links_lead_somewhere():
    for place, text in GENERATED.items():
        for link in links(text):
            path, _, anchor = link.partition("#")
            inside = (Path("/") / place).parent.joinpath(path).resolve().relative_to("/").as_posix() if path else place
            assert inside in GENERATED, f"{place}: {link}"
            assert not anchor or anchor in anchors(GENERATED[inside]), f"{place}: {link}"


# --- commands and recipes are possible --------------------------------------------------------------------------------


def parsed(words):
    """The click context of a ``restore`` command; click's own error where there is no such option."""
    name, *arguments = [w for w in words[1:] if w != "--debug"]
    top = click.Context(cli, info_name="restore")
    command = cli.get_command(top, name)
    assert command is not None, f"no command {name!r}"
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        group = click.Context(command, info_name=name, parent=top)
        command = command.get_command(group, arguments.pop(0))
        assert command is not None, f"no command {' '.join(words[:3])!r}"
    return command.make_context(name, arguments)


def document_of(params):
    """The document that a command's recipe and ``--set`` give; None where it names none. A recipe that waits in its
    package for its weights is there too."""
    plugin, overrides = params.get("plugin"), tuple(params.get("overrides") or ())
    name = params.get("recipe") or params.get("recipe_") or (f"{plugin}:run" if plugin else None)
    if name is None:
        return None
    owner, _, short = name.partition(":")
    waiting = ROOT / f"plugins/{owner}/src/restore_{owner}/recipes/{short}.toml"
    return (
        load(waiting, overrides) if waiting.is_file() else recipe_document(registry(), recipe=name, overrides=overrides)
    )


def check_recipe(document):
    """The recipe's own keys, its components, and their parameters as far as names go; nested ones too."""
    for kind, use in uses(check(document)):
        if kind == "optimizer":
            find_factory(use, builder(registry()))
        else:
            check_component(kind, use.use, use.parameters)


def check_component(kind, name, parameters):
    known = schema(import_factory(registry().find(kind, name)))
    extra = {"model": {"weights"}, "loss": {"weight"}}.get(kind, set())
    unknown = set(parameters) - set(known) - extra
    assert not unknown, f"{name} has no {', '.join(unknown)}; it takes {', '.join(known)}"


def possible(words, block):
    """Whether a command line is one."""
    if words[0] != "restore":
        assert words[0] in OTHERS, f"{block}: {words[0]}"
        assert words[0] != "make" or f"\n{words[1]}: " in (ROOT / "Makefile").read_text(), f"{block}: {words}"
        if words[0] == "python":
            there = importlib.util.find_spec(words[2]) if words[1] == "-m" else (ROOT / words[1]).is_file()
            assert there, f"{block}: {words}"
        return
    try:
        params = parsed(words).params
        if words[1] in ("describe", "check"):
            return
        if document := document_of(params):
            check_recipe(document)
        elif params.get("use"):
            check_component("degradation", params["use"], dict(o.partition("=")[::2] for o in params["overrides"]))
    except (click.ClickException, RequestError, AssertionError) as error:
        raise AssertionError(f"{block}: {' '.join(words)}: {error}") from error
    except click.exceptions.Exit:
        pass


@pytest.mark.parametrize(
    "line",
    [
        "restore run --plugin srsenet --slow clip.mp4",
        "restore weights fetch",
        "restore run --plugin srsenet --set run.tiles=3",
        "restore run --plugin srsenet --set model.size=3",
        "restore train nothing:here",
        "restore degrade a -o b --use bicubic --set scales=2",
        "make nothing",
        "ls",
    ],
)
def test_what_is_not_possible_is_found(line):
    with pytest.raises(AssertionError):
        possible(line.split(), "here")


# --- and they work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_work(page, restore, clip, photo, installed, tmp_path, monkeypatch):
    """In order, in one folder that holds the files that the pages speak of."""
    supply(tmp_path, clip, photo)
    names = {"__name__": "docs"}
    for block in blocks(page):
        assert set(block.marks) <= {"long", "fragment", "pyproject"}, f"{block}: {block.marks}"
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        if block.language == "toml" and "pyproject" not in block.marks:
            document = parse(block.text, str(block))
            check_recipe(document)
            assert document.data.get("recipe") == 1 or "fragment" in block.marks, f"{block}: no recipe = 1"
        elif block.language == "python":
            program = compile(block.text, str(block), "exec")
            if not block.title:
                exec(program, names)
        elif block.language == "sh":
            for settings, words in block.commands:
                possible(words, block)
                if "long" not in block.marks:
                    assert not settings, f"{block}: mark the block long, tests set no variables"
                    run(words, restore, installed, block, monkeypatch)
        else:
            assert block.language in ("text", "toml", ""), f"{block}: {block.language}"


def supply(folder, clip, photo):
    """What a reader has."""
    clip("clip.mp4")
    photo("photo.png")
    write_images(folder / "photos", count=2)
    mask = np.zeros((32, 48), np.uint8)
    mask[10:14, 20:30] = 255
    Image.fromarray(mask).save(folder / "mask.png")


def run(words, restore, installed, block, monkeypatch):
    """One command, in this process."""
    if words[0] == "cd":
        monkeypatch.chdir(words[1])
    elif words[:2] == ["pip", "install"]:
        installed(Path.cwd())
    elif words[0] == "restore":
        done = restore(*words[1:])
        assert done.code == 0, f"{block}: {' '.join(words)}\n{done.err}{done.out}"
    else:
        raise AssertionError(f"{block}: mark the block long, tests do not run {words[0]}")
