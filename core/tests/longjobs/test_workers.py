"""However many workers there are and whatever becomes of them, the output is the same."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
from long_work import measured, moving, restore, setting_for
from restore.inference import running
from restore.inference.jobs import Job
from restore.inference.memory import OutOfMemory
from restore.inference.precision import Mode
from restore.longjobs import encoding
from restore.longjobs.easing import ease
from restore.longjobs.journal import folder_for
from restore.longjobs.restoring import restore_by, restore_here
from restore.longjobs.work import Workbench
from restore.longjobs.workers import Processes, cores
from restore.media.probe import probe


@pytest.fixture
def source(clips, tmp_path):
    return clips.make(tmp_path / "in.mp4", frames=90, size=(32, 48), planes=moving, audio=1, gop=12)


def together(files, kind, pool_of, more=None, identity=None, restart=False, during=None, **recipe):
    """Files by a pool of workers: results by output, and errors."""
    setting = setting_for(kind, more, **recipe)
    results, errors = {}, {}
    pool = pool_of(setting)
    if during is not None:
        threading.Thread(target=during, args=(pool,), daemon=True).start()
    restore_by(
        pool, [Job(probe(a), b) for a, b in files], setting, identity or {},
        lambda job, r: results.update({job.output: r}), lambda job, e: errors.update({job.output: e}), restart,
    )  # fmt: skip
    return results, errors


def two(setting):
    return Processes(setting, 2)


def test_two_processes_make_the_same_bytes(clips, source, tmp_path):
    """A long video, whose parts go to both, and short clips, which go to one or the other; one of them is broken."""
    shorts = [clips.make(tmp_path / f"short-{k}.mp4", frames=6, planes=moving) for k in range(3)]
    whole = clips.make(tmp_path / "whole.mkv", frames=20, planes=clips.random, gop=10)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    files = [(path, tmp_path / f"{path.stem}.out.mkv") for path in (source, *shorts, broken)]
    results, errors = together(files, "causal", two)
    assert list(errors) == [tmp_path / "broken.out.mkv"]
    assert sorted(r["frames"] for r in results.values()) == [6, 6, 6, 90]
    restore(source, tmp_path / "one.mkv", "causal")
    assert (tmp_path / "in.out.mkv").read_bytes() == (tmp_path / "one.mkv").read_bytes()
    assert not [p for p in tmp_path.iterdir() if p.name.endswith((".restore", ".part"))]


def test_a_worker_that_is_killed_changes_nothing(source, tmp_path, capfd):
    output, killed = tmp_path / "out.mkv", []

    def kill(pool):
        while not (folder_for(output) / "000000.packets").exists():
            time.sleep(0.002)
        busy = [k for k in range(2) if k not in pool.free()] or [0]
        killed.append(pool.ids[busy[0]])
        os.kill(killed[0], signal.SIGKILL)

    results, errors = together([(source, output)], "causal", two, during=kill)
    assert not errors
    assert killed
    assert "a worker died" in capfd.readouterr().err
    restore(source, tmp_path / "one.mkv", "causal")
    assert output.read_bytes() == (tmp_path / "one.mkv").read_bytes()
    assert results[output]["segments"] == 5


def one_white_frame(layout, height, width, k):
    planes = moving(layout, height, width, k)
    return planes if k != 85 else tuple(p * 0 + level for p, level in zip(planes, (235, 128, 128), strict=True))


def test_three_failures_of_a_part_name_it_and_keep_the_rest(clips, tmp_path):
    """The model kills whatever process shows it a white frame, which lies in the part that is given out last; the other
    parts, and the other file, are done."""
    source = clips.make(tmp_path / "in.mp4", frames=90, size=(32, 48), planes=one_white_frame)
    short = clips.make(tmp_path / "short.mp4", frames=6, planes=moving)
    output = tmp_path / "out.mkv"
    files = [(source, output), (short, tmp_path / "short.mkv")]
    counter = tmp_path / "count"
    results, errors = together(files, "frame", two, {"kills": str(counter)})
    assert list(results) == [tmp_path / "short.mkv"]
    assert "part 5 of 5 (frames 80 to 89) failed 3 times: a worker died" in str(errors[output])
    assert "4 of 5 parts of it are finished" in str(errors[output])
    assert counter.stat().st_size == 3
    told = restore(source, output, "frame", identity={})
    assert told["resumed"] == 4


def test_one_process_with_one_file(source, tmp_path):
    results, errors = together([(source, tmp_path / "out.mkv")], "frame", lambda s: Processes(s, 1))
    assert not errors
    assert results[tmp_path / "out.mkv"]["segments"] == 5


def test_each_has_its_share_of_cores(tmp_path):
    pool = Processes(setting_for("frame"), 2)
    try:
        assert pool._threads == max(1, cores() // 2)
    finally:
        pool.close()


def test_out_of_memory_takes_less_precision_and_says_so(source, tmp_path, monkeypatch):
    real, seen = encoding.Encoding.run, []

    def run(self):
        mode = self.stages.restorers[0].mode
        seen.append((self.task.segment.number, mode.precision))
        if self.task.segment.number == 2 and mode.precision == "fp32":
            raise OutOfMemory("net: there is not enough memory on cpu")
        return real(self)

    monkeypatch.setattr(encoding.Encoding, "run", run)
    monkeypatch.setattr(running, "choose", lambda *arguments, **more: Mode())
    setting = setting_for("frame", precision="auto")
    done = []
    restore_here([Job(probe(source), tmp_path / "out.mkv")], setting, setting.build(None), dict,
                 lambda job, r: done.append(r), lambda job, e: pytest.fail(str(e)))  # fmt: skip
    assert [s for s in seen if s[0] == 2] == [(2, "fp32"), (2, "bf16")]
    assert seen[-1] == (4, "fp32")  # the part behind it is as all others
    assert any("not enough memory" in w and "bf16" in w for w in done[0]["warnings"])


def test_a_part_that_killed_two_workers_gets_smaller_tiles():
    setting = setting_for("frame", precision="auto")
    bench = Workbench(setting, stages=setting.build(None))
    runner = bench.parts.restorers[0]
    runner.settle({"mode": ["fp32", False, ""], "tiles": [[3, 256, 400, 0]]})
    ease(bench.parts, 2)
    assert runner.settled()["tiles"] == [[3, 256, 400, 0]]
    assert not runner.warnings
    ease(bench.parts, 3)
    assert runner.settled()["tiles"] == [[3, 256, 400, 200]]
    assert runner.mode.precision == "bf16"
    assert "smaller tiles" in runner.warnings[0]
    runner.settle({"mode": ["fp32", False, ""], "tiles": [[3, 256, 400, 100]]})
    ease(bench.parts, 3)
    assert runner.settled()["tiles"] == [[3, 256, 400, 50]]


def toml(tmp_path):
    path = tmp_path / "r.toml"
    run = 'precision = "fp32"\nchannels_last = false\n[run.segments]\nframes = 20\nat = "frames"\n'
    path.write_text(f'recipe = 1\n[model]\nuse = "core:bicubic"\nscale = 2\n[run]\n{run}')
    return path


def test_the_command_takes_workers(source, tmp_path, cli):
    recipe = toml(tmp_path)
    answer = cli("run", "--recipe", recipe, "--workers", 2, source, "-o", tmp_path / "two.mp4", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["results"][0]["segments"] == 5
    assert cli("run", "--recipe", recipe, source, "-o", tmp_path / "one.mp4").code == 0
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    both = cli("run", "--recipe", recipe, "--workers", 2, "--ray", "auto", source, "-o", tmp_path / "x.mp4")
    assert both.code == 2
    assert "--workers" in both.err


def test_memory_of_a_worker_does_not_grow_with_the_video(clips, tmp_path, monkeypatch):
    # One arena for each thread would make the peak a matter of how many cores there are.
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    context, peaks = multiprocessing.get_context("spawn"), []
    for frames in (90, 240):  # the encoder looks 40 ahead and more
        path = clips.make(tmp_path / f"{frames}.mkv", frames=frames, size=(240, 320), planes=moving)
        reader, writer = context.Pipe()
        process = context.Process(target=measured, args=(path, tmp_path / f"out-{frames}.mkv", writer))
        process.start()
        peaks.append(reader.recv())
        process.join()
    assert peaks[1] < peaks[0] + 24 * 2**10  # KiB; 150 frames more take 67 MiB in planes alone
