from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from restore.build import Builder
from restore.builtin.datasets.arrays import _Stack
from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.hdf5 import HDF5
from restore.builtin.datasets.images import Images
from restore.builtin.datasets.paired import Paired
from restore.builtin.models.bicubic import BicubicUpscale
from restore.document import parse
from restore.errors import MediaError, RequestError
from restore.evaluation.evaluate import evaluate
from restore.evaluation.protocols import protocol
from restore.plugins import registry
from restore.recipe import Use
from restore.training.data import seeded


def write(path, height, width, step=1, frame=0):
    """Green counts rows and blue columns of the small grid, so that both sides show where they were cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width] // step
    Image.fromarray(np.stack([np.full_like(y, frame), y, x], -1).astype(np.uint8)).save(path)


@pytest.fixture
def sides(tmp_path):
    """Two clips of three frames, clean 8x12 and observed 4x6."""
    for name in ("a", "b"):
        for k in range(3):
            write(tmp_path / "gt" / name / f"{k}.png", 8, 12, 2, k)
            write(tmp_path / "lq" / name / f"{k}.png", 4, 6, 1, k)
    return tmp_path


def test_both_sides_are_cut_and_turned_alike(sides):
    data = Paired(Frames(sides / "gt"), Frames(sides / "lq"), length=2, patch=4)
    assert len(data) == 2 * (8 * 12 // 16)
    starts = set()
    for seed in range(60):
        pair = data.sample_pair(seed % len(data), seeded(seed))
        assert (pair.observed.shape, pair.target.shape) == ((2, 3, 2, 2), (2, 3, 4, 4))
        large = pair.observed.repeat_interleave(2, -1).repeat_interleave(2, -2)
        assert torch.equal(large, pair.target)
        assert torch.equal(data.sample(seed % len(data), seeded(seed)), pair.target)
        starts.add(tuple((pair.observed[:, 0, 0, 0] * 255).round().int().tolist()))
    assert starts == {(0, 1), (1, 2), (1, 0), (2, 1)}


def test_by_itself_it_is_the_clean_side(sides):
    data = Paired(Frames(sides / "gt"), Frames(sides / "lq"))
    assert [data.name(i) for i in range(len(data))] == ["a", "b"]
    assert torch.equal(data[1], Frames(sides / "gt")[1])
    assert torch.equal(data.observed[1], Frames(sides / "lq")[1])
    assert torch.equal(data.pair(1).observed, data.observed[1])
    short = Paired(Frames(sides / "gt"), Frames(sides / "lq"), length=1)
    assert [short.name(i) for i in range(3)] == ["a@0", "a@1", "a@2"]
    assert torch.equal(short.observed[2], Frames(sides / "lq")[0][2:3])


def test_evaluation_takes_the_observed_side(tmp_path):
    for k in range(2):
        write(tmp_path / "gt" / f"{k}.png", 24, 24, 2)
        write(tmp_path / "lq" / f"{k}x2.png", 12, 12)
    data = Paired(Images(tmp_path / "gt"), Images(tmp_path / "lq"), ending="x2")
    report = evaluate(BicubicUpscale(2), data, None, protocol("sr-y"), observed=data.observed)
    assert [r["name"] for r in report.results] == ["0", "1"]
    with pytest.raises(RequestError, match="no '0' .*it has '0x2', say what its names end in"):
        Paired(Images(tmp_path / "gt"), Images(tmp_path / "lq"))


def test_a_recipe_can_say_it(sides):
    text = f'''
    use = "paired"
    clean = {{ use = "frames", root = "{(sides / "gt").as_posix()}" }}
    observed = {{ use = "frames", root = "{(sides / "lq").as_posix()}" }}
    patch = 3
    '''
    document = parse(text, "recipe.toml")
    parameters = {k: v for k, v in document.data.items() if k != "use"}
    with pytest.raises(RequestError, match=r"recipe\.toml.* patch must be a multiple of 2"):
        Builder(registry()).build("dataset", Use("paired", parameters, document.root))
    parameters["patch"] = 4
    assert len(Builder(registry()).build("dataset", Use("paired", parameters, document.root))) == 12


def test_sides_that_do_not_fit(sides):
    gt, lq = Frames(sides / "gt"), Frames(sides / "lq")
    with pytest.raises(ValueError, match="patch must be a multiple of 2"):
        Paired(gt, lq, patch=3)
    with pytest.raises(RequestError, match="no clip of at least 10x10"):
        Paired(gt, lq, patch=10)
    with pytest.raises(ValueError, match="observed: give length and patch to paired itself"):
        Paired(gt, Frames(sides / "lq", patch=2))
    with pytest.raises(ValueError, match="clean: _Stack cannot be cut"):
        Paired(_Stack(torch.zeros(1, 1, 4, 4).byte(), "x"), lq)
    write(sides / "lq" / "b" / "3.png", 4, 6)
    with pytest.raises(RequestError, match="b: .* 3 frames of 12x8 and 4 frames of 6x4"):
        Paired(gt, Frames(sides / "lq"))
    for k in range(4):
        (sides / "lq" / "b" / f"{k}.png").unlink()
    with pytest.raises(RequestError, match=r"no 'b' \(1 missing\)"):
        Paired(gt, Frames(sides / "lq"))
    for k in range(3):
        write(sides / "lq" / "b" / f"{k}.png", 4, 5)
    with pytest.raises(RequestError, match="b: .*12x8 and 3 frames of 5x4; needed are .* 2 times the width"):
        Paired(gt, Frames(sides / "lq"))


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(RequestError, match=r"needs h5py: pip install 'restorekit\[hdf5\]'"):
        HDF5(tmp_path / "x.h5", "data")


class _File(dict):
    """Stands for h5py.File where h5py is not installed: arrays under names."""


@pytest.fixture
def h5(tmp_path, monkeypatch):
    """``h5(**arrays)`` writes a file, with h5py if it is there."""

    def make(**arrays):
        path = tmp_path / "x.h5"
        try:
            import h5py
        except ImportError:
            from types import SimpleNamespace

            path.write_bytes(b"stand-in")
            monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda *_: _File(arrays)))
            return path
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
        return path

    return make


@pytest.mark.parametrize("layout", ["nhw", "nchw", "nhwc", "ntchw", "nthwc"])
def test_hdf5_layouts(h5, layout):
    sizes = {"n": 2, "t": 3, "c": 3, "h": 6, "w": 5}
    values = np.random.default_rng(0).integers(0, 256, [sizes[a] for a in layout], dtype=np.uint8)
    data = HDF5(h5(gt=values), "gt", layout)
    expected = values[1]
    for axis in "ct":
        if axis not in layout:
            expected = expected[None]
    order = [a for a in "tc" if a not in layout] + [a for a in layout[1:]]
    expected = expected.transpose([order.index(a) for a in "tchw"])
    assert len(data) == 2
    assert torch.equal((data[1] * 255).round().byte(), torch.from_numpy(expected.copy()))
    cut = HDF5(data.file, "gt", layout, patch=4, augment=False).sample(0, seeded(1))
    assert cut.shape[-2:] == (4, 4)


def test_hdf5_values(h5):
    path = h5(gt=np.full((2, 1, 8, 8), 0.5, np.float32), lq=np.full((2, 1, 4, 4), 128.0), n=np.zeros(3, np.int64))
    assert float(HDF5(path, "gt")[0].mean()) == 0.5
    with pytest.raises(MediaError, match=r"entry 0 of 'lq' has values from 128 to 128, not \[0, 1\]"):
        HDF5(path, "lq")[0]
    with pytest.raises(RequestError, match="no array 'hr'; it has: "):
        HDF5(path, "hr")
    with pytest.raises(RequestError, match="'n' has 1 axes"):
        HDF5(path, "n")
    with pytest.raises(RequestError, match="does not exist"):
        HDF5(Path("none.h5"), "gt")


def test_pairs_in_one_hdf5_file(h5):
    small = np.random.default_rng(0).integers(0, 256, (2, 1, 6, 6), dtype=np.uint8)
    path = h5(label=small.repeat(2, -1).repeat(2, -2), data=small)
    pair = Paired(HDF5(path, "label"), HDF5(path, "data"), patch=8).sample_pair(0, seeded(3))
    assert torch.equal(pair.observed.repeat_interleave(2, -1).repeat_interleave(2, -2), pair.target)
