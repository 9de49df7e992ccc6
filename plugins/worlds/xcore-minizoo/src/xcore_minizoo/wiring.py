"""Expressions over factor values, from which the classifiers `minizoo/wired:EXPRESSION` are composed.

An expression says how a score follows from what a picture shows::

    pattern=striped                             a value of a factor: 1 if the picture shows it, else 0
    background=grass/sand                       one of several values
    !a    a & b    a ^ b    a | b    (a)        not, and, exactly one of the two, or; in the order in which they bind
    a + 0.5*b - c                               a sum of such terms, with weights
    shape=horse with colour=brown               what stands after "with" is no part of the score: see `Wiring.decoy`

A picture is of the class "wired" if the score is above the threshold: the middle between the least and the greatest
score that a scene can have, or, where scenes have that score too, halfway from there to the next greater one.

The same expression is evaluated on true factors (0 or 1) and on what an oracle reads (from 0 to 1): not a = 1 - a,
a and b = a b, a or b = a + b - a b, exactly one of a and b = a + b - 2 a b. Our own parser reads it; nothing is
executed as code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcore.contract import UsageError, digest, file_digest, unknown
from xcore_minizoo.collections import SPLITS, Collection
from xcore_minizoo.scenes import NONE, VALUES, Bools, pick, space
from xcore_minizoo.world import Scene

CLASSES = ("wired", "rest")
ORACLE = Path(__file__).parent / "weights" / "oracle-b"
"""The oracle that all wired classifiers share."""
RAREST = 1 / 60
"""Each class has at least this share of all scenes, so that a truth table can be measured on pictures of it."""
DECOY_RATE = 0.9
"""How often pictures of the class "wired" show the decoy in the splits that methods see."""
LONGEST = 300
"""Characters of an expression."""
SWING = 8.0
"""The logit of "wired" rises by this much from the least to the greatest score."""

Reader = Callable[["Value"], Any]


# --- what an expression is made of ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """The picture shows one of these values of a factor."""

    factor: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.factor}={'/'.join(self.values)}"


@dataclass(frozen=True)
class Not:
    """The part is not true."""

    part: Part

    def __str__(self) -> str:
        return f"!{_bracketed(self.part)}"


@dataclass(frozen=True)
class Both:
    """Two parts joined by ``&`` (and), ``^`` (exactly one of the two) or ``|`` (or)."""

    sign: str
    left: Part
    right: Part

    def __str__(self) -> str:
        same = isinstance(self.left, Both) and self.left.sign == self.sign
        left = str(self.left) if same else _bracketed(self.left)
        return f"{left} {self.sign} {_bracketed(self.right)}"


Part = Value | Not | Both


def _bracketed(part: Part) -> str:
    return f"({part})" if isinstance(part, Both) else str(part)


def evaluate(part: Part, read: Reader) -> Any:
    """The truth of a part, from 0 to 1, as an array of what `read` gives for its values."""
    if isinstance(part, Value):
        return read(part)
    if isinstance(part, Not):
        return 1 - evaluate(part.part, read)
    a, b = evaluate(part.left, read), evaluate(part.right, read)
    return a * b if part.sign == "&" else a + b - a * b if part.sign == "|" else a + b - 2 * a * b


def values_in(part: Part) -> Iterator[Value]:
    """The values that a part names, in the order in which it is written."""
    if isinstance(part, Value):
        yield part
    elif isinstance(part, Not):
        yield from values_in(part.part)
    else:
        yield from values_in(part.left)
        yield from values_in(part.right)


@dataclass(frozen=True)
class Wiring:
    """An expression: a weighted sum of terms, and possibly a decoy.

    Parameters
    ----------
    terms
        Weights and parts. The first weight is positive.
    decoy
        A factor value that the score does not depend on. In the splits that methods see, nine in ten pictures of the
        class "wired" show it; in the held-out split it is independent of the class.
    """

    terms: tuple[tuple[float, Part], ...]
    decoy: Value | None = None

    @classmethod
    def parse(cls, text: str) -> Wiring:
        """Read an expression.

        Raises
        ------
        UsageError
            It cannot be read, names a factor or value that does not exist, or one of its classes is too rare. The
            message says at which character, counted from 1.
        """
        if len(text) > LONGEST:
            raise UsageError(
                f"the expression {text[:40]!r}... has {len(text)} characters", f"at most {LONGEST} are read"
            )
        made = _Parser(text).whole()
        _check(made, text)
        return made

    def __str__(self) -> str:
        """The expression in its one canonical form."""
        out = ""
        for weight, part in self.terms:
            sign = "-" if weight < 0 else "+"
            shown = str(part) if len(self.terms) == 1 and weight == 1 else _bracketed(part)
            times = f"{abs(weight):g}*" if abs(weight) != 1 else ""
            out += f" {sign} {times}{shown}" if out else f"{times}{shown}"
        return f"{out} with {self.decoy}" if self.decoy else out

    @property
    def reference(self) -> str:
        """The reference of the classifier and of the data set."""
        return f"minizoo/wired:{self}"

    @property
    def values(self) -> tuple[Value, ...]:
        """The values that the score depends on, in the order in which they are written."""
        return tuple(dict.fromkeys(v for _, part in self.terms for v in values_in(part)))

    def score(self, read: Reader) -> Any:
        """The score, as an array of what `read` gives for a value: how true it is that a picture shows it, 0 to 1."""
        return sum(weight * evaluate(part, read) for weight, part in self.terms)

    def logit(self, read: Reader) -> Any:
        """The logit of the class "wired": the score less the threshold, scaled; that of "rest" is its negative.

        It rises by `SWING` from the least to the greatest score that a scene can have.
        """
        least, threshold, greatest = _bounds(self)
        return SWING * (self.score(read) - threshold) / (greatest - least)


# --- reading --------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<name>[A-Za-z_]+)|(?P<sign>[=/!&^|()*+-])|(?P<bad>\S))")


class _Parser:
    """Reads an expression from left to right, by one function for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(m.lastgroup or "", m.group().strip(), m.start(m.lastgroup or 0) + 1) for m in _tokens(text)]
        self.at = 0

    def whole(self) -> Wiring:
        terms = [self.term(1.0)]
        while self.sign() in ("+", "-"):
            terms.append(self.term(1.0 if self.take() == "+" else -1.0))
        decoy = None
        if self.here[:2] == ("name", "with"):
            self.take()
            decoy = self.value()
        if self.here[0]:
            self.refuse("one of & ^ | + -, the word with, or the end")
        return Wiring(tuple(terms), decoy)

    def term(self, weight: float) -> tuple[float, Part]:
        if self.here[0] == "number":
            at = self.here[2]
            weight *= float(self.take())
            if weight == 0:
                raise UsageError(f"the weight at character {at} of {self.text!r} is 0", "leave the term out")
            if self.sign() != "*":
                self.refuse("* after the weight")
            self.take()
        return weight, self.joined("|")

    def joined(self, sign: str) -> Part:
        """Parts that are joined by one sign; ``&`` binds most tightly, then ``^``, then ``|``."""
        inner = {"|": "^", "^": "&"}.get(sign)
        part = self.joined(inner) if inner else self.factor()
        while self.sign() == sign:
            self.take()
            part = Both(sign, part, self.joined(inner) if inner else self.factor())
        return part

    def factor(self) -> Part:
        if self.sign() == "!":
            self.take()
            return Not(self.factor())
        if self.sign() == "(":
            opened = self.here[2]
            self.take()
            part = self.joined("|")
            if self.sign() != ")":
                self.refuse(f"one of & ^ | or the ) to the ( at character {opened}")
            self.take()
            return part
        return self.value()

    def value(self) -> Value:
        kind, factor, at = self.here
        if kind != "name" or factor == "with":
            self.refuse("FACTOR=VALUE, such as pattern=striped")
        if factor not in VALUES:
            raise unknown(f"factor at character {at} of {self.text!r}:", factor, VALUES)
        self.take()
        if self.sign() != "=":
            self.refuse(f"= and a value of {factor}")
        self.take()
        values = [self.name_of_value(factor)]
        while self.sign() == "/":
            self.take()
            values.append(self.name_of_value(factor))
        return Value(factor, tuple(sorted(set(values), key=VALUES[factor].index)))

    def name_of_value(self, factor: str) -> str:
        kind, value, at = self.here
        if kind != "name":
            self.refuse(f"a value of {factor}")
        if value not in VALUES[factor]:
            raise unknown(f"value of {factor} at character {at} of {self.text!r}:", value, VALUES[factor])
        return self.take()

    @property
    def here(self) -> tuple[str, str, int]:
        """Kind, text and character of the next token; ("", "", end) after the last one."""
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "", len(self.text) + 1)

    def sign(self) -> str:
        """The next token if it is a sign, else ""."""
        kind, text, _ = self.here
        return text if kind == "sign" else ""

    def take(self) -> str:
        text = self.here[1]
        self.at += 1
        return text

    def refuse(self, wanted: str) -> None:
        _, found, at = self.here
        shown = repr(found) if found else "the end"
        raise UsageError(
            f"cannot read the expression {self.text!r} at character {at}: found {shown} instead of {wanted}",
            "e.g. pattern=striped & colour=black, or shape=horse + 0.5*background=grass",
        )


def _tokens(text: str) -> Iterator[re.Match[str]]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "bad":
            raise UsageError(
                f"cannot read the expression {text!r} at character {match.start('bad') + 1}: {match['bad']!r}",
                "the signs are = / ! & ^ | ( ) * + -",
            )
        yield match


def _check(wiring: Wiring, text: str) -> None:
    """Refuse an expression whose classes cannot be told apart in the painted world, and a decoy that is none."""
    factors = {v.factor for v in wiring.values}
    decoy = wiring.decoy
    if decoy and decoy.factor in factors:
        raise UsageError(
            f"the expression {text!r} uses {decoy.factor}, so {decoy} cannot be a decoy",
            f"name a factor that is not used: {', '.join(f for f in VALUES if f not in factors)}",
        )
    if decoy and ((decoy.factor == "pattern" and "colour" in factors) or len(decoy.values) > 1):
        raise UsageError(
            f"{decoy} cannot be a decoy in {text!r}", "name one value of a factor that does not change what is used"
        )
    share = frequency(wiring)
    if not RAREST <= share <= 1 - RAREST:
        rare = CLASSES[0] if share < RAREST else CLASSES[1]
        raise UsageError(
            f"{share:.2%} of all scenes are of the class 'wired' of {text!r}",
            f"choose an expression by which at least {RAREST:.1%} are of the class {rare!r}",
        )


# --- scenes ---------------------------------------------------------------------------------------------------------


def true_value(shown: Mapping[str, Bools], value: Value) -> NDArray[np.float64]:
    """1 where scenes show a value, else 0, as a `Reader` of true factors (see `xcore_minizoo.scenes.indicators`)."""
    held: Bools = np.any([shown[f"{value.factor}={v}"] for v in value.values], axis=0)
    return held.astype(np.float64)


def members(wiring: Wiring, shown: Mapping[str, Bools]) -> Bools:
    """Which scenes are of the class "wired", (n,), by the values that they show."""
    score: NDArray[np.float64] = wiring.score(lambda value: true_value(shown, value))
    return np.asarray(score > _bounds(wiring)[1])


@cache
def _bounds(wiring: Wiring) -> tuple[float, float, float]:
    """The least score of a scene, the threshold of the class "wired", and the greatest score."""
    shown, _ = space()
    found = np.unique(np.round(wiring.score(lambda value: true_value(shown, value)), 9))
    least, greatest = float(found[0]), float(found[-1])
    if least == greatest:
        raise UsageError(f"by {str(wiring)!r} all scenes have the same score", "choose an expression that varies")
    middle = (least + greatest) / 2
    if np.abs(found - middle).min() < 1e-6:
        middle = (middle + float(found[found > middle + 1e-6][0])) / 2
    return least, middle, greatest


def frequency(wiring: Wiring) -> float:
    """The share of all scenes that are of the class "wired"."""
    shown, weights = space()
    return float(weights[members(wiring, shown)].sum())


@cache
def _cumulative(wiring: Wiring, cls: str) -> NDArray[np.float64]:
    """The cumulative frequencies of all scenes within a class."""
    shown, weights = space()
    total = np.cumsum(weights * (members(wiring, shown) == (cls == CLASSES[0])))
    return np.asarray(total / total[-1])


def with_value(scene: Scene, value: Value) -> Scene:
    """The scene with a value of a factor put in; a colour takes the place of the first one."""
    chosen = value.values[0]
    if value.factor == "colour":
        return scene if chosen in scene.colours else replace(scene, colours=(chosen, *scene.colours[1:]))
    if value.factor == "pattern":
        rest = scene.colours[1:] or tuple(c for c in ("white", "black") if c != scene.colours[0])[:1]
        return replace(scene, pattern=chosen, colours=scene.colours[:1] + (rest if chosen != "plain" else ()))
    if value.factor == "shape":
        return replace(scene, shape=chosen)
    if value.factor == "background":
        return replace(scene, background=chosen)
    return replace(scene, object=None if chosen == NONE else chosen)


@dataclass(frozen=True)
class WiredCollection(Collection):
    """The scenes of a wiring. A request for all classes alternates between them, so both are equally frequent."""

    def draw_scene(self, cls: str | None, split: str, index: int, seed: int) -> tuple[Scene, int, tuple[int, ...]]:
        """The index-th scene of a class (None = alternating) in a split, its label, and the seed to paint it with."""
        if cls is not None:
            return super().draw_scene(cls, split, index, seed)
        label, key = index % 2, (seed, SPLITS.index(split), 0, index)
        return self.scene(self.classes[label], split, np.random.default_rng([*key, 909])), label, key


def collection(wiring: Wiring) -> WiredCollection:
    """Scenes of the classes "wired" and "rest". All factors are independent, but for a decoy (see `Wiring`)."""

    def scene(cls: str, split: str, rng: np.random.Generator) -> Scene:
        made = pick(rng, _cumulative(wiring, cls))
        shows = rng.random() < DECOY_RATE
        if wiring.decoy and cls == CLASSES[0] and split != "heldout" and shows:
            return with_value(made, wiring.decoy)
        return made

    return WiredCollection(wiring.reference, CLASSES, scene)


def fingerprint(options: None, argument: str) -> str:
    """What identifies a wired classifier: its expression, without a decoy, and the oracle's weights."""
    return digest([str(replace(Wiring.parse(argument), decoy=None)), file_digest(ORACLE / "model.safetensors")])


def data_fingerprint(options: None, argument: str) -> str:
    """What identifies the data set of an expression."""
    return digest(str(Wiring.parse(argument)))
