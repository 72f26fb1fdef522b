"""Coding with x264 and x265 as a degradation: what the encoder is told, and clips coded and decoded in memory."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Mapping, Sequence

import attrs
import av
import numpy as np

from restore.media.encoders import ENCODERS, OutputOptions, encoder_options
from restore.media.frame import PixelLayout, Plane
from restore.media.listening import Listening
from restore.media.pixels import frame_to_planes, planes_to_frame
from restore.media.quantizers import SliceHeaders

CODECS = {"x264": "h264", "x265": "hevc"}  # our name for the encoder, and that of the codec it writes
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
MAX_QP = 51
LAYOUT = PixelLayout("yuv", 8, (1, 1))

# QP offsets of the pictures of a group after the first, and whether the linear model is added to each. GOP 8:
# encoder_lowdelay_P_main.cfg of HM 16.20; GOP 4: of HM up to 16.5, as remembered.
LADDERS: dict[str, tuple[tuple[int, bool], ...]] = {
    "hm-ldp": (*((5, True), (4, True)) * 3, (5, True), (1, False)),
    "hm-ldp-gop4": ((3, False), (2, False), (3, False), (1, False)),
}
_INTRA_OFFSET = -1
# HM's plain low-delay coding: no B-frames, one I-frame, no look-ahead, and a QP that nothing but the ladder moves.
_LOW_DELAY = ("bframes=0:ref=4:keyint=-1:scenecut=0:rc-lookahead=0:weightp=0:psy-rd=0:psy-rdoq=0:aq-mode=0:cutree=0"
              ":ipratio=1:pbratio=1")  # fmt: skip


def ladder_qps(qp: int, ladder: str | Sequence[int], frames: int) -> list[int]:
    """The QP of every frame.

    The first, an I-frame, has QP - 1. Those of a named ladder are HM's (``TEncCfg::getQPForPicture``): the group's
    offset, then ``floor(clip(0.259 QP' - 6.5 + 0.5, 0, 3))`` of the sum where the group says so. At QP 37 ``hm-ldp`` is
    36, then 45, 44, 45, 44, 45, 44, 45, 38 again and again.

    Args:
        qp: of the sequence, 0 to 51.
        ladder: a key of ``LADDERS``, or the offsets themselves, repeated from the second frame on.
        frames: how many.

    Returns:
        ``frames`` numbers in [0, 51].
    """
    group = LADDERS[ladder] if isinstance(ladder, str) else tuple((offset, False) for offset in ladder)
    values = []
    for offset, modelled in group:
        value = qp + offset
        if modelled:
            value += math.floor(min(3.0, max(0.0, 0.259 * value - 6.5 + 0.5)))
        values.append(min(MAX_QP, max(0, value)))
    return [max(0, qp + _INTRA_OFFSET) if k == 0 else values[(k - 1) % len(values)] for k in range(frames)]


@attrs.frozen
class Coding:
    """How pictures are coded. Results do not depend on the number of processors: one frame is coded at a time.

    Attributes:
        codec: ``x264`` or ``x265``.
        qp: constant quantizer, 0 to 51; the encoder's own offsets for I- and B-frames apply where there is no ladder.
        crf: constant rate factor, 0 to 51, instead of ``qp``.
        preset: the encoder's, ``ultrafast`` to ``placebo``.
        ladder: QP per frame: a key of ``LADDERS`` or offsets; None for none. x265 with ``qp`` only.
        options: the encoder's own parameters (as in ``x265-params``), which go last.

    Raises:
        ValueError: what is out of range, or does not go together.
    """

    codec: str
    qp: int | None = None
    crf: float | None = None
    preset: str = "medium"
    ladder: str | tuple[int, ...] | None = None
    options: Mapping[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.codec not in CODECS:
            raise ValueError(f"codec must be {' or '.join(CODECS)}, got {self.codec!r}")
        if (self.qp is None) == (self.crf is None):
            raise ValueError("give either qp or crf")
        for name, value in (("qp", self.qp), ("crf", self.crf)):
            if value is not None and not 0 <= value <= MAX_QP:
                raise ValueError(f"{name} must be from 0 to {MAX_QP}, got {value}")
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.ladder is not None:
            self._check_ladder()

    def _check_ladder(self) -> None:
        if isinstance(self.ladder, str) and self.ladder not in LADDERS:
            raise ValueError(f"ladder must be {' or '.join(LADDERS)} or a list of QP offsets, got {self.ladder!r}")
        if not self.ladder:
            raise ValueError("ladder must hold at least one QP offset")
        if self.codec != "x265" or self.qp is None:
            raise ValueError("a ladder needs codec = 'x265' and a qp")

    @property
    def label(self) -> str:
        """What a person reads: ``x265 at QP 37, hm-ldp``."""
        value = f"QP {self.qp}" if self.qp is not None else f"CRF {self.crf:g}"
        ladder = self.ladder if isinstance(self.ladder, str) else "own ladder" if self.ladder else ""
        return f"{self.codec} at {value}" + (f", {ladder}" if ladder else "")

    def output_options(self, frames: int) -> OutputOptions:
        """The same as options of a writer; a ladder needs to know how many ``frames`` will come."""
        parameters = self._x265(frames) if self.codec == "x265" else ["threads=1"]
        parameters += [f"{name}={value}" for name, value in self.options.items()]
        chosen = {f"{self.codec}-params": ":".join(parameters), "crf": "-1" if self.crf is None else f"{self.crf:g}"}
        if self.codec == "x264" and self.qp is not None:
            chosen["qp"] = str(self.qp)
        return OutputOptions(CODECS[self.codec], preset=self.preset, options=chosen, pixel_format=LAYOUT.pix_fmt)

    def _x265(self, frames: int) -> list[str]:
        # info=0: x265 would write all of this, every zone of a ladder, into the first frame.
        parameters = ["frame-threads=1", "info=0"]
        if self.qp is not None:
            parameters.append(f"qp={self.qp}")
        if self.ladder is not None:
            assert self.qp is not None
            qps = ladder_qps(self.qp, self.ladder, frames)
            # Frame i takes the zone of number i + 1. qpfile, which would be plainer, is ignored by the library.
            zones = "/".join(f"{k + 1},{k + 1},q={value}" for k, value in enumerate(qps))
            parameters += [_LOW_DELAY, f"zones={zones}"]
        return parameters


def check_options(coding: Coding) -> None:
    """Opens the encoder; ValueError names a parameter that it does not know, which it would pass over in silence."""
    try:
        with Listening(av.logging.WARNING) as said:
            _open(coding, (64, 64), 1).open()
    except av.error.FFmpegError as error:
        raise ValueError(f"{coding.codec} does not take the options {dict(coding.options)}: {error}") from error
    complaints = [text.strip().rstrip(".") for _, _, text in said.lines if "option" in text or "Invalid value" in text]
    if complaints:
        raise ValueError(f"{coding.codec}: {'; '.join(complaints)}")


def coded_size(height: int, width: int, codec: str) -> tuple[int, int]:
    """The sides that ``codec`` codes in 4:2:0 that hold ``height`` by ``width``: even, and no less than its least."""
    least_width, least_height = ENCODERS[CODECS[codec]].minimum
    return max(height + height % 2, least_height), max(width + width % 2, least_width)


def recode(frames: Sequence[tuple[Plane, ...]], coding: Coding) -> tuple[list[tuple[Plane, ...]], list[float]]:
    """Frames coded and decoded again, in memory, and the QP of each.

    Args:
        frames: 8-bit planes Y, Cb, Cr in 4:2:0 of one size, in order, at least one. Odd sides and sides that the
            encoder does not take are padded by repeating the last row and column, and cropped again.
        coding: how.

    Returns:
        as many frames of the same size, in the same order; and as many QPs, see
        :func:`restore.media.quantizers.frame_qps`.

    Raises:
        ValueError: the encoder does not take the options.
    """
    height, width = frames[0][0].shape
    size = coded_size(height, width, coding.codec)
    stream = _encode([_padded(planes, size) for planes in frames], size, coding)
    qps = SliceHeaders(CODECS[coding.codec]).read(stream)
    decoder: Any = av.CodecContext.create(CODECS[coding.codec], "r")
    decoder.thread_count = 1
    decoded = [frame for packet in [*stream, None] for frame in decoder.decode(packet)]
    if len(decoded) != len(frames):
        raise ValueError(f"{coding.label} gave {len(decoded)} frames for {len(frames)}; please report this bug")
    shapes = LAYOUT.shapes(height, width)
    out = []
    for frame in decoded:
        planes = frame_to_planes(frame)[1]
        out.append(tuple(plane[:h, :w] for plane, (h, w) in zip(planes, shapes, strict=True)))
    return out, [qp for _, qp in sorted(zip([packet.pts for packet in stream], qps, strict=True))]


def _padded(planes: tuple[Plane, ...], size: tuple[int, int]) -> tuple[Plane, ...]:
    wanted = LAYOUT.shapes(*size)
    return tuple(
        np.pad(plane, ((0, h - plane.shape[0]), (0, w - plane.shape[1])), mode="edge")
        for plane, (h, w) in zip(planes, wanted, strict=True)
    )


def _encode(frames: list[tuple[Plane, ...]], size: tuple[int, int], coding: Coding) -> list[Any]:
    packets: list[Any] = []
    try:
        encoder = _open(coding, size, len(frames))
        for number, planes in enumerate(frames):
            picture = planes_to_frame(planes, LAYOUT, LAYOUT.pix_fmt)
            picture.pts, picture.time_base = number, encoder.time_base
            packets += encoder.encode(picture)
        packets += encoder.encode(None)
    except (av.error.FFmpegError, LookupError) as error:
        told = f" with the options {dict(coding.options)}" if coding.options else ""
        raise ValueError(f"{coding.codec} cannot code {size[1]}x{size[0]} pictures{told}: {error}") from error
    return packets


def _open(coding: Coding, size: tuple[int, int], frames: int) -> av.VideoCodecContext:
    short = CODECS[coding.codec]
    encoder = av.CodecContext.create(ENCODERS[short].library, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = size
    encoder.pix_fmt = LAYOUT.pix_fmt
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = encoder_options(short, coding.output_options(frames), size[1], size[0])
    return encoder
