from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from restore.media.encoders import DEFAULTS, choose_codec, choose_layout
from restore.media.frame import PixelLayout
from restore.media.pixels import planes_to_frame
from restore.media.reader import VideoReader
from restore.media.writer import VideoWriter, tag_colors

torch.set_num_threads(1)
QUIET = {"libx265": {"x265-params": "log-level=none"}, "libx264": {"preset": "ultrafast", "bf": "2", "b-adapt": "0"}}


def random_planes(layout, height, width, seed=0):
    rng = np.random.default_rng(seed)
    top = 1 << layout.bit_depth
    return tuple(rng.integers(0, top, s).astype(layout.dtype) for s in layout.shapes(height, width))


def smooth_planes(layout, height, width, k):
    top = (1 << layout.bit_depth) - 1
    planes = []
    for c, (h, w) in enumerate(layout.shapes(height, width)):
        x = np.linspace(0.2, 0.7, w)[None, :] + np.zeros((h, 1)) + 0.01 * (k % 10) + 0.03 * c
        planes.append((x * top).astype(layout.dtype))
    return tuple(planes)


def make_clip(
    path,
    frames=12,
    size=(48, 64),
    codec="libx264",
    pix_fmt="yuv420p",
    pts=None,
    time_base=Fraction(1, 12800),
    step=512,
    options=None,
    container_options=None,
    codes=None,
    planes=smooth_planes,
    prepare=None,
    audio=0,
    gop=None,
):
    """A small clip; ``prepare(container, stream)`` may add more before the header is written."""
    height, width = size
    layout = PixelLayout.from_pix_fmt(pix_fmt)
    with av.open(str(path), "w", container_options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = {**QUIET.get(codec, {}), **(options or {})}
        stream.codec_context.time_base = time_base
        if gop:
            stream.codec_context.gop_size = gop
        if codes:
            tag_colors(stream.codec_context, codes)
        tracks = [out.add_stream("aac", rate=48000) for _ in range(audio)]
        for number, track in enumerate(tracks):
            track.metadata["language"] = ("eng", "deu")[number % 2]
        if prepare:
            prepare(out, stream)
        out.start_encoding()
        for k in range(frames):
            frame = planes_to_frame(planes(layout, height, width, k), layout, pix_fmt)
            frame.pts, frame.time_base = (pts[k] if pts else k * step), time_base
            if codes:
                tag_colors(frame, codes)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        for number, track in enumerate(tracks):
            for k in range(20):
                sound = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
                for plane in sound.planes:
                    wave = np.sin(np.arange(1024) * (0.05 + 0.05 * number)).astype(np.float32)
                    plane.update(wave.tobytes())
                sound.pts, sound.sample_rate, sound.time_base = k * 1024, 48000, Fraction(1, 48000)
                out.mux(track.encode(sound))
            out.mux(track.encode(None))
    return path


def copy_video(source, target, options=DEFAULTS, change=None):
    """Reader to writer; ``change`` maps a frame. Returns the writer."""
    with VideoReader(source) as reader:
        info = reader.info
        codec = choose_codec(target, info.layout, options, info.width)
        layout = choose_layout(info.layout, info.width, info.height, codec, options.pixel_format)
        with VideoWriter(target, reader, info.width, info.height, layout, options=options) as writer:
            reader.on_packet = writer.copy
            for frame in reader:
                writer.write(change(frame) if change else frame)
            writer.commit()
    return writer


def read_all(path):
    with VideoReader(path) as reader:
        return list(reader)


@pytest.fixture
def clips():
    return SimpleNamespace(make=make_clip, copy=copy_video, read=read_all, random=random_planes, smooth=smooth_planes)
