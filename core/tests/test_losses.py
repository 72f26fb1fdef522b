"""Losses against what they are defined as, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from restore import Pair, Prediction, Step
from restore.builtin.losses.pixel import LogMSE


def log_mse(restored, target, **parameters):
    return float(LogMSE(**parameters)(Prediction(restored), Pair(restored, target), Step()))


def test_log_mse_weighs_a_good_frame_as_much_as_a_bad_one():
    target = torch.zeros(1, 2, 3, 4, 5, dtype=torch.float64)
    restored = target.clone()
    restored[:, 0], restored[:, 1] = 0.1, 0.01
    # 20 and 40 dB, whose mean is 30; of the mean of squared errors it would be 22.97.
    assert log_mse(restored, target, eps=1e-9) == pytest.approx(-3.0, abs=1e-9)
    assert log_mse(target, target, eps=1e-3) == pytest.approx(-6.0)


def test_log_mse_of_luma_is_that_of_studio_range():
    target = torch.zeros(1, 1, 3, 2, 2, dtype=torch.float64)
    green = target.clone()
    green[:, :, 1] = 0.5
    # What BT.601 gives to green, of 255, where the protocols count.
    assert log_mse(green, target, plane="y", eps=1e-9) == pytest.approx(2 * math.log10(0.5 * 128.553 / 255), abs=1e-6)
    # A change of colour without one of luma does not count.
    colour = target.clone()
    colour[:, :, 0], colour[:, :, 1] = 128.553 / 255, -65.481 / 255
    assert log_mse(colour, target, plane="y", eps=1e-3) == pytest.approx(-6.0, abs=1e-6)


def test_log_mse_refuses_what_it_cannot_do():
    grey = torch.zeros(1, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="3 channels, these have 1"):
        log_mse(grey, grey, plane="y")
    with pytest.raises(ValueError, match="eps must be above 0"):
        LogMSE(eps=0)
