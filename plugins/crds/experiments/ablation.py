r"""Tables 3 and 4 of the paper at a small size: what each part adds, at equal budgets.

    python plugins/crds/experiments/ablation.py --data DIR -o runs/crds-ablation \
        --ldr runs/crds-ldr-ae-small/final.safetensors

Every row trains ``crds:small`` on the pool of ``crds:pool`` with one change, for as many iterations, with the same seed
and data, and is measured on clips that none was trained on (``unseen.py``; DIR as there). Calling it again goes on
where it stopped: finished runs are left alone, interrupted ones are resumed. ``results.jsonl`` has a line for every run
and seed; ``table.md`` is written anew after every run. Any row by hand: ``restore train crds:small --set ...`` with
what ``table.md`` gives beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Sequence

from restore import RequestError, RestoreError
from restore.builtin.degradations.codec import Codec
from restore.catalogue import recipe_document
from restore.document import dumps, load, toml
from restore.evaluation.clip_protocols import CLIP_PROTOCOLS
from restore.evaluation.clips import evaluate_clips
from restore.modelling import build_model, builder, pick_device
from restore.plugins import registry
from restore.progress import say
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.trainer import Trainer, build_parts

sys.path.insert(0, str(Path(__file__).parent))
from unseen import CODINGS, clips

_NO_SUPERVISION = ('phases.0.losses=[{ use = "core:log-mse", plane = "y" }, { use = "core:log-mse", weight = 0.3 }]',)


def _start(*left_out: str) -> str:
    """What of the auto-encoder is left out besides what it has not."""
    return f"training.start.exclude={toml(['blocks', *left_out])}"


# Table 3 adds one part after the other; Table 4 swaps the alignment in row B.
_B = (_start("encoder", "decoder"), *_NO_SUPERVISION)
ROWS: dict[str, tuple[str, ...]] = {
    "A: no prediction": ("model.prediction=false", *_B),
    "B: + MuNA": _B,
    "C: + LDR encoder": (_start("decoder"), *_NO_SUPERVISION),
    "D: + intermediate supervision": (_start("decoder"),),
    "CRDS: + LDR decoder": (_start(),),
    "alignment: none": ("model.alignment=none", *_B),
    "alignment: flow": ("model.alignment=flow", *_B),
}


def settings(row: str, options: argparse.Namespace, seed: int) -> tuple[str, ...]:
    """The overrides of a row: its own, and what all share; all begin with the auto-encoder, not with single frames, and
    intermediate supervision lasts half of the time, as in the paper."""
    total = options.iterations
    return (
        f"phases.0.iterations={total // 2}", f"phases.1.iterations={total - total // 2}",
        f"training.seed={seed}", f"training.validate_every={total}", f"training.start.weights={toml(str(options.ldr))}",
        *ROWS[row], *options.overrides,
    )  # fmt: skip


def train(overrides: Sequence[str], folder: Path) -> RunDirectory:
    """Trains ``crds:small`` with these overrides, goes on with it, or leaves it alone where it is done.

    Raises:
        RequestError: the recipe is wrong, or the folder holds a finished run of other settings.
    """
    directory = RunDirectory(folder)
    document = recipe_document(registry(), recipe="crds:small", overrides=tuple(overrides))
    if directory.weights("final").exists():
        if directory.recipe.read_text(encoding="utf-8") != dumps(document.data):
            raise RequestError(f"{folder} holds a finished run of other settings; name another folder")
        return directory
    parts = build_parts(check(document), document, builder(registry()))
    resumed = directory.checkpoint.exists()
    if not resumed:
        directory.metrics.unlink(missing_ok=True)  # of an attempt that ended before its first checkpoint
        directory.create(document, registry())
    trainer = Trainer(parts, document, directory)
    if resumed:
        trainer.resume()
    say(f"{folder.name}: {parts.iterations} iterations")
    trainer.fit()
    return directory


def gains(run: RunDirectory, options: argparse.Namespace) -> dict[str, float]:
    """delta-PSNR and delta-SSIM on luma for each coding, the mean over clips."""
    use = check(load(run.recipe, (f"model.weights={toml(str(run.weights('final')))}",))).model
    assert use is not None
    model, _ = build_model(use, builder(registry()))
    device = pick_device(options.device)
    model.eval().to(device)
    found: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters())}
    for coding, told in CODINGS.items():
        degradation: Any = Codec(**told)  # type: ignore[arg-type]
        reports = [
            evaluate_clips(model, data, degradation, CLIP_PROTOCOLS["mfqe"], device=device)  # type: ignore[arg-type]
            for data in clips(options.data, options.frames)
        ]
        for key in ("delta_psnr", "delta_ssim"):
            found[f"{coding} {key}"] = statistics.mean(r[key] for report in reports for r in report.results)
    return found


def markdown(lines: Sequence[dict[str, Any]], iterations: int, shared: Sequence[str] = ()) -> str:
    """The table, with the mean over seeds and their spread (the sample standard deviation); ``shared`` are overrides of
    all rows."""
    columns = [f"{coding} {key}" for coding in CODINGS for key in ("delta_psnr", "delta_ssim")]
    of_all = "".join(f" `{override}`" for override in shared)
    rows = [
        f"Gain on luma over the compressed clip, mean over clips never trained on, {iterations} iterations{of_all}\n",
        "| row | parameters | " + " | ".join(columns) + " | seeds | overrides |",
        "| --- |" + " ---: |" * (len(columns) + 2) + " --- |",
    ]
    for row, overrides in ROWS.items():
        found = [line for line in lines if line["row"] == row and line["iterations"] == iterations]
        if not found:
            continue
        cells = []
        for column in columns:
            values = [line[column] for line in found]
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):+.{3 if 'psnr' in column else 4}f}{spread}")
        own = " ".join(f"`{override}`" for override in overrides) or "none"
        rows.append(f"| {row} | {found[0]['parameters']:,} | " + " | ".join(cells) + f" | {len(found)} | {own} |")
    return "\n".join(rows) + "\n"


def run(options: argparse.Namespace) -> str:
    """All runs that are missing, and the table."""
    options.output.mkdir(parents=True, exist_ok=True)
    results, table = options.output / "results.jsonl", options.output / "table.md"
    kept = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    lines: list[dict[str, Any]] = [json.loads(line) for line in kept]
    for seed in options.seeds:
        for row in options.rows:
            key = {"row": row, "seed": seed, "iterations": options.iterations}
            if any(key.items() <= line.items() for line in lines):
                continue
            folder = options.output / f"{list(ROWS).index(row)}-{seed}-of-{options.iterations}"
            lines.append({**key, **gains(train(settings(row, options, seed), folder), options)})
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            table.write_text(markdown(lines, options.iterations, options.overrides), encoding="utf-8")
    return markdown(lines, options.iterations, options.overrides)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="test clips, as unseen.py has them")
    parser.add_argument("--ldr", type=Path, required=True, help="weights of crds:ldr-ae-small")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=600, help="of every run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--frames", type=int, help="only the first N frames of every test clip")
    parser.add_argument("--device", default="auto", help="for measuring; training takes training.accelerator")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of all rows")
    options = parser.parse_args()
    if options.iterations < 4:
        parser.error(f"--iterations must be at least 4, got {options.iterations}")
    try:
        print(run(options))
    except (RequestError, RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
