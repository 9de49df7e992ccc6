"""A world whose truth is known: pictures of red, green and blue patches, and a network whose class is the red ones."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xcore.contract.protocols import Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Cell, Concept, Dictionary, Explanation, Ref, Truth
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.guard_networks import networks_of
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Artifacts
from xcore.testing.checklist import Skipped
from xcore.testing.world import SIDE, registered_rendering

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier

COLOURS = ("red", "green", "blue")
"""The planted factors, which are the classes, too."""
LAYER = "1"
"""The layer whose channels are red, green, blue, brightness and darkness."""
WORKS_AT = 24
"""Pictures to explain."""


def planted_network() -> torch.nn.Module:
    """A network whose logits are 8 times the mean of red, green and blue; nothing else in a picture matters."""
    see: Any = torch.nn.Conv2d(3, 5, 1)
    out: Any = torch.nn.Linear(5, 3)
    with torch.no_grad():
        colour = 1.5 * torch.eye(3) - 0.75 * (1 - torch.eye(3))
        see.weight.copy_(torch.cat([colour, torch.full((1, 3), 0.3), torch.full((1, 3), -0.3)])[..., None, None])
        see.bias.copy_(torch.tensor([-0.15, -0.15, -0.15, 0.0, 0.6]))
        out.weight.copy_(torch.cat([8 * torch.eye(3), torch.zeros(3, 2)], 1))
        out.bias.zero_()
    pool = torch.nn.AdaptiveAvgPool2d(1)
    return torch.nn.Sequential(see, torch.nn.ReLU(), pool, torch.nn.Flatten(), out).eval()


def permuted(network: torch.nn.Module) -> torch.nn.Module:
    """The network with its classes moved by one: the class that was red is the green patches now."""
    moved = deepcopy(network)
    out: Any = moved[4]  # type: ignore[index]
    with torch.no_grad():
        out.weight.copy_(out.weight.roll(-1, 0))
    return moved


def planted_pictures(n: int, seed: int, colours: tuple[str, ...] = COLOURS) -> Samples:
    """Grey noise with a patch of each of some colours, in a quarter of its own and of a size of its own."""
    rng = torch.Generator().manual_seed(seed)
    half = SIDE // 2
    images = 0.45 + 0.1 * torch.rand(n, 3, SIDE, SIDE, generator=rng)
    for image in images:
        for quarter, colour in zip(torch.randperm(4, generator=rng).tolist(), colours, strict=False):
            side = int(torch.randint(half // 2, half + 1, (1,), generator=rng))
            top, left = half * (quarter // 2), half * (quarter % 2)
            patch = image[:, top : top + side, left : left + side]
            patch.mul_(0.3)
            patch[COLOURS.index(colour)] += 0.7
    return Samples("image", images.clamp(0, 1), tuple(f"{'-'.join(colours)}/{seed}/{i}" for i in range(n)))


def fields(colour: str, n: int, seed: int) -> Samples:
    """Pictures of nothing but one colour, with noise."""
    rng = torch.Generator().manual_seed(seed)
    images = 0.25 * torch.rand(n, 3, SIDE, SIDE, generator=rng)
    images[:, COLOURS.index(colour)] += 0.65
    return Samples("image", images.clamp(0, 1), tuple(f"{colour}/{seed}/{i}" for i in range(n)))


def red_pixels(images: Tensor) -> Tensor:
    """(n, H, W): where pictures are red."""
    return (images[:, 0] - images[:, 1:].amax(1) > 0.2).float()


def planted_task(task: Task, folder: Path, network: torch.nn.Module) -> Task:
    """The task of explaining the class red of a network, with the helpers of another task."""
    samples = planted_pictures(WORKS_AT, 11)
    data = LiveData(samples, "red", planted_pictures(80, 12, ("blue", "green")), COLOURS)
    models = {role: task.model(role) for role in task.roles}
    return replace(
        task,
        classifier=TorchClassifier(network, COLOURS),
        layer=LAYER,
        target=0,
        samples=samples,
        random_set=RandomSets(
            data,
            "red",
            "train",
            seed=0,
            generator=task.generator,
            vocabulary=COLOURS,
            segmenter=(lambda: models["segmenter"]) if "segmenter" in models else None,
            renderings=registered_rendering,
            pool_size=40,
        ),
        data=TrainingData(data),
        concepts={colour: fields(colour, 20, 20 + i) for i, colour in enumerate(COLOURS)},
        vocabulary=COLOURS,
        artifact=Artifacts(folder / "artifacts").get,
    )


def redness(explanation: Explanation) -> list[float]:
    """How red each concept is, from 0 to 1: by its name, its maps or its samples; empty if one has none of these."""
    concepts = explanation.concepts
    named = [_named(c.name) for c in concepts]
    if all(value is not None for value in named):
        return [float(value) for value in named if value is not None]
    if all(c.maps is not None for c in concepts):
        red = red_pixels(planted_pictures(WORKS_AT, 11).images)
        return [float((c.maps * red).sum() / c.maps.sum().clamp_min(1e-9)) for c in concepts if c.maps is not None]
    shown = [c.samples for c in concepts if c.samples is not None and c.samples.modality == "image"]
    if len(shown) < len(concepts):
        return []
    return [float(red_pixels(samples.images).mean()) for samples in shown]


def signed(explanation: Explanation) -> bool:
    """Whether concepts are directions with negative parts, and have no names of colours."""
    if all(_named(c.name) is not None for c in explanation.concepts):
        return False
    given = [d for c in explanation.concepts for d in c.directions.values()]
    return any(float(d.min()) < -0.05 * float(d.abs().max()) for d in given)


def _named(name: str) -> float | None:
    words = name.lower().replace(",", " ").split()
    found = [colour for colour in COLOURS if colour in words]
    return None if not found else ("red" in found) / len(found)


def red_share(explanation: Explanation) -> float:
    """How much of the importance, whatever its sign, is that of red."""
    sizes = [abs(float(c.importance)) for c in explanation.concepts]
    found = redness(explanation)
    if not found or not sum(sizes):
        return 0.0
    return sum(size * red for size, red in zip(sizes, found, strict=True)) / sum(sizes)


def with_other_weights(classifier: Classifier) -> Classifier:
    """A copy of a classifier whose networks have random weights of the same size; raises `Skipped` if it has none."""
    try:
        other = deepcopy(classifier)
    except Exception as error:
        raise Skipped(f"the classifier cannot be copied: {error}") from error
    networks = networks_of(other)
    if not networks:
        raise Skipped("the classifier holds no network whose weights could be drawn")
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for network in networks.values():
            for weight in network.parameters():
                if weight.is_floating_point():
                    spread = float(weight.std()) if weight.numel() > 1 else 0.0
                    weight.copy_(torch.randn(weight.shape, generator=rng) * (spread or 0.1))
    return other


def planted_run(task: Task, perfect: bool, seed: int = 0) -> Run:
    """A perfect explanation of the planted network, or one of random samples, maps, directions and importances.

    `task` is a planted one.
    """
    rng = torch.Generator().manual_seed(90 + seed)
    samples = task.samples
    n, k = len(samples), len(COLOURS)
    red = red_pixels(samples.images)
    labels = torch.zeros(n, dtype=torch.long)
    task = replace(task, samples=replace(samples, labels=labels, meta={"masks": red}))
    a = task.classifier.open(LAYER).activations(task.samples).flatten(2).transpose(1, 2)
    if perfect:
        atoms, codes = torch.eye(k, a.shape[2]), a[..., :k]
        importances, shown = (1.0, 0.0, 0.0), [fields(colour, 8, 60 + i) for i, colour in enumerate(COLOURS)]
        shown[0] = _around_red(task.samples, 8)
        maps = [red, *(_pixels_of(samples.images, i) for i in (1, 2))]
        names: tuple[str, ...] = COLOURS
    else:
        atoms, codes = torch.rand(k, a.shape[2], generator=rng), torch.rand(*a.shape[:2], k, generator=rng)
        importances = (0.3, 0.2, 0.1)
        noise = torch.rand(k, 8, 3, SIDE, SIDE, generator=rng)
        shown = [Samples("image", noise[i], tuple(f"noise/{i}/{j}" for j in range(8))) for i in range(k)]
        maps = [*torch.rand(k, n, SIDE, SIDE, generator=rng)]
        names = ("something", "anything", "whatever")
    concepts = tuple(
        Concept(
            names[i],
            importances[i],
            shown[i],
            words=(names[i],),
            directions={LAYER: atoms[i]},
            atom=i,
            maps=maps[i],
            local=codes[..., i].mean(1) * (importances[i] if perfect else 1),
        )
        for i in range(k)
    )
    explanation = Explanation("made", "red", "share of the logit", concepts, Dictionary(LAYER, atoms, codes, "linear"))
    cell = Cell("made", Ref("made"), Ref("planted"), Ref("planted"), "red", seed)
    heldout = planted_pictures(16, 13)
    heldout = replace(heldout, labels=torch.zeros(16, dtype=torch.long), meta={"masks": red_pixels(heldout.images)})
    effects = {"red": {f"colour={c}": (2.0, 1.5, 2.5) if c == "red" else (0.0, -0.1, 0.1) for c in COLOURS}}
    truth = Truth(effects, {"red": 2.0}, {c: frozenset({f"colour={c}"}) for c in COLOURS})
    return Run(cell, explanation, task, heldout, task.random_set, truth)


def _around_red(samples: Samples, n: int) -> Samples:
    """Pictures of the class in which all but red is grey."""
    images = samples.images[:n].clone()
    for i in (1, 2):
        where = _pixels_of(images, i)[:, None].expand_as(images) > 0
        images[where] = 0.5
    return Samples("image", images, tuple(f"{name}#red" for name in samples.ids[:n]))


def _pixels_of(images: Tensor, channel: int) -> Tensor:
    others = [i for i in range(3) if i != channel]
    return (images[:, channel] - images[:, others].amax(1) > 0.2).float()
