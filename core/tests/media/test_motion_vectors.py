"""Motion vectors of H.264 streams against a pan that is known."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from restore.errors import RequestError
from restore.media.motion_vectors import motion_vectors

HEIGHT, WIDTH, FRAMES = 128, 160, 10
# How the view moves over the picture in each frame: what is at p now was at p + PAN one frame ago.
PAN = (3, -2)


def texture():
    noise = torch.rand(1, 1, 260, 320, generator=torch.Generator().manual_seed(0))
    smooth = F.avg_pool2d(noise, 5, 1, 2)[0, 0]
    return ((smooth - smooth.mean()) * 4 + 0.5).clamp(0, 1).mul(255).byte().numpy()


def write(path, parameters, codec="libx264", options=None):
    picture = texture()
    with av.open(path, "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "20", "x264-params": parameters} if codec == "libx264" else options or {}
        for t in range(FRAMES):
            x, y = 60 + PAN[0] * t, 60 + PAN[1] * t
            grey = np.repeat(picture[y : y + HEIGHT, x : x + WIDTH, None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="rgb24").reformat(format="yuv420p")
            frame.pts = t
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


CODINGS = {
    "P.mp4": "bframes=0:ref=1:weightp=0",
    "B.mp4": "bframes=2:b-adapt=0:b-pyramid=none:ref=1:weightp=0:scenecut=0",
    "pyramid.mkv": "bframes=3:b-adapt=0:b-pyramid=strict:ref=1:weightp=0:scenecut=0",
    "start-codes.ts": "bframes=0:ref=1:weightp=0",
}


@pytest.mark.parametrize("name", list(CODINGS))
def test_a_pan_is_found_whatever_the_distance_of_its_references(tmp_path, name):
    found = list(motion_vectors(write(tmp_path / name, CODINGS[name])))
    assert [f.index for f in found] == list(range(FRAMES))
    assert found[0].kind == "I"
    assert not found[0].field()[1].any()
    for frame in found[1:]:
        field, known = frame.field()
        assert field.shape == (2, HEIGHT // 4, WIDTH // 4)
        assert known.mean() > 0.7
        # Opposite sides meet new texture; inside, blocks follow the pan. Signs, axes and distances are all in this.
        inside = known[4:-4, 4:-4]
        apart = np.abs(field[:, 4:-4, 4:-4] - np.array(PAN, np.float32)[:, None, None]).max(0)[inside]
        assert np.median(apart) <= 0.25, frame.kind
        assert (apart <= 0.5).mean() > 0.8, frame.kind


def test_distances_are_those_of_the_reference_structure(tmp_path):
    frames = list(motion_vectors(write(tmp_path / "b.mp4", CODINGS["B.mp4"])))
    kinds = "".join(f.kind for f in frames)
    assert kinds.startswith("IBBPBBP")
    assert [(f.past, f.future) for f in frames[:7]] == [(0, 0), (1, 2), (2, 1), (3, 0), (1, 2), (2, 1), (3, 0)]
    # At full length a P-frame's vectors span all three frames.
    field, known = frames[3].field(per_frame=False)
    assert np.median(field[0][known]) == pytest.approx(3 * PAN[0], abs=0.3)


def test_only_so_many_frames_are_read(tmp_path):
    assert len(list(motion_vectors(write(tmp_path / "p.mp4", CODINGS["P.mp4"]), frames=3))) == 3


def test_what_holds_no_vectors_is_refused_at_once(tmp_path):
    with pytest.raises(RequestError, match="without times"):
        motion_vectors(write(tmp_path / "bare.h264", CODINGS["P.mp4"]))
    path = write(tmp_path / "ffv1.mkv", "", "ffv1")
    with pytest.raises(RequestError, match=r"is ffv1; motion vectors can be read of H.264 alone"):
        motion_vectors(path)
