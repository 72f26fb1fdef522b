"""The figures' numbers, and that they are drawn."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from restore import RequestError, weights
from restore.pruning import compact, metadata_of
from restore_ssl_prune.basicvsr import tiny
from restore_ssl_prune.plots import gamma_curves, main, mean_states

pytest.importorskip("matplotlib")


def line(iteration, **values):
    return json.dumps({"iteration": iteration, **values}) + "\n"


def test_gamma_of_a_run(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        line(1, loss=1.0)
        + line(5, **{"pruning/alpha": 0.1, "pruning/gamma_kept": 1.0, "pruning/gamma_pruned": 0.5})
        + line(5, psnr=30.0)
        + line(10, **{"pruning/alpha": 0.2, "pruning/gamma_kept": 0.9, "pruning/gamma_pruned": 0.1})
    )
    result = CliRunner().invoke(main, ["gamma", str(tmp_path), "-o", str(tmp_path / "gamma.png")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "gamma.json").read_text()) == {
        "iteration": [5, 10], "alpha": [0.1, 0.2], "gamma_kept": [1.0, 0.9], "gamma_pruned": [0.5, 0.1],
    }  # fmt: skip
    assert Image.open(tmp_path / "gamma.png").size[0] > 300
    with pytest.raises(RequestError, match="regularise"):
        gamma_curves([{"iteration": 1, "loss": 2.0}])


@torch.no_grad()
def test_states_and_drift_by_hand():
    torch.manual_seed(0)
    whole = tiny()
    other = copy.deepcopy(whole)
    other.forward_trunk[0].bias.add_(0.1)
    observed = torch.rand(1, 5, 3, 12, 12)
    found = mean_states({"unpruned": whole, "other": other}, observed)
    whole.hidden_states = True
    a, b = whole(observed).features["forward"][0], other(observed).features["forward"][0]
    for t in range(5):
        assert found["other"]["forward"][t] == pytest.approx(float(b[t].mean()), abs=1e-6)
        assert found["other"]["forward_drift"][t] == pytest.approx(float((a[t] - b[t]).abs().mean()), abs=1e-6)
    assert found["unpruned"]["forward_drift"] == [0] * 5 == found["other"]["backward_drift"]
    with pytest.raises(RequestError, match="of one"):
        mean_states({"unpruned": tiny(False), "other": other}, observed)


def test_drift_of_a_pruned_file_is_drawn(tmp_path):
    torch.manual_seed(0)
    model = tiny()
    small = compact(model, {"forward_trunk.2.0.conv1.out": (1, 4), "conv_hr.out": (0, 2, 3)})
    weights.save(tmp_path / "whole.safetensors", model.state_dict(), {})
    weights.save(tmp_path / "small.safetensors", small.state_dict(), metadata_of(small))
    draw = np.random.default_rng(0)
    Image.fromarray(draw.integers(0, 256, (120, 120, 3), np.uint8)).save(tmp_path / "still.png")
    arguments = ["--set", "model.use=ssl_prune:basicvsr-tiny", "--whole", str(tmp_path / "whole.safetensors"),
                 "--pruned", f"half={tmp_path / 'small.safetensors'}", "--stills", str(tmp_path),
                 "--frames", "6", "--size", "48", "-o", str(tmp_path / "out" / "drift.png")]  # fmt: skip
    result = CliRunner().invoke(main, ["drift", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    numbers = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert {len(v) for entry in numbers.values() for v in entry.values()} == {6}
    assert min(numbers["half"]["forward_drift"]) > 0
    assert (tmp_path / "out" / "drift.png").stat().st_size > 5000
    with pytest.raises(RequestError, match="one of them"):
        CliRunner().invoke(main, ["drift", *arguments, "--clip", str(tmp_path)], catch_exceptions=False)
