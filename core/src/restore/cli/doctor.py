"""``restore doctor``: what is broken, and why."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from restore.cli.options import as_json, print_json, print_table

if TYPE_CHECKING:
    from restore.plugins import Registry

COLUMNS = ("name", "distribution", "version", "status", "cause")
# A core that speaks an older group is a matter of versions, and so is a plugin that was switched off: no fault.
FAULTS = ("broken", "conflict")


@click.command("doctor")
@click.option("--verbose", is_flag=True, help="Show the traceback of broken plugins.")
@as_json
@click.pass_context
def command(ctx: click.Context, verbose: bool, json_: bool) -> None:
    """Say what is installed, what is broken, and why. Exit code 1 if a plugin is broken."""
    from restore.plugins import registry

    infos = registry().plugins
    system = environment()
    faults, cache = weights_faults(registry()), cache_state()
    verbose = verbose or bool(ctx.obj)
    keys = (*COLUMNS, "traceback") if verbose else COLUMNS
    if json_:
        plugins = [{k: attrs.asdict(i)[k] for k in keys} for i in infos]
        print_json({"plugins": plugins, "environment": system, "weights": faults, "cache": cache})
    else:
        print_table(COLUMNS, [[getattr(info, column) for column in COLUMNS] for info in infos])
        click.echo()
        for key, value in system.items():
            click.echo(f"{key}: {value}")
        click.echo(f"cache: {_sentence(cache)}")
        for fault in faults:
            click.echo(f"weights {fault['name']}: {fault['problem']}")
        for info in infos:
            if verbose and info.traceback:
                click.echo(f"\n{info.name}:\n{info.traceback.rstrip()}")
    broken = [info.name for info in infos if info.status in FAULTS]
    if broken:
        hint = "" if verbose else "; --verbose shows where"
        click.echo(f"restore: {len(broken)} not working: {', '.join(broken)}{hint}", err=True)
        ctx.exit(1)


def weights_faults(registry: Registry) -> list[dict[str, str]]:
    """Weights that plugins name and that are missing or cut off; `restore weights verify` reads them whole."""
    from restore.weights_store import every, fault

    return [{"name": w.name, "problem": problem} for w in every(registry) if (problem := fault(w))]


def cache_state() -> dict[str, Any]:
    """The folder of fetched weights: files and bytes in it, whether it can be written, whether the network is off."""
    from restore.downloads import cache_folder, is_offline

    folder = cache_folder()
    sizes = [f.stat().st_size for f in (folder / "weights").glob("*") if f.is_file() and not f.name.startswith(".")]
    there = next(p for p in (folder, *folder.parents) if p.exists())
    writable = there.is_dir() and os.access(there, os.W_OK)
    return {
        "path": str(folder),
        "files": len(sizes),
        "bytes": sum(sizes),
        "writable": writable,
        "offline": is_offline(),
    }


def _sentence(cache: dict[str, Any]) -> str:
    from restore.downloads import megabytes

    held = f"{cache['files']} fetched weights, {megabytes(cache['bytes'])}" if cache["files"] else "nothing fetched"
    more = "" if cache["writable"] else "; cannot be written, RESTORE_CACHE=DIR names another folder"
    return f"{cache['path']}, {held}{more}" + ("; RESTORE_OFFLINE is set" if cache["offline"] else "")


def environment() -> dict[str, Any]:
    """Versions and hardware, read without importing anything heavy."""
    from importlib_metadata import PackageNotFoundError, version

    def of(distribution: str) -> str:
        try:
            return version(distribution)
        except PackageNotFoundError:
            return "not installed"

    return {
        "restorekit": of("restorekit"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "torch": of("torch"),
        "av": of("av"),
        "lightning-fabric": of("lightning-fabric"),
        "processors": _processors(),
        "cuda": _cuda(of("torch")),
    }


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuda(torch_version: str) -> str:
    """A guess from files alone: torch itself is not imported."""
    driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
    spec = importlib.util.find_spec("torch")
    folder = Path(spec.origin).parent / "lib" if spec is not None and spec.origin else None
    built = folder is not None and any(folder.glob("*torch_cuda*"))
    if driver and built:
        return "likely: there is a driver, and torch was built with CUDA"
    if driver:
        return f"no: there is a driver, but torch {torch_version} was built without CUDA"
    return "no driver found"
