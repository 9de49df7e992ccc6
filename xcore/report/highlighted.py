"""Explained texts with the words highlighted that name concepts, and concepts as lists: "lackluster: bland, dull".

The attributes of the classes below are the keys of ``marked.json`` and of "marked" in ``table.json``: if one were
renamed, older runs could not be read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from xcore.base.errors import UsageError
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Explanation

TEXTS = 20
"""How many texts are kept with their highlights. A renderer may show fewer."""
CONCEPTS = 10
"""How many concepts are looked for in the texts."""
LISTS = 6
"""How many concepts are listed below one text."""
WORDS = 6
"""How many words a list has beside the concept's name."""
WEAK = " [weak list]"
"""What follows a list whose words are not near its name."""


@dataclass(frozen=True)
class Highlight:
    """A place in a text, ``text[start:end]``, that is the name of a concept.

    Attributes
    ----------
    start, end
        Positions in the text, in characters; `end` is the first one behind the place.
    concept
        Index into `Explanation.concepts`.
    strength
        The concept's `local` value for this text, or its importance if it has none; negative = against the class.
    weight
        |strength| divided by the largest one in any of the texts, in [0, 1].
    """

    start: int
    end: int
    concept: int
    strength: float
    weight: float


@dataclass(frozen=True)
class WordList:
    """A concept as a list of words.

    Attributes
    ----------
    concept
        Index into `Explanation.concepts`.
    name
        Name of the concept.
    words
        The other words of the concept, without its name.
    strength
        Below a text: the strength of its highlights. In the list of all concepts: the importance.
    weak
        Whether the method found that the words are not near the name, as synonyms are (its evidence ``weak_list``).
    """

    concept: int
    name: str
    words: tuple[str, ...]
    strength: float
    weak: bool = False

    @property
    def line(self) -> str:
        """The name and the words, such as ``lackluster: bland, dull, uninspired``; a weak list says that it is one."""
        return named(self.name, self.words) + (WEAK if self.weak else "")


@dataclass(frozen=True)
class HighlightedText:
    """One text with its highlights, and the lists of the concepts that are highlighted in it.

    Attributes
    ----------
    id
        As in `Samples.ids`.
    text
        The text as it was explained.
    probability
        The classifier's probability of the explained class, in [0, 1]; None if it is not known.
    marks
        From left to right; they do not overlap.
    lists
        Strongest first.
    """

    id: str
    text: str
    probability: float | None
    marks: tuple[Highlight, ...]
    lists: tuple[WordList, ...]

    def pieces(self, limit: int = 0) -> list[tuple[str, Highlight | None]]:
        """Cut the text at the ends of its highlights.

        Parameters
        ----------
        limit
            If the text has more characters than this, parts that are far from any highlight are replaced by "…";
            0 = no limit.

        Returns
        -------
        list[tuple[str, Highlight | None]]
            The pieces from left to right, without control characters, each with its highlight or None.
        """
        found: list[tuple[str, Highlight | None]] = []
        at = 0
        for place in self.marks:
            found += [(self.text[at : place.start], None), (self.text[place.start : place.end], place)]
            at = place.end
        found.append((self.text[at:], None))
        if limit and len(self.text) > limit:
            found = _shortened(found, limit)
        return [(visible(text), place) for text, place in found if text]


@dataclass(frozen=True)
class HighlightedTexts:
    """The highlighted texts of one explanation.

    Attributes
    ----------
    target
        The explained class.
    importance_is
        The unit of the importances; may be empty.
    concepts
        The concepts that the texts name; if they name none, all concepts of the explanation. Most important first.
    texts
        The chosen ones: first those that show each concept, then others with highlights, then those without any.
    found
        How many of the explained texts have a highlight.
    of
        How many texts were explained.
    """

    target: str
    importance_is: str
    concepts: tuple[WordList, ...]
    texts: tuple[HighlightedText, ...]
    found: int
    of: int


def highlight(
    explanation: Explanation, samples: Samples | None = None, *, texts: int = TEXTS, concepts: int = CONCEPTS
) -> HighlightedTexts:
    """Highlight the words of the explained texts that name a concept.

    A name of several words is matched as a phrase: the same words in the same order, with only white space between
    them. Upper and lower case are the same. Where two phrases overlap, the one that begins first is highlighted, and
    the longer one if both begin at the same word. If two concepts have the same name, the more important one counts.

    Parameters
    ----------
    explanation
        An explanation of text.
    samples
        The explained texts, in the order of `Concept.local`. Their meta may hold "probability": for each text, the
        probability of the explained class. Default: `Explanation.explained`.
    texts
        The largest number of texts to return. First come texts that show each concept, one per concept, in the order
        of importance; then the other texts with highlights; then texts without any.
    concepts
        The largest number of concepts to look for: those with the largest absolute importance among the concepts that
        the texts name. A concept that no text names says nothing about these texts.

    Returns
    -------
    HighlightedTexts

    Raises
    ------
    UsageError
        If there are no texts, or if the `local` values of a concept are not one finite number for each text.
    """
    samples = explanation.explained if samples is None else samples
    if samples is None:
        raise UsageError(
            f"the explanation of {explanation.target!r} has no texts to highlight", "pass the explained texts"
        )
    ranked = sorted(enumerate(explanation.concepts), key=lambda pair: -abs(pair[1].importance))
    every = _phrases(ranked)
    named_here = {i for text in samples.texts for _, _, i in _places(text, every)}
    ranked = [(i, c) for i, c in ranked if i in named_here or not named_here][:concepts]
    phrases = _phrases(ranked)
    strengths = {i: _strengths(c, len(samples)) for i, c in ranked}
    scale = _scale(ranked, strengths)
    marks = []
    for n, text in enumerate(samples.texts):
        own = ((start, end, i, strengths[i][n]) for start, end, i in _places(text, phrases))
        marks.append(tuple(Highlight(*place, weight=min(1.0, abs(place[3]) / scale[place[2]])) for place in own))
    lists = {i: _word_list(i, c) for i, c in ranked}
    probability = samples.meta.get("probability") or [None] * len(samples)
    chosen = [
        HighlightedText(samples.ids[n], samples.texts[n], probability[n], marks[n], _lists(marks[n], lists))
        for n in _order(marks, [i for i, _ in ranked])[:texts]
    ]
    found = sum(map(bool, marks))
    return HighlightedTexts(
        explanation.target, explanation.importance_is, tuple(lists.values()), tuple(chosen), found, len(samples)
    )


def _word_list(i: int, concept: Concept) -> WordList:
    own = synonyms(concept.name, concept.words)[:WORDS]
    weak = bool(concept.evidence.get("weak_list"))
    return WordList(i, visible(concept.name), own, float(concept.importance), weak)


def named(name: str, words: Sequence[str]) -> str:
    """A concept's name with its words, such as ``lackluster: bland, dull, uninspired``."""
    return f"{name}: {', '.join(words)}" if words else name


def headline(found: HighlightedTexts) -> str:
    """The heading above the list of all concepts."""
    unit = f" ({visible(found.importance_is)})" if found.importance_is else ""
    if found.found:
        return f"Concepts that the texts name, by importance{unit}"
    return f"Concepts by importance{unit}; the texts name none of them"


def synonyms(name: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words of a concept without its name, without repetitions and control characters."""
    shown = dict.fromkeys(visible(word).strip() for word in words)
    return tuple(word for word in shown if word and word.casefold() != visible(name).strip().casefold())


def visible(text: str) -> str:
    """The text on one line without control characters, so that it can be printed safely."""
    if text.isprintable():  # most texts; the space is the only white space that counts as printable
        return text
    return "".join(" " if c.isspace() else c for c in text if c.isprintable() or c.isspace())


def as_plain(found: HighlightedTexts) -> dict[str, Any]:
    """The texts as plain data for JSON; `from_plain` reads them back."""
    return asdict(found)


def from_plain(plain: Mapping[str, Any]) -> HighlightedTexts:
    """Read what `as_plain` returned, also after it has been written to JSON and read from it."""
    texts = tuple(
        HighlightedText(
            **{**text, "marks": tuple(Highlight(**m) for m in text["marks"]), "lists": _word_lists(text["lists"])}
        )
        for text in plain["texts"]
    )
    return HighlightedTexts(**{**plain, "concepts": _word_lists(plain["concepts"]), "texts": texts})


def _word_lists(plain: Sequence[Mapping[str, Any]]) -> tuple[WordList, ...]:
    return tuple(WordList(**{**entry, "words": tuple(entry["words"])}) for entry in plain)


def _phrases(ranked: Sequence[tuple[int, Concept]]) -> dict[tuple[str, ...], int]:
    """The words of each name -> the most important concept with that name."""
    from xcore.inputs.words import words  # late: its pattern has all scripts, and tables of images need none

    phrases: dict[tuple[str, ...], int] = {}
    for i, concept in ranked:
        # `words` drops digits: a name such as C1 or 3d would be highlighted wherever a text has C or d.
        if not any(letter.isdigit() for letter in concept.name) and (phrase := tuple(words(concept.name))):
            phrases.setdefault(phrase, i)
    return phrases


def _strengths(concept: Concept, n: int) -> list[float]:
    """The strength of a concept in each of n texts."""
    if concept.local is None:
        return [float(concept.importance)] * n
    local = [float(v) for v in concept.local.tolist()]
    if len(local) != n:
        raise UsageError(f"concept {concept.name!r} has local values for {len(local)} texts, but {n} texts were given")
    if not all(map(math.isfinite, local)):
        raise UsageError(f"concept {concept.name!r} has local values that are not finite numbers")
    return local


def _scale(ranked: Sequence[tuple[int, Concept]], strengths: Mapping[int, Sequence[float]]) -> dict[int, float]:
    """Concept -> the largest |strength| in its unit; local values and importances are different units."""
    top = {False: 0.0, True: 0.0}
    for i, concept in ranked:
        unit = concept.local is None
        top[unit] = max(top[unit], *map(abs, strengths[i]), 0.0)
    return {i: top[concept.local is None] or 1.0 for i, concept in ranked}


def _places(text: str, phrases: Mapping[tuple[str, ...], int]) -> Iterator[tuple[int, int, int]]:
    """Start, end and concept of each phrase in a text, from left to right, without overlaps."""
    from xcore.inputs.words import WORD, words

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


def _lists(marks: Sequence[Highlight], lists: Mapping[int, WordList]) -> tuple[WordList, ...]:
    """The lists of the highlighted concepts, strongest first."""
    strengths = {m.concept: m.strength for m in marks}
    strongest = sorted({m.concept: m.weight for m in marks}.items(), key=lambda pair: -pair[1])[:LISTS]
    return tuple(replace(lists[i], strength=strengths[i]) for i, _ in strongest)


def _order(marks: Sequence[Sequence[Highlight]], concepts: Sequence[int]) -> list[int]:
    """The indices of the texts in the order in which they are shown (see `highlight`)."""
    holding = [next((n for n, own in enumerate(marks) if any(m.concept == i for m in own)), None) for i in concepts]
    first = [n for n in holding if n is not None]
    highlighted = [n for n, own in enumerate(marks) if own]
    return list(dict.fromkeys([*first, *highlighted, *range(len(marks))]))


def _shortened(pieces: list[tuple[str, Highlight | None]], limit: int) -> list[tuple[str, Highlight | None]]:
    """Shorten what is far from any highlight, and stop early if the text is still too long."""
    kept = max(20, limit // (2 * len(pieces)))  # characters beside each highlight
    found: list[tuple[str, Highlight | None]] = []
    used = 0
    for i, (text, place) in enumerate(pieces):
        before = kept if i else 0
        after = kept if i < len(pieces) - 1 else 0
        room = before + after if len(pieces) > 1 else limit
        if place is None and len(text) > room + 3:
            text = f"{text[:before]} … {text[len(text) - after :]}" if len(pieces) > 1 else f"{text[:limit]} …"
        found.append((text, place))
        used += len(text)
        if used > limit and i < len(pieces) - 1:
            return [*found, ("…", None)]
    return found
