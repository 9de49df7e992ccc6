"""The samples that a classifier is fine-tuned on: as they are, drawn, masked, augmented, or without some words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from xcore_evidence import kept
from xcore_evidence.factorial import without
from xcore_evidence.readings import occurrences, presence

from xcore.contract import Dataset, MissingError, NotApplicable, Samples, Task, UsageError, digest, unknown
from xcore.inputs.words import lemma, words
from xcore_acting.finetune_training import Labelled
from xcore_acting.shift_maps import class_maps

MASKED = ("background", "foreground", "map", "words")
FILLS = ("swap", "mean", "noise")
AUGMENT = ("flip", "crop", "colour", "grey", "blur")
BLOCK = 50
"""Drawings that are kept together."""
SEEN = 0.5
"""Value of a map of the class, of its largest, from which on a place is masked."""


@dataclass(frozen=True)
class Changes:
    """How samples of the chosen classes are changed."""

    generated: tuple[str, ...] = ()
    """Prompts."""
    drawings: int = 100
    """Number of drawings of all prompts together."""
    masked: str = ""
    fill: str = "swap"
    augment: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    """Only samples in which one of these phrases is most present are masked or augmented."""
    share: float = 0.5
    """Share of the samples of a class in which a phrase counts as most present."""

    def check(self) -> None:
        """Raise `UsageError` if nothing is changed, or something is called what it is not."""
        if not (self.generated or self.masked or self.augment):
            raise UsageError(
                "nothing says what to fine-tune on", "name drawings (--generated PROMPT), --masked or --augment"
            )
        if self.masked and self.masked not in MASKED:
            raise unknown("part to mask", self.masked, MASKED)
        if self.fill not in FILLS:
            raise unknown("fill", self.fill, FILLS)
        for name in self.augment:
            if name not in AUGMENT:
                raise unknown("augmentation", name, AUGMENT)
        if not 0 < self.share <= 1:
            raise UsageError(f"share is {self.share:g}", "--share takes a number above 0 and at most 1")
        if self.generated and self.drawings < 2:
            raise UsageError(f"drawings is {self.drawings}", "--drawings takes a whole number from 2")


@dataclass(frozen=True, eq=False)
class Sets:
    """What is trained on, and what the training is stopped by."""

    training: Labelled
    validation: Labelled
    examples: tuple[tuple[str, Samples, Samples | None], ...]
    """What was done -> some of the new samples, and what they were made of."""
    notes: tuple[str, ...]


def sets(task: Task, classes: Sequence[str], changes: Changes, each: int, validation: float, replaced: bool) -> Sets:
    """The training and the validation samples.

    Parameters
    ----------
    task
        Its data give the unchanged samples, and its generator draws.
    classes
        The classes whose samples are changed.
    each
        Unchanged samples of each class of the data.
    validation
        Share of the samples by which the training is stopped. A changed sample is on the side of what it is made of,
        and so is the picture whose part it was given.
    replaced
        Leave out the originals of changed samples.

    Raises
    ------
    UsageError, MissingError, NotApplicable
        The data lack samples, masks or the generator; or a change is for the other kind of samples.
    """
    changes.check()
    is_text, notes = task.samples.modality == "text", list[str]()
    _refuse(changes, is_text, classes, task)
    given = _given(task.data, task.classifier.classes, each, task.seed)
    rng = np.random.default_rng([task.seed, 107])
    parts: list[tuple[Samples, str, Tensor]] = []  # samples, class, which of them are on the side of validation
    examples: list[tuple[str, Samples, Samples | None]] = []
    for cls, samples in given.items():
        if len(samples) < 2:
            raise UsageError(
                f"class {cls!r} has {len(samples)} samples to train on, and at least 2 are needed",
                "give more pictures or texts of it in the training part of the data",
            )
    sides = {cls: _side(len(samples), validation, rng) for cls, samples in given.items()}
    for cls, samples in given.items():
        side = sides[cls]
        made = _changed(task, cls, given, sides, changes, rng) if cls in classes else []
        made = [(what, rows, new) for what, rows, new in made if len(new)]
        changed = {row for _, rows, _ in made for row in rows} if replaced else set()
        if left := [row for row in range(len(samples)) if row not in changed]:
            parts.append((samples.take(left), cls, side[left]))
        for what, rows, new in made:
            parts.append((new, cls, side[rows]))
            if len(examples) < 3:
                examples.append((f"{cls}: {what}", new.take(slice(6)), samples.take(rows[:6])))
            notes.append(f"{len(new)} samples of {cls!r} were made by {what}")
    if changes.generated:
        drawn = _drawn(task, changes)
        parts.append((drawn, classes[0], _side(len(drawn), validation, rng)))
        examples.append((f"{classes[0]}: drawn", drawn.take(slice(6)), None))
        notes.append(
            f"{len(drawn)} pictures of {classes[0]!r} were drawn from {', '.join(map(repr, changes.generated))}"
        )
    both = [_joined(parts, task.classifier.classes, part) for part in (False, True)]
    for name, part in zip(("train", "stop the training by"), both, strict=True):
        if not len(part):
            raise UsageError(f"no samples are left to {name}", "give more samples, or another --validation")
    notes.append(f"trained on {len(both[0])} samples, stopped by the loss on {len(both[1])} others")
    return Sets(both[0], both[1], tuple(examples), tuple(notes))


def _refuse(changes: Changes, is_text: bool, classes: Sequence[str], task: Task) -> None:
    """Raise what does not go together, before anything is drawn."""
    if is_text and (changes.generated or changes.augment or changes.masked not in ("", "words")):
        raise NotApplicable(
            "texts are changed by taking words out of them", "write --masked words --concept WORD [--concept WORD ...]"
        )
    if not is_text and changes.masked == "words":
        raise NotApplicable("--masked words is for texts", "of pictures, mask the background, the foreground or a map")
    if changes.masked == "words" and not changes.concepts:
        raise UsageError("--masked words needs to know which", "name them with --concept WORD, which may be repeated")
    if changes.generated and len(classes) != 1:
        raise UsageError(
            f"drawings are of one class, and {len(classes)} are named", "name the class of the drawings with --class"
        )
    if changes.generated and task.generator is None:
        raise MissingError("drawings need a generator", "name one with --generator REF")


def _given(data: Dataset, classes: Sequence[str], each: int, seed: int) -> dict[str, Samples]:
    """The unchanged samples of each class that the classifier knows."""
    found = {cls: data.samples(cls, "train", each, seed) for cls in data.classes if cls in classes}
    if not found:
        raise UsageError("the data have no class of this classifier", "name data with classes that it knows")
    return found


def _changed(
    task: Task,
    cls: str,
    given: Mapping[str, Samples],
    sides: Mapping[str, Tensor],
    changes: Changes,
    rng: np.random.Generator,
) -> list[tuple[str, list[int], Samples]]:
    """What was done -> rows of the samples of a class, and the new samples."""
    samples = given[cls]
    rows, made = _concerned(task, samples, changes), list[tuple[str, list[int], Samples]]()
    chosen = samples.take(rows)
    if changes.masked == "words":
        texts = [_without_words(text, changes.concepts) for text in chosen.texts]
        filled = [i for i, text in enumerate(texts) if text.strip()]
        new = Samples("text", tuple(texts[i] for i in filled), _ids(chosen.take(filled), "without words"))
        return [(f"taking out {', '.join(changes.concepts)}", [rows[i] for i in filled], new)]
    if changes.masked:
        cover = _cover(task, cls, chosen, changes.masked)
        swaps = changes.fill == "swap"
        givers = _givers(task, cls, given, sides, sides[cls][rows].tolist(), changes.masked, rng) if swaps else None
        pictures = filled_in(chosen.images, cover, changes.fill, rng, givers)
        new = Samples("image", pictures, _ids(chosen, changes.masked))
        made.append((f"masking the {changes.masked} ({changes.fill})", rows, new))
    if changes.augment:
        pictures = torch.stack([augmented(image, changes.augment, rng) for image in chosen.images])
        new = Samples("image", pictures, _ids(chosen, "augmented"))
        made.append((f"augmenting ({', '.join(changes.augment)})", rows, new))
    return made


def _concerned(task: Task, samples: Samples, changes: Changes) -> list[int]:
    """Rows of the samples in which one of the concepts is most present; all rows if no concept is named."""
    if not changes.concepts:
        return list(range(len(samples)))
    if samples.modality == "text":
        there = occurrences(samples.texts, changes.concepts).amax(1)
        return [i for i, found in enumerate(there.tolist()) if found]
    read = presence(task, samples, changes.concepts)
    most = max(1, round(changes.share * len(samples)))
    return sorted({i for column in read.T for i in torch.argsort(column, descending=True, stable=True)[:most].tolist()})


def _givers(
    task: Task,
    cls: str,
    given: Mapping[str, Samples],
    sides: Mapping[str, Tensor],
    validates: Sequence[bool],
    part: str,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """n pictures of other classes, and the part of each that it gives: a picture of the same class may give the same.

    Where a map says what is masked, any part of the other picture may take its place.

    Parameters
    ----------
    sides
        Class -> which of its pictures are on the side of validation.
    validates
        For each of the n pictures that are changed, whether it is on that side: what it is given comes from there, too,
        so that no part of a validation picture is trained on.
    """
    others = [name for name in given if name != cls] or [cls]
    images, covers = list[Tensor](), list[Tensor]()
    for side in validates:
        name = others[int(rng.integers(len(others)))]
        rows = (sides[name] == side).nonzero().flatten().tolist()
        one = given[name].take([rows[int(rng.integers(len(rows)))]])
        images.append(one.images)
        covers.append(torch.ones(1, *one.images.shape[-2:]) if part == "map" else _cover(task, name, one, part))
    return torch.cat(images), torch.cat(covers)


def _cover(task: Task, cls: str, samples: Samples, part: str) -> Tensor:
    """(n, H, W) in [0, 1]: what is masked.

    Raises
    ------
    MissingError
        The data have no masks.
    UsageError
        They have another size than the pictures.
    """
    size = tuple(samples.images.shape[-2:])
    if part == "map":
        target = task.classifier.classes.index(cls)
        return (class_maps(task.classifier, samples, target, task.layer) >= SEEN).float()
    masks = samples.meta.get("masks")
    if masks is None or not float(torch.as_tensor(masks).sum()):
        raise MissingError(
            f"the data have no masks of class {cls!r}",
            "name them in the column mask of metadata.csv, or mask where the classifier looks: --masked map",
        )
    masks = torch.as_tensor(masks).float()
    foreground = masks[:, 0] if masks.ndim == 4 else masks  # of several masks the first is of the class
    if tuple(foreground.shape[-2:]) != size:
        raise UsageError(
            "the masks have {} x {} pixels, the pictures {} x {}".format(*foreground.shape[-2:], *size),
            "give masks of the size of the pictures",
        )
    return 1 - foreground if part == "background" else foreground


def filled_in(
    images: Tensor,
    cover: Tensor,
    fill: str,
    rng: np.random.Generator,
    givers: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Pictures (n, 3, H, W) whose covered part, (n, H, W) in [0, 1], is replaced.

    mean: by the mean colour of each picture; noise: by a colour for each place, drawn from the picture's own; swap: by
    the same part of another picture, and by the mean colour of that part where the other picture has none of it there.

    Parameters
    ----------
    givers
        For "swap": n other pictures, and which part of them is given, (n, H, W) in [0, 1].
    """
    weight = cover[:, None].clamp(0, 1)
    if fill == "noise":
        flat = images.flatten(2)
        at = torch.from_numpy(rng.integers(flat.shape[2], size=(len(images), 1, flat.shape[2])))
        other = flat.gather(2, at.expand_as(flat)).view_as(images)
    elif fill == "mean":
        other = images.mean((2, 3), keepdim=True).expand_as(images)
    else:
        assert givers is not None
        theirs, part = givers[0], givers[1][:, None].clamp(0, 1)
        mean = (theirs * part).sum((2, 3), keepdim=True) / part.sum((2, 3), keepdim=True).clamp_min(1e-6)
        other = part * theirs + (1 - part) * mean
    return ((1 - weight) * images + weight * other).clamp(0, 1)


def augmented(image: Tensor, ways: Sequence[str], rng: np.random.Generator) -> Tensor:
    """A picture (3, H, W) in [0, 1], changed in these ways by random amounts."""
    if "flip" in ways and rng.random() < 0.5:
        image = image.flip(2)
    if "crop" in ways:
        h, w = image.shape[1:]
        scale = rng.uniform(0.7, 1.0)
        ch, cw = max(1, round(h * scale)), max(1, round(w * scale))
        top, left = int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1))
        part = image[None, :, top : top + ch, left : left + cw]
        image = F.interpolate(part, (h, w), mode="bilinear", align_corners=False, antialias=True)[0]
    if "colour" in ways:
        gain = torch.from_numpy(rng.uniform(0.6, 1.4, 3)).float().view(3, 1, 1)
        image = image * gain
    if "grey" in ways and rng.random() < 0.5:
        image = image.mean(0, keepdim=True).expand_as(image)
    if "blur" in ways:
        small = max(1, round(min(image.shape[1:]) * rng.uniform(0.3, 1.0)))
        less = F.interpolate(image[None], (small, small), mode="bilinear", antialias=True)
        image = F.interpolate(less, image.shape[1:], mode="bilinear", align_corners=False)[0]
    return image.clamp(0, 1).contiguous()


def _drawn(task: Task, changes: Changes) -> Samples:
    """Drawings of the prompts in turn, each with noise of its own; kept, so that they are drawn once."""
    assert task.generator is not None
    n = changes.drawings
    prompts = [changes.generated[i % len(changes.generated)] for i in range(n)]
    seeds = [int(digest([task.seed, "finetune", i])[:8], 16) for i in range(n)]
    blocks = [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
    parts = []
    for i, block in enumerate(blocks):
        task.progress(i, len(blocks), "drawing")
        parts.append(kept.drawn(task, task.generator, prompts[block], seeds[block]))
    return Samples.concat(parts)


def _without_words(text: str, concepts: Sequence[str]) -> str:
    for concept in concepts:
        text = without(text, tuple(lemma(word) for word in words(concept)))
    return text


def _ids(samples: Samples, what: str) -> tuple[str, ...]:
    return tuple(f"{name}/{what}" for name in samples.ids)


def _side(n: int, validation: float, rng: np.random.Generator) -> Tensor:
    """(n,) bool: which of n samples are on the side of validation, at least one and not all."""
    count = min(max(1, round(validation * n)), n - 1)
    side = torch.zeros(n, dtype=torch.bool)
    side[torch.from_numpy(rng.permutation(n)[:count])] = True
    return side


def _joined(parts: Sequence[tuple[Samples, str, Tensor]], classes: Sequence[str], validation: bool) -> Labelled:
    taken, labels = list[Samples](), list[int]()
    for samples, cls, side in parts:
        rows = (side == validation).nonzero().flatten().tolist()
        if rows:
            part = samples.take(rows)
            taken.append(Samples(part.modality, part.data, part.ids))
            labels += [classes.index(cls)] * len(rows)
    if not taken:
        return Labelled(parts[0][0].take([]), torch.zeros(0, dtype=torch.long))
    return Labelled(Samples.concat(taken), torch.tensor(labels))
