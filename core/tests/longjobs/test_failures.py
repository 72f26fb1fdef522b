"""What the world does to a long job: a clear word, and nothing that was done is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from pathlib import Path

import av
import pytest
from long_work import moving, restore
from restore import MediaError
from restore.longjobs import film
from restore.longjobs.journal import folder_for


def full_after(monkeypatch, room):
    """A disk with ``room`` bytes for parts."""
    from restore.media import joining

    real = Path.open

    class Limited:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            room[0] -= len(data)
            if room[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

    def opened(path, mode="r", *rest, **more):
        file = real(path, mode, *rest, **more)
        return Limited(file) if ".packets" in path.name and mode == "wb" else file

    monkeypatch.setattr(joining.Path, "open", opened)


def test_a_full_disk_is_one_clear_error_and_what_is_done_stays(source, tmp_path, monkeypatch):
    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    restore(source, whole, "frame")
    with monkeypatch.context() as patch:
        full_after(patch, [whole.stat().st_size // 2])
        with pytest.raises(MediaError, match="(?s)No space left.*free some space.*parts of it are finished") as caught:
            restore(source, output, "frame")
    assert str(folder_for(output)) in str(caught.value)
    kept = sorted(p.name for p in folder_for(output).iterdir())
    assert "000000.packets" in kept
    assert not [name for name in kept if name.endswith(".part")]
    assert restore(source, output, "frame")["resumed"] > 0
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_real_disk_that_fills(source, tmp_path):
    disk, output = tmp_path / "disk", tmp_path / "disk/out.mkv"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        with pytest.raises(MediaError, match="free some space") as caught:
            restore(source, output, "frame")
        assert "parts of it are finished" in str(caught.value)
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert restore(source, output, "frame")["resumed"] > 0
        restore(source, tmp_path / "whole.mkv", "frame")
        assert output.read_bytes() == (tmp_path / "whole.mkv").read_bytes()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_folder_of_the_output_is_gone(source, tmp_path):
    output = tmp_path / "there/out.mkv"
    output.parent.mkdir()
    real = film.Film._keep

    def vanish(self, key, *arguments):
        if key == 1:
            shutil.rmtree(output.parent)
        real(self, key, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film.Film, "_keep", vanish)
        with pytest.raises(MediaError, match="gone"):
            restore(source, output, "frame")


def test_a_source_that_changes_during_the_run(source, tmp_path):
    real = film.Film._keep

    def change(self, key, *arguments):
        real(self, key, *arguments)
        if key == 1:
            with source.open("ab") as file:
                file.write(b"more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film.Film, "_keep", change)
        with pytest.raises(MediaError, match="was changed"):
            restore(source, tmp_path / "out.mkv", "frame")
    assert not (tmp_path / "out.mkv").exists()


def test_ctrl_c_says_how_to_go_on(source, tmp_path, capsys):
    output, real = tmp_path / "out.mkv", film.Film._keep

    def stop(self, key, *arguments):
        real(self, key, *arguments)
        if key == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film.Film, "_keep", stop)
        with pytest.raises(KeyboardInterrupt):
            restore(source, output, "frame")
    assert "2 of 5 parts of it are finished" in capsys.readouterr().err
    assert restore(source, output, "frame")["resumed"] == 2


def test_a_hung_decode_ends(source, tmp_path, monkeypatch):
    from restore.media.indexing import StretchReader

    real = StretchReader._quietly_decoded

    def hang(self):
        for number, frame in enumerate(real(self)):
            if self.stretch.first >= 40 and number == 3:
                time.sleep(1.2)
            yield frame

    monkeypatch.setattr(StretchReader, "_quietly_decoded", hang)
    with pytest.raises(MediaError, match=r"(?s)part 3 of 5 \(frames 40 to 59\) failed 3 times.*decoder gave nothing"):
        restore(source, tmp_path / "out.mkv", "frame", time_limit=0.3, identity={})
    monkeypatch.undo()
    assert restore(source, tmp_path / "out.mkv", "frame", identity={})["resumed"] == 2


def test_a_source_that_breaks_in_the_middle_gives_what_came_before(clips, tmp_path):
    """Packets are all there, but one in the third part cannot be decoded."""
    source = clips.make(tmp_path / "in.mkv", frames=90, size=(32, 48), planes=moving, gop=10, audio=1)
    with av.open(str(source)) as container:
        packet = [p for p in container.demux(container.streams.video[0]) if p.size][53]
        data, place = bytes(packet), source.read_bytes().index(bytes(packet))
    broken = bytearray(source.read_bytes())
    broken[place : place + len(data)] = bytes(len(data))
    source.write_bytes(broken)
    with pytest.raises(MediaError, match=r"(?s)breaks at frame 5.*until then \(40 frames\) is in") as caught:
        restore(source, tmp_path / "out.mkv", "frame")
    assert str(tmp_path / "out.partial.mkv") in str(caught.value)
    assert len(clips.read(tmp_path / "out.partial.mkv")) == 40
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mkv", "out.partial.mkv"]
