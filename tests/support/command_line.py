"""Running the command line inside the test process, and small files to run it on."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from restore.cli.main import main


@pytest.fixture
def restore(monkeypatch, capsys, tmp_path):
    """``restore(*arguments)`` as a person would call it, in an empty folder: code, out, err."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["restore", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        streams = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=streams.out, err=streams.err)

    return call


@pytest.fixture
def photo(tmp_path):
    """``photo(name, mode, size)`` writes a picture with some structure."""

    def make(name, mode="RGB", size=(24, 16)):
        width, height = size
        y, x = np.mgrid[:height, :width]
        rgb = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x * 7 + y * 13) % 256], -1)
        image = Image.fromarray(rgb.astype(np.uint8))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.convert(mode).save(path)
        return path

    return make


@pytest.fixture
def clip(tmp_path):
    """``clip(name, frames, size, codec)`` writes a video of noise that moves."""

    def make(name, frames=12, size=(48, 32), codec="libx264", pix_fmt="yuv420p", gop=4):
        rng = np.random.default_rng(3)
        noise = rng.integers(0, 255, (size[1] + frames, size[0], 3)).astype(np.uint8)
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=25, options={"preset": "ultrafast"} if codec == "libx264" else {})
            stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
            stream.codec_context.gop_size = gop
            for k in range(frames):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(noise[k : k + size[1]], format="rgb24")))
            out.mux(stream.encode(None))
        return path

    return make


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Weights of a SrSENet with one block of eight features at scale 2, and the overrides that run it."""
    from restore.weights import save
    from restore_srsenet.model import SrSENet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = SrSENet(2, blocks=1, features=8)
    save(path, model.state_dict(), {"component": "srsenet:srsenet"})
    settings = ["model.blocks=1", "model.features=8", f'model.weights="{path}"']
    return SimpleNamespace(path=path, model=model, settings=[x for s in settings for x in ("--set", s)])
