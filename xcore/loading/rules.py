"""What may stand on a card: each fault is one line with the nearest right value."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from xcore.base.errors import UsageError, unknown
from xcore.cards import Card
from xcore.contract.hooks import QUESTIONS, Register
from xcore.contract.samples import Modality

API = 1
"""The version of the hooks and the cards. A plugin states it, or the range that it was written for."""
RENDERINGS = ("as-is", "crop", "segment", "generated")
"""Renderings of random sets that are built in; see `xcore.run.random_sets`."""
NEEDS = ("gradients", "activations", "generator", "concepts", "vocabulary")
ACROSS = ("seed", "classifier")
MEANT = {
    **dict.fromkeys(("kinds", "kind", "reads", "inputs"), "modalities"),
    **dict.fromkeys(("description", "help", "doc"), "summary"),
    **dict.fromkeys(("requires", "requirements"), "needs"),
    **dict.fromkeys(("models", "helpers"), "uses"),
}
"""Names that other libraries have for a field, which are not spelt like it."""
ONLY_FOR = {
    **dict.fromkeys(("across", "caveat", "column", "details"), ("metric",)),
    **dict.fromkeys(("role", "default"), ("model",)),
    **dict.fromkeys(("question", "limits", "covers", "measured"), ("explainer",)),
    "own_data": ("model", "generator"),
    "call": ("command",),
}
"""Field -> the kinds of components that have it; the others are for all."""
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_NOT_IN_NAMES = re.compile(r"[\s:,=]+")
_SIGNATURE = inspect.signature(Register.__call__)
FIELDS = tuple(_SIGNATURE.parameters)[1:]
"""All arguments of `register`."""


def card_of(kind: str, given: Sequence[Any], fields: dict[str, Any], distribution: str, version: str) -> Card:
    """The card of one call of `register`; raises `UsageError` for the first thing on it that is not right.

    Parameters
    ----------
    kind
        The kind of component that its hook registers.
    given, fields
        The arguments as the plugin passed them.
    """
    for key in fields:
        if key not in FIELDS:
            if key in MEANT:
                raise UsageError(f"unknown field {key!r}", f"did you mean {MEANT[key]!r}?")
            raise unknown("field", key, FIELDS)
    if len(given) > 2:
        raise UsageError("only its name and its factory are told apart by their order", "write summary='...'")
    plain = dict(zip(("name", "factory"), given, strict=False)) | fields
    for key, example in (("name", "'mine'"), ("factory", "'my_package.method:Mine'"), ("summary", "'what it does'")):
        if key not in plain:
            raise UsageError(f"{key} is missing", f"write {key}={example}")
    _check_api(plain.pop("api", _SIGNATURE.parameters["api"].default))
    for key, value in plain.items():
        if kind not in ONLY_FOR.get(key, (kind,)):
            raise UsageError(f"{key} is for {' and '.join(f'{k}s' for k in ONLY_FOR[key])}", "leave it out")
        plain[key] = CHECKS[key](key, value)
    if kind == "model" and not plain.get("role"):
        raise UsageError("role is missing: a helper model plays one", "write role='segmenter', or a role of your own")
    if kind == "rendering":
        _check_rendering(plain)
    return Card(kind=kind, distribution=distribution, version=version, **plain)


def _check_api(api: Any) -> None:
    """Raise `UsageError` unless a card was written for this version: a number, or the first and the last of a range."""
    pair = api if isinstance(api, (tuple, list)) else (api, api)
    if len(pair) != 2 or not all(type(end) is int and end > 0 for end in pair) or pair[0] > pair[1]:
        raise UsageError(f"api is {api!r}", f"write api={API}, or api=({API}, {API + 1}) for a range")
    if pair[0] > API:
        raise UsageError(f"it was written for api {_range(pair)}, this is api {API}", "install a newer xcore-xai")
    if pair[1] < API:
        raise UsageError(f"it was written for api {_range(pair)}, this is api {API}", "install a newer plugin")


def _range(pair: Sequence[int]) -> str:
    return f"{pair[0]} to {pair[1]}" if pair[0] != pair[1] else str(pair[0])


def _check_rendering(plain: dict[str, Any]) -> None:
    if plain["name"] in RENDERINGS:
        raise UsageError(f"the rendering {plain['name']!r} is built in", "choose another name")
    if plain.get("options"):
        raise UsageError(f"the rendering {plain['name']!r} has options", "write them as name:how")


# -- one field -------------------------------------------------------------------------------------------------------
def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{key} is {value!r}", "write a string such as 'mine'")
    if _NOT_IN_NAMES.search(value):
        near = _NOT_IN_NAMES.sub("-", value.strip()).strip("-")
        raise UsageError(f"{key} is {value!r}: blanks and : , = have other uses", f"write {near!r}")
    return value


def _line(key: str, value: Any) -> str:
    if not isinstance(value, str) or "\n" in value.strip():
        raise UsageError(f"{key} is {_shown(value)}", "write one line of text")
    return value.strip()


def _line_or_none(key: str, value: Any) -> str | None:
    return None if value is None else _line(key, value)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{key} is {value!r}", f"write {key}=True or {key}=False")
    return value


def _target(key: str, value: Any) -> Any:
    """A dotted string with a colon, or what it would name."""
    if callable(value):
        return value
    if not isinstance(value, str):
        raise UsageError(f"{key} is {_shown(value)}", f"write {key}='my_package.module:name'")
    if not _TARGET.fullmatch(value):
        module, dot, name = value.rpartition(".")
        near = f"{module}:{name}" if dot and ":" not in value else "my_package.module:name"
        near = near if _TARGET.fullmatch(near) else "my_package.module:name"
        raise UsageError(f"{key} is {value!r}, which names nothing in a module", f"write {key}={near!r}")
    return value


def _target_or_none(key: str, value: Any) -> Any:
    return None if value is None else _target(key, value)


def _words(key: str, value: Any, known: Sequence[str] = ()) -> tuple[str, ...]:
    """A tuple of words, all of them known if it matters."""
    if isinstance(value, str):
        near = next(iter(get_close_matches(value, known, n=1)), value)
        raise UsageError(f"{key} is the string {value!r}", f"write {key}=({near!r},)")
    if not isinstance(value, (tuple, list, set, frozenset)) or not all(
        isinstance(word, str) and word for word in value
    ):
        raise UsageError(f"{key} is {_shown(value)}", f"write a tuple of strings: {key}=({(known or ('a',))[0]!r},)")
    words = tuple(sorted(value) if isinstance(value, (set, frozenset)) else value)
    for word in words:
        if known and word not in known:
            raise unknown(f"value of {key}", word, known)
    return words


def _needs(key: str, value: Any) -> tuple[str, ...]:
    return _words(key, value, NEEDS)


def _modalities(key: str, value: Any) -> tuple[str, ...]:
    return _words(key, value, get_args(Modality))


def _across(key: str, value: Any) -> tuple[str, ...]:
    return _words(key, value, ACROSS)


def _question(key: str, value: Any) -> str | None:
    if value is None or value in QUESTIONS:
        return None if value is None else str(value)
    raise unknown(key, str(value), QUESTIONS)


def _shares(key: str, value: Any) -> tuple[float, float] | None:
    """Two shares from 0 to 1."""
    if value is None:
        return None
    pair = value if isinstance(value, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in pair):
        raise UsageError(f"{key} is {_shown(value)}", f"write two shares from 0 to 1: {key}=(0.8, 0.1)")
    return float(pair[0]), float(pair[1])


def _uses(key: str, value: Any) -> tuple[str, ...] | str:
    if isinstance(value, str):
        if ":" not in value:
            raise UsageError(f"{key} is the string {value!r}", f"write {key}=({value!r},)")
        return str(_target(key, value))
    return tuple(_role(key, word) for word in _words(key, value))


def _roles(key: str, value: Any) -> str | tuple[str, ...] | None:
    if value is None or isinstance(value, str):
        return None if value is None else _role(key, value)
    return tuple(_role(key, word) for word in _words(key, value))


def _role(key: str, word: str) -> str:
    bare = word.removesuffix("?") if key == "uses" else word
    return f"{_name(f'a role in {key}', bare)}{word.removeprefix(bare)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "name": _name,
    "factory": _target,
    "summary": _line,
    "options": _target_or_none,
    "files": _words,
    "fingerprint": _target_or_none,
    "needs": _needs,
    "uses": _uses,
    "modalities": _modalities,
    "role": _roles,
    "own_data": _flag,
    "default": _flag,
    "argument": _line_or_none,
    "claims": _target_or_none,
    "paper": _line_or_none,
    "question": _question,
    "limits": _line,
    "covers": _words,
    "measured": _shares,
    "across": _across,
    "caveat": _line,
    "column": _flag,
    "details": _words,
    "call": _target_or_none,
}
"""Field -> what checks it, and returns it as the card keeps it."""
