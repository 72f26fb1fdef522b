"""Small components of every kind, with switches that break one promise of their contract each."""

from __future__ import annotations

import math
import random

import torch
from restore.contracts import Halo, Pair, Traits
from restore.testing import Sample
from restore.testing.kinds.pruner import SmallNet
from torch import nn

# Models.


class Net(nn.Module):
    """Blur of three pixels and a skip; switches break one promise each."""

    def __init__(self, broken="", scale=1, **traits):
        super().__init__()
        self.broken, self.calls = broken, 0
        self.traits = Traits(scale=scale, **{"halo": Halo(pixels=1), **traits})
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        if broken == "buffer":
            self.register_buffer("drawn", torch.rand(3, 1, 1), persistent=False)
        if broken == "unused":
            self.spare = nn.Conv2d(3, 3, 1)

    def forward(self, clip):
        x = clip.flatten(0, 1)
        x = x + self.conv(x)
        if self.broken == "mean":
            x = x + 1e-20 * x.mean((-2, -1), keepdim=True)
        if self.broken == "far":
            x = x + 0.1 * torch.nn.functional.pad(x, (0, 0, 0, 2))[..., 2:, :].round()
        if self.broken == "buffer":
            x = x * self.drawn
        if self.broken == "calls":
            self.calls += 1
            x = x + 1e-3 * self.calls
        if self.broken == "batch":
            x = x - x.mean(0, keepdim=True)
        if self.broken == "nan":
            x = x / x.std((-2, -1), keepdim=True)
        if self.broken == "in place":
            clip += 1e-3
        if self.broken == "detached":
            x = x.detach() + 0 * self.conv.weight.sum()
        if self.broken == "time":
            return (x.unflatten(0, clip.shape[:2]) + clip.roll(1, 1)).contiguous()
        if self.broken == "pool":
            x = nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2.0)
        if self.broken == "rounding":
            y = self.conv(x)
            x = x + 1e3 * ((y + 100) - 100 - y)
        return x.unflatten(0, clip.shape[:2])


# Degradations.


class Spoil:
    """Noise; switches break one promise each."""

    def __init__(self, broken="", per_frame=True):
        self.broken, self.per_frame = broken, per_frame
        if broken == "plain":
            self.plain = Spoil("bytes")

    def settled(self, generator):
        if self.broken == "settled":
            self.broken = "shift"
            return self
        return self

    def __call__(self, clean, step):
        draw = None if self.broken == "global" else step.generator
        noise = torch.randn(clean.shape, generator=draw, dtype=clean.dtype)
        target, observed = clean, clean + 0.1 * noise
        if self.broken == "constant":
            observed = clean
        if self.broken == "python":
            observed = clean + random.random() / 10
        if self.broken == "shift":
            observed = observed + 0.1
        if self.broken == "bytes":
            observed, target = observed * 255, target * 255
        if self.broken == "in place":
            clean.mul_(0.5)
        if self.broken == "double":
            observed = observed.double() if clean.dtype == torch.float32 else observed.float()
        if self.broken == "batch mean":
            observed = observed - clean.mean()
        if self.broken == "time":
            observed = observed + clean.roll(1, 1)
        if self.broken == "flat":
            target = clean.flatten(0, 1)
        return Pair(observed, target)


class Weighted:
    """``A x = w x`` with every number its own weight; switches break one promise each."""

    def __init__(self, broken=""):
        self.broken = broken
        if broken == "plan":
            self.plan = lambda: None

    def weights(self, x):
        w = torch.linspace(0.2, 1.5, x[0].numel(), dtype=x.dtype, device=x.device).view(x.shape[1:])
        return w * (torch.arange(x.shape[-1], device=x.device) != 2)

    def __call__(self, x):
        if self.broken == "clamp":
            x = x.clamp(max=1)
        if self.broken == "batch":
            x = x + x.flip(0)
        return self.weights(x) * (x.detach() if self.broken == "detach" else x)

    def adjoint(self, y):
        out = self.weights(y) * y
        out = out + out.flip(0) if self.broken == "batch" else out
        return {"sign": -out, "roll": out.roll(1, -1)}.get(self.broken, out)

    def pinv(self, y):
        w = self.weights(y)
        if self.broken == "regularised":
            return w * y / (w * w + 1e-6)
        return torch.where(w != 0, y / torch.where(w != 0, w, 1), y if self.broken == "least norm" else 0 * y)

    def prox(self, v, y, rho):
        rho = rho.view(-1, 1, 1, 1, 1) if isinstance(rho, torch.Tensor) and rho.ndim else rho
        rho = {"twice rho": 2 * rho, "rho item": float(torch.as_tensor(rho, dtype=v.dtype).detach().mean())}.get(
            self.broken, rho
        )
        z = (self.adjoint(y) + rho * v) / (self.weights(y) ** 2 + rho)
        return z.double() if self.broken == "double" else z


def short(prediction, pair, step):
    """A difference of large numbers, in the prediction's precision."""
    a, b = prediction.restored, pair.target.to(prediction.restored.dtype)
    return ((a + 3).square().mean() - (b + 3).square().mean()).abs()


class Loss:
    def __init__(self, of):
        self.of = of

    def __call__(self, prediction, pair, step):
        return self.of(prediction.restored - pair.target)


def counting(step, calls=[]):  # noqa: B006
    calls.append(1)
    return float(len(calls))


# Datasets: classes of this module, so that they can be pickled.


class Clips:
    """Two clips."""

    def __init__(self, broken=""):
        self.broken = broken
        if broken == "open file":
            self.file = open(__file__)  # noqa: SIM115

    def __len__(self):
        return 0 if self.broken == "empty" else 2

    def name(self, index):
        return index if self.broken == "name" else str(index)

    def __getitem__(self, index):
        if not 0 <= index < 2 and self.broken != "endless":
            raise IndexError(index)
        clip = Sample().clip(index, (1, 3, 3, 16, 20))[0]
        if self.broken == "random":
            clip = clip * torch.rand(())
        shapes = {
            "image": clip[0],
            "channels last": clip.permute(0, 2, 3, 1),
            "bytes": clip * 255,
            "pair": (clip, clip),
        }
        shapes |= {"uint8": (clip * 255).byte(), "normal": clip - 0.5}
        return shapes.get(self.broken, clip)

    def sample(self, index, generator):
        draw = None if self.broken == "global" else generator
        start = int(torch.randint(10, (), generator=draw))
        start = 0 if self.broken == "fixed" else start
        return self[index][..., start : start + 8]

    def sample_pair(self, index, generator):
        target = self.sample(index, generator)
        if self.broken == "odd factor":
            return Pair(target[..., :5, :3], target)
        return Pair(target[..., ::2, ::2], target.flip(-1) if self.broken == "other target" else target)


class Metric:
    """Mean squared error; switches break one promise each."""

    def __init__(self, broken="", **more):
        self.broken = broken
        self.protocol = {"metric": "mse", "peak": 1.0}
        for key, value in more.items():
            setattr(self, key, value)

    def __call__(self, restored, reference, observed=None):
        if restored.shape != reference.shape and self.broken != "broadcast":
            raise ValueError("shapes")
        error = (restored - reference).square()
        if self.broken == "in place":
            reference.mul_(0.9)
        number = {
            "sum": error.sum(),
            "first": error[0].mean(),
            "low": (error.mean() - 3.5e-4).abs(),
        }.get(self.broken, error.mean())
        if self.broken == "bounded":
            number = (number - 0.004).abs()
        if self.broken == "ratio":
            number = number / number.clamp(max=1e9) if number == 0 else number
        return number if self.broken == "tensor" else float(number)


class Magnitude:
    """Removes the channels of ``body`` with the smallest weights."""

    def __init__(self, broken="", part=0.5):
        self.broken, self.part = broken, part

    def attach(self, model):
        self.model = model
        self.mask = torch.ones(model.body.out_channels)
        model.norm2.register_forward_hook(lambda m, i, out: out * self.mask.to(out)[:, None, None])

    def penalty(self, step):
        value = 1e-4 * self.model.body.weight.abs().sum()
        return {"vector": value.expand(2), "nan": value * math.nan}.get(self.broken, value)

    def update(self, step):
        if step.iteration == 10:
            kept = self.model.body.weight.detach().flatten(1).norm(dim=1).argsort()[int(self.part * len(self.mask)) :]
            self.mask = torch.zeros_like(self.mask)
            self.mask[kept] = 1

    def readings(self):
        return {"kept": math.nan if self.broken == "readings" else float(self.mask.sum())}

    def state_dict(self):
        return {} if self.broken == "state" else {"mask": self.mask.tolist()}

    def load_state_dict(self, state):
        self.mask = torch.tensor(state.get("mask", self.mask.tolist()))

    def compact(self):
        keep = self.mask.nonzero().flatten()
        small = SmallNet(self.model.head.out_channels)
        small.load_state_dict(self.model.state_dict())
        body, tail = small.body, small.tail
        small.body = nn.Conv2d(body.in_channels, len(keep), 3, padding=1)
        small.tail = nn.Conv2d(len(keep), 3, 3, padding=1)
        small.norm2 = nn.BatchNorm2d(len(keep))
        others = keep.flip(0) if self.broken == "order" else keep
        with torch.no_grad():
            small.body.weight.copy_(body.weight[keep])
            small.body.bias.copy_(body.bias[keep])
            small.tail.weight.copy_(tail.weight[:, others])
            small.tail.bias.copy_(tail.bias)
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(small.norm2, name).copy_(getattr(self.model.norm2, name)[keep])
        return small


class Descent(torch.optim.Optimizer):
    def __init__(self, params, broken=""):
        super().__init__(params, {"lr": 1.0})
        self.broken, self.moments = broken, {}

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.moments if self.broken == "moments" else self.state[p]
                state["m"] = 0.9 * state.get("m", torch.zeros_like(p)) + p.grad
                lr = -group["lr"] if self.broken == "uphill" else group["lr"]
                p.sub_(lr * state["m"])
                if self.broken == "decay":
                    p.mul_(0.999)
