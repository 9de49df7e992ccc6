"""What is done to a trained network against a shortcut: each cure gives another network from the same start.

- fine-tuning on masked images alone, as TExplain does and as its control does on random images;
- `reweighted` and `group_dro`: training images of all groups equally often, or the worst groups most;
- `last_layer`: only the head is trained again, on as many validation images of each group (DFR);
- `disc`: unstable concepts are found and mixed into images of the other classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcore.contract import Progress, Samples
from xcore.models import TorchClassifier
from xcore_texplain.networks import (
    Batch,
    Epoch,
    Part,
    accuracies,
    batches_of,
    fit,
    head_inputs,
    head_name,
    learner,
)

STEP = 0.01
"""How fast the weights of the groups follow their losses in group DRO (Sagawa et al. use 0.01)."""
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties on the weights of a new head, of which the validation images choose one."""
ENVIRONMENTS, UNSTABLE = 3, 3
"""Clusters of the training images of a class, and concepts of a class that are mixed into other classes."""
MIXED, MIXED_OWN = 0.5, 0.1
"""Share of the images that a concept of another class is mixed into, and one of their own class."""
FEWEST = 2
"""Validation images of a group without which no head is trained: one half of them chooses the penalty."""
LEAST, MOST = 0.2, 0.6
"""How much of a mixed image is that of the concept."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What all cures of one start share."""

    train: Part
    validation: Part
    names: tuple[str, ...]
    """The groups in the order of their numbers."""
    epochs: int
    lrs: tuple[float, ...]
    """Learning rates, of which the best by the average of the validation images is kept."""
    batch: int
    seed: int
    folder: Path
    """Where checkpoints are kept."""
    progress: Progress


Cured = tuple[TorchClassifier, dict[str, float]]
"""A network, and figures of its training."""


def tuned(
    start: TorchClassifier, epoch: Epoch, setting: Setting, name: str, loss: Callable[[], nn.Module] | None = None
) -> Cured:
    """Fine-tune copies of the start with each learning rate; the best by the average of validation images is kept."""
    best: Cured | None = None
    for lr in setting.lrs:
        network = learner(start, start.classes, None)
        figures = fit(
            network,
            epoch,
            setting.validation,
            epochs=setting.epochs,
            lr=lr,
            file=setting.folder / f"{name}-{lr:g}.safetensors",
            loss=loss() if loss else None,
            progress=setting.progress,
            what=f"{name}, learning rate {lr:g}",
        )
        if best is None or figures["validation"] > best[1]["validation"]:
            best = network, {**figures, "lr": lr}
    assert best is not None
    return best


def on_images(start: TorchClassifier, images: Part, setting: Setting, name: str) -> Cured:
    """Fine-tune on these images alone, such as masked ones."""
    return tuned(start, _epochs(images, setting), setting, name)


def reweighted(start: TorchClassifier, setting: Setting) -> Cured:
    """Fine-tune on the training images, of which all groups are drawn equally often."""
    return tuned(start, _epochs(setting.train, setting, balanced=True), setting, "reweighted")


def group_dro(start: TorchClassifier, setting: Setting) -> Cured:
    """Fine-tune on the training images with the loss of the worst groups.

    References
    ----------
    Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020.
    """
    epoch = _epochs(setting.train, setting, balanced=True)
    return tuned(start, epoch, setting, "group-dro", lambda: WorstGroups(len(setting.names)))


class WorstGroups(nn.Module):
    """Cross-entropy in which the weight of each group grows with its loss."""

    weights: Tensor

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.full((groups,), 1 / groups))

    def forward(self, logits: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, reduction="none")
        n = torch.zeros_like(self.weights).index_add(0, groups, torch.ones_like(each))
        means = torch.zeros_like(self.weights).index_add(0, groups, each) / n.clamp_min(1)
        with torch.no_grad():
            grown = self.weights * (STEP * means).exp()
            self.weights.copy_(grown / grown.sum())
        return (self.weights * means).sum()


def too_small(part: Part) -> str:
    """Why `last_layer` cannot be tried on these images: a group of one cannot be halved; "" if it can be."""
    counts = Counter(part.groups)
    name, n = min(counts.items(), key=lambda item: (item[1], item[0]), default=("", FEWEST))
    return f"the group {name!r} has {n} validation image, and {FEWEST} are needed" if n < FEWEST else ""


def last_layer(start: TorchClassifier, setting: Setting) -> Cured:
    """Train only the head again, on as many validation images of each group as the smallest group has.

    One half of these images chooses the penalty by its accuracy, and the head is then trained on all of them.

    References
    ----------
    Kirichenko et al., Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations, ICLR 2023.
    """
    part, rng = setting.validation, np.random.default_rng([setting.seed, 61])
    rows = [rng.permutation([i for i, g in enumerate(part.groups) if g == group]) for group in setting.names]
    least = min(len(own) for own in rows if len(own))
    even = np.concatenate([own[:least] for own in rows if len(own)])
    features, labels = head_inputs(start, part.samples)[even], part.labels[even]
    half = torch.from_numpy(np.concatenate([np.arange(least) % 2 == 0 for own in rows if len(own)]))
    scores = []
    for penalty in PENALTIES:
        weight, bias = fitted_head(features[half], labels[half], len(start.classes), penalty)
        scores.append(float(((features[~half] @ weight.T + bias).argmax(1) == labels[~half]).float().mean()))
    penalty = PENALTIES[int(np.argmax(scores))]
    weight, bias = fitted_head(features, labels, len(start.classes), penalty)
    network = learner(start, start.classes, None)
    module = network.model.module
    head = module.get_submodule(head_name(module, len(network.classes)))
    assert isinstance(head, nn.Linear)
    fresh = nn.Linear(head.in_features, head.out_features).to(head.weight)
    with torch.no_grad():
        fresh.weight.copy_(weight)
        fresh.bias.copy_(bias)
    module.set_submodule(head_name(module, len(network.classes)), fresh)
    average = accuracies(network, part)["average"]
    return network, {"penalty": penalty, "validation": average, "images": float(len(even))}


def fitted_head(features: Tensor, labels: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights (classes, D) and biases (classes,) of a logistic regression on standardised features."""
    mean, scale = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    x = ((features - mean) / scale).double()
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, labels) + penalty / 2 * weight.pow(2).sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimiser.step(closure)
    w = (weight.detach() / scale.double()).float()
    return w, bias.detach().float() - w @ mean


def disc(start: TorchClassifier, bank: Mapping[str, Samples], setting: Setting) -> tuple[Cured, dict[str, list[str]]]:
    """Mix images of unstable concepts into those of other classes, and fine-tune on the training images.

    Before each epoch, `unstable` finds the concepts whose meaning for a class differs most between clusters of its
    images. The clusters are those of the features of the start.

    Parameters
    ----------
    bank
        Concept -> images of it.

    Returns
    -------
    The network with figures of its training, and the unstable concepts of each class before the first epoch.

    References
    ----------
    Wu et al., Discover and Cure: Concept-aware Mitigation of Spurious Correlation, ICML 2023.
    """
    train, size = setting.train, setting.train.samples.images.shape[-2:]
    images = {
        name: F.interpolate(s.images, size, mode="bilinear", antialias=True).clamp(0, 1)
        if s.images.shape[-2:] != size
        else s.images
        for name, s in bank.items()
    }
    environments = clusters(head_inputs(start, train.samples), train.labels, ENVIRONMENTS, setting.seed)

    def concepts(network: TorchClassifier) -> list[list[str]]:
        read = {name: head_inputs(network, s) for name, s in bank.items()}
        return unstable(head_inputs(network, train.samples), train.labels, environments, read, len(start.classes))

    def epoch(number: int, network: TorchClassifier) -> list[Batch]:
        rng = np.random.default_rng([setting.seed, 62, number])
        mixed = _mixed(train, concepts(network), images, rng)
        return batches_of(mixed, setting.batch, [setting.seed, 63, number], setting.names)

    first = dict(zip(start.classes, concepts(start), strict=True))
    return tuned(start, epoch, setting, "disc"), first


def unstable(
    features: Tensor, labels: Tensor, environments: Tensor, bank: Mapping[str, Tensor], classes: int
) -> list[list[str]]:
    """For each class the concepts that speak for it, on the whole, and most differently in its environments.

    The direction of a concept separates its images from training images, and the head of an environment separates the
    images of the class in it from those of other classes; how much the concept says there is the cosine of both.
    """
    names = list(bank)
    directions = torch.stack([_concept(bank[name], features) for name in names])
    found = list[list[str]]()
    for cls in range(classes):
        own, others = environments[labels == cls], features[labels != cls]
        kinds = own.unique().tolist()
        if not kinds or not len(others):  # a class of the classifier of which the data have no images
            found.append([])
            continue
        says = torch.stack([directions @ _head(features[labels == cls][own == e], others) for e in kinds])
        share = torch.tensor([float((own == e).float().mean()) for e in kinds])
        spread, mean = says.var(0, correction=0), (share[:, None] * says).sum(0)
        order = [int(i) for i in spread.argsort(descending=True) if mean[int(i)] > 0]
        found.append([names[i] for i in order[:UNSTABLE]])
    return found


def clusters(features: Tensor, labels: Tensor, k: int, seed: int) -> Tensor:
    """(n,) the cluster of each image among those of its class, by k-means with 5 starts."""
    found = torch.zeros(len(labels), dtype=torch.long)
    for cls in labels.unique().tolist():
        rows = (labels == cls).nonzero().flatten()
        x = features[rows].double()
        best, least = torch.zeros(len(rows), dtype=torch.long), float("inf")
        for attempt in range(5):
            rng = np.random.default_rng([seed, 64, cls, attempt])
            centres = x[torch.from_numpy(rng.permutation(len(rows))[:k])]
            for _ in range(30):
                nearest = torch.cdist(x, centres).argmin(1)
                centres = torch.stack(
                    [x[nearest == j].mean(0) if bool((nearest == j).any()) else centres[j] for j in range(len(centres))]
                )
            if (inertia := float(torch.cdist(x, centres).min(1).values.pow(2).sum())) < least:
                best, least = nearest, inertia
        found[rows] = best
    return found


def _concept(own: Tensor, others: Tensor) -> Tensor:
    """The unit direction (D,) of a concept: the difference of means, each feature in units of its variance.

    The other images are of all classes and full of other concepts, so that their covariance would turn the direction
    away from whatever goes with the concept there, which is just what is looked for.
    """
    spread = torch.cat([own - own.mean(0), others - others.mean(0)]).var(0, correction=0)
    return F.normalize((own.mean(0) - others.mean(0)) / (spread + 0.1 * spread.mean() + 1e-9), dim=0)


def _head(own: Tensor, others: Tensor) -> Tensor:
    """The unit weights (D,) of a linear head that tells two sets of features apart, with a shrunken covariance."""
    x = torch.cat([own - own.mean(0), others - others.mean(0)]).double()
    covariance = x.T @ x / len(x)
    covariance += (0.1 * covariance.diagonal().mean() + 1e-9) * torch.eye(len(covariance), dtype=torch.float64)
    return F.normalize(torch.linalg.solve(covariance, (own.mean(0) - others.mean(0)).double()), dim=0).float()


def _mixed(part: Part, found: Sequence[Sequence[str]], images: Mapping[str, Tensor], rng: np.random.Generator) -> Part:
    """The training images, some of them mixed with an image of an unstable concept of a class."""
    made = part.samples.images.clone()
    for i, own in enumerate(part.labels.tolist()):
        cls = int(rng.integers(len(found)))
        chance, share = rng.random(), rng.uniform(LEAST, MOST)
        if chance >= (MIXED_OWN if cls == own else MIXED) or not found[cls]:
            continue
        concept = images[found[cls][int(rng.integers(len(found[cls])))]]
        made[i] = (1 - share) * made[i] + share * concept[int(rng.integers(len(concept)))]
    samples = Samples("image", made, part.samples.ids)
    return Part(samples, part.labels, part.groups, part.grouped)


def _epochs(part: Part, setting: Setting, balanced: bool = False) -> Epoch:
    return lambda number, _: batches_of(part, setting.batch, [setting.seed, 60, number], setting.names, balanced)
