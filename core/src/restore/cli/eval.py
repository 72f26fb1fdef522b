"""``restore eval``: measure a recipe's model on clean images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    "--data", type=click.Path(path_type=Path), help="Folder of clean images [default: the recipe's data.test]."
)
@click.option(
    "--observed",
    type=click.Path(path_type=Path),
    help="Damaged images from elsewhere, instead of the recipe's degradation.",
)
@click.option(
    "--protocol", "protocol_name", metavar="NAME", help="sr-y or lapsrn [default: the recipe's evaluation.protocol]."
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
    protocol_name: str | None,
    device: str | None,
    csv_: Path | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    json_: bool,
) -> None:
    """Degrade clean images, restore them, and measure PSNR and SSIM under a named protocol.

    \b
    restore eval --plugin srsenet --data Set5/HR
    restore eval --recipe bicubic --set model.scale=4 --data Set5/HR --protocol lapsrn --json
    restore eval --plugin srsenet --data Set5/HR --csv set5.csv
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
    report, model = _evaluate(check(document), document, builder, data, observed, protocol_name, device)
    if csv_ is not None:
        write_whole(csv_, csv_text(report, model).encode("utf-8"))
    if json_:
        print_json({**report.document(), "model": model})
        return
    rows = [(r["name"], *_numbers(r)) for r in [*report.results, {"name": "mean", **report.mean}]]
    columns = ("image", "PSNR, dB", "SSIM", "seconds")
    print_table(columns, rows, title=f"{model['component']}, x{model['scale']}", right=columns[1:])
    click.echo()
    for key, value in report.protocol.items():
        click.echo(f"{key.replace('_', ' ')}: {value}")


def _numbers(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", f"{row['seconds']:.2f}"


def _evaluate(
    recipe: Recipe,
    document: Document,
    builder: Builder,
    data: Path | None,
    observed: Path | None,
    protocol_name: str | None,
    device_name: str | None,
) -> tuple[Report, dict[str, Any]]:
    from restore.evaluation.evaluate import evaluate
    from restore.evaluation.pairing import pair_up
    from restore.evaluation.protocols import protocol
    from restore.modelling import build_model, pick_device
    from restore.progress import Progress

    if recipe.model is None:
        raise document.root.error("evaluation needs a [model] table")
    with document.root.child("evaluation").child("protocol").locate():
        measured_by = protocol(recipe.evaluation.protocol)
    if protocol_name is not None:
        measured_by = protocol(protocol_name)
    device = pick_device(device_name or recipe.run.device)
    dataset = _clean(recipe, document, builder, data)
    given = None if observed is None else pair_up(dataset, observed)
    if recipe.degradation is None and given is None:
        raise document.root.error("evaluation needs a [degradation] table, or --observed DIR")
    # Not built where it is not used: --observed makes up for a degradation that this environment lacks.
    degradation = builder.build("degradation", recipe.degradation) if recipe.degradation and given is None else None
    module, component = build_model(recipe.model, builder)
    model: Any = module.to(device).eval()
    with Progress("eval", len(dataset), "images") as bar:
        report = evaluate(
            model, dataset, degradation, measured_by,
            device=device, observed=given, on_result=lambda r: bar.advance(note=f"{r['name']} {r['psnr']:.2f} dB"),
        )  # fmt: skip
    report.protocol["observed"] = _origin(recipe, observed)
    if observed is not None:
        report.protocol["resized"] = "not here: the observed images are read as they are"
    about = {
        "component": component,
        "scale": model.traits.scale,
        "parameters": sum(p.numel() for p in module.parameters()),
        "weights": recipe.model.parameters.get("weights"),
        "device": str(device),
    }
    return report, about


def _origin(recipe: Recipe, observed: Path | None) -> str:
    if observed is not None or recipe.degradation is None:
        return f"images in {observed}"
    values = ", ".join(f"{k} {v}" for k, v in recipe.degradation.parameters.items())
    return f"{recipe.degradation.use} ({values})" if values else recipe.degradation.use


def _clean(recipe: Recipe, document: Document, builder: Builder, data: Path | None) -> Dataset:
    from restore.builtin.datasets.images import Images
    from restore.errors import RequestError

    if data is not None:
        return Images(data, channels="native")
    if recipe.data.test is None:
        raise RequestError(
            f"name a folder of clean images with --data DIR ({document.source} has no [data.test] table)"
        )
    dataset: Dataset = builder.build("dataset", recipe.data.test)
    return dataset
