"""What ships with the plugins is found and works: every file of weights, and `restore run --plugin` of every one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from restore import weights
from restore.plugins import registry
from restore.weights_store import named

ROOT = Path(__file__).resolve().parents[1]
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


# CRDS leaves alone what no codec has touched.
MORE = {"crds": ("--set", "model.strength=false")}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_restores_a_clip_by_its_own_weights(restore, clip, tmp_path, plugin):
    source = clip("in.mkv", frames=5, size=(48, 32))
    done = restore(
        "run", "--plugin", plugin, source, "-o", "out.mkv", "--set", 'run.output.codec="ffv1"', *MORE.get(plugin, ())
    )
    assert done.code == 0, done.err
    before, after = luma(source), luma(tmp_path / "out.mkv")
    scale = after.shape[1] // before.shape[1]
    assert after.shape == (len(before), *(scale * side for side in before.shape[1:]))
    same = after.reshape(len(before), 32, scale, 48, scale).mean((2, 4))
    assert 0 < np.abs(same - before).mean() < 40  # another picture, of the same things
