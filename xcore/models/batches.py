"""How many samples pass through a classifier at once: one setting for the whole process, made by ``--batch-size``.

It identifies no result: results do not depend on it but for their last bits, as on the number of threads. It is
recorded with them, like the device.
"""

from __future__ import annotations

from typing import Any

from xcore.base.errors import UsageError

_size: int | None = None


def current() -> int | None:
    """Samples in each forward pass of a classifier; None = as each classifier has it."""
    return _size


def use(size: int | None) -> None:
    """Choose the size for classifiers that are made from now on; raises `UsageError` if it is less than 1."""
    global _size
    if size is not None and size < 1:
        raise UsageError(f"the batch size is {size}", "choose at least 1, e.g. --batch-size 8")
    _size = size


def give(classifier: Any) -> bool:
    """Give the chosen size to a classifier; False if one is chosen and the classifier has none to set."""
    if _size is None:
        return True
    if not hasattr(classifier, "batch_size"):
        return False
    classifier.batch_size = _size
    return True


def no_batch_size(classifier: Any) -> str:
    """What a user is told of a classifier without a batch size, by its reference."""
    return f"{classifier} has no batch size to set: --batch-size changes nothing"
