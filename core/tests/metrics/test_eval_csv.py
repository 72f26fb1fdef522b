"""`restore eval --csv`."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def test_eval_writes_csv(restore, photo):
    photo("set/one.png", size=(48, 40))
    photo("set/two, three.png", "L", size=(40, 48))
    arguments = ("eval", "--recipe", "bicubic", "--data", "set", "--csv", "table.csv")
    answer = restore(*arguments, "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    lines = Path("table.csv").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0].removeprefix("# protocol: ")) == document["protocol"]
    assert json.loads(lines[1].removeprefix("# model: "))["component"] == "core:bicubic"
    rows = list(csv.DictReader(lines[2:]))
    assert [r["name"] for r in rows] == ["one", "two, three", "mean"]
    for row, result in zip(rows, [*document["results"], document["mean"]], strict=True):
        for key in ("psnr", "ssim", "seconds"):
            assert float(row[key]) == result[key]
    again = restore(*arguments)
    assert again.code == 2
    assert "table.csv exists" in again.err
    assert restore(*arguments, "--overwrite").code == 0
    assert restore(*arguments[:-1], "no/table.csv").code == 2
