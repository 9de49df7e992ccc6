"""What all classes of a network share: the images, the concepts, and the values of sets of concepts."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from xcore_craft.activations import split_at
from xcore_craft.every_class import images_of_every_class

from xcore.contract import NotApplicable, Task, digest
from xcore.models.codes import rows_of
from xcore_conceptshap.learning import CHECKPOINT, Learned, Scored, coherence, learn, value
from xcore_conceptshap.network import Head, Part
from xcore_conceptshap.options import Importance, Options
from xcore_conceptshap.scores import Recovery, new_recovery
from xcore_conceptshap.shapley import Coalitions, coalitions_of

ARTIFACT, FILE, VALUES = "conceptshap", "concepts.safetensors", "values.safetensors"
SHOWN = {"importance", "layer", "exemplars", "per_image", "crop", "stride"}
"""Options that change nothing of what is shared."""
SECONDS = 10.0
"""Values of sets of concepts are written to disk after so many seconds."""


@dataclass(frozen=True, eq=False)
class Setting:
    """The network split at the layer, with the images to learn from and to measure on."""

    head: Head
    train: Part
    measured: Part
    own: Tensor
    """What `Head.measure` says of the network's own decisions about the images that are measured on."""


@dataclass(frozen=True, eq=False)
class Valued:
    """Concepts, and what decisions are worth that are recovered from sets of them."""

    concepts: Tensor
    """(k, C), each of length 1."""
    coherence: Tensor
    """(k,) mean cosine of each with the positions nearest to it."""
    left_out: int
    coalitions: Coalitions
    values: Tensor
    """(m, 1 + 2 classes) of `Head.measure`, of each of the sets."""

    def game(self, kind: Importance, target: int, own: Tensor) -> Tensor:
        """(m,) the completeness of each set: 0 for none, 1 where it does as well as the network itself.

        It is NaN or infinite where the network itself does no better than without concepts.

        Parameters
        ----------
        kind
            class: the squared error of the probability of the class, less of which is better; all: the accuracy;
            recall: the share of the images of the class that are taken for it, in units of the accuracy, so that the
            mean over classes, weighted by their images, is the completeness of all.
        own
            The same figures of the network itself.
        """
        worth, classes = self.values, (len(own) - 1) // 2
        if kind == "class":
            column = 1 + classes + target
            return (worth[0, column] - worth[:, column]) / (worth[0, column] - own[column])
        column = 1 + target if kind == "recall" else 0
        return (worth[:, column] - worth[0, column]) / (own[0] - worth[0, 0])


def setting(task: Task, layer: str, o: Options) -> Setting:
    """Read the images of all classes, and what is to be recovered of each."""
    samples, classes = images_of_every_class(task.data, o.images, task.seed, "conceptshap")
    split = split_at(task.classifier, layer, samples)
    head = Head(split, getattr(task.classifier, "scores", "exclusive"))
    probabilities = head.probabilities(task.classifier.logits(samples).float())
    truth = probabilities
    if o.judge == "labels":
        names = list(task.classifier.classes)
        known = [i for i, cls in enumerate(classes) if cls in names]
        if len({classes[i] for i in known}) < 2:
            raise NotApplicable(
                "fewer than two classes of the data are classes of the classifier, so there are no labels to recover",
                "set conceptshap.judge=predictions",
            )
        classes = [classes[i] for i in known]
        samples, probabilities = samples.take(known), probabilities[known]
        truth = torch.eye(len(names))[[names.index(cls) for cls in classes]]
    rows = rows_of(split.probe.activations(samples), split.probe.layout)
    learned_from, measured = _parts(classes, o.validation, task.seed)
    whole = Part(samples, rows, truth)
    own = head.measure(probabilities[measured], truth[measured])
    return Setting(head, whole.take(learned_from), whole.take(measured), own)


def shared(task: Task, layer: str, o: Options, given: Setting) -> tuple[Valued, float]:
    """The concepts and the values of their sets, and the seconds that it took to make or to find them."""
    start = time.perf_counter()
    key = {
        "layer": layer,
        "images": [given.train.samples.digest, given.measured.samples.digest],
        "activations": digest([_content(part.rows) for part in (given.train, given.measured)]),
        "truth": digest([_content(part.truth) for part in (given.train, given.measured)]),
        "options": o.model_dump(exclude=SHOWN),
        "seed": task.seed,
    }

    def make(directory: Path) -> None:
        # Beside the artifact and named by its key, so that an interrupted explanation goes on from there.
        work = directory.parent / f".conceptshap-{digest(key)}"
        work.mkdir(exist_ok=True)
        save_file(_made(task, o, given, work), directory / FILE)
        shutil.rmtree(work)

    kept = load_file(task.artifact(ARTIFACT, key, make) / FILE)
    found = Valued(
        kept["concepts"],
        kept["coherence"],
        int(kept["left_out"]),
        _coalitions(len(kept["concepts"]), o, task.seed),
        kept["values"],
    )
    return found, time.perf_counter() - start


def _made(task: Task, o: Options, given: Setting, work: Path) -> dict[str, Tensor]:
    """Learn the concepts and value the sets, or go on where it was interrupted."""
    head, train = given.head, given.train
    total = o.steps + 2 ** min(o.k, 10) * o.tuning
    learned = _learned(task, o, given, work, total)
    coalitions = _coalitions(len(learned.concepts), o, task.seed)
    values, done = torch.zeros(len(coalitions.members), len(given.own), dtype=torch.float64), 0
    if (work / VALUES).exists():
        kept = load_file(work / VALUES)
        values, done = kept["values"], int(kept["done"])
    scored, tested = (Scored.of(head, part, learned.concepts, o) for part in (train, given.measured))
    written = time.perf_counter()
    for i in range(done, len(values)):
        members = torch.from_numpy(coalitions.members[i])
        values[i] = value(head, scored, tested, learned.recovery, members, o, task.seed)
        task.progress(o.steps + (i + 1) * o.tuning, total, f"set {i + 1} of {len(values)} sets of concepts")
        if time.perf_counter() - written > SECONDS:
            _write(work / VALUES, {"values": values, "done": torch.tensor(i + 1)})
            written = time.perf_counter()
    rows = head.read(train.rows)
    near = torch.stack([coherence(rows, concept[None], o.nearest) for concept in learned.concepts])
    return {
        "concepts": learned.concepts.contiguous(),
        "coherence": near,
        "left_out": torch.tensor(learned.left_out),
        "values": values,
    }


def _learned(task: Task, o: Options, given: Setting, work: Path, total: int) -> Learned:
    """The concepts and the recovery, learned or read from where an interrupted explanation left them."""
    rows, path = given.head.read(given.train.rows), work / FILE
    if not path.exists():
        made = learn(
            given.head,
            given.train,
            o,
            task.seed,
            work,
            lambda done: task.progress(done, total, f"learning {o.k} concepts"),
        )
        kept = {f"weight.{i}": w.detach().contiguous() for i, w in enumerate(made.recovery.weights)}
        _write(path, {**kept, "concepts": made.concepts.contiguous(), "left_out": torch.tensor(made.left_out)})
        (work / CHECKPOINT).unlink(missing_ok=True)
    read = load_file(path)
    blank = new_recovery(rows, 1, 1, torch.Generator())
    recovery = Recovery([read[f"weight.{i}"] for i in range(4)], blank.mean, blank.spread)
    return Learned(read["concepts"], recovery, int(read["left_out"]))


def _coalitions(k: int, o: Options, seed: int) -> Coalitions:
    return coalitions_of(k, o.coalitions, np.random.default_rng([seed, k]))


def _parts(classes: list[str], share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images to learn from and to measure on; of each class the same share, but one image at least."""
    rng = np.random.default_rng([seed, 2])
    learned, measured = list[int](), list[int]()
    for cls in dict.fromkeys(classes):
        own = rng.permutation([i for i, c in enumerate(classes) if c == cls]).tolist()
        n = min(max(1, round(share * len(own))), max(1, len(own) - 1))
        measured += own[:n]
        learned += own[n:]
    return torch.tensor(sorted(learned)), torch.tensor(sorted(measured))


def _content(tensor: Tensor) -> str:
    from hashlib import sha256

    return sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def _write(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors, whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    save_file(tensors, unfinished)
    unfinished.replace(path)
