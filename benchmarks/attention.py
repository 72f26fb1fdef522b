"""Neighborhood attention: time and peak memory, forward and with backward, beside unfolding and natten's CPU backend.

    taskset -c 0,1 python benchmarks/attention.py

64 channels in 2 heads, windows of 7 x 7, pictures of 64 x 64 and 128 x 128, float32. The contenders take turns, and the
best of their rounds counts, so that what else the machine does falls on all alike; with ``--threads 1`` the thread's
own time is taken, for machines that are busy. Peak memory is what a process of its own needs above what it had before,
by the kernel's count, with threads as in the timing. "kept" is what lies in memory between forward and backward for the
latter's sake.

- ours: ``restore_crds.attention.neighborhood_attention``, with and without a relative position bias;
- unfold: ``torch.nn.functional.unfold`` of keys and values, a copy for each of the 49 offsets. Its windows are padded
  where ours are clamped, so that values are compared away from the borders;
- natten: its flex backend for the CPU, where natten is installed; it has no backward pass there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from typing import Callable, Iterator

import torch
import torch.nn.functional as F
from restore_crds.attention import neighborhood_attention
from restore_crds.attention.fused import available
from torch import Tensor

HEADS, DEPTH, WINDOW = 2, 32, 7
CONTENDERS = ("ours", "ours, bias", "unfold", "natten")
Action = Callable[[], "Tensor | tuple[Tensor, ...]"]


def unfolded(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Plain: copies of keys and values for every query."""
    count, height, width, heads, depth = q.shape

    def copies(t: Tensor) -> Tensor:
        planes = t.permute(0, 3, 4, 1, 2).reshape(count, heads * depth, height, width)
        return F.unfold(planes, window, padding=window // 2).view(count, heads, depth, window**2, height * width)

    queries = q.permute(0, 3, 4, 1, 2).reshape(count, heads, depth, 1, height * width)
    share = torch.softmax((queries * copies(k)).sum(2) / depth**0.5, dim=2)
    out = (share[:, :, None] * copies(v)).sum(3)
    return out.view(count, heads, depth, height, width).permute(0, 3, 4, 1, 2)


def inputs(size: int, gradients: bool) -> list[Tensor]:
    """Queries, keys, values, and a bias."""
    generator = torch.Generator().manual_seed(size)
    tensors = [torch.randn(1, size, size, HEADS, DEPTH, generator=generator) for _ in range(3)]
    tensors.append(torch.randn(HEADS, 2 * WINDOW - 1, 2 * WINDOW - 1, generator=generator))
    return [t.requires_grad_(gradients) for t in tensors]


def forward(name: str, tensors: list[Tensor]) -> Tensor:
    """The answer of one contender."""
    q, k, v, bias = tensors
    if name == "unfold":
        return unfolded(q, k, v, WINDOW)
    if name == "natten":
        return neighborhood_attention(q, k, v, WINDOW, backend="natten")[0]
    return neighborhood_attention(q, k, v, WINDOW, bias if name == "ours, bias" else None, backend="torch")[0]


def action(name: str, size: int, backward: bool) -> Action:
    """What is timed."""
    tensors = inputs(size, backward)
    wanted = tensors if name == "ours, bias" else tensors[:3]
    onward = torch.randn(1, size, size, HEADS, DEPTH, generator=torch.Generator().manual_seed(1))

    def both() -> tuple[Tensor, ...]:
        return torch.autograd.grad(forward(name, tensors), wanted, onward)

    def once() -> Tensor:
        with torch.no_grad():
            return forward(name, tensors)

    return both if backward else once


def contenders(backward: bool) -> Iterator[str]:
    """Who can do this here."""
    for name in CONTENDERS:
        if name != "natten" or (available() and not backward):
            yield name


def seconds(size: int, backward: bool, rounds: int) -> dict[str, float]:
    """The best time of each contender; they take turns."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    actions = {name: action(name, size, backward) for name in contenders(backward)}
    for act in actions.values():
        act()
    best = dict.fromkeys(actions, float("inf"))
    for turn in range(rounds):
        for name, act in actions.items():
            if name == "natten" and turn >= 3:
                continue
            start = clock()
            act()
            best[name] = min(best[name], clock() - start)
    return best


def high_water() -> int:
    """The most memory that this process had at a time, in bytes."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def measure_memory(name: str, size: int, backward: bool) -> dict[str, float]:
    """In a process of its own: what the action needs above what was there before."""
    act = action(name, size, backward)
    action(name, 16, backward)()  # code and workspaces
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark begins anew
    before = high_water()
    act()
    result = {"peak": float(high_water() - before)}
    if backward:
        kept: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t, lambda t: t
        ):
            out = forward(name, inputs(size, True))
        result["kept"] = float(sum(kept.values()))
        del out
    return result


def memory(name: str, size: int, backward: bool) -> dict[str, float]:
    """:func:`measure_memory` in a fresh process."""
    request = json.dumps([name, size, backward, torch.get_num_threads()])
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--memory-of", request], check=True, capture_output=True, text=True
    )
    return json.loads(answer.stdout)  # type: ignore[no-any-return]


def agree() -> float:
    """The largest difference between ours and unfolding away from the borders."""
    tensors = inputs(32, False)
    inner = (slice(None), slice(WINDOW, -WINDOW), slice(WINDOW, -WINDOW))
    return float((forward("ours", tensors)[inner] - forward("unfold", tensors)[inner]).abs().max())


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.memory_of:
        name, size, backward, threads = json.loads(options.memory_of)
        torch.set_num_threads(threads)
        print(json.dumps(measure_memory(name, size, backward)))
        return
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s); ours and unfold differ by {agree():.1e}\n")
    print("| | | ms | of unfold | peak MB | of unfold | kept MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in (64, 128):
        for backward in (False, True):
            best = seconds(size, backward, options.rounds)
            peaks = {name: memory(name, size, backward) for name in best}
            what = f"{size}x{size}, {'forward and backward' if backward else 'forward'}"
            for name, spent in best.items():
                peak, kept = peaks[name]["peak"], peaks[name].get("kept")
                faster, less = best["unfold"] / spent, peaks["unfold"]["peak"] / max(peak, 1)
                last = "-" if kept is None else f"{kept / 1e6:.1f}"
                cells = [
                    what,
                    name,
                    f"{1e3 * spent:.1f}",
                    f"1/{faster:.1f}",
                    f"{peak / 1e6:.1f}",
                    f"1/{less:.1f}",
                    last,
                ]
                print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
