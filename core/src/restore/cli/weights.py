"""``restore weights``: what trained weights the plugins bring, fetching them, and checking them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from restore.cli.options import as_json, print_json, print_table

if TYPE_CHECKING:
    from restore.weights_store import NamedWeights

NAMES = "[NAME]..."


@click.group("weights", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, fetch and check the weights that installed models name.

    NAME is that of weights (srsenet-x2, srsenet:srsenet-x2) or of a plugin, for all of its; without NAME, every one.
    Fetched files are kept in the user's cache folder, or in RESTORE_CACHE. RESTORE_OFFLINE=1 forbids the network.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("list")
@click.argument("names", nargs=-1, metavar=NAMES)
@as_json
def list_(names: tuple[str, ...], json_: bool) -> None:
    """List where weights lie, and what they are for."""
    from restore.downloads import megabytes

    entries = [_entry(weights) for weights in _chosen(names)]
    if json_:
        print_json(entries)
        return
    rows = []
    for e in entries:
        size, digest = "-" if e["size"] is None else megabytes(e["size"]), (e["sha256"] or "-")[:12]
        card = "-" if e["card"] is None else e["card"].rpartition("/")[2]
        where = f"{e['where']}, damaged" if e["problem"] and e["where"] != "missing" else e["where"]
        rows.append((e["name"], where, size, digest, e["component"], card))
    print_table(("name", "where", "size", "sha256", "component", "card"), rows, right=("size",))


@command.command("pull")
@click.argument("names", nargs=-1, metavar=NAMES)
@as_json
@click.pass_context
def pull(ctx: click.Context, names: tuple[str, ...], json_: bool) -> None:
    """Fetch weights that are not here yet.

    Exit code 1 if some cannot be fetched.
    """
    from restore.errors import RestoreError

    entries = []
    chosen = _chosen(names)
    for weights in chosen:
        entry: dict[str, Any] = {"name": weights.name, "where": weights.where, "path": None, "error": None}
        try:
            path = weights.obtain()
            entry |= {"path": str(path), "where": weights.where}
        except RestoreError as error:
            # One that cannot be had must not cost the others.
            if len(chosen) == 1:
                raise
            entry["error"] = str(error)
        entries.append(entry)
    if json_:
        print_json(entries)
    else:
        print_table(("name", "where", "path"), [(e["name"], e["where"], e["path"] or e["error"]) for e in entries])
    if any(e["error"] for e in entries):
        ctx.exit(1)


@command.command("verify")
@click.argument("names", nargs=-1, metavar=NAMES)
@as_json
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...], json_: bool) -> None:
    """Compare files with promised hashes.

    Exit code 1 if one is damaged or missing.
    Fetched weights must have the hash that their plugin states, those in a package the hash that the installed package
    lists. "unrecorded" is a whole file of which nobody wrote down a hash, as in a source tree.
    """
    from restore.weights_store import check

    entries = []
    for weights in _chosen(names):
        status, problem = check(weights)
        entries.append({"name": weights.name, "where": weights.where, "status": status, "problem": problem})
    if json_:
        print_json(entries)
    else:
        columns = ("name", "where", "status", "problem")
        print_table(columns, [[e[c] for c in columns] for e in entries])
    if any(e["status"] in ("damaged", "missing") for e in entries):
        ctx.exit(1)


def _chosen(names: tuple[str, ...]) -> list[NamedWeights]:
    from restore.plugins import registry
    from restore.weights_store import chosen

    return chosen(names, registry())


def _entry(weights: NamedWeights) -> dict[str, Any]:
    from restore.component import RemoteWeights
    from restore.weights_store import card, fault, made_for

    remote = weights.source if isinstance(weights.source, RemoteWeights) else None
    entry: dict[str, Any] = {
        "name": weights.name, "where": weights.where, "size": None, "sha256": None, "component": weights.model.name,
        "card": None, "path": None, "url": remote.url if remote else None, "problem": fault(weights),
    }  # fmt: skip
    if remote is not None:
        entry |= {"size": remote.size, "sha256": remote.sha256}
    if weights.where == "remote" or entry["problem"]:
        return entry
    path = weights.path()
    beside = card(path)
    entry |= {"size": weights.size(), "sha256": weights.sha256(), "path": str(path)}
    return {**entry, "component": made_for(path) or weights.model.name, "card": beside and str(beside)}
