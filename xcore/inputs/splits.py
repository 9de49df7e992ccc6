"""The splits of a data set: the names that sources give them, and where samples go if a source lacks one.

This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping

from xcore.base.errors import unknown
from xcore.contract.types import Split

SPLITS: tuple[Split, ...] = ("explain", "heldout", "train")
MARKS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "explain",
    "valid": "explain",
    "val": "explain",
    "dev": "explain",
    "explain": "explain",
    "test": "heldout",
    "heldout": "heldout",
}
"""The names that data sets give to splits -> the splits."""


def split_of(name: str) -> Split:
    """The split of a name such as train, test or val; raises `UsageError` for another one."""
    if name.lower() not in MARKS:
        raise unknown("split", name, ("train", "explain", "heldout", "test", "val"))
    return MARKS[name.lower()]


def places(marks: set[Split | None]) -> Mapping[Split | None, tuple[Split, ...]]:
    """Split that a data set names (None: it names none) -> the splits that its samples are dealt to.

    If a data set has only one of the splits for validation and test, its samples are dealt to "explain" and "heldout".
    If it has training samples only, or none for training, all samples are dealt.

    Parameters
    ----------
    marks
        The splits that the data set names.
    """
    named = marks - {None}
    rest = tuple(s for s in ("explain", "heldout") if s in named)
    if not rest or "train" not in named:
        return dict.fromkeys([None, *named], SPLITS)
    found: dict[Split | None, tuple[Split, ...]] = {None: SPLITS, "train": ("train",)}
    return found | {s: (s,) if len(rest) == 2 else ("explain", "heldout") for s in rest}
