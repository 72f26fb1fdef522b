"""The paper's Table 1 from any weights: every problem, every method, with parameters and time.

    python -m restore_videoonet.table --root DIR                                  # Rotated MNIST, the weights that ship
    python -m restore_videoonet.table --root DIR --weights runs/a/final.safetensors runs/b/final.safetensors --paper
    python -m restore_videoonet.table --data scanned-cifar10 --root DIR --count 500 -o table.md

PSNR of a video is 10 log10(numbers / sum of squared errors), nothing clamped or rounded; cells are means over videos.
Every method sees the same measurements. All draws follow from the problem and the video alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Mapping

import attrs
import torch
from restore import Degradation, RequestError, RestoreError, Step
from restore import weights as weight_files
from restore.document import Document
from restore.evaluation.evaluate import restored
from restore.functional.seeding import seeded
from restore.modelling import build_model, builder, pick_device
from restore.plugins import registry
from restore.recipe import Use
from torch import Tensor, nn

from restore_videoonet.networks.unrolled import VideoOneNet
from restore_videoonet.problems import reported
from restore_videoonet.published import TABLE_1

CLASSICAL = {
    "zero filling": "videoonet:zero-filling",
    "pseudo-inverse": "videoonet:pseudo-inverse",
    "3D wavelets": "videoonet:wavelets",
    "3D Haar wavelets": "videoonet:wavelets-haar",
    "total variation": "videoonet:total-variation",
}
# An error of nothing at all would be infinite.
_MOST_DB = 150.0


@attrs.define
class Row:
    """A method and what became of it.

    Attributes:
        name: of the row.
        model: called with a measurement and its operator.
        psnr: in dB, by problem: the mean over videos.
        seconds: for one video and one problem, in the mean.
    """

    name: str
    model: nn.Module
    psnr: dict[str, float] = attrs.field(factory=dict)
    seconds: float = 0.0

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def mean(self) -> float:
        """Over the problems, in dB."""
        return sum(self.psnr.values()) / len(self.psnr)


def psnr(clips: Tensor, target: Tensor) -> list[float]:
    """Of every video of ``(B, T, C, H, W)`` in dB, for values in [0, 1]; at most 150."""
    error = (clips.double() - target.double()).square().flatten(1).mean(1)
    return torch.log10(error.clamp_min(10 ** (-_MOST_DB / 10))).mul(-10).tolist()


def of_weights(path: Path) -> Row:
    """The network that a weights file was trained as, from what the file says of itself.

    Raises:
        RequestError: the file says nothing, or names another model.
    """
    found = weight_files.read(path)
    component = found.metadata.get("component", "")
    if component != "videoonet:videoonet":
        raise RequestError(f"{path} are weights of {component or 'an unknown model'}, not of videoonet:videoonet")
    parameters = json.loads(found.metadata.get("parameters", "{}"))
    model, _ = _built(component, parameters)
    weight_files.load_into(model, found)
    assert isinstance(model, VideoOneNet)
    return Row(network_name(model), model)


def network_name(model: VideoOneNet) -> str:
    """As in Table 1: ``"OneNet CNN"``, ``"VideoOneNet BCRNN"``, ..."""
    kinds = {"none": "CNN", "forward": "CRNN", "bidirectional": "BCRNN"}
    return f"{'VideoOneNet' if len(model.data) else 'OneNet'} {kinds[model.recurrence]}"


def _built(component: str, parameters: Mapping[str, Any]) -> tuple[nn.Module, str]:
    place = Document("table", "", {}).root
    return build_model(Use(component, dict(parameters), place), builder(registry()))


@torch.no_grad()
def measure(
    rows: list[Row],
    dataset: Any,
    problems: Mapping[str, Degradation],
    batch: int = 50,
    device: torch.device | str = "cpu",
) -> None:
    """Fill in PSNR and seconds of all rows.

    Args:
        rows: methods, on ``device``; they are put into evaluation mode.
        dataset: clips ``(T, C, H, W)`` in [0, 1].
        problems: by name.
        batch: videos at once.
        device: where they are restored.
    """
    scores: dict[tuple[int, str], list[float]] = {}
    seconds = [0.0] * len(rows)
    for row in rows:
        row.model.eval()
    for first in range(0, len(dataset), batch):
        clean = torch.stack([dataset[i] for i in range(first, min(first + batch, len(dataset)))]).to(device)
        for number, (name, problem) in enumerate(problems.items()):
            pair = problem(clean, Step(generator=seeded(125, number, first)))
            assert pair.operator is not None
            for k, row in enumerate(rows):
                began = time.perf_counter()
                answer = row.model(pair.observed, pair.operator)
                scores.setdefault((k, name), []).extend(psnr(restored(answer), pair.target))
                seconds[k] += time.perf_counter() - began
        print(f"{min(first + batch, len(dataset))} of {len(dataset)} videos", file=sys.stderr)
    for k, row in enumerate(rows):
        row.psnr = {name: sum(scores[k, name]) / len(scores[k, name]) for name in problems}
        row.seconds = seconds[k] / (len(dataset) * len(problems))


def markdown(rows: list[Row], published: Mapping[str, list[float]], title: str) -> str:
    """The table, with the paper's rows below where they are given, and what the best network wins."""
    names = list(rows[0].psnr)
    lines = [
        title,
        "",
        "| | " + " | ".join([*names, "mean", "parameters", "ms"]) + " |",
        "| --- " * (len(names) + 4) + "|",
    ]
    for row in rows:
        cells = [f"{value:.1f}" for value in [*row.psnr.values(), row.mean]]
        lines.append(
            f"| {row.name} | " + " | ".join([*cells, f"{row.parameters:,}", f"{1000 * row.seconds:.1f}"]) + " |"
        )
    for name, values in published.items():
        cells = [f"{value:.1f}" for value in [*values, sum(values) / len(values)]]
        lines.append(f"| paper: {name} | " + " | ".join([*cells, "", ""]) + " |")
    return "\n".join([*lines, "", *_comparison(rows)]) + "\n"


def _comparison(rows: list[Row]) -> list[str]:
    by_name = {row.name: row for row in rows}
    best, other = by_name.get("VideoOneNet BCRNN"), by_name.get("OneNet CNN")
    if best is None or other is None:
        return []
    above = sum(best.psnr[name] > other.psnr[name] for name in best.psnr)
    gain = best.mean - other.mean
    return [
        f"VideoOneNet BCRNN is above OneNet CNN on {above} of {len(best.psnr)} problems, {gain:+.2f} dB in the mean."
    ]


def _shipped(data: str) -> list[Path]:
    component = registry().find("model", "videoonet:videoonet").component
    return [weight_files.find(f"videoonet:{name}", registry()) for name in component.weights if name.startswith(data)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(TABLE_1), default="rotated-mnist")
    parser.add_argument("--root", required=True, help="folder of the data's official files")
    parser.add_argument("--split", choices=["train", "validation", "test"], default="test")
    parser.add_argument("--count", type=int, help="only the first so many videos")
    parser.add_argument("--weights", type=Path, nargs="+", help="of networks [default: those that ship for this data]")
    parser.add_argument("--methods", nargs="*", choices=list(CLASSICAL), default=list(CLASSICAL), metavar="NAME",
                        help=f"classical ones: {', '.join(CLASSICAL)} [default: all]")  # fmt: skip
    parser.add_argument("--problems", nargs="+", metavar="NAME", help="only these, as Table 1 names them")
    parser.add_argument("--legacy", action="store_true", help="the 3x3 motion blur of the published code")
    parser.add_argument("--paper", action="store_true", help="print the paper's rows too")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file too")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    options = _options()
    device = pick_device(options.device)
    rows = [Row(name, _built(CLASSICAL[name], {})[0]) for name in options.methods]
    rows += [of_weights(path) for path in options.weights or _shipped(options.data)]
    if not rows:
        raise RequestError("nothing to measure: give --weights or --methods")
    for row in rows:
        row.model.to(device)
    place = Document("table", "", {}).root
    given = {"root": options.root, "split": options.split}
    given |= {} if options.count is None else {"count": options.count}
    dataset = builder(registry()).build("dataset", Use(f"videoonet:{options.data}", given, place))
    problems = reported(tuple(dataset[0].shape), options.legacy)
    unknown = [name for name in options.problems or () if name not in problems]
    if unknown:
        raise RequestError(f"no problem {unknown[0]!r}; there are: {', '.join(problems)}")
    chosen = {name: problems[name] for name in options.problems or problems}
    measure(rows, dataset, chosen, options.batch, device)
    columns = [list(problems).index(name) for name in chosen]
    published = TABLE_1[options.data] if options.paper else {}
    published = {name: [values[c] for c in columns] for name, values in published.items()}
    title = f"Mean PSNR in dB, {options.data}, {options.split}, {len(dataset)} videos"
    text = markdown(rows, published, title)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except RestoreError as error:
        sys.exit(f"restore_videoonet.table: {error}")
