"""Samples in which phrases are present to different degrees, and how strongly each phrase is present in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from cachetools import LRUCache
from torch import Tensor
from torch.nn.functional import normalize

from xcore.contract import Dataset, Explanation, ImageText, NotApplicable, Presence, Samples, Split, Task, UsageError
from xcore.inputs.words import lemma, words
from xcore_evidence.margins import margin

SCALE = 100.0
"""Cosines are read in hundredths, as CLIP scales them before its softmax."""

OWN = 0.6
"""Share of the pictures of a pool that are of the explained class, if it has so many. On minizoo/clean and shortcut
and five planted networks, which it was chosen on, shares from .4 to .7 rank alike; with equal parts of the nine classes
planted shortcuts are missed (docs/methods/surrogate.md)."""
OTHERS = 40
"""Samples of other classes whose margin the gap of the class is measured by."""
OFTEN = 5
"""Texts of the pool in which a word of the vocabulary must occur to be asked about."""
KEPT = 64
"""Sets of pictures whose embeddings are kept in memory."""
SPLITS: tuple[Split, ...] = ("train", "explain")
"""Where the samples of a class come from, in this order."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Samples of the explained class and of others."""

    samples: Samples
    of_class: Tensor
    """(n,) bool: whether a sample is of the explained class."""
    notes: tuple[str, ...] = ()


def presence(task: Task, samples: Samples, phrases: Sequence[str]) -> Tensor:
    """How strongly each phrase is present in each sample: (n, k), float64.

    Pictures are read by the model of the role image-text: 100 x the cosine of picture and phrase. In a text a phrase is
    present (1) if its words occur in it one after the other, in any inflection, otherwise not (0).
    """
    if samples.modality == "text":
        return occurrences(samples.texts, phrases)
    model: ImageText = task.model("image-text")
    pictures = normalize(embedded(model, samples).double(), dim=1)
    return SCALE * pictures @ normalize(model.embed_texts(tuple(phrases)).double().cpu(), dim=1).T


_embedded: LRUCache[tuple[int, str], tuple[ImageText, Tensor]] = LRUCache(KEPT)


def embedded(model: ImageText, samples: Samples, known: Tensor | None = None) -> Tensor:
    """The embeddings of pictures (n, d) by a model, computed once: the classes of a data set share their pools.

    Parameters
    ----------
    known
        The embeddings, if they were computed already; then they are only kept. The entry holds the model, so that no
        other model gets its id.
    """
    key = (id(model), samples.digest)
    if key not in _embedded:
        _embedded[key] = (model, model.embed_images(samples).cpu() if known is None else known)
    found: Tensor = _embedded[key][1]
    return found


def occurrences(texts: Sequence[str], phrases: Sequence[str]) -> Tensor:
    """(n, k) 1 where the words of a phrase occur one after the other in a text, in any inflection; otherwise 0."""

    def lemmas(text: str) -> str:
        return " " + " ".join(lemma(word) for word in words(text)) + " "

    read, wanted = [lemmas(t) for t in texts], [lemmas(p) for p in phrases]
    return torch.tensor([[float(w in text and w.strip() != "") for w in wanted] for text in read], dtype=torch.float64)


def enough_words(phrases: Sequence[str], read: Tensor, how: str) -> tuple[tuple[str, ...], Tensor, str]:
    """The phrases that occur in enough texts, what was read of them (n, k), and a note of how many they are.

    Parameters
    ----------
    read
        (n, all phrases) 1 where a phrase occurs.
    how
        How users give their own phrases, for the message, such as ``--set surrogate.phrases=a,b,c``.

    Raises
    ------
    NotApplicable
        There is none.
    """
    often = [i for i, count in enumerate(read.sum(0).tolist()) if count >= OFTEN]
    if not often:
        raise NotApplicable(
            f"no phrase occurs in {OFTEN} or more of {len(read)} texts", f"name phrases of your own with {how}"
        )
    few = f"{len(often)} of {len(phrases)} phrases occur in {OFTEN} or more of {len(read)} texts, and are asked about"
    return tuple(phrases[i] for i in often), read[:, often], few


def phrases_again(explanation: Explanation, task: Task, which: Sequence[int] | None = None) -> Presence:
    """How strongly the phrases that name the concepts, or some of them, are present in the samples of a task."""
    text, concepts = task.samples.modality == "text", explanation.concepts
    names = [concepts[i].name for i in (range(len(concepts)) if which is None else which)]
    what = "whether the phrase occurs" if text else "100 x cosine of picture and phrase"
    return Presence(presence(task, task.samples, names).float(), what)


def evenly(task: Task, size: int) -> Samples:
    """Samples of all classes, as many of each, as a data set offers them to methods.

    Parameters
    ----------
    size
        Number of samples; there are fewer where a class has not enough.

    Raises
    ------
    NotApplicable
        There are no samples of other classes.
    """
    classes = [c for c in task.data.classes if c != task.target_name]
    share = -(-size // (len(classes) + 1)) if classes else size // 2
    parts = [part for c in classes if len(part := _samples_of(task.data, c, share, task.seed))]
    return Samples.concat([of_the_class(task, share), *(parts or [_from_random_sets(task, share)])])


def pool_of(task: Task, size: int, chosen: int) -> Pool:
    """Samples of all classes, as a data set offers them to methods; of pictures the most different ones.

    Pictures in which phrases vary freely say most about each of them. So `chosen` pictures are kept, each as far as
    possible from those that were kept before, in the embedding of the image-text model: the classifier has no say in
    it. `OWN` of them are of the class, if it has so many, because a phrase may only matter together with the class: a
    classifier that takes zebras on water for zebras does not take every water for one. Texts are all kept, half of them
    of the class.

    Parameters
    ----------
    size
        Number of samples to choose from, the same number of each other class.
    chosen
        Number of pictures that are kept.

    Raises
    ------
    NotApplicable
        There are no samples of other classes.
    """
    own, notes = task.target_name, list[str]()
    classes = [c for c in task.data.classes if c != own]
    is_text = task.samples.modality == "text"
    wanted = ceil(size / 2) if is_text else round(OWN * chosen)
    share = -(-(size - min(wanted, size - 1)) // max(len(classes), 1))
    parts = [part for c in classes if len(part := _samples_of(task.data, c, share, task.seed))]
    if not parts:
        parts = [_from_random_sets(task, size)]
        notes.append("the samples of other classes are those of the random sets")
    mine = of_the_class(task, wanted)
    others = Samples.concat(parts)
    if not is_text and len(mine) + len(others) > chosen:
        model: ImageText = task.model("image-text")
        n = min(wanted, len(mine))
        mine = _most_different(model, [mine], n)
        others = _most_different(model, parts, chosen - n)
    of_class = torch.arange(len(others) + len(mine)) >= len(others)
    return Pool(Samples.concat([others, mine]), of_class, tuple(notes))


def _most_different(model: ImageText, parts: Sequence[Samples], n: int) -> Samples:
    """The n pictures of the parts that differ most, and their embeddings kept."""
    embeddings = torch.cat([embedded(model, part) for part in parts])
    rows = most_different(embeddings, n)
    found = Samples.concat(list(parts)).take(rows)
    embedded(model, found, embeddings[rows])
    return found


def most_different(embeddings: Tensor, n: int) -> list[int]:
    """n rows, each as far as possible (by the cosine) from the rows before it; the first row first.

    References
    ----------
    Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer Science 1985.
    """
    unit = normalize(embeddings.double(), dim=1)
    distance = torch.full((len(unit),), torch.inf, dtype=unit.dtype)
    row, rows = 0, list[int]()
    for _ in range(min(n, len(unit))):
        rows.append(row)
        distance = torch.minimum(distance, 1 - unit @ unit[row])
        distance[row] = -torch.inf
        row = int(distance.argmax())
    return sorted(rows)


def of_the_class(task: Task, n: int) -> Samples:
    """Up to n samples of the explained class, as the data set offers them to methods; where it has none, the explained
    samples."""
    own = task.target_name
    found = _samples_of(task.data, own, n, task.seed) if own in task.data.classes else task.samples
    return found if len(found) else task.samples


def gap_of(task: Task) -> float:
    """Mean margin of the pictures or texts of the class, less that of samples of other classes, in logits."""
    own, others = task.samples, task.random_set(OTHERS, 0)
    means = [float(margin(task.classifier.logits(s), task.target).mean()) for s in (own, others)]
    return means[0] - means[1]


def _samples_of(data: Dataset, cls: str, n: int, seed: int) -> Samples:
    """Up to n samples of a class from the training split, then from those that are there to be explained."""
    found: list[Samples] = []
    for split in SPLITS:
        known = {i for part in found for i in part.ids}
        try:
            part = data.samples(cls, split, n - len(known), seed)
        except UsageError:  # a data set refuses a split in which the class has nothing
            continue
        found.append(part.take([i for i, name in enumerate(part.ids) if name not in known]))
        if sum(map(len, found)) >= n:
            break
    filled = [part for part in found if len(part)]
    return Samples.concat(filled) if filled else (found[0] if found else Samples("text", (), ()))


def _from_random_sets(task: Task, size: int) -> Samples:
    """Samples of the random sets, each once."""
    seen: dict[str, Samples] = {}
    for index in range(-(-size // 10)):
        drawn = task.random_set(10, index)
        for i, name in enumerate(drawn.ids):
            seen.setdefault(name, drawn.take([i]))
    if not seen:
        raise NotApplicable("there are no samples of other classes", "name a data set with --contrast REF")
    return Samples.concat(list(seen.values()))
