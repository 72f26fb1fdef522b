"""Between libav's frames and plain planes: bytes are moved, never converted, so nothing is rounded or recoloured."""

from __future__ import annotations

import re
from typing import Any

import av
import numpy as np

from restore.media.frame import PixelLayout, Plane

_RGB = "rgb"


def rows(plane: Any, height: int, samples: int, dtype: np.dtype[Any]) -> Plane:
    """A view of one libav plane as ``(height, samples)``, without the padding at the end of its rows."""
    data = np.frombuffer(plane, np.uint8)[: height * plane.line_size].reshape(height, plane.line_size)
    view: Plane = data[:, : samples * dtype.itemsize].view(dtype)
    return view


def _stored_dtype(name: str, layout: PixelLayout) -> np.dtype[Any]:
    if layout.bit_depth == 8:
        return np.dtype(np.uint8)
    return np.dtype(">u2" if name.endswith("be") else "<u2")


def _packed_order(name: str) -> str:
    match = re.match(r"[rgba0x]{3,4}", name)
    assert match is not None
    return match.group().replace("x", "0")


def _contiguous(plane: Plane, layout: PixelLayout) -> Plane:
    # A copy always: libav's buffer goes back to the decoder.
    return np.array(plane, dtype=layout.dtype, order="C")


def frame_to_planes(frame: av.VideoFrame) -> tuple[PixelLayout, tuple[Plane, ...]]:
    """The layout and the planes of a decoded frame, copied; RequestError for a format that no layout holds."""
    name = frame.format.name
    if name == "pal8":  # a table look-up, exact
        frame, name = frame.reformat(format="rgba"), "rgba"
    layout = PixelLayout.from_pix_fmt(name)
    dtype, height, width = _stored_dtype(name, layout), frame.height, frame.width
    if name.startswith(("nv", "p0", "p2", "p4")):
        planes = _semi_planar(frame, name, layout, dtype)
    elif name in ("yuyv422", "uyvy422", "yvyu422"):
        planes = _interleaved_422(frame, name)
    elif name.startswith("ya"):
        both = rows(frame.planes[0], height, 2 * width, dtype).reshape(height, width, 2)
        planes = [both[..., 0], both[..., 1]]
    elif layout.kind == "rgb" and not name.startswith("gbr"):
        order = _packed_order(name)
        pixels = rows(frame.planes[0], height, len(order) * width, dtype).reshape(height, width, len(order))
        planes = [pixels[..., order.index(c)] for c in _RGB + "a" * layout.alpha]
    else:
        shapes = layout.shapes(height, width)
        planes = [rows(p, h, w, dtype) for p, (h, w) in zip(frame.planes, shapes, strict=True)]
        if layout.kind == "rgb":  # libav stores G, B, R
            planes = [planes[2], planes[0], planes[1], *planes[3:]]
    return layout, tuple(_contiguous(p, layout) for p in planes)


def _semi_planar(frame: av.VideoFrame, name: str, layout: PixelLayout, dtype: np.dtype[Any]) -> list[Plane]:
    height, width = layout.shapes(frame.height, frame.width)[1]
    luma = rows(frame.planes[0], frame.height, frame.width, dtype)
    chroma = rows(frame.planes[1], height, 2 * width, dtype).reshape(height, width, 2)
    order = (1, 0) if name in ("nv21", "nv42") else (0, 1)
    planes = [luma, chroma[..., order[0]], chroma[..., order[1]]]
    shift = 16 - layout.bit_depth if name.startswith("p") else 0  # P010 keeps its bits at the top
    return [p >> shift if shift else p for p in planes]


def _interleaved_422(frame: av.VideoFrame, name: str) -> list[Plane]:
    pairs = -(-frame.width // 2)
    data = rows(frame.planes[0], frame.height, 4 * pairs, np.dtype(np.uint8)).reshape(frame.height, pairs, 4)
    y0, cb, y1, cr = (name.index(c) if n == 0 else name.rindex(c) for c, n in (("y", 0), ("u", 0), ("y", 1), ("v", 0)))
    luma = np.stack([data[..., y0], data[..., y1]], axis=-1).reshape(frame.height, 2 * pairs)[:, : frame.width]
    return [luma, data[..., cb], data[..., cr]]


def planes_to_frame(planes: tuple[Plane, ...], layout: PixelLayout, pix_fmt: str) -> av.VideoFrame:
    """A libav frame in ``pix_fmt``, which must be a little-endian format that ``layout`` holds without loss."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    if pix_fmt.startswith("ya"):
        rows(frame.planes[0], height, 2 * width, layout.dtype)[:] = np.stack(planes, -1).reshape(height, -1)
    elif layout.kind == "rgb" and not pix_fmt.startswith("gbr"):
        order = _packed_order(pix_fmt)
        top = np.full_like(planes[0], (1 << layout.bit_depth) - 1)
        named = dict(zip("rgba", planes, strict=False))
        pixels = np.stack([named.get(c, top) for c in order], axis=-1)
        rows(frame.planes[0], height, len(order) * width, layout.dtype)[:] = pixels.reshape(height, -1)
    else:
        if layout.kind == "rgb":
            planes = (planes[1], planes[2], planes[0], *planes[3:])
        for target, plane in zip(frame.planes, planes, strict=True):
            rows(target, plane.shape[0], plane.shape[1], layout.dtype)[:] = plane
    return frame
