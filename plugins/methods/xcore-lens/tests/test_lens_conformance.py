"""What every explainer must keep, for each extractor and each importance."""

from typing import Any

import pytest
from xcore_lens.lens import Lens
from xcore_lens.options import Options

from xcore.testing import ExplainerTests, OptionsTests

PAIRS = [
    {},
    {"extractor": "semi-nmf", "importance": "integrated-gradients", "pool": "abs-max"},
    {"extractor": "convex-nmf", "importance": "occlusion", "centre": True},
    {"extractor": "pca", "importance": "shapley", "permutations": 8},
    {"extractor": "kmeans", "importance": "sobol"},
    {"extractor": "pca", "importance": "gradient", "centre": True},
    {"extractor": "topk", "sae_atoms": 12, "sae_active": 2, "sae_epochs": 5, "sae_batch": 128},
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(map(str, pair.values())) or "default")
class TestLens(ExplainerTests):
    @pytest.fixture
    def explainer(self, pair: dict[str, Any]) -> Any:
        return Lens(Options(k=4, exemplars=4, max_iter=100, **pair))


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> Any:
        return Options
