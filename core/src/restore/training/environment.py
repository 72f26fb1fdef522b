"""What a run ran on: versions and hardware."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from importlib_metadata import PackageNotFoundError, version

from restore import __version__
from restore.plugins import Registry

_PACKAGES = ("torch", "lightning-fabric", "numpy", "safetensors", "av", "pillow", "pytorch-optimizer", "tensorboard")


def environment(registry: Registry) -> dict[str, Any]:
    """Versions, processor, memory and accelerators, as a JSON object. Sizes are in bytes."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "restorekit": __version__,
        "plugins": {p.name: p.release for p in registry.plugins if p.status == "ok"},
        "packages": {name: v for name in _PACKAGES if (v := _version(name))},
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _memory(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "accelerators": _accelerators(),
        "cuda": torch.version.cuda,
        "cudnn": _cudnn(),
    }


def _cudnn() -> Any:
    backend: Any = torch.backends.cudnn
    return backend.version() if backend.is_available() else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """The processor's model; platform itself knows only its architecture on Linux."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _accelerators() -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        {"name": p.name, "memory": p.total_memory, "capability": f"{p.major}.{p.minor}"}
        for p in found
    ]  # fmt: skip
