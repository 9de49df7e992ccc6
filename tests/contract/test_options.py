"""Lists of strings in options: one way to write them, for every component."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, Field

from xcore.cli.flags import parse_settings
from xcore.contract import Options, UsageError, split, validate


class Lists(Options):
    drop: list[str] = Field(default_factory=list)
    layers: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    fills: tuple[Literal["blur", "mean"], ...] = Field(("blur",), min_length=1)
    short: list[Annotated[str, Field(max_length=3)]] = Field(default_factory=list)
    own: Annotated[tuple[str, ...], BeforeValidator(lambda value: (value, "read"))] = ()
    text: str = ""
    either: str | list[str] = ""
    sizes: tuple[int, ...] = ()


def read(*pairs: str) -> Lists:
    """As ``--set NAME=VALUE`` sets them."""
    return validate(Lists, parse_settings([f"m.{pair}" for pair in pairs]).get("m", {}), "method 'm'")


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("drop=right,wooden", ["right", "wooden"]),
        ("drop= right , wooden,", ["right", "wooden"]),
        ("drop=right", ["right"]),
        ('drop="right, wooden"', ["right", "wooden"]),
        ('drop=["right, wooden", "old"]', ["right, wooden", "old"]),
        ("drop=", []),
        ("drop=1,2", ["1", "2"]),
        ("layers=a.0,b.1", ("a.0", "b.1")),
        ("names=cat,great dane", ("cat", "great dane")),
        ("names=null", None),
        ("fills=blur,mean", ("blur", "mean")),
        ("short=a,bc", ["a", "bc"]),
        ("own=a,b", ("a,b", "read")),
        ("text=a,b", "a,b"),
        ("either=a,b", "a,b"),
    ],
)
def test_commas_split_lists_of_strings_and_nothing_else(pair, value):
    assert getattr(read(pair), pair.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("drop=5", "option 'drop': Input should be a valid list, got 5"),
        ('drop=["a", 5]', "option 'drop.1': Input should be a valid string, got 5"),
        ("fills=blur,maen", "option 'fills.1': Input should be 'blur' or 'mean', got 'maen'"),
    ],
)
def test_a_wrong_list_says_how_one_is_written(pair, said):
    with pytest.raises(UsageError) as error:
        read(pair)
    name = pair.partition("=")[0]
    assert str(error.value) == f'method \'m\': {said} (write {name}=a,b or {name}=["a","b"])'


def test_other_errors_say_nothing_of_lists():
    with pytest.raises(UsageError) as error:
        read("sizes=a")
    assert "write" not in str(error.value)


def test_split_leaves_out_what_is_empty():
    assert split(" a,, b c ,") == ("a", "b c")
