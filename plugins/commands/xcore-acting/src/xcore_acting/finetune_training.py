"""The training of a copy of a classifier: early stopping on a validation part, frozen parts, checkpoints."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xcore.contract import Classifier, NotApplicable, Samples, UsageError, digest, seeded, unknown
from xcore.models.classifiers import FunctionClassifier, TorchClassifier
from xcore.models.torch_model import TorchModel

CHECKPOINT = "checkpoint.safetensors"
Optimiser = Literal["adamw", "sgd"]
OPTIMISERS: tuple[Optimiser, ...] = ("adamw", "sgd")
BATCH_NORM = ("keep", "update")


@dataclass(frozen=True)
class Recipe:
    """The settings of a training."""

    lr: float = 3e-4
    epochs: int = 20
    """Most epochs."""
    patience: int = 4
    """Epochs without a lower validation loss after which the training stops."""
    batch: int = 32
    optimiser: Optimiser = "adamw"
    weight_decay: float = 0.01
    frozen: tuple[str, ...] = ()
    """Patterns of names of parameters that keep their values, such as ``layer1.*``."""
    batch_norm: str = "keep"
    """keep = the running means and variances stay as they are; update = they follow the training samples."""
    seed: int = 0

    def check(self) -> None:
        """Raise `UsageError` for a setting that is out of range."""
        for name, value in (("epochs", self.epochs), ("patience", self.patience), ("batch", self.batch)):
            if value < 1:
                raise UsageError(f"{name} is {value}", f"--{name} takes a whole number from 1")
        if not 0 < self.lr < 100:
            raise UsageError(f"the learning rate is {self.lr:g}", "--lr takes a number above 0, such as 0.0003")
        if not self.weight_decay >= 0:
            raise UsageError(f"the weight decay is {self.weight_decay:g}", "--weight-decay takes a number from 0")
        if self.optimiser not in OPTIMISERS:
            raise unknown("optimiser", self.optimiser, OPTIMISERS)
        if self.batch_norm not in BATCH_NORM:
            raise unknown("choice of --batch-norm", self.batch_norm, BATCH_NORM)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Samples and their classes."""

    samples: Samples
    labels: Tensor
    """(n,) positions among the classifier's classes."""

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, eq=False)
class Trained:
    """A fine-tuned copy of a classifier."""

    model: TorchModel
    state: dict[str, Tensor]
    """State of the whole network in the best epoch."""
    best: int
    """The epoch with the lowest validation loss; 0 = before the training."""
    history: tuple[dict[str, float], ...]
    """For each epoch from 0: training loss (none in epoch 0), validation loss and accuracy."""
    notes: tuple[str, ...]

    def classifier(self, like: Classifier) -> Classifier:
        """It as a classifier that gives logits."""

        def logits(data: Any) -> Tensor:
            self.model.module.eval()
            return self.model.forward(data).float()

        return FunctionClassifier(logits, like.classes, modality=like.modality, batch_size=self.model.batch_size)


def check_trainable(classifier: Classifier) -> TorchClassifier:
    """The classifier, if it can be fine-tuned.

    Raises
    ------
    NotApplicable
        It is no network of torch, or its outputs are no logits of classes that exclude one another.
    """
    if not isinstance(classifier, TorchClassifier):
        raise NotApplicable(
            f"fine-tuning needs a network of torch, and this is a {type(classifier).__name__}",
            "name the network itself, such as timm:MODEL or file:PATH",
        )
    if classifier.scores == "probabilities":
        raise NotApplicable(
            "the network ends in a softmax or sigmoid, so that it gives no logits to train",
            "leave that layer out of the network",
        )
    if classifier.scores == "independent" and not classifier.model.reading.one_logit:
        raise NotApplicable(
            "the classes of this network do not exclude one another, and it would be trained as if they did",
            "train it with a program of your own",
        )
    return classifier


def train(
    classifier: TorchClassifier,
    training: Labelled,
    validation: Labelled,
    recipe: Recipe,
    work: Path,
    progress: Callable[[int, int, str], None] = lambda step, total, note: None,
) -> Trained:
    """Train a copy of a classifier on the cross entropy, or continue the training whose checkpoint is in `work`.

    The classifier stays as it is. The order of the samples and the dropout of an epoch depend on the seed and on the
    number of the epoch, so that an interrupted training gives the weights of one that ran through.

    Parameters
    ----------
    work
        Folder of the checkpoint, which is written after each epoch.

    Raises
    ------
    UsageError
        A pattern of frozen parameters fits none, or fits all of them; or the loss is no number.
    """
    recipe.check()
    own = classifier.model
    model = TorchModel(
        copy.deepcopy(own.module), own.preprocess, device=own.device, batch_size=recipe.batch, reading=own.reading
    )
    learning, notes = _thawed(model.module, recipe.frozen)
    still, follow, told = _still(model.module, recipe.batch_norm)
    if follow:
        _refuse_single(len(training), recipe.batch)
        if len(training) % recipe.batch == 1:
            told = [
                *told,
                "a batch norm needs two samples: the last sample of an epoch is trained on with those before",
            ]
    optimiser = _optimiser(learning, recipe)
    work.mkdir(parents=True, exist_ok=True)
    key = _key(model.module, training, validation, recipe)
    history, best_state = _resume(work, key, model.module, optimiser)
    if not history:
        loss, accuracy = _measure(model, validation)
        history, best_state = [{"validation_loss": loss, "validation_accuracy": accuracy}], _state(model.module)
    best = _best(history)
    while len(history) <= recipe.epochs and len(history) - 1 - best < recipe.patience:
        epoch = len(history)
        progress(epoch - 1, recipe.epochs, f"fine-tuning, epoch {epoch}")
        with seeded(recipe.seed * 10_007 + epoch):
            model.module.train()
            for module in still:
                module.eval()
            total = _epoch(model, training, optimiser, learning, at_least=2 if follow else 1)
        loss, accuracy = _measure(model, validation)
        if not (total == total and loss == loss):
            raise UsageError(f"the loss is no number in epoch {epoch}", f"lower --lr, which is {recipe.lr:g}")
        history.append({"loss": total, "validation_loss": loss, "validation_accuracy": accuracy})
        if _best(history) == epoch:
            best, best_state = epoch, _state(model.module)
        _save(work, key, model.module, optimiser, best_state, history)
    model.module.load_state_dict(best_state)
    model.module.eval().requires_grad_(False)
    return Trained(model, best_state, best, tuple(history), (*notes, *told))


def _thawed(module: nn.Module, patterns: Sequence[str]) -> tuple[list[nn.Parameter], list[str]]:
    """The parameters that learn, and notes. What the network holds fixed itself stays so, unless that is everything."""
    named = dict(module.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise unknown("parameter to freeze:", pattern, named)
    itself = {name for name, p in named.items() if not p.requires_grad}
    fixed = set() if len(itself) == len(named) else itself
    for name, p in named.items():
        p.requires_grad_(name not in fixed and not any(fnmatchcase(name, pattern) for pattern in patterns))
    learning = [p for p in named.values() if p.requires_grad]
    if not learning:
        raise UsageError("every parameter is frozen, so there is nothing to train", "name fewer with --frozen")
    n = sum(p.numel() for p in learning)
    return learning, [f"{n:,} of {sum(p.numel() for p in named.values()):,} weights were trained"]


def _still(module: nn.Module, choice: str) -> tuple[list[nn.Module], int, list[str]]:
    """The batch norms whose statistics stay as they are, how many others follow, and a note if there are any."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return [], 0, []
    if choice == "keep":
        return list(norms), 0, [f"the running statistics of {len(norms)} batch norms were kept"]
    still: list[nn.Module] = [m for m in norms if all(not p.requires_grad for p in m.parameters())]
    kept = f"; those of {len(still)} others, which are frozen, were kept" if still else ""
    follow = len(norms) - len(still)
    return still, follow, [f"the running statistics of {follow} batch norms followed the training{kept}"]


def _optimiser(learning: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(learning, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(learning, lr=recipe.lr, weight_decay=recipe.weight_decay)


def _refuse_single(n: int, batch: int) -> None:
    """Raise `UsageError` if batches have one sample, of which a batch norm that follows them has no variance."""
    if min(n, batch) < 2:
        what = f"--batch is {batch}" if batch < 2 else f"there is {n} sample to train on"
        raise UsageError(
            f"--batch-norm update measures the means and variances of batches, and {what}",
            "train on two samples or more in a batch, or keep the statistics: --batch-norm keep",
        )


def _batches(order: Tensor, size: int, at_least: int) -> list[Tensor]:
    """The order in parts of this size. A last part of fewer than `at_least` samples is part of the one before."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) < at_least:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _epoch(
    model: TorchModel,
    training: Labelled,
    optimiser: torch.optim.Optimizer,
    learning: list[nn.Parameter],
    at_least: int = 1,
) -> float:
    """One pass over the training samples in a random order; gives their mean loss, in nats.

    Parameters
    ----------
    at_least
        Samples that every batch has.
    """
    order, total = torch.randperm(len(training)), 0.0
    for rows in _batches(order, model.batch_size, at_least):
        batch = training.samples.take(rows.tolist())
        loss = nn.functional.cross_entropy(model.forward(batch.data).float(), training.labels[rows].to(model.device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        total += float(loss.detach()) * len(rows)
    return total / len(training)


@torch.no_grad()
def _measure(model: TorchModel, validation: Labelled) -> tuple[float, float]:
    """Mean cross entropy, in nats, and accuracy on the validation samples."""
    model.module.eval()
    parts = [model.forward(validation.samples.data[r]).float().cpu() for r in model.batches(validation.samples)]
    logits = torch.cat(parts)
    loss = float(nn.functional.cross_entropy(logits, validation.labels))
    return loss, float((logits.argmax(1) == validation.labels).float().mean())


def _best(history: Sequence[dict[str, float]]) -> int:
    return min(range(len(history)), key=lambda i: history[i]["validation_loss"])


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().cpu().clone().contiguous() for name, t in module.state_dict().items()}


def _key(module: nn.Module, training: Labelled, validation: Labelled, recipe: Recipe) -> str:
    """What identifies a training: the weights that it starts from, its samples and its settings."""
    weights = hashlib.sha256()
    for name, t in _state(module).items():
        weights.update(name.encode() + t.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    parts = [[part.samples.digest, part.labels.tolist()] for part in (training, validation)]
    return digest([weights.hexdigest(), parts, as_plain(recipe)])


def _save(
    work: Path,
    key: str,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    history: Sequence[dict[str, float]],
) -> None:
    from safetensors.torch import save_file

    tensors = {f"now.{name}": t for name, t in _state(module).items()} | {f"best.{n}": t for n, t in best.items()}
    for index, state in optimiser.state_dict()["state"].items():
        kept = {name: t for name, t in state.items() if isinstance(t, Tensor)}
        tensors |= {f"optimiser.{index}.{name}": t.detach().cpu().clone() for name, t in kept.items()}
    partial = work / f"{CHECKPOINT}.partial"
    save_file(tensors, partial, metadata={"key": key, "history": json.dumps(list(history))})
    partial.replace(work / CHECKPOINT)


def _resume(
    work: Path, key: str, module: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """The history and the best state of a checkpoint, whose weights are loaded; none if it is of another training."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    path = work / CHECKPOINT
    if not path.is_file():
        return [], {}
    with safe_open(path, "pt") as opened:
        about = opened.metadata()
    if about.get("key") != key:
        return [], {}
    history = json.loads(about["history"])
    tensors = load_file(path)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    module.load_state_dict(part("now."))
    state = optimiser.state_dict()
    for key, value in part("optimiser.").items():
        index, _, name = key.partition(".")
        state["state"].setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(state)
    return history, part("best.")


def as_plain(recipe: Recipe) -> dict[str, Any]:
    """The settings as plain data."""
    return {**asdict(recipe), "frozen": list(recipe.frozen)}
