"""A few videos with the names, lists and format of UCF-101."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

# Name, in which list, and how many frames.
VIDEOS = (
    ("Archery/v_Archery_g08_c01.avi", "train", 9),
    ("Archery/v_Archery_g22_c02.avi", "train", 6),
    ("Bowling/v_Bowling_g23_c01.avi", "train", 5),
    ("Bowling/v_Bowling_g25_c01.avi", "train", 4),
    ("Bowling/v_Bowling_g07_c01.avi", "test", 8),
)


def write_ucf101(folder: Path, videos: tuple[tuple[str, str, int], ...] = VIDEOS) -> Path:
    """The official layout: ``UCF-101/CLASS/v_CLASS_gNN_cNN.avi`` and ``ucfTrainTestlist/trainlist01.txt``. Frame t of
    each video is grey of the level ``20 + 20 t`` with a bright upper left quarter."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for number, (name, part, frames) in enumerate(videos):
        path = folder / "UCF-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lists[part].append(name + (f" {number + 1}" if part == "train" else ""))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
            for t in range(frames):
                pixels = np.full((48, 64, 3), 20 + 20 * t, np.uint8)
                pixels[:24, :32] = 240
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)
    (folder / "ucfTrainTestlist").mkdir()
    for part, names in lists.items():
        (folder / "ucfTrainTestlist" / f"{part}list01.txt").write_text("\n".join(names) + "\n")
    return folder
