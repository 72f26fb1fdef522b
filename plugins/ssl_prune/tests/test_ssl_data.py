"""Data and evaluation of the paper: recipes over REDS and Vimeo-90K folders, and the middle frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from restore import Step
from restore.catalogue import recipe_document
from restore.modelling import builder
from restore.plugins import registry
from restore.recipe import check
from restore.training.trainer import build_parts
from restore_ssl_prune.basicvsr import BasicVSR
from restore_ssl_prune.metrics import MiddleFrame

TINY = ("model.features=8", "model.blocks=1", "model.tail_features=8", "training.workers=0", "training.batch=2")


def frames(folder, names, size=(24, 24), seed=0):
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)


@pytest.fixture
def reds(tmp_path):
    for number in ("000", "001", "011", "015", "020"):
        frames(tmp_path / "train_sharp" / number, [f"{k:08d}.png" for k in range(15)], seed=int(number))
    return tmp_path


def parts_of(recipe, *overrides):
    document = recipe_document(registry(), recipe=recipe, overrides=(*TINY, *overrides))
    return build_parts(check(document), document, builder(registry()))


def spynet_file(path, names):
    """A flow network's weights of every published shape, the k-th tensor filled with k."""
    file, number = {}, 0
    for level in range(6):
        for layer, (before, after) in enumerate([(8, 32), (32, 64), (64, 32), (32, 16), (16, 2)]):
            for kind, shape in (("weight", (after, before, 7, 7)), ("bias", (after,))):
                inner = f"{layer}.conv" if names == "mmediting" else str(2 * layer)
                file[f"basic_module.{level}.basic_module.{inner}.{kind}"] = torch.full(shape, float(number))
                number += 1
    torch.save({"params": file} if names == "basicsr" else {"state_dict": file}, path)


@pytest.mark.parametrize("names", ["basicsr", "mmediting"])
def test_paper_recipe_over_reds(reds, names):
    spynet_file(reds / "spynet.pth", names)
    start = (
        f'training.start={{ weights = "{reds / "spynet.pth"}", rename = {{ "^" = "spynet." }}, '
        'exclude = ["*_trunk", "fusion", "upconv*", "conv_*"] }'
    )
    parts = parts_of("ssl_prune:basicvsr", f"data.train.root={reds}", "data.train.patch=16", start)
    assert [p.plan.iterations for p in parts.phases] == [5000, 295_000]
    assert [p.plan.freeze for p in parts.phases] == [("spynet",), ()]
    assert parts.phases[1].plan.clock == 5000  # the cosine goes on
    assert parts.train.names == ["001"]
    assert parts.validation.names == ["000", "011", "015", "020"]
    spynet = parts.model.spynet.state_dict()
    assert [float(v.flatten()[0]) for v in spynet.values()] == list(range(60))
    clip = parts.train.sample(0, torch.Generator().manual_seed(0))
    assert clip.shape == (15, 3, 16, 16)
    rates = [parts.phases[0].optimizer.rates(Step(k, 300_000)) for k in (0, 150_000, 300_000)]
    assert rates[0] == pytest.approx([2.5e-5, 2e-4])
    assert rates[1][1] == pytest.approx(1e-4, rel=1e-2)
    assert rates[2][1] == pytest.approx(1e-7)


def test_vimeo_and_bd_by_overrides(tmp_path):
    frames(tmp_path / "sequences/00001/0001", [f"im{k}.png" for k in range(1, 8)])
    (tmp_path / "sep_trainlist.txt").write_text("00001/0001\n")
    data = f'data.train={{ use = "core:vimeo90k", root = "{tmp_path}", patch = 16 }}'
    blur = 'degradation={ use = "core:gaussian-downscale", scale = 4 }'
    validation = data.replace("train", "validation").replace(", patch = 16", "")
    parts = parts_of("ssl_prune:basicvsr", data, blur, validation)
    clip = parts.train.sample(0, torch.Generator().manual_seed(0))
    pair = parts.phases[0].degradation(clip[None], Step())
    assert pair.observed.shape == (1, 14, 3, 4, 4)
    assert isinstance(parts.model, BasicVSR)


def test_middle_frame_of_seven_and_of_fourteen():
    reference = torch.full((1, 14, 3, 16, 16), 0.4)
    restored = torch.rand(1, 14, 3, 16, 16)
    restored[:, 3], restored[:, 10] = 0.4 + 60 / 255, 0.4 - 40 / 255
    # the mean of both answers is 10 levels off, whatever the other frames are
    assert MiddleFrame(plane="rgb")(restored, reference) == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)
    # 10 levels of RGB are 10 * 219/255 of luma
    expected = 20 * math.log10(255 / (10 * 219 / 255))
    assert MiddleFrame()(restored, reference) == pytest.approx(expected, abs=1e-3)
    once = MiddleFrame(plane="rgb")(restored[:, :7], reference[:, :7])
    assert once == pytest.approx(20 * math.log10(255 / 60), abs=1e-3)
    assert MiddleFrame("ssim")(reference, reference) == pytest.approx(1)
    assert MiddleFrame().protocol["plane"].startswith("Y")
    with pytest.raises(ValueError, match="7 frames"):
        MiddleFrame()(restored[:, :5], reference[:, :5])
