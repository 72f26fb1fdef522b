"""BasicVSR beside its SSL-pruned half: multiplications, and time by the clock and of the processors, in one run.

    python benchmarks/pruning.py                          # 2 frames of 180x320, 30 blocks of 64 channels a branch
    python benchmarks/pruning.py --layouts                # one block, and ways to lay out its index sets
    python benchmarks/pruning.py --weights FILE           # the index sets of a network that was pruned in earnest
    python benchmarks/pruning.py --small --weights FILE   # those of a basicvsr-small

Without weights, every channel gets a random score and all are compared (SSL's global choice), so that index sets are
scattered and of unlike sizes, as real ones are. Networks take turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from restore.networks.skip import add_channels, gather_channels
from restore.pruning import compact, macs, prune_graph_of, select
from restore.weights import read
from restore_ssl_prune.basicvsr import BasicVSR, small
from torch import Tensor, nn


def now() -> tuple[float, float]:
    """Seconds by the clock, and seconds of processors that this process used."""
    return time.perf_counter(), time.process_time()


@torch.inference_mode()
def fastest(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """The fastest of ``rounds`` calls of each, in turn, after one that does not count."""
    best = {name: {"wall": float("inf"), "cpu": float("inf")} for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            begin = now()
            call()
            taken = dict(zip(("wall", "cpu"), (b - a for a, b in zip(begin, now(), strict=True)), strict=True))
            if number:
                best[name] = {k: min(v, taken[k]) for k, v in best[name].items()}
    return best


def kept_sets(model: nn.Module, ratio: float, multiple: int, weights: Path | None) -> dict[str, tuple[int, ...]]:
    """Index sets: of a file, or by random scores."""
    if weights is not None:
        return {k: tuple(v) for k, v in json.loads(read(weights).metadata["pruning"])["kept"].items()}
    generator = torch.Generator().manual_seed(0)
    scores = {c.name: torch.rand(c.size(model), generator=generator) for c in prune_graph_of(model).cuts()}
    return select(scores, ratio, multiple=multiple)


def channels_last(model: nn.Module) -> nn.Module:
    """A copy with its weights, and so its activations, in that layout."""
    return copy.deepcopy(model).to(memory_format=torch.channels_last)


def networks(options: argparse.Namespace) -> dict[str, Any]:
    """Dense and pruned, in both layouts."""
    torch.manual_seed(0)
    dense = (small() if options.small else BasicVSR(options.features, options.blocks)).eval()
    shape = (1, options.frames, 3, options.height, options.width)
    kept = kept_sets(dense, options.ratio, 1, options.weights)
    models = {"dense": dense, "pruned": compact(dense, kept)}
    if options.weights is None:
        models["pruned, sets in eights"] = compact(dense, kept_sets(dense, options.ratio, 8, None))
    clip = torch.rand(shape)
    calls = {}
    for name, model in models.items():
        calls[name] = lambda m=model: m(clip)
        other = channels_last(model)
        calls[f"{name}, channels last"] = lambda m=other: m(clip)
    times = fastest(calls, options.rounds)
    return {
        "shape": shape,
        "macs": {name: macs(model, shape) for name, model in models.items()},
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
        "seconds": times,
    }


def layouts(options: argparse.Namespace) -> dict[str, Any]:
    """One residual block of 64 channels with a part of every set, scattered, and ways to compute it."""
    torch.manual_seed(0)
    width, half = options.features, options.kept or options.features // 2
    inside, outside = (torch.randperm(width)[:half].sort().values for _ in range(2))
    calls: dict[str, Callable[[], Any]] = {}
    for name, layout in (("planes", torch.contiguous_format), ("channels last", torch.channels_last)):
        x = torch.randn(1, width, options.height, options.width).contiguous(memory_format=layout)
        part = x[:, :half].clone(memory_format=layout)
        calls |= {f"{name}: {k}": v for k, v in _block_forms(x, part, inside, outside, layout).items()}
    return fastest(calls, 2 * options.rounds)


def _block_forms(
    x: Tensor, part: Tensor, inside: Tensor, outside: Tensor, layout: torch.memory_format
) -> dict[str, Callable[[], Any]]:
    width, half = x.shape[1], part.shape[1]

    def weight(out: int, read_: int) -> Tensor:
        return (torch.randn(out, read_, 3, 3) * 0.05).contiguous(memory_format=layout)

    def conv(y: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(y, w, padding=1)

    w1, w2 = weight(width, width), weight(width, width)
    s1, s2, wide1, wide2 = weight(half, half), weight(half, half), weight(half, width), weight(width, half)
    return {
        "dense": lambda: x + conv(F.relu(conv(x, w1)), w2),
        "pruned, as built": lambda: add_channels(x, outside, conv(F.relu(conv(gather_channels(x, inside), s1)), s2)),
        "index_select, index_add": lambda: x.index_add(
            1, outside, conv(F.relu(conv(x.index_select(1, inside), s1)), s2)
        ),
        "second convolution full-width with rows of zeros": lambda: (
            x + conv(F.relu(conv(gather_channels(x, inside), s1)), wide2)
        ),
        "first convolution full-width with columns of zeros": lambda: add_channels(
            x, outside, conv(F.relu(conv(x, wide1)), s2)
        ),
        "slices, if sets were contiguous": lambda: torch.cat(
            [x[:, :half] + conv(F.relu(conv(x[:, :half], s1)), s2), x[:, half:]], 1
        ),
        "the two convolutions alone": lambda: conv(F.relu(conv(part, s1)), s2),
        "gather alone": lambda: gather_channels(x, inside),
        "scatter alone": lambda: add_channels(x, outside, part),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("height", 180), ("width", 320), ("frames", 2), ("features", 64), ("blocks", 30)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--small", action="store_true", help="basicvsr-small instead")
    parser.add_argument("--layouts", action="store_true")
    parser.add_argument("--kept", type=int, help="channels in each set of --layouts [default: half]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = layouts(options) if options.layouts else networks(options)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    if not options.layouts:
        for key in ("macs", "parameters"):
            dense = found[key]["dense"]
            print(key, {n: f"{v:,} ({v / dense:.3f})" for n, v in found[key].items()})
        found = found["seconds"]
    for kind in ("wall", "cpu"):
        dense = min(v[kind] for n, v in found.items() if "dense" in n)
        print(f"\n{kind}, seconds; of the faster dense one")
        for name, taken in found.items():
            print(f"  {name:62s}{taken[kind]:10.4f}{taken[kind] / dense:8.3f}")


if __name__ == "__main__":
    main()
