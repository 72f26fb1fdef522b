"""Whatever a person does wrong gets one or two lines, the right exit code, and costs them nothing."""

from __future__ import annotations

import pickle

import av
import numpy as np
import pytest
import torch
from PIL import Image


def check(result, code, *words):
    assert result.code == code, result.err
    # What had to be guessed about an untagged video is said first; it is no part of the error.
    lines = [line for line in result.err.strip().splitlines() if line and "does not say its colour" not in line]
    assert 1 <= len(lines) <= 2, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err, f"{word!r} is not in: {result.err}"
    assert result.out == ""


RUN = ("run", "--recipe", "bicubic")


def test_missing_file(restore, tmp_path):
    check(restore(*RUN, "gone.mp4"), 2, "gone.mp4")
    assert not list(tmp_path.iterdir())


def test_folder_without_media(restore, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    check(restore(*RUN, "empty"), 2, "empty")


def test_zero_bytes(restore, tmp_path):
    (tmp_path / "zero.mp4").touch()
    check(restore(*RUN, "zero.mp4"), 2, "zero.mp4", "empty")


def test_text_called_mp4(restore, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    check(restore(*RUN, "text.mp4"), 2, "text.mp4")


def test_sound_alone(restore, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    check(restore(*RUN, "sound.mp4"), 2, "sound.mp4")


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_truncated_video_keeps_what_came_before(restore, clip, tmp_path, suffix):
    whole = clip(f"whole.{suffix}", frames=40) if suffix == "mkv" else clip("whole.mp4", frames=40)
    data = whole.read_bytes()
    if suffix == "mp4":
        # An mp4 whose index lies at the end cannot be opened when cut; spoil its middle instead.
        middle = len(data) // 2
        data = data[:middle] + bytes(600) + data[middle + 600 :]
    else:
        data = data[: len(data) // 2]
    whole.unlink()
    (tmp_path / f"cut.{suffix}").write_bytes(data)
    result = restore(*RUN, f"cut.{suffix}", "-o", f"out.{suffix}")
    check(result, 1, f"cut.{suffix}", "frame", "partial")
    assert not (tmp_path / f"out.{suffix}").exists()
    assert (tmp_path / f"out.partial.{suffix}").stat().st_size > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"cut.{suffix}", f"out.partial.{suffix}"])


def test_mp4_without_its_index(restore, clip, tmp_path):
    whole = clip("whole.mp4", frames=30)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:2000])
    assert restore(*RUN, "cut.mp4").code in (1, 2)
    assert not list(tmp_path.glob("cut_restored*"))


def test_truncated_image(restore, photo, tmp_path):
    whole = photo("whole.png", size=(200, 200))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    check(restore(*RUN, "cut.png"), 1, "cut.png")
    assert not (tmp_path / "cut_restored.png").exists()


@pytest.mark.parametrize(
    ("mode", "size"),
    [("RGB", (1, 1)), ("RGB", (35, 28)), ("L", (9, 7)), ("P", (9, 7)), ("1", (9, 7)), ("RGBA", (5, 3))],
)
@pytest.mark.parametrize("recipe", ["bicubic", "srsenet"])
def test_odd_sizes_grey_and_palette(restore, photo, tmp_path, tiny_weights, mode, size, recipe):
    photo("in.png", mode, size)
    source = ["--recipe", "bicubic"] if recipe == "bicubic" else ["--plugin", "srsenet", *tiny_weights.settings]
    result = restore("run", *source, "in.png", "-o", "out.png")
    assert result.code == 0, result.err
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (2 * size[0], 2 * size[1])
        assert ("A" in image.mode) == (mode == "RGBA")
        assert (image.mode == "L") == (mode in ("L", "1"))


def test_odd_video_size(restore, clip, tmp_path):
    clip("in.mkv", size=(35, 29), codec="ffv1", pix_fmt="yuv420p", frames=3)
    result = restore("run", "--recipe", "identity", "in.mkv", "-o", "out.mp4", "--set", "run.output.codec=h264")
    assert result.code == 0, result.err
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert (out.streams.video[0].width, out.streams.video[0].height) == (35, 29)


def test_output_is_never_the_input(restore, photo, tmp_path):
    path = photo("in.png")
    before = path.read_bytes()
    check(restore(*RUN, "in.png", "-o", "in.png", "--overwrite"), 2, "input")
    (tmp_path / "link.png").symlink_to(path)
    check(restore(*RUN, "in.png", "-o", "link.png", "--overwrite"), 2, "input")
    assert path.read_bytes() == before


def test_an_existing_output_is_kept_unless_told(restore, photo, tmp_path):
    photo("in.png")
    (tmp_path / "out.png").write_text("precious")
    check(restore(*RUN, "in.png", "-o", "out.png"), 2, "exists")
    assert (tmp_path / "out.png").read_text() == "precious"
    assert restore(*RUN, "in.png", "-o", "out.png", "--overwrite").code == 0


def test_one_bad_file_of_many_costs_only_itself(restore, photo, tmp_path):
    photo("in/a.png")
    photo("in/c.png")
    whole = photo("b.png", size=(90, 90)).read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    result = restore(*RUN, "in", "-o", "out")
    assert result.code == 1
    assert "b.png" in result.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def recipe(tmp_path, text):
    (tmp_path / "my.toml").write_text(text)
    return ("run", "--recipe", "my.toml", "in.png")


def test_wrong_key(restore, photo, tmp_path):
    photo("in.png")
    check(restore(*recipe(tmp_path, 'recipe = 1\n[modell]\nuse = "bicubic"\n')), 2, "my.toml:2", "modell", "'model'")


def test_wrong_parameter(restore, photo, tmp_path):
    photo("in.png")
    text = 'recipe = 1\n[model]\nuse = "core:bicubic"\nscal = 2\n'
    check(restore(*recipe(tmp_path, text)), 2, "my.toml:4", "scal", "'scale'")


def test_wrong_type(restore, photo, tmp_path):
    photo("in.png")
    text = 'recipe = 1\n[model]\nuse = "core:bicubic"\nscale = "two"\n'
    check(restore(*recipe(tmp_path, text)), 2, "my.toml:4", "scale", "whole number")


def test_wrong_component(restore, photo, tmp_path):
    photo("in.png")
    check(restore(*recipe(tmp_path, 'recipe = 1\n[model]\nuse = "bicubik"\n')), 2, "my.toml:3", "bicubik", "bicubic")


def test_unreadable_toml(restore, photo, tmp_path):
    photo("in.png")
    check(restore(*recipe(tmp_path, "recipe = = 1\n")), 2, "my.toml", "line 1")


def test_set_with_a_wrong_value(restore, photo):
    photo("in.png")
    check(restore(*RUN, "in.png", "--set", "model.scale=0"), 2, "scale")
    check(restore(*RUN, "in.png", "--set", "run.tile=soft"), 2, "--set run.tile", "soft")
    check(restore(*RUN, "in.png", "--set", "nonsense"), 2, "nonsense")


def test_neither_plugin_nor_recipe(restore, photo):
    photo("in.png")
    check(restore("run", "in.png"), 2, "--plugin")
    check(restore("run", "in.png", "--plugin", "srsnet"), 2, "srsenet")


def test_weights_of_another_architecture(restore, photo, tiny_weights):
    photo("in.png")
    weights = f'model.weights="{tiny_weights.path}"'
    check(restore("run", "--plugin", "srsenet", "in.png", "--set", weights), 2, "tiny.safetensors", "do not fit")


def test_weights_that_are_not_installed(restore, photo):
    photo("in.png")
    check(restore("run", "--plugin", "srsenet", "--set", "model.scale=5", "in.png"), 2, "srsenet-x5", "srsenet-x4")


class Evil:
    def __reduce__(self):
        return open, ("owned.txt", "w")


def test_a_pickle_that_wants_to_run_code_is_refused(restore, photo, tmp_path):
    photo("in.png")
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    check(restore("run", "--plugin", "srsenet", "in.png", "--set", 'model.weights="evil.pth"'), 2, "evil.pth", "code")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Evil()))
    check(restore("run", "--plugin", "srsenet", "in.png", "--set", 'model.weights="raw.pth"'), 2, "raw.pth")
    assert not (tmp_path / "owned.txt").exists()


def test_reference_of_another_size(restore, photo):
    photo("in.png")
    photo("big.png", size=(50, 50))
    check(restore(*RUN, "in.png", "-o", "out.png", "--reference", "big.png"), 2, "differ in size")


def test_debug_shows_the_traceback(restore):
    from restore import RequestError

    with pytest.raises(RequestError):
        restore("--debug", *RUN, "gone.mp4")


def test_unknown_command_names_the_nearest(restore):
    check(restore("rnu"), 2, "run")
