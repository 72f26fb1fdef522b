"""Every operator on large clips, and the data step beside the dense pseudo-inverse of VideoOneNet's paper.

    python benchmarks/operators_large.py [--json]              # 16x3x720x1280: time and peak memory
    python benchmarks/operators_large.py --dense [--json]      # 4x32x32x3: beside the dense route

Each operator runs in a process of its own. Memory is that process's largest resident size, less what it held when
imports and arguments (one clip, one point, one measurement) were there; it is given in clips, 177 MB each at the large
size. It holds the operator's parameters and factors, results, and what is in between.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any, Callable

import torch
from problems import Sizes, problems
from torch import Tensor

LARGE: Sizes = (16, 3, 720, 1280)
PAPER: Sizes = (4, 3, 32, 32)
RHO = 0.3
ACTIONS = ("construction", "forward", "adjoint", "first data step", "data step")


def _status(name: str) -> int:
    """Bytes of ``VmHWM`` or ``VmRSS``."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(name))
    return int(line.split()[1]) * 1024


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    started = time.perf_counter()
    out = call()
    return out, time.perf_counter() - started


def one(name: str, shape: Sizes, threads: int) -> dict[str, Any]:
    """In a fresh process: forward, adjoint, the first data step and one more, with the peak of each."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(1)
    x, v = (torch.rand(1, *shape, generator=generator) for _ in range(2))
    clip = x.numel() * x.element_size()
    make = problems(shape)[name]
    with torch.no_grad():
        _reset_peak()
        held = _status("VmRSS")
        operator, construction = _timed(make)  # type: ignore[arg-type, assignment]
        built = _status("VmHWM") - held
        row: dict[str, Any] = {"operator": name, "solve": operator.plan(RHO).solve, "s": {}, "clips": {}}  # type: ignore[attr-defined]
        row["s"]["construction"], row["clips"]["construction"] = construction, built / clip
        y = operator(x)
        calls = {
            "forward": lambda: operator(x),
            "adjoint": lambda: operator.adjoint(y),  # type: ignore[attr-defined]
            "first data step": lambda: operator.prox(v, y, RHO),  # type: ignore[attr-defined]
            "data step": lambda: operator.prox(v, y, RHO),  # type: ignore[attr-defined]
        }
        for action, call in calls.items():
            _reset_peak()
            out, row["s"][action] = _timed(call)
            row["clips"][action] = (_status("VmHWM") - held) / clip
            if action == "data step":
                gradient = operator.adjoint(operator(out) - y) + RHO * (out - v)  # type: ignore[attr-defined]
                row["residual"] = float(gradient.norm() / (RHO * v.norm()))
            del out
        row["measurement clips"] = y.numel() * y.element_size() / clip
    return row


def dense(name: str, threads: int) -> dict[str, Any]:
    """The data step beside the paper's: ``z = pinv([A; sqrt(rho) I]) [y; sqrt(rho) v]``, that matrix made once."""
    from operators import interleaved, steady_memory
    from restore.operators import dense_matrix

    steady_memory()
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(1)
    operator = problems(PAPER)[name]()
    v = torch.rand(1, *PAPER, generator=generator)
    y = operator(torch.rand(1, *PAPER, generator=generator))
    with torch.no_grad():
        held = _status("VmRSS")
        _reset_peak()
        z, ours_first = _timed(lambda: operator.prox(v, y, RHO))
        ours_peak = _status("VmHWM") - held
        a = dense_matrix(operator).float()
        rows, columns = a.shape
        # Building it takes 2 (d_y + d) d^2 and more operations; one column block of the result costs the same to apply.
        part = torch.randn(min(columns, 1024), rows + columns)
        both = torch.cat([y.flatten(), RHO**0.5 * v.flatten()])
        ms = interleaved({"ours": lambda: operator.prox(v, y, RHO), "part": lambda: part @ both}, 1.0)
        exact = operator.prox(v.double(), y.double(), RHO)
    scale = columns / len(part)
    return {
        "operator": name,
        "ours ms": ms["ours"],
        "ours first ms": ours_first * 1e3,
        "ours MB": max(0, ours_peak) / 1e6,
        "ours error": float((z.double() - exact).norm() / exact.norm()),
        "dense ms": ms["part"] * scale,
        "dense MB": columns * (rows + columns) * 4 / 1e6,
        "dense Tflop to build": (2 * (rows + columns) * columns**2 * 2 + columns**3 / 3) / 1e12,
    }


def in_process(arguments: list[str]) -> dict[str, Any] | str:
    """The row of another process, or the end of what it said."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def print_large(row: dict[str, Any]) -> None:
    """One line."""
    s, clips = row["s"], row["clips"]
    print(
        f"{row['operator']:<26}"
        + " ".join(f"{s[a]:8.2f}" for a in ACTIONS)
        + "  "
        + " ".join(f"{clips[a]:6.1f}" for a in ACTIONS)
        + f"  {row['measurement clips']:5.2f} {row['residual']:8.0e}  {row['solve']}",
        flush=True,
    )


def print_dense(row: dict[str, Any]) -> None:
    """One line."""
    print(
        f"{row['operator']:<26}{row['ours ms']:9.3f} {row['ours first ms']:9.1f} {row['ours MB']:8.1f} "
        f"{row['ours error']:8.0e}  {row['dense ms']:9.1f} {row['dense MB']:8.0f} {row['dense Tflop to build']:7.1f}",
        flush=True,
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dense", action="store_true", help="4x32x32x3 beside the paper's dense pseudo-inverse")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="operators whose name holds this")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row = dense(options.one, options.threads) if options.dense else one(options.one, LARGE, options.threads)
        print(json.dumps(row))
        return
    names = [n for n in problems(PAPER if options.dense else LARGE) if not options.only or options.only in n]
    if not options.json and options.dense:
        print(f"4x32x32x3, {options.threads} thread(s): ours ms, first ms, MB, error; dense ms, MB, Tflop to build")
    elif not options.json:
        print(
            f"16x3x720x1280, {options.threads} thread(s): seconds, then peak memory in clips, of {', '.join(ACTIONS)}; "
            "measurement in clips; optimality; solve"
        )
    rows = []
    for name in names:
        extra = ["--dense"] if options.dense else []
        row_or_fault = in_process(["--one", name, "--threads", str(options.threads), *extra])
        if isinstance(row_or_fault, str):
            print(f"{name:<26} {row_or_fault}", file=sys.stderr)
            continue
        rows.append(row_or_fault)
        if not options.json:
            (print_dense if options.dense else print_large)(row_or_fault)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
