"""Whether plain data, as read from JSON, has the declared shape: what is wrong with it is said with its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class ShapeError(ValueError):
    """The data has another shape; the message says where, and what is there instead."""


WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}


def check_shape(plain: Any, declared: Any, at: str = "", names: Mapping[str, Any] | None = None) -> None:
    """Raise `ShapeError` if plain data is not what a declared type looks like in JSON.

    Parameters
    ----------
    plain
        What `json.loads` gave.
    declared
        A dataclass (an object with its fields, of which those with a default may be missing), ``str``, ``int``,
        ``float``, ``bool``, ``Any``, a `Literal`, a union, a mapping with texts as keys, a list or a tuple of any
        length, or a mapping from keys to declared types: an object that has at least these keys.
    at
        The place of the data in the file, for the message.
    names
        What names in annotations stand for where they are imported for type checking only.
    """
    if isinstance(declared, Mapping):
        _check_keys(_expected(plain, dict, at), declared, at, names)
    elif dataclasses.is_dataclass(declared):
        _check_fields(_expected(plain, dict, at), declared, at, names)
    else:
        _check_type(plain, declared, at, names)


def _check_type(plain: Any, declared: Any, at: str, names: Mapping[str, Any] | None) -> None:
    origin, parts = get_origin(declared), get_args(declared)
    if declared is Any:
        return
    if origin in (Union, UnionType):
        _check_union(plain, parts, at, names)
    elif origin is Literal:
        if not any(type(plain) is type(part) and plain == part for part in parts):
            raise _wrong(plain, " or ".join(map(repr, parts)), at)
    elif declared is float:
        if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not _is_finite(plain):
            raise _wrong(plain, "a finite number", at)
    elif declared is int:
        if isinstance(plain, bool) or not isinstance(plain, int) or abs(plain) >= 2**63:
            raise _wrong(plain, WORDS[int], at)
    elif origin in (tuple, list, Sequence) or declared in (tuple, list):
        for i, entry in enumerate(_expected(plain, list, at)):
            if parts:
                check_shape(entry, parts[0], f"{at}[{i}]", names)
    elif origin is Mapping and parts[1] is Path:  # of files, a record keeps the names
        check_shape(plain, list[str], at)
    elif (origin or declared) in (dict, Mapping):
        for key, entry in _expected(plain, dict, at).items():
            if parts:
                check_shape(entry, parts[1], f"{at}.{key}", names)
    else:
        _expected(plain, declared, at)


def _check_union(plain: Any, parts: Sequence[Any], at: str, names: Mapping[str, Any] | None) -> None:
    if plain is None and NoneType in parts:
        return
    errors = []
    for part in parts:
        if part is NoneType:
            continue
        try:
            return check_shape(plain, part, at, names)
        except ShapeError as error:
            errors.append(error)
    raise errors[0]


def _check_keys(
    plain: Mapping[str, Any], declared: Mapping[str, Any], at: str, names: Mapping[str, Any] | None
) -> None:
    for key, kind in declared.items():
        if key not in plain:
            raise ShapeError(f"{_place(at)} has no {key!r}")
        check_shape(plain[key], kind, f"{at}.{key}" if at else key, names)


def _check_fields(plain: Mapping[str, Any], kind: Any, at: str, names: Mapping[str, Any] | None) -> None:
    declared, required = _fields(kind, tuple((names or {}).items()))
    for key in required:
        if key not in plain:
            raise ShapeError(f"{_place(at)} has no {key!r}")
    for key, entry in plain.items():
        if key in declared:
            check_shape(entry, declared[key], f"{at}.{key}" if at else key, names)


@cache
def _fields(kind: type, names: tuple[tuple[str, Any], ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Field -> its declared type, and the fields without a default."""
    hints = get_type_hints(kind, localns=dict(names))
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    required = tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: hints[f.name] for f in fields}, required


def _is_finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def _expected(plain: Any, kind: type, at: str) -> Any:
    if not isinstance(plain, kind):
        raise _wrong(plain, WORDS.get(kind, kind.__name__), at)
    return plain


def _wrong(plain: Any, wanted: str, at: str) -> ShapeError:
    shown = WORDS.get(type(plain), type(plain).__name__)
    if isinstance(plain, (str, int, float)) and not isinstance(plain, bool):
        shown = f"{str(plain)[:40]!r}" if isinstance(plain, str) else _short(plain)
    return ShapeError(f"{_place(at)} is {shown} instead of {wanted}")


def _short(number: float) -> str:
    return f"{number}" if not isinstance(number, int) or abs(number) < 10**20 else "a huge number"


def _place(at: str) -> str:
    return at[:80] or "the file"
