"""Whether plain data, as read from JSON, has the declared shape: what is wrong with it is said with its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from math import isfinite
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class ShapeError(ValueError):
    """The data has another shape; the message says where, and what is there instead."""

    def __init__(self, wrong: str, at: str = "") -> None:
        place = at.removeprefix(".")[:80] or "the file"
        super().__init__(f"{place} {wrong}")
        self.wrong, self.at = wrong, at

    def inside(self, at: str) -> ShapeError:
        """The same error, with the place of the enclosing data in front of its own."""
        return ShapeError(self.wrong, at + self.at)


Check = Callable[[Any], None]
"""Raises `ShapeError` if plain data is not what was declared."""
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
    try:
        _check_of(declared, tuple((names or {}).items()))(plain)
    except ShapeError as error:
        raise error.inside(at) from None


Names = tuple[tuple[str, Any], ...]


def _check_of(declared: Any, names: Names) -> Check:
    return _of_keys(declared, names) if isinstance(declared, Mapping) else _of_type(declared, names)


@cache
def _of_type(declared: Any, names: Names) -> Check:
    """The check of a type. Each is made once, since a run has thousands of records with dozens of values each."""
    origin, parts = get_origin(declared), get_args(declared)
    if declared is Any:
        return lambda plain: None
    if dataclasses.is_dataclass(declared):
        return _of_fields(declared, names)
    if origin in (Union, UnionType):
        return _of_union([_check_of(part, names) for part in parts if part is not NoneType], NoneType in parts)
    if origin is Literal:
        return partial(_is_one_of, parts)
    if declared in (float, int):
        return _is_number if declared is float else _is_whole
    if origin in (tuple, list, Sequence) or declared in (tuple, list):
        return _of_list(_check_of(parts[0], names) if parts else None)
    if origin is Mapping and parts[1] is Path:  # of files, a record keeps the names
        return _of_type(list[str], names)
    if (origin or declared) in (dict, Mapping):
        return _of_mapping(_check_of(parts[1], names) if parts else None)
    return partial(_is_a, declared)


def _is_a(kind: type, plain: Any) -> None:
    if not isinstance(plain, kind):
        raise _wrong(plain, WORDS.get(kind, kind.__name__))


def _is_one_of(parts: Sequence[Any], plain: Any) -> None:
    if not any(type(plain) is type(part) and plain == part for part in parts):
        raise _wrong(plain, " or ".join(map(repr, parts)))


def _is_number(plain: Any) -> None:
    if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not _is_finite(plain):
        raise _wrong(plain, "a finite number")


def _is_whole(plain: Any) -> None:
    if isinstance(plain, bool) or not isinstance(plain, int) or abs(plain) >= 2**63:
        raise _wrong(plain, WORDS[int])


def _of_union(checks: Sequence[Check], optional: bool) -> Check:
    def union(plain: Any) -> None:
        if plain is None and optional:
            return
        errors = []
        for check in checks:
            try:
                return check(plain)
            except ShapeError as error:
                errors.append(error)
        raise errors[0]

    return union


def _of_list(check: Check | None) -> Check:
    def entries(plain: Any) -> None:
        _is_a(list, plain)
        if check is not None:
            for i, entry in enumerate(plain):
                try:
                    check(entry)
                except ShapeError as error:
                    raise error.inside(f"[{i}]") from None

    return entries


def _of_mapping(check: Check | None) -> Check:
    def entries(plain: Any) -> None:
        _is_a(dict, plain)
        if check is not None:
            for key, entry in plain.items():
                try:
                    check(entry)
                except ShapeError as error:
                    raise error.inside(f".{key}") from None

    return entries


def _of_keys(declared: Mapping[str, Any], names: Names) -> Check:
    checks = {key: _check_of(kind, names) for key, kind in declared.items()}

    def keys(plain: Any) -> None:
        _is_a(dict, plain)
        _at_keys(plain, checks, checks)

    return keys


def _of_fields(kind: Any, names: Names) -> Check:
    made: list[tuple[dict[str, Check], tuple[str, ...]]] = []

    def fields(plain: Any) -> None:
        _is_a(dict, plain)
        if not made:  # only now: a field may be of the same type
            made.append(_fields(kind, names))
        _at_keys(plain, *made[0])

    return fields


def _fields(kind: type, names: Names) -> tuple[dict[str, Check], tuple[str, ...]]:
    """The check of each field by its name, and the names of the fields without a default."""
    hints = get_type_hints(kind, localns=dict(names))
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    required = tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: _check_of(hints[f.name], names) for f in fields}, required


def _at_keys(plain: Mapping[str, Any], checks: Mapping[str, Check], required: Iterable[str]) -> None:
    """Check the entries of these keys; others may be there, too."""
    for key in required:
        if key not in plain:
            raise ShapeError(f"has no {key!r}")
    for key, entry in plain.items():
        try:
            if key in checks:
                checks[key](entry)
        except ShapeError as error:
            raise error.inside(f".{key}") from None


def _is_finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def _wrong(plain: Any, wanted: str) -> ShapeError:
    shown = WORDS.get(type(plain), type(plain).__name__)
    if isinstance(plain, (str, int, float)) and not isinstance(plain, bool):
        shown = f"{str(plain)[:40]!r}" if isinstance(plain, str) else _short(plain)
    return ShapeError(f"is {shown} instead of {wanted}")


def _short(number: float) -> str:
    return f"{number}" if not isinstance(number, int) or abs(number) < 10**20 else "a huge number"
