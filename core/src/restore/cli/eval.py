"""``restore eval``: measure a recipe's model on clean images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from restore.cli.options import as_json, overrides, print_json, print_table, source

if TYPE_CHECKING:
    from restore.build import Builder
    from restore.contracts import Dataset
    from restore.document import Document
    from restore.evaluation.evaluate import Report
    from restore.recipe import Recipe


@click.command("eval")
@source
@click.option(
    "--data", type=click.Path(path_type=Path), help="Clean images, videos or folders of frames [default: data.test]."
)
@click.option(
    "--observed",
    type=click.Path(path_type=Path),
    help="Damaged images from elsewhere, instead of the recipe's degradation.",
)
@click.option(
    "--metric",
    "metric_names",
    multiple=True,
    metavar="NAME",
    help="Also measure this, e.g. ms-ssim, delta-psnr, flicker (of clips); may be given several times.",
)
@click.option(
    "--frames", type=click.IntRange(min=1), metavar="N", help="Only the first N frames of every clip [default: all]."
)
@click.option(
    "--protocol",
    "protocol_name",
    metavar="NAME",
    help="sr-y or lapsrn for images; clips, mfqe or ldv for clips [default: the recipe's].",
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps [default: the recipe's run.device].")
@click.option(
    "--csv", "csv_", type=click.Path(path_type=Path), metavar="FILE", help="Write the table to this file too."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing --csv FILE.")
@overrides
@as_json
def command(
    plugin: str | None,
    recipe: str | None,
    data: Path | None,
    observed: Path | None,
    metric_names: tuple[str, ...],
    frames: int | None,
    protocol_name: str | None,
    device: str | None,
    csv_: Path | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    json_: bool,
) -> None:
    """Degrade clean images or clips, restore them, and measure PSNR and SSIM under a named protocol.

    \b
    restore eval --plugin srsenet --data Set5/HR
    restore eval --recipe bicubic --set model.scale=4 --data Set5/HR --protocol lapsrn --json
    restore eval --plugin srsenet --data Set5/HR --csv set5.csv
    restore eval --plugin srsenet --data videos/ --frames 20 --metric flicker
    """
    from restore.catalogue import recipe_document
    from restore.evaluation.report_csv import csv_text
    from restore.media.files import check_output, write_whole
    from restore.modelling import builder as make_builder
    from restore.plugins import registry
    from restore.recipe import check

    document = recipe_document(registry(), recipe=recipe, plugin=plugin, overrides=overrides)
    if csv_ is not None:
        check_output(csv_, overwrite=overwrite)
    builder = make_builder(registry())
    asked = Asked(data, observed, metric_names, frames, protocol_name, device)
    report, model = _evaluate(check(document), document, builder, asked)
    if csv_ is not None:
        write_whole(csv_, csv_text(report, model).encode("utf-8"))
    if json_:
        print_json({**report.document(), "model": model})
        return
    _print(report, model)


def _print(report: Report, model: dict[str, Any]) -> None:
    keys = [key for key in report.mean if key != "seconds"]
    titles = {"psnr": "PSNR, dB", "ssim": "SSIM", "delta_psnr": "gain, dB", "delta_ssim": "SSIM gain"}
    titles["ms_per_frame"] = "ms a frame"
    columns = ("clip" if "frames" in report.results[0] else "image", *(titles.get(k, k) for k in keys), "seconds")
    rows = [
        (r["name"], *(f"{r[k]:.{_digits(k)}f}" for k in keys), f"{r['seconds']:.2f}")
        for r in [*report.results, {"name": "mean", **report.mean}]
    ]
    title = f"{model['component']}, x{model['scale']}, {model['parameters']:,} parameters"
    print_table(columns, rows, title=title, right=columns[1:])
    click.echo()
    for key, value in report.protocol.items():
        if key != "metrics":
            click.echo(f"{key.replace('_', ' ')}: {value}")
    for key, value in report.protocol.get("metrics", {}).items():
        click.echo(f"{key}: {', '.join(f'{k} {v}' for k, v in value.items() if k != 'metric')}")


def _digits(key: str) -> int:
    return 1 if key == "ms_per_frame" else 2 if "psnr" in key else 4


@attrs.frozen
class Asked:
    """What the command line asks for beyond the recipe."""

    data: Path | None
    observed: Path | None
    metrics: tuple[str, ...]
    frames: int | None
    protocol: str | None
    device: str | None


def _evaluate(recipe: Recipe, document: Document, builder: Builder, asked: Asked) -> tuple[Report, dict[str, Any]]:
    from restore.evaluation.clip_protocols import CLIPS, ClipProtocol
    from restore.evaluation.clips import evaluate_clips, is_clip
    from restore.evaluation.evaluate import evaluate
    from restore.evaluation.protocols import protocol
    from restore.evaluation.sources import cut
    from restore.modelling import build_model, pick_device
    from restore.progress import Progress

    if recipe.model is None:
        raise document.root.error("evaluation needs a [model] table")
    with document.root.child("evaluation").child("protocol").locate():
        measured_by = protocol(recipe.evaluation.protocol)
    if asked.protocol is not None:
        measured_by = protocol(asked.protocol)
    device = pick_device(asked.device or recipe.run.device)
    metrics = _metrics(asked.metrics, document, builder)
    dataset = cut(_clean(recipe, document, builder, asked.data, isinstance(measured_by, ClipProtocol)), asked.frames)
    clips = isinstance(measured_by, ClipProtocol) or is_clip(dataset)
    given = _given(dataset, asked.observed, recipe, clips, asked.frames)
    if recipe.degradation is None and given is None:
        raise document.root.error("evaluation needs a [degradation] table, or --observed DIR")
    if clips and asked.protocol is not None and not isinstance(measured_by, ClipProtocol):
        raise document.root.error(f"protocol {asked.protocol} scores still images; clips are scored by 'clips'")
    # Not built where it is not used: --observed makes up for a degradation that this environment lacks.
    degradation = builder.build("degradation", recipe.degradation) if recipe.degradation and given is None else None
    module, component = build_model(recipe.model, builder)
    model: Any = module.to(device).eval()
    with Progress("eval", len(dataset), "clips" if clips else "images") as bar:
        shared: dict[str, Any] = {
            "metrics": metrics,
            "device": device,
            "observed": given,
            "on_result": lambda r: bar.advance(note=f"{r['name']} {r['psnr']:.2f} dB"),
        }
        if clips or isinstance(measured_by, ClipProtocol):
            by = measured_by if isinstance(measured_by, ClipProtocol) else CLIPS
            report = evaluate_clips(
                model, dataset, degradation, by, **shared, **_along_time(model, recipe, str(device))
            )
        else:
            report = evaluate(model, dataset, degradation, measured_by, **shared)
    report.protocol["observed"] = _origin(recipe, asked.observed, given is not None)
    if given is not None:
        report.protocol["resized"] = "not here: the observed images are read as they are"
    about = {
        "component": component,
        "scale": model.traits.scale,
        "parameters": sum(p.numel() for p in module.parameters()),
        "weights": recipe.model.parameters.get("weights"),
        "device": str(device),
    }
    return report, about


def _along_time(model: Any, recipe: Recipe, device: str) -> dict[str, Any]:
    """What runs a model that looks along time over clips: short ones as a whole, unless the recipe names a schedule."""
    from restore.evaluation.long_clips import WHOLE
    from restore.inference.temporal import restorer_of

    if model.traits.temporal == "frame" or model.traits.needs_operator:
        return {}
    settings = attrs.evolve(recipe.run, precision="fp32", channels_last=False, device=device)
    whole = WHOLE if settings.temporal.schedule == "auto" else 0
    return {"engine": restorer_of(model, settings, recipe.model.use if recipe.model else "model"), "whole": whole}


def _metrics(names: tuple[str, ...], document: Document, builder: Builder) -> dict[str, Any]:
    from restore.errors import RequestError
    from restore.recipe import Use

    try:
        for name in names:
            builder.registry.find("metric", name)
        return {name: builder.build("metric", Use(name, {}, document.root)) for name in names}
    except RequestError as error:
        raise RequestError(f"--metric: {error}") from None


def _given(dataset: Any, observed: Path | None, recipe: Recipe, clips: bool, frames: int | None) -> Any:
    """The observed side from elsewhere: a folder, or what a paired dataset brings; None where there is none."""
    from restore.evaluation.pairing import pair_up
    from restore.evaluation.sources import cut, open_data

    if observed is not None:
        return pair_up(dataset, observed, cut(open_data(observed, clips), frames) if clips else None)
    return getattr(dataset, "observed", None) if recipe.degradation is None else None


def _origin(recipe: Recipe, observed: Path | None, given: bool) -> str:
    if given or recipe.degradation is None:
        return f"images in {observed}" if observed is not None else "the dataset's own"
    values = ", ".join(f"{k} {v}" for k, v in recipe.degradation.parameters.items())
    return f"{recipe.degradation.use} ({values})" if values else recipe.degradation.use


def _clean(recipe: Recipe, document: Document, builder: Builder, data: Path | None, as_clips: bool) -> Dataset:
    from restore.errors import RequestError
    from restore.evaluation.sources import open_data

    if data is not None:
        return open_data(data, as_clips)
    if recipe.data.test is None:
        raise RequestError(
            f"name a folder of clean images with --data DIR ({document.source} has no [data.test] table)"
        )
    dataset: Dataset = builder.build("dataset", recipe.data.test)
    return dataset
