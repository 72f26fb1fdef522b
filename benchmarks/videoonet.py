"""VideoOneNet's training step: memory and time, matrix-free against the paper's dense pseudo-inverses; and a video of
real size under activation checkpointing.

    python benchmarks/videoonet.py                     # all three, each in a process of its own
    python benchmarks/videoonet.py --only dense --problem TDD

The step is that of UCF-101 (batch 2, 4x32x32x3, 256 filters, 13 iterations, Adam). ``prepare`` is what is done once for
a batch before the network runs: nothing matrix-free, the inverses when dense (by Cholesky; the published singular value
decomposition takes longer). ``video`` is inpainting of 16x3x256x256, forward and backward, with the network of
videoonet:small-general and with 64 filters at full size. Memory is the process's peak resident set; seconds are CPU
seconds, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from restore.contracts import Step
from restore.functional.seeding import seeded
from restore.operators import Mask, Mixed
from restore_videoonet.networks.steps import DenseStep
from restore_videoonet.networks.unrolled import VideoOneNet
from restore_videoonet.problems import reported

UCF = (4, 3, 32, 32)
KINDS = ("matrix-free", "dense", "video", "video-64")


def peak() -> float:
    """The largest resident set so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def training_step(solver: Any, problem: str, filters: int, iterations: int) -> dict[str, Any]:
    """One step at UCF-101's size; both samples have the problem, drawn apart."""
    torch.manual_seed(0)
    clean = torch.rand(2, *UCF, generator=seeded(0))
    pairs = [reported(UCF)[problem](clip, Step(generator=seeded(k))) for k, clip in enumerate(clean.split(1))]
    singles = [p.operator.operators[0] if isinstance(p.operator, Mixed) else p.operator for p in pairs]
    operator: Any = Mixed(singles)
    observed = operator.join([p.observed[0] for p in pairs])
    model = VideoOneNet(filters=filters, iterations=iterations, solver=solver).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, betas=(0.0, 0.9))
    before = peak()
    started = time.process_time()
    prepared = None
    if solver == "dense":
        prepared = DenseStep(operator, observed, model.rho)
        model._steps = lambda *_: [prepared]  # type: ignore[method-assign, assignment, list-item]
    else:
        operator.data_step(observed, model.rho)(clean)
    seconds = time.process_time() - started
    after = peak()
    started = time.process_time()
    answer: Any = model(observed, operator)
    (answer.restored - clean).square().mean().backward()
    optimizer.step()
    step = time.process_time() - started
    return {"problem": problem, "prepare s": seconds, "prepare GiB": after - before, "step s": step, "peak GiB": peak()}


def video(**network: Any) -> dict[str, Any]:
    """Inpainting of a 16x3x256x256 clip, forward and backward."""
    torch.manual_seed(0)
    shape = 16, 3, 256, 256
    operator = Mask(shape, torch.rand(16, 1, 256, 256, generator=seeded(1)) > 0.3)
    clean = torch.rand(1, *shape, generator=seeded(2))
    model = VideoOneNet(encoder_kernel=3, decoder_kernel=3, checkpoint=True, **network).train()
    started = time.process_time()
    answer: Any = model(operator(clean), operator)
    forward = time.process_time() - started
    (answer.restored - clean).square().mean().backward()
    return {"forward s": forward, "both s": time.process_time() - started, "peak GiB": peak()}


def measured(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """One of the four."""
    torch.set_num_threads(options.threads)
    if kind == "video":
        own = {"residual": True, "normalization": "none", "unshuffle": 2, "smooth": 0.01}
        return video(filters=32, iterations=3, share_weights=False, learn_rho="each", **own)
    if kind == "video-64":
        return video(filters=64, iterations=2)
    return training_step(kind, options.problem, options.filters, options.iterations)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--problem", default="C", help="as Table 1 names it; TDD has the largest matrix")
    parser.add_argument("--filters", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=13)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only, options)))
        return
    for kind in KINDS:
        own = [sys.executable, __file__, "--only", kind, *sys.argv[1:]]
        found = json.loads(subprocess.run(own, check=True, capture_output=True, text=True).stdout)
        print(f"{kind}: " + ", ".join(f"{k} {v:.2f}" if isinstance(v, float) else str(v) for k, v in found.items()))


if __name__ == "__main__":
    main()
