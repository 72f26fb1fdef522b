"""The table of `restore eval` as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Mapping

from restore.evaluation.evaluate import Report


def csv_text(report: Report, model: Mapping[str, Any]) -> str:
    """One row an image or clip and a last row ``mean``, at full precision. The frames of a clip are rows ``clip#0``,
    ``clip#1``, ... before it.

    The first two lines begin with ``#`` and hold, as JSON, the protocol and the model: a number never travels without
    them. Readers skip them with ``comment="#"`` or by dropping two lines. An infinite PSNR is ``inf``.

    Args:
        report: with at least one result.
        model: what was measured.
    """
    buffer = io.StringIO()
    for name, value in (("protocol", report.protocol), ("model", model)):
        buffer.write(f"# {name}: {json.dumps(value)}\n")
    columns = [key for key in report.results[0] if key != "frames"]
    writer = csv.DictWriter(buffer, fieldnames=columns, lineterminator="\n", restval="")
    writer.writeheader()
    for result in report.results:
        for number, frame in enumerate(result.get("frames", ())):
            writer.writerow({"name": f"{result['name']}#{number}", **frame})
        writer.writerow({key: result[key] for key in columns})
    writer.writerow({"name": "mean", **report.mean})
    return buffer.getvalue()
