"""A batch in which every sample has a problem of its own, in one call, against its parts one after the other."""

from __future__ import annotations

from typing import Any, Callable

import torch
from problems import Sizes, problems
from restore.operators import Mixed

Timer = Callable[[dict[str, Callable[[], Any]], float], dict[str, float]]


def measure_mixed(shape: Sizes, threads: int, seconds: float, timer: Timer) -> dict[str, Any]:
    """Time of one call over the sum of its parts', for each action; at most 1.2 is promised."""
    generator = torch.Generator().manual_seed(2)
    operators = [make() for make in problems(shape).values()]
    mixed = Mixed(operators)
    x = torch.rand(len(operators), *shape, generator=generator)
    v = torch.rand(len(operators), *shape, generator=generator)
    row: dict[str, Any] = {"shape": "x".join(map(str, shape)), "samples": len(operators), "threads": threads}
    with torch.no_grad():
        y = mixed(x)
        parts = [p[None].clone() for p in mixed.split(y)]
        xs, vs = [c.clone() for c in x.split(1)], [c.clone() for c in v.split(1)]
        pairs = list(zip(operators, parts, strict=True))
        whole: dict[str, Callable[[], Any]] = {
            "forward": lambda: mixed(x),
            "adjoint": lambda: mixed.adjoint(y),
            "prox": lambda: mixed.prox(v, y, 0.3),
        }
        single: dict[str, Callable[[], Any]] = {
            "forward": lambda: [o(c) for o, c in zip(operators, xs, strict=True)],
            "adjoint": lambda: [o.adjoint(p) for o, p in pairs],
            "prox": lambda: [o.prox(c, p, 0.3) for (o, p), c in zip(pairs, vs, strict=True)],
        }
        for action, call in whole.items():
            ms = timer({"mixed": call, "parts": single[action]}, max(seconds, 1.0))
            row[action] = round(ms["mixed"] / ms["parts"], 3)
            row[f"{action} ms"] = round(ms["mixed"], 3)
    return row
