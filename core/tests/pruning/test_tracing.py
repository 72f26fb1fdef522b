"""What is derived of models that declare nothing: only what is exact, and all that is."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from restore.build import Builder
from restore.contracts import Halo, Prediction, Traits
from restore.document import parse
from restore.errors import RequestError
from restore.modelling import build_model
from restore.pruning import compact, masked, metadata_of, prune_graph_of, select
from restore.pruning.compaction import prepare
from restore.recipe import Use
from torch import nn

CLIP = torch.rand(2, 2, 3, 24, 30, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    """``a``, something, ``b`` and a skip from end to end."""

    def __init__(self, between, give=12, take=12, **layers) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, give, 3, padding=1), nn.Conv2d(take, 3, 3, padding=1)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.between = between
        self.traits = Traits(channels="rgb", multiple_of=2, halo=Halo(pixels=8))

    def forward(self, clip):
        frames = clip.flatten(0, 1)
        made = self.b(self.between(self.a(frames), self))
        return Prediction((frames + F.interpolate(made, frames.shape[-2:])).unflatten(0, clip.shape[:2]))


def gates(model):
    return {g.name: g for g in prune_graph_of(model).gates}


@torch.no_grad()
def assert_exact(model, clip=CLIP):
    for p in model.parameters():
        p.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(p.numel()))
    model.eval()
    generator = torch.Generator().manual_seed(1)
    kept = select({c.name: torch.rand(c.size(model), generator=generator) for c in prune_graph_of(model).cuts()}, 0.5)
    whole, small = masked(model, kept).eval()(clip), compact(model, kept).eval()(clip)
    if isinstance(whole, Prediction):
        whole, small = whole.restored, small.restored
    assert torch.allclose(whole, small, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    assert not torch.allclose(whole, getattr(model(clip), "restored", model(clip)), rtol=1e-3)


KEEPING = {
    "relu": lambda x, m: F.relu(x),
    "in place": lambda x, m: F.leaky_relu_(x, 0.1),
    "gelu": lambda x, m: F.gelu(x),
    "relu6": lambda x, m: F.relu6(x),
    "clamp": lambda x, m: x.clamp(-0.1, 0.3),
    "floor": lambda x, m: x.clamp(min=-0.1),
    "ceiling": lambda x, m: x.clamp(max=0.2),
    "hard tanh": lambda x, m: F.hardtanh(F.hardtanh(x), -0.1, 0.2),
    "elu": lambda x, m: F.elu(x),
    "number": lambda x, m: x * 0.3 / 2,
    "reflection": lambda x, m: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "zeros": lambda x, m: F.pad(x, (1, 2, 3, 1)),
    "pooled": lambda x, m: F.max_pool2d(F.avg_pool2d(x, 2), 3),
    "enlarged": lambda x, m: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "axes": lambda x, m: x.unflatten(0, (2, -1)).unsqueeze(0).flatten(0, 2),
    "mean": lambda x, m: x.mean((-2, -1), keepdim=True),
}


@pytest.mark.parametrize("name", KEEPING)
def test_what_keeps_channels_apart_and_zeros_zero_is_passed(name):
    model = Between(KEEPING[name])
    assert [s.name for s in gates(model)["a.out"].followers] == ["b.in"]
    assert_exact(model)


STOPPING = {
    "sigmoid": lambda x, m: x.sigmoid(),
    "plus a number": lambda x, m: x + 0.1,
    "least above zero": lambda x, m: x.clamp(min=0.1),
    "most below zero": lambda x, m: x.clamp(max=-0.1),
    "padded with ones": lambda x, m: F.pad(x, (1, 1, 1, 1), value=1.0),
    "padded with channels": lambda x, m: F.pad(x, (0, 0, 0, 0, 0, 2))[:, :12],
    "softmax": lambda x, m: x.softmax(1),
    "other order": lambda x, m: x.flip(1),
    "channels as pixels": lambda x, m: x.reshape(x.shape[0], 12, -1).transpose(1, 2).reshape(x.shape),
    "halves": lambda x, m: torch.cat(x.chunk(2, 1)[::-1], 1),
    "half of them": lambda x, m: torch.cat([x[:, :6], x[:, :6]], 1),
    "twice side by side": lambda x, m: torch.cat([x, x], 1)[:, 6:18],
    "squared norm": lambda x, m: x / (x.square().sum(1, keepdim=True) + 1),
    "mean of channels": lambda x, m: x.mean(1, keepdim=True).repeat(1, 12, 1, 1),
    "cosine": lambda x, m: x.cos(),
    "by itself": lambda x, m: x * x,
    "cut in groups of rows": lambda x, m: x.reshape(x.shape[0] * 2, 6, *x.shape[2:]).reshape(x.shape),
}


@pytest.mark.parametrize("name", STOPPING)
def test_what_is_not_known_leaves_the_layer_as_it_is(name):
    model = Between(STOPPING[name])
    with pytest.raises(RequestError, match="of no layer in it is it certain"):
        prune_graph_of(model)


def test_layers_that_are_not_plain_are_left_alone():
    for layer in (nn.Conv2d(12, 12, 3, padding=1, groups=4), nn.GroupNorm(3, 12), nn.InstanceNorm2d(12)):
        with pytest.raises(RequestError):
            prune_graph_of(Between(lambda x, m: m.c(x), c=layer))
    twice = Between(lambda x, m: m.c(F.relu(m.c(x))), c=nn.Conv2d(12, 12, 3, padding=1))
    with pytest.raises(RequestError):
        prune_graph_of(twice)
    tied = Between(lambda x, m: F.conv2d(F.relu(m.c(x)), m.c.weight), c=nn.Conv2d(12, 12, 1))
    with pytest.raises(RequestError):
        prune_graph_of(tied)
    normed = Between(lambda x, m: m.c(x), c=nn.utils.parametrizations.weight_norm(nn.Conv2d(12, 12, 3, padding=1)))
    with pytest.raises(RequestError):
        prune_graph_of(normed)


def test_pixel_shuffles_bind_groups_and_unshuffles_scatter_them():
    model = Between(lambda x, m: F.pixel_shuffle(F.relu(x), 2), give=48)
    assert gates(model)["a.out"].group == 4
    assert_exact(model)
    model = Between(lambda x, m: F.pixel_unshuffle(F.relu(x), 2), take=48)
    assert gates(model)["a.out"].followers[0].group == 4
    assert_exact(model)


def test_concatenations_shift_the_channels():
    def dense(x, m):
        y = F.relu(m.c(F.relu(x)))
        return torch.cat([y, F.relu(x)], 1)

    model = Between(dense, take=22, c=nn.Conv2d(12, 10, 3, padding=1))
    found = gates(model)
    assert [(s.name, s.offset) for s in found["a.out"].followers] == [("c.in", 0), ("b.in", 10)]
    assert [(s.name, s.offset) for s in found["c.out"].followers] == [("b.in", 0)]
    assert_exact(model)
    apart = Between(
        lambda x, m: F.pixel_shuffle(torch.cat([m.c(x), x], 1), 2),
        give=12,
        take=6,
        c=nn.Conv2d(12, 12, 1),
    )
    assert gates(apart)["a.out"].group == 4
    assert gates(apart)["a.out"].followers[1].offset == 3
    assert_exact(apart)


def test_norms_and_activations_with_weights_follow():
    model = Between(lambda x, m: m.act(m.norm(x)), norm=nn.BatchNorm2d(12), act=nn.PReLU(12))
    gate = gates(model)["norm.out"]
    assert {s.name for s in gate.followers} == {"a.out", "act.out", "b.in"}
    model.norm.running_mean.uniform_(-1, 1)
    assert_exact(model)
    one = Between(lambda x, m: m.act(x), act=nn.PReLU())
    assert {s.name for s in gates(one)["a.out"].followers} == {"b.in"}
    assert_exact(one)


def test_skips_stay_whole():
    def block(x, m):
        for c1, c2 in ((m.c1, m.c2), (m.d1, m.d2)):
            x = x + 0.2 * c2(F.relu(c1(x)))
        return x

    layers = {name: nn.Conv2d(12, 12, 3, padding=1) for name in ("c1", "c2", "d1", "d2")}
    found = gates(Between(block, **layers))
    # The head feeds the skip itself: it is no branch, and nothing there can be spared.
    assert set(found) == {"c1.out", "c2.out", "d1.in", "d1.out", "d2.out", "b.in"}
    assert found["c2.out"].scatter == "c2"
    assert_exact(Between(block, **layers))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("srsenet:srsenet", {"scale": 4, "blocks": 2}),
        ("eco:edsr-baseline", {"scale": 2, "blocks": 2, "features": 16}),
        ("eco:rcan", {"scale": 2, "groups": 1, "blocks": 2, "features": 16, "reduction": 4}),
    ],
)
def test_our_own_models_undeclared(registry, monkeypatch, name, parameters):
    model, _ = build_model(Use(name, parameters, parse("", "none.toml").root), Builder(registry))
    declared = {g.module for g in model.prune_graph().gates if not g.scatter}
    monkeypatch.delattr(type(model), "prune_graph")
    found = {g.module for g in prune_graph_of(model).gates}
    assert len(found & declared) >= 2
    assert_exact(model, torch.rand(1, 2, 1 if model.traits.channels == "y" else 3, 20, 24))


def test_index_sets_cut_a_new_model_alike():
    model, new = Between(KEEPING["relu"]), Between(KEEPING["relu"])
    small = compact(model, {"a.out": [1, 5, 7]})
    prepare(new, {k: json.dumps(v) for k, v in metadata_of(small).items()})
    new.load_state_dict(small.state_dict())
    assert torch.equal(new(CLIP).restored, small(CLIP).restored)


def test_who_cannot_be_traced_is_told_why():
    asking = Between(lambda x, m: x if float(x.detach().mean()) > 0 else -x)
    with pytest.raises(RequestError, match="torch.export cannot trace it"):
        prune_graph_of(asking)
    streaming = Between(KEEPING["relu"])
    streaming.traits = Traits(temporal="stream")
    with pytest.raises(RequestError, match="not called with a clip alone"):
        prune_graph_of(streaming)


def test_a_model_whose_forward_depends_on_the_size_keeps_what_holds_for_both():
    for least in (26, 29):
        with pytest.raises(RequestError, match="of no layer in it"):
            prune_graph_of(Between(lambda x, m, least=least: F.relu(x) if x.shape[-2] < least else x.sigmoid()))
