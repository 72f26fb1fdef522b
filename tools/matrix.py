"""What combines with what: tries models, degradations, losses, pruners and training methods together.

    python tools/matrix.py                  # all of it, some minutes; writes docs/combinations.md
    python tools/matrix.py --only eco:rcan  # cells with one of these components; prints them

Every pair of values on two axes is tried in at least one cell (pairwise covering), not every product of all five.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Iterator

import attrs
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]

from installed import Site  # noqa: E402
from matrix_cells import AXES, NONE, PARTNERS, PLAIN, Cell, Cells, Result, axes  # noqa: E402
from matrix_page import Pair, alike, page, pair  # noqa: E402

THIRD_PARTY = ROOT / "tests" / "thirdparty"
PAGE = ROOT / "docs" / "combinations.md"
DEFAULTS = {"loss": "core:charbonnier", "pruner": NONE, "method": PLAIN}
# A pair that fails in one cell is tried in so many others before it counts as refused.
_TRIES = 3


def pairs_of(cell: Cell) -> list[Pair]:
    """The ten pairs that a cell tries."""
    return [(a, getattr(cell, a), b, getattr(cell, b)) for a, b in itertools.combinations(AXES, 2)]


class Covering:
    """Tries cells until each pair of values has worked in one, or was refused for a reason that is its own.

    Args:
        cells: tries them.
        values: of each axis.
        keep: a file for results, read where it is there.
    """

    def __init__(self, cells: Cells, values: dict[str, list[str]], keep: Path | None = None) -> None:
        self.cells, self.values = cells, values
        self.verdicts: dict[Pair, Result] = {}
        self.shown, self.count, self.keep = time.monotonic(), 0, keep
        if keep is not None and keep.exists():
            for line in keep.read_text().splitlines():
                cell, result = json.loads(line)
                self.cells.results[Cell(**cell)] = Result(**result)

    def run(self) -> None:
        """All pairs: models with degradations first, as all others need one of each that go together."""
        for model, degradation in itertools.product(self.values["model"], self.values["degradation"]):
            self._settle(("model", model, "degradation", degradation), [Cell(model, degradation)])
        order = [(a, b) for a, b in itertools.combinations(AXES, 2) if "model" in (a, b)]
        order += [(a, b) for a, b in itertools.combinations(AXES, 2) if "model" not in (a, b)]
        for one, other in order[1:]:
            for first, second in itertools.product(self.values[one], self.values[other]):
                known = (one, first, other, second)
                if known not in self.verdicts:
                    self._settle(known, self._candidates(known))

    def _settle(self, wanted: Pair, candidates: Any) -> None:
        last = Result("refused", "no model, degradation and method here take both, each with what it works with")
        reasons = set()
        for cell in itertools.islice(candidates, _TRIES + 1):
            last = self.try_out(cell)
            if last.status != "refused" or alike(last.reason, wanted) in reasons:
                break
            reasons.add(alike(last.reason, wanted))
        self.verdicts.setdefault(wanted, last)

    def try_out(self, cell: Cell) -> Result:
        """Try a cell; what works, works for all its pairs."""
        result = self.cells(cell)
        if result.status in ("works", "runs"):
            for each in pairs_of(cell):
                if self.verdicts.get(each, result).status != "works":
                    self.verdicts[each] = result
        known = len(self.cells.results) == self.count
        self.count = len(self.cells.results)
        if self.keep is not None and not known:
            with self.keep.open("a") as file:
                file.write(json.dumps([attrs.asdict(cell), attrs.asdict(result)]) + "\n")
        if result.status == "broken" and not known:
            print(f"BROKEN {cell}: {result.reason}", file=sys.stderr, flush=True)
        if time.monotonic() - self.shown > 30:
            self.shown = time.monotonic()
            print(f"{self.count} cells, {len(self.verdicts)} pairs", file=sys.stderr, flush=True)
        return result

    def _candidates(self, wanted: Pair) -> Iterator[Cell]:
        """Cells with both values: first one that tries many other pairs too, then those where all else is plain."""
        fixed = {wanted[0]: wanted[1], wanted[2]: wanted[3]}
        partners = {axis: value for name in fixed.values() for axis, value in PARTNERS.get(name, {}).items()}
        least = {**DEFAULTS, **partners, **fixed}
        plain = [Cell(**{**least, "model": m, "degradation": d}) for m, d in self._bases(fixed)]
        yield from (self._richer(cell, {**partners, **fixed}) for cell in plain[:1])
        yield from plain[:_TRIES]

    def _bases(self, fixed: dict[str, str]) -> list[tuple[str, str]]:
        """Models and degradations that train together, and with the other fixed values, as far as is known."""
        found = []
        for model, degradation in itertools.product(self.values["model"], self.values["degradation"]):
            base = {"model": model, "degradation": degradation}
            if any(fixed.get(axis, value) != value for axis, value in base.items()):
                continue
            together = self.verdicts[pair("model", model, "degradation", degradation)].status
            # A model with nothing to train says so itself, where it is the one that is asked for.
            ready = together == "works" or (together == "runs" and "model" in fixed)
            if ready and not self._refused({**base, **fixed}, fixed):
                found.append((model, degradation))
        # Spread over the models, so that the next try is unlike the last.
        turn, turns = [], Counter[str]()
        for base in found:
            turn.append((turns[base[0]], len(turn), base))
            turns[base[0]] += 1
        return [base for _, _, base in sorted(turn)]

    def _refused(self, chosen: dict[str, str], fixed: dict[str, str]) -> bool:
        """Whether two of these are known not to go together, but for the fixed ones themselves."""
        for one, other in itertools.combinations(chosen, 2):
            if one in fixed and other in fixed:
                continue
            result = self.verdicts.get(pair(one, chosen[one], other, chosen[other]))
            if result is not None and result.status not in ("works", "runs"):
                return True
        return False

    def _richer(self, cell: Cell, fixed: dict[str, str]) -> Cell:
        """The cell with what else was not tried yet in the place of what is plain."""
        chosen = {axis: getattr(cell, axis) for axis in AXES}
        for axis in ("loss", "pruner", "method"):
            if axis in fixed:
                continue
            others = {a: v for a, v in chosen.items() if a != axis}
            news = {
                value: sum(pair(axis, value, a, v) not in self.verdicts for a, v in others.items())
                for value in self.values[axis]
                if not self._refused({**others, axis: value}, others)
            }
            if news:
                chosen[axis] = max(news, key=lambda value: news[value])
        return Cell(**chosen)


def on_path(site: Path) -> list[str]:
    """The third-party packages as if they were installed; their distributions."""
    made = Site(site)
    for project in sorted(THIRD_PARTY.iterdir()):
        if (project / "pyproject.toml").is_file():
            made.add(project)
    sys.path[:0] = made.path
    return made.path


def main() -> None:
    """Everything, or what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", help="components; print the cells of these with each degradation and more")
    parser.add_argument("--keep", type=Path, help="file of cells that were tried, to go on from after a break")
    parser.add_argument("-o", "--output", type=Path, default=PAGE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        on_path(Path(folder) / "site")
        from restore.plugins import registry

        values = axes(registry())
        covering = Covering(Cells(registry(), Path(folder)), values, asked.keep)
        if asked.only:
            _print(covering, values, asked.only)
            return
        covering.run()
        asked.output.write_text(page(registry(), values, covering.verdicts, covering.cells.results))
    broken = [(cell, r) for cell, r in covering.cells.results.items() if r.status == "broken"]
    spent = f"{len(covering.cells.results)} cells in {time.perf_counter() - begin:.0f} s"
    print(f"{spent}, {len(broken)} broken: {asked.output}")


def _print(covering: Covering, values: dict[str, list[str]], only: list[str]) -> None:
    """Every value of the other axes with these components, all else plain; models with each degradation."""
    for name in only:
        axis = next(a for a in AXES if name in values[a])
        start = {"model": "eco:edsr-baseline", "degradation": "core:inpainting", **DEFAULTS, axis: name}
        cells = [Cell(**{**start, a: v}) for a in AXES if a != axis for v in values[a]]
        for cell in dict.fromkeys(cells):
            begin = time.perf_counter()
            result = covering.try_out(cell)
            print(f"{cell}: {result.status} {result.reason} ({time.perf_counter() - begin:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
