"""The page of commands, out of click."""

from __future__ import annotations

import re

import click
from restore.cli.main import cli

from reference.text import cell, code, inline, table


def walk():
    """``(name, command, context)`` of every command and subcommand, as they are typed after `restore`."""
    top = click.Context(cli, info_name="restore")
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        context = click.Context(command, info_name=name, parent=top)
        yield name, command, context
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                sub = command.get_command(context, inner)
                yield f"{name} {inner}", sub, click.Context(sub, info_name=inner, parent=context)


def page():
    """Usage, help and options of every command."""
    every = list(walk())
    rows = [(f"[`restore {n}`](#restore-{n.replace(' ', '-')})", cell(c.get_short_help_str(200))) for n, c, _ in every]
    out = [
        "# Commands",
        "Every command prints a table for people and, with `--json`, one JSON document on standard output; messages go "
        "to standard error. Exit codes: 0 done, 1 the work failed, 2 the request was wrong. `restore --debug COMMAND` "
        "shows tracebacks. `RESTORE_PLUGINS=a,b` loads these plugins alone, `RESTORE_DISABLE_PLUGINS=a,b` all others, "
        "`RESTORE_STRICT=1` lets a broken plugin's exception through.",
        table(("command", "what"), rows),
    ]
    for name, command, context in every:
        usage = " ".join(context.get_usage().replace("Usage: ", "").split())
        out += [f"## restore {name}", f"```text\n{usage}\n```", *_help(command.help or "")]
        options = [p for p in command.params if isinstance(p, click.Option)]
        if options:
            described = [
                (_names(o), _default(o), cell(re.sub(r"\s*\[default: .*?\]", "", o.help or ""))) for o in options
            ]
            out.append(table(("option", "default", "what"), described))
    return "\n\n".join(out) + "\n"


def _help(text):
    for block in re.split(r"\n\s*\n", text):
        if block.strip().startswith("\b"):
            lines = [line.strip() for line in block.splitlines() if line.strip("\b ").strip()]
            yield "```text\n" + "\n".join(lines) + "\n```"
        else:
            yield inline(block)


def _names(option):
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    if isinstance(option.type, click.Choice):
        value = f" {' or '.join(map(str, option.type.choices))}"
    return code(", ".join(option.opts) + value)


def _default(option):
    said = re.search(r"\[default: (.*?)\]", option.help or "")
    if said:
        return inline(said.group(1))
    plain = isinstance(option.default, (str, int, float)) and not option.is_flag and option.default != ""
    return code(option.default) if plain else ""


def missing():
    """Commands without help, and options without a word."""
    lost = [f"restore {name} has no help" for name, command, _ in walk() if not (command.help or "").strip()]
    for name, command, _ in walk():
        for option in command.params:
            # What --license takes is said by its choices.
            silent = isinstance(option, click.Option) and not option.help and not isinstance(option.type, click.Choice)
            if silent:
                lost.append(f"restore {name} {option.opts[0]} has no help")
    return lost
