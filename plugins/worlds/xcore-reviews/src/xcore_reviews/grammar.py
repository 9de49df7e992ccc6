"""How reviews are written: clauses with slots, and for each slot the words that fit into it.

All random choices come from generators of numpy, so the same key gives the same review on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from xcore_reviews.lexicon import (
    BLAME,
    BOUGHT,
    CUSTOMERS,
    DAYS,
    FITS,
    GROUPS,
    HATED,
    LIKED,
    MET,
    NEUTRAL,
    PLACES,
    POLARITY,
    PRAISE,
    THINGS,
    TIMES,
)

OPINIONS = (
    "the {thing} was {adjective}",
    "i thought the {thing} was {adjective}",
    "we found the {thing} {adjective}",
    "it was a {adjective} {thing}",
    "what a {adjective} {thing}",
    "everyone {verb} the {thing}",
    "my {customer} {verb} the {thing}",
)
"""Clauses that can judge, by their adjective or their verb."""

FACTS = (
    "we {bought} it on {day}",
    "i {bought} it in the {time} with a {customer}",
    "it is on a {neutral} {place}",
    "the {place} is {neutral}",
    "a {customer} came on {day}",
    "the {thing} is {neutral}",
    "my {customer} {bought} a {neutral} one",
)
"""Clauses that judge nothing."""


def _words(*groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(word for group in groups for members in group.values() for word in members)


FILLERS: Mapping[str, tuple[str, ...]] = {
    "thing": _words(THINGS),
    "verb": _words(LIKED, HATED, MET),
    "customer": _words(CUSTOMERS),
    "day": _words(DAYS),
    "time": _words(TIMES),
    "place": _words(PLACES),
    "neutral": _words(NEUTRAL),
    "bought": _words(BOUGHT),
}
"""Slot -> the words that fit into it, whatever the rest of the clause is."""

THING_GROUP: Mapping[str, str] = {word: name for name, members in THINGS.items() for word in members}


@cache
def adjectives(thing: str) -> tuple[str, ...]:
    """The adjectives that fit a thing: those that praise, those that blame and neutral ones."""
    fitting = {name: GROUPS[name] for name in FITS[THING_GROUP[thing]]}
    return _words(fitting, NEUTRAL)


@dataclass(frozen=True)
class Slot:
    """A slot with its word, and all words that fit into it."""

    fillers: tuple[str, ...]
    word: str


@dataclass(frozen=True)
class Review:
    """A review as a sequence of literal texts and slots; ``str(review)`` is its text."""

    parts: tuple[str | Slot, ...]

    def __str__(self) -> str:
        plain = "".join(p if isinstance(p, str) else p.word for p in self.parts)
        return re.sub(r"\ba (?=[aeiou])(?!usual\b)", "an ", plain)  # of our words, only "usual" sounds otherwise

    @property
    def slots(self) -> tuple[int, ...]:
        """The positions of the slots among the parts."""
        return tuple(i for i, p in enumerate(self.parts) if isinstance(p, Slot))

    def swapped(self, position: int, word: str) -> Review:
        """The review with another word in the slot at this position of `parts`."""
        slot = self.parts[position]
        assert isinstance(slot, Slot)
        return Review((*self.parts[:position], Slot(slot.fillers, word), *self.parts[position + 1 :]))


def _clause(template: str, choose: Mapping[str, tuple[str, ...]], rng: np.random.Generator) -> list[str | Slot]:
    """A clause with its slots filled; `choose` limits the words that are drawn, not those that count as fitting."""
    parts: list[str | Slot] = []
    thing = _draw(choose.get("thing") or FILLERS["thing"], rng)
    for piece in template.replace("}", "{").split("{"):
        if piece == "thing":
            parts.append(Slot(THINGS[THING_GROUP[thing]], thing))
        elif piece == "adjective" or piece in FILLERS:
            fillers = adjectives(thing) if piece == "adjective" else FILLERS[piece]
            allowed = _common(fillers, choose[piece]) if piece in choose else fillers
            parts.append(Slot(fillers, _draw(allowed, rng)))
        elif piece:
            parts.append(piece)
    return parts


@cache
def _common(fillers: tuple[str, ...], chosen: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(w for w in fillers if w in chosen)


def _draw(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


_BY_SIGN: Mapping[int, Mapping[str, tuple[str, ...]]] = {
    -1: {"adjective": _words(BLAME), "verb": _words(HATED)},
    0: {"adjective": _words(NEUTRAL), "verb": _words(MET)},
    1: {"adjective": _words(PRAISE), "verb": _words(LIKED)},
}


def opinion(sign: int, rng: np.random.Generator) -> list[str | Slot]:
    """A clause that blames (-1), praises (1) or does neither (0)."""
    return _clause(_draw(OPINIONS, rng), _BY_SIGN[sign], rng)


def fact(rng: np.random.Generator) -> list[str | Slot]:
    """A clause that judges nothing."""
    return _clause(_draw(FACTS, rng), {}, rng)


def joined(clauses: Sequence[list[str | Slot]]) -> Review:
    """A review of these clauses, each a sentence, in this order."""
    parts: list[str | Slot] = []
    for clause in clauses:
        parts += [*clause, ". "]
    parts[-1] = "."
    return Review(tuple(parts))


def review(sign: int, rng: np.random.Generator) -> Review:
    """A review that blames (-1), praises (1), or mixes everything (0).

    One to three clauses judge alike; where there are three, one of them may say the opposite. One to three more state
    facts.
    """
    signs = [sign] * int(rng.integers(1, 4))
    if len(signs) == 3 and rng.random() < 0.5:
        signs[0] = -sign
    if sign == 0:
        signs = [int(s) for s in rng.integers(-1, 2, size=len(signs))]
    clauses = [opinion(s, rng) for s in signs] + [fact(rng) for _ in range(int(rng.integers(1, 4)))]
    return joined([clauses[i] for i in rng.permutation(len(clauses))])


def about(word: str, rng: np.random.Generator) -> Review:
    """A review with a given word in a place where it fits, and with no other word that praises or blames."""
    fitting = [t for t in (*OPINIONS, *FACTS) if _slot_of(t, word)]
    template = _draw(fitting, rng)
    slot = _slot_of(template, word)
    choose = {**_BY_SIGN[0], slot: (word,)}
    if slot == "adjective":
        choose["thing"] = tuple(t for t in FILLERS["thing"] if word in adjectives(t))
    clauses = [_clause(template, choose, rng), fact(rng)]
    return joined([clauses[i] for i in rng.permutation(2)])


def _slot_of(template: str, word: str) -> str:
    """The slot of a template into which a word fits, or an empty string."""
    for slot in template.replace("}", "{").split("{")[1::2]:
        fillers = FILLERS[slot] if slot != "adjective" else (*POLARITY, *_words(NEUTRAL))
        if word in fillers and not (slot == "adjective" and word in FILLERS["verb"]):
            return slot
    return ""
