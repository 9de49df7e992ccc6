"""What audits of metrics found: read from beside the metric, judged by one rule, told in whole sentences.

The author of a metric ships the file ``audit.json`` in the package of the metric (`xcore.testing.audit` makes its
content, see docs/metrics-audit.md). It is found without importing the package, so that `xcore show` and the tables stay
fast. A metric without such a file, or without an entry in it, was not audited.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.files import read_json
from xcore.store.identity import AUDIT

if TYPE_CHECKING:
    from xcore.cards import Card

KINDS = {
    "directions": "directions or atoms in the activations of a layer",
    "maps": "maps of where concepts are",
    "pictures": "names with pictures",
}
"""Kind of explanation -> what its concepts are given by."""
COMPARISONS = {
    "random concepts": "random concepts of the same kind score worse",
    "shuffled importances": "the same concepts with shuffled importances score worse",
    "random weights": "the same explanation scores worse on a network with random weights",
    "another class": "the explanation of another class scores worse",
}
"""Comparison -> what should be so."""
PERTURBED = 20
"""Perturbed explanations beside which the right one is ranked."""
BEST_RANK = (PERTURBED + 1) / 4
"""The right explanation has to be among the best quarter, in the median over classifiers."""
FEWEST = 8
"""Fewer pairs (or classifiers) than this show nothing, whatever they say."""


def wilson(k: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of k of n > 0 independent pairs; a tie counts as half a pair."""
    z = 1.959963984540054
    middle = (k + z * z / 2) / (n + z * z)
    half = z * (k * (n - k) / n + z * z / 4) ** 0.5 / (n + z * z)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Share:
    """In how many pairs the better explanation had the better score; ties count half."""

    better: float
    of: int

    @property
    def text(self) -> str:
        """Such as ``26 of 28 (.93 [.77, .98])``."""
        if not self.of:
            return "0 of 0"
        low, high = wilson(self.better, self.of)
        return f"{self.better:g} of {self.of} ({self.better / self.of:.2f} [{low:.2f}, {high:.2f}])"


@dataclass(frozen=True)
class Audit:
    """What an audit found of one metric for one kind of explanation.

    Attributes
    ----------
    kind
        See `KINDS`.
    ways
        The variants of the scores, without names of layers and helpers.
    power
        Comparison (see `COMPARISONS`) -> in how many pairs the explanation scored better than its counterpart.
    ranks
        Of each wired classifier, the rank of the right explanation among it and its `PERTURBED` perturbed versions; 1
        is the best, and equal scores share their mean rank.
    level
        Of two random explanations, in how many pairs the first scored better: about one half.
    rejected
        (k, n): of n random concepts, the metric's own test called k significant at .05; None if it has no test.
    left_out
        Pairs in which the metric gave no value.
    """

    kind: str
    ways: tuple[str, ...] = ()
    power: Mapping[str, Share] = field(default_factory=dict)
    ranks: tuple[float, ...] = ()
    level: Share = Share(0, 0)
    rejected: tuple[int, int] | None = None
    left_out: int = 0

    @property
    def applies(self) -> bool:
        """Whether the metric gave values for this kind at all."""
        return any(share.of for share in self.power.values()) or bool(self.ranks)

    @property
    def median(self) -> float:
        """The median rank of the right explanation."""
        ranks = sorted(self.ranks)
        middle = len(ranks) // 2
        return ranks[middle] if len(ranks) % 2 else (ranks[middle - 1] + ranks[middle]) / 2

    def passed(self) -> dict[str, bool | None]:
        """Each part of the audit, and whether the metric passed it; None where too few pairs had a value.

        The rule was written down before any metric was audited. A comparison is passed if the lower end of the 95 %
        Wilson interval of its share is above one half; the rank, if the median is at most `BEST_RANK`; the level, if
        the interval of the share holds one half and, where the metric has a test of its own, the lower end of the
        interval of what it rejects is at most .05.
        """
        found: dict[str, bool | None] = {}
        for name in COMPARISONS:
            share = self.power.get(name, Share(0, 0))
            found[name] = wilson(share.better, share.of)[0] > 0.5 if share.of >= FEWEST else None
        found["right explanation"] = self.median <= BEST_RANK if len(self.ranks) >= FEWEST else None
        found["level"] = None
        if self.level.of >= FEWEST:
            low, high = wilson(self.level.better, self.level.of)
            honest = self.rejected is None or wilson(*self.rejected)[0] <= 0.05
            found["level"] = low <= 0.5 <= high and honest
        return found

    @property
    def failed(self) -> tuple[str, ...]:
        """The parts that the metric failed."""
        return tuple(name for name, well in self.passed().items() if well is False)

    @property
    def verdict(self) -> str:
        """``passed``, ``failed`` or ``not applicable``; ``too few pairs`` if no part could be judged."""
        if not self.applies:
            return "not applicable"
        if self.failed:
            return "failed"
        return "passed" if any(self.passed().values()) else "too few pairs"

    def sentences(self) -> Iterator[str]:
        """What was found, one sentence for each part."""
        if not self.applies:
            yield f"It gives no value for {KINDS[self.kind]}."
            return
        passed = self.passed()
        for name, claim in COMPARISONS.items():
            share = self.power.get(name, Share(0, 0))
            yield f"{_word(passed[name])}: {claim}: in {share.text} pairs."
        if self.ranks:
            yield (
                f"{_word(passed['right explanation'])}: among {PERTURBED} perturbed ones the right explanation of a "
                f"wired classifier has the median rank {self.median:g} of {PERTURBED + 1} over {len(self.ranks)} "
                f"classifiers (it should be at most {int(BEST_RANK)})."
            )
        else:
            yield "Not shown: no right explanation of a wired classifier had a value."
        own = ""
        if self.rejected is not None:
            k, n = self.rejected
            low, high = wilson(k, n)
            interval = f"{k / n:.2f} [{low:.2f}, {high:.2f}]"
            own = f", and its own test calls {k} of {n} random concepts significant at .05 ({interval})"
        yield f"{_word(passed['level'])}: of two random explanations the first scores better in {self.level.text}{own}."
        if self.left_out:
            yield f"In {self.left_out} further comparisons it gave no value."


def _word(passed: bool | None) -> str:
    return {True: "Passed", False: "FAILED", None: "Not shown (too few pairs)"}[passed]


def audits_of(card: Card) -> dict[str, Audit]:
    """Kind of explanation -> what the audit of a metric found; empty if it was not audited."""
    place = audit_file(card)
    if place is None or not place.is_file():
        return {}
    return {kind: from_plain(kind, plain) for kind, plain in _read(place)["metrics"].get(card.name, {}).items()}


def made_by(card: Card) -> str:
    """How the audit of a metric was made, in one sentence; "" if it was not audited."""
    place = audit_file(card)
    return "" if place is None or not place.is_file() else str(_read(place)["made"])


def audit_file(card: Card) -> Path | None:
    """Where the audit of a metric lies: in the package that its plugin brings; None for a plugin of one file."""
    spec = importlib.util.find_spec(card.module.partition(".")[0])
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) / AUDIT if folders else None


def _read(place: Path) -> dict[str, Any]:
    return read_json(place, ("made", "metrics"))


def from_plain(kind: str, plain: Mapping[str, Any]) -> Audit:
    """An audit from what JSON holds of it."""
    return Audit(
        kind,
        tuple(plain["ways"]),
        {name: Share(*pair) for name, pair in plain["power"].items()},
        tuple(plain["ranks"]),
        Share(*plain["level"]),
        tuple(plain["rejected"]) if plain["rejected"] else None,
        plain["left_out"],
    )


def to_plain(audit: Audit) -> dict[str, Any]:
    """An audit as JSON holds it."""
    return {
        "ways": list(audit.ways),
        "power": {name: [share.better, share.of] for name, share in audit.power.items()},
        "ranks": list(audit.ranks),
        "level": [audit.level.better, audit.level.of],
        "rejected": list(audit.rejected) if audit.rejected else None,
        "left_out": audit.left_out,
    }


def kinds_of(concepts: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The kinds that an explanation has, from the concepts of its record."""
    listed = list(concepts)
    has = {
        "directions": any(c.get("directions") or c.get("atom") is not None for c in listed),
        "maps": any(c.get("maps") is not None for c in listed),
        "pictures": any(c.get("samples") is not None or c.get("words") for c in listed),
    }
    return tuple(kind for kind, there in has.items() if there)


def failures(audits: Mapping[str, Audit], variant: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """What a metric failed for the kind of explanation that a score judged; empty if it failed nothing.

    Parameters
    ----------
    variant
        Of the score. Where the audit saw a variant with the same first word for one kind only, that is the kind.
    kinds
        Those of the explanation, see `kinds_of`.
    """
    first = first_word(variant)
    same = [a for a in audits.values() if first and first in {first_word(way) for way in a.ways}]
    judged = same[0] if len(same) == 1 else next((audits[k] for k in kinds if k in audits and audits[k].applies), None)
    return judged.failed if judged else ()


def first_word(variant: str) -> str:
    """The first word of a variant."""
    return variant.replace(",", " ").split(" ")[0]
