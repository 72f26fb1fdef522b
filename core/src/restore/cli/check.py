"""``restore check``: the conformance kit on an installed plugin, without pytest."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, print_json, print_table

if TYPE_CHECKING:
    from restore.plugins import Registry
    from restore.testing.running import Case, Outcome


@click.command("check")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--examples",
    type=click.Path(path_type=Path, dir_okay=False),
    help='TOML: what to build components with, in tables ["mynet:net"] or [["mynet:net"]].',
)
@click.option("--only", "patterns", multiple=True, metavar="PATTERN", help="model.*, *.halo; !PATTERN leaves out.")
@click.option("--quick", is_flag=True, help="Leave out what takes long: exporting, building the wheel.")
@click.option("--verbose", is_flag=True, help="Every check by itself, and why some do not apply.")
@as_json
def command(
    names: tuple[str, ...], examples: Path | None, patterns: tuple[str, ...], quick: bool, verbose: bool, json_: bool
) -> None:
    """Check that the plugin or component NAME keeps its contracts. Exit code 1 if it does not.

    Every component is built from its defaults, or from the tables of --examples, and goes through the checks of its
    kind; of a whole plugin also what is installed is looked at. What is broken is said with what was promised, what was
    seen, and how to mend it.

    \b
    restore check mynet
    restore check mynet:net --only 'model.*'
    """
    from restore.plugins import registry

    every = _cases(names, registry(), _examples(examples), patterns or ("*",), not quick)
    found = _run(every)
    failed = [o for o in found if o.status == "failed"]
    if json_:
        print_json({"checks": [_entry(o) for o in found], **_counts(found)})
    else:
        _print(found, verbose)
    if failed:
        sys.exit(1)


def _examples(path: Path | None) -> dict[str, Any] | None:
    from restore.document import load
    from restore.errors import RequestError

    if path is None:
        return None
    tables = load(path).data
    for name, table in tables.items():
        if not isinstance(table, (dict, list)):
            raise RequestError(f'{path}: {name} must be a table of parameters: ["{name}"]')
    return dict(tables)


def _cases(
    names: tuple[str, ...],
    registry: Registry,
    examples: dict[str, Any] | None,
    patterns: tuple[str, ...],
    thorough: bool,
) -> list[Case]:
    """The kit's cases; of a plugin that does not load, those that say so."""
    from restore.errors import RequestError
    from restore.testing.running import cases, package_cases

    broken = [n for n in names if any(i.name == n and i.status != "ok" for i in registry.plugins)]
    found = [
        c for n in broken for c in package_cases(n, registry, patterns, []) if c.check.name in ("loads", "listing")
    ]
    whole = [n for n in names if n not in broken]
    if whole:
        found += cases(*whole, examples=examples, checks=patterns, registry=registry, thorough=thorough)
    if not found:
        raise RequestError(f"{' and '.join(names)} has nothing to check under the patterns {list(patterns)}")
    return found


def _run(every: list[Case]) -> list[Outcome]:
    from restore.progress import Progress
    from restore.testing.running import outcomes

    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as root, Progress("checking", len(every), "checks") as bar:
        for outcome in outcomes(every, lambda: Path(tempfile.mkdtemp(dir=root))):
            found.append(outcome)
            bar.advance(note=outcome.case.id)
    return found


def _counts(found: list[Outcome]) -> dict[str, int]:
    return {
        name: sum(o.status == status for o in found)
        for name, status in (("passed", "passed"), ("failed", "failed"), ("not_applicable", "skipped"))
    }


def _subject(outcome: Outcome) -> str:
    source = outcome.case.source
    return source.registered.plugin if source.registered.kind == "package" else source.registered.name


def _entry(outcome: Outcome) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "component": _subject(outcome),
        "check": outcome.case.check.full_name,
        "case": outcome.case.id,
        "status": {"skipped": "not applicable"}.get(outcome.status, outcome.status),
        "seconds": round(outcome.seconds, 3),
    }
    if outcome.status == "skipped":
        entry["reason"] = outcome.reason
    if outcome.error is not None:
        error = outcome.error
        entry |= {"promised": error.promised, "seen": error.seen, "mend": error.mend}
    return entry


def _print(found: list[Outcome], verbose: bool) -> None:
    if verbose:
        cases = [(o.case.id, {"skipped": "not applicable"}.get(o.status, o.status), o.reason) for o in found]
        print_table(("case", "outcome", "reason"), cases)
    else:
        rows = [_row(name, [o for o in found if _subject(o) == name]) for name in dict.fromkeys(map(_subject, found))]
        print_table(("component", "passed", "failed", "not applicable", "what"), rows, right=_NUMBERS)
    for first, others in _alike(found):
        click.echo(f"\n{_subject(first)}: {first.error}")
        if others:
            names = list(dict.fromkeys(o.case.check.full_name for o in others))
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            click.echo(f"  the same in {len(others)} other cases: {', '.join(names[:4])}{more}")
    counts = _counts(found)
    click.echo(
        f"\n{counts['passed']} passed, {counts['failed']} failed, {counts['not_applicable']} not applicable"
        + ("" if verbose or not counts["not_applicable"] else " (--verbose says why)")
    )


def _alike(found: list[Outcome]) -> list[tuple[Outcome, list[Outcome]]]:
    """Failures, each with those of the same component that saw the same: a forward that raises fails everything."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in found:
        if outcome.error is not None:
            groups.setdefault((_subject(outcome), outcome.error.seen), []).append(outcome)
    return [(group[0], group[1:]) for group in groups.values()]


_NUMBERS = ("passed", "failed", "not applicable")


def _row(name: str, of: list[Outcome]) -> tuple[str, int, int, int, str]:
    """A component's line; what failed, or why nothing could be looked at, by name."""
    counts = _counts(of)
    failed = dict.fromkeys(o.case.check.full_name for o in of if o.status == "failed")
    what = ", ".join(failed) or ("" if counts["passed"] else of[0].reason)
    return (name, counts["passed"], counts["failed"], counts["not_applicable"], what)
