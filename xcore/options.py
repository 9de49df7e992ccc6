"""Options are pydantic models; unknown or bad ones are refused by name, in one line, with the nearest match."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from xcore.errors import UsageError, unknown


class Options(BaseModel):
    """Base of every options model: frozen, and unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Build the model, or raise `UsageError` with one line about the first thing that is wrong.

    Examples
    --------
    >>> class Size(Options):
    ...     k: int = 10
    >>> validate(Size, {"k": "3"}, "method 'craft'").k
    3
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            known = [".".join([*path[:-1], name]) for name in _siblings(model, path)]
            raise unknown(f"key of {where}:", ".".join(path), known) from None
        raise UsageError(f"{where}: option {'.'.join(path)!r}: {first['msg']}, got {first['input']!r}") from None


def _siblings(model: type[BaseModel], path: list[str]) -> list[str]:
    """The valid names beside the last part of a path into nested models."""
    fields = model.model_fields
    for part in path[:-1]:
        inner = fields[part].annotation if part in fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        fields = inner.model_fields
    return list(fields)
