"""Models along time through the engine, frame by frame, against the whole clip at once."""

from __future__ import annotations

import weakref

import pytest
import torch
from restore import RequestError, RestoreError
from restore.contracts import Traits
from restore.functional.sweeping import run_sweeps
from restore.inference.memory import size_of
from restore.inference.restorer import Restorer
from restore.inference.sweeps import Carry, empty, extents, restitch
from restore.inference.temporal import TRIAL_FRAMES, restorer_of
from restore.inference.tiles import plan
from restore.recipe import Run, Temporal
from temporal_models import BASIC, FORWARD, TWO_BLOCKS, Recurrent, Window
from torch import nn

T = 21


def engine(model, tile=0, precision="fp32", **temporal):
    settings = Run(precision=precision, channels_last=False, device="cpu", tile=tile, temporal=Temporal(**temporal))
    return restorer_of(model, settings)


def answers(runner, clip, batch=5):
    """Pushed in batches, which must not matter."""
    out = [answer for part in clip.split(batch) for answer in runner.push(part)]
    return torch.cat([*out, *runner.cut()])


def whole(model, clip):
    with torch.no_grad():
        return model(clip.unsqueeze(0))[0]


def error(a, b):
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.fixture(scope="module")
def clip():
    return torch.rand(T, 3, 24, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("passes", [BASIC, TWO_BLOCKS, FORWARD])
@pytest.mark.parametrize("frames", [1, 2, T])
def test_exact_equals_the_whole_clip(clip, passes, frames, tmp_path):
    model = Recurrent(passes)
    runner = engine(model, schedule="exact")
    runner.scratch = tmp_path
    said = []
    runner.note = said.append
    assert error(answers(runner, clip[:frames]), whole(model, clip[:frames])) < 1e-5
    assert said[-1] == f"pass {len(passes)} of {len(passes)}: {frames} of {frames}"
    assert len(said) == frames * (1 + len(passes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("passes", [BASIC, TWO_BLOCKS])
@pytest.mark.parametrize("chunk", [1, 3, 5])
def test_look_ahead_comes_nearer_the_whole_the_farther_it_looks(clip, passes, chunk):
    model = Recurrent(passes)
    expected = whole(model, clip)
    found = [answers(engine(model, schedule="look_ahead", look_ahead=r, chunk=chunk), clip) for r in (0, 4, 8, T)]
    errors = [float((out - expected).abs().mean()) for out in found]
    assert errors[0] > 2 * errors[1] > 3 * errors[2] > 0
    assert error(found[3], expected) < 1e-5


def test_what_goes_forward_is_carried_exactly_however_short_the_look_ahead(clip):
    model = Recurrent(FORWARD)
    for chunk in (1, 4, "auto"):
        runner = engine(model, look_ahead=0, chunk=chunk)
        assert error(answers(runner, clip), whole(model, clip)) < 1e-5
        assert runner.schedule.startswith("exact")


def test_scenes_of_one_chunk_are_exact(clip):
    model = Recurrent(TWO_BLOCKS)
    runner = engine(model)
    assert error(answers(runner, clip), whole(model, clip)) < 1e-5


@pytest.mark.parametrize("passes", [BASIC, TWO_BLOCKS, FORWARD])
def test_causal_sees_nothing_of_the_future_and_answers_at_once(clip, passes):
    model = Recurrent(passes)
    runner = engine(model, schedule="causal")
    found = []
    for t, frame in enumerate(clip.split(1)):
        found += runner.push(frame)
        assert len(found) == t + 1
    assert not list(runner.cut())
    other = clip.clone()
    other[9:] = 1 - other[9:]
    assert torch.equal(answers(engine(model, schedule="causal"), other)[:9], torch.cat(found)[:9])
    # Nothing comes from behind: a backward sweep begins at every frame, a forward one goes on.
    again = torch.cat(found)
    assert error(again[:1], whole(model, clip[:1])) < 1e-5
    assert error(again[8:9], whole(model, clip[8:9])) > 1e-3


def test_a_forward_model_of_no_reach_is_causal_already(clip):
    model = Recurrent((("forward", 0), ("forward", 0)))
    assert error(answers(engine(model, schedule="causal"), clip), whole(model, clip)) < 1e-5


def test_neighbours_of_a_chunk_shorter_than_the_reach(clip):
    model = Recurrent((("forward", 3), ("none", 2)))
    assert error(answers(engine(model, chunk=1), clip), whole(model, clip)) < 1e-5


def test_extents_add_the_reaches_up_and_warm_up_what_comes_backward():
    assert extents(Recurrent(FORWARD).sweeps, 8) == [3, 2, 2, 0]
    assert extents(Recurrent(BASIC).sweeps, 8) == [8, 8, 0]
    assert extents(Recurrent(TWO_BLOCKS).sweeps, 8) == [11, 10, 9, 8, 0]
    assert extents(Recurrent(TWO_BLOCKS).sweeps, 8, causal=True) == [0] * 5


@pytest.mark.parametrize("schedule", ["look_ahead", "causal", "exact"])
def test_a_cut_begins_afresh(clip, schedule):
    model = Recurrent(BASIC)
    runner = engine(model, schedule=schedule, look_ahead=3, chunk=4)
    first = torch.cat([*runner.push(clip[:9]), *runner.cut()])
    second = torch.cat([*runner.push(clip[9:]), *runner.cut()])
    assert torch.equal(second, answers(engine(model, schedule=schedule, look_ahead=3, chunk=4), clip[9:]))
    assert len(first) == 9
    if schedule == "exact":
        assert error(first, whole(model, clip[:9])) < 1e-5


@pytest.mark.parametrize("schedule", ["look_ahead", "exact"])
def test_odd_sizes_are_padded_by_reflection_and_cropped(clip, schedule):
    model = Recurrent(TWO_BLOCKS, multiple_of=8, minimum=16)
    runner = engine(model, schedule=schedule)
    found = answers(runner, clip[:3, :, :13, :21])
    padded = nn.functional.pad(clip[:3, :, :13, :21], (0, 3, 0, 3), mode="reflect")
    assert error(found, whole(model, padded)[..., :26, :42]) < 1e-5


# --- tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["look_ahead", "exact", "causal"])
def test_tiles_carry_their_own_state_and_come_near_the_whole(schedule):
    clip = torch.rand(9, 3, 48, 64)
    model = Recurrent(TWO_BLOCKS)
    expected = answers(engine(model, schedule=schedule, chunk=4, look_ahead=3), clip)
    runner = engine(model, tile=32, schedule=schedule, chunk=4, look_ahead=3)
    found = answers(runner, clip)
    off = (found - expected).abs()
    assert float(off.max()) > 0  # a tile does not see everything
    assert float(off.mean()) < 0.002
    assert float(off.max()) < 0.1
    # Without state a tile is as wrong as a new scene.
    afresh = torch.cat([answers(engine(model, schedule=schedule), frame) for frame in clip.split(1)])
    assert float((afresh - expected).abs().mean()) > 5 * float(off.mean())
    assert any("seams are blended" in text for text in runner.warnings)


def carry_of(frame, *more):
    return Carry(({"hidden": frame, "coarse": frame[..., ::4, ::4]}, None), (({"frame": frame},), more))


def test_carried_state_is_cut_and_put_together_again():
    size, frame = (48, 64), torch.rand(1, 5, 48, 64)
    one, few, many = (plan(*size, tile, 8, 4) for tile in (0, 32, 16))
    split = restitch([carry_of(frame)], one, few, size)
    for tile, carry in zip(few, split, strict=True):
        (a, b), (c, d) = tile.region
        assert torch.equal(carry.states[0]["hidden"], frame[..., a:b, c:d])
        assert torch.equal(carry.states[0]["coarse"], frame[..., ::4, ::4][..., a // 4 : b // 4, c // 4 : d // 4])
        assert torch.equal(carry.before[0][0]["frame"], frame[..., a:b, c:d])
    finer = restitch(split, few, many, size)
    assert torch.equal(restitch(finer, many, one, size)[0].states[0]["hidden"], frame)


def test_state_that_is_no_picture_goes_to_the_tiles_that_lie_inside():
    size = (32, 64)
    one, two, four = (plan(*size, tile, 0) for tile in (0, 32, 16))
    numbers = [Carry(({"mean": torch.full((1, 3), float(k))},), ((),)) for k in range(len(two))]
    assert [float(c.states[0]["mean"][0, 0]) for c in restitch(numbers, two, four, size)] == [0, 0, 1, 1] * 2
    assert len(restitch(numbers[:1], one, two, size)) == 2


class Hungry(Recurrent):
    """Runs out of memory on large pieces, from some call on."""

    calls, limit, patience = 0, 40 * 40, 0

    def seen(self, frames, state):
        self.calls += 1
        if frames[self.passes[0][1]]["frame"].shape[-2:].numel() > self.limit and self.calls > self.patience:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")


@pytest.mark.parametrize("schedule", ["look_ahead", "exact"])
def test_out_of_memory_in_mid_video_halves_the_tile_and_keeps_frames_and_state(schedule, capsys):
    clip = torch.rand(12, 3, 48, 64)
    model = Hungry((("forward", 0), ("forward", 0)))
    expected = whole(Recurrent(model.passes), clip)
    model.patience = 17  # in the ninth frame, or in the second sweep of the scene
    found = answers(engine(model, schedule=schedule, chunk=1), clip)
    assert capsys.readouterr().err.count("out of memory") == 1
    assert found.shape == expected.shape
    assert error(found[:5], expected[:5]) < 1e-5
    assert float((found - expected).abs().mean()) < 0.002
    model.limit = 8
    with pytest.raises(RestoreError, match="not enough memory"):
        answers(engine(model, schedule=schedule, chunk=1), clip)


# --- memory, precision, values ----------------------------------------------------------------------------------------


class Counting(Recurrent):
    """Knows how many bytes of values and states are alive."""

    alive, peak = {}, 0

    def watch(self):
        self.alive, self.peak = {}, 0

    def seen(self, frames, state):
        for value in [f for f in frames if f is not None] + ([state] if state else []):
            for tensor in value.values():
                self.alive[id(tensor)] = weakref.ref(tensor)
        self.alive = {k: r for k, r in self.alive.items() if r() is not None}
        self.peak = max(self.peak, size_of([t for r in self.alive.values() if (t := r()) is not None]))


@pytest.mark.parametrize("schedule", ["look_ahead", "exact"])
@pytest.mark.parametrize("passes", [BASIC, TWO_BLOCKS])
def test_memory_does_not_grow_with_the_video(schedule, passes):
    peaks = []
    for frames in (16, 48):
        model = Counting(passes)
        runner = engine(model, schedule=schedule, chunk=4, look_ahead=4)
        runner.appetite(3)  # measured beforehand, so that only the video counts
        model.watch()
        for frame in torch.rand(frames, 3, 8, 8).split(1):
            list(runner.push(frame))
        for _ in runner.cut():
            pass
        peaks.append(model.peak)
    assert peaks[0] == peaks[1] > 0


def test_memory_is_estimated_from_what_lies_between_the_sweeps():
    runner = engine(Recurrent(TWO_BLOCKS), chunk=8, look_ahead=4)
    found = runner.appetite(3)
    # Between the last two sweeps: the frame and three states of four planes, in front and behind alike but for one.
    assert found.values >= 4 * (3 + 3 * 4)
    runner._chunk = 8
    short = runner.bytes_per_pixel(torch.zeros(1, 3, 8, 8))
    runner._chunk = 32
    assert runner.bytes_per_pixel(torch.zeros(1, 3, 8, 8)) > 2 * short


def test_chunks_shrink_before_frames_are_cut_into_tiles(monkeypatch):
    model = Recurrent(BASIC)
    frame = torch.rand(1, 3, 64, 64)

    def settled(room):
        runner = engine(model, tile="auto", look_ahead=4)
        monkeypatch.setattr(runner, "room", lambda: room)
        list(runner.push(frame))
        return runner._chunk, runner.tile_for(frame)

    per_pixel = {n: engine(model, look_ahead=4)._needs(3, n) for n in (32, 16, 8)}
    assert settled(64 * 64 * per_pixel[32] * 1.01) == (32, 0)
    assert settled(64 * 64 * per_pixel[16] * 1.01) == (16, 0)
    chunk, tile = settled(64 * 64 * per_pixel[8] * 0.9)
    assert chunk == 16
    assert 32 <= tile < 64


class Fragile(Recurrent):
    """Not finite in a short precision, in its state, at one frame."""

    @property
    def sweeps(self):
        def spoilt(sweep):
            def call(frames, state):
                value, state = sweep(frames, state)
                here = frames[sweep.reach]["frame"]
                if torch.is_autocast_enabled("cpu") and float(here.max()) > 2:
                    state = {k: v * float("nan") for k, v in state.items()}
                    value = {k: v * float("nan") if k != "frame" or sweep.last else v for k, v in value.items()}
                return value, state

            call.direction, call.reach = sweep.direction, sweep.reach
            return call

        return tuple(spoilt(sweep) for sweep in super().sweeps)


@pytest.mark.parametrize("schedule", ["look_ahead", "exact"])
def test_values_that_are_not_finite_are_done_again_in_fp32(clip, schedule):
    clip = clip.clone()
    clip[6] = clip[6] + 3
    model = Fragile(BASIC)
    runner = engine(model, precision="bf16", schedule=schedule, chunk=4, look_ahead=T)
    assert error(answers(runner, clip), whole(model, clip)) < 0.1
    assert any("bf16" in text and "fp32" in text for text in runner.warnings)


@pytest.mark.parametrize("schedule", ["look_ahead", "exact"])
def test_not_finite_in_fp32_is_an_error_that_names_the_frame(clip, schedule):
    bad = clip.clone()
    bad[6, :, 2, 2] = float("inf")
    # The first pass, of reach 1, fails at frame 5 already; the first answers of the chunk are finite no more.
    with pytest.raises(RestoreError, match=r"frame (4, 5, 6, 7|5) is not finite"):
        answers(engine(Recurrent(FORWARD), schedule=schedule, chunk=4), bad)


def test_modes_are_tried_on_the_first_frames_as_a_clip(clip):
    model = Recurrent(BASIC)
    runner = restorer_of(model, Run(device="cpu", channels_last=False))
    seen = []
    tried = runner.try_out
    runner.try_out = lambda frames, mode: seen.append((len(frames), mode.precision)) or tried(frames, mode)
    answers(runner, clip)
    assert {kind for _, kind in seen} == {"fp32", "bf16"}
    assert {count for count, _ in seen} == {TRIAL_FRAMES}


# --- windows ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 8, "auto"])
@pytest.mark.parametrize("frames", [1, 4, T])
def test_windows_with_their_halo_equal_the_whole_clip(clip, chunk, frames):
    model = Window(reach=2)
    expected = whole(model, clip[:frames])
    model.lengths.clear()
    runner = engine(model, chunk=chunk)
    assert torch.equal(answers(runner, clip[:frames]), expected)
    assert max(model.lengths) <= runner._chunk + 4 or chunk == "auto"


def test_a_halo_that_is_one_frame_short_shows(clip):
    model = Window(reach=2, declared=1)
    assert error(answers(engine(model, chunk=3), clip), whole(model, clip)) > 0.01


def test_windows_of_the_past_are_causal(clip):
    model = Window(reach=2)
    found = answers(engine(model, schedule="causal"), clip)
    for t in (0, 1, 7):
        assert torch.allclose(found[t], whole(model, clip[max(0, t - 2) : t + 1])[-1])


def test_windows_that_see_themselves_are_blended_over_their_seams():
    """A model that adds the mean of its window: a ramp in time shows every seam."""
    clip = torch.linspace(0, 1, 64).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    steps = {}
    for overlap in (0, 4, "auto"):
        found = answers(engine(Window(reach=0, whole=True), chunk=16, overlap=overlap), clip)[:, 0, 0, 0]
        assert len(found) == 64
        steps[overlap] = float((found[1:] - found[:-1]).max())
    assert steps[4] < steps[0] / 3
    assert steps["auto"] == steps[4]


@pytest.mark.parametrize("frames", [1, 8, 16, 19, 20, 21, 31, 32, 33])
def test_every_frame_is_answered_whatever_the_length(frames):
    clip = torch.rand(frames, 3, 2, 2)
    model = Window(reach=1)
    assert error(answers(engine(model, chunk=16, overlap=3), clip), whole(model, clip)) < 1e-6


def test_a_chunk_shorter_than_two_overlaps_is_refused():
    with pytest.raises(RequestError, match="at least 8"):
        engine(Window(), chunk=5, overlap=4)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_single_frames_and_operators():
    class Net(nn.Module):
        def __init__(self, **traits):
            super().__init__()
            self.traits = Traits(**traits)

    assert isinstance(engine(Net()), Restorer)
    with pytest.raises(RequestError, match="operator"):
        engine(Net(temporal="stream", needs_operator=True))
    with pytest.raises(RestoreError, match="sweeps"):
        engine(Net(temporal="stream"))


def test_sweeps_that_break_their_contract_are_named(clip):
    def sweep(frames, state):
        return frames[0]["frame"], None

    sweep.direction, sweep.reach = "sideways", 0
    with pytest.raises(RestoreError, match="sideways"):
        run_sweeps([sweep], clip[None])
    sweep.direction = "none"
    with pytest.raises(RestoreError, match="dict"):
        run_sweeps([sweep], clip[None])
    assert empty([sweep]).states == (None,)
