"""The page of combinations is what the components of today give."""

from __future__ import annotations

import itertools

import pytest
from matrix import PAGE, THIRD_PARTY, Covering
from matrix_cells import AXES, NONE, PLAIN, Cell, Cells, Result, axes
from matrix_page import MARKS, page, read
from restore.plugins import registry

SAMPLED = 12


@pytest.fixture
def everything(installed):
    pytest.importorskip("unet")
    installed(*(p.parent for p in THIRD_PARTY.glob("*/pyproject.toml")))
    return registry()


def test_the_page_holds_every_component_and_nothing_is_broken(everything):
    marks, values = read(PAGE.read_text(encoding="utf-8")), axes(everything)
    named = [side for pair in marks for side in (pair[:2], pair[2:])]
    shown = {axis: {name for of, name in named if of == axis} for axis in AXES}
    missing = "python tools/matrix.py writes the page again"
    assert shown == {axis: set(names) for axis, names in values.items()}, missing
    for one, other in itertools.combinations(AXES, 2):
        assert len([p for p in marks if p[0] == one and p[2] == other]) == len(values[one]) * len(values[other])
    assert MARKS["broken"] not in marks.values()
    numbers = {int(mark) for mark in marks.values() if mark.isdigit()}
    reasons = PAGE.read_text(encoding="utf-8").partition("## Reasons")[2].splitlines()
    assert numbers == {int(line.partition(".")[0]) for line in reasons if line[:1].isdigit()}


def test_a_sample_of_its_cells_is_as_it_says(everything, tmp_path):
    """Every so many of the pairs of models and degradations; and the third-party packages among other things."""
    marks, cells = read(PAGE.read_text(encoding="utf-8")), Cells(everything, tmp_path)
    pairs = sorted(pair for pair in marks if pair[0] == "model" and pair[2] == "degradation")
    chosen = [Cell(model, degradation) for _, model, _, degradation in pairs[7 :: len(pairs) // SAMPLED]]
    chosen += [Cell("unet2d:unet2d", "fields:weave", loss="fields:lorentzian", method="eco:centroid")]
    chosen += [Cell("eco:edsr-baseline", "core:bicubic", "fields:lorentzian", "ssl_prune:ssl", "eco:noise-free")]
    for cell in chosen:
        result = cells(cell)
        mark = marks["model", cell.model, "degradation", cell.degradation]
        assert result.status != "broken", f"{cell}: {result.reason}"
        assert (MARKS.get(result.status) == mark) or (result.status == "refused" and mark.isdigit()), (
            f"{cell}: {result}"
        )


class Answers:
    """Cells that are known beforehand: `b` takes no `q`, `slow` none but `a`; nothing else is wrong."""

    def __init__(self):
        self.results = {}

    def __call__(self, cell):
        wrong = (cell.model == "b" and cell.degradation == "q") or (cell.pruner == "slow" and cell.model != "a")
        self.results[cell] = Result("refused", f"{cell.model} takes no such thing") if wrong else Result("works")
        return self.results[cell]


def test_every_pair_is_tried_and_what_is_refused_is_refused_for_its_own_sake(everything):
    values = {
        "model": ["a", "b"], "degradation": ["p", "q"], "loss": ["core:charbonnier", "l"], "pruner": [NONE, "slow"],
        "method": [PLAIN, "m"],
    }  # fmt: skip
    covering = Covering(Answers(), values)
    covering.run()
    refused = {pair for pair, result in covering.verdicts.items() if result.status == "refused"}
    assert refused == {("model", "b", "degradation", "q"), ("model", "b", "pruner", "slow")}
    assert len(covering.verdicts) == 10 * 4
    assert len(covering.cells.results) < 2**5
    text = page(everything, values, covering.verdicts, covering.cells.results)
    marks = read(text)
    assert marks["model", "b", "pruner", "slow"] == marks["model", "b", "degradation", "q"] == "1"
    assert marks["pruner", "slow", "method", "m"] == "✓"
    assert "1. b takes no such thing" in text
