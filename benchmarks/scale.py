"""How far a film, and many clips, can be shared out: a simulation from measured costs, and its check against real runs.

    python benchmarks/scale.py                    # measures, checks with 1 and 2 workers, prints the table
    python benchmarks/scale.py --starts --times 32 --length 250   # 1 and 2 workers, their starts included
    python benchmarks/scale.py --pixels 2073600   # for a source of 1920x1080 instead of the sample's size

Costs are seconds of processor time, so that what else the machine does hardly matters: those of decoding, of the model
and of encoding for a frame; of a part and of a file for themselves; of what one process does for all (reading names,
indexing, finding scenes, keeping parts, joining). The simulation gives parts to workers as the engine does.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import resource
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import attrs
import av
from restore.catalogue import recipe_document
from restore.inference.jobs import Job
from restore.longjobs.film import LOOK, Film
from restore.longjobs.restoring import build, restore_by
from restore.longjobs.work import Setting, Workbench
from restore.longjobs.workers import Processes
from restore.media.indexing import StretchReader, index_video
from restore.media.probe import probe
from restore.media.reader import VideoReader
from restore.plugins import registry
from restore.recipe import check
from restore.samples import path as sample

HOURS_2 = 2 * 3600 * 24
CLIPS, CLIP = 100_000, 240


@attrs.frozen
class Costs:
    """Seconds of processor time.

    Attributes:
        decode, model, encode, join, index, scenes: for a frame.
        part: for a part besides its frames, on a worker.
        keep: for a part, where parts are kept: two writes through to the disk, in seconds of the clock.
        name: for a file, where files are listed.
        start: of a worker, before its first task.
        context: frames of a part that are seen and not answered.
    """

    decode: float
    model: float
    encode: float
    join: float
    index: float
    scenes: float
    part: float
    keep: float
    name: float
    start: float
    context: int = 0

    def of_part(self, frames: int) -> float:
        """A worker's time for a part."""
        return self.part + (frames + self.context) * (self.decode + self.model) + frames * self.encode


def simulate(costs: Costs, films: list[int], length: int, workers: int) -> float:
    """Seconds until all films of so many frames are done: one process gives out parts, keeps and joins them."""
    here = costs.name * len(films)  # when the one process is free again
    free = [costs.start] * workers
    heapq.heapify(free)
    answers: list[tuple[float, int]] = []
    left: dict[int, int] = {}
    for number, frames in enumerate(films):
        parts = _parts(frames, length)
        ready = here
        if len(parts) > 1:
            here = ready = here + costs.index * frames
            worker = max(heapq.heappop(free), ready) + costs.scenes * frames
            heapq.heappush(free, worker)
            ready = worker
        left[number] = len(parts)
        for part in parts:
            done = max(heapq.heappop(free), ready) + costs.of_part(part)
            heapq.heappush(free, done)
            heapq.heappush(answers, (done, number))
    while answers:
        done, number = heapq.heappop(answers)
        here = max(here, done) + costs.keep
        left[number] -= 1
        if not left[number] and films[number] > 1.5 * length:
            here += costs.join * films[number]
    return here


def _parts(frames: int, length: int) -> list[int]:
    parts = []
    while frames >= 1.5 * length:
        parts.append(length)
        frames -= length
    return [*parts, frames]


def cpu() -> float:
    """Of this process and of those that it began and that have ended: so workers are begun by it, not by a helper."""
    return sum(
        r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def timed(call):
    """What a call gives, and the processor time it takes."""
    start = cpu()
    result = call()
    return result, cpu() - start


def longer(folder: Path, times: int) -> Path:
    """The sample so often, one behind the other, by its packets."""
    target = folder / "long.mkv"
    with av.open(str(target), "w") as out, av.open(str(sample("sample.mkv"))) as first:
        stream = out.add_stream_from_template(first.streams.video[0])
        shift = 0
        for _ in range(times):
            end = shift
            with av.open(str(sample("sample.mkv"))) as container:
                source = container.streams.video[0]
                step = int(1 / (source.average_rate * source.time_base))
                for packet in container.demux(source):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        end = max(end, packet.pts + step)
                        packet.stream = stream
                        out.mux(packet)
            shift = end
    return target


def measure(source: Path, folder: Path, setting: Setting, length: int) -> Costs:
    """All costs, from one run of every step in this process."""
    info, name = timed(lambda: probe(source))
    stages, _ = timed(lambda: setting.build(None))
    index, indexing = timed(lambda: index_video(info))
    count = len(index)

    def decode():
        with StretchReader(source, index.stretch(0, count)) as reader:
            return list(reader)

    frames, decoding = timed(decode)
    del frames
    film = Film(Job(info, folder / "measured.mkv"), setting, {})
    film.begin()
    bench = Workbench(setting, stages=stages)
    key, task = film.next_task({})
    assert key == LOOK
    result, looking = timed(lambda: bench.do(task, lambda n: None))
    film.accept(key, task, result)
    spent, kept, seen = 0.0, 0.0, 0
    lengths, times = [], []
    while (found := film.next_task({})) is not None:
        key, task = found
        result, seconds = timed(lambda task=task: bench.do(task, lambda n: None))
        spent, seen = spent + seconds, seen + result["decoded"]
        lengths.append(task.segment.frames)
        times.append(seconds)
        start = time.perf_counter()
        film.accept(key, task, result)
        kept += time.perf_counter() - start
    _, joining = timed(film.finish)
    encoding = _encode_cost(source, folder, setting)
    part = _part_cost(source, folder, setting)
    each = (spent - part * len(lengths)) / count
    along = bool(result["schedule"])
    return Costs(
        decode=decoding / count,
        model=max(0.0, each - decoding / count - encoding),
        encode=encoding,
        join=joining / count,
        index=indexing / count,
        scenes=(looking / count) if along else 0.0,
        part=part,
        keep=kept / len(lengths),
        name=name,
        start=_start_cost(setting, folder),
        context=max(0, round(seen / len(lengths) - count / len(lengths))) if along else 0,
    )


def _encode_cost(source: Path, folder: Path, setting: Setting) -> float:
    """Of a frame at the output's size: the restored file decoded and encoded once more."""
    from restore.media.encoders import choose_codec, choose_layout
    from restore.media.joining import PieceWriter

    output = folder / "measured.mkv"
    with VideoReader(output) as reader:
        frames = [frame for _, frame in zip(range(48), reader, strict=False)]
        info = reader.info
        layout = choose_layout(info.layout, info.width, info.height, choose_codec(output, info.layout, setting.options))
        writer = PieceWriter(
            folder / "x", folder / "again.mkv", reader, info.width, info.height, layout, options=setting.options
        )

        def encode():
            for frame in frames:
                writer.write(frame)
            writer.commit()

        return timed(encode)[1] / len(frames)


def _part_cost(source: Path, folder: Path, setting: Setting) -> float:
    """Of opening a source and an encoder for a part of nothing."""
    info = probe(source)
    index = index_video(info)

    def opened():
        StretchReader(source, index.stretch(0, 1)).close()
        probe(source)

    return timed(opened)[1]


def _start_cost(setting: Setting, folder: Path) -> float:
    """Of a worker from nothing to its first task."""
    from restore.inference.jobs import Job as One

    one = folder / "one.mkv"
    with av.open(str(one), "w") as out:
        stream = out.add_stream("ffv1", rate=24)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        out.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        out.mux(stream.encode(None))
    job = One(probe(one), folder / "one.out.mkv")
    nothing = lambda *_: None  # noqa: E731
    return timed(lambda: restore_by(Processes(setting, 1, start="spawn"), [job], setting, {}, nothing, nothing))[1]


def check_against(costs: Costs, source: Path, folder: Path, setting: Setting, length: int) -> list[str]:
    """Real runs with 1 and 2 workers beside what is foretold of them, in processor time and on the clock."""
    info, rows, first = probe(source), [], 0.0
    errors: list[object] = []
    count = len(index_video(info))
    for workers in (1, 2):
        output = folder / f"checked-{workers}.mkv"
        start = time.perf_counter()
        pool = Processes(setting, workers, start="spawn")
        run = functools.partial(restore_by, pool, [Job(info, output)], setting, {},
                                lambda *_: None, lambda _, e: errors.append(e))  # fmt: skip
        _, spent = timed(run)
        clock = time.perf_counter() - start
        if errors:
            raise SystemExit(str(errors[0]))
        parts = _parts(count, length)
        foretold = (workers * costs.start + sum(map(costs.of_part, parts))
                    + count * (costs.index + costs.scenes + costs.join))  # fmt: skip
        work = spent - workers * costs.start
        first = first or work
        rows.append(
            f"{workers:7d}  {spent:9.2f}  {foretold:9.2f}  {spent / foretold - 1:+7.1%}  {work / first:25.2f}  "
            f"{clock:7.1f}  {simulate(costs, [count], length, workers):14.1f}"
        )
    same = (folder / "checked-1.mkv").read_bytes() == (folder / "checked-2.mkv").read_bytes()
    return [*rows, f"outputs of 1 and 2 workers are {'the same to the byte' if same else 'NOT THE SAME'}"]


def share_of_starts(source: Path, folder: Path, setting: Setting) -> list[str]:
    """Processor time of 1 and of 2 workers as `--workers` begins them: this process's, theirs, and that of the process
    from which they are forked, all imports included."""
    rows, spent, errors = [], [], []
    for workers in (1, 2):
        job = Job(probe(source), folder / f"shared-{workers}.mkv")

        def run(workers=workers, job=job):
            nothing = lambda *_: None  # noqa: E731
            restore_by(Processes(setting, workers), [job], setting, {}, nothing, lambda _, e: errors.append(e))
            forkserver._forkserver._stop()  # ended, so that its time and that of those it forked are counted

        _, seconds = timed(run)
        if errors:
            raise SystemExit(str(errors[0]))
        spent.append(seconds)
        rows.append(f"{workers:7d}  {seconds:9.2f}  {seconds / spent[0]:14.3f}")
    same = (folder / "shared-1.mkv").read_bytes() == (folder / "shared-2.mkv").read_bytes()
    return [*rows, f"outputs of 1 and 2 workers are {'the same to the byte' if same else 'NOT THE SAME'}"]


def table(costs: Costs, length: int) -> list[str]:
    """Efficiency, the share of all workers' time that is work: one worker's time over N times that of N."""
    rows = []
    for name, films, long in (
        ("a film of 2 h", [HOURS_2], length),
        (f"the same, parts of {length // 4}", [HOURS_2], length // 4),
        (f"{CLIPS:,} clips of {CLIP} frames", [CLIP] * CLIPS, length),
    ):
        one = simulate(costs, films, long, 1)
        for workers in (8, 64, 1000):
            took = simulate(costs, films, long, workers)
            rows.append(f"{name:32s}  {workers:7d}  {took / 3600:9.2f}  {one / workers / took:10.1%}")
    return rows


def main() -> None:
    """Measures, checks, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="bicubic")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--length", type=int, default=48, help="frames to a part in the measured runs")
    parser.add_argument("--times", type=int, default=8, help="the sample so often, one behind the other")
    parser.add_argument("--pixels", type=int, help="foretell for a source with so many pixels")
    parser.add_argument("--slow", type=float, default=1.0, help="foretell for a model of so many seconds a frame, too")
    parser.add_argument("--starts", action="store_true", help="only processor time of 1 and 2 workers, starts included")
    asked = parser.parse_args()
    fixed = ['run.precision="fp32"', "run.channels_last=false", 'run.segments.at="frames"']
    overrides = (*fixed, f"run.segments.frames={asked.length}", *asked.overrides)
    document = recipe_document(registry(), recipe=asked.recipe, overrides=overrides)
    setting = Setting(check(document), functools.partial(build, document, None), True, document)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = longer(folder, asked.times)
        info = probe(source)
        if asked.starts:
            print(
                f"{asked.recipe}, {info.width}x{info.height}, {len(index_video(info))} frames, parts of {asked.length}"
            )
            print("workers    seconds  of one worker's")
            print("\n".join(share_of_starts(source, folder, setting)))
            return
        costs = measure(source, folder, setting, asked.length)
        print(f"{asked.recipe}, {info.width}x{info.height}, seconds of processor time:")
        for field in attrs.fields(Costs):
            print(f"  {field.name:8s} {getattr(costs, field.name):.6g}")
        print("\nworkers   measured   foretold    apart  of one, without the start    clock  clock foretold")
        print("\n".join(check_against(costs, source, folder, setting, asked.length)))
    if asked.pixels:
        factor = asked.pixels / (info.width * info.height)
        grown = {k: getattr(costs, k) * factor for k in ("decode", "model", "encode", "join", "scenes")}
        costs = attrs.evolve(costs, **grown)
        print(f"\nforetold for {asked.pixels} pixels: costs of frames times {factor:.1f}")
    slow = attrs.evolve(costs, model=asked.slow)
    for title, these in (("the model as measured", costs), (f"a model of {asked.slow:g} s a frame", slow)):
        print(f"\n{title:32s}  workers      hours  efficiency")
        print("\n".join(table(these, 250)))


if __name__ == "__main__":
    sys.exit(main())
