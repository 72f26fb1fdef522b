"""What several files of long jobs work on."""

from __future__ import annotations

import pytest
from long_work import moving


@pytest.fixture
def source(clips, tmp_path):
    """90 frames at uneven times, with sound, a key frame every 12."""
    times = [512 * k + 100 * (k % 3) for k in range(90)]
    return clips.make(tmp_path / "in.mp4", frames=90, size=(32, 48), planes=moving, pts=times, audio=1, gop=12)
