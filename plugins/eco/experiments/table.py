"""The table of this package's README: vanilla training, distillation, the noise-free objective and ECO, with equal
budgets and several seeds, PSNR at 10, 25, 50 and 100 % of training.

    python plugins/eco/experiments/table.py --data TRAIN --sets Set5=DIR Set14=DIR -o runs/eco-table

TRAIN holds T91 and BSD200. Calling it again goes on where it stopped: finished runs are left alone, interrupted ones
are resumed. ``results.jsonl`` has a line for every run, test set and share of training; ``table.md`` is written anew
after every run, with mean and spread (the sample standard deviation) over the seeds that are there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import attrs
from restore.builtin.datasets.images import Images
from restore.builtin.degradations.bicubic import Bicubic
from restore.document import load, toml
from restore.evaluation.evaluate import evaluate
from restore.evaluation.protocols import protocol
from restore.modelling import build_model, builder, pick_device
from restore.plugins import registry
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore_eco.analyses.runs import METHODS, train

SHARES = (10, 25, 50, 100)
_TEACHER_SEED = 1000  # no student has it


@attrs.frozen
class Setup:
    """A row group of the table.

    Attributes:
        recipe: of ECO.
        overrides: of it.
        teacher: name of the weights that come with a plugin; None: a vanilla run of the same length and another seed.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    teacher: str | None = None


SETUPS = {
    "EDSR-baseline-small x2": Setup("eco:edsr-baseline-x2-small"),
    "SrSENet x2": Setup("eco:srsenet-x2-small", teacher="srsenet:srsenet-x2"),
    "SrSENet x4": Setup("eco:srsenet-x2-small", ("model.scale=4", "data.train.patch=96"), teacher="srsenet:srsenet-x4"),
}


def folder_of(name: str) -> str:
    """A folder for a setup's or a method's name."""
    return name.lower().replace(" ", "-")


class Table:
    """Everything that was asked for, and where it goes.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.output
        self.out.mkdir(parents=True, exist_ok=True)
        self.results = self.out / "results.jsonl"
        self.sets = {
            name: Images(Path(root), channels="native") for name, _, root in (s.partition("=") for s in options.sets)
        }
        self.device = pick_device(options.device)
        lines = self.results.read_text(encoding="utf-8").splitlines() if self.results.exists() else []
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def run(self) -> None:
        """All runs that are missing."""
        for name in self.options.setups:
            teacher = SETUPS[name].teacher or self._teacher(name)
            for seed in self.options.seeds:
                for method in self.options.methods:
                    self._one(name, method, seed, teacher)

    def _settings(self, name: str, seed: int, *more: str) -> tuple[str, ...]:
        iterations = self.options.iterations
        own = [
            f"data.train.root={toml(self.options.data)}",
            f"training.seed={seed}",
            f"training.keep_every={iterations // 20}",
        ]
        own += [f"training.iterations={iterations}", f"training.validate_every={iterations}"]
        return (*SETUPS[name].overrides, *own, *more, *self.options.overrides)

    def _teacher(self, name: str) -> str:
        """A vanilla run of the same length, of a seed that no student has."""
        twin = SETUPS[name].recipe + "-vanilla"
        run = train(twin, self._settings(name, _TEACHER_SEED), self._folder(name, "teacher"))
        return str(run.weights("final"))

    def _folder(self, name: str, run: str) -> Path:
        return Path(self.out, folder_of(name), f"{folder_of(run)}-of-{self.options.iterations}")

    def _one(self, name: str, method: str, seed: int, teacher: str) -> None:
        key = {"setup": name, "method": method, "seed": seed, "iterations": self.options.iterations}
        wanted = [(share, test) for share in SHARES for test in self.sets]
        there = [(line["share"], line["set"]) for line in self.lines if key.items() <= line.items()]
        missing = [cell for cell in wanted if cell not in there]
        if not missing:
            return
        settings = self._settings(name, seed, f"degradation.teacher.weights={toml(teacher)}", *METHODS[method])
        run = train(SETUPS[name].recipe, settings, self._folder(name, f"{method}-{seed}"))
        for share, test in missing:
            score = self._score(run, self.options.iterations * share // 100, self.sets[test])
            self.lines.append({**key, "share": share, "set": test, **score})
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.lines[-1]) + "\n")
        kept = [run.weights(self.options.iterations * share // 100) for share in SHARES]
        for path in (run.path / "weights").glob("iteration-*.safetensors"):
            if path not in kept:
                path.unlink()
        (self.out / "table.md").write_text(self.markdown(), encoding="utf-8")

    def _score(self, run: RunDirectory, iteration: int, images: Images) -> dict[str, float]:
        weights = f"model.weights={toml(str(run.weights(iteration)))}"
        use = check(load(run.recipe, (weights,))).model
        assert use is not None
        model, _ = build_model(use, builder(registry()))
        degradation: Any = Bicubic(model.traits.scale)
        report = evaluate(model.eval().to(self.device), images, degradation, protocol("sr-y"), device=self.device)
        return {key: round(report.mean[key], 4) for key in ("psnr", "ssim")}

    def markdown(self) -> str:
        """PSNR in dB, mean and spread over seeds."""
        rows = [f"PSNR in dB, mean ± standard deviation over seeds, {self.options.iterations} iterations\n"]
        for name in dict.fromkeys(line["setup"] for line in self.lines):
            for test in dict.fromkeys(line["set"] for line in self.lines):
                rows += [f"\n| {name}, {test} | " + " | ".join(f"{s} %" for s in SHARES) + " | seeds |"]
                rows += ["| --- |" + " --- |" * (len(SHARES) + 1)]
                rows += [self._row(name, test, method) for method in METHODS if self._found(name, test, method, 100)]
        return "\n".join(rows) + "\n"

    def _found(self, name: str, test: str, method: str, share: int) -> list[float]:
        wanted = {"setup": name, "set": test, "method": method, "share": share, "iterations": self.options.iterations}
        return [line["psnr"] for line in self.lines if wanted.items() <= line.items()]

    def _row(self, name: str, test: str, method: str) -> str:
        cells = []
        for share in SHARES:
            found = self._found(name, test, method, share)
            spread = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.3f}{spread}")
        return f"| {method} | " + " | ".join(cells) + f" | {len(found)} |"


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="clean images to train on, T91 and BSD200")
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=DIR", help="test sets")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=6000, help="of every run, a multiple of 20")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--setups", nargs="+", choices=list(SETUPS), default=list(SETUPS))
    parser.add_argument("--device", default="auto", help="for scoring; training takes training.accelerator")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of all recipes"
    )
    chosen = parser.parse_args()
    if chosen.iterations < 20 or chosen.iterations % 20:
        parser.error(f"--iterations must be a multiple of 20, got {chosen.iterations}")
    return chosen


if __name__ == "__main__":
    table = Table(options())
    table.run()
    print(table.markdown())
