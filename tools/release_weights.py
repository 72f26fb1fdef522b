"""Turns a finished run into weights that ship: float16 safetensors with the run's provenance.

python tools/release_weights.py runs/srsenet-x2 plugins/srsenet/src/restore_srsenet/weights/srsenet-x2.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from restore.weights import read, save


def main() -> None:
    """Read ``RUN/final.safetensors`` (or ``best``), write it in half precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of `restore train`")
    parser.add_argument("target", type=Path, help="the file that ships")
    parser.add_argument("--which", default="final", choices=["final", "best"])
    arguments = parser.parse_args()
    found = read(arguments.run / f"{arguments.which}.safetensors")
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    save(arguments.target, found.tensors, found.metadata, half=True)


if __name__ == "__main__":
    main()
