"""``restore bench``: speed and memory of a model on this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import click

from restore.cli.options import as_json, overrides, print_json, print_table, source

if TYPE_CHECKING:
    from torch import nn

    from restore.bench import Measured

PRECISIONS = ("fp32", "bf16", "fp16")


@click.command("bench")
@click.argument("component", required=False)
@source
@click.option("--size", "sizes", multiple=True, metavar="WIDTHxHEIGHT", help="Of the input [default: 160x90, 320x180].")
@click.option("--frames", type=click.IntRange(min=1), default=1, show_default=True, help="Of the input clip.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), help="[default: fp32, bf16]")
@click.option("--layouts", is_flag=True, help="Also with channels last.")
@click.option("--compile", "compile_", is_flag=True, help="Also with torch.compile.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps")
@click.option("--seconds", type=click.FloatRange(min=0.0), default=2.0, show_default=True, help="On each row, about.")
@overrides
@as_json
def command(
    component: str | None,
    plugin: str | None,
    recipe: str | None,
    sizes: tuple[str, ...],
    frames: int,
    precisions: tuple[str, ...],
    layouts: bool,
    compile_: bool,
    device: str,
    seconds: float,
    overrides: tuple[str, ...],
    json_: bool,
) -> None:
    """Measure the speed and memory of the model COMPONENT, or of a recipe's model, on this machine.

    A time is the median of calls on a clip at random, after one that is not counted. Memory is torch's peak on CUDA,
    and on a CPU what the largest layer reads and writes. MACs are counted by torch's flop counter.

    \b
    restore bench srsenet --set scale=4 --size 480x270
    restore bench --plugin srsenet --layouts --compile
    """
    from restore.bench import Bench, settings
    from restore.modelling import pick_device
    from restore.progress import Progress

    model, name = _model(component, plugin, recipe, overrides)
    where = pick_device(device)
    measured = [_size(text) for text in sizes or ("160x90", "320x180")]
    every = settings(precisions or ("fp32", "bf16"), layouts, compile_)  # type: ignore[arg-type]
    bench, rows = Bench(model, where, seconds), []
    with Progress(name, len(measured) * len(every), "settings") as bar:
        for row in bench.measure(measured, frames, every):
            rows.append(row)
            bar.advance()
    about = {"component": name, "parameters": sum(p.numel() for p in model.parameters()), **_machine(where.type)}
    if json_:
        print_json({**about, "results": [attrs.asdict(row) for row in rows]})
    else:
        _print(about, rows)


def _model(
    component: str | None, plugin: str | None, recipe: str | None, overrides: tuple[str, ...]
) -> tuple[nn.Module, str]:
    """The model, and its component's name."""
    from restore.catalogue import recipe_document
    from restore.document import parse
    from restore.errors import RequestError
    from restore.modelling import build_model, builder
    from restore.plugins import registry
    from restore.recipe import Use, check

    made = builder(registry())
    if component is None:
        document = recipe_document(registry(), recipe=recipe, plugin=plugin, overrides=overrides)
        use = check(document).model
        if use is None:
            raise document.root.error("bench measures one model: give a recipe with [model]")
        return build_model(use, made)
    if plugin is not None or recipe is not None:
        raise RequestError("name a component, or a recipe, not both")
    document = parse("", f"bench {component}", overrides)
    return build_model(Use(component, dict(document.data), document.root), made)


def _size(text: str) -> tuple[int, int]:
    from restore.errors import RequestError

    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or "0" in found.groups():
        raise RequestError(f"--size is WIDTHxHEIGHT, such as 320x180, not {text!r}")
    return int(found.group(1)), int(found.group(2))


def _machine(device: str) -> dict[str, Any]:
    """What the numbers hold for."""
    import platform

    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": device, "hardware": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def _print(about: dict[str, Any], rows: list[Measured]) -> None:
    threads = f", {about['threads']} threads" if about["device"] == "cpu" else ""
    title = (
        f"{about['component']}, {about['parameters']:,} parameters; {about['hardware']} ({about['device']}{threads}), "
        f"torch {about['torch']}"
    )
    peak = any(row.memory_is_peak for row in rows)
    columns = ("input", "setting", "ms/frame", "spread", "frames/s", "peak" if peak else "largest layer",
               "GMACs/frame", "vs fp32")  # fmt: skip
    print_table(columns, [_cells(row) for row in rows], title, right=columns[2:])


def _cells(row: Measured) -> tuple[str, ...]:
    size = f"{row.width}x{row.height}" + (f"x{row.frames}" if row.frames > 1 else "")
    if row.seconds is None or row.spread is None or row.fps is None or row.memory is None:
        return (size, row.setting, row.failure, "", "", "", "", "")
    counted = "-" if row.macs is None else f"{row.macs / 1e9:.3g}"
    agreement = "-" if row.agreement is None else f"{row.agreement:.1f} dB"
    return (
        size, row.setting, f"{1000 * row.seconds:.1f}", f"{100 * row.spread:.0f}%", f"{row.fps:.2f}",
        f"{row.memory / 2**20:.1f} MiB", counted, agreement,
    )  # fmt: skip
