"""Phases: what each changes, what it keeps, and that a mistake in the last is found before the first."""

from __future__ import annotations

import pytest
import torch
from restore.build import Builder
from restore.document import load
from restore.errors import RequestError
from restore.recipe import check
from restore.training.activations import set_checkpointing
from restore.training.data import Samples
from restore.training.trainer import Trainer, build_parts
from restore.weights import read

THREE = """
[[phases]]
name = "first"
iterations = 2
freeze = ["head", "tail.bias"]
[[phases]]
iterations = 3
losses = ["l1", { use = "mse", weight = { use = "linear", start = 0.0, end = 1.0 } }]
[[phases]]
epochs = 0.5
lr = { use = "cosine", start = 1e-3 }
reset_optimizer = true
"""


def plans(recipe, registry, *overrides, devices=1):
    document = load(recipe, overrides)
    return [p.plan for p in build_parts(check(document), document, Builder(registry), devices).phases]


def test_clocks_go_on_until_schedules_are_reset(recipe, registry):
    found = plans(recipe(THREE), registry)
    # 40x36 and 33x52 hold 5 and 6 patches of 16x16: half an epoch of 11 in batches of 4 is 2 iterations.
    assert [p.iterations for p in found] == [2, 3, 2]
    assert [(p.clock, p.clock_total) for p in found] == [(0, 5), (2, 5), (0, 2)]
    assert [p.optimizer_began for p in found] == [0, 0, 2]
    kept = plans(recipe(THREE), registry, "phases.2.lr=1e-3", "phases.1.reset_schedules=true")
    assert [(p.clock, p.clock_total) for p in kept] == [(0, 2), (0, 3), (0, 2)]
    whole = plans(recipe("[[phases]]\niterations = 4\n[[phases]]\niterations = 6"), registry)
    assert [(p.clock, p.clock_total) for p in whole] == [(0, 10), (4, 10)]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("phases.2.losses=['l1', 'ms']", "--set phases[2].losses[1].use: no loss 'ms'; did you mean"),
        ("phases.2.losses=[]", "phases[2]: training needs at least one [[losses]]"),
        ("phases.2.freeze=['neck']", "--set phases[2].freeze: 'neck' matches no parameter of the model; it has body"),
        ("phases.2.freeze=['*']", "nothing is left to train"),
        ("phases.2.checkpoint_activations=['neck']", "'neck' matches no module"),
        ("phases.2.lr={ use = 'cosine' }", "core:cosine needs 'start'"),
        ("phases.2.optimizer={ use = 'adam', lr = 1, beta = 2 }", "adam has no parameter 'beta'"),
        ("phases.2.start.weights=none.pth", "--set phases[2].start.weights: weights file none.pth does not exist"),
        ("phases.2.early_stopping.patience=0", "patience must be at least 1"),
        ("phases.2.early_stoping.patience=1", "unknown key; did you mean 'early_stopping'"),
        ("phases.2.iterations=3", "iterations or epochs, not both"),
        ("phases.2.batch=3", ""),
        ("phases.2.accumulate=3", "a batch of 4 clips cannot be shared evenly by 1 device(s) in 3 part(s)"),
        ("phases.2.ema=1", "ema must be below 1"),
        ("phases.2={ clip_norm = 1, clip_value = 1, iterations = 2 }", "clip_norm or clip_value, not both"),
        ("phases.2.clip_norm=-1", "clip_norm must not be negative"),
        ("phases.2={}", "a phase needs iterations or epochs"),
        ("training.iterations=5", "--set training.iterations: the phases say how long they are"),
        ("phases.1.losses.1.weight={ use = 'linear' }", "core:linear needs 'start'"),
    ],
)
def test_mistakes_in_any_phase_are_found_before_the_first(recipe, tmp_path, cli, override, said):
    answer = cli("train", recipe(THREE), "-o", tmp_path / "run", "--set", override)
    if not said:
        assert answer.code == 0, answer.err
        return
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_each_phase_trains_what_it_should_with_its_losses_and_rates(recipe, train, weights):
    trainer = train(recipe(THREE), "run", fit=False)
    states = [weights(trainer)]
    inner = trainer._checkpoint
    trainer._checkpoint = lambda: (states.append(weights(trainer)), inner())
    trainer.fit()
    lines = [h for h in trainer.directory.history() if "loss" in h]
    assert [h["phase"] for h in lines] == [1, 1, 2, 2, 2, 3, 3]
    assert [h["lr"] for h in lines] == pytest.approx([1e-2] * 5 + [1e-3, 5e-4])
    assert [set(h) & {"l1", "mse", "charbonnier"} for h in lines[2:]] == [{"l1", "mse"}] * 3 + [set()] * 2
    assert lines[2]["loss"] == pytest.approx(lines[2]["l1"] + lines[2]["mse"])
    begin, first = states[0], states[1]
    moved = {k for k in begin if not torch.equal(begin[k], first[k])}
    assert moved == {"body.0.weight", "body.0.bias", "tail.weight"}
    assert not torch.equal(states[-1]["head.0.weight"], first["head.0.weight"])


def test_a_scheduled_weight_is_that_of_the_clock(recipe, train):
    more = '[[phases]]\niterations = 2\n[[phases]]\niterations = 2\nlosses = ["l1", { use = "l1", weight = '
    trainer = train(recipe(more + '{ use = "linear", start = 0.0, end = 1.0 } }]'), "run")
    lines = [h for h in trainer.directory.history() if "l1-2" in h]
    assert [h["l1-2"] / h["l1"] for h in lines] == pytest.approx([0.5, 0.75])


def test_a_kept_optimizer_goes_on_and_a_reset_one_forgets(recipe, train, weights, same):
    def run(folder, *more):
        return weights(train(recipe("[[phases]]\niterations = 3\n[[phases]]\niterations = 3\n"), folder, *more))

    kept = run("kept")
    whole = weights(train(recipe("iterations = 6\n"), "whole"))
    assert same(kept, whole)
    assert not same(run("forgot", "phases.1.reset_optimizer=true"), whole)
    assert not same(run("new", 'phases.1.optimizer={ use = "sgd", lr = 1e-2 }'), whole)


def test_frozen_statistics_stay(recipe, train, weights):
    trainer = train(recipe("iterations = 2\nfreeze = ['head']\n"), "run", "model.norm=true")
    assert weights(trainer)["head.1.num_batches_tracked"] == 0
    trainer = train(recipe("iterations = 2\nfreeze = ['tail']\n"), "free", "model.norm=true")
    assert weights(trainer)["head.1.num_batches_tracked"] == 2


def test_a_batch_in_parts_equals_the_whole(recipe, train, weights):
    runs = [
        weights(train(recipe(f"iterations = 4\naccumulate = {n}\n"), f"run{n}", "degradation.sigma=0.0"))
        for n in (1, 2, 4)
    ]
    for other in runs[1:]:
        assert all(torch.allclose(runs[0][k], other[k], atol=1e-6) for k in other)
    one = weights(train(recipe("iterations = 4\nbatch = 1\n".replace("batch = 1\n", "")), "x", "training.batch=1"))
    assert not all(torch.allclose(runs[0][k], one[k], atol=1e-4) for k in one)


def test_the_average_follows_the_weights_and_is_what_counts(recipe, train, weights, same):
    trainer = train(recipe("iterations = 3\nema = 0.75\n"), "run", fit=False)
    mean, seen = weights(trainer), []
    inner = trainer._iterate

    def follow(batch):
        result = inner(batch)
        for key, value in weights(trainer).items():
            mean[key] = 0.75 * mean[key] + 0.25 * value
        seen.append(trainer.iteration)
        return result

    trainer._iterate = follow
    trainer.fit()
    final = read(trainer.directory.weights("final"))
    assert all(torch.allclose(final.tensors[k], mean[k], atol=1e-6) for k in mean)
    assert final.metadata["average"] == "0.75"
    assert not same(dict(final.tensors), weights(trainer))
    own = trainer.validate().mean["psnr"]
    trainer.session.average = None
    assert trainer.validate().mean["psnr"] != own


def test_a_step_whose_loss_jumps_is_skipped(recipe, train, weights, same):
    bomb = '\n[[losses]]\nuse = "bomb"\nat = 2\nfactor = 50.0\n'
    guarded = train(recipe("iterations = 4\nskip_above = 5.0\n" + bomb), "run", fit=False)
    states = []
    inner = guarded._iterate
    guarded._iterate = lambda batch: (inner(batch), states.append(weights(guarded)))[0]
    guarded.fit()
    assert [h["skipped"] for h in guarded.directory.history() if "loss" in h] == [0, 0, 1, 1]
    assert same(states[1], states[2])
    assert not same(states[0], states[1])
    assert not same(states[2], states[3])


def test_gradients_are_cut_by_value_or_norm(recipe, train, weights):
    def largest(folder, *more):
        trainer = train(recipe("iterations = 1\n"), folder, "optimizer={ use = 'sgd', lr = 1.0 }", *more, fit=False)
        before = weights(trainer)
        trainer.fit()
        moved = [weights(trainer)[k] - before[k] for k in before]
        return max(float(m.abs().max()) for m in moved), float(torch.cat([m.flatten() for m in moved]).norm())

    free = largest("free")
    assert free[0] > 1e-3
    assert largest("value", "training.clip_value=1e-3")[0] == pytest.approx(1e-3, rel=1e-3)
    assert largest("norm", "training.clip_norm=1e-3")[1] == pytest.approx(1e-3, rel=1e-2)


def test_checkpointed_activations_give_the_same_gradients_twice_computed(recipe, train, weights, same):
    plain = train(recipe("iterations = 3\n"), "plain", "model.dropout=0.3")
    path = recipe("iterations = 3\ncheckpoint_activations = ['body']\n")
    saving = train(path, "saving", "model.dropout=0.3", fit=False)
    calls = []
    saving.parts.model.body[0].register_forward_hook(lambda module, *_: calls.append(module.training))
    saving.fit()
    assert (calls.count(True), calls.count(False)) == (6, 2)
    assert same(weights(plain), weights(saving))
    set_checkpointing(saving.parts.model, ())
    assert "forward" not in vars(saving.parts.model.body)


def test_a_phase_ends_when_patience_does_and_goes_back_to_its_best(recipe, train, weights, same):
    more = """
[[phases]]
iterations = 50
lr = 1e-2
early_stopping = { patience = 2, metric = "loss" }
[[phases]]
iterations = 1
optimizer = { use = "sgd", lr = 0.0 }
"""
    trainer = train(recipe(more), "run", "training.validate_every=1", "degradation.sigma=0.0", "phases.0.lr=0.3")
    history = trainer.directory.history()
    scores = [(h["iteration"], h["validation_loss"]) for h in history if "validation_loss" in h]
    stopped = next(h for h in history if "note" in h)
    assert stopped["iteration"] < 50
    first = [s for s in scores if s[0] <= stopped["iteration"]]
    assert first[-3][1] == min(s[1] for s in first)
    assert "2 validations without a better loss" in stopped["note"]
    best = read(trainer.directory.weights("phase-1-best")).tensors
    assert same(dict(best), weights(trainer))
    assert trainer.iteration == stopped["iteration"] + 1


def test_weights_come_in_renamed_and_in_part(recipe, train, weights, tmp_path):
    from restore.weights import save

    donor = train(recipe("iterations = 1\n"), "donor")
    old = {f"module.{k.replace('body', 'trunk')}": v for k, v in weights(donor).items() if not k.startswith("tail")}
    old["module.extra.weight"] = torch.zeros(3)
    save(tmp_path / "old.safetensors", old, {})
    start = f"""
[[phases]]
iterations = 1
optimizer = {{ use = "sgd", lr = 0.0 }}
[phases.start]
weights = "{(tmp_path / "old.safetensors").as_posix()}"
exclude = ["tail", "extra"]
rename = {{ "^module\\\\." = "", "^trunk" = "body" }}
"""
    path = recipe(start.replace("rename", "rename"))
    trainer = train(path, "run", fit=False)
    before = weights(trainer)
    trainer.fit()
    after = weights(trainer)
    assert all(torch.equal(after[k], weights(donor)[k]) for k in after if not k.startswith("tail"))
    assert torch.equal(after["tail.weight"], before["tail.weight"])
    with pytest.raises(RequestError, match=r"phases\[0\].start: .*has extra.weight that the model lacks"):
        train(path, "other", 'phases.0.start.exclude=["tail"]')
    with pytest.raises(RequestError, match=r"start.rename: rename '\^modul_' matches no name"):
        train(path, "other", 'phases.0.start.rename={ "^modul_" = "" }')


def test_a_run_broken_anywhere_ends_in_the_same_weights(recipe, train, weights, same, monkeypatch):
    """With an average, parts, noise, dropout, an early stop and a phase boundary."""
    more = """
[[phases]]
iterations = 5
accumulate = 2
early_stopping = { patience = 1, minimum_change = 100.0, restore_best = true }
[[phases]]
iterations = 4
ema = 0.9
freeze = ["head"]
[[phases]]
iterations = 3
ema = 0.9
reset_optimizer = true
lr = { use = "cosine", start = 1e-2 }
"""
    sets = ("model.dropout=0.2", "training.validate_every=2", "training.checkpoint_every=3")
    path = recipe(more)
    whole = train(path, "whole", *sets)
    total = whole.iteration
    assert total == 4 + 4 + 3
    inner = Trainer._iterate
    # In the early-stopped phase, right after it, within the next one, at its end, and in the last.
    for stop in (3, 4, 6, 8, 10):

        def power_cut(self, batch, stop=stop):
            if self.iteration == stop:
                raise OSError("power cut")
            return inner(self, batch)

        monkeypatch.setattr(Trainer, "_iterate", power_cut)
        broken = train(path, f"broken{stop}", *sets, fit=False)
        with pytest.raises(OSError, match="power cut"):
            broken.fit()
        monkeypatch.setattr(Trainer, "_iterate", inner)
        again = train(path, f"broken{stop}", *sets, resume=True)
        assert again.iteration == total
        assert same(weights(again), weights(whole)), stop
        assert same(again.session.average.state_dict(), whole.session.average.state_dict())
        a, b = (t.session.optimizer.state_dict() for t in (again, whole))
        assert str(a) == str(b), stop


def test_the_error_names_the_batch(recipe, train):
    bomb = '\n[[losses]]\nuse = "bomb"\nat = 1\nfactor = inf\n'
    trainer = train(recipe("iterations = 4\n" + bomb), "run", fit=False)
    samples = Samples(trainer.parts.train, 5)
    names = ", ".join(samples.name(k) for k in range(4, 8))
    with pytest.raises(Exception, match=f"the loss became inf at iteration 1 .*on the batch of {names};"):
        trainer.fit()


def test_weights_of_every_so_many_iterations_are_kept(recipe, train):
    trainer = train(recipe("iterations = 5\nkeep_every = 2\n"), "run")
    kept = sorted(p.name for p in (trainer.directory.path / "weights").iterdir())
    assert kept == ["iteration-00000002.safetensors", "iteration-00000004.safetensors"]
    assert read(trainer.directory.weights(4)).metadata["iteration"] == "4"


def test_describe_says_what_phases_take(cli):
    answer = cli("describe", "recipe")
    rows = dict(line.split(None, 1) for line in answer.out.splitlines() if line.strip())
    assert rows["[[phases]].iterations"].split() == ["int", "-"]
    assert rows["[[phases.losses]]"].startswith("list of components")
    assert rows["[phases.lr]"].startswith("number or component")
    assert rows["training.ema"].split() == ["float", "0.0"]


def test_tensorboard_gets_losses_and_scores(recipe, train):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = train(recipe("iterations = 3\ntensorboard = true\n"), "run")
    events = EventAccumulator(str(trainer.directory.tensorboard)).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3]
    logged = [h["loss"] for h in trainer.directory.history() if "loss" in h]
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx(logged)
    assert [e.step for e in events.Scalars("validation/psnr")] == [3]
