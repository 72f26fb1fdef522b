"""Large results of joined parts, where the operating system is slow to hand out memory."""

from __future__ import annotations

import math
import mmap
from typing import Sequence

import torch
from torch import Tensor

# What malloc gives back to the system as soon as it is free, so that every call faults all of its pages in again.
_LARGE = 32 << 20


def joined(parts: Sequence[Tensor]) -> Tensor:
    """``torch.cat(parts)``. A large result on the CPU, where no gradient asks for its making, lies on huge pages: with
    ordinary ones the system took longer to hand them out than the copy (134 ms against 25 for 126 MB)."""
    size = sum(p.numel() for p in parts) * parts[0].element_size()
    differentiable = torch.is_grad_enabled() and any(p.requires_grad for p in parts)
    if size < _LARGE or differentiable or parts[0].device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.cat(list(parts))
    if torch.compiler.is_compiling():
        return torch.cat(list(parts))
    shape = (sum(p.shape[0] for p in parts), *parts[0].shape[1:])
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    out = torch.frombuffer(pages, dtype=parts[0].dtype, count=math.prod(shape)).view(shape)
    return torch.cat(list(parts), out=out)
