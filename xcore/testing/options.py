"""What every options model must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xcore.base.errors import UsageError
from xcore.contract.options import validate
from xcore.testing.checklist import Skipped, check, expect, refused


@dataclass
class Choosing:
    """An options model."""

    options_model: type[Any]


@check(
    "options",
    why="A component that is named without options must work.",
    mend="Give every option a default, or say in the card that an argument is needed.",
)
def defaults_are_valid(subject: Choosing) -> None:
    """The defaults pass the model's own validation."""
    expect(validate(subject.options_model, {}, "defaults") == subject.options_model(), "validated defaults differ")


@check(
    "options",
    why="An option that is misspelt would silently be left at its default.",
    mend='Derive the model from xcore.contract.Options, or set extra="forbid".',
)
def unknown_option_is_refused_with_the_nearest_name(subject: Choosing) -> None:
    """A misspelt option is refused, and the error names the right one."""
    fields = subject.options_model.model_fields
    if not fields:
        raise Skipped("there are no options")
    first = next(iter(fields))
    with refused("a misspelt option", UsageError, says=first):
        validate(subject.options_model, {f"{first}_": 1}, "this component")


@check(
    "options",
    why="`xcore show NAME` prints the options, and a name alone says little.",
    mend='Write Field(default, description="what it does").',
)
def every_option_says_what_it_is(subject: Choosing) -> None:
    """Every option has a description."""
    silent = [n for n, f in subject.options_model.model_fields.items() if not f.description]
    expect(not silent, f"options without a description: {', '.join(silent)}")
