"""Tags of samples, of which failure modes are made: what metadata, phrases, words and answers say of each sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import occurrences, presence

from xcore.contract import MissingError, Samples, Task, UsageError
from xcore.inputs.words import STOPWORDS, lemma, words

Flags = NDArray[np.bool_]

METADATA = ("factors", "attributes", "group")
"""Entries of `Samples.meta` that tags are made of."""
CLEAR = 0.7
"""Least share of the variance of a phrase's reading that its two halves explain: a normal distribution, which has no
halves, has .64."""
VALUES = 8
"""Most different numbers of an attribute that are values by themselves; those of others are low, middle or high."""
SAID = 0.05
"""Least share of the samples in which a word of a caption or of a text, or an answer, must occur to become a tag."""
NO_TAGS = "name columns of its metadata.csv, or a model with --model image-text=REF, whose phrases become tags"


@dataclass(frozen=True, eq=False)
class Tags:
    """What is said of n samples."""

    names: tuple[str, ...]
    has: Flags
    """(n, k) whether a tag is true of a sample."""
    notes: tuple[str, ...] = ()
    absent: tuple[bool, ...] = ()
    """(k,) which tags are the absence of another one; empty = none. A phrase may begin with "not" and be none."""

    def __add__(self, other: Tags) -> Tags:
        return Tags(self.names + other.names, np.hstack([self.has, other.has]), self.notes + other.notes)

    @property
    def is_absent(self) -> Flags:
        """(k,) which tags are the absence of another one."""
        return np.array(self.absent or (False,) * len(self.names), dtype=bool)


def nothing(n: int) -> Tags:
    """No tags of n samples."""
    return Tags((), np.zeros((n, 0), dtype=bool))


def of_sets(found: Sequence[Iterable[str]], least: int = 1) -> Tags:
    """Tags of samples each of which has a set of them; those of fewer than `least` samples are left out."""
    sets = [set(tags) for tags in found]
    counts = Counter(tag for tags in sets for tag in tags)
    names = tuple(sorted(tag for tag, count in counts.items() if count >= least))
    has = np.array([[name in tags for name in names] for tags in sets], dtype=bool)
    return Tags(names, has.reshape(len(sets), len(names)))


def rows(tags: Tags, start: int, stop: int) -> Tags:
    """The tags of some of the samples; the notes are those of all."""
    return Tags(tags.names, tags.has[start:stop], tags.notes)


def of_metadata(parts: Sequence[Samples]) -> Tags:
    """Tags of the factors, attributes and groups that the data set knows, such as ``background=water``.

    An attribute that is yes or no is one tag (1 and True are yes; 0, -1 and False no). One with more than `VALUES`
    different numbers is low, middle or high, a third of the samples each.
    """
    rows = [row for samples in parts for row in _rows(samples)]
    thirds = {}
    for name in {name for row in rows for name in row}:
        numbers = [row[name] for row in rows if name in row]
        if all(isinstance(v, (int, float)) for v in numbers) and len(set(numbers)) > VALUES:
            thirds[name] = np.quantile(np.array(numbers, dtype=float), [1 / 3, 2 / 3])
    yes_no = {name: {row[name] for row in rows if name in row} <= {0, 1, -1} for name in _numeric(rows) - set(thirds)}

    def tags(row: Mapping[str, Any]) -> Iterable[str]:
        for name, value in row.items():
            if name in thirds:
                yield f"{name} {('low', 'middle', 'high')[int((float(value) > thirds[name]).sum())]}"
            elif yes_no.get(name):
                yield from [name] if value == 1 else []
            elif isinstance(value, (tuple, list, set, frozenset)):
                yield from (f"{name}={v}" for v in value)
            else:
                yield f"{name}={value}"

    return of_sets([tags(row) for row in rows])


def _rows(samples: Samples) -> list[dict[str, Any]]:
    """What the metadata say of each sample: name -> value, without what is None or empty."""
    rows: list[dict[str, Any]] = [{} for _ in samples.ids]
    for key in METADATA:
        for row, found in zip(rows, samples.meta.get(key, ()), strict=False):
            row.update(found if isinstance(found, Mapping) else {key: found})
    return [{k: v for k, v in row.items() if v is not None and v != ""} for row in rows]


def _numeric(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The attributes all of whose values are numbers or truth values."""
    texts = {name for row in rows for name, value in row.items() if not isinstance(value, (int, float))}
    return {name for row in rows for name in row} - texts


def of_phrases(task: Task, samples: Samples, given: Sequence[str], file: str) -> Tags:
    """Tags of the phrases that an image-text model reads in pictures, by Otsu's threshold; of texts, that occur.

    A phrase is a tag of the pictures whose cosine with it lies above the threshold that leaves the least variance
    within the two halves of all pictures, those of the class and the others. Phrases that are read without two halves
    (see `CLEAR`) are left out, and counted in a note.

    References
    ----------
    Otsu, A threshold selection method from gray-level histograms, IEEE Transactions on Systems, Man and Cybernetics
    1979.
    """
    phrases, notes = candidates(task, given, file, "--vocabulary", "--phrase")
    if samples.modality == "text":
        has = occurrences(samples.texts, phrases).numpy() > 0
        return Tags(phrases, has, tuple(notes))
    read = presence(task, samples, phrases).numpy()
    split = [otsu(column) for column in read.T]
    clear = [i for i, (_, explained) in enumerate(split) if explained >= CLEAR]
    if len(clear) < len(phrases):
        few = f"{len(phrases) - len(clear)} of {len(phrases)} phrases are left out"
        notes = (*notes, f"{few}, as the image-text model does not read them as either present or absent (Otsu)")
    has = np.stack([read[:, i] > split[i][0] for i in clear], 1) if clear else np.zeros((len(read), 0), dtype=bool)
    return Tags(tuple(phrases[i] for i in clear), has, tuple(notes))


def otsu(values: NDArray[np.float64]) -> tuple[float, float]:
    """The threshold between two halves of numbers, and the share of their variance that the halves explain, in [0, 1].

    0 is explained where all numbers are alike.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n, total = len(x), float(np.var(x)) * len(x)
    if n < 2 or total <= 1e-12 * max(1.0, float(np.abs(x).max()) ** 2) * n:
        return float(x[-1]) if n else 0.0, 0.0
    below = np.arange(1, n)
    sums = np.cumsum(x)[:-1]
    between = below * (n - below) / n * (sums / below - (x.sum() - sums) / (n - below)) ** 2
    between[x[1:] == x[:-1]] = 0.0  # no threshold lies between equal numbers
    cut = int(between.argmax())
    return float((x[cut] + x[cut + 1]) / 2), min(1.0, float(between[cut]) / total)


def of_texts(texts: Sequence[str], least: int) -> Tags:
    """Tags of texts: the lemmas of their words, and pairs of neighbouring words, without function words.

    Parameters
    ----------
    least
        Texts in which a tag must occur.
    """

    def said(text: str) -> Iterable[str]:
        read = [lemma(w) for w in words(text)]
        kept = [w for w in read if w not in STOPWORDS and len(w) > 1]
        pairs = [f"{a} {b}" for a, b in pairwise(read) if a in kept and b in kept]
        return (*kept, *pairs)

    return of_sets([said(text) for text in texts], least)


def of_captions(task: Task, samples: Samples) -> Tags:
    """Tags of the words of captions, one caption a picture, by the model of the role captioner."""
    captions: list[str] = task.model("captioner").caption(samples, list(range(len(samples))))
    own = {lemma(w) for w in words(task.target_name)}
    found = of_texts(captions, _often(samples))
    kept = [i for i, name in enumerate(found.names) if name not in own and " " not in name]
    return Tags(tuple(f"caption: {found.names[i]}" for i in kept), found.has[:, kept])


def of_answers(task: Task, samples: Samples, questions: Sequence[str]) -> Tags:
    """Tags of the answers to questions about each picture, by the model of the role vqa."""
    made = nothing(len(samples))
    for question in questions:
        answers = task.model("vqa").answer(samples, [question] * len(samples))
        made += of_sets([[f"{question.rstrip('? ')}: {answer.strip()}"] for answer in answers], _often(samples))
    return made


def _often(samples: Samples) -> int:
    return max(2, ceil(SAID * len(samples)))


SOURCES = ("metadata", "phrases", "captions", "answers", "words")
"""Where tags come from; the last one of texts only, and captions and answers of pictures only."""


def tags_of(
    task: Task,
    parts: Sequence[Samples],
    *,
    sources: Sequence[str] = (),
    phrases: Sequence[str] = (),
    vocabulary: str = "",
    questions: Sequence[str] = (),
) -> Tags:
    """The tags of all samples of the parts, in order.

    Parameters
    ----------
    sources
        Some of `SOURCES`; none = metadata and phrases, and the answers if there are questions; of texts words, and
        phrases if some are given.

    Raises
    ------
    UsageError
        A source does not go with such samples.
    MissingError
        A model is missing that a named source needs, or nothing says anything of the samples.
    """
    samples = Samples.concat(list(parts))
    text = samples.modality == "text"
    asked = sources or _usual(task, text, bool(phrases or vocabulary), bool(questions))
    if text and (wrong := {"captions", "answers"} & set(asked)):
        raise UsageError(f"--tags {min(wrong)} needs pictures, and these samples are texts", "use --tags words")
    if not text and "words" in asked:
        raise UsageError("--tags words needs texts, and these samples are pictures", "use --tags captions")
    if "answers" in asked and not questions:
        raise UsageError("--tags answers needs a question", 'ask one with --question "what is in the background?"')
    made = nothing(len(samples))
    for source in dict.fromkeys(asked):
        if source == "metadata":
            made += of_metadata(parts)
        elif source == "phrases":
            made += of_phrases(task, samples, phrases, vocabulary)
        elif source == "captions":
            made += of_captions(task, samples)
        elif source == "answers":
            made += of_answers(task, samples, questions)
        else:
            made += of_texts(samples.texts, _often(samples))
    if not made.names:
        raise MissingError("nothing says anything of these samples, so that no failure can be named", NO_TAGS)
    if not sources and not text and "image-text" not in task.roles:
        note = "phrases are no tags, as no image-text model is named; name one with --model image-text=REF"
        made = Tags(made.names, made.has, (*made.notes, note))
    return made


def _usual(task: Task, text: bool, phrases: bool, questions: bool) -> tuple[str, ...]:
    answers = ("answers",) if questions else ()
    if text:
        return ("metadata", "words", *(("phrases",) if phrases else ()))
    return ("metadata", *(("phrases",) if phrases or "image-text" in task.roles else ()), *answers)
