"""What goes in: shares of a batch, pairs, clips of several frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from restore.errors import RequestError
from restore.functional.seeding import seeded
from restore.training.data import Samples, batches


class Numbers:
    def __init__(self, count=7):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.tensor([index])


def test_shares_of_all_devices_and_parts_make_the_batch():
    data = Numbers(100)
    whole = [b.flatten().tolist() for b in batches(data, 3, 8, 2, 4, first=20)]
    assert whole == [[int(Samples(data, 3)[k]) for k in range(20 + 8 * i, 28 + 8 * i)] for i in range(2)]
    shares = [
        [b.flatten().tolist() for b in batches(data, 3, 8, 2, 4, first=20, parts=2, rank=r, devices=2)] for r in (0, 1)
    ]
    joined = [[shares[r][2 * i + part] for part in (0, 1) for r in (0, 1)] for i in range(2)]
    assert [[k for share in j for k in share] for j in joined] == whole


def test_clips_of_one_batch_must_agree_in_size():
    class Ragged(Numbers):
        def __getitem__(self, index):
            return torch.zeros(1, 3, 4 + index % 2, 4)

    with pytest.raises(RequestError, match="clips of one batch differ in size.*give the data a patch"):
        list(batches(Ragged(), 0, 7, 0, 1))


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(2)
    for side, size in (("sharp", 24), ("small", 12)):
        for clip in ("a", "b"):
            folder = tmp_path / side / clip
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 256, (size, size, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


def frames(root, more=""):
    return f'{{ use = "frames", root = "{root.as_posix()}"{more} }}'


def test_a_video_model_trains_on_clips_of_frames(recipe, train, clips):
    seen = []
    data = f"data.train={frames(clips / 'sharp', ', length = 3, patch = 8')}"
    trainer = train(recipe("iterations = 2\n"), "run", "model.channels=rgb", data, fit=False)
    trainer.parts.model.register_forward_pre_hook(
        lambda module, x: seen.append(x[0].shape) if module.training else None
    )
    trainer.fit()
    assert seen == [(4, 3, 3, 4, 4)] * 2


def test_pairs_bring_both_sides_themselves(recipe, train, clips):
    path = recipe("iterations = 2\n")
    path.write_text(path.read_text().replace('[degradation]\nuse = "noisy"\n', ""))
    pairs = f"{{ use = 'paired', clean = {frames(clips / 'sharp')}, observed = {frames(clips / 'small')}"
    sets = (
        "model.channels=rgb",
        f"data.train={pairs}, length = 1, patch = 8 }}",
        f"data.validation={pairs}, length = 1 }}",
    )
    trainer = train(path, "run", *sets, "training.best=loss", fit=False)
    seen = []
    stepper = trainer._stepper
    inner = stepper._pair
    stepper._pair = lambda clips, step: seen.append(inner(clips, step)) or seen[-1]
    trainer.fit()
    assert [(p.observed.shape, p.target.shape) for p in seen] == [((4, 1, 3, 4, 4), (4, 1, 3, 8, 8))] * 2
    data = trainer.parts.train
    sample = data.sample_pair(Samples(data, 5).index(0), seeded(5, 2, 0))
    assert torch.equal(seen[0].observed[0], sample.observed)
    assert torch.equal(seen[0].target[0], sample.target)
    assert any("validation_loss" in h for h in trainer.directory.history())


def test_without_degradation_data_must_bring_both_sides(recipe, train):
    path = recipe("iterations = 2\n")
    path.write_text(path.read_text().replace('[degradation]\nuse = "noisy"\n', ""))
    with pytest.raises(RequestError, match=r"training needs a \[degradation\] table, or data that brings both sides"):
        train(path, "run")
