"""Which frames of a comparison are kept for its page."""

from __future__ import annotations

import numpy as np
import pytest
from restore.evaluation.compare_frames import Selection


def select(scores, **settings):
    """Offers all frames; the numbers kept, and how many were encoded."""
    scores = np.atleast_2d(scores)
    selection, made = Selection(len(scores), **settings), []
    most = 0
    for i, column in enumerate(scores.T):
        selection.offer(i, list(column), lambda i=i: made.append(i) or (b"x" * 100,))
        most = max(most, len(selection.kept))
    return sorted(selection.kept), made, most


def test_all_frames_are_kept_while_they_fit():
    assert select(np.random.default_rng(0).random(40), limit=40)[0] == list(range(40))
    assert select(np.full(7, np.inf), limit=9)[0] == list(range(7))


@pytest.mark.parametrize("limit", [3, 8, 24, 60])
def test_else_the_worst_of_each_version_and_evenly_spaced_ones(limit):
    scores = np.random.default_rng(1).random((2, 1000)) + np.array([[0.0], [5.0]])
    kept, _, most = select(scores, limit=limit)
    assert limit // 2 - 1 <= len(kept) <= limit
    assert most <= limit
    assert {int(s.argmin()) for s in scores} <= set(kept)
    if limit >= 8:
        # The first frame, and no long stretch of which there is nothing to see.
        assert kept[0] == 0
        assert max(np.diff([*kept, 1000])) <= 1000 * 4 / limit


def test_a_budget_bounds_the_bytes_and_one_frame_is_always_kept():
    scores = np.random.default_rng(2).random((2, 300))
    kept, made, most = select(scores, budget=1000)
    assert 5 <= len(kept) <= 10
    assert most <= 10
    assert len(made) < 200
    assert len(select(scores, budget=10)[0]) == 1
    assert select(scores[:1], limit=1)[0] == [int(scores[0].argmin())]
