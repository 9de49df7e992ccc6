"""Pictures of known patterns, networks that read them in a known way, and tasks on both."""

import numpy as np
import pytest
import torch
from torch import nn

from xcore.contract import Samples, Task
from xcore.models.classifiers import TorchClassifier


class Reader(nn.Module):
    """A network whose four channels are horizontal stripes, vertical stripes, red and blue.

    Class 0 depends on horizontal stripes alone, class 1 equally on red and blue, class 2 on both kinds of stripes.
    """

    def __init__(self, act=None):
        super().__init__()
        self.low = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = act or nn.ReLU()
        self.pool = nn.AvgPool2d(4)
        self.mix = nn.Conv2d(6, 4, 1)
        self.last = nn.ReLU()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(4, 3)
        edge = torch.tensor([[-1.0, -1, -1], [2, 2, 2], [-1, -1, -1]]) / 3
        with torch.no_grad():
            for p in self.parameters():
                p.zero_()
            self.low.weight[0], self.low.weight[1] = edge.expand(3, 3, 3), edge.T.expand(3, 3, 3)
            self.low.weight[2, :, 1, 1], self.low.weight[3, :, 1, 1] = (
                torch.tensor([1.0, -1, -1]),
                torch.tensor([-1.0, -1, 1]),
            )
            self.mix.weight[:, :4, 0, 0] = torch.eye(4)
            self.fc.weight[:] = torch.tensor([[3.0, 0, 0, 0], [0, 0, 2, 2], [1, 1, 0, 0]])
            self.fc.bias[:] = torch.tensor([0.3, -0.2, 0.1])

    def forward(self, x):
        return self.fc(self.gap(self.last(self.mix(self.pool(self.relu(self.low(x)))))))


class Tokens(nn.Module):
    """The same network with its positions as tokens, after one class token."""

    def __init__(self):
        super().__init__()
        self.reader = Reader()
        self.tokens = nn.Identity()

    def forward(self, x):
        r = self.reader
        a = r.last(r.mix(r.pool(r.relu(r.low(x))))).flatten(2).transpose(1, 2)
        a = self.tokens(torch.cat([a.mean(1, keepdim=True), a], dim=1))
        return r.fc(a[:, 1:].mean(1))


def paint_pictures(n=12, size=(32, 32), seed=0):
    """Grey pictures with one pattern in each quarter: horizontal stripes, vertical stripes, red, blue.

    Returns the pictures, and for each the (top, left) of its horizontal stripes.
    """
    rng = np.random.default_rng(seed)
    height, width = size[0] // 2, size[1] // 2
    images, places = np.full((n, 3, *size), 0.5, dtype=np.float32), []
    for i in range(n):
        corners = [(a, b) for a in (0, height) for b in (0, width)]
        rng.shuffle(corners)
        places.append(corners[0])
        fills = [np.zeros((3, height, width), dtype=np.float32) for _ in range(4)]
        fills[0][:, ::2], fills[1][:, :, ::2], fills[2][0], fills[3][2] = 1, 1, rng.uniform(0.5, 1), rng.uniform(0.5, 1)
        for fill, (top, left) in zip(fills, corners, strict=True):
            images[i, :, top : top + height, left : left + width] = fill
    return Samples("image", torch.from_numpy(images), tuple(f"made/{i}" for i in range(n))), places


@pytest.fixture
def reader():
    """Makes a `Reader`: ``reader(act=None)``."""
    return Reader


@pytest.fixture
def tokens():
    """Makes a `Tokens` network."""
    return Tokens


@pytest.fixture
def paint():
    """Paints pictures, see `paint_pictures`."""
    return paint_pictures


@pytest.fixture
def task():
    """Makes the task to explain a class of a network, by default that of a `Reader` that depends on rows alone."""

    def make(samples=None, layer="last", target=0, module=None, seed=0, **kwargs):
        samples = samples if samples is not None else paint_pictures()[0]
        size = tuple(samples.images.shape[-2:])
        model = TorchClassifier(module or Reader(), ["rows", "colour", "stripes"], input_size=size)
        return Task(model, layer, target, samples, random_set=None, data=None, seed=seed, **kwargs)

    return make
