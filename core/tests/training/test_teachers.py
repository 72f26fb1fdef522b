"""Teachers: frozen, shared, found wherever they are nested, cached by what they see."""

from __future__ import annotations

import pytest
import torch
from restore.build import Builder
from restore.contracts import Prediction, Traits, plain_degradation
from restore.document import load
from restore.errors import RestoreError
from restore.modelling import builder
from restore.recipe import check
from restore.teachers import FrozenModel
from restore.training.trainer import build_parts
from torch import nn


@pytest.fixture
def taught(recipe, train, tmp_path):
    """A recipe whose degradation holds a trained teacher twice."""
    donor = train(recipe("iterations = 2\n", "donor.toml"), "donor")
    table = f'{{ use = "toy", weights = "{donor.directory.weights("final").as_posix()}" }}'
    text = recipe("iterations = 3\n").read_text().replace(
        'use = "noisy"', f'use = "taught"\nbase = {{ use = "noisy" }}\nteacher = {table}\nother = {table}'
    )  # fmt: skip
    path = tmp_path / "taught.toml"
    path.write_text(text)
    return path, donor


def test_one_table_is_one_frozen_object(taught, registry, weights):
    path, donor = taught
    document = load(path)
    parts = build_parts(check(document), document, Builder(registry))
    degradation = parts.phases[0].degradation
    teacher = degradation.teacher
    assert teacher is degradation.other
    assert parts.teachers == (teacher,)
    assert not any(p.requires_grad for p in teacher.network.parameters())
    assert all(torch.equal(teacher.network.state_dict()[k], v) for k, v in weights(donor).items())
    clip = torch.rand(2, 1, 1, 8, 8, requires_grad=True)
    answer = teacher(clip)
    assert answer.shape == (2, 1, 1, 16, 16)
    assert not answer.requires_grad
    assert teacher(clip.detach().double()).dtype == torch.float64
    other = load(path, ("degradation.other.width=4",))
    parts = build_parts(check(other), other, Builder(registry))
    assert parts.phases[0].degradation.teacher is not parts.phases[0].degradation.other


def test_training_leaves_the_teacher_as_it_was_and_checkpoints_without_it(taught, train):
    trainer = train(taught[0], "student", fit=False)
    teacher = trainer.parts.phases[0].degradation.teacher
    before = teacher.digest
    trainer.fit()
    del teacher.digest
    assert teacher.digest == before
    assert not teacher.network.training
    assert not any("teacher" in k for k in trainer.directory.load_checkpoint()["model"])


def test_validation_and_evaluation_measure_what_the_model_undoes(taught, train, registry):
    path, _ = taught
    taught_one = train(path, "student", "training.iterations=1", "degradation.base.sigma=0.0", fit=False)
    degradation = taught_one.parts.phases[0].degradation
    assert plain_degradation(degradation) is degradation.base
    plain = train(path, "plain", "degradation={ use = 'noisy', sigma = 0.0 }", fit=False)
    assert taught_one.validate().mean["psnr"] == plain.validate().mean["psnr"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("degradation.teacher={ use = 'toy' }", "a teacher must have been trained: say weights"),
        ("degradation.teacher=toy", "a teacher must have been trained"),
        ("degradation.teacher=3", "needs a teacher: a table with use"),
        ("degradation.teacher.width=5", "do not fit this Toy"),
        ("degradation.teacher.use=tyo", "no model 'tyo'"),
        ("degradation.teacher.cache=3", "needs a folder"),
    ],
)
def test_mistakes_are_named(taught, cli, tmp_path, override, said):
    answer = cli("train", taught[0], "-o", tmp_path / "run", "--set", override)
    assert answer.code == 2
    assert said in answer.err


def test_a_builder_of_the_bare_kind_says_what_it_lacks(taught, registry):
    use = check(load(taught[0])).degradation
    with pytest.raises(RestoreError, match="this Builder makes no teachers"):
        Builder(registry).build("degradation", use)
    assert builder(registry).build("degradation", use).teacher.traits.scale == 2


class Net(nn.Module):
    def __init__(self, traits=Traits(scale=2, channels="y"), rich=False):  # noqa: B008
        super().__init__()
        self.traits, self.rich, self.calls = traits, rich, []
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, clip):
        self.calls.append(tuple(clip.shape))
        large = self.gain * clip.repeat_interleave(2, -1).repeat_interleave(2, -2)
        if not self.rich:
            return large
        return Prediction(large, (large - 1, large - 2), {"hidden": clip.mean(-1)})


def test_answers_are_kept_by_what_the_teacher_saw_and_which_weights_it_had(tmp_path):
    net = Net()
    teacher = FrozenModel(net, "net", tmp_path / "cache")
    clips = torch.rand(3, 1, 1, 4, 4)
    first = teacher(clips)
    assert torch.equal(teacher(clips.flip(0)), first.flip(0))
    assert net.calls == [(3, 1, 1, 4, 4)]
    mixed = torch.cat([clips[1:2], clips[:1] + 0.5])
    assert torch.equal(teacher(mixed), FrozenModel(Net(), "net")(mixed))
    assert net.calls[1:] == [(1, 1, 1, 4, 4)]
    assert torch.equal(FrozenModel(Net(), "net", tmp_path / "cache")(clips), first)
    louder = Net()
    nn.init.constant_(louder.gain, 3.0)
    assert torch.equal(FrozenModel(louder, "net", tmp_path / "cache")(clips), 1.5 * first)
    # A file that a crash cut short counts for nothing.
    for file in (tmp_path / "cache").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:20])
    assert torch.equal(teacher(clips), first)


def test_intermediates_and_features_are_kept_too(tmp_path):
    teacher = FrozenModel(Net(rich=True), "net", tmp_path)
    clips = torch.rand(2, 1, 1, 4, 4)
    made, read = teacher(clips), teacher(clips)
    assert isinstance(read, Prediction)
    assert all(torch.equal(a, b) for a, b in zip(made.intermediates, read.intermediates, strict=True))
    assert torch.equal(read.features["hidden"], clips.mean(-1))
    assert len(teacher.network.calls) == 1


def test_sizes_that_the_network_cannot_take_are_padded_and_cropped():
    net = Net(Traits(scale=2, channels="y", multiple_of=4, minimum=8))
    clip = torch.rand(1, 1, 1, 5, 10)
    answer = FrozenModel(net, "net")(clip)
    assert net.calls == [(1, 1, 1, 8, 12)]
    assert torch.equal(answer, FrozenModel(Net(), "net")(clip))


def test_student_and_teacher_must_work_on_the_same_planes():
    with pytest.raises(RestoreError, match="works on clips of 1 channel"):
        FrozenModel(Net(), "net")(torch.rand(1, 1, 3, 4, 4))


def test_models_of_different_components_have_different_digests():
    digests = {FrozenModel(Net(), "a").digest, FrozenModel(Net(), "b").digest}
    assert len(digests) == 2
