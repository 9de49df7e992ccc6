"""Explained texts with the words marked that name a concept, and the concepts' lists: "lackluster: bland, dull"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from xcore.errors import UsageError
from xcore.types import Concept, Explanation, Samples
from xcore.words import WORD, words

if TYPE_CHECKING:
    from xcore.protocols import Task

TEXTS = 20
"""Texts that are kept marked; what shows them may show fewer."""
CONCEPTS = 10
LISTS = 6
"""Concept lists below one text."""
WORDS = 6
"""Words of a list beside the concept's name."""


@dataclass(frozen=True)
class Mark:
    """A marked place of a text: ``text[start:end]`` is the name of a concept."""

    start: int
    end: int
    concept: int
    """Index into `Explanation.concepts`."""
    strength: float
    """The concept's `local` value of this text, else its importance; negative = it speaks against the class."""
    weight: float
    """|strength| as a share of the largest that any text has, in [0, 1]."""


@dataclass(frozen=True)
class Listed:
    """A concept as a list of words."""

    concept: int
    name: str
    words: tuple[str, ...]
    """Further words, the name not among them."""
    strength: float
    """Below a text: as in its marks. In the list of all concepts: the importance."""

    @property
    def line(self) -> str:
        """Such as ``lackluster: bland, dull, uninspired``."""
        return named(self.name, self.words)


@dataclass(frozen=True)
class MarkedText:
    """One text with its marks, in the order of the text, and the lists of the concepts that are marked."""

    id: str
    text: str
    probability: float | None
    """What the classifier gives the explained class, in [0, 1]; None if it was not asked."""
    marks: tuple[Mark, ...]
    lists: tuple[Listed, ...]
    """Strongest first."""

    def pieces(self, limit: int = 0) -> list[tuple[str, Mark | None]]:
        """The text cut at its marks.

        Parameters
        ----------
        limit
            Of a text with more characters, the stretches far from any mark are left out ("…"); 0 = no limit.
        """
        found: list[tuple[str, Mark | None]] = []
        at = 0
        for mark in self.marks:
            found += [(self.text[at : mark.start], None), (self.text[mark.start : mark.end], mark)]
            at = mark.end
        found.append((self.text[at:], None))
        if limit and len(self.text) > limit:
            found = _shortened(found, limit)
        return [(visible(text), mark) for text, mark in found if text]


@dataclass(frozen=True)
class Marked:
    """Marked texts of one explanation."""

    target: str
    importance_is: str
    concepts: tuple[Listed, ...]
    """The concepts that are marked; if there is none, what the explanation has. Most important first."""
    texts: tuple[MarkedText, ...]
    found: int
    """Explained texts that have a mark, ..."""
    of: int
    """... of so many."""


def marked(
    explanation: Explanation, samples: Samples | None = None, *, texts: int = TEXTS, concepts: int = CONCEPTS
) -> Marked:
    """Mark the words of the explained texts that name a concept.

    A name of several words is looked for as a phrase: its words in a row with only white space between. Letter case is
    ignored. Where phrases overlap, the one that begins first wins, of those the longest; of two concepts of one name,
    the more important one.

    Parameters
    ----------
    explanation
        An explanation of text.
    samples
        The explained texts, in the order of `Concept.local`; their meta may hold "probability", that of the explained
        class. Default: `Explanation.explained`.
    texts
        How many texts at most. Each concept's first text comes first, the most important concept's before the others';
        then further texts with marks, then those without.
    concepts
        How many concepts at most: of those that the texts name, the ones with the largest importance in absolute terms.
        A method may find concepts that these texts do not speak of, which say nothing about them.

    Returns
    -------
    Marked

    Raises
    ------
    UsageError
        If there are no texts, or a concept's `local` is not a finite number for each of them.
    """
    samples = explanation.explained if samples is None else samples
    if samples is None:
        raise UsageError(f"the explanation of {explanation.target!r} has no texts to mark", "pass the explained texts")
    ranked = sorted(enumerate(explanation.concepts), key=lambda pair: -abs(pair[1].importance))
    every = _phrases(ranked)
    said = {i for text in samples.texts for _, _, i in _places(text, every)}
    ranked = [(i, c) for i, c in ranked if i in said or not said][:concepts]
    phrases = _phrases(ranked)
    strengths = {i: _strengths(c, len(samples)) for i, c in ranked}
    scale = _scale(ranked, strengths)
    marks = []
    for n, text in enumerate(samples.texts):
        own = ((start, end, i, strengths[i][n]) for start, end, i in _places(text, phrases))
        marks.append(tuple(Mark(*place, weight=min(1.0, abs(place[3]) / scale[place[2]])) for place in own))
    lists = {i: Listed(i, visible(c.name), further(c.name, c.words)[:WORDS], float(c.importance)) for i, c in ranked}
    probability = samples.meta.get("probability") or [None] * len(samples)
    chosen = [
        MarkedText(samples.ids[n], samples.texts[n], probability[n], marks[n], _lists(marks[n], lists))
        for n in _order(marks, [i for i, _ in ranked])[:texts]
    ]
    found = sum(map(bool, marks))
    return Marked(
        explanation.target, explanation.importance_is, tuple(lists.values()), tuple(chosen), found, len(samples)
    )


def explained(task: Task) -> Samples | None:
    """The explained texts with the probability that the classifier gives the class; None for images."""
    if task.samples.kind != "text":
        return None
    found = task.classifier.logits(task.samples).double().softmax(1)[:, task.target].tolist()
    probability = tuple(p if math.isfinite(p) else None for p in found)
    return Samples("text", task.samples.texts, task.samples.ids, meta={"probability": probability})


def named(name: str, words: Sequence[str]) -> str:
    """A concept with its list: ``lackluster: bland, dull, uninspired``."""
    return f"{name}: {', '.join(words)}" if words else name


def headline(found: Marked) -> str:
    """What is said above the lists of all concepts."""
    which = "Concepts that the texts name" if found.found else "Concepts, none named in the texts"
    unit = f" ({visible(found.importance_is)})" if found.importance_is else ""
    return f"{which}, by importance{unit}"


def further(name: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words of a concept without its name, each once, fit to be shown."""
    shown = dict.fromkeys(visible(word).strip() for word in words)
    return tuple(word for word in shown if word and word.casefold() != visible(name).strip().casefold())


def visible(text: str) -> str:
    """The text on one line without control characters, so that it cannot break what shows it."""
    return "".join(" " if c.isspace() else c for c in text if c.isprintable() or c.isspace())


def as_plain(found: Marked) -> dict[str, Any]:
    """As data for JSON."""
    return asdict(found)


def from_plain(plain: Mapping[str, Any]) -> Marked:
    """What `as_plain` gave, also after JSON."""
    texts = tuple(
        MarkedText(**{**text, "marks": tuple(Mark(**m) for m in text["marks"]), "lists": _listed(text["lists"])})
        for text in plain["texts"]
    )
    return Marked(**{**plain, "concepts": _listed(plain["concepts"]), "texts": texts})


def _listed(plain: Sequence[Mapping[str, Any]]) -> tuple[Listed, ...]:
    return tuple(Listed(**{**entry, "words": tuple(entry["words"])}) for entry in plain)


def _phrases(ranked: Sequence[tuple[int, Concept]]) -> dict[tuple[str, ...], int]:
    """The words of a name -> the first concept that has it."""
    phrases: dict[tuple[str, ...], int] = {}
    for i, concept in ranked:
        # A name with digits (C1, 3d) is no word of `words`: without its digits it would be found where it is not.
        if not any(letter.isdigit() for letter in concept.name) and (phrase := tuple(words(concept.name))):
            phrases.setdefault(phrase, i)
    return phrases


def _strengths(concept: Concept, n: int) -> list[float]:
    """The concept's strength in each text."""
    if concept.local is None:
        return [float(concept.importance)] * n
    local = [float(v) for v in concept.local.tolist()]
    if len(local) != n:
        raise UsageError(f"concept {concept.name!r} has local values of {len(local)} samples, not of {n}")
    if not all(map(math.isfinite, local)):
        raise UsageError(f"concept {concept.name!r} has local values that are no numbers")
    return local


def _scale(ranked: Sequence[tuple[int, Concept]], strengths: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Concept -> the largest |strength| of the concepts in its unit: local values and importances do not compare."""
    top = {False: 0.0, True: 0.0}
    for i, concept in ranked:
        unit = concept.local is None
        top[unit] = max(top[unit], *map(abs, strengths[i]), 0.0)
    return {i: top[concept.local is None] or 1.0 for i, concept in ranked}


def _places(text: str, phrases: Mapping[tuple[str, ...], int]) -> Iterator[tuple[int, int, int]]:
    """Start, end and concept of each phrase in a text, from left to right, none overlapping another."""
    tokens = [(m.start(), m.end(), words(m.group())[0]) for m in WORD.finditer(text)]
    longest = max(map(len, phrases), default=0)
    at = 0
    while at < len(tokens):
        step = 1
        for size in range(min(longest, len(tokens) - at), 0, -1):
            run = tokens[at : at + size]
            concept = phrases.get(tuple(word for _, _, word in run))
            joined = all(text[a[1] : b[0]].isspace() for a, b in pairwise(run))
            if concept is not None and joined:
                yield run[0][0], run[-1][1], concept
                step = size
                break
        at += step


def _lists(marks: Sequence[Mark], lists: Mapping[int, Listed]) -> tuple[Listed, ...]:
    """The lists of the marked concepts, strongest first."""
    strengths = {mark.concept: mark.strength for mark in marks}
    strongest = sorted({m.concept: m.weight for m in marks}.items(), key=lambda pair: -pair[1])[:LISTS]
    return tuple(Listed(i, lists[i].name, lists[i].words, strengths[i]) for i, _ in strongest)


def _order(marks: Sequence[Sequence[Mark]], concepts: Sequence[int]) -> list[int]:
    """Texts in the order in which they are shown (see `marked`)."""
    holding = [next((n for n, own in enumerate(marks) if any(m.concept == i for m in own)), None) for i in concepts]
    first = [n for n in holding if n is not None]
    with_marks = [n for n, own in enumerate(marks) if own]
    return list(dict.fromkeys([*first, *with_marks, *range(len(marks))]))


def _shortened(pieces: list[tuple[str, Mark | None]], limit: int) -> list[tuple[str, Mark | None]]:
    """The pieces with less of what is far from marks, and an end where it is still too much."""
    kept = max(20, limit // (2 * len(pieces)))  # characters beside each mark
    found: list[tuple[str, Mark | None]] = []
    used = 0
    for i, (text, mark) in enumerate(pieces):
        before = kept if i else 0
        after = kept if i < len(pieces) - 1 else 0
        room = before + after if len(pieces) > 1 else limit
        if mark is None and len(text) > room + 3:
            text = f"{text[:before]} … {text[len(text) - after :]}" if len(pieces) > 1 else f"{text[:limit]} …"
        found.append((text, mark))
        used += len(text)
        if used > limit and i < len(pieces) - 1:
            return [*found, ("…", None)]
    return found
