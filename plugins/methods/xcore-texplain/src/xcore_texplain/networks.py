"""Networks that are fine-tuned: a copy of a classifier's, its head, its features, and its training with checkpoints."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xcore.contract import Dataset, NotApplicable, Progress, Samples, Split, UsageError, digest, seeded
from xcore.models import TorchClassifier
from xcore.session import read_json, write_json
from xcore_texplain.repair_options import FIGURES, WEIGHTS

BATCH = 64
"""Images at once where nothing is learned."""
DECAY = 0.01
"""Weight decay of AdamW."""


@dataclass(frozen=True, eq=False)
class Part:
    """The images of one split, with the class and the group of each."""

    samples: Samples
    labels: Tensor
    """(n,) indices into the classes of the data."""
    groups: tuple[str, ...]
    """Names of the groups; those of the classes if the data has no groups."""
    grouped: bool
    """Whether the data names groups."""

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, rows: Sequence[int]) -> Part:
        """The images at these positions."""
        own = list(rows)
        return Part(self.samples.take(own), self.labels[own], tuple(self.groups[i] for i in own), self.grouped)


def part_of(data: Dataset, split: Split, n: int, seed: int) -> Part:
    """At most n images of each class of a split; raises `UsageError` if a class has none."""
    parts, labels, groups, grouped = [], [], [], True
    for label, cls in enumerate(data.classes):
        drawn = data.samples(cls, split, n, seed)
        if not len(drawn):
            what = {"train": "train on", "explain": "choose by (validation)", "heldout": "test"}[split]
            raise UsageError(
                f"class {cls!r} has no images to {what}", "give the data set a split column in metadata.csv"
            )
        parts.append(drawn)
        labels += [label] * len(drawn)
        named = drawn.meta.get("group")
        grouped &= named is not None and not isinstance(named, str)
        groups += [str(g) for g in named] if grouped and named is not None else [cls] * len(drawn)
    if not grouped:
        groups = [data.classes[label] for label in labels]
    return Part(Samples.concat(parts), torch.tensor(labels), tuple(groups), grouped)


def learner(classifier: Any, classes: Sequence[str], seed: int | None, bias: bool | None = None) -> TorchClassifier:
    """A copy of a classifier that may be trained.

    Parameters
    ----------
    classifier
        The classifier; it is not changed.
    classes
        The classes of the copy, in the order of its logits.
    seed
        Of a new last linear layer; None = the copy keeps its own.
    bias
        Whether the new layer has a bias; None = if the old one has.

    Raises
    ------
    NotApplicable
        It is no torch module with a linear layer that gives the logits.
    """
    if not isinstance(classifier, TorchClassifier) or classifier.closed:
        raise NotApplicable(
            "only a classifier that is a network of torch can be fine-tuned, and this one is a black box",
            "name another with --classifier, such as timm:MODEL",
        )
    module = copy.deepcopy(classifier.model.module).requires_grad_(True)
    name = head_name(module, len(classifier.classes))
    if seed is not None:
        old = module.get_submodule(name)
        assert isinstance(old, nn.Linear)
        with seeded(seed):
            new = nn.Linear(old.in_features, len(classes), old.bias is not None if bias is None else bias)
        module.set_submodule(name, new.to(old.weight))
    made = TorchClassifier(
        module,
        classes,
        preprocess=classifier.model.preprocess,
        layers=classifier.layers,
        default_layer=classifier.default_layer,
        input_size=classifier._input_size,
        framing=classifier.framing,
        batch_size=classifier.batch_size,
    )
    made.model.module.eval()
    return made


def head_name(module: nn.Module, outputs: int) -> str:
    """The name of the last linear layer with so many outputs; raises `NotApplicable` if there is none."""
    linear = [(name, m) for name, m in module.named_modules() if name and isinstance(m, nn.Linear)]
    found: list[str] = [name for name, m in linear if m.out_features == outputs]
    if not found:
        raise NotApplicable(
            f"{type(module).__name__} has no linear layer with {outputs} outputs, so that its head cannot be trained",
            "name a network whose logits come from a linear layer",
        )
    return found[-1]


@torch.no_grad()
def head_inputs(network: TorchClassifier, samples: Samples) -> Tensor:
    """What the head reads (n, D) for each image."""
    module = network.model.module
    head = module.get_submodule(head_name(module, len(network.classes)))
    read: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, args: read.append(args[0].detach().float().cpu()))
    try:
        network.model.cache = type(network.model.cache)(0)  # else logits that are known already would not pass the head
        network.logits(samples)
    finally:
        handle.remove()
    found = torch.cat([part.flatten(1) for part in read if part.ndim >= 2])
    return found[-len(samples) :]


def accuracies(network: TorchClassifier, part: Part) -> dict[str, float]:
    """Accuracy of all images ("average"), of each group, and the least of the groups ("worst"), each in [0, 1]."""
    right = (network.logits(part.samples).argmax(1) == part.labels).float()
    found = {"average": float(right.mean())}
    for group in sorted(set(part.groups)):
        found[group] = float(right[[i for i, g in enumerate(part.groups) if g == group]].mean())
    return {**found, "worst": min(v for k, v in found.items() if k != "average")}


Batch = tuple[Tensor, Tensor, Tensor]
"""Images (b, 3, H, W), labels (b,) and group numbers (b,)."""
Epoch = Callable[[int, TorchClassifier], Iterable[Batch]]
"""Number of an epoch and the network at its start -> the batches of the epoch."""


class Plain(nn.Module):
    """The mean cross-entropy of a batch."""

    def forward(self, logits: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels)


def fit(
    network: TorchClassifier,
    epoch: Epoch,
    validation: Part,
    *,
    epochs: int,
    lr: float,
    file: Path,
    loss: nn.Module | None = None,
    learn_statistics: bool = False,
    progress: Progress,
    what: str,
) -> dict[str, float]:
    """Train a network with AdamW; it ends with the weights of the epoch with the best average on validation images.

    The weights that it starts from count as epoch 0: a training that only makes the average worse changes nothing.

    Parameters
    ----------
    network
        The network; it is changed.
    epoch
        Gives the batches of each epoch.
    validation
        Images of all groups; only their average accuracy is looked at.
    file
        Checkpoint: written after each epoch, and continued from if it is there.
    loss
        (logits, labels, groups) -> the loss; None = the mean cross-entropy. Its buffers are in the checkpoint.
    learn_statistics
        Whether layers such as batch normalisation and dropout are in training mode; a few images of one kind would
        spoil their statistics.

    Returns
    -------
    The best epoch, 0 = as it was, and its average accuracy on the validation images.

    Raises
    ------
    UsageError
        The loss is infinite or not a number.
    """
    module, loss = network.model.module, loss or Plain()
    weights = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=lr, weight_decay=DECAY)
    state = {"epoch": 0.0, "best_epoch": 0.0, "best": 0.0}
    if file.is_file():
        best = _restore(file, module, loss, optimiser, weights, state)
    else:
        module.eval()
        state["best"] = accuracies(network, validation)["average"]
        best = {k: v.detach().clone() for k, v in module.state_dict().items()}
    while state["epoch"] < epochs:
        batches = list(epoch(int(state["epoch"]), network))
        module.train(learn_statistics)
        with torch.enable_grad():
            for images, labels, groups in batches:
                value = loss(network.model.forward(images).float().cpu(), labels, groups)
                if not bool(value.isfinite()):
                    raise UsageError(f"the loss of {what} is {float(value)}", "lower --lr")
                optimiser.zero_grad()
                torch.autograd.backward(value)
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
        optimiser.zero_grad()
        module.eval()
        state["epoch"] += 1
        if (average := accuracies(network, validation)["average"]) > state["best"]:
            state |= {"best": average, "best_epoch": state["epoch"]}
            best = {k: v.detach().clone() for k, v in module.state_dict().items()}
        _save(file, module, best, loss, optimiser, weights, state)
        progress(int(state["epoch"]), epochs, f"{what}: validation {average:.3f}, best {state['best']:.3f}")
    module.load_state_dict(best)
    return {"epoch": float(state["best_epoch"]), "validation": float(state["best"])}


def batches_of(part: Part, size: int, key: Sequence[int], names: Sequence[str], balanced: bool = False) -> list[Batch]:
    """The batches of one epoch, shuffled by a key; balanced = as many draws, but of each group equally many.

    Parameters
    ----------
    names
        Groups in the order of their numbers.
    """
    import numpy as np

    rng, numbers = np.random.default_rng(list(key)), np.array([names.index(g) for g in part.groups])
    if balanced:
        chance = np.zeros(len(part))
        for group in set(numbers.tolist()):
            chance[numbers == group] = 1 / (numbers == group).sum()
        order = rng.choice(len(part), len(part), p=chance / chance.sum())
    else:
        order = rng.permutation(len(part))
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()  # normalisation over a batch of one image is not possible: it joins the batch before it
    made = []
    for start, end in pairwise([*starts, len(order)]):
        rows = order[start:end].tolist()
        made.append((part.samples.images[rows], part.labels[rows], torch.from_numpy(numbers[rows])))
    return made


def save_network(network: TorchClassifier, folder: Path, figures: dict[str, Any]) -> None:
    """Write the weights of a network and figures of its training."""
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in network.model.module.state_dict().items()}, folder / WEIGHTS
    )
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it readable by its owner only
    write_json(folder / FIGURES, {"classes": list(network.classes), **figures})


def load_network(network: TorchClassifier, folder: Path) -> dict[str, Any]:
    """Put saved weights into a network; returns the figures of its training."""
    network.model.module.load_state_dict(load_file(folder / WEIGHTS))
    return read_json(folder / FIGURES)


def state_digest(network: TorchClassifier) -> str:
    """Digest of the weights of a network."""
    import hashlib

    h = hashlib.sha256()
    for name, value in network.model.module.state_dict().items():
        h.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest([h.hexdigest(), list(network.classes)])


def _save(file: Path, module: nn.Module, best: dict[str, Tensor], loss: nn.Module, optimiser: Any,
          weights: Sequence[Tensor], state: dict[str, float]) -> None:  # fmt: skip
    tensors = {f"now.{k}": v for k, v in module.state_dict().items()} | {f"best.{k}": v for k, v in best.items()}
    tensors |= {f"loss.{k}": v for k, v in loss.state_dict().items()}
    for i, weight in enumerate(weights):
        tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in optimiser.state.get(weight, {}).items()}
    partial = file.with_suffix(".partial")
    kept = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(kept, partial, {"state": json.dumps(state)})
    partial.replace(file)


def _restore(file: Path, module: nn.Module, loss: nn.Module, optimiser: Any, weights: Sequence[Tensor],
             state: dict[str, float]) -> dict[str, Tensor]:  # fmt: skip
    """Go on from a checkpoint; returns the best weights so far."""
    with safe_open(file, "pt") as opened:
        state |= json.loads(opened.metadata()["state"])
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a mapping)

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    module.load_state_dict(part("now."))
    loss.load_state_dict(part("loss."))
    for i, weight in enumerate(weights):
        if own := part(f"adam.{i}."):
            optimiser.state[weight] = own
    return part("best.")
