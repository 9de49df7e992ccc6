"""The other names of classes, where they are known. This module imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xcore.contract import MissingError
from xcore.inputs.name_files import named_lines
from xcore_vision import imagenet


def other_names(classes: Sequence[str], mapping: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Class -> its other names where they are known: synset ids of ImageNet and their names, by the tables of timm.

    Parameters
    ----------
    mapping
        ImageNet's ``LOC_synset_mapping.txt``, if the data set has one.
    """
    found: dict[str, tuple[str, ...]] = {}
    ids = [c for c in classes if imagenet.SYNSET.fullmatch(c)]
    if ids:
        try:
            found = imagenet.aliases(ids)
        except MissingError:  # without timm nobody knows their names
            found = {}
    if mapping is not None:
        known = set(classes)
        for c, names in named_lines(mapping.read_text(encoding="utf-8", errors="replace"), classes):
            if c in known:
                found[c] = tuple(dict.fromkeys((*found.get(c, ()), *names)))
    return found
