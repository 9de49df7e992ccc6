"""Which images are described: those of a split, and those of a group. Light at import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Dataset, MissingError, Samples, Split, UsageError, unknown

if TYPE_CHECKING:
    from xcore.session import Session

MOST_DRAWN = 64
"""Images that are looked through for those of a group, as a multiple of the images asked for."""
GROUPS_HINT = "give each picture one in the column group of metadata.csv, or name columns with --set folder.group=A,B"


def split_of(name: str) -> Split:
    """The split of a name such as train, test or val; raises `UsageError` for another one."""
    from xcore.inputs.splits import MARKS

    if name.lower() not in MARKS:
        raise unknown("split", name, ("train", "explain", "heldout", "test", "val"))
    return MARKS[name.lower()]


def chosen(data: Dataset, cls: str, split: Split, group: str, n: int, seed: int) -> Samples:
    """Up to n images of a class from a split, of one group if it is named.

    Parameters
    ----------
    data
        The data set, as the classifier sees it.
    group
        Name of the group, as ``Samples.meta["group"]`` has it; "" = all.

    Raises
    ------
    UsageError
        The split has no images of the class, the data set names no groups, or none of this name.
    """
    asked, seen = n, 0
    while True:
        found = data.samples(cls, split, asked, seed)
        if not group:
            rows = list(range(len(found)))
            break
        given = groups_of(found)
        if len(found) and not given:
            raise MissingError(f"the images of {cls!r} have no groups, so that {group!r} cannot be chosen", GROUPS_HINT)
        rows = [i for i, name in enumerate(given) if name == group]
        if len(rows) >= n or len(found) <= seen or len(found) < asked or asked >= MOST_DRAWN * n:
            break
        asked, seen = 2 * asked, len(found)
    if not len(found):
        raise UsageError(f"the split {split!r} has no images of class {cls!r}", "name another one with --split")
    if not rows:
        raise unknown(f"group of {cls!r} in the split {split!r}:", group, sorted(set(groups_of(found))))
    return found.take(rows[:n])


def groups_of(samples: Samples) -> list[str]:
    """The group of each sample, if the data set names groups; else an empty list."""
    given = samples.meta.get("group")
    if given is None or isinstance(given, str) or len(given) != len(samples):
        return []
    return [str(g.item() if hasattr(g, "item") else g) for g in given]


def no_other_data(session: Session, split: Split) -> None:
    """Raise `UsageError` if images are to be those of --heldout, which are of another data set."""
    if split == "heldout" and any(cell.heldout is not None for cell in session.cells):
        raise UsageError("--split heldout means the held-out images of --data", "name that data set with --data")
