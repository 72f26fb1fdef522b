"""What the network sees beside what the codec did (Sun et al., Fig. 5).

    python -m restore_crds.motion clip.mp4 -o motion.png

MuNA's motion field (Eq. 20) is drawn beside the motion vectors of the H.264 stream itself, and the latent residual (Eq.
24) beside the codec's. Printed are the end-point error and the correlation of MuNA's field with the stream's vectors,
over all 4 x 4 blocks that have one, against plain flow's and that of no motion at all. Only H.264 tells its vectors;
which of several references they lead to is not told, so a stream with one (x264: ``ref=1:b-pyramid=none``) serves best.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, Iterable

import attrs
import torch
from restore import MediaError, RequestError, RestoreError
from restore.builtin.datasets.videos import Videos
from restore.document import parse, toml
from restore.evaluation.clips import FirstFrames
from restore.functional.color import rgb_to_y
from restore.functional.flow import warp
from restore.functional.quantizer import join_qp
from restore.media.motion_vectors import CELL, FrameVectors, motion_vectors
from restore.modelling import build_model, builder, pick_device
from restore.plugins import registry
from restore.recipe import check
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

# Weights that are taken where none are named.
SHIPPED = {"crds:small": "crds:crds-small"}


@attrs.frozen
class Agreement:
    """How far a motion field agrees with the stream's vectors, over all blocks that have one.

    Attributes:
        error: mean end-point error in pixels a frame.
        correlation: of both components together, without taking their means off, as a pan has no variance: the sum of
            products over the root of the products of the sums of squares; 0 for a field that is 0 everywhere.
    """

    error: float
    correlation: float

    @classmethod
    def between(cls, field: Tensor, vectors: Tensor, known: Tensor) -> Agreement:
        """Of fields ``(T, 2, h, w)`` in pixels where ``known``, ``(T, h, w)``, says so.

        Raises:
            RequestError: no block is known.
        """
        a, b = (f.permute(0, 2, 3, 1)[known].double() for f in (field, vectors))
        if not len(a):
            raise RequestError("no block of these frames has a motion vector: all are I-frames, intra-coded or margin")
        norm = float(a.norm() * b.norm())
        return cls(float((a - b).norm(dim=1).mean()), float((a * b).sum()) / norm if norm else 0.0)


@attrs.frozen(eq=False)
class Inside:
    """A clip, what its stream says of it and what the network does, on the grid of 4 x 4 pixels; T frames.

    Attributes:
        clip: ``(T, 3, H, W)`` RGB, sides cropped to multiples of 4.
        vectors: the stream's, back to the frame before, pixels a frame, x then y, ``(T, 2, h, w)``.
        known: where it has one, away from the border, ``(T, h, w)``.
        coded: magnitude of what the codec's prediction leaves, ``(T, h, w)`` in luma levels; 0 where there is none.
        motion, flow: MuNA's field and plain flow to the frame before, as ``vectors``.
        residual: the latent residual's sum over channels, its magnitude, ``(T, h, w)``.
    """

    clip: Tensor
    vectors: Tensor
    known: Tensor
    coded: Tensor
    motion: Tensor
    flow: Tensor
    residual: Tensor

    def agreement(self) -> dict[str, Agreement]:
        """Of MuNA, of plain flow and of no motion with the stream's vectors."""
        fields = {"muna": self.motion, "flow": self.flow, "none": torch.zeros_like(self.vectors)}
        return {name: Agreement.between(field, self.vectors, self.known) for name, field in fields.items()}

    def residual_correlation(self) -> float:
        """Pearson's correlation of both residuals' magnitudes over predicted blocks; nan where one is constant."""
        both = torch.stack([self.residual[self.known], self.coded[self.known]]).double()
        return float(torch.corrcoef(both)[0, 1]) if both.shape[1] > 1 else math.nan

    def liveliest(self) -> int:
        """The frame whose blocks move most."""
        return int((self.vectors.norm(dim=1) * self.known).mean((1, 2)).argmax())


def look_inside(path: Path, model: Any, frames: int = 16, block: int = -1, margin: int = 3) -> Inside:
    """Runs a network over the beginning of a video and reads the stream's own vectors.

    Args:
        path: an H.264 video.
        model: a CRDS network in evaluation mode that attends (``alignment = "muna"``), on its device.
        frames: how many, from the first.
        block: which denoising block is looked into; -1 the last.
        margin: 4 x 4 blocks left out along the frame's border, where attention windows are shifted inward and so
            are their mean offsets, whatever moves: half a window, 3 for the paper's 7.

    Raises:
        RequestError: another codec, fewer than two frames, frames that are all margin, no such block, or a network that
            does not attend.
        MediaError: the stream cannot be decoded.
    """
    stream = list(motion_vectors(path, frames))
    if len(stream) < 2:
        raise RequestError(f"{path} has one frame; motion needs two")
    videos = FirstFrames(Videos(path), frames)
    whole, qps = videos[0], videos.qps(0)
    if len(whole) != len(stream):
        raise MediaError(f"{path} gives {len(whole)} frames, but vectors of {len(stream)}; convert it first")
    height, width = (side // CELL * CELL for side in whole.shape[-2:])
    clip = whole[..., :height, :width]
    vectors, known = _fields(stream, height // CELL, width // CELL)
    inner = torch.zeros_like(known)
    inner[:, margin : known.shape[1] - margin, margin : known.shape[2] - margin] = True
    known &= inner
    given = join_qp(clip, qps) if model.traits.channels == "rgb+qp" else clip
    found = model.inspect(given.unsqueeze(0).to(next(model.parameters()).device))
    count = sum(key.startswith("residual/") for key in found)
    if not -count <= block < count:
        raise RequestError(f"the network has blocks 0 to {count - 1}, not {block}")
    name = f"motion/{block % count}/-1"
    if name not in found:
        raise RequestError(
            'the network has no attention to look into; it needs alignment = "muna" and references of 1 or more'
        )
    residual = found[f"residual/{block % count}"][0].float().sum(1, keepdim=True).abs()
    # A network's places need not be the codec's blocks: those of crds:small are 2 x 2 pixels.
    motion, flow, left = (
        adaptive_avg_pool2d(field, known.shape[1:]).cpu()
        for field in (found[name][0].float(), found["flow/-1"][0].float(), residual)
    )
    return Inside(clip, vectors, known, _coded(clip, stream), motion, flow, left[:, 0])


def _fields(stream: Iterable[FrameVectors], rows: int, columns: int) -> tuple[Tensor, Tensor]:
    pairs = [frame.field() for frame in stream]
    vectors = torch.stack([torch.from_numpy(field) for field, _ in pairs])[..., :rows, :columns]
    known = torch.stack([torch.from_numpy(seen) for _, seen in pairs])[..., :rows, :columns]
    return vectors, known


def _coded(clip: Tensor, stream: list[FrameVectors]) -> Tensor:
    """What motion compensation from the nearest past reference leaves of each decoded frame: the codec's residual, up
    to deblocking and the choice among references."""
    luma = rgb_to_y(clip) * 255
    rows, columns = clip.shape[-2] // CELL, clip.shape[-1] // CELL
    left = torch.zeros(len(clip), rows, columns)
    for t, frame in enumerate(stream):
        if not frame.past:
            continue
        field, seen = (torch.from_numpy(a)[..., :rows, :columns] for a in frame.field(per_frame=False))
        dense = field.repeat_interleave(CELL, -2).repeat_interleave(CELL, -1)
        predicted = warp(luma[t - frame.past].unsqueeze(0), dense.unsqueeze(0))[0]
        apart = avg_pool2d((luma[t] - predicted).abs(), CELL)[0]
        left[t] = apart * seen
    return left


def hue(field: Tensor, longest: float) -> Tensor:
    """A field ``(2, h, w)`` as a picture ``(h, w, 3)``: direction is hue, length saturation, white stands still."""
    from matplotlib.colors import hsv_to_rgb

    turn = torch.atan2(field[1], field[0]) / (2 * math.pi) % 1
    length = (field.norm(dim=0) / max(longest, 1e-6)).clamp(0, 1)
    return torch.from_numpy(hsv_to_rgb(torch.stack([turn, length, torch.ones_like(turn)], -1).numpy()))


def binary(magnitude: Tensor, share: float = 0.2) -> Tensor:
    """The largest ``share`` of a map ``(h, w)`` as 1, all else 0: the paper's binarization of residuals."""
    return (magnitude > magnitude.flatten().quantile(1 - share)).float()


def draw(inside: Inside, frame: int, path: Path) -> None:
    """The six pictures of one frame as PNG.

    Raises:
        RequestError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise RequestError("the picture needs matplotlib: pip install restorekit-crds[plots]") from None
    told = inside.agreement()
    longest = (
        float(inside.vectors[frame].norm(dim=0)[inside.known[frame]].quantile(0.98)) if inside.known[frame].any() else 1
    )
    words = {k: f"error {a.error:.2f} px, correlation {a.correlation:.2f}" for k, a in told.items()}
    pictures = [
        (f"frame {frame}", inside.clip[frame].permute(1, 2, 0).clamp(0, 1), {}),
        ("the stream's motion vectors", hue(inside.vectors[frame] * inside.known[frame], longest), {}),
        (f"MuNA's motion\n{words['muna']}", hue(inside.motion[frame], longest), {}),
        (f"plain flow\n{words['flow']}", hue(inside.flow[frame], longest), {}),
        ("the codec's residual", binary(inside.coded[frame]), {"cmap": "gray"}),
        ("the latent residual", binary(inside.residual[frame]), {"cmap": "gray"}),
    ]
    shown, axes = pyplot.subplots(
        2, 3, figsize=(14, 9.3 * inside.clip.shape[-2] / inside.clip.shape[-1] + 1.5), layout="constrained"
    )
    for place, (title, picture, more) in zip(axes.T.flat, pictures, strict=True):
        place.imshow(picture.numpy(), interpolation="nearest", **more)
        place.set(title=title, xticks=[], yticks=[])
    part = path.with_name(f".{path.name}.part")
    shown.savefig(part, dpi=110, format="png")
    pyplot.close(shown)
    part.replace(path)


def document(inside: Inside, frame: int) -> dict[str, Any]:
    """What is printed, for programs."""
    return {
        "frames": len(inside.clip), "drawn": frame, "blocks": int(inside.known.sum()),
        "motion": {name: attrs.asdict(a) for name, a in inside.agreement().items()},
        "residual_correlation": inside.residual_correlation(),
    }  # fmt: skip


def _model(options: argparse.Namespace) -> Any:
    named = SHIPPED.get(options.model) if options.weights is None else options.weights
    weights = "" if named is None else f"weights = {toml(named)}\n"
    text = f"recipe = 1\n[model]\nuse = {toml(options.model)}\n{weights}"
    use = check(parse(text, "the command line", tuple(f"model.{o}" for o in options.overrides))).model
    assert use is not None
    model, name = build_model(use, builder(registry()))
    if not hasattr(model, "inspect"):
        raise RequestError(f"{name} cannot be looked into; name crds:crds or one of its sizes with --model")
    return model.eval().to(pick_device(options.device))


def _options() -> argparse.Namespace:
    words = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m restore_crds.motion", description=words[0], epilog=words[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("clip", type=Path, help="an H.264 video")
    parser.add_argument("--weights", help="name or file [default: what ships; none does for other networks]")
    parser.add_argument("--model", default="crds:small", help="the network that the weights are of")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of the model"
    )
    parser.add_argument("-o", "--output", type=Path, help="PNG to write")
    parser.add_argument("--frames", type=int, default=16, help="how many, from the first")
    parser.add_argument("--frame", type=int, help="which is drawn [default: the one that moves most]")
    parser.add_argument("--block", type=int, default=-1, help="denoising block, counted from 0 [default: the last]")
    parser.add_argument("--margin", type=int, default=3, help="4 x 4 blocks left out along the border")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    """The command line; 2 for a request that cannot be met, 1 for work that failed."""
    options = _options()
    try:
        inside = look_inside(options.clip, _model(options), options.frames, options.block, options.margin)
        frame = inside.liveliest() if options.frame is None else options.frame
        if not 0 <= frame < len(inside.clip):
            raise RequestError(f"--frame {frame}: there are frames 0 to {len(inside.clip) - 1}")
        told = document(inside, frame)
        if options.output is not None:
            draw(inside, frame, options.output)
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    if options.json:
        print(json.dumps(told, indent=2))
        return 0
    print(f"{told['blocks']} blocks with vectors in {told['frames']} frames")
    for name, label in (("muna", "MuNA"), ("flow", "plain flow"), ("none", "no motion")):
        found = told["motion"][name]
        print(f"{label:10}  end-point error {found['error']:6.3f} px  correlation {found['correlation']:+.3f}")
    print(f"residuals: correlation {told['residual_correlation']:+.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
