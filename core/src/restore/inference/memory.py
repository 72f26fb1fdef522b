"""How much memory there is, how much a model needs, and whether it ran out."""

from __future__ import annotations

import os
from typing import Any, Callable, Iterable

import torch
from torch import Tensor, nn

from restore.errors import RestoreError


class OutOfMemory(RestoreError):
    """A device has too little memory for a model, even for small tiles."""


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; of the machine where the device is its CPU."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(os.sysconf("SC_AVPHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out, on any device."""
    text = str(error).lower()
    # torch.OutOfMemoryError is younger than 2.4; under this name it has been there all along.
    return isinstance(error, torch.cuda.OutOfMemoryError) or "not enough memory" in text or "out of memory" in text


def size_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors together; what two of them share counts once."""
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def largest_layer(model: nn.Module, run: Callable[[], Any]) -> int:
    """Bytes of the input and output of the largest layer while ``run()`` calls the model."""
    largest = 0

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        largest = max(largest, sum(t.numel() * t.element_size() for t in (*inputs, output) if isinstance(t, Tensor)))

    handles = [m.register_forward_hook(look) for m in model.modules() if not list(m.children())]
    try:
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return largest
