"""Pages of hooks, contracts and the conformance kit's checks."""

from __future__ import annotations

import inspect

import attrs
from restore import component, hookspecs
from restore import contracts as rules
from restore.component import KINDS
from restore.hookspecs import KIND_OF_HOOK

from reference.text import code, described, doc, inline, sections, table

# The values that contracts pass around come first, then the protocols in the order of the hooks.
VALUES = ("Traits", "Halo", "Prediction", "Step", "Pair")
PROTOCOLS = (
    "Model", "Sweep", "Teacher", "Degradation", "LinearOperator", "VideoMeasurement", "Window", "Place", "Loss",
    "Schedule", "Dataset", "Metric", "Pruner",
)  # fmt: skip


def hooks():
    """What a plugin implements, and what its hooks return."""
    out = ["# Hooks", described(doc(hookspecs))]
    rows = [
        (
            f"[`{name}`](#{name})",
            f"[{kind}](components/{kind}.md)" if kind != "recipe" else "[recipe](components/recipe.md)",
        )
        for name, kind in KIND_OF_HOOK.items()
    ]
    out += [table(("hook", "kind of component"), rows)]
    for name in KIND_OF_HOOK:
        out += [f"## {name}", described(doc(getattr(hookspecs, name)))]
    for name in ("Component", "RemoteWeights"):
        out += [f"## {name}", described(doc(getattr(component, name)))]
    return "\n\n".join(out) + "\n"


def contracts():
    """The protocols of components and the values that they exchange."""
    out = ["# Contracts", described(doc(rules))]
    for name in (*VALUES, *PROTOCOLS):
        out += _contract(getattr(rules, name))
    return "\n\n".join(out) + "\n"


def _contract(cls):
    out = [f"## {cls.__name__}", described(doc(cls))]
    if attrs.has(cls) and not getattr(cls, "_is_protocol", False):
        given = [(f.name, f.default) for f in attrs.fields(cls)]
        fields = ", ".join(name if d is attrs.NOTHING else f"{name}={_default(d)}" for name, d in given)
        out.append(f"```python\n{cls.__name__}({fields})\n```")
    for name, member in vars(cls).items():
        if _public(name, member):
            out += [
                f"### {cls.__name__}.{_called(name)}",
                f"```text\n{_signature(name, member)}\n```",
                described(doc(member)),
            ]
    return [part for part in out if part]


def _public(name, member):
    return (
        callable(member)
        and (not name.startswith("_") or name == "__call__")
        and bool(doc(member))
        and inspect.isfunction(member)
    )


def _called(name):
    return "call" if name == "__call__" else name


def _signature(name, member):
    text = str(inspect.signature(member)).replace("'", "").replace("(self, ", "(").replace("(self)", "()")
    return f"{'component' if name == '__call__' else name}{text}"


def _default(value):
    return "{}" if isinstance(value, attrs.Factory) else repr(value)


def checks():
    """What `restore check` looks at."""
    from restore.testing import conformance

    out = [
        "# Conformance checks",
        "What `restore check NAME` and `restore.testing.conformance_tests` hold a plugin to. A check that fails says "
        "what was promised, what was seen, and how to mend it; one that has nothing to look at says why.",
    ]
    for kind in (*KINDS, "package"):
        rows = [(code(c.full_name), inline(c.promised)) for c in conformance.checks(kind)]
        if rows:
            out += [f"## {kind.capitalize()}", table(("check", "promise"), rows)]
    return "\n\n".join(out) + "\n"


def missing():
    """Hooks and contracts without a word, and attributes of values that none describes."""
    lost = [f"hook {name} has no docstring" for name in KIND_OF_HOOK if not doc(getattr(hookspecs, name))]
    lost += [
        f"hook {name} has no kind of component: add it to KIND_OF_HOOK"
        for name, member in vars(hookspecs).items()
        if name.startswith("restore_") and callable(member) and name not in KIND_OF_HOOK
    ]
    here = {n for n, c in vars(rules).items() if inspect.isclass(c) and c.__module__ == rules.__name__}
    lost += [f"contract {name} is on no page" for name in sorted(here - {*VALUES, *PROTOCOLS})]
    lost += [f"contract {name} has no docstring" for name in sorted(here) if not doc(getattr(rules, name))]
    for cls in (rules.Traits, component.Component, component.RemoteWeights):
        said = sections(doc(cls)).get("Attributes", "")
        lost += [f"{cls.__name__}.{f.name} is not described" for f in attrs.fields(cls) if f"{f.name}:" not in said]
    return lost
