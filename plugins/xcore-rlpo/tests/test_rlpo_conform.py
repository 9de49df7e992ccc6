"""The core's conformance classes on `rlpo`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from xcore_rlpo.options import Options
from xcore_rlpo.rlpo import Rlpo
from xcore_rlpo.testing import COLOURS, Colours, Painter

from xcore.testing import SIDE, ExplainerTests, OptionsTests


class TestExplainer(ExplainerTests):
    @pytest.fixture
    def explainer(self) -> Rlpo:
        return Rlpo(Options(n=4, negatives=4, steps=8, rank_sets=2, shown=3, gradient_steps=1))

    @pytest.fixture
    def generator(self) -> Painter:
        return Painter(SIDE)

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {"image-text": Colours()}

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(COLOURS)


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[Options]:
        return Options
