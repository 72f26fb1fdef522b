"""BasicVSR: recurrent video super-resolution x4 (Chan et al., CVPR 2021), the host network of SSL.

Two recurrent branches carry hidden states through the clip, one backward and one forward in time, each warped from
frame to frame along optical flow; both states of a frame are fused and enlarged. ``bidirectional = False`` keeps the
forward branch alone (SSL's "BasicVSR-uni").
"""

from __future__ import annotations

import re
from typing import Literal, Mapping, Sequence

import torch
import torch.nn.functional as F
from restore import Halo, Prediction, Sweep, Traits
from restore.functional.flow import warp
from restore.networks.residual import Activation, kaiming, residual_trunk
from restore.networks.residual import activation as activation_of
from restore.networks.spynet import SpyNet, translate_spynet
from restore.pruning import Gate, PruneGraph, Slot, Stream, residual_gates
from torch import Tensor, nn

SCALE = 4
# LR pixels that are enlarged, or whose flow is found, at once: beyond that, what a layer writes no longer fits into a
# CPU's cache, and a GPU has enough to do.
_PIXELS = {"cpu": 4096, "other": 2**18}


class BasicVSR(nn.Module):
    """RGB video super-resolution x4 with recurrent hidden states.

    Args:
        features: channels of the hidden states (paper: 64; SSL's "lite": 32).
        blocks: residual blocks of each branch (paper: 30).
        bidirectional: with the backward branch; without it the network is causal.
        activation: outside of the residual blocks: ``leaky``, LeakyReLU 0.1, as BasicVSR has it, or ``relu``, as SSL's
            copy of it has. Inside they have ReLU.
        tail_features: channels after the second pixel shuffle (64 in all published forms).
        flow_levels: pyramid levels of the flow network (SpyNet: 6).
        flow_widths: its channels, see :class:`restore.networks.spynet.SpyNet`.
        freeze_flow: the flow network is never trained.
        hidden_states: give back hidden states and flows in evaluation mode too; in training they always are.

    Raises:
        ValueError: a number below 1, or an unknown activation.
    """

    def __init__(
        self,
        features: int = 64,
        blocks: int = 30,
        bidirectional: bool = True,
        activation: Activation = "leaky",
        tail_features: int = 64,
        flow_levels: int = 6,
        flow_widths: Sequence[int] = (32, 64, 32, 16),
        freeze_flow: bool = False,
        hidden_states: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("features", features), ("blocks", blocks), ("tail_features", tail_features)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        # Through warped states and the flow's pyramid everything reaches everything. The halo is what one frame's
        # convolutions see.
        self.traits = Traits(scale=SCALE, temporal="stream", halo=Halo(pixels=2 * blocks + 8), global_context=True)
        self.features, self.bidirectional, self.hidden_states = features, bidirectional, hidden_states
        self.spynet = SpyNet(flow_levels, flow_widths, zero_init=True)
        self.spynet.requires_grad_(not freeze_flow)
        if bidirectional:
            self.backward_trunk = residual_trunk(3 + features, features, blocks, activation)
        self.forward_trunk = residual_trunk(3 + features, features, blocks, activation)
        self.fusion = nn.Conv2d(features * (1 + bidirectional), features, 1)
        self.upconv1 = nn.Conv2d(features, 4 * features, 3, padding=1)
        self.upconv2 = nn.Conv2d(features, 4 * tail_features, 3, padding=1)
        self.conv_hr = nn.Conv2d(tail_features, tail_features, 3, padding=1)
        self.conv_last = nn.Conv2d(tail_features, 3, 3, padding=1)
        kaiming(self.forward_trunk[0], self.fusion, self.upconv1, self.upconv2, self.conv_hr)
        if bidirectional:
            kaiming(self.backward_trunk[0])
        self.shuffle = nn.PixelShuffle(2)
        self.activation = activation_of(activation)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """Backward in time, then forward and up to the restored frame; see :class:`restore.Sweep`."""
        return (BackwardSweep(self), ForwardSweep(self)) if self.bidirectional else (ForwardSweep(self),)

    def forward(self, clip: Tensor) -> Tensor | Prediction:
        """``(B, T, 3, H, W)`` in [0, 1] to ``(B, T, 3, 4H, 4W)``, not clamped.

        In training, and where ``hidden_states`` asks, it is a :class:`restore.Prediction` with features ``forward`` and
        ``backward``, the hidden states ``(B, T, features, H, W)``, and with ``flow_forward`` and ``flow_backward``
        ``(B, T-1, 2, H, W)`` in pixels: entry t of ``flow_backward`` leads from frame t to t + 1 (and is what the
        backward branch warps by), that of ``flow_forward`` from frame t + 1 to t.
        """
        frames = clip.unbind(1)
        after, before = self._flows(clip)
        states = [self._branch(self.forward_trunk, frames, before)]
        features: dict[str, Tensor] = {}
        if before:
            features["flow_forward"] = torch.stack(before, 1)
        if self.bidirectional:
            states.append(self._branch(self.backward_trunk, frames[::-1], after[::-1])[::-1])
            if after:
                features["flow_backward"] = torch.stack(after, 1)
        restored = self._reconstruct_all(frames, states[::-1])
        if not (self.training or self.hidden_states):
            return restored
        for name, branch in zip(("forward", "backward"), states, strict=False):
            features[name] = torch.stack(branch, 1)
        return Prediction(restored, features=features)

    def _flows(self, clip: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Of each pair of neighbours, the flow from the earlier to the later frame, and from the later to the earlier;
        the former is empty without the backward branch."""
        earlier, later = clip[:, :-1].transpose(0, 1).flatten(0, 1), clip[:, 1:].transpose(0, 1).flatten(0, 1)
        if not len(earlier):
            return [], []
        pairs = clip.shape[1] - 1
        reference = torch.cat([earlier, later]) if self.bidirectional else later
        supporting = torch.cat([later, earlier]) if self.bidirectional else earlier
        count = _at_once(reference)
        parts = zip(torch.split(reference, count), torch.split(supporting, count), strict=True)
        flow = torch.cat([self.spynet(*part) for part in parts])
        each = flow.view(-1, len(clip), *flow.shape[1:]).unbind(0)
        return (list(each[:pairs]), list(each[pairs:])) if self.bidirectional else ([], list(each))

    def _branch(self, trunk: nn.Sequential, frames: Sequence[Tensor], flows: Sequence[Tensor]) -> list[Tensor]:
        """The hidden state at each frame, in the order given; ``flows[i]`` leads from frame i + 1 to frame i of it."""
        states: list[Tensor] = []
        for index, frame in enumerate(frames):
            states.append(self.step(trunk, frame, states[-1] if states else None, flows[index - 1] if index else None))
        return states

    def step(self, trunk: nn.Sequential, frame: Tensor, state: Tensor | None, flow: Tensor | None) -> Tensor:
        """The next hidden state of a branch.

        Args:
            trunk: ``forward_trunk`` or ``backward_trunk``.
            frame: ``(B, 3, H, W)``.
            state: that of the frame before in this direction, ``(B, features, H, W)``; None at the first.
            flow: from ``frame`` to that frame, ``(B, 2, H, W)`` in pixels; None at the first.
        """
        if state is None or flow is None:
            # Aligned pruning makes states narrower than `features`.
            first = trunk[0]
            assert isinstance(first, nn.Conv2d)
            width = first.in_channels - frame.shape[1]
            moved = frame.new_zeros(frame.shape[0], width, *frame.shape[-2:])
        else:
            moved = warp(state, flow, padding="zeros")
        return trunk(torch.cat([frame, moved], dim=1))  # type: ignore[no-any-return]

    def reconstruct(self, frame: Tensor, states: Sequence[Tensor]) -> Tensor:
        """The restored frame.

        Args:
            frame: ``(N, 3, H, W)``.
            states: hidden states ``(N, features, H, W)``: backward and forward, or forward alone.

        Returns:
            ``(N, 3, 4H, 4W)``.
        """
        x = self.activation(self.fusion(torch.cat(list(states), dim=1)))
        x = self.activation(self.shuffle(self.upconv1(x)))
        x = self.activation(self.shuffle(self.upconv2(x)))
        x = self.conv_last(self.activation(self.conv_hr(x)))
        base = F.interpolate(frame, scale_factor=float(SCALE), mode="bilinear", align_corners=False)
        return x + base  # type: ignore[no-any-return]

    def _reconstruct_all(self, frames: Sequence[Tensor], states: Sequence[Sequence[Tensor]]) -> Tensor:
        """All restored frames ``(B, T, 3, 4H, 4W)``, as many at once as :data:`_PIXELS` allows."""
        count = max(1, _at_once(frames[0]) // len(frames[0]))
        parts = []
        for start in range(0, len(frames), count):
            part = slice(start, start + count)
            made = self.reconstruct(torch.cat(tuple(frames[part])), [torch.cat(tuple(s[part])) for s in states])
            parts.append(made.view(-1, len(frames[0]), *made.shape[1:]))
        return torch.cat(parts).transpose(0, 1)

    def prune_graph(self) -> PruneGraph:
        """SSL's gates (Sec. 3.2): 192 for each residual block of 64 channels, and those of fusion, both up-sampling
        convolutions (one for each group of four channels) and ``conv_hr``. Hidden states keep their width, except under
        aligned pruning. The flow network, the trunks' first and the last convolution stay."""
        trunks = ["backward_trunk", "forward_trunk"] if self.bidirectional else ["forward_trunk"]
        gates, streams = [], []
        for index, trunk in enumerate(trunks):
            blocks = [f"{trunk}.2.{i}" for i in range(len(self.get_submodule(f"{trunk}.2")))]  # type: ignore[arg-type]
            gates += [gate for block in blocks for gate in residual_gates(block)]
            writers = (Slot(f"{trunk}.0", "out"), *(Slot(f"{block}.conv2", "out") for block in blocks))
            # The state comes back beside the frame, and is fused beside that of the other direction.
            later = Slot(f"{trunk}.0", offset=3), Slot("fusion", offset=index * self.features)
            streams.append(Stream(trunk, writers, (*(Slot(f"{block}.conv1") for block in blocks), *later)))
        tail = (
            Gate("fusion", followers=(Slot("upconv1"),)),
            Gate("upconv1", group=4, followers=(Slot("upconv2"),)),
            Gate("upconv2", group=4, followers=(Slot("conv_hr"),)),
            Gate("conv_hr", followers=(Slot("conv_last"),)),
        )
        return PruneGraph((*gates, *tail), tuple(streams), fixed=("spynet", "conv_last"))

    def translate_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under this network's names. Known are those of BasicSR (``backward_trunk.main.2.0.conv1``)
        and of mmediting (``generator.backward_resblocks.main.2.0.conv1``, ``upsample1.upsample_conv``)."""
        named = {_translated(name): value for name, value in tensors.items() if name != "step_counter"}
        return translate_spynet(named, "spynet.")


_RENAMED = (
    (r"^generator\.", ""),
    (r"^(forward|backward)_(?:trunk|resblocks)\.main\.", r"\1_trunk."),
    (r"^upsample([12])\.upsample_conv\.", r"upconv\1."),
)


def _translated(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _at_once(frames: Tensor) -> int:
    """How many of ``(N, C, H, W)`` to work on together."""
    limit = _PIXELS["cpu" if frames.device.type == "cpu" else "other"]
    return max(1, limit // (frames.shape[-2] * frames.shape[-1]))


class _Branch:
    """A branch as a pass over the video: it carries its hidden state and the frame that belongs to it."""

    reach = 0

    def __init__(self, model: BasicVSR, trunk: nn.Sequential) -> None:
        self.model, self.trunk = model, trunk

    def carry(self, frame: Tensor, state: Mapping[str, Tensor] | None) -> Tensor:
        """The hidden state at ``frame``."""
        if state is None:
            return self.model.step(self.trunk, frame, None, None)
        flow = self.model.spynet(frame, state["frame"])
        return self.model.step(self.trunk, frame, state["hidden"], flow)


class BackwardSweep(_Branch):
    """From the last frame to the first: adds the backward hidden state to each frame's value."""

    direction: Literal["forward", "backward", "none"] = "backward"

    def __init__(self, model: BasicVSR) -> None:
        super().__init__(model, model.backward_trunk)

    def __call__(
        self, frames: Sequence[Mapping[str, Tensor] | None], state: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """See :class:`restore.Sweep`; the value is ``{"frame", "backward"}``."""
        (value,) = frames
        assert value is not None
        hidden = self.carry(value["frame"], state)
        return {"frame": value["frame"], "backward": hidden}, {"frame": value["frame"], "hidden": hidden}


class ForwardSweep(_Branch):
    """From the first frame to the last: answers the restored frame."""

    direction: Literal["forward", "backward", "none"] = "forward"

    def __init__(self, model: BasicVSR) -> None:
        super().__init__(model, model.forward_trunk)

    def __call__(
        self, frames: Sequence[Mapping[str, Tensor] | None], state: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """See :class:`restore.Sweep`."""
        (value,) = frames
        assert value is not None
        hidden = self.carry(value["frame"], state)
        states = [value["backward"], hidden] if self.model.bidirectional else [hidden]
        restored = self.model.reconstruct(value["frame"], states)
        return {"frame": restored}, {"frame": value["frame"], "hidden": hidden}


def uni(
    features: int = 64,
    blocks: int = 30,
    activation: Activation = "leaky",
    tail_features: int = 64,
    flow_levels: int = 6,
    flow_widths: Sequence[int] = (32, 64, 32, 16),
    freeze_flow: bool = False,
    hidden_states: bool = False,
) -> BasicVSR:
    """BasicVSR-uni: the forward branch alone, its states fused by a 1x1 convolution (SSL, Sec. 4). The parameters are
    those of :class:`BasicVSR`."""
    return BasicVSR(
        features, blocks, False, activation, tail_features, flow_levels, flow_widths, freeze_flow, hidden_states
    )


def small(features: int = 32, blocks: int = 5, bidirectional: bool = True, hidden_states: bool = False) -> BasicVSR:
    """BasicVSR for two CPU cores: five blocks of 32 channels a branch, 32 channels in the tail, a flow network of four
    levels and half the width. The parameters are those of :class:`BasicVSR`."""
    return BasicVSR(
        features,
        blocks,
        bidirectional,
        tail_features=features,
        flow_levels=4,
        flow_widths=(16, 32, 16, 8),
        hidden_states=hidden_states,
    )


def tiny(bidirectional: bool = True, activation: Activation = "leaky", hidden_states: bool = False) -> BasicVSR:
    """BasicVSR of 8 channels and 2 blocks a branch, for tests. The parameters are those of :class:`BasicVSR`."""
    return BasicVSR(8, 2, bidirectional, activation, 8, 2, (8, 8), hidden_states=hidden_states)
