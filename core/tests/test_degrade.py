"""`restore degrade`: the damaged version of images, through the components that training uses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from restore.functional.resize import resize


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 256, (21, 31), np.uint8)).save(folder / "b.png")
    return folder


BICUBIC = ("--use", "bicubic", "--set", "scale=4")


def expected(path, scale, top=255):
    pixels = np.asarray(Image.open(path)).astype(np.float64) / top
    x = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1)
    x = x[:, : x.shape[1] // scale * scale, : x.shape[2] // scale * scale]
    out = resize(x, 1 / scale).clamp(0, 1).permute(1, 2, 0).numpy() * top
    return np.floor(out + 0.5).squeeze()


def test_an_image(cli, folder, tmp_path):
    answer = cli("degrade", folder / "a.png", "-o", tmp_path / "out.png", *BICUBIC, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["results"] == [
        {"input": str(folder / "a.png"), "output": str(tmp_path / "out.png"), "width": 7, "height": 5}
    ]
    made = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(made, expected(folder / "a.png", 4))


def test_a_folder_keeps_names_and_grey_stays_grey(cli, folder, tmp_path):
    Image.open(folder / "a.png").save(folder / "c.jpg")
    answer = cli("degrade", folder, "-o", tmp_path / "out", *BICUBIC)
    assert answer.code == 0, answer.err
    out = sorted((tmp_path / "out").iterdir())
    assert [p.name for p in out] == ["a.png", "b.png", "c.png"]
    grey = Image.open(out[1])
    assert grey.mode == "L"
    assert np.array_equal(np.asarray(grey), expected(folder / "b.png", 4))


def test_sixteen_bits_stay_sixteen(cli, folder, tmp_path):
    deep = np.random.default_rng(1).integers(0, 65536, (16, 16)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    assert (
        cli("degrade", folder / "deep.png", "-o", tmp_path / "o.png", "--use", "bicubic", "--set", "scale=2").code == 0
    )
    made = np.asarray(Image.open(tmp_path / "o.png"))
    assert made.dtype == np.uint16
    assert np.abs(made - expected(folder / "deep.png", 2, 65535)).max() == 0


def test_transparency_comes_along(cli, tmp_path):
    pixels = np.full((16, 16, 4), 200, np.uint8)
    pixels[:8, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (
        cli("degrade", tmp_path / "a.png", "-o", tmp_path / "o.png", "--use", "bicubic", "--set", "scale=2").code == 0
    )
    made = np.asarray(Image.open(tmp_path / "o.png"))
    assert made.shape == (8, 8, 4)
    assert (made[0, 0, 3], made[-1, -1, 3]) == (0, 255) if pixels[-1, -1, 3] == 255 else (0, 200)


def test_a_recipes_degradation(cli, folder, tmp_path):
    answer = cli("degrade", folder / "a.png", "-o", tmp_path / "o.png", "--recipe", "bicubic", "--set", "model.scale=5")
    assert answer.code == 0, answer.err
    assert Image.open(tmp_path / "o.png").size == (6, 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("IN/a.png", "-o", "IN/a.png", *BICUBIC, "--overwrite"), "is the input itself"),
        (("IN", "-o", "IN", *BICUBIC, "--overwrite"), "is an input itself"),
        (("IN/a.png", "-o", "IN/b.png", *BICUBIC), "exists already"),
        (("IN", "-o", "IN/a.png", *BICUBIC), "is a file"),
        (("IN/none.png", "-o", "o.png", *BICUBIC), "does not exist"),
        (("IN/a.png", "-o", "o.png"), "name one of --use"),
        (("IN/a.png", "-o", "o.png", "--use", "bicubic", "--recipe", "bicubic"), "name one of --use"),
        (("IN/a.png", "-o", "o.png", "--use", "bicubik"), "--use bicubik: use: no degradation 'bicubik'; did you mean"),
        (("IN/a.png", "-o", "o.png", "--use", "bicubic"), "--use bicubic: core:bicubic needs 'scale' (int)"),
        (
            ("IN/a.png", "-o", "o.png", "--use", "bicubic", "--set", "scael=2"),
            "--set scael: core:bicubic has no parameter",
        ),
        (("IN/a.png", "-o", "o.png", "--use", "bicubic", "--set", "scale=two"), "--set scale: needs a whole number"),
        (("IN/a.png", "-o", "o.png", "--use", "bicubic", "--set", "scale=50"), "a.png: cannot resize"),
        (("IN/a.png", "-o", "o.gif", *BICUBIC), "cannot write an image that ends in .gif"),
        (("IN/a.png", "-o", "o.png", "--recipe", "identity"), "there is no [degradation] table"),
    ],
)
def test_what_cannot_be_done(cli, folder, monkeypatch, arguments, said):
    monkeypatch.chdir(folder.parent)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    answer = cli("degrade", *(str(a).replace("IN", str(folder)) if "IN" in str(a) else a for a in arguments))
    assert answer.code == 2, answer.err
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) <= 2
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["in"]


def test_overwriting_on_request(cli, folder, tmp_path):
    (tmp_path / "o.png").write_text("old")
    assert cli("degrade", folder / "a.png", "-o", tmp_path / "o.png", *BICUBIC, "--overwrite").code == 0
    assert Image.open(tmp_path / "o.png").size == (7, 5)


def test_two_inputs_for_one_name_are_refused(cli, folder, tmp_path):
    Image.open(folder / "a.png").save(folder / "a.jpg")
    answer = cli("degrade", folder, "-o", tmp_path / "out", *BICUBIC)
    assert answer.code == 2
    assert "would both become" in answer.err
    assert not (tmp_path / "out").exists()


def test_a_seed_decides_the_noise_and_every_image_has_its_own(cli, folder, tmp_path):
    Image.open(folder / "a.png").save(folder / "a2.png")
    noise = ("--use", "gaussian-noise", "--set", "sigma=25/255")
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        answer = cli("degrade", folder, "-o", tmp_path / name, *noise, "--seed", seed)
        assert answer.code == 0, answer.err
    one, again, other = ((tmp_path / n / "a.png").read_bytes() for n in ("one", "again", "other"))
    assert one == again != other
    clean, *noisy = (
        np.asarray(Image.open(p)).astype(int)
        for p in (folder / "a.png", tmp_path / "one/a.png", tmp_path / "one/a2.png")
    )
    middle = (clean > 80) & (clean < 175)
    assert 21 < (noisy[0] - clean)[middle].std() < 29
    assert not np.array_equal(*noisy)


def test_jpeg_and_codec_of_an_image(cli, folder, tmp_path):
    for number, arguments in enumerate(
        (
            ["jpeg", "--set", "quality=10"],
            ["codec", "--set", "qp=40"],
            ["codec", "--set", "qp=40", "--set", "codec=x264"],
        )
    ):
        for name in ("a.png", "b.png"):
            answer = cli("degrade", folder / name, "-o", tmp_path / f"{number}{name}", "--use", *arguments)
            assert answer.code == 0, answer.err
            clean, made = (np.asarray(Image.open(p)).astype(int) for p in (folder / name, tmp_path / f"{number}{name}"))
            assert made.shape == clean.shape
            assert 5 < np.abs(made - clean).mean() < 80


def test_one_bad_file_of_a_folder_costs_only_itself(cli, folder, tmp_path):
    (folder / "bad.png").write_bytes(b"no picture")
    cut = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(cut[: len(cut) // 2])
    answer = cli("degrade", folder, "-o", tmp_path / "out", *BICUBIC, "--json")
    assert answer.code == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    results = json.loads(answer.out)["results"]
    assert {r["input"].rsplit("/")[-1] for r in results if r["output"] is None} == {"bad.png", "cut.png"}
