"""PSNR on clips that were never trained on, beside classical methods: scattered boxes and a block missing, every other
frame missing, out of focus with noise, half the size.

    python plugins/videoonet/experiments/unseen.py --data DIR                               # the weights that ship
    python plugins/videoonet/experiments/unseen.py --data DIR --weights runs/general/final.safetensors -o table.md

DIR is searched for videos and for folders of frames; of each clip the first frames are taken, and their middle. PSNR is
``10 log10(1 / mean squared error)`` over RGB in [0, 1], clamped: over what is missing where something is (boxes,
frames), else over all; a cell is the mean over clips. Every method sees the same measurement. Telea's inpainting needs
opencv-python-headless, the biharmonic one scikit-image; without them their rows are left out, and said to be.
``--pictures DIR`` writes the middle frame of every clip: clean, measured, best classical, network.
"""

from __future__ import annotations

import argparse
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import torch
from restore import RequestError, RestoreError, Step
from restore.builtin.degradations.blurring import DiskBlur
from restore.builtin.degradations.inpainting import BlockInpainting, ScatteredInpainting
from restore.builtin.degradations.linear import BoxDownscale, FrameInterpolation
from restore.functional.resize import resize
from restore.functional.seeding import seeded
from restore.media.color import Picture
from restore.media.image import ImageFile, read_image, write_image
from restore.media.reader import VideoReader
from restore.modelling import build_model, builder
from restore.operators import Mask
from restore.plugins import registry
from restore_videoonet.classical.plain import PseudoInverse
from restore_videoonet.classical.total_variation import TotalVariation
from restore_videoonet.classical.wavelets import Wavelets, haar
from restore_videoonet.table import of_weights
from torch import Tensor

PROBLEMS: dict[str, Any] = {
    "scattered boxes": ScatteredInpainting(10, 0.2),
    "block": BlockInpainting(0.25),
    "2x frames": FrameInterpolation(2, to_the_end=True),
    "disk, noise .01": DiskBlur(4, 2.0, sigma=0.01),
    "2x size": BoxDownscale(2),
}
Method = Callable[[Tensor, Any], Tensor | None]


def clips(
    folder: Path, frames: int, side: int, count: int | None, leave_out: Sequence[str] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Names and ``(1, T, 3, side, side)`` in [0, 1] of all clips below a folder that are long enough."""
    found = sorted(p for p in folder.rglob("*") if p.suffix == ".mkv" or (p.is_dir() and any(p.glob("*.png"))))
    if not found:
        raise RequestError(f"there are neither .mkv videos nor folders of .png frames below {folder}")
    given = 0
    for path in found:
        if any(fnmatch(path.stem, pattern) for pattern in leave_out):
            continue
        clip = _frames(path, frames)
        if count == given:
            return
        if clip is None or min(clip.shape[-2:]) < side:
            continue
        given += 1
        top, left = ((n - side) // 2 for n in clip.shape[-2:])
        yield path.stem, clip[None, :, :, top : top + side, left : left + side].clamp(0, 1).contiguous()


def _frames(path: Path, count: int) -> Tensor | None:
    if path.is_dir():
        files = sorted(path.glob("*.png"))[:count]
        pixels = [read_image(file).pixels.astype(np.float32) / 255 for file in files]
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) if len(files) == count else None
    taken = []
    with VideoReader(path) as reader:
        for frame in reader:
            taken.append(Picture.from_frames([frame]).channels("rgb"))
            if len(taken) == count:
                return torch.cat(taken)
    return None


def telea() -> Method | None:
    """Fast marching (Telea, 2004), frame by frame."""
    try:
        import cv2
    except ImportError:
        return None

    def fill(observed: Tensor, operator: Any) -> Tensor | None:
        if not isinstance(operator, Mask):
            return None
        made = []
        for frame, seen in zip(observed[0], operator.mask.expand(operator.shape.input)[:, 0], strict=False):
            pixels = (frame.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
            done = cv2.inpaint(pixels, (~seen).to(torch.uint8).numpy(), 3, cv2.INPAINT_TELEA)
            made.append(torch.from_numpy(done).permute(2, 0, 1).float() / 255)
        return torch.stack(made)[None]

    return fill


def biharmonic() -> Method | None:
    """The biharmonic equation in every hole (Chui & Mhaskar, 2010), frame by frame."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError:
        return None

    def fill(observed: Tensor, operator: Any) -> Tensor | None:
        if not isinstance(operator, Mask):
            return None
        made = []
        for frame, seen in zip(observed[0], operator.mask.expand(operator.shape.input)[:, 0], strict=False):
            done = inpaint_biharmonic(frame.permute(1, 2, 0).numpy(), (~seen).numpy(), channel_axis=-1)
            made.append(torch.from_numpy(done).permute(2, 0, 1).float())
        return torch.stack(made)[None]

    return fill


def blending(observed: Tensor, operator: Any) -> Tensor | None:
    """The mean of the frames before and after."""
    if observed.shape[1] == operator.shape.input[0]:
        return None
    made = observed.new_zeros(1, *operator.shape.input)
    made[:, ::2] = observed
    made[:, 1::2] = (observed[:, :-1] + observed[:, 1:]) / 2
    return made


def bicubic(observed: Tensor, operator: Any) -> Tensor | None:
    """Bicubic enlargement."""
    if observed.shape[-1] >= operator.shape.input[-1]:
        return None
    return resize(observed[0], 2)[None]


def blurred(observed: Tensor, operator: Any) -> Tensor | None:
    """The blurred clip as it is."""
    more = observed.shape[-1] - operator.shape.input[-1]
    return observed[..., 2 : 2 + operator.shape.input[-2], 2 : 2 + operator.shape.input[-1]] if more > 0 else None


def methods(weights: Path | None) -> dict[str, Method]:
    """All rows, the network last."""
    plain: dict[str, Any] = {
        "pseudo-inverse": PseudoInverse(),
        "3D wavelets (published)": Wavelets(),
        "3D Haar wavelets": haar(),
        "total variation": TotalVariation(iterations=40),
        "linear blending": blending,
        "bicubic": bicubic,
        "as it is": blurred,
    }
    for name, method in (("Telea", telea()), ("biharmonic", biharmonic())):
        if method is None:
            print(f"{name}: left out, its package is not installed", file=sys.stderr)
        else:
            plain[name] = method
    if weights is not None:
        network = of_weights(weights).model
    else:
        from restore.catalogue import recipe_document
        from restore.recipe import check

        recipe = check(recipe_document(registry(), recipe="videoonet:run", plugin=None, overrides=()))
        assert recipe.model is not None
        network = build_model(recipe.model, builder(registry()))[0]
    return {**plain, "VideoOneNet": network.eval()}


def counted(problem: str, operator: Any, clean: Tensor) -> Tensor:
    """What PSNR is taken over, as bool like ``clean``."""
    seen = torch.zeros_like(clean, dtype=torch.bool)
    if isinstance(operator, Mask):
        seen = operator.mask.expand(operator.shape.input)[None]
    elif problem == "2x frames":
        seen[:, ::2] = True
    return ~seen


@torch.no_grad()
def measure(options: argparse.Namespace) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """PSNR in dB of every method, problem and clip, and the network's seconds."""
    rows = methods(options.weights)
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in rows}
    seconds = dict.fromkeys(rows, 0.0)
    for number, (clip, clean) in enumerate(
        clips(options.data, options.frames, options.crop, options.clips, options.leave_out)
    ):
        for k, (problem, degradation) in enumerate(PROBLEMS.items()):
            pair = degradation(clean, Step(generator=seeded(99, k, number)))
            where = counted(problem, pair.operator, clean)
            made: dict[str, Tensor] = {}
            for name, method in rows.items():
                started = time.process_time()
                answer = method(pair.observed, pair.operator)
                seconds[name] += time.process_time() - started
                if answer is not None:
                    made[name] = answer.clamp(0, 1)
                    error = (made[name] - clean)[where].double().square().mean().clamp_min(1e-12)
                    scores[name].setdefault(problem, []).append(float(-10 * torch.log10(error)))
            best = max((n for n in made if n != "VideoOneNet"), key=lambda n: scores[n][problem][-1])
            told = f"{scores['VideoOneNet'][problem][-1]:.2f}, best other {scores[best][problem][-1]:.2f} ({best})"
            print(f"{clip}, {problem}: {told}", file=sys.stderr)
            if options.pictures is not None:
                _write(options.pictures, f"{clip}-{problem}", [clean, made["pseudo-inverse"], made[best],
                                                             made["VideoOneNet"]])  # fmt: skip
    return scores, seconds


def _write(folder: Path, name: str, row: list[Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    middle = torch.cat([clip[0, clip.shape[1] // 2] for clip in row], dim=2)
    pixels = (middle.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    write_image(folder / f"{name.replace(' ', '_').replace(',', '')}.png", ImageFile(pixels, "rgb"))


def table(scores: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: methods by problems, and by how much the network is ahead of the best other method."""
    problems = list(PROBLEMS)
    lines = ["| | " + " | ".join(problems) + " |", "| --- " * (len(problems) + 1) + "|"]
    means = {name: {p: sum(v) / len(v) for p, v in row.items()} for name, row in scores.items()}
    for name, row in means.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[p]:.2f}" if p in row else "" for p in problems) + " |")
    own = means["VideoOneNet"]
    ahead = [own[p] - max(row[p] for name, row in means.items() if name != "VideoOneNet" and p in row) for p in own]
    lines.append("| ahead by | " + " | ".join(f"{gain:+.2f}" for gain in ahead) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with clips, searched recursively")
    parser.add_argument("--weights", type=Path, help="of a network [default: videoonet:general]")
    parser.add_argument("--frames", type=int, default=7, help="of each clip, an odd number")
    parser.add_argument("--crop", type=int, default=128, help="side of the middle that is taken")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="PATTERN", help="names of clips, e.g. trained on")
    parser.add_argument("--clips", type=int, help="only the first so many")
    parser.add_argument("--pictures", type=Path, help="folder for side by side views")
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    if options.frames < 3 or options.frames % 2 == 0:
        raise RequestError(f"--frames must be odd and at least 3, got {options.frames}")
    scores, seconds = measure(options)
    count = len(next(iter(scores["VideoOneNet"].values())))
    head = f"Mean PSNR in dB over {count} clips of {options.frames}x{options.crop}x{options.crop}\n\n"
    text = head + table(scores)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    print(text)
    print("CPU seconds in all: " + ", ".join(f"{name} {s:.0f}" for name, s in seconds.items()), file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except RestoreError as error:
        sys.exit(f"unseen.py: {error}")
