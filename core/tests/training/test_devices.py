"""Processes of their own: two devices, torchrun, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from restore.document import load
from restore.errors import RequestError
from restore.recipe import check
from restore.training.devices import make_fabric
from restore.weights import read


@pytest.fixture
def run(tmp_path, recipe):
    """Starts a real command in a process of its own, with the toys as a plugin that it can import."""
    plugin = tmp_path / "toy_phase_plugin.py"
    plugin.write_text(
        "from restore import Component, hookimpl\n"
        "@hookimpl\ndef restore_models():\n    return [Component('toy', 'toy_phase_parts:Toy')]\n"
        "@hookimpl\ndef restore_degradations():\n    return [Component('noisy', 'toy_phase_parts:Noisy')]\n"
    )
    information = tmp_path / "toy_phase-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-phase\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[restore.v1]\ntoy = toy_phase_plugin\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "RESTORE_PLUGINS": "core,toy"}
    environment = {k: v for k, v in environment.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}

    def start(*arguments, launcher=("-m", "restore")):
        command = [sys.executable, *launcher, *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)

    return start


def finished(process):
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out, err


QUIET = ("--set", "degradation.sigma=0.0")


def test_two_processes_get_what_one_does(run, recipe, tmp_path, train, weights):
    path = recipe("iterations = 4\nclip_norm = 0.01\nskip_above = 50.0\nema = 0.5\n")
    one = train(path, "one", "degradation.sigma=0.0")
    two = run("train", path, "-o", tmp_path / "two", "--devices", "2", *QUIET)
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "restore")
    more = ("--set", "training.accumulate=2")
    three = run("train", path, "-o", tmp_path / "three", *QUIET, *more, "--json", launcher=torchrun)
    spread = ("--set", "training.strategy=fsdp", "--set", "training.ema=0")
    four = run("train", path, "-o", tmp_path / "four", "--devices", "2", *QUIET, *spread)
    finished(two)
    finished(four)
    out, _ = finished(three)
    assert json.loads(out)["iterations"] == 4
    reference = read(one.directory.weights("final")).tensors
    for folder in ("two", "three"):
        made = read(tmp_path / folder / "final.safetensors").tensors
        assert all(torch.allclose(made[k], reference[k], atol=1e-6) for k in reference), folder
        lines = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        losses = [h["loss"] for h in lines if "loss" in h]
        assert losses == pytest.approx([h["loss"] for h in one.directory.history() if "loss" in h], rel=1e-4)
    plain, made = weights(one), read(tmp_path / "four" / "final.safetensors").tensors
    assert all(torch.allclose(made[k], plain[k], atol=1e-6) for k in plain)


def test_a_killed_run_goes_on_to_the_same_weights(run, recipe, tmp_path, train, same):
    more = """
[[phases]]
iterations = 30
ema = 0.9
accumulate = 2
[[phases]]
iterations = 10
ema = 0.9
freeze = ["head"]
reset_optimizer = true
"""
    path = recipe(more)
    whole = train(path, "whole", "model.dropout=0.2", "training.checkpoint_every=1")
    arguments = ("train", path, "-o", tmp_path / "killed", "--set", "model.dropout=0.2")
    arguments += ("--set", "training.checkpoint_every=1")
    process = run(*arguments)
    checkpoint = tmp_path / "killed" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "final.safetensors").exists()
    finished(run(*arguments, "--resume"))
    a, b = (dict(read(f / "final.safetensors").tensors) for f in (whole.directory.path, tmp_path / "killed"))
    assert same(a, b)


def test_a_batch_must_be_shared_evenly(recipe, cli, tmp_path):
    answer = cli("train", recipe("iterations = 2\n"), "-o", tmp_path / "run", "--devices", "3")
    assert answer.code == 2
    assert "a batch of 4 clips cannot be shared evenly by 3 device(s)" in answer.err


def test_devices_that_are_not_there_are_an_error_of_one_line(recipe):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    settings = check(load(recipe("iterations = 2\n"), ("training.accelerator=cuda",))).training
    with pytest.raises(RequestError, match="training on 1 device") as error:
        make_fabric(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("phases.1.ema=0.9", "ema cannot be had"),
        ("phases.1.freeze=['head']", "all phases must freeze the same"),
    ],
)
def test_what_weights_on_several_devices_cannot_do(recipe, cli, tmp_path, override, said):
    path = recipe("strategy = 'fsdp'\n[[phases]]\niterations = 1\n[[phases]]\niterations = 1\n")
    answer = cli("train", path, "-o", tmp_path / "run", "--set", override)
    assert answer.code == 2
    assert said in answer.err
