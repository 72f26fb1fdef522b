"""`restore export`: what is written computes what the model computes, at other sizes too; or it is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from restore import RestoreError
from restore.contracts import Halo, Traits
from restore.exporting import refusal, trace, write
from torch import nn


def clip(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def test_onnx_runs_elsewhere_at_any_size(restore, tiny_weights):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    arguments = ("export", "--plugin", "srsenet", *tiny_weights.settings, "-o", "net.onnx", "--size", "24x16", "--json")
    done = restore(*arguments)
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["dynamic"], said["shape"]) == ("all", [2, 1, 16, 24])
    assert said["difference"] < 1e-4
    assert said["checked_with"].startswith("onnxruntime")
    session = runtime.InferenceSession("net.onnx", providers=["CPUExecutionProvider"])
    frames = clip(3, 1, 22, 18)
    (out,) = session.run(None, {session.get_inputs()[0].name: frames.numpy()})
    with torch.no_grad():
        wanted = tiny_weights.model.eval()(frames.unsqueeze(1)).squeeze(1).numpy()
    assert np.abs(out - wanted).max() < 1e-4
    about = json.loads(session.get_modelmeta().custom_metadata_map["restore"])
    assert about["component"] == "srsenet:srsenet"
    assert about["traits"]["scale"] == 2
    assert about["traits"]["channels"] == "y"
    done = restore(*arguments)
    assert done.code == 2
    assert "--overwrite replaces it" in done.err


class Window(nn.Module):
    """Three frames, the middle one's neighbours weighed in; broken where it is asked for."""

    def __init__(self, broken=""):
        super().__init__()
        self.broken = broken
        self.traits = Traits(temporal="clip", multiple_of=2, halo=Halo(frames=1))
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, clip):
        x = clip + 0.5 * clip.roll(1, 1)
        if self.broken == "value" and float(x.sum()) > 0:
            x = x + 1
        if self.broken == "traced":
            x = x + 0.1 * torch.compiler.is_exporting()
        return self.conv(x.flatten(0, 1)).unflatten(0, clip.shape[:2])


def test_windows_in_the_format_of_torch(tmp_path):
    model = Window()
    written = write(trace(model, (8, 10)), tmp_path / "net.pt2", model.traits, {"component": "toy"})
    assert (written.format, written.dynamic, written.shape) == ("torch.export", "all", (2, 3, 3, 8, 10))
    extra = {"restore.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    frames = clip(1, 3, 3, 14, 20)
    with torch.no_grad():
        assert torch.allclose(program(frames), model(frames), atol=1e-5)
    assert json.loads(extra["restore.json"])["traits"]["halo"]["frames"] == 1


def test_what_cannot_be_traced_or_comes_out_wrong_is_refused(tmp_path):
    with pytest.raises(RestoreError, match="must not depend on the values"):
        trace(Window("value"), (8, 10))
    model = Window("traced")
    with pytest.raises(RestoreError, match="differs from the model itself"):
        write(trace(model, (8, 10), static=True), tmp_path / "net.pt2", model.traits, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ssl_prune:basicvsr-small", "-o", "net.onnx"], "it carries state along time"),
        (["videoonet:small-mnist", "-o", "net.pt2"], "it is called with a linear operator"),
        (["eco:srsenet-x2", "-o", "net.tflite"], "must end in .onnx (ONNX) or .pt2"),
        (["eco:srsenet-x2", "-o", "net.pt2", "--size", "24"], "WIDTHxHEIGHT"),
    ],
)
def test_refusals_say_why(restore, tmp_path, arguments, said):
    done = restore("export", *arguments)
    assert done.code == 2
    assert said in done.err
    assert not list(tmp_path.iterdir())


def test_only_streams_and_operators_are_refused():
    assert refusal(Traits()) == refusal(Traits(temporal="clip")) == ""
    assert refusal(Traits(temporal="stream"))
    assert refusal(Traits(needs_operator=True))
