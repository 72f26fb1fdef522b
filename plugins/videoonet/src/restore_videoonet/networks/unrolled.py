"""Unrolled ADMM with learned prior and data steps: "VideoOneNet: Bidirectional Convolutional Recurrent OneNet with
Trainable Data Steps for Video Processing" (Milacski, Poczos, Lorincz, ICML 2020), Alg. 1 to 3."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from restore import Halo, LinearOperator, Model, Prediction, RequestError, Traits
from restore.pruning import PruneGraph
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from restore_videoonet.networks.autoencoder import EncoderDecoder
from restore_videoonet.networks.parts import Normalization, Recurrence
from restore_videoonet.networks.priors import ModelPrior, Prior
from restore_videoonet.networks.start import smooth_inverse
from restore_videoonet.networks.steps import DataStep, Solver, data_step

# Frames to either side that windows over a long video should overlap by, where there is a recurrence.
_MEMORY = 8


class DataNetwork(nn.Module):
    """``[Z, U] = q([A^T y, pinv(A) y, X, Z_before, U_before, Z', U'])`` (Alg. 3 f).

    Args:
        network: from 7 C channels to 2 C.
        residual: the network's answer is added to ``[Z', U']``.
    """

    def __init__(self, network: EncoderDecoder, residual: bool) -> None:
        super().__init__()
        self.network, self.residual = network, residual

    def forward(self, *states: Tensor) -> tuple[Tensor, Tensor]:
        """The seven clips ``(B, T, C, H, W)`` in that order to Z and U."""
        made: Tensor = self.network(torch.cat(states, dim=2))
        if self.residual:
            made = made + torch.cat(states[-2:], dim=2)
        z, u = made.chunk(2, dim=2)
        return z, u

    @property
    def reach(self) -> int:
        """As of the network."""
        return self.network.reach


class VideoOneNet(nn.Module):
    """Restores what a linear operator measured, whichever it is. One class has the paper's four networks:

    | | ``recurrence = "none"`` | ``recurrence = "bidirectional"`` |
    | --- | --- | --- |
    | ``data = "analytic"`` | OneNet CNN | OneNet BCRNN |
    | ``data = "learned"`` | VideoOneNet CNN | VideoOneNet BCRNN |

    Each iteration: the prior step X = p(Z, U), ADMM's own data step ``Z' = argmin 1/2 |A Z - y|^2 + rho/2 |X - Z +
    U|^2`` through the operator, ``U' = U + X - Z'``, and, if learned, the data network q on top.

    Args:
        channels: of the clips: 3, or 1.
        filters: of the networks (paper: 64 for Rotated MNIST, else 256).
        encoder_kernel: odd side of their convolutions (paper: 3, else 5).
        decoder_kernel: odd side of their last one (paper: 11, else 7).
        recurrence: over the frames: ``none``, ``forward`` or ``bidirectional``.
        data: ``learned`` or ``analytic`` (no network q).
        prior_input: ``concatenated``, p([Z, U]); ``difference``, p(Z - U); ``auto``, the first with a learned data
            step, the second without, as published.
        iterations: of ADMM (paper: 13).
        rho: of all iterations, or where learning it begins (paper: 0.3).
        learn_rho: ``no``; ``shared``, one for all iterations; ``each``, one for every iteration.
        share_weights: the same networks in all iterations, as published.
        residual: networks add to ADMM's own X = Z - U and [Z', U'], and begin at 0: untrained they are ADMM without a
            prior. The paper suggests it as future work.
        normalization: ``published``, over a whole sample; ``instance``, over each frame's channels; ``pixel``, over the
            channels of each pixel; ``none``. With the first two the answer depends on how a video is cut into windows.
        start: of Z: ``pinv``, pinv(A) y, as published for VideoOneNet; ``adjoint``, A^T y, as the published code of
            OneNet does.
        ridge: above 0, ``(A^T A + ridge I)^-1 A^T y`` stands for pinv(A) y wherever that appears. The published code
            has 1e-5. Where a blur is measured with noise, the pseudo-inverse is nothing but noise.
        smooth: above 0, the smooth clip that explains y stands for pinv(A) y instead
            (:func:`restore_videoonet.networks.start.smooth_inverse`), with this weight on differences in space.
        smooth_time: weight of differences along time, relative to that.
        prior: any model of scale 1 in place of p, given Z - U: plug and play.
        unshuffle: networks work at so many times less height and width, blocks of pixels as channels.
        solver: ``matrix-free``, the operator's own solve; ``dense``, pseudo-inverses of the matrix, as published.
        checkpoint: compute each network's activations again in the backward pass, to save memory.

    Raises:
        ValueError: a number out of its range, or parameters that exclude each other.
    """

    def __init__(
        self,
        channels: int = 3,
        filters: int = 256,
        encoder_kernel: int = 5,
        decoder_kernel: int = 7,
        *,
        recurrence: Recurrence = "bidirectional",
        data: Literal["learned", "analytic"] = "learned",
        prior_input: Literal["auto", "concatenated", "difference"] = "auto",
        iterations: int = 13,
        rho: float = 0.3,
        learn_rho: Literal["no", "shared", "each"] = "no",
        share_weights: bool = True,
        residual: bool = False,
        normalization: Normalization = "published",
        start: Literal["pinv", "adjoint"] = "pinv",
        ridge: float = 0.0,
        smooth: float = 0.0,
        smooth_time: float = 1.0,
        prior: Model | None = None,
        unshuffle: int = 1,
        solver: Solver = "matrix-free",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check(channels, {"filters": filters, "iterations": iterations, "unshuffle": unshuffle}, rho)
        for name, kernel in (("encoder_kernel", encoder_kernel), ("decoder_kernel", decoder_kernel)):
            if kernel < 1 or kernel % 2 == 0:
                raise ValueError(f"{name} must be odd, so that frames keep their size, got {kernel}")
        if prior is not None and prior_input == "concatenated":
            raise ValueError("a prior model is given Z - U; leave out prior_input")
        if solver == "dense" and learn_rho != "no":
            raise ValueError('the dense solver knows only a fixed rho; use solver = "matrix-free" to learn it')
        if not 0 <= ridge < math.inf:
            raise ValueError(f"ridge must not be negative, got {ridge}")
        if not (0 <= smooth < math.inf and 0 <= smooth_time < math.inf) or (smooth and ridge):
            raise ValueError(
                "smooth and smooth_time must not be negative, and there is no ridge beside smooth, "
                f"got {smooth}, {smooth_time} and {ridge}"
            )
        self.smooth, self.smooth_time = smooth, smooth_time
        self.channels, self.iterations, self.start, self.solver = channels, iterations, start, solver
        self.ridge, self.checkpoint, self.recurrence = ridge, checkpoint, recurrence

        def network(inputs: int, outputs: int) -> EncoderDecoder:
            sizes = inputs * channels, outputs * channels, filters, encoder_kernel, decoder_kernel
            return EncoderDecoder(*sizes, recurrence, normalization, unshuffle, zero=residual)

        both = prior_input == "concatenated" or (prior_input == "auto" and data == "learned")
        copies = 1 if share_weights else iterations
        if prior is not None:
            assert isinstance(prior, nn.Module)
            self.prior = nn.ModuleList([ModelPrior(prior)])
        else:
            self.prior = nn.ModuleList(Prior(network(1 + both, 1), both, residual) for _ in range(copies))
        learned = copies if data == "learned" else 0
        self.data = nn.ModuleList(DataNetwork(network(7, 2), residual) for _ in range(learned))
        # softplus keeps it above 0.
        begin = torch.full((1 if learn_rho == "shared" else iterations,), math.log(math.expm1(rho)))
        self.rho = rho
        self.raw_rho = None if learn_rho == "no" else nn.Parameter(begin)
        self.traits = self._traits(normalization, recurrence != "none" or prior is not None)

    def _traits(self, kind: Normalization, temporal: bool) -> Traits:
        modules: list[Any] = [self.prior[0], *self.data[:1]]
        reach = sum(module.reach for module in modules)
        return Traits(
            channels="y" if self.channels == 1 else "rgb",
            temporal="clip",
            halo=Halo(pixels=self.iterations * reach, frames=_MEMORY if temporal else 0),
            # Data steps solve for a whole clip, whatever the networks look at.
            global_context=True,
            needs_operator=True,
        )

    def prune_graph(self) -> PruneGraph:
        """None: no channel of it can be removed exactly.

        Raises:
            RequestError: always.
        """
        raise RequestError(
            "VideoOneNet cannot be pruned exactly: its global norm mixes all channels, and where there is none, a "
            "channel of zeros still gives 0.0635 behind the activation"
        )

    def forward(self, observed: Tensor, operator: LinearOperator) -> Tensor | Prediction:
        """What was measured, and the operator that measured it, to clips ``(B, T, C, H, W)``, not clamped.

        In training a :class:`restore.Prediction` whose ``intermediates`` are Z of the iterations before the last.

        Raises:
            ValueError: an operator on clips with another number of channels.
        """
        adjoint = operator.adjoint(observed)
        if adjoint.shape[2] != self.channels:
            raise ValueError(
                f"this network was made for clips of {self.channels} channels, the operator for {adjoint.shape[2]}"
            )
        inverse = self._inverse(observed, operator, adjoint)
        z = inverse if self.start == "pinv" else adjoint
        u = torch.zeros_like(z)
        steps = self._steps(observed, operator)
        every: list[Tensor] = []
        for i in range(self.iterations):
            x = self._run(self.prior[i % len(self.prior)], z, u)
            after = steps[i % len(steps)](x + u)
            dual = u + x - after
            if len(self.data):
                z, u = self._run(self.data[i % len(self.data)], adjoint, inverse, x, z, u, after, dual)
            else:
                z, u = after, dual
            every.append(z)
        return Prediction(z, tuple(every[:-1])) if self.training else z

    def _inverse(self, observed: Tensor, operator: LinearOperator, adjoint: Tensor) -> Tensor:
        """pinv(A) y, or what stands for it."""
        if self.smooth:
            return smooth_inverse(operator, observed, self.smooth, self.smooth * self.smooth_time)
        if self.ridge:
            return operator.prox(torch.zeros_like(adjoint), observed, self.ridge)
        return operator.pinv(observed)

    def _steps(self, observed: Tensor, operator: Any) -> list[DataStep]:
        """The data step of all iterations, or one for each."""
        if self.raw_rho is None:
            return [data_step(operator, observed, self.rho, self.solver)]
        rhos = nn.functional.softplus(self.raw_rho).to(observed.dtype)
        return [data_step(operator, observed, rho, self.solver) for rho in rhos.unbind()]

    def _run(self, module: nn.Module, *clips: Tensor) -> Any:
        if self.checkpoint and self.training and torch.is_grad_enabled():
            return checkpoint(module, *clips, use_reentrant=False)
        return module(*clips)


def _check(channels: int, counts: dict[str, int], rho: float) -> None:
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 < rho < math.inf:
        raise ValueError(f"rho must be above 0, got {rho}")
