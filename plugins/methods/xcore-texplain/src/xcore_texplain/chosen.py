"""Which images are described: those of a split, and those of a group. Light at import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore.contract import Split, UsageError

if TYPE_CHECKING:
    from xcore.session import Session


def no_other_data(session: Session, split: Split) -> None:
    """Raise `UsageError` if images are to be those of --heldout, which are of another data set."""
    if split == "heldout" and any(cell.heldout is not None for cell in session.cells):
        raise UsageError("--split heldout means the held-out images of --data", "name that data set with --data")
