"""Conformance tests that a plugin author subclasses, and the small world in which they run.

::

    from xcore.testing import ExplainerTests

    class TestMine(ExplainerTests):
        @pytest.fixture
        def explainer(self):
            return Mine(MineOptions())

Each class asks for the one fixture that it cannot know. Fixtures of the same names replace what it makes itself.
"""

from xcore.testing.explainers import ExplainerTests
from xcore.testing.generators import GeneratorTests
from xcore.testing.inputs import ClassifierTests, DatasetTests
from xcore.testing.metrics import MetricTests
from xcore.testing.options import OptionsTests
from xcore.testing.trackers import TrackerTests
from xcore.testing.world import SIDE, World, blobs, global_state, model_state, stripes, tiny_network

__all__ = [
    "SIDE",
    "ClassifierTests",
    "DatasetTests",
    "ExplainerTests",
    "GeneratorTests",
    "MetricTests",
    "OptionsTests",
    "TrackerTests",
    "World",
    "blobs",
    "global_state",
    "model_state",
    "stripes",
    "tiny_network",
]
