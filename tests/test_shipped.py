"""What ships with the plugins is found and works: every file of weights, and `restore run --plugin` of every one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import restore as package
from restore import weights
from restore.plugins import registry
from restore.weights_store import named

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = Path(package.__file__).parent / "samples" / "sample_reference.mkv"
SHIPPED = sorted(ROOT.glob("plugins/*/src/*/weights/*.safetensors"))
PLUGINS = [path.parent.name for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_weights_in_a_package_have_a_name_and_are_of_what_they_are_named_for(path):
    owners = [
        (f"{one.plugin}:{name}", one)
        for one in registry().of_kind("model")
        for name, where in one.component.weights.items()
        if str(where).endswith(f"{path.parents[1].name}:weights/{path.name}")
    ]
    assert len(owners) == 1, f"{path} is registered by {len(owners)} components"
    name, owner = owners[0]
    assert named(name, registry()).path() == path
    assert weights.read(path).metadata["component"] == f"{owner.plugin}:{owner.component.name}"


def luma(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])


def spoilt(path, frames=5, size=(96, 64)):
    """A piece of the sample as a codec leaves it at a low rate: CRDS leaves alone what none has touched."""
    with av.open(str(REFERENCE)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "38"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for k, frame in zip(range(frames), source.decode(video=0), strict=False):
            piece = np.ascontiguousarray(frame.to_ndarray(format="rgb24")[100 : 100 + size[1], 60 : 60 + size[0]])
            picture = av.VideoFrame.from_ndarray(piece, format="rgb24")
            picture.pts = k
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_restores_a_clip_by_its_own_weights(restore, tmp_path, plugin):
    source = spoilt(tmp_path / "in.mkv")
    done = restore("run", "--plugin", plugin, source, "-o", "out.mkv", "--set", 'run.output.codec="ffv1"')
    assert done.code == 0, done.err
    before, after = luma(source), luma(tmp_path / "out.mkv")
    frames, height, width = before.shape
    scale = after.shape[1] // height
    assert after.shape == (frames, scale * height, scale * width)
    same = after.reshape(frames, height, scale, width, scale).mean((2, 4))
    assert 0 < np.abs(same - before).mean() < 40  # another picture, of the same things
