"""The compression-realized deep structural network for video quality enhancement (Sun et al., 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Sequence

import torch
import torch.nn.functional as F
from restore import Halo, Prediction, Sweep, Traits
from restore.functional.quantizer import join_qp
from restore.networks.spynet import translate_spynet
from restore.pruning import PruneGraph
from torch import Tensor, nn

from restore_crds.attention import Backend
from restore_crds.network.autoencoder import Decoder, Encoder, Stride, Upsampling, check_sides
from restore_crds.network.denoising import DenoisingBlock, Propagation, References
from restore_crds.network.flow import FlowMethod, make_flow
from restore_crds.network.muna import Alignment, Bias, Fusion, MuNA
from restore_crds.network.quantizer import Quantizer
from restore_crds.network.strength import Strength

# Motion that a tile's surroundings make room for, in pixels.
MOTION = 32


class CRDS(nn.Module):
    """Better frames out of compressed ones, in latent space, in steps that each take some quantization noise away.

    Every frame is encoded to ``l^N``; each denoising block predicts the frames from their neighbours (MuNA), cleans
    what the prediction leaves by propagating it along time both ways, and so makes ``l^(s-1)`` of ``l^s``; the answer
    is the frame plus what the decoder makes of ``l^N`` and ``l^0``. The untrained network is the identity.

    The supplement that gives layer counts is not public; the defaults are 8,063,287 parameters (the paper: 8.1 M).

    Args:
        features: channels (paper: 64).
        references: m_w, frames to either side that a frame is predicted from, besides itself; 0 is intra only.
        window: K of the neighborhood attention, in places of stride x stride pixels.
        heads: of the attention.
        bias: ``table``, a learnt relative position bias; ``none``, which natten's kernels can run.
        blocks: denoising blocks, N (paper: 4).
        encoder_blocks, decoder_blocks, fusion_blocks, propagation_blocks: residual blocks in each of these parts;
            propagation_blocks in each of its two directions.
        alignment: ``muna``; ``flow`` or ``none`` instead of the attention (Table 4).
        prediction: False predicts zero, so that the residual is the level itself (row A of Table 3).
        upsampling: the decoder's, see :class:`Decoder`.
        stride: pixels of a frame per place of its latent representation, along each side (paper: 4).
        with_qp: be told the quantizer that each frame was coded with, see
            :class:`restore_crds.network.quantizer.Quantizer` (not in the paper).
        assumed_qp: QP that all frames are taken for, whatever is said of them, e.g. of a video that was coded well
            after it had been coded badly; None: their own, and 37 where nobody knows, of which ``strength`` says how
            much.
        strength: scale corrections by what :class:`Strength` reads off each frame's surroundings, where its quantizer
            is not known (not in the paper).
        flow: ``spynet``, as in the paper; ``lucas-kanade``, a method without parameters, see
            :class:`restore_crds.network.flow.LucasKanade`.
        flow_levels, flow_widths: of the flow network, see :class:`restore.networks.spynet.SpyNet`.
        flow_weights: file of published SpyNet weights; without them SpyNet begins at zero and learns.
        backend: ``auto``, ``torch`` or ``natten``, see :func:`restore_crds.attention.neighborhood_attention`.

    Attributes:
        with_motion: whether the prediction's features hold ``motion``, MuNA's field of the last block to the frame
            before, ``(B, T, 2, h, w)`` in pixels, x then y.

    Raises:
        ValueError: a number out of range or an unknown choice.
    """

    def __init__(
        self,
        *,
        features: int = 64,
        references: int = 1,
        window: int = 7,
        heads: int = 2,
        bias: Bias = "table",
        blocks: int = 4,
        encoder_blocks: int = 5,
        decoder_blocks: int = 3,
        fusion_blocks: int = 1,
        propagation_blocks: int = 7,
        alignment: Alignment = "muna",
        prediction: bool = True,
        upsampling: Upsampling = "two-step",
        stride: Stride = 4,
        with_qp: bool = False,
        assumed_qp: float | None = None,
        strength: bool = False,
        flow: FlowMethod = "spynet",
        flow_levels: int = 6,
        flow_widths: tuple[int, ...] = (32, 64, 32, 16),
        flow_weights: Path | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        _at_least(1, features=features, window=window, heads=heads, blocks=blocks)
        _at_least(0, references=references, encoder_blocks=encoder_blocks, decoder_blocks=decoder_blocks)
        _at_least(0, fusion_blocks=fusion_blocks, propagation_blocks=propagation_blocks)
        self.references, self.stride, self.with_motion = references, stride, False
        self.flow = make_flow(flow, flow_levels, flow_widths, flow_weights)
        self.quantizer = Quantizer(assumed_qp) if with_qp else None
        self.encoder = Encoder(features, encoder_blocks, stride, planes=4 if with_qp else 3)
        self.blocks = nn.ModuleList(
            DenoisingBlock(
                MuNA(features, window, heads, bias, alignment, backend) if prediction else None,
                Fusion(features, 2 * references + 1, fusion_blocks) if prediction else None,
                Propagation(features, propagation_blocks),
            )
            for _ in range(blocks)
        )
        self.decoder = Decoder(features, decoder_blocks, upsampling, stride)
        self.strength = Strength() if strength and assumed_qp is None else None
        attends = prediction and alignment == "muna"
        self.traits = Traits(
            channels="rgb+qp" if with_qp and assumed_qp is None else "rgb",
            temporal="stream",
            multiple_of=stride,
            minimum=stride * window if attends else stride,
            halo=Halo(pixels=self._reach(window if attends else 1) + MOTION),
            global_context=True,  # the flow network looks at the whole frame, coarsely
        )

    def forward(self, clip: Tensor) -> Prediction:
        """``clip`` plus ``D(l^N, l^0)``, not clamped.

        Args:
            clip: ``(B, T, 3, H, W)`` RGB in [0, 1]; H and W multiples of the stride, at least windows times the stride.
                With ``with_qp`` the fourth channel is QP / 51 of each frame, -1 where nobody knows; left out, nobody.

        Returns:
            the restored clip; while training, as intermediates, ``clip + D(l^N, l^s)`` for s = N - 1 to 1, each made
            when it is read; with ``with_motion``, the feature ``motion``.

        Raises:
            ValueError: frames that are too small, or whose sides are no multiples of the stride.
        """
        clip = self.complete(clip)
        _, levels, motion = self._levels(clip)
        features = {} if motion is None else {"motion": motion}
        inner = Decoded(self, clip, levels[:-1]) if self.training else ()
        # The sequence makes its items when they are read; to whoever reads it, it is a tuple.
        return Prediction(self.decode(clip, levels[0], levels[-1]), inner, features)  # type: ignore[arg-type]

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """What the network does, frame by frame: flows and encoding, each block backward and forward, decoding."""
        from restore_crds.network.sweeps import make_sweeps

        return make_sweeps(self)

    def encode(self, clip: Tensor) -> Tensor:
        """``l^N``, ``(B, T, C, h, w)``."""
        return self.begin(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])

    def begin(self, frames: Tensor) -> Tensor:
        """``l^N`` of ``(N, C, H, W)``."""
        level: Tensor = self.encoder(frames if self.quantizer is None else self.quantizer(frames))
        return level

    def complete(self, clip: Tensor) -> Tensor:
        """The clip with a channel for the quantizer, where the network has one; nobody knows what was left out."""
        if self.quantizer is None or clip.shape[-3] != 3:
            return clip
        return join_qp(clip, None)

    def decode(self, clip: Tensor, first: Tensor, level: Tensor) -> Tensor:
        """``clip + D(l^N, l^s)``, ``(B, T, 3, H, W)``."""
        residual = self.correct(clip.flatten(0, 1), first.flatten(0, 1), level.flatten(0, 1))
        return clip[:, :, :3] + residual.unflatten(0, clip.shape[:2])

    def correct(self, frames: Tensor, first: Tensor, level: Tensor) -> Tensor:
        """What is added to ``frames``, ``(N, C, H, W)``: ``D(l^N, l^s)``, times its strength, ``(N, 3, H, W)``."""
        residual: Tensor = self.decoder(first, level)
        if self.quantizer is None:
            return residual if self.strength is None else self.strength(frames) * residual
        factor = self.quantizer.scale(frames)
        if self.strength is not None and bool((unknown := self.quantizer.unknown(frames)).any()):
            factor = torch.where(unknown, factor * self.strength(frames[:, :3]), factor)
        return factor * residual

    def estimate_flow(self, frames: Tensor, others: Tensor) -> Tensor:
        """Optical flow between frames, at the size of their latent representation.

        Args:
            frames, others: ``(N, C, H, W)``, of which the first three channels count.

        Returns:
            ``(N, 2, h, w)`` from the one to the other, x then y, in places of the latent representation.
        """
        with torch.autocast(frames.device.type, enabled=False):  # a short float would be off by a pixel
            kind = next(self.encoder.parameters()).dtype
            ours, theirs = (self._reduced(side[:, :3].to(kind)) for side in (frames, others))
            return self.flow(ours, theirs)  # type: ignore[no-any-return]

    def flows(self, clip: Tensor) -> dict[int, Tensor]:
        """Flow from each frame t to t + m, ``(B, T, 2, h, w)`` in places, for every m but 0 that is needed.

        Where t + m lies beyond the clip, the reference is the frame itself, and the flow zero.
        """
        batch, frames, _, height, width = clip.shape
        steps = [m for m in range(1, max(1, self.references) + 1) if m < frames]
        result = {}
        if steps:
            early = torch.cat([clip[:, :-m].flatten(0, 1) for m in steps])
            late = torch.cat([clip[:, m:].flatten(0, 1) for m in steps])
            both = self.estimate_flow(torch.cat([early, late]), torch.cat([late, early]))
            parts = both.split([batch * (frames - m) for m in steps] * 2)
            for m, onward, back in zip(steps, parts[: len(steps)], parts[len(steps) :], strict=True):
                result[m] = F.pad(onward.unflatten(0, (batch, -1)), (0,) * 7 + (m,))
                result[-m] = F.pad(back.unflatten(0, (batch, -1)), (0,) * 6 + (m, 0))
        still = clip.new_zeros(batch, frames, 2, height // self.stride, width // self.stride)
        return {m: result.get(m, still) for m in self.motions}

    @property
    def motions(self) -> list[int]:
        """The m other than 0 to which there is flow."""
        far = max(1, self.references)
        return [m for m in range(-far, far + 1) if m]

    def collect(self, level: Tensor, flows: dict[int, Tensor]) -> References:
        """What each frame is predicted from: ``(B * T, C, h, w)`` and the flow to it, for m = -m_w to m_w."""
        frames = level.shape[1]
        found: References = []
        for m in range(-self.references, self.references + 1):
            if m == 0:
                found.append((level.flatten(0, 1), None))
                continue
            index = [t + m if 0 <= t + m < frames else t for t in range(frames)]
            found.append((level[:, index].flatten(0, 1), flows[m].flatten(0, 1)))
        return found

    def _levels(self, clip: Tensor) -> tuple[dict[int, Tensor], list[Tensor], Tensor | None]:
        """Flows, ``l^N`` to ``l^0``, and the motion where it is asked for."""
        check_sides(clip, self.stride, self.traits.minimum)
        flows, levels, motion = self.flows(clip), [self.encode(clip)], None
        for block in self.steps:
            level, references = levels[-1], self.collect(levels[-1], flows)
            predicted = block.predict(level.flatten(0, 1), references).unflatten(0, level.shape[:2])
            if self.with_motion and self.references and len(levels) == len(self.blocks):
                offset = block.vectors(level.flatten(0, 1), references)[self.references - 1]
                motion = self.stride * (flows[-1] + offset.unflatten(0, level.shape[:2]))
            residual = block.propagation(level - predicted, flows[1], flows[-1])
            levels.append(residual + predicted)
        return flows, levels, motion

    @torch.no_grad()
    def inspect(self, clip: Tensor) -> dict[str, Tensor]:
        """What happens inside, for pictures like the paper's Fig. 5.

        Args:
            clip: as :meth:`forward` takes it.

        Returns:
            ``flow/{m}``: optical flow to frame t + m; ``motion/{b}/{m}``: MuNA's motion field there in block b, counted
            from 0 (Eq. 20); ``offset/{b}/{m}``: what the attention adds to the flow, for m = 0 too; all
            ``(B, T, 2, h, w)`` in pixels, x then y. ``prediction/{b}`` and ``residual/{b}``: the fused
            prediction and what it leaves (Eq. 24), ``(B, T, C, h, w)``.

        Raises:
            ValueError: as :meth:`forward`.
        """
        flows, levels, _ = self._levels(self.complete(clip))
        shape = clip.shape[:2]
        found = {f"flow/{m}": self.stride * flow for m, flow in flows.items()}
        for b, (block, level) in enumerate(zip(self.steps, levels[:-1], strict=True)):
            references = self.collect(level, flows)
            flat = level.flatten(0, 1)
            found[f"prediction/{b}"] = block.predict(flat, references).unflatten(0, shape)
            found[f"residual/{b}"] = level - found[f"prediction/{b}"]
            vectors = block.vectors(flat, references)
            for m, vector in zip(range(-self.references, self.references + 1), vectors, strict=True):
                offset = self.stride * vector.unflatten(0, shape)
                found[f"offset/{b}/{m}"] = offset
                if m:
                    found[f"motion/{b}/{m}"] = found[f"flow/{m}"] + offset
        return found

    @property
    def steps(self) -> list[DenoisingBlock]:
        """The denoising blocks, Phi^N first."""
        return [block for block in self.blocks if isinstance(block, DenoisingBlock)]

    def _reduced(self, frames: Tensor) -> Tensor:
        return F.interpolate(frames, scale_factor=1 / self.stride, mode="bicubic", align_corners=False, antialias=True)

    def _reach(self, window: int) -> int:
        """Pixels that a frame's answer sees of that frame, to each side."""
        places = 0
        for block in self.steps:
            places += block.propagation.reach + (0 if block.fusion is None else block.fusion.reach + window - 1)
        return self.encoder.reach + self.stride * places + self.decoder.reach

    def prune_graph(self) -> PruneGraph:
        """Residual blocks of encoder, decoder, fusion and propagation, and the decoder's enlargement. Latent levels and
        propagated states keep their width; flow network, attention and strength stay."""
        blocks = [gate for i, block in enumerate(self.steps) for gate in block.gates(f"blocks.{i}")]
        fixed = ("flow", "encoder.reduce") + (() if self.strength is None else ("strength",))
        return PruneGraph((*self.encoder.gates("encoder"), *blocks, *self.decoder.gates("decoder")), fixed=fixed)

    def translate_weights(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file's tensors under this network's names: a flow network under its published ones; a strength that this
        network does without is left out."""
        found = translate_spynet(tensors, "flow.")
        reduce = found.get("encoder.reduce.0.weight")
        if self.quantizer is not None and reduce is not None and reduce.shape[1] == 3:
            # What was learnt without quantizers goes on as if it did not look at them.
            found = found | {"encoder.reduce.0.weight": torch.cat([reduce, torch.zeros_like(reduce[:, :1])], dim=1)}
        if self.strength is None:
            found = {name: tensor for name, tensor in found.items() if not name.startswith("strength.")}
        return found


class Decoded(Sequence[Tensor]):
    """``clip + D(l^N, l^s)`` of inner levels, decoded when read and kept: phases that do not look pay nothing."""

    def __init__(self, model: CRDS, clip: Tensor, levels: list[Tensor]) -> None:
        self._model, self._clip, self._levels = model, clip, levels
        self._made: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._levels) - 1

    def __getitem__(self, index):  # type: ignore[no-untyped-def] # int gives a tensor, slice a tuple of them
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]
        if index not in self._made:
            self._made[index] = self._model.decode(self._clip, self._levels[0], self._levels[index + 1])
        return self._made[index]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


def _at_least(low: int, **values: int) -> None:
    for name, value in values.items():
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
