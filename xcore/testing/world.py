"""The small world of the conformance tests: stripes against blobs, a tiny network, and a task on them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from xcore.contract.protocols import Task
from xcore.contract.samples import Samples
from xcore.contract.types import Budget
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Artifacts

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier, Generator


def global_state() -> tuple[Any, ...]:
    """The global random states, to be compared before and after."""
    numpy_state = tuple(np.asarray(part).tobytes() for part in np.random.get_state())
    return random.getstate(), numpy_state, torch.get_rng_state().numpy().tobytes()


SIDE = 32


def tiny_network(classes: int = 3, seed: int = 0) -> torch.nn.Module:
    """A small convolutional network with non-negative activations and a head that is not affine."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(8, 12, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(48, 16),
        torch.nn.Tanh(),
        torch.nn.Linear(16, classes),
    )
    torch.set_rng_state(state)
    return network


def stripes(n: int, seed: int, side: int = SIDE) -> Samples:
    """Images of noisy stripes, of seeded colours and widths."""
    rng = np.random.default_rng(seed)
    rows = torch.arange(side)
    images = []
    for _ in range(n):
        bands = ((rows // int(rng.integers(2, 5))) % 2).float().view(1, side, 1)
        colour = torch.tensor(rng.uniform(0.2, 1, 3), dtype=torch.float32).view(3, 1, 1)
        noise = torch.tensor(rng.uniform(0, 0.2, (3, side, side)), dtype=torch.float32)
        images.append((bands * colour * 0.8 + noise).clamp(0, 1))
    return Samples("image", torch.stack(images), tuple(f"stripes/{seed}/{i}" for i in range(n)))


def blobs(n: int, seed: int, side: int = SIDE) -> Samples:
    """Images of smooth noise: the other class."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, side // 4, side // 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return Samples("image", images, tuple(f"blobs/{seed}/{i}" for i in range(n)))


def model_state(module: torch.nn.Module) -> Mapping[str, Any]:
    """Weights, gradients, modes and hooks of a module, to be compared before and after."""
    return {
        "weights": {k: v.clone().numpy().tobytes() for k, v in module.state_dict().items()},
        "gradients": {k: p.grad is None for k, p in module.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in module.named_parameters()},
        "training": {k: m.training for k, m in module.named_modules()},
        "hooks": {
            k: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for k, m in module.named_modules()
        },
    }


class World:
    """Fixtures: a network, its classifier, and a task on stripes against blobs."""

    @pytest.fixture
    def module(self) -> torch.nn.Module:
        return tiny_network()

    @pytest.fixture
    def classifier(self, module: torch.nn.Module) -> Classifier:
        return TorchClassifier(module, ("stripes", "blobs", "other"))

    @pytest.fixture
    def generator(self) -> Generator | None:
        return None

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {}

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return ()

    @pytest.fixture
    def task(
        self,
        classifier: Classifier,
        generator: Generator | None,
        models: Mapping[str, Any],
        vocabulary: tuple[str, ...],
        tmp_path: Path,
    ) -> Task:
        samples = stripes(12, 1)
        data = LiveData(samples, "stripes", blobs(80, 2), vocabulary)
        folder = tmp_path / "work"
        folder.mkdir()
        return Task(
            classifier=classifier,
            layer="4" if "4" in classifier.layers else classifier.default_layer,
            target=0,
            samples=samples,
            random_set=RandomSets(
                data, "stripes", "train", seed=0, generator=generator, vocabulary=vocabulary, pool_size=40
            ),
            data=TrainingData(data),
            seed=3,
            vocabulary=vocabulary,
            generator=generator,
            model=lambda role: models[role],
            roles=tuple(models),
            artifact=Artifacts(tmp_path / "artifacts").get,
            workdir=folder,
            budget=Budget(samples=12),
        )
