"""A small convolutional network and pictures for it, as several tests of kinds of networks need them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xcore.contract import Samples
from xcore.models.classifiers import TorchClassifier

NAMES = ("a", "b", "c")


class Net(nn.Module):
    """Three stages with ReLU in place, then a linear layer over the means; `f2` is the default layer."""

    def __init__(self, channels: int = 3, outputs: int = 3) -> None:
        super().__init__()
        self.f1 = nn.Sequential(nn.Conv2d(channels, 8, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2))
        self.f2 = nn.Sequential(nn.Conv2d(8, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.ReLU(True))
        self.f3 = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU(True))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.f3(self.f2(self.f1(x))).mean((2, 3))))


def net(**sizes: int) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(**sizes).eval()


def pictures(n: int = 4, side: int = 32, channels: int = 3) -> Samples:
    data = torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1))
    return Samples("image", data.expand(-1, 3, -1, -1), tuple(f"p{i}" for i in range(n)))


def opened(module: Any, names: Any = NAMES, **settings: Any) -> TorchClassifier:
    return TorchClassifier(module, names, **{"input_size": 32, **settings})


def numbers(c: TorchClassifier, x: Samples, layer: str = "f2") -> list[Tensor]:
    """Logits, activations, gradients and the logits of the head."""
    probe = c.open(layer)
    a = probe.activations(x)
    return [c.logits(x), a, probe.gradients(x, 1), probe.head(a)]


def off(got: Tensor, want: Tensor) -> float:
    """The difference as a share of what it should be. A few ReLUs switch by rounding alone, so all numbers count."""
    return float((got - want).norm() / want.norm())


class Around(nn.Module):
    """A network whose output is changed by a function."""

    def __init__(self, change: Any, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.change = inner if inner is not None else net(), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.inner(x))
