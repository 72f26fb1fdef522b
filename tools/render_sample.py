"""Render the built-in sample: a still life by a harbour window, as a clip and a picture, clean and damaged.

Everything is computed here: shapes, textures, lettering (with Pillow's built-in font), light and sound. Usage::

    python tools/render_sample.py [--out FOLDER] [--scale 0.4 --preview PICTURE.png]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sample import film, plate
from sample.noise import Array

SAMPLES = Path(__file__).resolve().parents[1] / "core" / "src" / "restore" / "samples"


def clips(picture: Array, out: Path) -> None:
    """Write the clean clip, then the damaged one from the clean one as decoded; say how far apart they are."""
    clean, damaged = out / "sample_reference.mkv", out / "sample.mkv"
    frames = [film.to_planes(film.shoot(picture, film.window(k), film.SIZE)) for k in range(film.FRAMES)]
    film.write(clean, frames, "libx264", {"crf": "14", "preset": "slow", "profile": "high"})
    decoded = film.read(clean)
    small = [film.halve(planes) for planes in decoded]
    film.write(damaged, small, "ffv1", {"level": "3", "coder": "1", "context": "1", "g": "48", "slices": "4"}, True)
    coding = np.mean([film.psnr(a[0], b[0]) for a, b in zip(frames, decoded, strict=True)])
    gap = np.mean([film.psnr(a[0], film.doubled(b[0])) for a, b in zip(decoded, small, strict=True)])
    print(f"clip: coding {coding:.2f} dB (Y), bicubic x2 of the damaged clip {gap:.2f} dB (Y)")


def main(arguments: list[str]) -> int:
    """Render the plate, then write the four files (or only a preview of the plate)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SAMPLES, help="folder for the four files")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the preview, 1 for the whole plate")
    parser.add_argument("--preview", type=Path, help="write only the plate, to this picture")
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    if given.preview:
        light = plate.render(given.scale)
        levels = np.floor(np.clip(light, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
        Image.fromarray(levels.transpose(1, 2, 0)).save(given.preview)
        return 0
    picture = plate.render()
    print(f"plate rendered in {time.perf_counter() - start:.0f} s")
    given.out.mkdir(parents=True, exist_ok=True)
    film.stills(picture, given.out / "sample_reference.png", given.out / "sample.png")
    clips(picture, given.out)
    for path in sorted(given.out.glob("sample*.*")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
