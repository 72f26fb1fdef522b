"""Codes training clips once instead of in every step.

    python -m restore_crds.pool crds:pool -o runs/crds-pool --clips 600

Takes any recipe with ``[data.train]`` and ``[degradation]``, draws clips as training would, spoils them, and keeps both
sides as lossless videos, ``train/clean/00000.mkv`` and ``train/observed/00000.mkv``, which ``core:paired`` trains on.
Clips may be longer and larger than those of training, so that what is cut out of them lies anywhere in a group of
pictures, as in real streams; a codec that is only shown five frames gives an I-frame in each. ``[data.validation]``, if
there is one, is coded entry by entry into ``validation/``. Clips that are there already are kept: an interrupted call
goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from restore import Dataset, Degradation, Pair, RequestError, RestoreError, Step
from restore.catalogue import recipe_document
from restore.functional.seeding import seeded
from restore.media.quantizers import TAG
from restore.modelling import builder
from restore.plugins import registry
from restore.progress import Progress
from restore.recipe import check
from restore.training.data import Samples
from torch import Tensor

_SIDES = ("clean", "observed")


def write_clip(path: Path, clip: Tensor, qp: Tensor | None = None) -> None:
    """A clip ``(T, 3, H, W)`` in [0, 1] as lossless 8-bit RGB (FFV1 in Matroska), complete or not at all. The QPs that
    it was coded with before, ``(T,)``, become a tag."""
    part = path.with_suffix(".part.mkv")
    pixels = (clip.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    with av.open(part, "w") as file:
        stream: Any = file.add_stream("ffv1", rate=25, options={"g": "1"})
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "bgr0"
        if qp is not None:
            file.metadata[TAG] = " ".join(f"{value:g}" for value in qp.tolist())
        for frame in pixels:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(stream.encode())
    part.replace(path)


def make(clean: Tensor, degradation: Degradation, generator: torch.Generator) -> Pair:
    """Both sides of a clip ``(T, C, H, W)``: the target, and what was observed of it, with its QPs.

    Raises:
        RequestError: the degradation changes the size or the channels; such pairs cannot be kept as video.
    """
    # What is stored in 8 bits is what is coded, so that a coding without loss leaves no difference.
    clean = (clean * 255).round() / 255
    pair = degradation(clean.unsqueeze(0), Step(generator=generator))
    if pair.observed.shape != pair.target.shape or pair.target.shape[2] != 3:
        raise RequestError("the pool keeps RGB pairs of one size; this degradation makes others, train on it directly")
    return Pair(pair.observed[0], pair.target[0], qp=None if pair.qp is None else pair.qp[0])


def fill(folder: Path, entries: list[Any], degradation: Degradation, label: str) -> None:
    """Writes the entries, ``(name, clip-making function, generator)``, that are not there yet."""
    for side in _SIDES:
        (folder / side).mkdir(parents=True, exist_ok=True)
    with Progress(label, len(entries), "clips") as bar:
        for name, clip, generator in entries:
            paths = [folder / side / f"{name}.mkv" for side in _SIDES]
            if not all(path.exists() for path in paths):
                made = make(clip(), degradation, generator)
                write_clip(paths[0], made.target)
                write_clip(paths[1], made.observed, made.qp)
            bar.advance()


def run(options: argparse.Namespace) -> None:
    """All clips that are missing."""
    document = recipe_document(registry(), recipe=options.recipe, overrides=tuple(options.overrides))
    recipe, build = check(document), builder(registry())
    if recipe.degradation is None or recipe.data.train is None:
        raise RequestError(f"{document.source} needs [degradation] and [data.train]: there is nothing to code")
    degradation: Degradation = build.build("degradation", recipe.degradation)
    train: Dataset = build.build("dataset", recipe.data.train)
    samples = Samples(train, options.seed)
    entries: list[Any] = [
        (f"{k:05d}", lambda k=k: samples[k], seeded(options.seed, 7, k)) for k in range(options.clips)
    ]
    fill(options.output / "train", entries, degradation, "train")
    if recipe.data.validation is not None:
        data: Dataset = build.build("dataset", recipe.data.validation)
        entries = [(f"{k:05d}", lambda k=k: data[k], seeded(options.seed, 8, k)) for k in range(len(data))]
        fill(options.output / "validation", entries, degradation, "validation")


def main() -> int:
    """The command line; 2 for a request that cannot be met, 1 for work that failed."""
    words = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m restore_crds.pool",
        description=words[0],
        epilog=words[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help="recipe file, or the name of an installed one such as crds:pool")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--clips", type=int, default=600, help="training clips")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe"
    )
    options = parser.parse_args()
    if options.clips < 1:
        parser.error(f"--clips must be at least 1, got {options.clips}")
    try:
        run(options)
    except (RequestError, RestoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
