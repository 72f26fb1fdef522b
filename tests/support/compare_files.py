"""Files to compare whose numbers numpy knows, and a reader of the page of `restore compare`."""

from __future__ import annotations

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

FRAMES, SIZE = 5, (24, 32)


def noisy(seed, strength):
    """``planes`` for a clip: smooth luma plus noise that is stronger in frame 3; and what it holds, for numpy."""
    rng = np.random.default_rng(seed)
    kept = []

    def planes(layout, height, width, k):
        x = 60 + 100 * np.linspace(0, 1, width)[None] + 4 * k + np.zeros((height, 1))
        luma = np.clip(x + strength * (3 if k == 3 else 1) * rng.standard_normal(x.shape), 16, 235).astype(np.uint8)
        kept.append(luma)
        chroma = layout.shapes(height, width)[1:]
        return (luma, *(np.full(s, v, np.uint8) for s, v in zip(chroma, (110, 150), strict=True)))

    return planes, kept


def make_three(clips, folder):
    """A lossless reference and two lossless versions, and the luma of each."""
    made, lumas = [], []
    for i, (name, strength) in enumerate((("clean.mkv", 0), ("a.mkv", 4), ("b.mkv", 8))):
        planes, kept = noisy(i, strength)
        made.append(
            clips.make(folder / name, frames=FRAMES, size=SIZE, codec="ffv1", planes=planes, codes=(1, 1, 1, 1))
        )
        lumas.append(np.stack(kept).astype(np.float64))
    return made, lumas


def psnr(a, b):
    error = ((a - b) ** 2).mean()
    return 10 * np.log10(255**2 / error)


class Page(HTMLParser):
    """The embedded JSON, all attributes, and the text of the cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.text, self.blocks, self.attributes, self.cells, self._inside = text, {}, [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *a) for a in attrs]
        self._inside = dict(attrs).get("id") if tag == "script" else tag
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside in ("data", "images"):
            self.blocks[self._inside] = json.loads(data)
        elif self._inside in ("td", "th"):
            self.cells[-1] += data

    def image(self, position, version):
        data = base64.b64decode(self.blocks["images"][position][version])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def read_page(path):
    return Page(Path(path).read_text(encoding="utf-8"))
