"""The weights that ship: what coding spoilt gets better, what it hardly touched is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import restore
import torch
from restore import Step
from restore.builtin.datasets.videos import Videos
from restore.builtin.degradations.codec import Codec
from restore.document import Document
from restore.functional.color import rgb_to_y
from restore.functional.quantizer import join_qp
from restore.modelling import build_model, builder
from restore.plugins import registry
from restore.recipe import Use

SAMPLES = Path(restore.__file__).parent / "samples"


def psnr(a, b):
    return -10 * torch.log10((rgb_to_y(a) - rgb_to_y(b)).square().mean()).item()


@pytest.fixture(scope="module")
def gain():
    """``gain(told, coding)`` in dB of luma, on five frames of the sample; ``told`` what they were coded with or not."""
    place = Document("test", "", {}).root
    model, _ = build_model(Use("crds:small", {"weights": "crds:crds-small"}, place), builder(registry()))
    model.eval()
    clean = Videos(SAMPLES, include=["sample_reference*"])[0][None, :5, :, 40:200, 40:200]

    def measured(told, **coding):
        pair = Codec(**coding, matrix="bt601")(clean, Step())
        with torch.no_grad():
            restored = model(join_qp(pair.observed, pair.qp if told else None)).restored.clamp(0, 1)
        return psnr(restored, clean) - psnr(pair.observed, clean)

    return measured


CODINGS = [
    {"codec": "x264", "crf": 35.0},
    {"codec": "x264", "crf": 24.0},
    {"codec": "x265", "qp": 37, "ladder": "hm-ldp"},
]


@pytest.mark.parametrize("coding", CODINGS)
def test_spoilt_video_gets_better(gain, coding):
    assert gain(True, **coding) > 0.06


@pytest.mark.parametrize("coding", CODINGS)
def test_it_does_so_where_nobody_says_how_it_was_spoilt(gain, coding):
    assert 0.02 < gain(False, **coding) < gain(True, **coding)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("crf", [4.0, 10.0, 16.0])
def test_good_video_is_left_alone(gain, crf, told):
    assert gain(told, codec="x264", crf=crf) > -0.05
