"""Options are pydantic models. An unknown name or a wrong value is refused in one line that names it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from xcore.base.errors import UsageError, unknown
from xcore.base.process import variable


class Options(BaseModel):
    """Base of every options model: frozen, unknown names are errors, and lists of strings may be written ``a,b,c``."""

    # Built when something is first validated: a plugin has many models, and a command needs few of them.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        lists = {name for name, field in cls.model_fields.items() if _is_list(field)}
        return {k: split(v) if k in lists and isinstance(v, str) else v for k, v in values.items()}


def split(text: str) -> tuple[str, ...]:
    """Split a list as it is written on a command line: ``a, b`` -> ("a", "b"). Empty entries are left out.

    An option whose entries contain commas is written as JSON instead: ``["a, b"]``.
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def split_numbers(value: Any) -> Any:
    """Numbers as on a command line, ``10,60``, for a `BeforeValidator`; what is no string is left to the validation."""
    return split(value) if isinstance(value, str) else value


def _without_plugins() -> AbstractContextManager[None]:
    """Keep pydantic, when it builds a model, from asking every installed distribution for plugins of pydantic's own.

    That takes as long as building all models of a command, and finds none that our options are meant for.
    """
    return variable("PYDANTIC_DISABLE_PLUGINS", "__all__")


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Build an options model from values.

    Parameters
    ----------
    model
        The pydantic model.
    values
        Option -> value.
    where
        Whose options they are, for messages, e.g. ``method 'craft'``.

    Raises
    ------
    UsageError
        Names the first thing that is wrong, in one line, with the nearest valid name for an unknown one.

    Examples
    --------
    >>> class Size(Options):
    ...     k: int = 10
    >>> validate(Size, {"k": "3"}, "method 'craft'").k
    3
    """
    try:
        with _without_plugins():
            return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            known = [".".join([*path[:-1], name]) for name in _siblings(model, path)]
            raise unknown(f"key of {where}:", ".".join(path), known) from None
        listed = path and path[0] in model.model_fields and _is_list(model.model_fields[path[0]])
        hint = f'write {path[0]}=a,b or {path[0]}=["a","b"]' if listed else ""
        raise UsageError(f"{where}: option {'.'.join(path)!r}: {first['msg']}, got {first['input']!r}", hint) from None


def _is_list(field: FieldInfo) -> bool:
    """Whether an option is a list of strings and has no validator of its own that reads a string."""
    if any(isinstance(more, BeforeValidator) for more in field.metadata):
        return False
    kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, UnionType) else (field.annotation,)
    return str not in kinds and any(_is_strings(kind) for kind in kinds)


def _is_strings(kind: Any) -> bool:
    """Whether it is ``list[str]`` or ``tuple[str, ...]``, or the same of a `Literal` of strings."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is not list and not (origin is tuple and parts[1:] == (...,)):
        return False
    entry = get_args(parts[0])[0] if get_origin(parts[0]) is Annotated else parts[0]
    return entry is str or (get_origin(entry) is Literal and all(isinstance(name, str) for name in get_args(entry)))


def _siblings(model: type[BaseModel], path: list[str]) -> list[str]:
    """The valid names in the place of the last part of a path into nested models."""
    fields = model.model_fields
    for part in path[:-1]:
        inner = fields[part].annotation if part in fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        fields = inner.model_fields
    return list(fields)
