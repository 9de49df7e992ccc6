"""Names of classes: a data set, a classifier and a user may each call one class by another name.

A class is found by its name, in any case and with spaces, underscores or hyphens; by another name that the classifier
or the data set knows (`aliases`: synonyms, an ImageNet synset id); or by its index among the classifier's classes.
This module imports no torch.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from xcore.base.errors import UsageError, unknown

Aliases = Mapping[str, Sequence[str]]
"""Class name -> its other names."""


class ClassNames:
    """The classes of a classifier or of a data set, found by whatever they are called.

    Parameters
    ----------
    classes
        The names of the classes; those of a classifier in the order of its logits.
    aliases
        Their other names.
    indexed
        Whether an index names a class: it does for a classifier, whose classes are in the order of the logits.
    """

    def __init__(self, classes: Sequence[str], aliases: Aliases | None = None, *, indexed: bool = True) -> None:
        self.classes, self.aliases, self._indexed = classes, aliases or {}, indexed
        self._exact = set(classes)
        self._own, self._other = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for c in classes:
            self._own[plain_name(c)].append(c)
            for spelling in {plain_name(name) for name in self.aliases.get(c, ())}:
                self._other[spelling].append(c)

    def candidates(self, wanted: str) -> tuple[str, ...]:
        """The classes that may be meant, by the first of these rules that finds any.

        The very name; the name in another spelling; another name of a class; the index, which may be written 1, 1.0 or
        LABEL_1, and for two classes True or False. A folder is often called by
        two of them at once, such as ``n02391049_zebra`` or ``151.Black_capped_Vireo``, so its parts are tried, too.
        """
        if wanted in self._exact:
            return (wanted,)
        for spelling in map(plain_name, _parts(wanted)):
            for known in (self._own, self._other):
                if spelling in known:
                    return tuple(known[spelling])
        if self._indexed and (index := _index_in(wanted, len(self.classes))) is not None:
            return (self.classes[index],)
        return ()

    def find(self, wanted: str, *, what: str = "class", more: str = "") -> str:
        """The class that somebody calls `wanted`; see `find_class`."""
        found = self.candidates(wanted)
        if len(found) == 1:
            return found[0]
        if found:
            raise self._ambiguous(what, wanted, found)
        # Only other names that begin alike: thousands of synonyms would hide the names of the classes.
        start = plain_name(wanted)[:3]
        near = [
            name for c in self.classes for name in self.aliases.get(c, ()) if start and plain_name(name)[:3] == start
        ]
        raise unknown(what, wanted, [*self.classes, *near], more=more)

    def match(self, name: str, other_names: Sequence[str] = ()) -> str:
        """The class for one of a data set, which may have other names, too; "" if there is none.

        Raises
        ------
        UsageError
            Several classes are called so, and no other name says which.
        """
        several: tuple[str, ...] = ()
        for one in (name, *other_names):
            found = self.candidates(one)
            if len(found) == 1:
                return found[0]
            several = several or found
        if several:
            raise self._ambiguous("class", name, several)
        return ""

    def _ambiguous(self, what: str, wanted: str, found: Sequence[str]) -> UsageError:
        known = self.aliases
        shown = "; ".join(f"{c!r}" + (f" ({', '.join(known[c])})" if known.get(c) else "") for c in found)
        return UsageError(f"{what} {wanted!r} may be any of {len(found)} classes", f"name one of them: {shown}")


def find_class(
    wanted: str, classes: Sequence[str], aliases: Aliases | None = None, *, what: str = "class", more: str = ""
) -> str:
    """The class that somebody calls `wanted`.

    Parameters
    ----------
    wanted
        A name, another name, or an index such as "340".
    classes, aliases
        The classes, and their other names.
    what, more
        For the message: what is looked for, and what else may help.

    Raises
    ------
    UsageError
        No class is called so; the hint names the nearest one. Or several are; the hint lists them.
    """
    return ClassNames(classes, aliases).find(wanted, what=what, more=more)


def class_list(names: Sequence[str] | Mapping[Any, Any]) -> tuple[str, ...]:
    """Names in the order of the logits; a mapping index -> name (``id2label``) or name -> index is put in order.

    Raises
    ------
    UsageError
        The names are one string, or the indices of a mapping are not 0, 1, 2 and so on.
    """
    if isinstance(names, str):
        raise UsageError("the class names are one string", f"pass a list of names, such as {names.split(',')[:3]!r}")
    if not isinstance(names, Mapping):
        return tuple(str(name) for name in names)
    pairs = list(names.items())
    if not all(_is_index(key) for key, _ in pairs) and all(_is_index(value) for _, value in pairs):
        pairs = [(value, key) for key, value in pairs]
    indices = sorted(int(str(key)) for key, _ in pairs if _is_index(key))
    if indices != list(range(len(pairs))):
        raise UsageError(
            "the mapping of class names has other indices than 0, 1, 2, ...",
            "give {index: name} with one entry for each logit, or a list of names",
        )
    return tuple(str(name) for _, name in sorted(pairs, key=lambda pair: int(str(pair[0]))))


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Names in which those that appear several times, like ImageNet's two cranes, get their index added."""
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({i})" for i, name in enumerate(names))


def _is_index(value: object) -> bool:
    return not isinstance(value, bool) and str(value).isascii() and str(value).isdecimal()


def _index_in(wanted: str, n: int) -> int | None:
    """The index among n classes that a label is, as tables and transformers write them."""
    plain = wanted.strip().casefold()
    if n == 2 and plain in ("false", "true"):
        return int(plain == "true")
    found = re.fullmatch(r"(?:label[ _]?)?([0-9]+)(?:\.0)?", plain)
    return int(found[1]) if found and int(found[1]) < n else None


def one_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Label -> the most frequent of those that differ from it in upper and lower case, spaces or underscores only.

    Ties are in alphabetical order. Signs and digits count: C, C++, 1 and -1 are four labels.

    Examples
    --------
    >>> one_spelling({"very bad": 5, "VERY_BAD": 1, "good": 2})
    {'very bad': 'very bad', 'VERY_BAD': 'very bad', 'good': 'good'}
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[" ".join(re.split(r"[\s_]+", label.casefold().strip(" _")))].append(label)
    best = {one: min(same, key=lambda c: (-counts[c], c)) for same in groups.values() for one in same}
    return {label: best[label] for label in counts}


def plain_name(name: str) -> str:
    """A name without case, and with one space for everything that is no letter or digit."""
    return " ".join(re.findall(r"[^\W_]+", name.casefold()))


def _parts(name: str) -> list[str]:
    """A name, and what is left of it when a synset id or a number before it is taken for one name of its own."""
    synset = re.fullmatch(r"(n\d{8})(?:[\W_]+(.+))?", name)
    if synset:
        return [name, *(part for part in synset.groups() if part)]
    number = re.fullmatch(r"\d+[\W_]+(.+)", name)
    return [name, number[1]] if number else [name]


def counted(classes: Sequence[str], shown: int = 3) -> str:
    """Such as ``9 classes (zebra, lion, cow, ...)``, for the short text that stands for a classifier or a data set."""
    names = [*map(str, classes[:shown]), *(["..."] if len(classes) > shown else [])]
    return f"{len(classes)} class{'' if len(classes) == 1 else 'es'} ({', '.join(names)})"
