"""Iterations per second of `restore train` beside a bare PyTorch loop of the same model, in the same run.

    python benchmarks/training.py srsenet:small --set training.batch=4
    python benchmarks/training.py RECIPE --data DIR --iterations 20 --rounds 5 --json

Both cut the same patches from the same images, degrade them, and take the same optimizer steps; the bare loop knows no
recipes, schedules, checks, logs or checkpoints. They take turns, round by round, so that whatever else the machine does
meets both; the ratio is that of the medians over all iterations.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from restore.catalogue import recipe_document
from restore.contracts import Prediction, Step
from restore.functional.seeding import seeded
from restore.modelling import builder
from restore.plugins import registry
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.optimizers import trainable
from restore.training.trainer import Trainer, build_parts, to_channels


def now() -> tuple[float, float]:
    """Seconds by the clock, and seconds of processors that this process used."""
    return time.perf_counter(), time.process_time()


def _differences(times: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(times)]


def bare(parts: Any, iterations: int) -> list[tuple[float, float]]:
    """Seconds of each iteration of a hand-written loop."""
    phase = parts.phases[0]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = parts.model.to(device).train()
    optimizer = phase.optimizer.make(trainable(model))
    for group in optimizer.param_groups:
        group["lr"] = 1e-4
    loader = torch.utils.data.DataLoader(
        Patches(parts.train), batch_size=phase.plan.batch, num_workers=parts.settings.workers
    )
    loss_of, degrade = phase.losses[0].loss, phase.degradation
    times: list[tuple[float, float]] = []
    clips = iter(loader)
    for number in range(iterations + 1):
        if device == "cuda" and number in (0, iterations):
            torch.cuda.synchronize()
        times.append(now())
        if number == iterations:
            break
        step = Step(number, iterations, None)
        pair = degrade(to_channels(next(clips).to(device), parts.traits), step)
        answer = model(pair.observed)
        loss = loss_of(answer if isinstance(answer, Prediction) else Prediction(answer), pair, step)
        optimizer.zero_grad()
        loss.backward()
        if phase.plan.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), phase.plan.clip_norm)
        optimizer.step()
    return _differences(times)


class Patches(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Random patches without end."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Any:
        generator = seeded(0)
        while True:
            index = int(torch.randint(len(self.dataset), (), generator=generator))
            yield self.dataset.sample(index, generator)


def ours(parts: Any, document: Any, folder: Path, iterations: int) -> list[tuple[float, float]]:
    """Seconds of each iteration of the trainer, with logs and all that lies between iterations."""
    directory = RunDirectory(folder)
    directory.create(document, registry())
    trainer = Trainer(parts, document, directory)
    times: list[tuple[float, float]] = []
    inner = trainer._iterate

    def timed(batch: Any) -> Any:
        times.append(now())
        return inner(batch)

    trainer._iterate = timed  # type: ignore[method-assign]
    trainer.fit()
    # The last iteration is followed by the end of the run, not by another one.
    return _differences(times)


def made_up(folder: Path) -> None:
    """A few images, where no data was named."""
    numbers = np.random.default_rng(0)
    for index in range(8):
        Image.fromarray(numbers.integers(0, 256, (320, 480, 3), dtype=np.uint8)).save(folder / f"{index}.png")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--data", type=Path, help="clean images; left out, made-up ones")
    parser.add_argument("--iterations", type=int, default=12, help="of each loop in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.data is None:
            made_up(folder)
        root = given.data or folder
        fixed = (f"data.train={{ use = 'core:images', root = '{root.as_posix()}', patch = 96 }}",) if not any(
            o.startswith("data.train") for o in given.overrides) else ()  # fmt: skip
        sets = (*fixed, *given.overrides, f"training.iterations={given.iterations + 1}")
        document = recipe_document(registry(), recipe=given.recipe, overrides=sets)
        document.data["data"].pop("validation", None)
        parts = build_parts(check(document), document, builder(registry()))
        bare(parts, 2)
        times: dict[str, list[tuple[float, float]]] = {"restore train": [], "bare loop": []}
        for number in range(given.rounds):
            times["restore train"] += ours(parts, document, folder / f"run{number}", given.iterations)
            times["bare loop"] += bare(parts, given.iterations)
    rates = {k: 1 / statistics.median(t[0] for t in v) for k, v in times.items()}
    work = {k: statistics.median(t[1] for t in v) for k, v in times.items()}
    ratio, ratio_cpu = rates["restore train"] / rates["bare loop"], work["bare loop"] / work["restore train"]
    if given.json:
        result = {"iterations_per_second": rates, "cpu_seconds": work, "ratio": ratio, "ratio_cpu": ratio_cpu}
        print(json.dumps(result, indent=2))
        return
    batch = parts.phases[0].plan.batch
    print(f"{parts.component}, batch {batch}, {torch.get_num_threads()} thread(s), median of {given.rounds} rounds")
    for key, rate in rates.items():
        print(f"{key:14} {rate:8.3f} iterations/s, {work[key]:.4f} s of processors an iteration")
    print(f"{'ratio':14} {ratio:8.3f} by the clock, {ratio_cpu:.3f} by processor time, for busy machines")


if __name__ == "__main__":
    main()
