"""The trainer prunes: phases, penalty, the compact model in the optimizer, checkpoints and files."""

from __future__ import annotations

import pytest
import torch
from restore.build import Builder
from restore.document import load
from restore.errors import RequestError
from restore.modelling import build_model
from restore.pruning import has_gates
from restore.recipe import Use, check
from restore.training.trainer import build_parts
from restore.weights import read


def gates(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if ".gate_" in n}


def test_phases_train_close_cut_and_finetune(recipe, train, registry, tmp_path):
    seen = {}

    def watch(trainer):
        model = trainer.session.parts.model
        seen[trainer.iteration] = (gates(model), sum(p.numel() for p in model.parameters()))

    trainer = train(recipe(), "run", fit=False)
    trainer.callbacks = (watch,)
    trainer.fit()
    assert all(bool((g == 1).all()) for g in seen[2][0].values()), "closed until a phase says so"
    assert not all(bool((g == 1).all()) for g in seen[4][0].values())
    assert seen[12][0]
    assert not seen[13][0]
    assert seen[13][1] < 0.6 * seen[12][1]
    history = {h["iteration"]: h for h in trainer.directory.history() if "loss" in h}
    assert "penalty" not in history[4]
    assert history[5]["penalty"] > 0
    assert history[5]["loss"] > history[5]["penalty"]
    alphas = [history[i]["pruning/alpha"] for i in range(5, 13)]
    # Read after the step: what the next iteration is penalised with.
    assert alphas == [0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 2.0]
    assert history[12]["pruning/gamma_pruned"] < history[5]["pruning/gamma_pruned"]
    assert history[12]["pruning/gamma_kept"] > 1.4 * history[12]["pruning/gamma_pruned"]
    assert "penalty" not in history[13]
    # The file alone is the network.
    final = trainer.directory.weights("final")
    place = load(recipe(name="again.toml")).root
    again, _ = build_model(Use("toy", {"weights": str(final)}, place), Builder(registry))
    clip = torch.rand(1, 1, 1, 9, 9)
    with torch.no_grad():
        assert torch.equal(again.eval()(clip), trainer.parts.model.eval()(clip))
    assert '"kept"' in read(final).metadata["pruning"]


@pytest.mark.parametrize("stop", [4, 7, 12, 14])
def test_resuming_is_exact_also_amid_the_ramp_and_after_the_cut(recipe, train, stop):
    class StopError(Exception):
        pass

    path = recipe(PHASES_WITH_AVERAGE)
    whole = train(path, "whole")
    broken = train(path, "broken", fit=False)

    def at(trainer):
        if trainer.iteration == stop:
            raise StopError

    broken.callbacks = (at,)
    with pytest.raises(StopError):
        broken.fit()
    again = train(path, "broken", resume=True)
    a, b = whole.parts.model.state_dict(), again.parts.model.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    files = [read(t.directory.weights("final")) for t in (whole, again)]
    assert files[0].metadata == files[1].metadata
    assert all(torch.equal(v, files[1].tensors[n]) for n, v in files[0].tensors.items())
    lines = [[{k: v for k, v in h.items() if k != "seconds"} for h in t.directory.history()] for t in (whole, again)]
    assert lines[0] == lines[1]


PHASES_WITH_AVERAGE = """ema = 0.5
[[phases]]
iterations = 3
pruning = "gates"
[[phases]]
iterations = 8
pruning = "regularise"
[[phases]]
iterations = 4
pruning = "compact"
lr = 1e-3
"""


def test_a_gated_run_is_pruned_by_a_later_recipe(recipe, train):
    gated = train(recipe('[[phases]]\niterations = 3\npruning = "gates"'), "gated")
    path = gated.directory.weights("final")
    assert any(".gate_" in name for name in read(path).tensors)
    cut = recipe(
        '[[phases]]\niterations = 8\npruning = "regularise"\n[[phases]]\niterations = 1\npruning = "compact"', "b.toml"
    )
    trainer = train(cut, "cut", f"model.weights={path}", fit=False)
    assert all(torch.equal(v, read(path).tensors[n]) for n, v in gates(trainer.parts.model).items())
    trainer.fit()
    assert not has_gates(trainer.parts.model)


def built(recipe, override, registry):
    document = load(recipe, [override])
    return build_parts(check(document), document, Builder(registry))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("phases.2.iterations=7", "the penalty takes 8 iterations to rise"),
        ("phases.1.pruning=compact", "phases[2].pruning: 'regularise' cannot come after 'compact'"),
        ("model.use=identity", "[pruner]: Identity cannot be pruned|pruner: Identity cannot be pruned"),
        ("pruner.ratio=1.5", "ratio must lie in [0, 1)"),
        ("phases.3.start.weights=none.pth", "weights file none.pth does not exist"),
        ("phases.3.pruning=shrink", "pruning"),
    ],
)
def test_mistakes_are_found_before_training(recipe, registry, override, said):
    with pytest.raises(RequestError) as caught:
        built(recipe(), override, registry)
    assert any(part in str(caught.value) for part in said.split("|")), caught.value


def test_a_pruner_without_phases_and_phases_without_a_pruner(recipe, registry):
    for text, said in [
        ("iterations = 2", "say when"),
        ('[[phases]]\niterations = 2\npruning = "gates"', "no [pruner]"),
    ]:
        path = recipe(text)
        if "gates" in text:
            path.write_text(path.read_text().replace('[pruner]\nuse = "toy-ramp"\n', ""))
        document = load(path)
        with pytest.raises(RequestError) as caught:
            build_parts(check(document), document, Builder(registry))
        assert said in str(caught.value)


def test_groups_of_gates_need_an_optimizer_without_them_for_finetuning(recipe, registry):
    group = "optimizer.groups=[{ match = ['*.gate_in', '*.gate_out'], lr = 1e-1 }]"
    document = load(recipe(), [group])
    with pytest.raises(RequestError, match="matches no parameter"):
        build_parts(check(document), document, Builder(registry))
    document = load(recipe(), [group, "phases.3.optimizer={ use = 'adam', lr = 1e-3 }"])
    build_parts(check(document), document, Builder(registry))


def test_restore_prune_says_what_it_saved(recipe, tmp_path, capsys):
    import json

    from restore.cli.prune import command

    arguments = [str(recipe()), "-o", str(tmp_path / "out"), "--size", "12x16", "--json", "--lock", f"{tmp_path}/lock"]
    command.main([*arguments, "--ratio", "0.75"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["iterations"] == 16
    assert said["shape"] == [1, 1, 1, 12, 16]
    assert said["pruned"]["macs"] < 0.4 * said["dense"]["macs"]
    assert said["pruned"]["parameters"] < said["dense"]["parameters"]
    assert said["pruned"]["seconds"] > 0
    kept = json.loads(read(tmp_path / "out" / "final.safetensors").metadata["pruning"])["kept"]
    assert sum(len(v) for v in kept.values()) <= 0.3 * (3 * 16 + 16)
    with pytest.raises(RequestError, match=r"pruner\.ratio +0\.75 +0\.25"):
        command.main([*arguments, "--ratio", "0.25"], standalone_mode=False)
    with pytest.raises(RequestError, match="nothing would be cut"):
        command.main([str(recipe("iterations = 1", "c.toml"))], standalone_mode=False)
