"""What one decoded picture is: its planes, how they are laid out, and what its numbers mean as colour."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Literal

import attrs
import numpy as np

from restore.errors import RequestError

Kind = Literal["yuv", "gray", "rgb"]
Plane = np.ndarray[Any, np.dtype[Any]]

# H.273 codes as libav numbers them. BT.470BG and SMPTE 170M share BT.601's weights.
_MATRICES = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
MATRIX_CODES = {"rgb": 0, "bt709": 1, "fcc": 4, "bt601": 6, "smpte240m": 7, "bt2020": 9}
_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 12: "p3-d65"}
_TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 8: "linear", 13: "srgb", 14: "bt2020-10",
              15: "bt2020-12", 16: "pq", 18: "hlg"}  # fmt: skip
SITINGS = ("left", "center", "topleft", "top", "bottomleft", "bottom")
UNSET = 2
LIMITED, FULL = 1, 2

_YUV = re.compile(r"yuv(?P<a>[aj]?)(?P<s>410|411|420|422|440|444)p(?P<d>\d*)(?:le|be)?$")
_GRAY = re.compile(r"gray(?P<d>\d*)(?:le|be)?$|ya(?P<ya>8|16)(?:le|be)?$")
_GBR = re.compile(r"gbr(?P<a>a?)p(?P<d>\d*)(?:le|be)?$")
_PACKED = re.compile(r"(?P<c>[rgba0x]{3,4})(?P<d>24|48|64)?(?:le|be)?$")
_SEMI = re.compile(r"nv(?P<nv>12|21|16|24|42)$|p(?P<s>0|2|4)(?P<d>10|12|16)(?:le|be)$")
_ODD_ONES: dict[str, tuple[Kind, int, tuple[int, int], bool]] = {
    **{name: ("yuv", 8, (0, 1), False) for name in ("yuyv422", "uyvy422", "yvyu422")},
    "pal8": ("rgb", 8, (0, 0), True),
}
_SUBSAMPLING = {"410": (2, 2), "411": (0, 2), "420": (1, 1), "422": (0, 1), "440": (1, 0), "444": (0, 0)}
_SEMI_SUBSAMPLING = {"12": (1, 1), "21": (1, 1), "16": (0, 1), "24": (0, 0), "42": (0, 0),
                     "0": (1, 1), "2": (0, 1), "4": (0, 0)}  # fmt: skip


@attrs.frozen
class PixelLayout:
    """How planes lie in memory.

    Attributes:
        kind: ``"yuv"`` planes Y, Cb, Cr; ``"gray"`` one plane Y; ``"rgb"`` planes R, G, B.
        bit_depth: bits per sample, 8 to 16; 8 is stored as uint8, more as uint16 (low bits used).
        subsampling: log2 of how much smaller chroma is, ``(vertical, horizontal)``; 4:2:0 is ``(1, 1)``.
        alpha: one more plane at full size comes last, full range.
    """

    kind: Kind
    bit_depth: int = 8
    subsampling: tuple[int, int] = (0, 0)
    alpha: bool = False

    @classmethod
    def from_pix_fmt(cls, name: str) -> PixelLayout:
        """The layout that holds libav's pixel format ``name`` without loss; RequestError for one that none does."""
        if m := _YUV.match(name):
            return cls("yuv", int(m["d"] or 8), _SUBSAMPLING[m["s"]], m["a"] == "a")
        if m := _GRAY.match(name):
            return cls("gray", int(m["ya"] or m["d"] or 8), alpha=m["ya"] is not None)
        if m := _GBR.match(name):
            return cls("rgb", int(m["d"] or 8), alpha=m["a"] == "a")
        if m := _SEMI.match(name):
            return cls("yuv", int(m["d"] or 8), _SEMI_SUBSAMPLING[m["nv"] or m["s"]])
        if name in _ODD_ONES:
            return cls(*_ODD_ONES[name])
        if (m := _PACKED.match(name)) and {"r", "g", "b"} <= set(m["c"]):
            return cls("rgb", 16 if m["d"] in ("48", "64") else 8, alpha="a" in m["c"])
        raise RequestError(f"the pixel format {name} is not supported; convert the input to yuv420p or rgb24 first")

    @property
    def pix_fmt(self) -> str:
        """The name of libav's planar format with these planes, little-endian; it may be one that libav lacks."""
        depth = "" if self.bit_depth == 8 else f"{self.bit_depth}le"
        if self.kind == "gray":
            return f"ya{self.bit_depth}{'le' if depth else ''}" if self.alpha else f"gray{depth}"
        if self.kind == "rgb":
            return f"gbr{'a' if self.alpha else ''}p{depth}"
        names = {v: k for k, v in _SUBSAMPLING.items()}
        return f"yuv{'a' if self.alpha else ''}{names[self.subsampling]}p{depth}"

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for 8 bits, uint16 above."""
        return np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16)

    @property
    def label(self) -> str:
        """What a person reads: ``"4:2:0 10-bit"``, ``"gray 8-bit"``, ``"RGB 16-bit with alpha"``."""
        names = {v: ":".join(k) for k, v in _SUBSAMPLING.items()}
        kind = {"gray": "gray", "rgb": "RGB"}.get(self.kind, names.get(self.subsampling, "YUV"))
        return f"{kind} {self.bit_depth}-bit" + (" with alpha" if self.alpha else "")

    def shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """The ``(rows, columns)`` of every plane of a ``height`` by ``width`` picture; odd sizes round up."""
        v, h = self.subsampling
        chroma = (-(-height >> v), -(-width >> h))
        shapes = {"gray": [(height, width)], "rgb": [(height, width)] * 3, "yuv": [(height, width), chroma, chroma]}
        return tuple(shapes[self.kind] + [(height, width)] * self.alpha)


def guess_matrix(height: int, width: int) -> str:
    """The one rule for an unset matrix: BT.709 from 720 lines or 1280 columns on, else BT.601."""
    return "bt709" if height >= 720 or width >= 1280 else "bt601"


@attrs.frozen
class ColorInfo:
    """What the numbers in the planes mean.

    Attributes:
        matrix: ``bt601``, ``bt709``, ``bt2020``, ``smpte240m``, ``fcc`` or ``rgb``.
        range: ``limited`` (luma 16 to 235 of 255) or ``full``.
        primaries: a name, or ``unset``.
        transfer: a name, ``pq``, ``hlg``, or ``unset``.
        siting: where a chroma sample lies among its luma samples: ``left``, ``center``, ``topleft``, ...
        guessed: which of ``matrix``, ``range``, ``siting`` the file leaves unset. The rule: matrix by
            :func:`guess_matrix`; range limited, but full for RGB, for gray and for JPEG's formats; siting left, but
            centre for MJPEG and MPEG-1.
        codes: the file's own codes for matrix, range, primaries and transfer, written back as they were read.
    """

    matrix: str = "bt601"
    range: Literal["limited", "full"] = "limited"
    primaries: str = "unset"
    transfer: str = "unset"
    siting: str = "left"
    guessed: tuple[str, ...] = ()
    codes: tuple[int, int, int, int] = (UNSET, 0, UNSET, UNSET)

    @classmethod
    def from_codes(
        cls, codes: tuple[int, int, int, int], pix_fmt: str, size: tuple[int, int], siting: str | None, codec: str = ""
    ) -> ColorInfo:
        """Reads libav's codes (matrix, range, primaries, transfer) and fills in by rule what they leave unset.

        ``size`` is the picture's height and width in pixels.

        Raises:
            RequestError: a matrix that is not a plain luma-chroma one, such as ICtCp or YCgCo.
        """
        layout = PixelLayout.from_pix_fmt(pix_fmt)
        guessed = []
        matrix = "rgb" if layout.kind == "rgb" else _MATRICES.get(codes[0], "")
        if layout.kind != "rgb" and codes[0] in (0, UNSET, 3):
            matrix = guess_matrix(*size)
            guessed += ["matrix"] if layout.kind == "yuv" else []
        if not matrix:
            raise RequestError(f"the colour matrix with code {codes[0]} is not supported; convert to BT.709 first")
        full = codes[1] == FULL or pix_fmt.startswith("yuvj") or (codes[1] == 0 and layout.kind != "yuv")
        if codes[1] == 0 and layout.kind != "rgb" and not pix_fmt.startswith("yuvj"):
            guessed.append("range")
        if siting is None and layout.subsampling != (0, 0):
            guessed.append("siting")
        default = "center" if codec in ("mjpeg", "mpeg1video") else "left"
        return cls(
            matrix=matrix,
            range="full" if full else "limited",
            primaries=_PRIMARIES.get(codes[2], "unset"),
            transfer=_TRANSFERS.get(codes[3], "unset"),
            siting=siting or default,
            guessed=tuple(guessed),
            codes=codes if not pix_fmt.startswith("yuvj") else (codes[0], FULL, *codes[2:]),
        )

    def for_output(self, source: PixelLayout, layout: PixelLayout, height: int, width: int) -> ColorInfo:
        """The colour to write for planes in ``layout`` of the output's size.

        What was unset stays unset, unless a player would then guess otherwise than was guessed here: when the size
        crosses the rule's threshold, or gray or RGB becomes YUV. Then the tag is written.
        """
        matrix, span, (code, range_code, primaries, transfer) = self.matrix, self.range, self.codes
        if layout.kind == "rgb":
            return attrs.evolve(self, matrix="rgb", range="full", codes=(0, FULL, *self.codes[2:]))
        if matrix == "rgb":
            matrix, span = guess_matrix(height, width), "limited"
            code, range_code = MATRIX_CODES[matrix], LIMITED
        elif source.kind == "yuv" and "matrix" in self.guessed and matrix != guess_matrix(height, width):
            code = MATRIX_CODES[matrix]
        if source.kind != "yuv" and range_code == 0:
            range_code = FULL if span == "full" else LIMITED
        return attrs.evolve(self, matrix=matrix, range=span, codes=(code, range_code, primaries, transfer))

    def describe_guesses(self) -> str:
        """One sentence on what was guessed, or an empty string."""
        values = {"matrix": self.matrix, "range": self.range}
        said = [name for name in self.guessed if name in values]
        took = ", ".join(values[name] for name in said)
        return f"the file does not say its colour {' and '.join(said)}; taken for {took}" if said else ""


@attrs.frozen(eq=False)
class VideoFrame:
    """One decoded frame.

    Attributes:
        planes: uint8 or uint16, contiguous, no row padding, in the order and shapes of ``layout``.
        pts: when it is shown, in ``time_base`` units.
        duration: for how long, in ``time_base`` units; 0 if unknown.
        time_base: seconds per unit.
        layout: how the planes lie.
        color: what they mean.
        index: its number in presentation order, from 0.
    """

    planes: tuple[Plane, ...]
    pts: int | None
    duration: int
    time_base: Fraction
    layout: PixelLayout
    color: ColorInfo
    index: int = 0
