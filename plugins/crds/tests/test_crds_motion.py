"""Looking inside: motion fields against the vectors of a stream whose motion is known."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from restore import RequestError, Traits
from restore_crds import motion
from restore_crds.motion import Agreement, look_inside
from torch import nn

HEIGHT, WIDTH, FRAMES = 96, 130, 5
PAN = (4, -3)  # what is at p now was at p + PAN one frame ago


def write(path, codec="libx264", frames=FRAMES):
    noise = torch.rand(1, 1, 220, 260, generator=torch.Generator().manual_seed(0))
    smooth = F.avg_pool2d(noise, 5, 1, 2)[0, 0]
    picture = ((smooth - smooth.mean()) * 4 + 0.5).clamp(0, 1).mul(255).byte().numpy()
    with av.open(path, "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "20", "x264-params": "bframes=0:ref=1:weightp=0"}
        for t in range(frames):
            x, y = 50 + PAN[0] * t, 60 + PAN[1] * t
            grey = np.repeat(picture[y : y + HEIGHT, x : x + WIDTH, None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p")))
        file.mux(stream.encode())
    return path


class Told(nn.Module):
    """Says that everything moves by ``pan``, and plain flow half of it, at every ``stride`` pixels."""

    def __init__(self, pan, stride=4):
        super().__init__()
        self.pan, self.weight, self.stride = (
            torch.tensor(pan, dtype=torch.float32),
            nn.Parameter(torch.zeros(1)),
            stride,
        )

    traits = Traits(channels="rgb+qp")

    def inspect(self, clip):
        batch, frames, channels, height, width = clip.shape
        assert channels == 4
        assert (clip[:, :, 3] > 0).all()  # the stream tells its quantizers too
        field = self.pan.view(2, 1, 1).expand(batch, frames, 2, height // self.stride, width // self.stride)
        rest = torch.rand(batch, frames, 8, height // self.stride, width // self.stride)
        return {
            "motion/0/-1": -field,
            "motion/1/-1": field,
            "flow/-1": field / 2,
            "residual/0": rest,
            "residual/1": rest,
        }


@pytest.mark.parametrize("stride", [4, 2])
def test_the_true_motion_agrees_and_its_opposite_does_not(tmp_path, stride):
    inside = look_inside(write(tmp_path / "pan.mp4"), Told(PAN, stride))
    assert inside.residual.shape == inside.coded.shape
    assert inside.clip.shape == (FRAMES, 3, HEIGHT, 128)
    assert inside.vectors.shape == inside.motion.shape == (FRAMES, 2, 24, 32)
    found = inside.agreement()
    length = float(np.hypot(*PAN))
    assert found["muna"].error < 0.3
    assert found["muna"].correlation > 0.97
    assert found["flow"].error == pytest.approx(length / 2, abs=0.3)
    assert found["none"].error == pytest.approx(length, abs=0.3)
    assert found["none"].correlation == 0
    wrong = look_inside(tmp_path / "pan.mp4", Told(PAN), block=0).agreement()["muna"]
    assert wrong.correlation < -0.97
    # Along the border nothing is compared, nor in the I-frame.
    assert not inside.known[:, :3].any()
    assert not inside.known[:, :, -3:].any()
    assert not inside.known[0].any()
    assert inside.known[2].float().mean() > 0.4
    # Where the motion is known, little is left to code: far less than what moved.
    moved = float((inside.clip[2] - inside.clip[1]).abs().mean() * 255)
    assert float(inside.coded[2][inside.known[2]].median()) < moved / 4


def test_agreement_by_hand():
    field = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    vectors = torch.tensor([[3.0, 0.0], [4.0, 5.0]]).view(1, 2, 1, 2)
    both = Agreement.between(field, vectors, torch.ones(1, 1, 2, dtype=torch.bool))
    assert both.error == pytest.approx((0 + np.hypot(3, 1)) / 2)
    assert both.correlation == pytest.approx((25 + 20) / np.sqrt(50 * 50))
    only = Agreement.between(field, vectors, torch.tensor([[[True, False]]]))
    assert (only.error, only.correlation) == (0, pytest.approx(1))
    with pytest.raises(RequestError, match="no block"):
        Agreement.between(field, vectors, torch.zeros(1, 1, 2, dtype=torch.bool))


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["motion", *map(str, arguments)])
    code = motion.main()
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_the_command_draws_and_tells(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    clip, picture = write(tmp_path / "pan.mp4"), tmp_path / "motion.png"
    code, out, err = call(monkeypatch, capsys, clip, "--model", "crds:tiny", "-o", picture, "--json", "--frames", 3)
    assert code == 0, err
    told = json.loads(out)
    assert (told["frames"], set(told["motion"])) == (3, {"muna", "flow", "none"})
    assert told["blocks"] > 100
    with Image.open(picture) as image:
        assert image.width > 1000
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100


def test_weights_that_ship_are_taken_and_see_motion(tmp_path, monkeypatch, capsys):
    clip = write(tmp_path / "pan.mp4")
    code, out, err = call(monkeypatch, capsys, clip, "--json")
    assert code == 0, err
    found = json.loads(out)["motion"]
    assert found["muna"]["correlation"] > 0.1
    assert found["muna"]["error"] < found["none"]["error"]


def test_bad_requests_are_named(tmp_path, monkeypatch, capsys):
    clip = write(tmp_path / "pan.mp4")
    # Without attention MuNA's field is the flow itself; without references there is none.
    cases = [
        ([write(tmp_path / "other.mkv", "ffv1"), "--model", "crds:tiny"], "is ffv1"),
        ([write(tmp_path / "one.mp4", frames=1), "--model", "crds:tiny"], "motion needs two"),
        ([clip, "--model", "crds:tiny", "--set", "references=0"], "no attention to look into"),
        ([clip, "--model", "crds:tiny", "--block", 4], "has blocks 0 to 3"),
        ([clip, "--model", "core:identity"], "cannot be looked into"),
        ([clip, "--model", "crds:tiny", "--frame", 9], "--frame 9"),
        ([clip, "--model", "crds:tiny", "--margin", 40], "all are I-frames, intra-coded or margin"),
    ]
    for arguments, said in cases:
        code, _, err = call(monkeypatch, capsys, *arguments)
        assert (code, said in err) == (2, True), (arguments, err)
