"""Data sets as methods and metrics see them: framed and named as by a classifier, without what a method may not see."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from cachetools import LRUCache

from xcore.base.errors import MissingError, UsageError, unknown
from xcore.contract.protocols import Classifier, Dataset
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Split, Truth
from xcore.inputs.class_names import ClassNames

Give = Callable[[str, Samples], Samples]
"""(what they are, samples) -> the samples as a method or metric gets them."""
MOST_DRAWN = 64
"""Samples that are looked through for those of a group, as a multiple of the samples asked for."""
GROUPS_HINT = "give each sample one in the column group of metadata.csv, or name columns with --set folder.group=A,B"
MOST_KEPT = 256 * 2**20
"""Bytes of the samples of single classes that are kept for the random sets of the next classes."""
NAMED = 5
"""Classes that a note names; it counts all of them."""


def framed_by(data: Dataset, classifier: Classifier) -> Dataset:
    """A data set whose pictures, if it reads any from files, are framed as the classifier frames them."""
    framing = getattr(classifier, "framing", None)
    if framing is None or not hasattr(data, "framed"):
        return data
    made: Dataset = data.framed(framing)
    return made


def class_names(data: Dataset, classifier: Classifier, known: ClassNames | None = None) -> dict[str, str]:
    """Class of a data set -> the class of the classifier that it is; itself if it is none of them.

    Parameters
    ----------
    known
        The names of the classifier's classes, if somebody has them: those of thousands of classes take a while.
    """
    known = known or ClassNames(classifier.classes, getattr(classifier, "aliases", None))
    aliases: Mapping[str, Sequence[str]] = getattr(data, "aliases", {})
    found = {}
    for cls in data.classes:
        found[cls] = cls
        with contextlib.suppress(UsageError):  # one that may be several classes keeps its name until it is explained
            found[cls] = known.match(cls, aliases.get(cls, ())) or cls
    return found


def match_notes(names: Mapping[str, str], classifier: Classifier) -> list[str]:
    """How many classes of a data set the classifier knows by another name, and which it does not know.

    Parameters
    ----------
    names
        Class of the data set -> the class of the classifier, as `class_names` gives them.
    """
    changed = [f"{c!r} is {name!r}" for c, name in names.items() if c != name]
    lost = [c for c in names if names[c] not in classifier.classes]
    if not changed and not lost:
        return []
    known = f"{len(names) - len(lost)} of {len(names)} classes of the data are classes of the classifier"
    if changed:
        known += f", {len(changed)} of them under another name: {', '.join(changed[:NAMED])}"
        known += ", ..." if len(changed) > NAMED else ""
    if lost:
        from difflib import get_close_matches  # late: most data has no such class

        near = [
            get_close_matches(c.casefold(), {n.casefold(): n for n in classifier.classes}, n=1) for c in lost[:NAMED]
        ]
        shown = [f"{c!r}" + (f" (nearest: {n[0]!r})" if n else "") for c, n in zip(lost, near, strict=False)]
        known += f"; it has none called {', '.join(shown)}{', ...' if len(lost) > NAMED else ''}"
    return [known]


class _View:
    """A data set that passes on what it does not change."""

    def __init__(self, inner: Dataset) -> None:
        self._inner = inner
        self.modality: Modality = inner.modality
        self.classes = inner.classes
        self.concepts = inner.concepts
        self.vocabulary = inner.vocabulary
        self.defaults = inner.defaults

    @property
    def skipped(self) -> tuple[str, ...]:
        return self._inner.skipped

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._inner.notes)

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        return self._inner.samples(cls, split, n, seed)

    def concept(self, name: str, n: int, seed: int) -> Samples:
        return self._inner.concept(name, n, seed)

    def truth(self, classifier: str) -> Truth | None:
        return self._inner.truth(classifier)


class KeptData(_View):
    """A data set whose samples of a class are kept: random sets of one class ask for those of all others.

    Parameters
    ----------
    inner
        The data set.
    kept
        What is kept, which several data sets may share.
    name
        What tells this data set from the others that share it.
    """

    def __init__(self, inner: Dataset, kept: LRUCache[Hashable, Samples], name: str) -> None:
        super().__init__(inner)
        self._kept, self._name = kept, name

    @staticmethod
    def cache() -> LRUCache[Hashable, Samples]:
        """An empty one for `kept`, which counts the bytes of images and the characters of texts."""

        def size(samples: Samples) -> int:
            return samples.images.nbytes if samples.modality == "image" else sum(map(len, samples.texts))

        return LRUCache(MOST_KEPT, getsizeof=size)

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        key = (self._name, cls, split, n, seed)
        kept: Samples | None = self._kept.get(key)
        if kept is not None:
            return kept
        drawn = super().samples(cls, split, n, seed)
        if len(drawn):
            drawn = drawn.take(range(len(drawn)))  # a copy, since the data set may keep and change what it gives
            _ = drawn.digests  # computed once, here: random sets that are made of these samples take them over
        with contextlib.suppress(ValueError):  # one that is larger than all that may be kept
            self._kept[key] = drawn
        return drawn


class NamedData(_View):
    """A data set whose classes are called as the classifier calls them; those that it does not know keep their names.

    Parameters
    ----------
    inner
        The data set.
    names
        Its class -> the name of the class here.
    """

    def __init__(self, inner: Dataset, names: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._own = {name: c for c, name in names.items()}
        self.classes = tuple(names[c] for c in inner.classes)

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        if cls is not None and cls not in self._own:
            raise unknown("class", cls, self.classes)
        return super().samples(cls if cls is None else self._own[cls], split, n, seed)


class TrainingData(_View):
    """A data set as methods see it: held-out samples and the truth are refused.

    Parameters
    ----------
    give
        Makes of samples what a method gets: a copy, so that it cannot change what the data set keeps.
    """

    def __init__(self, inner: Dataset, give: Give = lambda what, samples: samples) -> None:
        super().__init__(inner)
        self._give = give

    def concept(self, name: str, n: int, seed: int) -> Samples:
        return self._give(f"those of the concept {name!r}", super().concept(name, n, seed))

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        if split == "heldout":
            raise UsageError("methods do not see held-out samples", 'ask for the split "train" or "explain"')
        return self._give("samples of the data set", super().samples(cls, split, n, seed))

    def truth(self, classifier: str) -> Truth | None:
        raise UsageError("methods do not see the truth")


class DataConcepts(Mapping[str, Samples]):
    """The named concepts of a data set, drawn when they are asked for; `give` as of `TrainingData`."""

    def __init__(self, data: Dataset, n: int, seed: int, give: Give = lambda what, samples: samples) -> None:
        self._data, self._n, self._seed, self._give = data, n, seed, give

    def __getitem__(self, name: str) -> Samples:
        if name not in self._data.concepts:
            raise KeyError(name)
        return self._give(f"those of the concept {name!r}", self._data.concept(name, self._n, self._seed))

    def __iter__(self) -> Iterator[str]:
        return iter(self._data.concepts)

    def __len__(self) -> int:
        return len(self._data.concepts)


def chosen(data: Dataset, cls: str, split: Split, group: str, n: int, seed: int) -> Samples:
    """Up to n samples of a class from a split, of one group if it is named.

    Parameters
    ----------
    data
        The data set, as the classifier sees it.
    group
        Name of the group, as ``Samples.meta["group"]`` has it; "" = all.

    Raises
    ------
    UsageError
        The split has no samples of the class, or none of this group.
    MissingError
        The data set names no groups.
    """
    asked, seen = n, 0
    while True:
        found = data.samples(cls, split, asked, seed)
        if not group:
            rows = list(range(len(found)))
            break
        given = groups_of(found)
        if len(found) and not given:
            raise MissingError(
                f"the samples of {cls!r} have no groups, so that {group!r} cannot be chosen", GROUPS_HINT
            )
        rows = [i for i, name in enumerate(given) if name == group]
        if len(rows) >= n or len(found) <= seen or len(found) < asked or asked >= MOST_DRAWN * n:
            break
        asked, seen = 2 * asked, len(found)
    if not len(found):
        raise UsageError(f"the split {split!r} has no samples of class {cls!r}", "name another one with --split")
    if not rows:
        raise unknown(f"group of {cls!r} in the split {split!r}:", group, sorted(set(groups_of(found))))
    return found.take(rows[:n])


def groups_of(samples: Samples) -> list[str]:
    """The group of each sample, if the data set names groups; else an empty list."""
    given = samples.meta.get("group")
    if given is None or isinstance(given, str) or len(given) != len(samples):
        return []
    return [str(g.item() if hasattr(g, "item") else g) for g in given]


def further_samples(known: Samples, data: Dataset, cls: str, split: Split, n: int, seed: int) -> Samples:
    """Up to n - len(known) samples of a class from another split, without the known ones; none if the split has none.

    Parameters
    ----------
    known
        Samples of the class from a split that has fewer than n.
    """
    with contextlib.suppress(UsageError):  # a data set refuses the split "explain" where a class has nothing in it
        found = data.samples(cls, split, n, seed)
        new = [i for i, name in enumerate(found.ids) if name not in known.ids]
        return found.take(new[: n - len(known)])
    return known.take([])


def unseen(samples: Samples, explained: Samples) -> Samples:
    """The samples that are not among the explained ones: no text that is the same, no image that is a copy."""
    contents = _contents(explained, samples)
    seen = set(contents[: len(explained)])
    return samples.take([i for i, content in enumerate(contents[len(explained) :]) if content not in seen])


def _contents(*parts: Samples) -> list[Any]:
    """What is alike for texts that are the same, and for images that are copies of one another."""
    if parts[0].modality == "text":
        return [text for samples in parts for text in samples.texts]
    import numpy as np

    from xcore.inputs.copies import description, groups

    pixels = (image.mul(255).round().byte().permute(1, 2, 0).numpy() for samples in parts for image in samples.images)
    return list(groups(np.stack([description(image) for image in pixels])))
