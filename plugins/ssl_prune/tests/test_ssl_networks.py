"""BasicVSR: counts, what depends on what, flows the right way round, sweeps, published weights."""

from __future__ import annotations

import pytest
import torch
from restore import Prediction
from restore.functional.sweeping import run_sweeps
from restore.weights import Weights, load_into
from restore_ssl_prune.basicvsr import BasicVSR, small, tiny, uni
from torch import nn


def count(module):
    return sum(p.numel() for p in module.parameters())


def stirred(model, amount=0.05, seed=0):
    """The same with parameters that are all unlike 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(amount * torch.randn(p.shape, generator=generator))
    return model.eval()


def clip(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("parameters", "without_flow"),
    [
        ({}, 4_851_011),
        ({"bidirectional": False}, 2_592_579),
        ({"features": 32}, 1_281_699),
        ({"features": 32, "bidirectional": False}, 715_683),
    ],
)
def test_parameter_counts_of_the_tables(parameters, without_flow):
    model = BasicVSR(**parameters)
    assert count(model) - count(model.spynet) == without_flow
    assert count(model) == without_flow + 1_440_300


def test_presets():
    assert count(uni()) == 2_592_579 + 1_440_300
    assert not uni().bidirectional
    assert count(small()) == 545_675
    assert all(not p.requires_grad for p in uni(features=8, blocks=1, freeze_flow=True).spynet.parameters())
    with pytest.raises(ValueError, match="blocks"):
        BasicVSR(blocks=0)


def fit(model):
    return model.traits.scale == 4 and model.traits.temporal == "stream"


@torch.no_grad()
def test_untrained_ends_are_what_the_paper_draws():
    """With its last convolution at zero the answer is the bilinear enlargement."""
    model = stirred(tiny())
    nn.init.zeros_(model.conv_last.weight)
    nn.init.zeros_(model.conv_last.bias)
    observed = clip(1, 2, 3, 12, 16)
    expected = nn.functional.interpolate(observed[0], scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.equal(model(observed)[0], expected)
    assert fit(model)


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [True, False])
def test_what_a_frame_changes(bidirectional):
    """Forward states know the past, backward ones the future; the neighbour's flow is part of a state, nothing else."""
    model = stirred(tiny(bidirectional, hidden_states=True))
    one = clip(1, 5, 3, 16, 16)
    other = one.clone()
    other[:, 2] = 1 - other[:, 2]
    a, b = model(one), model(other)

    def changed(x, y):
        return [bool((x[:, t] != y[:, t]).any()) for t in range(x.shape[1])]

    assert changed(a.features["forward"], b.features["forward"]) == [False, False, True, True, True]
    assert changed(a.features["flow_forward"], b.features["flow_forward"]) == [False, True, True, False]
    if bidirectional:
        assert changed(a.features["backward"], b.features["backward"]) == [True, True, True, False, False]
        assert changed(a.restored, b.restored) == [True] * 5
    else:
        assert set(a.features) == {"forward", "flow_forward"}
        assert changed(a.restored, b.restored) == [False, False, True, True, True]


class KnownFlow(nn.Module):
    """Answers the motion of :func:`moving`: what it shows moves by ``step`` pixels to the right from frame to frame. It
    tells the frames apart by their marks."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, reference, supporting):
        ahead = (supporting[:, 0, 0, 0] - reference[:, 0, 0, 0]).sign()  # +1: the supporting frame is the later one
        flow = reference.new_zeros(len(reference), 2, *reference.shape[-2:])
        flow[:, 0] = (self.step * ahead)[:, None, None]
        return flow


class Remember(nn.Sequential):
    """A branch that adds up the green plane along the motion in its state's first channel."""

    def __init__(self):
        super().__init__(nn.Conv2d(3 + 8, 8, 3))

    def forward(self, x):
        state = torch.zeros_like(x[:, 3:])
        state[:, 0] = x[:, 3] + x[:, 1]
        return state


def moving(step, frames=4, width=24):
    """A texture that moves to the right, its frame's number in the first red pixel."""
    texture = clip(8, width + step * frames, seed=3)
    shown = torch.zeros(1, frames, 3, 8, width)
    for t in range(frames):
        left = step * (frames - 1 - t)
        shown[0, t, 1] = texture[:, left : left + width]
        shown[0, t, 0, 0, 0] = t / 10
    return shown


@torch.no_grad()
def test_states_are_fetched_along_the_motion():
    """On a translated clip with its true flow, adding up along the motion gives multiples of each frame. With a flow's
    sign turned, or the two directions exchanged, the sums would be of unlike pixels."""
    step, frames = 3, 4
    model = tiny(hidden_states=True).eval()
    model.spynet = KnownFlow(step)
    model.forward_trunk = model.backward_trunk = Remember()
    shown = moving(step, frames)
    features = model(shown).features
    for t in range(frames):
        green, reach = shown[:, t, 1], step * (frames - 1)
        inside = (..., slice(reach, -reach))
        assert torch.allclose(features["forward"][:, t, 0][inside], (t + 1) * green[inside], atol=1e-5)
        assert torch.allclose(features["backward"][:, t, 0][inside], (frames - t) * green[inside], atol=1e-5)
    # What comes into view on the left has no past: outside of a state there are zeros, not its edge.
    assert torch.allclose(features["forward"][:, 1, 0][..., : step - 1], shown[:, 1, 1][..., : step - 1], atol=1e-5)
    assert (features["flow_backward"][:, :, 0] == step).all()
    assert (features["flow_forward"][:, :, 0] == -step).all()


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("frames", [1, 4])
def test_sweeps_equal_the_whole_clip(bidirectional, frames):
    model = stirred(tiny(bidirectional), 0.1)
    assert [s.direction for s in model.sweeps] == (["backward", "forward"] if bidirectional else ["forward"])
    observed = clip(2, frames, 3, 18, 20)
    whole = model(observed)
    assert isinstance(whole, torch.Tensor)
    assert (run_sweeps(model.sweeps, observed) - whole).abs().max() < 1e-5
    # Frames that are restored a few at a time, or all at once, are the same.
    if frames > 1:
        import restore_ssl_prune.basicvsr as module

        kept = dict(module._PIXELS)
        try:
            module._PIXELS["cpu"] = 2 * 2 * 18 * 20
            assert (model(observed) - whole).abs().max() < 1e-5
        finally:
            module._PIXELS.update(kept)


def test_hidden_states_are_given_in_training_and_where_asked():
    observed = clip(1, 3, 3, 8, 8)
    for model, given in ((tiny().train(), True), (tiny().eval(), False), (tiny(hidden_states=True).eval(), True)):
        assert isinstance(model(observed), Prediction) is given
    features = tiny().train()(observed).features
    assert features["forward"].shape == features["backward"].shape == (1, 3, 8, 8, 8)
    assert features["flow_forward"].shape == (1, 2, 2, 8, 8)
    assert tiny().train()(observed[:, :1]).features.keys() == {"forward", "backward"}


def published(model, names):
    """A file of the model's shapes under published names, filled with numbers."""
    file = {"step_counter": torch.zeros(1)} if names == "mmediting" else {}
    file |= {f"{'generator.' * (names == 'mmediting')}spynet.{n}": torch.zeros(1, 3, 1, 1) for n in ("mean", "std")}
    for number, (name, value) in enumerate(model.state_dict().items()):
        parts = name.split(".")
        if parts[0] == "spynet":
            level, layer = int(parts[2]), int(parts[3])
            inner = f"{layer // 2}.conv" if names == "mmediting" else str(layer)
            new = f"spynet.basic_module.{level}.basic_module.{inner}.{parts[4]}"
        elif parts[0].endswith("_trunk"):
            stem = parts[0].replace("trunk", "resblocks") if names == "mmediting" else parts[0]
            new = ".".join([stem, "main", *parts[1:]])
        elif names == "mmediting" and parts[0].startswith("upconv"):
            new = f"upsample{parts[0][-1]}.upsample_conv.{parts[1]}"
        else:
            new = name
        file[("generator." if names == "mmediting" else "") + new] = torch.full_like(value, float(number))
    return file


BASICSR = {
    "spynet.basic_module.5.basic_module.8.weight": (2, 16, 7, 7),
    "backward_trunk.main.0.weight": (64, 67, 3, 3),
    "backward_trunk.main.2.29.conv2.bias": (64,),
    "forward_trunk.main.2.0.conv1.weight": (64, 64, 3, 3),
    "fusion.weight": (64, 128, 1, 1),
    "upconv1.weight": (256, 64, 3, 3),
    "upconv2.bias": (256,),
    "conv_hr.weight": (64, 64, 3, 3),
    "conv_last.weight": (3, 64, 3, 3),
}


@pytest.mark.parametrize("names", ["basicsr", "mmediting"])
def test_published_weights_load(names, tmp_path):
    model = BasicVSR()
    file = published(model, names)
    if names == "basicsr":
        assert {k: tuple(file[k].shape) for k in BASICSR} == BASICSR
    else:
        assert "generator.forward_resblocks.main.2.29.conv1.weight" in file
        assert "generator.upsample2.upsample_conv.weight" in file
    load_into(model, Weights(file, {}, tmp_path / "published.pth"))
    for number, value in enumerate(model.state_dict().values()):
        assert (value == number).all()
    own = {n: v.clone() for n, v in model.state_dict().items()}
    assert model.translate_weights(own).keys() == own.keys()
