"""The linear operators beside DeepInverse 0.5 and beside a minimal hand-written solve: time, error, kept memory.

    python benchmarks/operators.py [--peers FOLDER] [--threads 1 2] [--size small large] [--only NAME] [--json]

Ours, the minimal solve and DeepInverse take turns within a round, so that a busy machine hurts all alike; a figure is
the fastest of all rounds, in processor time where there is one thread. Errors are relative to our solve in float64,
whose own optimality is checked first. Kept memory is what autograd holds for the backward of one data step.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable

import minimal
import peer
import torch
from mixed import measure_mixed
from problems import Sizes, problems
from restore.operators import Operator
from torch import Tensor

SIZES: dict[str, Sizes] = {"small": (4, 3, 32, 32), "large": (8, 3, 256, 256)}
ACTIONS = ("forward", "adjoint", "pinv", "prox")
RHO = 0.3
Calls = dict[str, Callable[[], Tensor]]


def steady_memory() -> None:
    """Keeps glibc from handing every large tensor back to the system, which costs more than many of these operators.

    Which ones it hands back depends on what was freed before: the same code would be timed twice differently.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its largest
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def interleaved(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Fastest milliseconds per call of each, in turns for about ``seconds``, three turns at least.

    With one thread this is the thread's own time on the processor, which others' work does not lengthen.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    repeats = {}
    for name, call in calls.items():
        call()
        begun = clock()
        call()
        repeats[name] = max(1, min(50, int(5e-4 / (clock() - begun))))
    best = dict.fromkeys(calls, float("inf"))
    begun, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - begun < seconds:
        for name, call in calls.items():
            call()  # what the one before left in the caches is nobody's advantage
            started = clock()
            for _ in range(repeats[name]):
                call()
            best[name] = min(best[name], (clock() - started) / repeats[name])
        rounds += 1
    return {name: value * 1e3 for name, value in best.items()}


def kept_bytes(call: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward of one call, without arguments and the operator's own constants.

    Whatever a second call keeps that a first one, still alive, does not share.
    """

    def stored() -> tuple[Tensor, dict[int, int], list[Tensor]]:
        seen: dict[int, int] = {}
        alive: list[Tensor] = []

        def pack(t: Tensor) -> Tensor:
            storage = t.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(t.detach())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            out = call()
        return out, seen, alive

    first = stored()
    second = stored()
    return sum(size for place, size in second[1].items() if place not in first[1])


def error(made: Tensor, exact: Tensor) -> float:
    """Relative to the exact one, in the Euclidean norm."""
    return float((made.double() - exact).norm() / exact.norm())


def contenders(name: str, operator: Operator, dinv: Any) -> tuple[dict[str, dict[str, Callable[..., Tensor]]], str]:
    """Each one's actions, and which class of DeepInverse stands beside."""
    ours = {
        "forward": operator.__call__,
        "adjoint": operator.adjoint,
        "pinv": operator.pinv,
        "prox": operator.prox,
    }
    made: dict[str, dict[str, Callable[..., Tensor]]] = {"ours": ours}
    by_hand = minimal.actions(operator, RHO)
    if by_hand is not None:
        made["minimal"] = by_hand
    if dinv is None:
        return made, ""
    made["deepinv"], kind = peer.actions(dinv, name, operator)
    return made, kind


def exact_answers(operator: Operator, x: Tensor, v: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Ours in float64, the data step proven by its own gradient."""
    wide = [t.double() for t in (x, v, y)]
    z = operator.prox(wide[1], wide[2], RHO)
    gradient = operator.adjoint(operator(z) - wide[2]) + RHO * (z - wide[1])
    if gradient.norm() > 1e-9 * wide[1].norm():
        raise AssertionError(f"{operator!r}: the reference is not optimal, {float(gradient.norm()):.1e}")
    return {
        "forward": operator(wide[0]),
        "adjoint": operator.adjoint(wide[2]),
        "pinv": operator.pinv(wide[2]),
        "prox": z,
    }


def _call(action: str, do: Callable[..., Tensor], x: Tensor, v: Tensor, y: Tensor) -> Callable[[], Tensor]:
    if action == "prox":
        return lambda: do(v, y, RHO)
    return (lambda: do(x)) if action == "forward" else (lambda: do(y))


def measure(name: str, operator: Operator, dinv: Any, threads: int, seconds: float) -> list[dict[str, Any]]:
    """One row per action."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, *operator.shape.input, generator=generator)
    v = torch.rand(1, *operator.shape.input, generator=generator)
    y = operator(x) + 0.01 * torch.randn(1, *operator.shape.output, generator=generator)
    exact = exact_answers(operator, x, v, y)
    made, kind = contenders(name, operator, dinv)
    clip = x.numel() * x.element_size()
    rows = []
    for action in ACTIONS:
        row: dict[str, Any] = {"operator": name, "shape": list(operator.shape.input), "threads": threads}
        row |= {"action": action, "solve": operator.plan(RHO).solve, "peer": kind, "ms": {}, "error": {}, "kept": {}}
        calls: Calls = {}
        for who, does in made.items():
            if action not in does:
                continue
            call = _call(action, does[action], x, v, y)
            try:
                with torch.no_grad():
                    answer = call()
            except (RuntimeError, ValueError, AssertionError, TypeError) as fault:
                row["error"][who] = f"raises {type(fault).__name__}"
                continue
            row["error"][who] = error(answer.reshape(exact[action].shape), exact[action])
            calls[who] = call
            if action == "prox":
                with_graph = [t.clone().requires_grad_() for t in (x, v, y)]
                # Adjoints by torch.func (its bicubic one) refuse the hooks that count.
                with contextlib.suppress(RuntimeError):
                    row["kept"][who] = kept_bytes(_call(action, does[action], *with_graph)) / clip
        with torch.no_grad():
            row["ms"] = interleaved(calls, seconds)
        rows.append(row)
    return rows


def _ratio(row: dict[str, Any], over: str) -> str:
    ms = row["ms"]
    return f"{ms['ours'] / ms[over]:6.2f}" if over in ms else "     -"


def _small(value: Any) -> str:
    return f"{value:8.0e}" if isinstance(value, float) else f"{value or '-':>8}"


def print_row(row: dict[str, Any]) -> None:
    """One line of the table."""
    ms, wrong, kept = row["ms"], row["error"], row["kept"]
    print(
        f"{row['operator']:<26}{row['action']:<8} {ms['ours']:9.3f} {_ratio(row, 'minimal')} {_ratio(row, 'deepinv')}  "
        + " ".join(_small(wrong.get(who)) for who in ("ours", "minimal", "deepinv"))
        + "  "
        + " ".join(f"{kept[who]:5.2f}" if who in kept else "    -" for who in ("ours", "minimal", "deepinv"))
        + f"  {row['solve']}",
        flush=True,
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help=f"folder with DeepInverse: {peer.INSTALL}")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--only", help="operators whose name holds this")
    parser.add_argument("--seconds", type=float, default=0.4, help="about how long each action is timed")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    options = parse()
    warnings.simplefilter("ignore")
    steady_memory()
    dinv = peer.load(options.peers)
    if dinv is None:
        print(f"DeepInverse is not installed, its columns stay empty. To fill them: {peer.INSTALL}", file=sys.stderr)
    rows, mixed = [], []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for size in options.size:
            shape = SIZES[size]
            if not options.json:
                print(
                    f"\n{'x'.join(map(str, shape))}, {threads} thread(s): ms of ours; its ratio to minimal, deepinv; "
                    "error and clips kept for backward: ours, minimal, deepinv"
                )
            for name, make in problems(shape).items():
                if options.only and options.only not in name:
                    continue
                for row in measure(name, make(), dinv, threads, options.seconds):
                    rows.append(row)
                    if not options.json:
                        print_row(row)
            if not options.only or options.only in "mixed":
                mixed.append(measure_mixed(shape, threads, options.seconds, interleaved))
                if not options.json:
                    print("; ".join(f"mixed {k}: {v}" for k, v in mixed[-1].items()))
    if options.json:
        print(json.dumps({"torch": torch.__version__, "rho": RHO, "rows": rows, "mixed": mixed}, indent=1))


if __name__ == "__main__":
    main()
