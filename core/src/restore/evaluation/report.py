"""The page of ``restore compare``: one HTML file that holds its pictures, numbers, style and script."""

from __future__ import annotations

import base64
import json
import math
import re
from html import escape
from importlib import resources
from typing import Any, Sequence

from restore.evaluation.compare import Comparison, Version
from restore.evaluation.files import mean

_SCRIPTS = ("stage.js", "plot.js", "main.js")
_COLUMNS = ("version", "PSNR", "lowest", "SSIM", "lowest", "size", "picture bit rate", "codec", "picture", "frames/s")


def page(comparison: Comparison) -> str:
    """The whole page as text. Names of files are escaped; nothing in it points to anything outside."""
    versions = (comparison.reference, *comparison.versions)
    others = ", ".join(v.name for v in comparison.versions)
    parts = {
        "title": escape(f"{comparison.reference.name} and {others}"),
        "heading": escape(f"{others} against {comparison.reference.name}"),
        "subtitle": escape(_subtitle(comparison)),
        "style": _read("style.css"),
        "table": _table(versions),
        "protocol": _protocol(comparison),
        "data": _json(_data(comparison)),
        "images": _json([[base64.b64encode(i).decode() for i in comparison.kept[k]] for k in sorted(comparison.kept)]),
        "script": "\n".join(_read(name) for name in _SCRIPTS),
    }  # fmt: skip
    # One pass, so that nothing that was put in is taken for a place.
    return re.sub(r"<!--(\w+)-->", lambda match: parts[match[1]], _read("page.html"))


def _read(name: str) -> str:
    return (resources.files(__package__) / "report_page" / name).read_text(encoding="utf-8")


def _finite(values: Sequence[float]) -> list[float | None]:
    # Six digits after the point: below what any reader or plot can see, and half the bytes.
    return [round(v, 6) if math.isfinite(v) else None for v in values]


def _data(comparison: Comparison) -> dict[str, Any]:
    facts = comparison.reference.facts()
    versions = (comparison.reference, *comparison.versions)
    return {
        "width": facts["width"], "height": facts["height"], "rate": facts["frame_rate"], "frames": comparison.frames,
        "mime": f"image/{comparison.image_format}", "shown": sorted(comparison.kept), "protocol": comparison.protocol,
        "versions": [
            {"name": v.name, "reference": v is comparison.reference, "psnr": _finite(v.psnr), "ssim": _finite(v.ssim),
             "worst": v.worst()}
            for v in versions
        ],
    }  # fmt: skip


def _json(value: Any) -> str:
    """JSON that may stand in a script element: no ``</script`` and no ``<!--`` can occur."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _subtitle(comparison: Comparison) -> str:
    facts = comparison.reference.facts()
    frames = f"{comparison.frames} frames, " if comparison.frames > 1 else ""
    return f"{frames}{facts['width']}x{facts['height']} pixels; PSNR and SSIM of luma"


def _protocol(comparison: Comparison) -> str:
    rows = [(key.replace("_", " "), str(value)) for key, value in comparison.protocol.items()]
    kept, frames = len(comparison.kept), comparison.frames
    which = (
        "every frame"
        if kept == frames
        else f"{kept} of {frames} frames: the worst of each version, and evenly spaced ones"
    )
    rows.append(("pictures here", f"{which if frames > 1 else 'whole'}; {comparison.image_words}"))
    lines = [f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in rows]
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    return "<dl>\n" + "\n".join(lines) + "\n</dl>" + (f'\n<ul class="notes">{notes}</ul>' if notes else "")


def _table(versions: Sequence[Version]) -> str:
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in _COLUMNS)
    rows = []
    for version in versions:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in cells_of(version))
        note = "" if version.psnr else ' <span class="unit">reference</span>'
        rows.append(f'<tr><th scope="row">{escape(version.name)}{note}</th>{cells}</tr>')
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"


def cells_of(version: Version) -> list[str]:
    """A row of the table for people, without the name; its columns are those after ``version``."""
    facts = version.facts()
    rate = facts["frame_rate"]
    numbers = [decibels(mean(version.psnr)), decibels(min(version.psnr))] if version.psnr else ["-", "-"]
    numbers += [f"{mean(version.ssim):.4f}", f"{min(version.ssim):.4f}"] if version.ssim else ["-", "-"]
    return [
        *numbers, bytes_words(version.size), rate_words(version.bit_rate), facts["codec"],
        f"{facts['width']}x{facts['height']} {facts['layout']}", f"{rate:.5g}" if rate else "-",
    ]  # fmt: skip


def decibels(value: float) -> str:
    """``34.21 dB``; ``equal`` where it is infinite."""
    return f"{value:.2f} dB" if math.isfinite(value) else "equal"


def bytes_words(count: int) -> str:
    """A size for people, in powers of 1000."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


def rate_words(bits: float | None) -> str:
    """A bit rate for people; a dash where there is none."""
    if bits is None:
        return "-"
    return f"{bits / 1e6:.3g} Mbit/s" if bits >= 1e6 else f"{bits / 1e3:.3g} kbit/s"
