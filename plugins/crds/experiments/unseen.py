"""Gains on clips that were never trained on: Vid4's calendar and foliage and blue_sky, whole clips and full frames,
coded by x265 along HM's low-delay ladder at QP 37 and by x264 at CRF 35, on luma (protocol mfqe).

    python plugins/crds/experiments/unseen.py --data DIR --weights runs/crds-small/final.safetensors

DIR holds ``vid4_crop/{calendar,foliage}`` and ``yuv420/blue_sky_*.mkv``. ``--model`` names the network that the weights
are of (crds:small); ``--set`` its parameters, e.g. ``--set alignment=flow``. ``--frames N`` takes the first N frames of
each; ``--untold`` keeps from the network what quantizers they were coded with.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import attrs
from restore import Pair, RequestError, RestoreError, Step
from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.videos import Videos
from restore.builtin.degradations.codec import Codec
from restore.document import parse, toml
from restore.evaluation.clip_protocols import CLIP_PROTOCOLS
from restore.evaluation.clips import FirstFrames, evaluate_clips
from restore.modelling import build_model, builder, pick_device
from restore.plugins import registry
from restore.recipe import check

CODINGS = {
    "x265 hm-ldp QP 37": {"codec": "x265", "qp": 37, "ladder": "hm-ldp", "matrix": "bt601"},
    "x264 CRF 35": {"codec": "x264", "crf": 35.0, "matrix": "bt601"},
}


@attrs.frozen
class Untold:
    """A degradation whose pairs do not say how they were coded, as those of frames that are found without their stream.

    Attributes:
        inner: it.
    """

    inner: Any

    def __call__(self, clean: Any, step: Step) -> Pair:
        """The same pair, without QPs."""
        return attrs.evolve(self.inner(clean, step), qp=None)


def clips(folder: Path, frames: int | None) -> list[Any]:
    """The test clips; RequestError if one is missing."""
    sets: list[Any] = [
        Frames(folder / "vid4_crop", include=["calendar", "foliage"]),
        Videos(folder / "yuv420", include=["blue_sky*"]),
    ]
    return sets if frames is None else [FirstFrames(one, frames) for one in sets]


def build(options: argparse.Namespace) -> tuple[Any, int]:
    """The network with its weights, ready to measure, and how many parameters it has."""
    text = f'recipe = 1\n[model]\nuse = "{options.model}"\n'
    if options.weights is not None:
        text += f"weights = {toml(str(options.weights))}\n"
    document = parse(text, "the command line", tuple(f"model.{override}" for override in options.overrides))
    use = check(document).model
    assert use is not None
    model, _ = build_model(use, builder(registry()))
    return model.eval().to(pick_device(options.device)), sum(p.numel() for p in model.parameters())


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All gains, as one document."""
    model, parameters = build(options)
    device = pick_device(options.device)
    rows = []
    codings = {f"x264 CRF {crf:g}": {"codec": "x264", "crf": crf, "matrix": "bt601"} for crf in options.crf} or CODINGS
    for coding, settings in codings.items():
        degradation: Any = Codec(**settings)  # type: ignore[arg-type]
        degradation = Untold(degradation) if options.untold else degradation
        for dataset in clips(options.data, options.frames):
            report = evaluate_clips(model, dataset, degradation, CLIP_PROTOCOLS["mfqe"], device=device)
            for result in report.results:
                rows.append({"coding": coding, **{k: v for k, v in result.items() if k != "frames"}})
                print(line(rows[-1]), flush=True)
    gains = [row["delta_psnr"] for row in rows]
    return {
        "model": options.model, "weights": str(options.weights), "parameters": parameters, "results": rows,
        "mean_delta_psnr": sum(gains) / len(gains), "lowest_delta_psnr": min(gains),
    }  # fmt: skip


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"{row['coding']:18} {row['name']:28} {row['psnr'] - row['delta_psnr']:6.2f} dB -> {row['psnr']:6.2f} dB  "
        f"{row['delta_psnr']:+.3f} dB  SSIM {row['delta_ssim']:+.4f}  {row['ms_per_frame']:.0f} ms a frame"
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="left out, the network as it begins")
    parser.add_argument("--model", default="crds:small")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--crf", type=float, nargs="+", default=[], help="x264 at these rates instead, good video too")
    parser.add_argument("--untold", action="store_true", help="keep the quantizers from the network")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write all numbers to this file too")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    try:
        told = measure(options)
    except (RequestError, RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    mean, lowest = told["mean_delta_psnr"], told["lowest_delta_psnr"]
    print(f"{told['model']}, {told['parameters']:,} parameters: mean {mean:+.3f} dB, lowest {lowest:+.3f} dB")
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
