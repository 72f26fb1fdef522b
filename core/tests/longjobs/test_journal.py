"""Whatever ends a run, the next one goes on where it was, and the result is the same to the byte."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import pytest
from long_work import moving, restore, restore_silently
from restore import MediaError, RequestError
from restore.longjobs import film, journal, ledger, sweeping
from restore.longjobs.journal import Journal, folder_for
from restore.longjobs.ledger import Ledger
from restore.media import files

KILLS = int(os.environ.get("RESTORE_KILLS", "3"))


class PowerCut(BaseException):
    """Nothing handles it."""


def cut_at(monkeypatch, number, calls):
    """The process ends at its ``number``-th call of what makes the disk change."""
    done = [0]

    def counted(function):
        def call(*arguments, **more):
            done[0] += 1
            if done[0] == number:
                raise PowerCut
            return function(*arguments, **more)

        return call

    for module, name in calls:
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    return done


@pytest.mark.parametrize("kind", ["frame", "causal", "exact"])
def test_power_cut_between_any_two_writes(clips, tmp_path, monkeypatch, kind):
    source, whole = clips.make(tmp_path / "in.mp4", frames=16, size=(16, 24), planes=moving), tmp_path / "whole.mkv"
    calls = [(os, "replace"), (os, "fsync"), (journal, "write_through"), (Path, "unlink"), (shutil, "rmtree")]
    with monkeypatch.context() as patch:
        count = cut_at(patch, 0, calls)
        restore(source, whole, kind, frames=8)
    assert count[0] > 15
    for number in range(1, count[0] + 1, {"frame": 1, "causal": 3, "exact": 5}[kind]):
        output = tmp_path / f"{number}.mkv"
        with monkeypatch.context() as patch:
            cut_at(patch, number, calls)
            with pytest.raises(PowerCut):
                restore(source, output, kind, frames=8)
        if output.exists() and not (folder_for(output) / "journal").exists():
            with pytest.raises(RequestError, match="exists"):  # all is done but for a folder that nobody needs
                restore(source, output, kind, frames=8)
        else:
            restore(source, output, kind, frames=8)
        assert output.read_bytes() == whole.read_bytes(), number
        assert not folder_for(output).exists()


def test_a_line_that_was_being_written_is_left_out(tmp_path):
    book = Journal.create(tmp_path / "x.restore", {"identity": {}})
    sizes = []
    for number in range(3):
        book.append({"segment": number, "file": "ä\n\t"})
        sizes.append((tmp_path / "x.restore/journal").stat().st_size)
    book.close()
    data = (tmp_path / "x.restore/journal").read_bytes()
    for length in range(sizes[0], len(data) + 1):
        (tmp_path / "x.restore/journal").write_bytes(data[:length])
        found = Journal.find(tmp_path / "x.restore")
        assert [e["segment"] for e in found.entries] == list(range(sum(length >= s for s in sizes)))
        found.append({"segment": 9})
        found.close()
        again = Journal.find(tmp_path / "x.restore")
        assert again.entries[-1] == {"segment": 9}
        again.close()
    (tmp_path / "x.restore/journal").write_bytes(data.replace(b'"segment":1', b'"segment":7'))
    found = Journal.find(tmp_path / "x.restore")
    assert [e["segment"] for e in found.entries] == [0]
    found.close()


def stopped(source, output, kind="frame", after=2, monkeypatch=None, **more):
    """A run that is ended when so many parts are there."""

    def keep(self, *arguments):
        real(self, *arguments)
        if len(self._finished) == after:
            raise PowerCut

    real = film.Film._keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film.Film, "_keep", keep)
        with pytest.raises(PowerCut):
            restore(source, output, kind, **more)


def test_another_recipe_or_source_is_refused_with_what_differs(clips, source, tmp_path, capsys):
    output = tmp_path / "out.mkv"
    stopped(source, output, identity={"recipe": {"model": {"scale": 2}}, "weights": {"a": "1"}})
    with pytest.raises(RequestError, match=r"recipe.model.scale +2 +3"):
        restore(source, output, "frame", identity={"recipe": {"model": {"scale": 3}}, "weights": {"a": "1"}})
    with pytest.raises(RequestError, match="weights.a") as caught:
        restore(source, output, "frame", identity={"recipe": {"model": {"scale": 2}}, "weights": {"a": "2"}})
    assert "--restart" in str(caught.value)
    identity = {"recipe": {"model": {"scale": 2}}, "weights": {"a": "1"}}
    data = bytearray(source.read_bytes())
    data[-200] ^= 1
    source.write_bytes(data)
    with pytest.raises(RequestError, match="source.sha256"):
        restore(source, output, "frame", identity=identity)
    told = restore(source, output, "frame", identity=identity, restart=True)
    assert (told["resumed"], told["segments"]) == (0, 5)
    assert not folder_for(output).exists()


@pytest.mark.parametrize("kind", ["frame", "causal"])
def test_a_damaged_part_is_made_again(source, tmp_path, kind):
    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    restore(source, whole, kind)
    stopped(source, output, kind, after=3)
    damaged = folder_for(output) / "000001.packets"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    told = restore(source, output, kind)
    # The state that led to the damaged part was thrown away, so under causal all is made again.
    assert told["resumed"] == (2 if kind == "frame" else 1)
    assert output.read_bytes() == whole.read_bytes()


def swept_until(source, output, count, **more):
    """A run that is ended when so many sweeps over parts are there."""
    real, done = sweeping.Sweeping.accept, []

    def accept(self, *arguments):
        real(self, *arguments)
        done.append(arguments[0])
        if len(done) == count:
            raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeping.Sweeping, "accept", accept)
        with pytest.raises(PowerCut):
            restore(source, output, "exact", **more)
    return done


def test_exact_goes_on_in_the_middle_of_a_scene(source, tmp_path, monkeypatch, capsys):
    """Backward over all parts, forward over one; then a file of values is damaged, and one state is gone."""
    whole, output, places, waiting = tmp_path / "whole.mkv", tmp_path / "out.mkv", [], []
    restore(source, whole, "exact")
    before = swept_until(source, output, 6)
    assert before == [(0, 3), (0, 2), (0, 1), (0, 0), (1, 0), (1, 1)]
    folder, real = folder_for(output), sweeping.Sweeping.accept
    assert not list(folder.glob("00-*.state"))  # nobody wants them any more
    damaged = folder / "00-000002.values"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)

    def accept(self, place, *arguments):
        places.append(place)
        real(self, place, *arguments)
        waiting.append(len(list(folder.glob("*.values"))))

    monkeypatch.setattr(sweeping.Sweeping, "accept", accept)
    restore(source, output, "exact")
    assert output.read_bytes() == whole.read_bytes()
    # The damaged one is made again, and for its state those behind it; not those before it, and no sweep twice.
    assert [p for p in places if p[0] == 0] == [(0, 3), (0, 2)]
    assert (1, 0) not in places
    assert max(waiting) <= 5  # four parts of one sweep, and what has just been made of the next
    assert not folder.exists()


def test_what_waits_may_lie_elsewhere(source, tmp_path):
    """`run.temporal.scratch`; another folder the next time only costs what was there."""
    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    restore(source, whole, "exact")
    swept_until(source, output, 6, scratch=str(tmp_path / "a"))
    assert list((tmp_path / "a").glob(".restore-*/*.values"))
    assert not list(folder_for(output).glob("*.values"))
    restore(source, output, "exact", scratch=str(tmp_path / "a"), identity=None)
    assert output.read_bytes() == whole.read_bytes()
    assert not list((tmp_path / "a").iterdir())


def test_two_at_once_are_refused(source, tmp_path):
    output = tmp_path / "out.mkv"
    stopped(source, output)
    book = Journal.find(folder_for(output))
    with pytest.raises(RequestError, match="another"):
        restore(source, output, "frame")
    book.close()
    restore(source, output, "frame")


def test_no_input_or_foreign_output_is_overwritten(source, tmp_path):
    output = tmp_path / "out.mkv"
    stopped(source, output)
    output.write_bytes(b"mine")
    with pytest.raises(RequestError, match="exists"):
        restore(source, output, "frame")
    assert output.read_bytes() == b"mine"
    before = source.read_bytes()
    with pytest.raises(RequestError, match="input itself"):
        restore(source, source, "frame", overwrite=True, codec="h264")
    assert source.read_bytes() == before


def test_the_journal_of_a_long_film_is_small(tmp_path):
    """100,000 frames in the parts that `auto` makes: with the longest entries there are."""
    book = Journal.create(tmp_path / "x.restore", {"identity": {"recipe": {"k" * 50: "v" * 100}},
                                                   "cuts": list(range(0, 100_000, 90)),
                                                   "bounds": list(range(0, 100_001, 250))})  # fmt: skip
    entry = {
        **{"segment": 100_000, "first": 100_000, "frames": 250, "from": 10**12, "to": 10**12, "size": 10**9},
        **{"file": "000400.packets", "sha256": "f" * 64, "state": "000400.state", "state_sha": "f" * 64},
        **{"width": 3840, "height": 2160, "codec": "h264", "seconds": 1e4, "cpu": 1e4, "decoded": 500},
        "said": ["bf16, channels-last", "look_ahead 16, chunks of 32", "w" * 120],
    }
    for _ in range(400):
        book.append(entry)
    assert (tmp_path / "x.restore/journal").stat().st_size < 400_000
    book.close()


KINDS = [("frame", "h264", "mp4"), ("causal", "ffv1", "mkv"), ("clip", "h264", "mkv"), ("exact", "ffv1", "mkv")]


@pytest.mark.timeout(3600)
def test_killed_at_random_moments_it_ends_in_the_same_bytes(source, tmp_path):
    """SIGKILL; ``RESTORE_KILLS=20`` kills more often. The source has sound."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["long_work"])
    draw, killed, taken_up = random.Random(os.environ.get("RESTORE_SEED", "7")), 0, 0
    more = {"frames": 12}
    wholes, spans = {}, {}
    for kind, codec, suffix in KINDS:
        wholes[kind] = tmp_path / f"{kind}.{suffix}"
        restore(source, wholes[kind], kind, codec=codec, **more)  # warm
        wholes[kind].unlink()
        start = time.perf_counter()
        restore(source, wholes[kind], kind, codec=codec, **more)
        spans[kind] = time.perf_counter() - start
    while killed < KILLS:
        kind, codec, suffix = KINDS[killed % len(KINDS)]
        output = tmp_path / f"killed-{killed}.{suffix}"
        process = context.Process(target=restore_silently, args=(source, output, kind), kwargs={"codec": codec, **more})
        process.start()
        while not folder_for(output).exists() and process.is_alive():
            time.sleep(0.002)
        time.sleep(draw.random() * spans[kind])
        process.kill()
        process.join()
        if not folder_for(output).exists():
            output.unlink(missing_ok=True)  # it was quicker
            continue
        killed += 1
        if output.exists() and not (folder_for(output) / "journal").exists():
            with pytest.raises(RequestError, match="exists"):  # all is done but for a folder that nobody needs
                restore(source, output, kind, codec=codec, **more)
        else:
            taken_up += restore(source, output, kind, codec=codec, **more)["resumed"] > 0
        assert output.read_bytes() == wholes[kind].read_bytes(), (kind, killed)
        assert not folder_for(output).exists()
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert taken_up > 0


def test_what_a_killed_run_left_hidden_is_removed_by_the_next(clips, tmp_path):
    """Of the same output alone, and not while its process lives."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["long_work"])
    source, output = clips.make(tmp_path / "in.mp4", frames=8, size=(32, 48), planes=moving), tmp_path / "out.mkv"
    process = context.Process(target=restore_silently, args=(source, output, "frame", {"pause": 5.0}))
    process.start()
    hidden = lambda: [p for p in tmp_path.iterdir() if p.name.startswith(".out.")]  # noqa: E731
    while not hidden():
        time.sleep(0.005)
    (left,) = hidden()
    others = [tmp_path / ".out.4194999-abcdef.part.mp4", tmp_path / ".outer.4194999-abcdef.part.mkv"]
    for other in others:
        other.write_bytes(b"of another output")
    files._seen.clear()
    assert files.temporary_name(output).suffix == ".mkv"
    assert left.exists()  # it is being written
    process.kill()
    process.join()
    # Another machine's process may have any number: while the file is locked, it lives.
    with files.hold(left):
        files.temporary_name(output)
        assert left.exists()
    files._seen.clear()
    restore(source, output, "frame")
    assert not left.exists()
    assert all(other.exists() for other in others)


def toml(tmp_path, frames=20):
    path = tmp_path / "r.toml"
    run = 'precision = "fp32"\nchannels_last = false'
    segments = f'frames = {frames}\nat = "frames"'
    path.write_text(f'recipe = 1\n[model]\nuse = "core:bicubic"\nscale = 2\n[run]\n{run}\n[run.segments]\n{segments}\n')
    return path


def test_the_command_goes_on(source, tmp_path, cli):
    recipe, output = toml(tmp_path), tmp_path / "out.mp4"

    def keep(self, *arguments):
        real(self, *arguments)
        raise MediaError("enough")

    real = film.Film._keep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film.Film, "_keep", keep)
        stopped = cli("run", "--recipe", recipe, source, "-o", output)
    assert stopped.code == 1
    assert "1 of 5 parts" in stopped.err
    answer = cli("run", "--recipe", recipe, source, "-o", output, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)["results"][0]
    assert (told["frames"], told["segments"], told["resumed"]) == (90, 5, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "r.toml"]


def test_a_folder_goes_on_with_the_files_that_are_left(clips, tmp_path, cli):
    folder, recipe, out = tmp_path / "clips", toml(tmp_path), tmp_path / "out"
    folder.mkdir()
    for k in range(3):
        clips.make(folder / f"{k}.mp4", frames=5, planes=moving)
    real, added = ledger.Ledger.add, []

    def add(self, job, result):
        real(self, job, result)
        added.append(job.output.name)
        if len(added) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "add", add)
        assert cli("run", "--recipe", recipe, folder, "-o", out).code == 130
    before = (out / "0.mp4").stat().st_mtime_ns
    (out / "2.mp4").write_bytes(b"begun")  # named, and not yet written down
    answer = cli("run", "--recipe", recipe, folder, "-o", out, "--json")
    assert answer.code == 0, answer.err
    assert "2 of 3 files are there" in answer.err
    assert [r["frames"] for r in json.loads(answer.out)["results"]] == [5, 5, 5]
    assert (out / "0.mp4").stat().st_mtime_ns == before
    assert len(clips.read(out / "2.mp4")) == 5
    assert sorted(p.name for p in out.iterdir()) == ["0.mp4", "1.mp4", "2.mp4"]
    assert cli("run", "--recipe", recipe, folder, "-o", out).code == 2  # they exist
