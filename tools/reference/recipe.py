"""Pages of recipe keys and evaluation protocols."""

from __future__ import annotations

import typing

import attrs
from restore import recipe as tables
from restore.convert import describe_type
from restore.document import toml

from reference.text import cell, code, described, doc, entries, inline, markdown, sections, table

# Table of the recipe: the class that reads it. A phase's keys that it shares with [training] mean the same.
TABLES = {
    "": tables.Recipe, "[data]": tables.Data, "[training]": tables.Training, "[training.start]": tables.Start,
    "[training.early_stopping]": tables.EarlyStopping, "[[phases]]": tables.Phase, "[evaluation]": tables.Evaluation,
    "[run]": tables.Run, "[run.temporal]": tables.Temporal, "[run.segments]": tables.Segments,
    "[run.output]": tables.Output,
}  # fmt: skip
# What a component's table stands for, where the class has no attribute list of its own.
TOP = {
    "recipe": "The format's version, 1.",
    "summary": "One line of what the recipe is for.",
    "model": "The network.",
    "degradation": "What spoils clean clips for training and evaluation.",
    "losses": "What training lowers: their sum.",
    "optimizer": "One of `torch.optim` by its name in lower case, or a plugin's; `lr` is a number or a schedule; "
    "`groups` gives other rates to parameters whose names match.",
    "pruner": "What makes the model smaller in phases that say so.",
    "operator": "For `restore run`: the linear degradation that made the file, for models that need to know it.",
    "data": "Clean clips.",
    "training": "How long, in what batches, from what seed.",
    "phases": "Training in parts, worked through in order.",
    "evaluation": "The protocol.",
    "stages": "For `restore run`: several models in a row, instead of `[model]`.",
    "run": "How the engine works.",
    "train": "Clips that training reads.",
    "validation": "Clips that validation measures; without them there is none.",
    "test": "What `restore eval` measures where `--data` is not given.",
    "protocol": "Its name; see [protocols](protocols.md).",
}


def explanations(cls):
    """What is said of each field of a recipe's table."""
    said = entries(sections(doc(cls)).get("Attributes", ""))
    for part, text in list(said.items()):
        said[part] = inline(text)
    if cls is tables.Phase:
        shared = explanations(tables.Training)
        said = {**{k: f"As in `[training]`: {v}" for k, v in shared.items()}, **said}
    known = {f.name for f in attrs.fields(cls)}
    return {**{k: v for k, v in TOP.items() if k in known}, **{k: v for k, v in said.items() if k in known}}


def page():
    """Every key of a recipe."""
    out = [
        "# Recipe keys",
        "A recipe is one TOML file. What is not known, of the wrong type or missing is an error that names file, line, "
        'key and the nearest right name. `--set a.b=value` overrides any key; `"${model.scale}"` takes another key\'s '
        'value. A table with `use = "component"` builds [that component](components/index.md); its other keys are the '
        "component's parameters.",
    ]
    for name, cls in TABLES.items():
        said = explanations(cls)
        prose = markdown(sections(doc(cls))[""])
        rows = [
            (code(f.name), cell_type(f), _default(f), said.get(f.name, "").replace("|", "\\|"))
            for f in attrs.fields(cls)
        ]
        out += [f"## {name or 'The whole'}", prose, table(("key", "type", "default", "what"), rows)]
    return "\n\n".join(out) + "\n"


def cell_type(field):
    """A field's type as a person writes it."""
    attrs.resolve_types(tables.Recipe)
    hint = field.type
    inner = [hint, *typing.get_args(hint)]
    if any(i is tables.Use for i in inner):
        number = "number or " if float in inner else ""
        return f"{number}{'list of components' if typing.get_origin(hint) is tuple else 'component'}"
    if any(isinstance(i, type) and attrs.has(i) for i in inner):
        return "list of tables" if typing.get_origin(hint) is tuple else "table"
    return cell(describe_type(hint))


def _default(field):
    value = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default
    if value is attrs.NOTHING:
        return "required"
    return "" if value in (None, {}, ()) or attrs.has(type(value)) else code(toml(value))


def protocols():
    """The named protocols of `restore eval`."""
    from restore.contracts import Traits
    from restore.evaluation.clip_protocols import CLIP_PROTOCOLS
    from restore.evaluation.protocols import PROTOCOLS

    out = [
        "# Evaluation protocols",
        "A PSNR means nothing without what it was measured under. `restore eval` prints its protocol with every table; "
        "`--protocol NAME` or `[evaluation]` chooses it. Below is what each one fixes, as it is printed for a model of "
        "RGB at scale 2.",
        "## Still images",
    ]
    for protocol in PROTOCOLS.values():
        out += _protocol(protocol, protocol.describe(2))
    out += ["## Clips"]
    for clips in CLIP_PROTOCOLS.values():
        out += _protocol(clips, clips.describe(Traits()))
    return "\n\n".join(out) + "\n"


def _protocol(protocol, told):
    rows = [(key.replace("_", " "), cell(str(value))) for key, value in told.items() if key != "name"]
    return [f"### {protocol.name}", inline(protocol.summary) + ".", table(("", ""), rows)]


def missing():
    """Keys that nothing explains, and tables that the page leaves out."""
    lost = [f"recipe key {name} {f.name} is not described" for name, cls in TABLES.items() for f in attrs.fields(cls)
            if not explanations(cls).get(f.name)]  # fmt: skip
    classes = {
        c for c in vars(tables).values() if isinstance(c, type) and attrs.has(c) and c.__module__ == tables.__name__
    }
    return lost + [f"recipe table {c.__name__} is on no page" for c in classes - {*TABLES.values(), tables.Use}]


__all__ = ["described", "explanations", "missing", "page", "protocols"]
