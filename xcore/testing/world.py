"""The small world of the checks: stripes against blobs, a tiny network, and a task on them. It needs no pytest."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xcore.base.errors import MissingError
from xcore.contract.protocols import Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Budget, Cell, Concept, Dictionary, Explanation, Ref, Truth
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Artifacts

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier, Generator


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


def registered_rendering(name: str) -> Any:
    """What an installed plugin registers for a rendering of random sets, or None."""
    from xcore.registry import load_registry

    return load_registry().rendering(name)


def tiny_classifier(module: torch.nn.Module | None = None) -> TorchClassifier:
    """The tiny network as a classifier of stripes, blobs and others.

    What two artificial samples show of the network is found out once in a process, not for each check anew: that takes
    longer than most checks.
    """
    module = (module or tiny_network()).eval()
    known = _surveyed()
    if not _alike(module, known.model.module):
        return TorchClassifier(module, known.classes)
    return copy.deepcopy(known, {id(known.model.module): module})


@cache
def _surveyed() -> TorchClassifier:
    """A classifier of the tiny network that knows its layers, and has run for nobody."""
    made = TorchClassifier(tiny_network().eval(), ("stripes", "blobs", "other"))
    _ = made.layers
    return made


def _alike(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """Whether two networks are built alike, of torch's own modules without hooks, and have the same weights."""
    if type(one) is not type(two) or str(one) != str(two):
        return False
    for a, b in zip(one.modules(), two.modules(), strict=True):
        if type(a) is not type(b) or a._forward_hooks or a._forward_pre_hooks or "forward" in vars(a):
            return False
    mine, other = one.state_dict(), two.state_dict()
    return all(mine[name].equal(other[name]) and mine[name].dtype == other[name].dtype for name in other)


def tiny_task(
    folder: Path,
    *,
    classifier: Classifier | None = None,
    generator: Generator | None = None,
    models: Mapping[str, Any] | None = None,
    vocabulary: Sequence[str] = (),
    concepts: Mapping[str, Samples] | None = None,
    seed: int = 3,
) -> Task:
    """A task of 12 images of stripes, with blobs as the other class; its files go into a folder."""
    classifier, helpers, phrases = classifier or tiny_classifier(), dict(models or {}), tuple(vocabulary)
    samples = stripes(12, 1)
    data = LiveData(samples, "stripes", blobs(80, 2), phrases)
    workdir = folder / "work"
    workdir.mkdir(parents=True, exist_ok=True)
    return Task(
        classifier=classifier,
        layer="4" if "4" in classifier.layers else classifier.default_layer,
        target=0,
        samples=samples,
        random_set=RandomSets(
            data,
            "stripes",
            "train",
            seed=0,
            generator=generator,
            vocabulary=phrases,
            segmenter=(lambda: helpers["segmenter"]) if "segmenter" in helpers else None,
            renderings=registered_rendering,
            pool_size=40,
        ),
        data=TrainingData(data),
        seed=seed,
        concepts=concepts or {},
        vocabulary=phrases,
        generator=generator,
        model=model_of(helpers),
        roles=tuple(helpers),
        artifact=Artifacts(folder / "artifacts").get,
        workdir=workdir,
        budget=Budget(samples=12),
    )


def model_of(models: Mapping[str, Any]) -> Any:
    """Role -> model, as a task gives it."""

    def model(role: str) -> Any:
        if role not in models:
            raise MissingError(f"no model for the role {role!r}", "give one in the fixture `models`")
        return models[role]

    return model


def made_run(task: Task, seed: int = 0) -> Run:
    """A finished explanation of a task of pictures with all that metrics may need.

    Its three concepts have samples, words, directions, maps, local importances, and are atoms of a dictionary; the
    explained pictures have masks and labels.
    """
    samples = task.samples
    n, (height, width) = len(samples), samples.images.shape[-2:]
    masks = torch.zeros(n, height, width)
    masks[:, : height // 2] = 1
    labels = torch.full((n,), task.target)
    task = replace(task, samples=replace(samples, labels=labels, meta={**samples.meta, "masks": masks}))
    draw = torch.Generator().manual_seed(seed + 1)
    more: list[dict[str, Any]] = [{}, {}, {}]
    dictionary = None
    if "activations" in task.classifier.can:
        a = task.classifier.open(task.layer).activations(task.samples)
        channels = a.shape[1] if a.ndim != 3 else a.shape[2]
        rows = a.flatten(2).transpose(1, 2) if a.ndim == 4 else a if a.ndim == 3 else a[:, None]
        atoms = torch.rand(3, channels, generator=draw)
        dictionary = Dictionary(task.layer, atoms, rows @ torch.linalg.pinv(atoms), "linear")
        more = [{"atom": i, "directions": {task.layer: atoms[i]}} for i in range(3)]
    concepts = tuple(
        Concept(
            f"concept {i}",
            1.0 - 0.1 * i,
            stripes(6, 50 + i) if i else blobs(6, 50),
            words=("striped",) if i else ("dotted",),
            maps=torch.rand(n, height, width, generator=draw),
            local=torch.rand(n, generator=draw),
            **more[i],
        )
        for i in range(3)
    )
    explanation = Explanation("made", task.target_name, "nothing", concepts, dictionary)
    cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), task.target_name, seed)
    heldout = stripes(10, 7)
    known = Truth({task.target_name: {"pattern=striped": (2.0, 1.5, 2.5)}}, {task.target_name: 3.0},
                  {"striped": frozenset({"pattern=striped"}), "dotted": frozenset({"pattern=dotted"})})  # fmt: skip
    heldout = replace(heldout, labels=torch.full((len(heldout),), task.target))
    return Run(cell, explanation, task, heldout, task.random_set, known)
