"""The checks that a plugin author runs, as a command (`xcore check`) and as test classes, and small worlds for them.

::

    from xcore.testing import ExplainerTests

    class TestMine(ExplainerTests):
        @pytest.fixture
        def explainer(self):
            return Mine(MineOptions())

Each class asks for the one fixture that it cannot know. Fixtures of the same names replace what it makes itself. Both
ways run the same list of checks (see `docs/checking.md`). Only the classes need pytest; every name is loaded when it is
first used.
"""

from typing import TYPE_CHECKING

from xcore.base.lazy import lazy_exports

if TYPE_CHECKING:
    from xcore.testing.classes import ClassifierTests as ClassifierTests
    from xcore.testing.classes import CommandTests as CommandTests
    from xcore.testing.classes import DatasetTests as DatasetTests
    from xcore.testing.classes import EngineTests as EngineTests
    from xcore.testing.classes import ExplainerTests as ExplainerTests
    from xcore.testing.classes import GeneratorTests as GeneratorTests
    from xcore.testing.classes import MetricTests as MetricTests
    from xcore.testing.classes import ModelTests as ModelTests
    from xcore.testing.classes import OptionsTests as OptionsTests
    from xcore.testing.classes import RenderingTests as RenderingTests
    from xcore.testing.classes import TrackerTests as TrackerTests
    from xcore.testing.classes import World as World
    from xcore.testing.classes import xfail as xfail
    from xcore.testing.helpers import TinyGenerator as TinyGenerator
    from xcore.testing.helpers import classifier_of_layout as classifier_of_layout
    from xcore.testing.helpers import helper_models as helper_models
    from xcore.testing.planted import planted_network as planted_network
    from xcore.testing.planted import planted_pictures as planted_pictures
    from xcore.testing.texts import ReviewData as ReviewData
    from xcore.testing.texts import TinyWriter as TinyWriter
    from xcore.testing.texts import text_classifier as text_classifier
    from xcore.testing.texts import text_task as text_task
    from xcore.testing.watching import global_state as global_state
    from xcore.testing.world import SIDE as SIDE
    from xcore.testing.world import blobs as blobs
    from xcore.testing.world import made_run as made_run
    from xcore.testing.world import model_state as model_state
    from xcore.testing.world import stripes as stripes
    from xcore.testing.world import tiny_network as tiny_network
    from xcore.testing.world import tiny_task as tiny_task

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "xcore.testing.classes": (
            *("ClassifierTests", "CommandTests", "DatasetTests", "EngineTests", "ExplainerTests", "GeneratorTests"),
            *("MetricTests", "ModelTests", "OptionsTests", "RenderingTests", "TrackerTests", "World", "xfail"),
        ),
        "xcore.testing.helpers": (*("TinyGenerator", "classifier_of_layout", "helper_models"),),
        "xcore.testing.planted": ("planted_network", "planted_pictures"),
        "xcore.testing.texts": ("ReviewData", "TinyWriter", "text_classifier", "text_task"),
        "xcore.testing.watching": ("global_state",),
        "xcore.testing.world": (*("SIDE", "blobs", "made_run", "model_state", "stripes", "tiny_network", "tiny_task"),),
    },
)
