"""Models that need their operator, on pictures and videos: every window gets the operator of its place."""

from __future__ import annotations

import itertools
from fractions import Fraction

import attrs
import av
import numpy as np
import pytest
import torch
from PIL import Image
from restore import RequestError
from restore.build import Builder
from restore.builtin.degradations.blurring import DiskBlur, KernelBlur, MotionBlur, TemporalBlur
from restore.builtin.degradations.inpainting import BlockInpainting, Inpainting, ScatteredInpainting
from restore.builtin.degradations.linear import (
    BoxDownscale,
    FrameInterpolation,
    FramePrediction,
    Greyscale,
)
from restore.builtin.degradations.masks import FileMask
from restore.builtin.degradations.sensing import ClipSensing
from restore.contracts import Halo, Step, Traits
from restore.document import parse
from restore.inference.jobs import build_stages
from restore.inference.scenes import CutFinder
from restore.inference.stages import Stages
from restore.inference.temporal import restorer_of
from restore.inference.video import VideoJob
from restore.longjobs.work import find_cuts
from restore.media.color import Picture
from restore.media.encoders import OutputOptions
from restore.media.probe import probe
from restore.plugins import registry
from restore.recipe import Run, Temporal, check
from torch import nn

SIZE = 30, 40
LOSSLESS = OutputOptions("ffv1")


class Net(nn.Module):
    """``answer(observed, operator)``, and every operator that it was given."""

    def __init__(self, answer, pixels=3, frames=1, **traits):
        super().__init__()
        self.answer, self.given = answer, []
        halo = Halo(pixels, frames)
        self.traits = Traits(temporal="clip", halo=halo, global_context=True, needs_operator=True, **traits)

    def forward(self, observed, operator):
        self.given.append(operator)
        return self.answer(observed, operator)


def holes(observed, operator):
    """White where nothing was seen, black elsewhere."""
    ones = torch.ones(1, *operator.shape.input)
    return ones - operator.adjoint(operator(ones))


def between(observed, operator):
    """Linear blending."""
    made = operator.adjoint(observed)
    made[:, 1::2] = (observed[:, :-1] + observed[:, 1:]) / 2
    return made


def pinv(observed, operator):
    return operator.pinv(observed)


def stages(model, measurement, tile=0, **temporal):
    temporal = {"scene_cuts": "ignore", "overlap": 1, "chunk": 2} | temporal
    settings = Run(precision="fp32", channels_last=False, device="cpu", tile=tile, temporal=Temporal(**temporal))
    return Stages([restorer_of(model, settings, "net", None, measurement)])


def rgb(frames=7, size=SIZE, seed=0):
    return Picture("rgb", (torch.rand(frames, 3, *size, generator=torch.Generator().manual_seed(seed)),))


def write_mask(path, missing, size=SIZE):
    rows, columns = missing
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = 255
    Image.fromarray(mask).save(path)
    return mask > 0


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [0, 11])
def test_what_a_mask_marks_is_filled_and_nothing_else(tmp_path, tile):
    missing = torch.from_numpy(write_mask(tmp_path / "m.png", (slice(7, 21), slice(5, 24))))
    picture, net = rgb(), Net(holes)
    made = stages(net, FileMask(tmp_path / "m.png", "white"), tile)(picture)
    assert torch.equal(made.parts[0][..., ~missing], picture.parts[0][..., ~missing])
    assert torch.allclose(made.parts[0][..., missing], torch.ones(()), atol=1e-6)
    # The model sees what is missing and three pixels and the seam around it, not whole frames.
    assert all(op.shape.input[2] < SIZE[0] and op.shape.input[3] < SIZE[1] for op in net.given)


def test_stored_planes_outside_a_mask_stay_to_the_last_bit(tmp_path, clips):
    source = clips.make(tmp_path / "in.mkv", frames=5, size=SIZE, codec="ffv1", planes=clips.random)
    missing = write_mask(tmp_path / "m.png", (slice(7, 20), slice(5, 24)))
    work = stages(Net(holes), FileMask(tmp_path / "m.png", "white"))
    VideoJob(source, tmp_path / "out.mkv", work, LOSSLESS).run("x")
    cells = missing.reshape(15, 2, 20, 2).any((1, 3))
    for before, after in zip(clips.read(source), clips.read(tmp_path / "out.mkv"), strict=True):
        for a, b, part in zip(before.planes, after.planes, (missing, cells, cells), strict=True):
            assert (a[~part] == b[~part]).all()
            assert (a[part] != b[part]).mean() > 0.9


@pytest.mark.parametrize("tile", [0, 13])
def test_a_video_of_masks_goes_with_its_frames(tmp_path, clips, tile):
    def moving(layout, height, width, k):
        luma = np.full((height, width), 16, np.uint8)
        luma[4 + 3 * k : 8 + 3 * k, 10:20] = 235
        return (luma,)

    clips.make(tmp_path / "m.mkv", frames=8, size=SIZE, codec="ffv1", pix_fmt="gray", planes=moving,
               codes=(2, 1, 2, 2))  # fmt: skip
    picture = rgb(7)
    made = stages(Net(holes), FileMask(tmp_path / "m.mkv", "white"), tile)(picture).parts[0]
    for k in range(7):
        missing = torch.zeros(SIZE, dtype=torch.bool)
        missing[4 + 3 * k : 8 + 3 * k, 10:20] = True
        assert torch.equal(made[k][:, ~missing], picture.parts[0][k][:, ~missing])
        assert torch.allclose(made[k][:, missing], torch.ones(()), atol=1e-6)


def test_seeded_boxes_are_those_of_the_degradation_whatever_the_windows():
    boxes, clean = ScatteredInpainting(4, 0.3, seed=5), rgb(9).parts[0]
    hidden = boxes(clean[None], Step()).operator.mask.expand(9, 3, *SIZE) == 0
    assert not torch.equal(hidden[0], hidden[1])
    made = stages(Net(holes), boxes, tile=9)(Picture("rgb", (clean,))).parts[0]
    assert torch.equal(made[~hidden], clean[~hidden])
    assert torch.allclose(made[hidden], torch.ones(()), atol=1e-6)


def test_boxes_that_come_and_go_are_no_cuts_for_a_whole_file_or_for_parts(tmp_path, clips):
    boxes = ScatteredInpainting(4, 0.3, seed=1)
    scene = torch.linspace(0.4, 1, SIZE[1]).expand(12, 3, *SIZE)
    shown = boxes(scene[None], Step()).observed[0]
    picture, plain = Picture("rgb", (shown,)), CutFinder()
    plain.push(picture.channels("y"))
    plain.finish()
    assert plain.cuts  # so it is that boxes must not count
    work = stages(Net(pinv), boxes, scene_cuts="auto", chunk=4)
    list(work.push(picture))
    list(work.flush())
    assert work.cuts == []

    luma = (16 + 219 * shown[:, 0]).round().to(torch.uint8).numpy()
    source = clips.make(tmp_path / "in.mkv", frames=12, size=SIZE, codec="ffv1", pix_fmt="gray",
                        planes=lambda layout, height, width, k: (luma[k],), codes=(2, 1, 2, 2))  # fmt: skip
    assert find_cuts(source, 3, None) != []
    assert find_cuts(source, 3, work.seen) == []


# --- frames, blurs, sizes, colours ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chunk", "tile"), [(2, 0), (3, 16), (32, 0)])
def test_frames_between_frames(chunk, tile):
    picture = rgb(7)
    frames = picture.parts[0]
    made = stages(Net(between, frames=0), FrameInterpolation(2), tile, chunk=chunk)(picture).parts[0]
    assert torch.equal(made[::2], frames)
    assert torch.allclose(made[1:-1:2], (frames[:-1] + frames[1:]) / 2, atol=1e-6)
    assert torch.allclose(made[-1], frames[-1], atol=1e-6)  # nothing comes behind it


def sound(path):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.size]


def test_new_frames_lie_halfway_in_time(tmp_path, clips):
    times = [0, 512, 700, 3000, 3010, 9000]
    source = clips.make(tmp_path / "in.mkv", frames=6, codec="ffv1", pts=times, time_base=Fraction(1, 1000), audio=1)
    done = VideoJob(source, tmp_path / "out.mkv", stages(Net(between), FrameInterpolation(2)), LOSSLESS).run("x")
    after = [int(f.pts * f.time_base * 1000) for f in clips.read(tmp_path / "out.mkv")]
    assert done.frames == 12
    assert after[::2] == times
    assert after[1:-1:2] == [(a + b) // 2 for a, b in itertools.pairwise(times)]
    assert after[-1] > after[-2]
    assert sound(tmp_path / "out.mkv") == sound(source) != []


def test_frames_are_not_made_across_a_cut():
    dark, bright = (torch.rand(1, 3, 6, 8).repeat_interleave(5, 2).repeat_interleave(5, 3) * 0.4 + level
                    for level in (0.0, 0.6))  # fmt: skip
    dark, bright = dark.expand(4, 3, *SIZE), bright.expand(4, 3, *SIZE)
    work = stages(Net(between), FrameInterpolation(2), scene_cuts="auto")
    made = work(Picture("rgb", (torch.cat([dark, bright]),))).parts[0]
    assert work.cuts == [4]
    assert len(made) == 16
    assert torch.allclose(made[7], dark[0], atol=1e-6)
    assert torch.allclose(made[8], bright[0], atol=1e-6)


@pytest.mark.parametrize("tile", [0, 12])
def test_a_blur_is_taken_back_to_where_its_centre_lies(tile):
    kernel = torch.zeros(3, 3, dtype=torch.float64)
    kernel[0, 2] = 1.0  # the clip moved one row up and one column to the right
    frames = rgb(3).parts[0]
    made = stages(Net(pinv), KernelBlur(kernel, "full", 0.0), tile)(Picture("rgb", (frames,))).parts[0]
    assert torch.allclose(made[..., 1:, :-1], frames[..., :-1, 1:], atol=1e-5)


def test_a_blur_in_time_too():
    frames = rgb(6).parts[0]
    late = TemporalBlur(weights=[0.0, 0.0, 1.0])  # each frame shows the one before
    made = stages(Net(pinv), late, chunk=8)(Picture("rgb", (frames,))).parts[0]
    assert torch.allclose(made[:-1], frames[1:], atol=1e-5)


@pytest.mark.parametrize("tile", [0, 10])
def test_boxes_become_pixels(tile):
    frames = rgb(3).parts[0]
    made = stages(Net(pinv), BoxDownscale(2), tile)(Picture("rgb", (frames,))).parts[0]
    assert torch.allclose(made, frames.repeat_interleave(2, -1).repeat_interleave(2, -2), atol=1e-5)


def test_colours_come_and_brightness_stays():
    def reddish(observed, operator):
        return torch.cat([observed + 0.2, observed, observed], dim=2)

    grey = Picture("gray", (torch.rand(3, 1, *SIZE) * 0.5 + 0.2,))
    made = stages(Net(reddish), Greyscale())(grey)
    assert made.kind == "yuv"
    assert torch.equal(made.parts[0], grey.parts[0])
    assert made.parts[2].mean() > 0.05 > made.parts[1].mean()
    coloured = Picture("rgb", (torch.rand(2, 1, *SIZE).repeat(1, 3, 1, 1),))
    after = stages(Net(reddish), Greyscale())(coloured).parts[0]
    luma = (after * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(luma, coloured.parts[0][:, :1], atol=1e-6)
    assert torch.allclose(after[:, 0] - after[:, 1], torch.full((), 0.2), atol=1e-6)


def test_a_grey_file_becomes_a_colour_file(tmp_path, clips):
    def reddish(observed, operator):
        return torch.cat([observed + 0.2, observed, observed], dim=2)

    source = clips.make(tmp_path / "in.mkv", frames=2, size=SIZE, codec="ffv1", pix_fmt="gray")
    VideoJob(source, tmp_path / "out.mkv", stages(Net(reddish), Greyscale()), LOSSLESS).run("x")
    after = clips.read(tmp_path / "out.mkv")
    assert after[0].layout.kind == "yuv"
    assert after[0].planes[2].mean() > 133


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (lambda p: FileMask(p / "small.png"), r"small.png is 20x20, the frames are 40x30"),
        (lambda p: FileMask(p / "short.mkv"), r"short.mkv has 2 frames, the video 7"),
        (lambda p: FileMask(p / "black.png", "white"), r"nothing white, so nothing is missing"),
        (lambda p: FileMask(p / "black.png"), r"black all over, so nothing is left"),
        (lambda p: DiskBlur(33, 16.0), r"33x33 is larger than the frames of 40x30"),
        (lambda p: MotionBlur(7), r"draws its operator at random"),
        (lambda p: Inpainting(), r"draws its operator at random"),
        (lambda p: ScatteredInpainting(), r"draws its operator at random"),
        (lambda p: ClipSensing(), r"no file is what it measured"),
        (lambda p: FramePrediction(0.5), r"leaves out frames at the end"),
    ],
)
def test_operators_that_cannot_have_made_the_file(tmp_path, clips, operator, said):
    source = clips.make(tmp_path / "in.mkv", frames=7, size=SIZE, codec="ffv1")
    clips.make(tmp_path / "short.mkv", frames=2, size=SIZE, codec="ffv1")
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "small.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "black.png")
    net = Net(holes)
    with pytest.raises(RequestError, match=said):
        stages(net, operator(tmp_path)).accept(probe(source))
    assert not net.given


def test_single_images_have_no_frames_between(tmp_path):
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "photo.png")
    with pytest.raises(RequestError, match="single one"):
        stages(Net(between), FrameInterpolation(2)).accept(probe(tmp_path / "photo.png"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[model]\nuse = "identity"\n[operator]\nuse = "greyscale"', "core:identity takes no operator"),
        ('[model]\nuse = "identity"\n[operator]\nuse = "jpeg"\nquality = 30', "core:jpeg|jpeg is no linear operator"),
        ('[model]\nuse = "identity"\n[operator]\nuse = "block-inpaint"', "block-inpainting"),
    ],
)
def test_recipes_that_make_no_sense(text, said):
    document = parse("recipe = 1\n" + text, "r.toml")
    with pytest.raises(RequestError, match=said):
        build_stages(check(document), document, Builder(registry()))


def test_models_and_schedules_that_cannot_be_run():
    with pytest.raises(RequestError, match="every size"):
        stages(Net(holes, multiple_of=4), BlockInpainting())
    with pytest.raises(RequestError, match="grey clips"):
        stages(Net(holes, channels="y"), BlockInpainting())
    with pytest.raises(RequestError, match="causal"):
        stages(Net(between), FrameInterpolation(2), schedule="causal", overlap=0)
    with pytest.raises(RequestError, match=r"table \[operator\]"):
        restorer_of(Net(holes), attrs.evolve(Run(), device="cpu"), "net")
