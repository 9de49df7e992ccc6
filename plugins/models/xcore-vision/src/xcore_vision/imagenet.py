"""ImageNet's classes: the order of the logits, the synset ids, and every name of a class in English.

They are read from the text files that timm ships, without importing timm. This module imports no torch.
"""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from xcore.contract import MissingError
from xcore.inputs.class_names import numbered, plain_name

SYNSET = re.compile(r"n\d{8}")
"""What a synset id of WordNet's nouns looks like."""

TORCHVISION = {"n02012849": ("crane bird",), "n03710721": ("maillot tank suit",)}
"""What torchvision calls the two classes that share their first name with another one."""


@cache
def synsets() -> tuple[str, ...]:
    """The synset ids of ImageNet's 1000 classes, in the order of the logits: ``("n01440764", ...)``.

    Raises
    ------
    MissingError
        timm is not installed, or has no such file.
    """
    return tuple(_lines("imagenet_synsets.txt"))


@cache
def classes() -> tuple[str, ...]:
    """Short names of the 1000 classes in the order of the logits: ``("tench", ..., "toilet tissue")``.

    Each is the first name of its synset. The two cranes and the two maillots get their index added, so that nobody
    explains the machine for the bird: ``"crane (134)"`` and ``"crane (517)"``.
    """
    return numbered([names_of(i)[0] for i in range(len(synsets()))])


def names_of(which: int | str) -> tuple[str, ...]:
    """All names of a class, the usual one first: 340 or ``"n02391049"`` -> ``("zebra",)``.

    Parameters
    ----------
    which
        The index of a class among the 1000, or any synset id of the 21,843 of the full ImageNet. An id that is not
        among them has no names: ().
    """
    return _names().get(synsets()[which] if isinstance(which, int) else which, ())


def aliases(class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Other names of classes: their synset id and all of their synonyms.

    Parameters
    ----------
    class_names
        Names of classes: all 1000 in the order of the logits, as `classes` names them or otherwise; or some of them,
        by a synset id or by a name that belongs to one of the 1000 only.

    Returns
    -------
    Class name -> its other names. Names that ImageNet does not know, or knows for several classes, are left out.
    """
    if is_imagenet(class_names):
        known: Mapping[str, str] = dict(zip(class_names, synsets(), strict=True))
    else:
        by_name = _by_name()
        known = {name: name if SYNSET.fullmatch(name) else by_name.get(plain_name(name), "") for name in class_names}
    found = {
        name: (synset, *names_of(synset), *TORCHVISION.get(synset, ()))
        for name, synset in known.items()
        if names_of(synset)
    }
    return {name: tuple(other for other in others if other != name) for name, others in found.items()}


def is_imagenet(class_names: Sequence[str]) -> bool:
    """Whether these are names of the 1000 classes in the order of the logits: more than half are one of their class."""
    if len(class_names) != len(synsets()):
        return False
    agree = sum(
        plain_name(name) in {plain_name(other) for other in (synset, *names_of(synset), *_all_names(synset))}
        for name, synset in zip(class_names, synsets(), strict=True)
    )
    return agree > len(class_names) / 2


def _all_names(synset: str) -> tuple[str, ...]:
    """The list of all names as one name, as in ``"tench, Tinca tinca"``."""
    return (", ".join(names_of(synset)),)


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    pairs = (line.partition("\t") for line in _lines("imagenet_synset_to_lemma.txt"))
    return {synset: tuple(name.strip() for name in names.split(",") if name.strip()) for synset, _, names in pairs}


@cache
def _by_name() -> Mapping[str, str]:
    """Plain name -> the synset id of the one class among the 1000 that is called so.

    A name that is the first one of a class belongs to it, whatever else is also called so: "harp" is the instrument.
    """
    first, other = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for synset, short in zip(synsets(), classes(), strict=True):
        names = names_of(synset)
        for name in (names[0], short):
            first[plain_name(name)].add(synset)
        for name in (*names, *_all_names(synset), *TORCHVISION.get(synset, ())):
            other[plain_name(name)].add(synset)
    found = {**other, **first}
    return {name: next(iter(ids)) for name, ids in found.items() if len(ids) == 1}


def _lines(name: str) -> list[str]:
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise MissingError("timm, which knows the names of ImageNet's classes, is not installed", "pip install timm")
    path = Path(spec.origin).parent / "data" / "_info" / name
    if not path.is_file():
        raise MissingError(f"the installed timm has no file {name}", "install timm 1.0 or a later version that has it")
    return path.read_text(encoding="utf-8").splitlines()
