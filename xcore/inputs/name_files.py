"""Files that say what classes are called: a name, or several, for each class. This module imports no torch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xcore.base.errors import UsageError, unknown
from xcore.inputs.encodings import utf8_text
from xcore.inputs.paths import existing_file
from xcore.inputs.tables import separator_of

Named = tuple[str, tuple[str, ...]]
"""A class of the data, and its names."""


def names_from_file(path: str, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Class of the data -> its names, the one to be shown first, for the classes that the file knows.

    Parameters
    ----------
    path
        A .json file {class: name} or {class: [names]}, a .csv or .tsv file with a class and a name in each row, or a
        .txt file with ``class name, other name`` on each line; a list in JSON, or lines that begin with no class, are
        the names of the classes 0, 1 and so on.
    classes
        The classes of the data.

    Raises
    ------
    UsageError
        There is no such file, it cannot be read, it names a class twice and not alike, or it knows none of the classes.
    """
    file = existing_file(path, "file of class names")
    try:
        text = utf8_text(file)
        if file.suffix.lower() in (".csv", ".tsv"):
            found = _once(_rows(text, separator_of(file, text.partition("\n")[0])))
        elif file.suffix.lower() == ".json":
            found = _json(text)
        else:
            found = _once(named_lines(text, classes))
    except (ValueError, csv.Error) as error:
        raise UsageError(f"no class names can be read from {path!r}: {error}") from error
    known = {name: found[name] for name in classes if any(found.get(name, ()))}
    if not known:
        first = next(iter(found), "")
        raise unknown(f"class in {path!r}:", first, classes) if first else UsageError(f"{path!r} holds no class names")
    return known


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Class -> its names; raises `ValueError` for a class that has other names in one place than in another."""
    found: dict[str, Any] = {}
    for cls, names in pairs:
        if found.setdefault(cls, names) != names:
            raise ValueError(f"class {cls!r} is in it twice, with different names")
    return found


def _json(text: str) -> dict[str, tuple[str, ...]]:
    plain: Any = json.loads(text, object_pairs_hook=_once)
    if isinstance(plain, list):
        plain = dict(enumerate(plain))
    if not isinstance(plain, Mapping):
        raise ValueError("neither an object nor a list")
    return {
        str(key): tuple(map(str, value)) if isinstance(value, list) else (str(value),) for key, value in plain.items()
    }


def _rows(text: str, separator: str) -> list[Named]:
    rows = csv.reader(text.splitlines(), delimiter=separator)
    return [(row[0].strip(), tuple(cell.strip() for cell in row[1:] if cell.strip())) for row in rows if len(row) > 1]


def named_lines(text: str, classes: Sequence[str]) -> list[Named]:
    """Lines that begin with a class; or lines of names, those of the classes 0, 1 and so on."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.split(None, 1) for line in lines]
    if any(len(pair) == 2 and pair[0] in classes for pair in pairs):
        return [(pair[0], _synonyms(pair[1])) for pair in pairs if len(pair) == 2]
    return [(str(i), _synonyms(line)) for i, line in enumerate(lines)]


def _synonyms(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
