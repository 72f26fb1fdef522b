"""The command ``restore``. A command is imported when it is called: ``--help`` runs no plugin and no torch."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from restore import __version__
from restore.errors import RestoreError

# Command: (module, what it does). Kept here so that `restore --help` imports nothing else.
COMMANDS = {
    "run": "Restore images, videos or folders.",
    "train": "Train a recipe's model.",
    "prune": "Make a recipe's model smaller, by its pruner.",
    "eval": "Measure a recipe's model on clean images.",
    "degrade": "Make the damaged version of images.",
    "compare": "Measure versions against a reference, and make a page to look at them.",
    "plugins": "List installed plugins.",
    "components": "List what the plugins add: models, losses, ...",
    "recipes": "List installed recipes.",
    "weights": "List, fetch and check trained weights.",
    "describe": "Show what a component or recipe takes.",
    "doctor": "Say what is broken, and why.",
    "new-plugin": "Write a repository for a plugin of your own.",
    "check": "Check that a plugin keeps its contracts.",
    "export": "Write a model as ONNX or for torch.export.",
    "bench": "Measure a model's speed and memory on this machine.",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"restore.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from restore.plugins import nearest

            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], COMMANDS)}", ctx=error.ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `restore run --plugin srsenet`: it restores a built-in sample.",
)
@click.version_option(__version__, prog_name="restore")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(debug: bool) -> None:
    """Learned restoration of images and video; every method is a plugin."""


def main() -> None:
    """Entry point: errors become one or two lines and an exit code (1 the work failed, 2 the request was wrong)."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        code = cli.main(args=arguments, prog_name="restore", standalone_mode=False, obj=debug)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        print("restore: stopped", file=sys.stderr)
        sys.exit(130)
    except click.ClickException as error:
        # click's own form begins with three lines of usage; what was wrong comes first here.
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "restore"
        print(f"restore: {error.format_message()}\nSee `{where} --help`.", file=sys.stderr)
        sys.exit(2)
    except RestoreError as error:
        if debug:
            raise
        print(f"restore: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("restore: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        lines = str(error).strip().splitlines() or [""]
        print(f"restore: {type(error).__name__}: {lines[0]} (--debug shows where)", file=sys.stderr)
        sys.exit(1)
