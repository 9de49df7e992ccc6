"""Errors of a device or a machine that ran out of memory, as one line that says what to do."""

from __future__ import annotations

SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "unable to allocate")


def out_of_memory(error: BaseException) -> str:
    """The line for an error that tells of missing memory; "" for any other.

    Libraries raise different errors for it, so that their words are read.
    """
    said = str(error).strip()
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if not kinds & {"OutOfMemoryError", "MemoryError"} and not any(sign in said.lower() for sign in SIGNS):
        return ""
    first = said.partition("\n")[0].partition(". ")[0] or type(error).__name__
    return (
        f"out of memory: {first} (let fewer samples pass through the classifier at once with --batch-size N, e.g. 8; "
        "generators and helper models have an option batch_size of their own, see `xcore show`)"
    )
