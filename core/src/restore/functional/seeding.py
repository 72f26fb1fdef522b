"""Generators of random numbers that depend on what they are for, and on nothing else."""

from __future__ import annotations

import torch


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator whose stream depends on every one of the numbers."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        # splitmix64: neighbouring seeds give unrelated streams.
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return torch.Generator().manual_seed(state & 0x7FFFFFFFFFFFFFFF)
