"""What every options model must keep."""

from __future__ import annotations

from typing import Any

import pytest

from xcore.base.errors import UsageError
from xcore.contract.options import validate


class OptionsTests:
    """What every options model must keep. Subclasses give the fixture ``options_model``."""

    @pytest.fixture
    def options_model(self) -> type[Any]:
        raise NotImplementedError("subclasses of OptionsTests give the fixture `options_model`")

    def test_defaults_are_valid(self, options_model: type[Any]) -> None:
        assert validate(options_model, {}, "defaults") == options_model()

    def test_unknown_option_is_refused_with_the_nearest_name(self, options_model: type[Any]) -> None:
        first = next(iter(options_model.model_fields))
        with pytest.raises(UsageError, match=first):
            validate(options_model, {f"{first}_": 1}, "this component")

    def test_every_option_says_what_it_is(self, options_model: type[Any]) -> None:
        silent = [n for n, f in options_model.model_fields.items() if not f.description]
        assert not silent, f"options without a description: {silent}"
