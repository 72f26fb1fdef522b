"""The engine around one model: padding, memory, precision, bad values."""

from __future__ import annotations

import pytest
import torch
from restore import RequestError, RestoreError, Traits
from restore.inference.precision import choose
from restore.inference.restorer import Restorer
from restore.recipe import Run
from torch import nn

FP32 = Run(precision="fp32", channels_last=False, device="cpu")


class Net(nn.Module):
    """Calls a function on clips; remembers the shapes that it saw."""

    def __init__(self, function=lambda clip: clip, **traits) -> None:
        super().__init__()
        self.function, self.traits, self.shapes = function, Traits(**traits), []

    def forward(self, clip):
        self.shapes.append(tuple(clip.shape))
        return self.function(clip)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 9), (16, 16), (353, 287)])
def test_padding_to_the_multiple_is_cropped_again(height, width):
    frames = torch.rand(1, 3, height, width)
    net = Net(multiple_of=8, minimum=16)
    out = Restorer(net, FP32)(frames)
    assert torch.equal(out, frames)
    assert all(h % 8 == 0 and w % 8 == 0 and h >= 16 and w >= 16 for *_, h, w in net.shapes)


def test_padding_reflects():
    net = Net(lambda clip: clip.flip(-1), multiple_of=4)
    frames = torch.arange(6.0).view(1, 1, 1, 6)
    # 0..5 padded to 0..5,4,3 and turned round: the first six are 3,4,5,4,3,2.
    assert Restorer(net, FP32)(frames).flatten().tolist() == [3, 4, 5, 4, 3, 2]


def test_out_of_memory_halves_the_tile_and_loses_nothing(capsys):
    def hungry(clip):
        if clip.shape[-1] * clip.shape[-2] > 48 * 48:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory")
        return clip

    frames = torch.rand(1, 3, 150, 130)
    restorer = Restorer(Net(hungry), Run(precision="fp32", channels_last=False, device="cpu", tile=0))
    assert torch.equal(restorer(frames), frames)
    assert "out of memory" in capsys.readouterr().err
    restorer(frames)
    assert "out of memory" not in capsys.readouterr().err  # settled: the next frame starts with the tile that fits


def test_too_little_memory_for_any_tile_is_an_error():
    def starving(clip):
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RestoreError, match="not enough memory"):
        Restorer(Net(starving), Run(precision="fp32", channels_last=False, device="cpu", tile=0))(
            torch.rand(1, 3, 90, 90)
        )


def test_other_runtime_errors_are_not_taken_for_memory():
    def broken(clip):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        Restorer(Net(broken), Run(precision="fp32", channels_last=False, device="cpu", tile=0))(torch.rand(1, 3, 9, 9))


def test_a_frame_that_is_not_finite_is_done_again_in_fp32():
    def overflows(clip):
        half = torch.is_autocast_enabled("cpu")
        out = clip.clone()
        if half:
            out[0] = float("nan")
        return out

    frames = torch.rand(2, 3, 8, 8)
    restorer = Restorer(Net(overflows), Run(precision="bf16", channels_last=False, device="cpu", tile=0))
    assert torch.equal(restorer(frames, first=40), frames)
    assert any("frame 40 " in w and "bf16" in w for w in restorer.warnings)


def test_not_finite_in_fp32_too_is_an_error_that_names_the_frame():
    frames = torch.rand(2, 3, 8, 8)
    frames[1, 0, 0, 0] = float("inf")
    with pytest.raises(RestoreError, match="frame 8 "):
        Restorer(Net(), Run(precision="fp32", channels_last=False, device="cpu", tile=0))(frames, first=7)


def test_wrong_scale_is_an_error():
    with pytest.raises(RestoreError, match="scale 2"):
        Restorer(Net(scale=2), Run(precision="fp32", channels_last=False, device="cpu", tile=0))(torch.rand(1, 3, 8, 8))


def test_models_that_look_along_time_are_refused():
    with pytest.raises(RequestError, match="along time"):
        Restorer(Net(temporal="stream"), FP32)


def test_unknown_device_is_a_request_error():
    with pytest.raises(RequestError, match="gpu9"):
        Restorer(Net(), Run(device="gpu9"))


def test_auto_never_takes_a_mode_that_disagrees():
    """A bfloat16 that is quick and wrong must lose against float32."""

    def run(frames, mode):
        return frames if mode.precision == "fp32" else frames + 0.02

    mode = choose(nn.Identity(), run, torch.rand(1, 3, 32, 32), "auto", False)
    assert mode.precision == "fp32"


def test_auto_takes_the_faster_mode_that_agrees():
    import time

    def run(frames, mode):
        time.sleep(0.03 if mode.precision == "fp32" else 0.001)
        return frames

    mode = choose(nn.Identity(), run, torch.rand(1, 3, 32, 32), "auto", False)
    assert mode.precision == "bf16"
    assert "times as fast" in mode.reason


def test_global_models_say_that_tiles_change_them(capsys):
    restorer = Restorer(Net(global_context=True), Run(precision="fp32", channels_last=False, device="cpu", tile=16))
    restorer(torch.rand(1, 3, 40, 40))
    restorer(torch.rand(1, 3, 40, 40))
    assert capsys.readouterr().err.count("whole frame") == 1


def test_global_models_run_whole_by_default():
    net = Net(global_context=True)
    Restorer(net, FP32)(torch.rand(1, 3, 200, 120))
    assert net.shapes[-1][-2:] == (200, 120)
