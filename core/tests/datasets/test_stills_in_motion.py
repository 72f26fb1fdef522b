from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from restore.builtin.datasets.motion import Blob, Layer, Motion, Scene, sample_spline, smooth_path, spline
from restore.builtin.datasets.stills_in_motion import StillsInMotion, _no_coarser
from restore.errors import RequestError
from restore.training.data import seeded


def texture(height, width, seed=0, finest=6.0):
    """Waves in all directions, none shorter than ``finest`` pixels: ``(H, W, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = np.zeros((height, width, 3))
    for _ in range(24):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(finest, 40)
        wave = 2 * np.pi / length * (np.cos(angle) * x + np.sin(angle) * y)
        out += np.sin(wave[..., None] + rng.uniform(0, 2 * np.pi, 3)) * rng.uniform(0.2, 1)
    return ((out - out.min()) / np.ptp(out) * 255).round().astype(np.uint8)


@pytest.fixture
def photographs(tmp_path):
    for k, size in enumerate([(90, 120), (110, 80), (64, 64)]):
        Image.fromarray(texture(*size, seed=k)).save(tmp_path / f"{k}.png")
    return tmp_path


def fetch(frames, flow):
    """Frames at p + flow, by torch's own bicubic sampling."""
    height, width = frames.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([2 * (x + flow[:, 0]) / (width - 1) - 1, 2 * (y + flow[:, 1]) / (height - 1) - 1], -1)
    return F.grid_sample(frames, grid, mode="bicubic", align_corners=True, padding_mode="border")


def away(valid, by=4):
    """Pixels that are ``by`` from what is not valid and from the borders."""
    bad = F.pad((~valid).float(), [by] * 4, value=1.0)
    return F.max_pool2d(bad, 2 * by + 1, 1) == 0


def error(clip, flow, valid):
    """Mean of |frame t - frame t+1 along the flow| in 255ths."""
    difference = (fetch(clip[1:], flow) - clip[:-1]).abs()
    where = away(valid).expand_as(difference)
    assert where.float().mean() > 0.1
    return float(difference[where].mean()) * 255


def test_the_flow_takes_every_frame_to_the_next(photographs):
    data = StillsInMotion(photographs, length=4, patch=48, speed=3.0, rotation=2.0, zoom=0.02, include=["[01].png"])
    right, wrong = [], {"negative": [], "swapped": [], "none": [], "late": []}
    for seed in range(6):
        clip, flow, valid = data.sample_with_flow(seed % len(data), seeded(seed))
        assert (clip.shape, flow.shape, valid.shape) == ((4, 3, 48, 48), (3, 2, 48, 48), (3, 1, 48, 48))
        assert (clip.dtype, flow.dtype, valid.dtype) == (torch.float32, torch.float32, torch.bool)
        if not away(valid).float().mean() > 0.1:
            continue
        right.append(error(clip, flow, valid))
        for name, other in (
            ("negative", -flow),
            ("swapped", flow.flip(1)),
            ("none", 0 * flow),
            ("late", flow.roll(1, 0)),
        ):
            wrong[name].append(error(clip, other, valid))
    assert len(right) >= 4
    assert max(right) < 1.0
    assert np.mean(right) < 0.6
    for name, errors in wrong.items():
        assert np.mean(errors) > 3 * np.mean(right), name


def two_layers(shift=(3.0, 0.0), step=(0.0, 0.0)):
    """A disc of radius 6 that moves over a still picture."""
    back, front = (spline(torch.from_numpy(texture(48, 48, k)).permute(2, 0, 1).float() / 255) for k in (1, 2))
    time, one, centre = torch.arange(2.0).double()[:, None], torch.ones(2).double(), torch.tensor([23.0, 23.0]).double()
    still = Motion.similarity(one, 0 * one, torch.tensor(step).double() * time, 0 * one)
    start = torch.tensor([14.0, 16.0]).double()
    moving = Motion.similarity(one, 0 * one, start + torch.tensor(shift).double() * time, centre)
    disc = Blob(centre, 6.0, torch.zeros(4).double(), torch.zeros(4).double(), 1.0)
    return Scene((Layer(back, still), Layer(front, moving, disc)), 2, 40, 36)


def test_what_a_piece_covers_or_uncovers_is_told():
    scene = two_layers()
    clip, (flow, valid) = scene.render(), scene.flow()
    # Inside the disc its own motion, x first; outside none.
    assert torch.allclose(flow[0, :, 16, 14], torch.tensor([3.0, 0.0]))
    assert flow[0, :, 16, 30].abs().max() == 0
    assert valid[0, 0, 16, 14]
    assert valid[0, 0, 16, 30]
    # Just right of the disc the background is about to be covered; left of it nothing happens to it.
    assert not valid[0, 0, 16, 22]
    assert valid[0, 0, 16, 5]
    # On the edge two motions mix.
    assert not valid[0, 0, 16, 20]
    assert torch.allclose(clip[0, :, 13:20, 11:18], clip[1, :, 13:20, 14:21], atol=1e-5)
    down = two_layers(shift=(0.0, 2.0)).flow()[0]
    assert torch.allclose(down[0, :, 16, 14], torch.tensor([0.0, 2.0]))


def test_what_leaves_the_frame_is_not_valid():
    flow, valid = two_layers(step=(-2.0, 0.0)).flow()
    assert torch.allclose(flow[0, :, 30, 20], torch.tensor([-2.0, 0.0]))
    assert not valid[0, 0, 30, :2].any()
    assert valid[0, 0, 30, 2:].all()


def test_turning_and_size():
    # A quarter turn about the middle, at half the size: what is seen at (4, 2) lay two steps of two to the right of it.
    still = Motion.similarity(torch.tensor([2.0]).double(), torch.tensor([np.pi / 2]).double(),
                              torch.tensor([[4.0, 4.0]]).double(), torch.tensor([10.0, 12.0]).double())  # fmt: skip
    point = still.source(torch.tensor([[[4.0, 2.0]]]).double())
    assert point.flatten().tolist() == pytest.approx([14.0, 12.0])
    assert still.position(point).flatten().tolist() == pytest.approx([4.0, 2.0])


def test_the_spline_goes_through_the_pixels_and_between_them():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    wave = (torch.sin(0.9 * x + 0.5 * y) + 1)[None] / 2
    coefficients = spline(wave)
    grid = torch.stack([x, y], -1).reshape(-1, 2).double()
    inner = (grid > 12).all(1) & (grid[:, 0] < 37) & (grid[:, 1] < 27)
    assert torch.allclose(sample_spline(coefficients, grid)[0, inner], wave.flatten()[inner], atol=1e-5)
    between = grid + torch.tensor([0.3, 0.6]).double()
    expected = (torch.sin(0.9 * between[:, 0] + 0.5 * between[:, 1]) + 1) / 2
    difference = (sample_spline(coefficients, between)[0] - expected).abs()[inner]
    assert difference.max() < 0.004  # Keys' kernel: 0.02


def test_no_frame_samples_a_photograph_more_coarsely_than_its_grid():
    for seed in range(20):
        size, angle = smooth_path(9, 0.05, seeded(seed)), smooth_path(9, 0.2, seeded(seed, 1))
        scale = _no_coarser(size, angle)
        reach = scale * (angle.cos().abs() + angle.sin().abs())
        assert reach.max() <= 0.8 + 1e-9
        assert torch.allclose(scale[1] / scale[0], torch.exp(size[0] - size[1]))


def test_paths_are_smooth_and_as_fast_as_asked():
    paths = torch.stack([smooth_path(30, 2.0, seeded(k)) for k in range(300)])
    velocity = paths.diff(dim=1)
    assert paths[:, 0].abs().max() == 0
    assert 2.0 < float(velocity.std()) < 2.0 * 1.3
    assert float(velocity.diff(dim=1).abs().max()) < 3.0
    assert float(velocity.diff(dim=1).std()) < 0.5


def test_nothing_lies_outside_the_photograph(tmp_path):
    # A photograph that is bright but for its outermost pixels, hardly larger than the patch: no frame may show them as
    # more than the faint ring that sampling leaves.
    pixels = np.full((60, 70, 3), 200, np.uint8)
    pixels[:, [0, -1]] = pixels[[0, -1]] = 0
    Image.fromarray(pixels).save(tmp_path / "x.png")
    data = StillsInMotion(tmp_path, length=5, patch=48, pieces=0, speed=5.0, rotation=5.0, zoom=0.05)
    for seed in range(12):
        clip = data.sample(0, seeded(seed)) * 255
        assert clip.min() > 150, seed


def test_clips_move_and_have_pieces(photographs):
    data = StillsInMotion(photographs, length=3, patch=32)
    counts = {len(data.scene(0, seeded(k)).layers) for k in range(40)}
    assert counts == {1, 2, 3, 4}
    assert {len(StillsInMotion(photographs, 3, 32, pieces=0).scene(0, seeded(k)).layers) for k in range(9)} == {1}
    moved = [float((c[1:] - c[:-1]).abs().mean()) for c in (data.sample(k % len(data), seeded(k)) for k in range(10))]
    assert np.median(moved) > 0.01
    still = StillsInMotion(photographs, 3, 32, speed=0, rotation=0, zoom=0).sample(0, seeded(1))
    assert torch.equal(still[0], still[2])


def test_the_generator_decides_everything(photographs):
    data = StillsInMotion(photographs, length=3, patch=32)
    clip = data.sample(4, seeded(1))
    assert clip.min() >= 0
    assert clip.max() <= 1
    assert torch.equal(clip, data.sample_with_flow(4, seeded(1))[0])
    assert not torch.equal(clip, data.sample(4, seeded(2)))
    assert torch.equal(data[4], data[4])
    assert torch.equal(data[-1], data[len(data) - 1])
    assert not torch.equal(data[4], data[5])
    single = StillsInMotion(photographs, length=1, patch=32).sample_with_flow(0, seeded(1))
    assert [tuple(t.shape) for t in single] == [(1, 3, 32, 32), (0, 2, 32, 32), (0, 1, 32, 32)]


def test_photographs_have_their_share_and_small_ones_are_left_out(photographs):
    data = StillsInMotion(photographs, length=2, patch=60)
    assert {data.name(i) for i in range(len(data))} == {"0", "1"}
    assert len(data) == 90 * 120 // 3600 + 110 * 80 // 3600
    with pytest.raises(RequestError, match="no image of at least 108x108"):
        StillsInMotion(photographs, length=2, patch=100)
    for values, message in (({"patch": 4}, "patch must be at least 8"), ({"speed": -1.0}, "speed must be at least 0"),
                            ({"zoom": float("nan")}, "zoom must be")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            StillsInMotion(photographs, **{"length": 2, "patch": 32, **values})


@pytest.mark.shared
def test_real_photographs(shared_data):
    data = StillsInMotion(shared_data / "train_images" / "BSD200", length=3, patch=96)
    errors = []
    for seed in range(4):
        clip, flow, valid = data.sample_with_flow(97 * seed, seeded(seed))
        errors.append(error(clip, flow, valid))
    assert max(errors) < 1.0
    assert np.mean(errors) < 0.6
