"""MFQE 2.0 and LDV 2.0 as they are laid out, and what is measured on them."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
from PIL import Image
from restore import RequestError
from restore.builtin.datasets.paired import Paired
from restore.testing import Example, conformance_tests
from restore_crds.data import LevelPairs, ldv, mfqe

HEIGHT, WIDTH = 32, 48


def planes(frames, seed, level):
    random = np.random.default_rng(seed)
    luma = random.integers(60, 180, (frames, HEIGHT, WIDTH)).astype(np.uint8)
    chroma = np.full((frames, HEIGHT * WIDTH // 2), 128, np.uint8)
    return np.concatenate([(luma + level).reshape(frames, -1), chroma], 1)


def write_mfqe(root, splits=True):
    """Two training and two test videos; the coded side is brighter by its QP / 10."""
    names = {"train": ["Akiyo", "Bowing"], "test": ["BasketballPass", "RaceHorses"]}
    for split, folder in (("train", "train_108"), ("test", "test_18")):
        base = root / folder if splits else root
        for side, level in (("raw", 0), ("HM16.5_LDP/QP37", 4), ("HM16.5_LDP/QP32", 3)):
            (base / side).mkdir(parents=True, exist_ok=True)
            for k, name in enumerate(names[split]):
                planes(4, k, level).tofile(base / side / f"{name}_48x32_4.yuv")
    return root


def write_png(folder, count, level):
    folder.mkdir(parents=True)
    for k in range(count):
        pixels = np.random.default_rng(k).integers(40, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels + level).save(folder / f"{k + 1:03d}.png")


def write_mkv(path, count, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(count):
            pixels = np.random.default_rng(k).integers(40, 200, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels + np.uint8(level), format="rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p")))
        file.mux(stream.encode())


def write_ldv(root, kind):
    archives = {
        "train_gt": 0,
        "train_QP37": 5,
        "track1_val_gt": 0,
        "validation_track1": 5,
        "track1_test_gt": 0,
        "test_track1": 5,
    }
    for k, (name, level) in enumerate(archives.items()):
        for video in range(1, 3):
            stem = f"{video + 100 * (k // 2):03d}"
            if kind == "mkv":
                write_mkv(root / name / f"{stem}.mkv", 3, level)
            else:
                write_png(root / name / stem, 3, level)
    return root


@pytest.mark.parametrize("splits", [True, False])
def test_mfqe_pairs_by_name_in_folders_or_by_the_official_list(tmp_path, splits):
    root = write_mfqe(tmp_path / "MFQEv2", splits)
    train, test = mfqe(root, "train"), mfqe(root, "test")
    assert [train.name(i) for i in range(len(train))] == ["Akiyo_48x32_4", "Bowing_48x32_4"]
    assert [test.name(i) for i in range(len(test))] == ["BasketballPass_48x32_4", "RaceHorses_48x32_4"]
    for data, qp, level in ((test, 37, 4), (mfqe(root, "test", qp=32), 32, 3)):
        pair = data.pair(1)
        assert pair.observed.shape == pair.target.shape == (4, 3, HEIGHT, WIDTH)
        # Grey: a level of luma is 255/219 of each of R, G and B.
        assert float((pair.observed - pair.target).mean()) * 219 == pytest.approx(level, abs=0.05), qp


def test_cuts_are_at_the_same_place(tmp_path):
    data = mfqe(write_mfqe(tmp_path), "train", length=2, patch=16)
    pair = data.sample_pair(0, torch.Generator().manual_seed(3))
    assert pair.target.shape == (2, 3, 16, 16)
    assert torch.allclose(pair.observed - pair.target, torch.full((), 4 / 219), atol=1e-3)


@pytest.mark.parametrize("kind", ["mkv", "png"])
def test_ldv_trains_on_two_archives_and_tests_on_a_third(tmp_path, kind):
    root = write_ldv(tmp_path / "LDV2", kind)
    train, test = ldv(root, "train", length=2), ldv(root, "test")
    assert [train.name(i) for i in range(len(train))] == ["001@0", "002@0", "101@0", "102@0"]
    assert [test.name(i) for i in range(len(test))] == ["201", "202"]
    pair = test.pair(0)
    assert float((pair.observed - pair.target).mean()) * 255 == pytest.approx(5, abs=0.5)
    sampled = train.sample_pair(3, torch.Generator().manual_seed(1))
    assert float((sampled.observed - sampled.target).mean()) * 255 == pytest.approx(5, abs=0.5)


def test_what_is_missing_is_named(tmp_path):
    root = write_mfqe(tmp_path / "MFQEv2")
    with pytest.raises(RequestError, match="QP42 does not exist"):
        mfqe(root, "test", qp=42)
    (root / "test_18/HM16.5_LDP/QP37/RaceHorses_48x32_4.yuv").unlink()
    with pytest.raises(RequestError, match="no 'RaceHorses_48x32_4'"):
        mfqe(root, "test")
    with pytest.raises(RequestError, match="not laid out like MFQE"):
        mfqe(tmp_path, "train")
    with pytest.raises(RequestError, match="track1_test_gt does not exist"):
        ldv(root, "test")
    with pytest.raises(ValueError, match="train or test"):
        mfqe(root, "val")


def test_level_pairs_blend_what_the_data_brings(tmp_path):
    data = LevelPairs(mfqe(write_mfqe(tmp_path), "train", length=1, patch=16))
    seen = set()
    for seed in range(30):
        pair = data.sample_pair(0, torch.Generator().manual_seed(seed))
        assert pair.observed.shape == (1, 6, 16, 16)
        full = pair.observed[:, :3] - pair.target
        seen.add(round(float(((pair.observed[:, 3:] - pair.target) / full).mean()), 3))
    assert seen == {0.0, 0.25, 0.5, 0.75}
    assert data.observed[0].shape == (1, 6, HEIGHT, WIDTH)


def test_eval_prints_gains_parameters_and_time_on_either_set(tmp_path, restore):
    write_mfqe(tmp_path / "MFQEv2")
    write_ldv(tmp_path / "LDV2", "mkv")
    tiny = ["--recipe", "crds:paper-mfqe", "--set", "model.use=crds:tiny", "--set", "data.train.root=MFQEv2", "--json"]
    found = restore("eval", *tiny)
    assert found.code == 0, found.err
    told = json.loads(found.out)
    # Untrained, CRDS gives back what it gets; four levels of luma too much.
    assert told["protocol"]["name"] == "mfqe"
    assert told["mean"]["delta_psnr"] == pytest.approx(0, abs=0.02)
    assert told["mean"]["psnr"] == pytest.approx(20 * np.log10(255 / 4), abs=0.1)
    assert told["mean"]["ms_per_frame"] > 0
    assert told["model"]["parameters"] > 10000
    other = ["--set", "data.test.use=crds:ldv", "--set", "data.test.root=LDV2", "--protocol", "ldv"]
    found = restore("eval", *tiny, *other)
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert told["protocol"]["plane"] == "RGB"
    assert [r["name"] for r in told["results"]] == ["201", "202"]


def _mfqe(folder):
    return {"root": write_mfqe(folder), "split": "train", "length": 2, "patch": 16}


def _ldv(folder):
    return {"root": write_ldv(folder, "png"), "split": "train", "length": 2, "patch": 16}


def _levels(folder):
    return {"pairs": {"use": "crds:mfqe", **_mfqe(folder)}}


test_conformance = conformance_tests(
    "crds:mfqe",
    "crds:ldv",
    "crds:level-pairs",
    examples={
        "crds:mfqe": _mfqe,
        "crds:ldv": _ldv,
        "crds:level-pairs": Example(_levels, skip={"dataset.pairs": "xh and xh^s are six channels"}),
    },
    checks=["dataset.*"],
)


def test_pairs_are_of_the_core_s_kind(tmp_path):
    assert isinstance(mfqe(write_mfqe(tmp_path), "test"), Paired)
