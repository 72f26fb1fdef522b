"""Where a video is cut into parts, and what each part must see beyond itself."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from typing import Sequence

import attrs

from restore.errors import RequestError
from restore.inference.exact import ExactRunner
from restore.inference.restorer import Restorer
from restore.inference.stream import StreamRunner
from restore.inference.temporal import TemporalRunner
from restore.inference.windows import WindowRunner
from restore.recipe import Segments

_LENGTH = 250  # frames; an encoder left alone begins a group of pictures about as often
_CONTEXT_SHARE = 16  # at least so many frames of a part to one that is seen only for its neighbours' sake


@attrs.frozen
class Context:
    """What models need around a part of a video, in frames.

    Attributes:
        past, ahead: seen before and behind the part, within its scene, and not answered.
        grid: parts begin at whole multiples of this behind the beginning of their scene, so that chunks lie as they
            would lie in one run.
        carried: the state goes from part to part; no frame is answered twice, and parts of a scene go in order.
        whole_scenes: a scene is never cut (``exact`` among other models).
        along_time: whether any model looks along time.
        sweeps: direction and reach of each sweep, where they go over the parts of a scene one after the other
            (``exact``).
    """

    past: int = 0
    ahead: int = 0
    grid: int = 1
    carried: bool = False
    whole_scenes: bool = False
    along_time: bool = False
    sweeps: Sequence[tuple[str, int]] = ()


def context_of(restorers: Sequence[Restorer | TemporalRunner], state: str = "auto") -> Context:
    """What a row of models needs; those along time must have settled their chunks.

    A window model whose windows are not blended needs its halo, and is exact. Blended windows need the whole window
    before and behind, and are exact as well. ``causal`` and models in which nothing comes backward carry their state,
    and are exact. Under ``look_ahead`` the state that goes forward begins ``look_ahead`` frames before a part with
    nothing, as the one that comes backward begins so many frames behind it; with ``state = "carry"`` it is carried.
    Under ``exact`` each sweep goes over all parts of a scene before a frame is answered; behind another model, or
    before one that looks along time, a scene is one part.

    Args:
        restorers: the models.
        state: ``[run.segments]`` says it.

    Raises:
        RequestError: a state is to be carried that cannot be.
    """
    along = [r for r in restorers if isinstance(r, TemporalRunner)]
    if not along:
        return Context()
    if along[0].temporal.schedule == "causal":
        return Context(carried=True, along_time=True)
    if len(along) == 1 and along[0] is restorers[0] and isinstance(along[0], ExactRunner):
        return Context(along_time=True, sweeps=[(s.direction, s.reach) for s in along[0].sweeps])
    if any(isinstance(r, ExactRunner) for r in along):
        return Context(whole_scenes=True, along_time=True)
    one = along[0] if len(along) == 1 and isinstance(along[0], StreamRunner) else None
    if state == "carry" and one is None:
        raise RequestError('run.segments.state = "carry" needs one model that carries state along time, and no more')
    if one is not None and (state == "carry" or (state == "auto" and one.only_forward)):
        return Context(0, one.ahead, _chunk(one), carried=True, along_time=True)
    parts = [_needs(r) for r in along]
    grid = math.lcm(*(g for _, _, g in parts))
    past = sum(p for p, _, _ in parts)
    return Context(-(-past // grid) * grid, sum(a for _, a, _ in parts), grid, along_time=True)


def _needs(runner: TemporalRunner) -> tuple[int, int, int]:
    """Past, ahead, grid."""
    chunk = _chunk(runner)
    if isinstance(runner, WindowRunner):
        if not runner.overlap:
            return runner.past, runner.ahead, 1
        return chunk + -(-runner.past // chunk) * chunk, chunk + runner.ahead, chunk
    assert isinstance(runner, StreamRunner)
    return -(-max(runner.temporal.look_ahead, 1) // chunk) * chunk, runner.ahead, chunk


def _chunk(runner: TemporalRunner) -> int:
    settled = runner.settled()["chunks"]
    return int(settled[0][-1]) if settled else int(runner.temporal.chunk)


@attrs.frozen
class Segment:
    """A part of a video; frames by number, each range without its end.

    Attributes:
        number: of the part, from 0.
        first, stop: frames that are answered.
        low, high: frames that are read.
        fresh: a scene begins here, so nothing of the part before matters.
        scene: where the scene begins and stops, of a part of one scene that is swept part by part; None of others.
    """

    number: int
    first: int
    stop: int
    low: int
    high: int
    fresh: bool
    scene: tuple[int, int] | None = None

    @property
    def frames(self) -> int:
        """How many are answered."""
        return self.stop - self.first


def length_of(settings: Segments, context: Context) -> int:
    """Frames to a part; 0: videos are not cut."""
    if settings.frames != "auto":
        return settings.frames
    wanted = max(_LENGTH, _CONTEXT_SHARE * (context.past + context.ahead))
    return -(-wanted // context.grid) * context.grid


def bounds_of(
    count: int, settings: Segments, context: Context, cuts: Sequence[int] = (), keys: Sequence[int] = ()
) -> list[int]:
    """Where parts begin, and the number of frames: ``[0, 240, 500]``.

    Args:
        count: frames of the video.
        settings: ``[run.segments]``.
        context: what the models need.
        cuts: where scenes begin, in order, without 0.
        keys: where decoding can begin, in order.

    Returns:
        two numbers or more; the last part is no longer than one and a half.
    """
    length = length_of(settings, context)
    if context.sweeps and length:
        return _by_scenes(count, length, cuts)
    bounds = [0]
    liked = cuts if settings.at in ("auto", "scenes") else keys if settings.at == "keys" else ()
    if settings.at == "auto" and not context.along_time:
        liked = keys
    while length and count - bounds[-1] >= 1.5 * length:
        bound = _next(bounds[-1], length, context, cuts if context.whole_scenes else liked, cuts)
        if bound is None or bound >= count:
            break
        bounds.append(bound)
    return [*bounds, count] if bounds[-1] < count else bounds


def _by_scenes(count: int, length: int, cuts: Sequence[int]) -> list[int]:
    """Short scenes together, long ones divided: a part is of whole scenes, or of one."""
    bounds = [0]
    for first, stop in itertools.pairwise([0, *cuts, count]):
        parts = max(1, round((stop - first) / length)) if stop - first >= 1.5 * length else 1
        if first > bounds[-1] and (parts > 1 or stop - bounds[-1] >= 1.5 * length):
            bounds.append(first)
        if parts > 1 or stop - bounds[-1] >= length:
            bounds += [first + (stop - first) * k // parts for k in range(1, parts + 1)]
    return [*bounds, count] if bounds[-1] < count else bounds


def _next(here: int, length: int, context: Context, liked: Sequence[int], cuts: Sequence[int]) -> int | None:
    target = here + length
    near = [k for k in liked if here + length / 2 <= k <= here + 1.5 * length and _aligned(k, context, cuts)]
    if near:
        return min(near, key=lambda k: abs(k - target))
    if context.whole_scenes:
        return next((k for k in cuts if k > target), None)
    scene = _scene_start(target, cuts)
    aligned = scene + round((target - scene) / context.grid) * context.grid
    return aligned if aligned > here else scene + -(-(here + 1 - scene) // context.grid) * context.grid


def _aligned(frame: int, context: Context, cuts: Sequence[int]) -> bool:
    return (frame - _scene_start(frame, cuts)) % context.grid == 0


def _scene_start(frame: int, cuts: Sequence[int]) -> int:
    place = bisect_right(cuts, frame)
    return cuts[place - 1] if place else 0


def segments_of(bounds: Sequence[int], context: Context, cuts: Sequence[int] = ()) -> list[Segment]:
    """The parts between bounds, with what each must see. Beyond a scene change nothing is seen."""
    found = []
    begins = {0, *cuts}
    for number, (first, stop) in enumerate(itertools.pairwise(bounds)):
        fresh = first in begins
        low = first if fresh else max(_scene_start(first, cuts), first - context.past)
        after = bisect_right(cuts, stop - 1)
        end = cuts[after] if after < len(cuts) else bounds[-1]
        whole = fresh and stop in (*cuts, bounds[-1])
        scene = (_scene_start(first, cuts), end) if context.sweeps and not whole else None
        found.append(Segment(number, first, stop, low, min(end, stop + context.ahead), fresh, scene))
    return found
