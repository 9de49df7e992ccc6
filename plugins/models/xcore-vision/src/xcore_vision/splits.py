"""Deals pictures to the splits: copies of a picture always to the same one, and most of a small class to be explained.

This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from xcore.contract import Split
from xcore.inputs.splits import MARKS as COMMON
from xcore.inputs.splits import SPLITS

MARKS: Mapping[str, Split] = {**COMMON, "testing": "heldout"}
"""The names that data sets of pictures give to splits -> the splits."""
NUMBERS: Mapping[str, Split] = {"0": "train", "1": "explain", "2": "heldout"}
"""The same for the numbers in tables, as in those of Waterbirds and CelebA."""
ENOUGH = 60
"""Pictures that are explained by default: a class has that many to explain before it is dealt in equal parts."""


class Item(NamedTuple):
    """A picture that is to be dealt."""

    label: str
    given: Split | None
    """The split that the data set names for it."""
    picture: int
    """Copies of one picture have the same number."""
    rank: bytes
    """A digest of its content: the order in which pictures are dealt."""


def shares(n: int, places: Sequence[Split] = SPLITS) -> dict[Split, int]:
    """How many of n different pictures of a class each of the splits gets.

    Equal parts, but of a small class most are explained: 60 %, until there are `ENOUGH`. Of what is left, two are held
    out before any is set aside for training.

    Examples
    --------
    >>> [tuple(shares(n).values()) for n in (1, 3, 5, 10, 20, 100, 300)]
    [(1, 0, 0), (2, 1, 0), (3, 2, 0), (6, 2, 2), (12, 4, 4), (60, 20, 20), (100, 100, 100)]
    """
    if len(places) == 1:
        return {places[0]: n}
    explained = max(-(-n // len(places)), min(-(-n * 3 // 5), ENOUGH))
    left = n - explained
    heldout = left if len(places) == 2 else min(left, max(2, -(-left // 2)))
    dealt: dict[Split, int] = {"explain": explained, "heldout": heldout}
    return dealt if len(places) == 2 else {**dealt, "train": left - heldout}


def deal(items: Sequence[Item], allowed: Mapping[Split | None, tuple[Split, ...]]) -> list[Split]:
    """The split of each item.

    It depends on the content of the pictures only, not on their names, their order or a seed. A split that leaves no
    choice is kept, even for copies.

    Parameters
    ----------
    allowed
        As `xcore.inputs.splits.places` gives it.
    """
    dealt: dict[int, Split] = {}
    for item in items:
        if len(allowed[item.given]) == 1:
            dealt.setdefault(item.picture, allowed[item.given][0])
    pools: dict[tuple[str, str], dict[int, bytes]] = {}
    for item in items:
        if len(allowed[item.given]) > 1:
            pool = pools.setdefault((item.label, item.given or ""), {})
            pool[item.picture] = min(item.rank, pool.get(item.picture, item.rank))
    options: dict[tuple[str, str], tuple[Split, ...]] = {
        (item.label, item.given or ""): allowed[item.given] for item in items
    }
    for key in sorted(pools):
        quota = shares(len(pools[key]), options[key])
        for picture in pools[key]:
            if picture in dealt and dealt[picture] in quota:
                quota[dealt[picture]] -= 1
        for picture in sorted(pools[key], key=lambda p: (pools[key][p], p)):
            if picture not in dealt:
                split = next((s for s, left in quota.items() if left > 0), options[key][0])
                dealt[picture] = split
                quota[split] -= 1
    return [dealt[i.picture] if dealt[i.picture] in allowed[i.given] else allowed[i.given][0] for i in items]
