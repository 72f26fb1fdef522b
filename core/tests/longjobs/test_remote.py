"""Inputs and outputs by URL."""

from __future__ import annotations

import json

import pytest
from long_work import moving
from restore import RequestError
from restore.longjobs import remote

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def test_what_is_a_url():
    assert all(map(remote.is_url, ["s3://bucket/a.mp4", "https://x/y.mkv", "simplecache::s3://b/a.mp4"]))
    assert not any(map(remote.is_url, ["a.mp4", "/x/a.mp4", "C:\\x\\a.mp4", "./s3:/a", "c:/a.mp4"]))


def test_a_clip_comes_and_goes_by_url(clips, store, tmp_path, cli):
    clip = clips.make(tmp_path / "in.mp4", frames=5, planes=moving)
    store.pipe_file("/clips/in.mp4", clip.read_bytes())
    arguments = ["run", "--recipe", "bicubic", "--set", "model.scale=2", "memory://clips/in.mp4", "-o"]
    answer = cli(*arguments, "memory://out/big.mp4", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["results"][0]["output"] == "memory://out/big.mp4"
    (tmp_path / "got.mp4").write_bytes(store.cat_file("/out/big.mp4"))
    assert len(clips.read(tmp_path / "got.mp4")) == 5
    assert cli(*arguments, "memory://out/big.mp4").code == 2  # it exists
    assert cli(*arguments, "memory://clips/in.mp4", "--overwrite").code == 2  # an input is never replaced
    assert store.cat_file("/clips/in.mp4") == clip.read_bytes()


def test_a_folder_by_url_and_a_new_version_of_a_file(clips, store, tmp_path):
    clip = clips.make(tmp_path / "in.mp4", frames=5, planes=moving)
    for name in ("a.mp4", "b.mp4", "notes.txt"):
        store.pipe_file(f"/clips/{name}", clip.read_bytes())
    place = remote.fetch("memory://clips")
    assert sorted(p.name for p in place.iterdir() if not p.name.endswith(".told")) == ["a.mp4", "b.mp4"]
    first = (place / "a.mp4").stat().st_mtime_ns
    remote.fetch("memory://clips")
    assert (place / "a.mp4").stat().st_mtime_ns == first
    store.pipe_file("/clips/a.mp4", clip.read_bytes() + b"more")
    assert (remote.fetch("memory://clips") / "a.mp4").read_bytes().endswith(b"more")


def test_what_is_not_there_is_one_line(store):
    with pytest.raises(RequestError, match="memory://nothing.mp4"):
        remote.fetch("memory://nothing.mp4")
    with pytest.raises(RequestError, match="nosuch"):
        remote.fetch("nosuch://bucket/a.mp4")
