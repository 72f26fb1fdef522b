"""Makes the picture on the README's first screen: bicubic enlargement beside SrSENet, a piece of the sample magnified.

python tools/readme_image.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "core/src/restore/samples/sample.png"
TARGET = ROOT / "docs/images/sample.png"
PIECE = (110, 0, 290, 200)
MAGNIFIED = 2


def restored(folder: Path, *source: str) -> Image.Image:
    """The sample image through a recipe, cut to the piece that is shown and magnified without smoothing."""
    out = folder / f"{source[-1]}.png"
    command = [str(Path(sys.executable).with_name("restore")), "run", *source, str(SAMPLE), "-o", str(out)]
    subprocess.run(command, check=True)
    piece = Image.open(out).convert("RGB").crop(PIECE)
    return piece.resize((piece.width * MAGNIFIED, piece.height * MAGNIFIED), Image.Resampling.NEAREST)


def main() -> None:
    """Write ``docs/images/sample.png``."""
    with tempfile.TemporaryDirectory() as name:
        pieces = {
            "bicubic": restored(Path(name), "--recipe", "bicubic"),
            "SrSENet": restored(Path(name), "--plugin", "srsenet"),
        }
    width, height = next(iter(pieces.values())).size
    picture = Image.new("RGB", (2 * width + 8, height), "white")
    font = ImageFont.load_default(20)
    for i, (label, piece) in enumerate(pieces.items()):
        draw = ImageDraw.Draw(piece)
        box = draw.textbbox((8, height - 32), label, font=font)
        draw.rectangle((box[0] - 6, box[1] - 4, box[2] + 6, box[3] + 4), fill="black")
        draw.text((8, height - 32), label, font=font, fill="white")
        picture.paste(piece, (i * (width + 8), 0))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    picture.save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
