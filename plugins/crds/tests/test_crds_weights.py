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
from restore.modelling import build_model, builder
from restore.plugins import registry
from restore.recipe import Use

SAMPLES = Path(restore.__file__).parent / "samples"


def psnr(a, b):
    return -10 * torch.log10((rgb_to_y(a) - rgb_to_y(b)).square().mean()).item()


@pytest.fixture(scope="module")
def gain():
    """``gain(coding)`` in dB of luma, on five frames of the sample."""
    place = Document("test", "", {}).root
    model, _ = build_model(Use("crds:small", {"weights": "crds:crds-small"}, place), builder(registry()))
    model.eval()
    clean = Videos(SAMPLES, include=["sample_reference*"])[0][None, :5, :, 40:200, 40:200]

    def measured(**coding):
        observed = Codec(**coding, matrix="bt601")(clean, Step()).observed
        with torch.no_grad():
            restored = model(observed).restored.clamp(0, 1)
        return psnr(restored, clean) - psnr(observed, clean)

    return measured


@pytest.mark.parametrize("coding", [{"codec": "x264", "crf": 35.0}, {"codec": "x265", "qp": 37, "ladder": "hm-ldp"}])
def test_spoilt_video_gets_better(gain, coding):
    assert gain(**coding) > 0.03


@pytest.mark.parametrize("crf", [4.0, 10.0, 16.0])
def test_good_video_is_left_alone(gain, crf):
    assert gain(codec="x264", crf=crf) > -0.05
