"""``restore doctor``: what is broken, and why."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

import attrs
import click

from restore.cli.options import as_json, print_json, print_table

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
    verbose = verbose or bool(ctx.obj)
    keys = (*COLUMNS, "traceback") if verbose else COLUMNS
    if json_:
        print_json({"plugins": [{k: attrs.asdict(i)[k] for k in keys} for i in infos], "environment": system})
    else:
        print_table(COLUMNS, [[getattr(info, column) for column in COLUMNS] for info in infos])
        click.echo()
        for key, value in system.items():
            click.echo(f"{key}: {value}")
        for info in infos:
            if verbose and info.traceback:
                click.echo(f"\n{info.name}:\n{info.traceback.rstrip()}")
    broken = [info.name for info in infos if info.status in FAULTS]
    if broken:
        hint = "" if verbose else "; --verbose shows where"
        click.echo(f"restore: {len(broken)} not working: {', '.join(broken)}{hint}", err=True)
        ctx.exit(1)


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
