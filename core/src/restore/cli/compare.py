"""``restore compare``: versions of an image or video against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from restore.cli.options import as_json, print_json, print_table

if TYPE_CHECKING:
    from restore.evaluation.compare import Comparison


@click.command("compare")
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("versions", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A [B]...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The page, e.g. report.html; without it, only numbers."
)
@click.option(
    "--frames", type=click.IntRange(min=1), metavar="N",
    help="Put the pictures of at most N frames into the page [default: what fits into about 20 MB].",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing page.")
@as_json
def command(
    reference: Path, versions: tuple[Path, ...], output: Path | None, frames: int | None, overwrite: bool, json_: bool
) -> None:
    """Measure versions of an image or video against REFERENCE, and make a page to look at them side by side.

    The page is one file that opens without a network: a slider between any two versions, frame by frame, with zoom, the
    PSNR and SSIM of every frame, and the worst frames first. All files have one size and one number of frames.

    \b
    restore compare clean.mkv low.mp4 better.mp4 -o report.html
    restore compare photo.png a.png b.png -o report.html --json
    """
    from restore.evaluation.compare import compare_versions
    from restore.evaluation.report import page
    from restore.media.files import check_output, write_whole
    from restore.media.probe import probe
    from restore.progress import Progress

    if output is not None:
        check_output(output, [reference, *versions], overwrite)
    with Progress("compare", probe(reference).frames, "frames") as bar:
        comparison = compare_versions(
            reference, versions, limit=frames, images=output is not None, on_frame=lambda _: bar.advance()
        )
    if output is not None:
        write_whole(output, page(comparison).encode("utf-8"))
    if json_:
        print_json({**comparison.document(), "report": None if output is None else str(output)})
    else:
        _print(comparison, output)


def _print(comparison: Comparison, output: Path | None) -> None:
    from restore.evaluation.report import cells_of

    columns = ("version", "PSNR", "lowest", "SSIM", "lowest SSIM", "size", "bit rate", "codec", "picture", "frames/s")
    rows = [(v.name, *cells_of(v)) for v in (comparison.reference, *comparison.versions)]
    count = f", {comparison.frames} frames" if comparison.frames > 1 else ""
    print_table(columns, rows, title=f"against {comparison.reference.name}{count}", right=columns[1:])
    click.echo()
    if comparison.frames > 1:
        for version in comparison.versions:
            worst = ", ".join(f"{i} ({version.psnr[i]:.2f} dB)" for i in version.worst(5))
            click.echo(f"worst frames of {version.name}: {worst or 'none, all are equal'}")
    for key, value in comparison.protocol.items():
        click.echo(f"{key.replace('_', ' ')}: {value}")
    for note in comparison.notes:
        click.echo(f"note: {note}")
    if output is not None:
        kept = f", {len(comparison.kept)} of {comparison.frames} frames to look at" if comparison.frames > 1 else ""
        click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB{kept} ({comparison.image_words})")
