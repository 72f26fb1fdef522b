"""Docstrings as Markdown, and what they say of each parameter."""

from __future__ import annotations

import inspect
import re
import textwrap

SECTIONS = ("Args", "Attributes", "Raises", "Returns")


def inline(text):
    """One paragraph: roles and double backticks become code, and nothing else is markup."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", " ".join(text.split()))
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = f"`{part.strip('`')}`"
        else:
            parts[i] = re.sub(r"([*<\[\]|])", r"\\\1", part)
    return "".join(parts)


def cell(text):
    """For a table: a bar in code must be escaped too."""
    return re.sub(r"(?<!\\)\|", r"\\|", inline(text))


def code(text):
    """Code in a table cell, as it is; empty stays empty."""
    return f"`{str(text).replace('|', chr(92) + '|')}`" if str(text) else ""


def table(columns, rows):
    """A Markdown table; cells are Markdown already."""
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def doc(thing):
    """The docstring of an object, without its indentation; empty where it has none of its own."""
    own = getattr(thing, "__doc__", None)
    return inspect.cleandoc(own) if own else ""


def sections(text):
    """A docstring's parts: ``""`` is what comes before the first section, then ``Args`` and so on."""
    parts, name = {"": []}, ""
    for line in text.splitlines():
        head = re.match(r"(\w+):\s*$", line)
        if head and head.group(1) in SECTIONS:
            name = head.group(1)
            parts[name] = []
        else:
            parts[name].append(line)
    return {key: textwrap.dedent("\n".join(lines)).strip("\n") for key, lines in parts.items()}


def entries(section):
    """``name: what`` of an Args or Attributes section; ``one, two: what`` gives both."""
    found, names = {}, ()
    for line in section.splitlines():
        head = re.match(r"([\w*]+(?:\s*,\s*[\w*]+)*)\s*(?:\([^)]*\))?\s*:(?!:)\s*(.*)$", line)
        if head and not line.startswith(" "):
            names = tuple(name.strip(" *") for name in head.group(1).split(","))
            found.update(dict.fromkeys(names, head.group(2)))
        elif names and line.strip():
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return found


def markdown(text):
    """A docstring's prose: paragraphs, lists, and indented examples after ``::``."""
    out = []
    for block in re.split(r"\n\s*\n", text):
        if not block.strip():
            continue
        if all(line.startswith("  ") or not line.strip() for line in block.splitlines()):
            body = textwrap.dedent(block)
            if out and out[-1].endswith("\n```"):
                # An example with empty lines in it.
                out[-1] = f"{out[-1][:-3]}\n{body}\n```"
            else:
                kind = (
                    "toml" if body.startswith("[") else "python" if re.match(r"(from|import|@|def) ?", body) else "text"
                )
                out.append(f"```{kind}\n{body}\n```")
        elif re.match(r"\s*[-*] ", block):
            items = re.split(r"\n(?=\s*[-*] )", block)
            out.append("\n".join(f"- {inline(item.strip()[2:])}" for item in items))
        else:
            lead, dash, items = block.partition("\n- ")
            out.append(inline(re.sub(r"::\s*$", ":", lead)))
            if dash:
                out.append(markdown(f"- {items}"))
    return "\n\n".join(out)


def described(text):
    """A whole docstring: prose, and its sections as lists."""
    parts, out = sections(text), []
    out.append(markdown(parts.pop("")))
    for name, section in parts.items():
        found = entries(section)
        body = "\n".join(f"- `{key}`: {inline(what)}" for key, what in found.items()) or inline(section)
        out.append(f"**{'Parameters' if name == 'Args' else name}**\n\n{body}")
    return "\n\n".join(part for part in out if part)
