"""What the tests of the vision plugin share: the installed plugins, and random images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from xcore.contract import Samples
from xcore.registry import Registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    """All installed plugins."""
    return Registry().load_installed()


@pytest.fixture(scope="session")
def images() -> Callable[..., Samples]:
    """A function that makes n random images of a size; each has a tint of its own, so that their means differ."""

    def make(n: int, height: int = 32, width: int = 32, seed: int = 0) -> Samples:
        rng = torch.Generator().manual_seed(seed)
        tint = torch.rand(n, 3, 1, 1, generator=rng)
        noise = torch.rand(n, 3, height, width, generator=rng)
        return Samples("image", (tint + noise) / 2, tuple(f"{seed}/{i}" for i in range(n)))

    return make
