"""Losses that look at hidden states and flows: SSL's temporal finetuning, and brightness constancy for flow that is
learned without published weights."""

from __future__ import annotations

from typing import Any, Mapping

from restore import Pair, Prediction, RequestError, Step, Teacher
from restore.functional.flow import warp
from torch import Tensor

DIRECTIONS = ("forward", "backward")


def _charbonnier(difference: Tensor, eps: float) -> Tensor:
    """``sqrt(d^2 + eps^2) - eps``, the absolute value where ``eps`` is 0; 0 at 0."""
    return (difference * difference + eps * eps).sqrt() - eps if eps else difference.abs()


def _features(answer: Any, whose: str) -> Mapping[str, Tensor]:
    """Its hidden states.

    Raises:
        RequestError: it gave none.
    """
    found = answer.features if isinstance(answer, Prediction) else {}
    if not any(name in found for name in DIRECTIONS):
        raise RequestError(
            f"{whose} gave no hidden states: ssl_prune:temporal works with recurrent networks whose predictions have "
            'the features "forward" or "backward", such as ssl_prune:basicvsr (outside of training with '
            "hidden_states = true)"
        )
    return found


class TemporalLoss:
    """Keeps the hidden states of a pruned network near those of the unpruned one, so that its errors do not grow along
    time (SSL, Eqs. 6 and 8).

    **Reconstructed**: the paper's page with these equations was not at hand, and the authors' published code has no
    such term. Known is that the loss is added to that of the reconstruction and compares hidden states. Here, with T
    frames, pruned states P and unpruned ones U of both directions, and means over batch, channels and pixels:
    ``1/(2T) sum_t (|P_F,t - U_F,t| + |P_B,t - U_B,t|)``. A network without a backward branch has the first term alone.

    Args:
        teacher: the unpruned network with its weights; it is given the same observed clip.
        last_state_only: only the state that each branch ends with: the last frame's forward, the first one's backward.
        eps: above 0, Charbonnier's ``sqrt(d^2 + eps^2) - eps`` in place of the absolute difference.

    Raises:
        ValueError: a negative ``eps``.
    """

    def __init__(self, teacher: Teacher, last_state_only: bool = False, eps: float = 0.0) -> None:
        if eps < 0:
            raise ValueError(f"eps must not be negative, got {eps}")
        self.teacher, self.last_state_only, self.eps = teacher, last_state_only, eps
        # In evaluation mode, which teachers are in, hidden states are given only where asked for.
        network = getattr(teacher, "network", teacher)
        if hasattr(network, "hidden_states"):
            network.hidden_states = True

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """A scalar; 0 where teacher and student are one.

        Raises:
            RequestError: teacher or student give no hidden states, or such of other shapes.
        """
        pruned = _features(prediction, "the network in training")
        whole = _features(self.teacher(pair.observed), "the teacher")
        total = prediction.restored.new_zeros(())
        for name in DIRECTIONS:
            if name not in pruned:
                continue
            if name not in whole or whole[name].shape != pruned[name].shape:
                other = tuple(whole[name].shape) if name in whole else "missing"
                raise RequestError(
                    f"the hidden states {name!r} are {tuple(pruned[name].shape)}, the teacher's {other}: "
                    "the teacher must be the unpruned network of the same form"
                )
            difference = _charbonnier(pruned[name] - whole[name], self.eps)
            if self.last_state_only:
                difference = difference[:, -1] if name == "forward" else difference[:, 0]
            total = total + difference.mean() / 2
        return total


class Photometric:
    """Brightness constancy of the flows that a network aligns frames with: each observed frame against its neighbour
    fetched along the flow, ``mean sqrt(d^2 + eps^2)``, both ways in time, plus ``smoothness`` times the flow's mean
    absolute gradient. For training the flow network along with the rest, without true flow and without published
    weights (Yu, Harley and Derpanis, "Back to Basics", ECCV 2016 workshops).

    Args:
        smoothness: weight of the gradient of the flow, in pixels per pixel.
        eps: on the [0, 1] scale.
    """

    def __init__(self, smoothness: float = 0.01, eps: float = 1e-2) -> None:
        self.smoothness, self.eps = smoothness, eps

    def __call__(self, prediction: Prediction, pair: Pair, step: Step) -> Tensor:
        """A scalar, the mean over the directions in time that have flows; 0 for a single frame.

        Raises:
            RequestError: the network gives no flows.
        """
        observed, features = pair.observed, prediction.features
        flows = {n: features[n] for n in ("flow_forward", "flow_backward") if n in features}
        if not flows:
            if observed.shape[1] == 1:
                return prediction.restored.new_zeros(())
            raise RequestError(
                "ssl_prune:photometric needs a network whose predictions have the features flow_forward or "
                "flow_backward, such as ssl_prune:basicvsr in training"
            )
        terms = []
        for name, flow in flows.items():
            earlier, later = observed[:, :-1], observed[:, 1:]
            here, there = (later, earlier) if name == "flow_forward" else (earlier, later)
            moved = warp(there.flatten(0, 1), flow.flatten(0, 1))
            difference = moved - here.flatten(0, 1)
            terms.append((difference * difference + self.eps**2).sqrt().mean() + self.smoothness * _roughness(flow))
        total: Tensor = sum(terms[1:], terms[0])
        return total / len(terms)


def _roughness(flow: Tensor) -> Tensor:
    """Mean absolute difference between neighbours along both axes."""
    return flow.diff(dim=-1).abs().mean() + flow.diff(dim=-2).abs().mean()
