r"""SSL's table at a small size, at equal budgets: the dense network, a narrower one, and four ways to prune by half.

    python plugins/ssl_prune/experiments/table.py --stills STILLS --clips CLIPS --test TEST -o runs/ssl-table

STILLS holds photographs and CLIPS videos to train on, as the recipe ``ssl_prune:basicvsr-small`` has them; TEST holds
folders of frames and videos that nothing is trained on, whole clips are measured on luma. The dense network is trained
first (or given by ``--dense``); each pruned one begins with it and is trained for ``--iterations`` more, whatever it
does in them; the narrow one ("lite") is trained for all of them together. Seed and data are the same everywhere.

Calling it again goes on where it stopped: finished runs are left alone, interrupted ones resumed. Beside the runs lie
``results.jsonl``, ``table.md``, ``drift.png`` (hidden states over 100 frames: just cut, finetuned with and without the
temporal loss) and ``gamma.png`` (factors against the penalty's strength), each picture with its numbers as ``.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

from restore import RequestError, RestoreError, weights
from restore.builtin.datasets.frames import Frames
from restore.builtin.datasets.videos import Videos
from restore.builtin.degradations.bicubic import Bicubic
from restore.catalogue import recipe_document
from restore.document import dumps, toml
from restore.evaluation.clip_protocols import ClipProtocol
from restore.evaluation.clips import FirstFrames, evaluate_clips
from restore.modelling import build_model, builder, pick_device
from restore.plugins import registry
from restore.progress import say
from restore.pruning import macs, metadata_of
from restore.pruning.cost import seconds
from restore.recipe import check
from restore.training.directory import RunDirectory
from restore.training.trainer import Trainer, build_parts
from restore_ssl_prune.plots import main as plots

PROTOCOL = ClipProtocol("luma", "whole clips on luma, border 0", "y")
# As wide as the pruned ones: half the channels; the tail keeps its width, as SSL's "lite" does.
_LITE = {
    "use": "ssl_prune:basicvsr", "features": 16, "blocks": 5, "tail_features": 32, "flow_levels": 4,
    "flow_widths": [16, 32, 16, 8],
}  # fmt: skip
_FINETUNING = {
    "use": "adam", "betas": [0.9, 0.99],
    "lr": {"use": "core:cosine", "start": 5e-4, "end": 1e-6, "warmup": 100},
}  # fmt: skip
_PLAIN = [{"use": "core:charbonnier", "eps": 1e-3}]
_EVERY = 2  # iterations between two increments of the penalty's strength
ROWS = ("dense", "lite", "L1-norm", "ASSL", "SSL without temporal finetuning", "SSL")


def lengths(iterations: int) -> tuple[int, int, int]:
    """Ramp, hold and finetuning, in the proportions of basicvsr-small-ssl: 2, 1 and 10 of 13."""
    ramp = max(1, iterations * 2 // (13 * _EVERY)) * _EVERY
    hold = max(1, ramp // 2)
    return ramp, hold, iterations - ramp - hold


def settings(row: str, options: argparse.Namespace) -> tuple[str, tuple[str, ...]]:
    """The recipe of a row, and its overrides: what the row is, and what all share."""
    ramp, hold, finetuning = lengths(options.iterations)
    shared: dict[str, Any] = {
        "data.train.datasets.0.root": str(options.stills), "data.train.datasets.1.root": str(options.clips),
        "training.seed": options.seed, "training.validate_every": 10 * (options.dense_iterations + options.iterations),
        "training.log_every": 5,
    }  # fmt: skip
    if options.leave_out:
        shared["data.train.datasets.1.exclude"] = options.leave_out
    if row == "dense":
        own: dict[str, Any] = {"training.iterations": options.dense_iterations}
    elif row == "lite":
        own = {"model": _LITE, "training.iterations": options.dense_iterations + options.iterations}
    else:
        phases = (ramp, hold, finetuning)
        own = {"model.weights": str(dense_weights(options)), "pruner.ratio": options.ratio, "pruner.every": _EVERY}
        own |= {"pruner.increment": 0.1 * _EVERY / ramp}
        own |= {f"phases.{i}.iterations": length for i, length in enumerate(phases)}
        if row == "ASSL":
            own = {k: v for k, v in own.items() if not k.startswith("pruner.")}
            own["pruner"] = {
                "use": "ssl_prune:assl", "ratio": options.ratio, "increment": 0.5 * _EVERY / ramp, "every": _EVERY,
            }  # fmt: skip
        elif row == "L1-norm":
            own = {k: v for k, v in own.items() if not k.startswith(("pruner.", "phases."))}
            own["pruner"] = {"use": "ssl_prune:l1-norm", "ratio": options.ratio}
            own["phases"] = [{"iterations": options.iterations, "pruning": "compact", "optimizer": _FINETUNING}]
        if row in ("ASSL", "SSL without temporal finetuning"):
            own["phases.2.losses"] = _PLAIN
    recipe = "basicvsr-small" if row in ("dense", "lite") else "basicvsr-small-ssl"
    values = (f"{key}={toml(value)}" for key, value in (own | shared).items())
    return f"ssl_prune:{recipe}", (*values, *options.overrides)


def folder_of(row: str, options: argparse.Namespace) -> Path:
    """The run directory of a row."""
    parent: Path = options.output
    return parent / row.lower().replace(" ", "-")


def dense_weights(options: argparse.Namespace) -> Path:
    """Of the network that all are pruned from."""
    given: Path | None = options.dense
    return RunDirectory(folder_of("dense", options)).weights("final") if given is None else given


def train(row: str, options: argparse.Namespace) -> Path:
    """Trains a row, goes on with it, or leaves it alone where it is done.

    Returns:
        its weights.

    Raises:
        RequestError: a recipe is wrong, or the folder holds a finished run of other settings.
    """
    if row == "dense" and options.dense is not None:
        return dense_weights(options)
    recipe, overrides = settings(row, options)
    directory = RunDirectory(folder_of(row, options))
    document = recipe_document(registry(), recipe=recipe, overrides=overrides)
    final = directory.weights("final")
    if final.exists():
        if directory.recipe.read_text(encoding="utf-8") != dumps(document.data):
            raise RequestError(f"{directory.path} holds a finished run of other settings; name another -o")
        return final
    parts = build_parts(check(document), document, builder(registry()))
    resumed = directory.checkpoint.exists()
    if not resumed:
        directory.metrics.unlink(missing_ok=True)  # of an attempt that ended before its first checkpoint
        directory.create(document, registry())
    trainer = Trainer(parts, document, directory, callbacks=(_keep_the_cut(options),))
    if resumed:
        trainer.resume()
    say(f"{row}: {parts.iterations} iterations")
    trainer.fit()
    return final


def _keep_the_cut(options: argparse.Namespace) -> Callable[[Trainer], None]:
    """Keeps the network as it is after the first step of finetuning, whose learning rate is still next to nothing."""
    ramp, hold, _ = lengths(options.iterations)

    def keep(trainer: Trainer) -> None:
        model = trainer.parts.model
        metadata = metadata_of(model)
        if trainer.iteration == ramp + hold + 1 and "kept" in metadata.get("pruning", {}):
            weights.save(trainer.directory.path / "cut.safetensors", model.state_dict(), metadata)

    return keep


def network(row: str, path: Path, options: argparse.Namespace) -> Any:
    """The row's network with its weights, ready to measure."""
    recipe, overrides = settings(row, options)
    document = recipe_document(registry(), recipe=recipe, overrides=(*overrides, f"model.weights={toml(str(path))}"))
    use = check(document).model
    assert use is not None
    return build_model(use, builder(registry()))[0].eval().to(pick_device(options.device))


def test_clips(options: argparse.Namespace) -> list[Any]:
    """Folders of frames and videos below each TEST folder."""
    found: list[Any] = []
    for folder in options.test:
        for kind in (Frames, Videos):
            try:
                found.append(kind(folder))
            except RequestError:
                continue  # nothing of this kind there
    if not found:
        raise RequestError(f"no clips in {', '.join(map(str, options.test))}")
    return found if options.frames is None else [FirstFrames(one, options.frames) for one in found]


def measure(row: str, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """PSNR and SSIM of every test clip, and their means."""
    model, device = network(row, path, options), pick_device(options.device)
    degradation: Any = Bicubic(scale=4)
    results = [
        {key: result[key] for key in ("name", "psnr", "ssim")}
        for data in test_clips(options)
        for result in evaluate_clips(model, data, degradation, PROTOCOL, device=device).results
    ]
    means = {key: sum(result[key] for result in results) / len(results) for key in ("psnr", "ssim")}
    return {"row": row, **means, "clips": results}


def costs(paths: dict[str, Path], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Parameters with the flow network and without, MACs and seconds a frame of every network, timed in turn."""
    models = {row: network(row, path, options) for row, path in paths.items()}
    shape = (1, 3, 3, *options.size)
    times = seconds(list(models.values()), shape, options.rounds)
    found = {}
    for (row, model), taken in zip(models.items(), times, strict=True):
        count = {name: sum(p.numel() for p in part.parameters()) for name, part in (("", model), ("f", model.spynet))}
        found[row] = {
            "parameters": count[""], "without_flow": count[""] - count["f"], "macs": macs(model, shape) / 3,
            "seconds": taken / 3,
        }  # fmt: skip
    return found


def markdown(lines: Sequence[dict[str, Any]], cost: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """The table."""
    height, width = options.size
    many = len(lines[0]["clips"]) if lines else 0
    said = [
        f"Luma, mean over {many} clips that none was trained on; the dense network was trained for "
        f"{options.dense_iterations} iterations, pruned ones for {options.iterations} more, lite for all of them; "
        f"ratio {options.ratio}. MACs and time of one frame of {width}x{height}, flow network and all.\n",
        "| network | PSNR, dB | SSIM | parameters | without flow | MACs, G | time, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in lines:
        c = cost[line["row"]]
        said.append(
            f"| {line['row']} | {line['psnr']:.3f} | {line['ssim']:.4f} | {c['parameters']:,} | {c['without_flow']:,} "
            f"| {c['macs'] / 1e9:.2f} | {c['seconds']:.3f} |"
        )
    return "\n".join(said) + "\n"


def draw(options: argparse.Namespace) -> None:
    """Both pictures, once the runs that they need are there."""
    plain, full = (folder_of(row, options) for row in ROWS[-2:])
    final = [RunDirectory(folder).weights("final") for folder in (plain, full)]
    if not all(path.exists() for path in final):
        return
    plots(["gamma", str(full), "-o", str(options.output / "gamma.png")], standalone_mode=False)
    labels = {"just cut": full / "cut.safetensors", "finetuned": final[0], "temporal finetuning": final[1]}
    named = [part for label, path in labels.items() if path.exists() for part in ("--pruned", f"{label}={path}")]
    model = [part for override in options.overrides if override.startswith("model.") for part in ("--set", override)]
    still = ["--stills", str(options.stills), "--frames", str(options.drift_frames), "--size", str(options.drift_size)]
    output = ["-o", str(options.output / "drift.png")]
    plots(["drift", *model, "--whole", str(dense_weights(options)), *named, *still, *output], standalone_mode=False)


def run(options: argparse.Namespace) -> str:
    """All runs that are missing, the table and the pictures."""
    options.output.mkdir(parents=True, exist_ok=True)
    test_clips(options)  # found missing before anything is trained
    results = options.output / "results.jsonl"
    kept = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    measured = {line["row"]: line for line in map(json.loads, kept)}
    paths = {}
    for row in ROWS:
        if row in options.rows or row == "dense":
            paths[row] = train(row, options)
            if row not in measured:
                measured[row] = measure(row, paths[row], options)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(measured[row]) + "\n")
    cost = costs(paths, options)
    (options.output / "costs.json").write_text(json.dumps(cost, indent=1) + "\n", encoding="utf-8")
    table = markdown([measured[row] for row in paths], cost, options)
    (options.output / "table.md").write_text(table, encoding="utf-8")
    draw(options)
    return table


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in (("--stills", "photographs to train on"), ("--clips", "videos to train on")):
        parser.add_argument(name, type=Path, required=True, help=text)
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="PATTERN", help="of --clips, not trained on")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="clips to measure on")
    parser.add_argument("--frames", type=int, help="only the first N frames of every test clip")
    parser.add_argument("--dense", type=Path, help="weights of basicvsr-small, instead of training it")
    parser.add_argument("--dense-iterations", type=int, default=2200)
    parser.add_argument("--iterations", type=int, default=1300, help="of every pruned network beyond the dense one's")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--size", type=int, nargs=2, default=(180, 320), help="height and width that is timed")
    parser.add_argument("--rounds", type=int, default=3, help="of timing; the fastest counts")
    parser.add_argument("--drift-frames", type=int, default=100)
    parser.add_argument("--drift-size", type=int, default=256)
    parser.add_argument("--device", default="auto", help="for measuring; training takes training.accelerator")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of all rows")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(given)
    if options.iterations < 8:
        parser.error(f"--iterations must be at least 8, got {options.iterations}")
    return options


def main() -> int:
    """The command line."""
    options = arguments()
    try:
        print(run(options))
    except RestoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
