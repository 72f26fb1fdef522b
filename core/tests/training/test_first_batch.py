"""Parts that do not fit each other are named with the first batch, before anything is learned."""

from __future__ import annotations

import pytest
import torch
from restore import RequestError
from restore.contracts import Pair, Prediction, Traits
from restore.testing import write_frames
from restore.training.pairs import check_pair, check_prediction, explained

RECIPE = """recipe = 1
[model]
use = "srsenet"
scale = 2
blocks = 1
features = 4
[degradation]
DEGRADATION
[[losses]]
use = "l1"
[optimizer]
use = "adam"
lr = 1e-3
[data.train]
use = "frames"
root = "clips"
patch = 24
length = 2
[training]
iterations = 2
batch = 1
"""


def clip(*sizes):
    return torch.zeros(1, 4, 3, *sizes)


@pytest.mark.parametrize(
    ("observed", "target", "traits", "said"),
    [
        (clip(8, 8), clip(24, 24), Traits(scale=2), "enlarges by 2, but of 4 clean frames of 24x24 .* 4 of 8x8"),
        (clip(24, 24)[:, :2], clip(24, 24), Traits(), "makes 2 of 24x24"),
        (clip(12, 12), clip(24, 24), Traits(scale=2, multiple_of=8), "multiples of 8, at least 1, and is given 12x12"),
        (clip(12, 12), clip(24, 24), Traits(scale=2, minimum=16), "at least 16"),
        (torch.zeros(700), clip(24, 24), Traits(), "no clip, but 700 numbers"),
    ],
)
def test_pairs_that_do_not_suit(observed, target, traits, said):
    with pytest.raises(RequestError, match=said):
        check_pair(Pair(observed, target), traits)


def test_pairs_and_answers_that_suit():
    check_pair(Pair(clip(12, 16), clip(24, 32)), Traits(scale=2, multiple_of=4, minimum=12))
    # What an operator measures has any shape.
    check_pair(Pair(torch.zeros(700), clip(24, 24)), Traits(needs_operator=True))
    pair = Pair(clip(12, 16), clip(24, 32))
    check_prediction(Prediction(clip(24, 32)), pair)
    with pytest.raises(RequestError, match=r"makes \(1, 4, 3, 24, 31\) .* the target is \(1, 4, 3, 24, 32\)"):
        check_prediction(Prediction(clip(24, 31)), pair)


def test_what_is_raised_is_explained_and_memory_is_left_alone():
    with pytest.raises(RequestError, match="net cannot take it: sizes differ$"), explained("net cannot take it"):
        raise RuntimeError("sizes differ\nand a long story")
    with pytest.raises(torch.cuda.OutOfMemoryError), explained("net cannot take it"):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("degradation", "said"),
    [
        ('use = "bicubic"\nscale = 3', "the model enlarges by 2, but of 2 clean frames of 24x24"),
        ('use = "compressive-sensing"\nratio = 0.1', "only models that are given the linear operator"),
        ('use = "greyscale"', "the degradation cannot take the clips: 1 channels need as many weights"),
    ],
)
def test_a_recipe_whose_parts_do_not_fit_ends_with_one_line(restore, tmp_path, degradation, said):
    write_frames(tmp_path / "clips", 1, 2, 24, 24)
    (tmp_path / "wrong.toml").write_text(RECIPE.replace("DEGRADATION", degradation))
    done = restore("train", "wrong.toml", "-o", "run")
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
