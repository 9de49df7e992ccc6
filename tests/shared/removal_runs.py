"""Runs for tests of removal: small models whose answers are known, and explanations of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from xcore_metrics.faithfulness.removal import deletion, insertion, mu_fidelity

from xcore.contract import Cell, Concept, Dictionary, Explanation, Ref, Run, Samples, Score, Task
from xcore.models.classifiers import TorchClassifier

Only = Callable[[Any, Run], Score]

SIDE, WIDTH, CLASSES = 4, 8, ("a", "b", "c")
MAKERS = {"C-insertion": insertion, "C-deletion": deletion, "C-muFidelity": mu_fidelity}


def network(head: nn.Module | None = None, seed: int = 0) -> nn.Module:
    """Images of 4 x 4 -> 8 non-negative activations (layer "2") -> logits."""
    generator = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, WIDTH), nn.Softplus(), head or nn.Linear(WIDTH, 3))
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 3)
    return made


def pictures(n: int, seed: int, side: int = SIDE) -> Samples:
    images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)))


class Data:
    """Training images of mean colour 1/4."""

    classes = CLASSES

    def samples(self, cls: str | None, split: str, n: int, seed: int) -> Samples:
        assert (cls, split) == (None, "train")
        return Samples("image", torch.full((n, 3, SIDE, SIDE), 0.25), tuple(map(str, range(n))))


def run_of(
    module: Any,
    concepts: list[Concept],
    dictionary: Dictionary | None = None,
    samples: Samples | None = None,
    heldout: Samples | None = None,
    parts: tuple[Explanation, ...] = (),
) -> Run:
    classifier = TorchClassifier(module, CLASSES, input_size=SIDE) if isinstance(module, nn.Module) else module
    task = Task(
        classifier,
        "2",
        0,
        samples or pictures(6, 1),
        lambda n, i, render="as-is", purpose="negative": pictures(n, 50 + i),
        Data(),
        0,
    )  # type: ignore[arg-type]
    explanation = Explanation("made", "a", "made up", tuple(concepts), dictionary, parts)
    cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), "a", 0)
    return Run(cell, explanation, task, heldout or pictures(9, 2), task.random_set)


def basis(k: int, seed: int = 0) -> Tensor:
    """(k, WIDTH) orthonormal rows."""
    rows = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(rows)[0][:k].contiguous()


def coded(module: nn.Module, atoms: Tensor, order: Any, **more: Any) -> Run:
    """A run whose dictionary has orthonormal atoms, with concepts in this order."""
    k, samples = len(atoms), pictures(6, 1)
    classifier = TorchClassifier(module, CLASSES, input_size=SIDE)
    codes = classifier.open("2").activations(samples)[:, None, :] @ atoms.T
    importance = more.pop("importance", [float(k - i) for i in range(k)])
    concepts = [Concept(f"C{i}", importance[i], atom=int(a), directions={"2": atoms[a]}) for i, a in enumerate(order)]
    return run_of(classifier, concepts, Dictionary("2", atoms, codes, "linear"), samples, **more)


def contributions(run: Run, module: nn.Module, atoms: Tensor) -> Tensor:
    """(n, k) what each atom gives to the class logit of the held-out images, for an affine head."""
    a = run.task.classifier.open("2").activations(run.heldout)
    return (a @ atoms.T) * (atoms @ module[3].weight[0])  # type: ignore[index,union-attr,operator]


class Sum(nn.Module):
    """Logits that add up over pixels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,khw->nk", x, self.weights)


def quarters() -> Tensor:
    """(4, SIDE, SIDE) masks that share no pixel."""
    masks = torch.zeros(4, SIDE, SIDE)
    for i in range(4):
        masks[i, 2 * (i // 2) : 2 * (i // 2) + 2, 2 * (i % 2) : 2 * (i % 2) + 2] = 1
    return masks


def placed(order: Any, local: Tensor | None = None, importance: Any = None) -> list[Concept]:
    masks, n = quarters(), 6
    values = importance or [float(len(order) - i) for i in range(len(order))]
    return [
        Concept(f"C{i}", values[i], maps=masks[m].expand(n, -1, -1), local=None if local is None else local[:, m])
        for i, m in enumerate(order)
    ]
