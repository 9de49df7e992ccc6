"""The checks as pytest classes: each check is a test of the same name, which a subclass cannot drop unseen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from xcore.contract.protocols import Run, Task
from xcore.contract.samples import Samples
from xcore.contract.types import Cell, Explanation, Presence, Score, StartedRun
from xcore.testing import explainers
from xcore.testing.checklist import Check, Fault, Skipped, checks_of
from xcore.testing.classifiers import Classifying
from xcore.testing.commands import Commanding
from xcore.testing.datasets import Supplying
from xcore.testing.engines import Running
from xcore.testing.explainers import Explaining
from xcore.testing.generators import Drawing, pairs_of
from xcore.testing.helpers import helper_models
from xcore.testing.metrics import Judging
from xcore.testing.options import Choosing
from xcore.testing.renderings import Rendering
from xcore.testing.roles import Helping
from xcore.testing.trackers import Following, started_run, table_rows, tracked_cells
from xcore.testing.world import made_run, stripes, tiny_classifier, tiny_network, tiny_task

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier, Dataset, Engine, Explainer, Generator, Metric, Tracker


class xfail:
    """Declare that a standard test is expected to fail: ``test_NAME = xfail(reason="why this is right here")``.

    Raises
    ------
    ValueError
        The reason is empty.
    """

    def __init__(self, *, reason: str) -> None:
        if not reason.strip():
            raise ValueError("xfail needs a reason, which readers of the tests see")
        self.reason = reason


def _test(one: Check) -> Callable[..., None]:
    def test(self: Any, xcore_subject: Any) -> None:
        try:
            one.run(xcore_subject)
        except Skipped as why:
            pytest.skip(str(why))
        except Fault as fault:
            pytest.fail(f"{fault}\nwhy it matters: {one.why}\nhow to mend it: {one.mend}", pytrace=False)

    test.__name__ = f"test_{one.name}"
    test.__qualname__ = test.__name__
    test.__doc__ = f"{one.what}."
    return test


def _replaced(name: str) -> Callable[..., None]:
    def test(self: Any) -> None:
        pytest.fail(
            f"{name} is a standard test, and this class removes or overrides it\n"
            f'how to mend it: give fixtures instead, or declare {name} = xfail(reason="...")',
            pytrace=False,
        )

    return test


class Kit:
    """What the classes have in common: standard tests from the list of checks, and what they share."""

    kind = ""
    _standard: Mapping[str, Callable[..., None]] = {}
    _kept: dict[str, dict[str, Any]] = {}  # noqa: RUF012 (each class gets its own)

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if kind := cls.__dict__.get("kind"):
            cls._standard = {f"test_{one.name}": _test(one) for one in checks_of(kind)}
            for name, test in cls._standard.items():
                setattr(cls, name, test)
            return
        for name, test in cls._standard.items():
            found = getattr(cls, name, None)
            if isinstance(found, xfail):
                setattr(cls, name, _expected(test, found.reason))
            elif found is not test and not getattr(found, "_xcore_expected", False):
                setattr(cls, name, _replaced(name))

    @classmethod
    def teardown_class(cls) -> None:
        """Let go of what the tests of a class shared."""
        cls._kept = {}

    @classmethod
    def _shared(cls, request: pytest.FixtureRequest) -> dict[str, Any]:
        """What the tests of a class share, for each of its parameters: what was computed once."""
        if "_kept" not in cls.__dict__:
            cls._kept = {}
        return cls._kept.setdefault(getattr(getattr(request.node, "callspec", None), "id", ""), {})


def _expected(test: Callable[..., None], reason: str) -> Callable[..., None]:
    def run(self: Any, xcore_subject: Any) -> None:
        test(self, xcore_subject)

    run._xcore_expected = True  # type: ignore[attr-defined]
    marked: Callable[..., None] = pytest.mark.xfail(reason=reason, strict=False)(run)
    return marked


class World(Kit):
    """Fixtures: a network, its classifier, a small helper model for each role, and a task on stripes against blobs.

    Without a generator: a method that draws gives one by the fixture ``generator``, e.g. a `TinyGenerator`.
    """

    @pytest.fixture
    def module(self) -> torch.nn.Module:
        return tiny_network()

    @pytest.fixture
    def classifier(self, module: torch.nn.Module) -> Classifier:
        return tiny_classifier(module)

    @pytest.fixture
    def generator(self) -> Generator | None:
        return None

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return helper_models()

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return ()

    @pytest.fixture
    def task(
        self,
        classifier: Classifier,
        generator: Generator | None,
        models: Mapping[str, Any],
        vocabulary: tuple[str, ...],
        tmp_path: Path,
    ) -> Task:
        return tiny_task(tmp_path, classifier=classifier, generator=generator, models=models, vocabulary=vocabulary)


class ExplainerTests(World):
    """What every explainer must keep. Subclasses give the fixture ``explainer``."""

    kind = "explainer"
    repeats_maps = True
    """Whether the concepts, looked for in the explained images, have the maps of the explanation. A method whose maps
    depend on all of these images, or on more than the concepts, sets it to False."""

    @pytest.fixture
    def explainer(self) -> Explainer:
        raise NotImplementedError("subclasses of ExplainerTests give the fixture `explainer`")

    @pytest.fixture
    def explanation(self, explainer: Explainer, task: Task) -> Explanation:
        return explainer.explain(task)

    @pytest.fixture
    def xcore_subject(
        self,
        request: pytest.FixtureRequest,
        explainer: Explainer,
        task: Task,
        tmp_path: Path,
    ) -> Explaining:
        shared = self._shared(request)
        return Explaining(explainer, task, tmp_path / "checks", self.repeats_maps, shared=shared)

    @staticmethod
    def find(explainer: Explainer, explanation: Explanation, task: Task) -> Presence:
        """What `Explained.apply` gives: by the method's own `apply`, or by its dictionary or directions."""
        return explainers.find(explainer, explanation, task)


class MetricTests(World):
    """What every metric must keep. Subclasses give the fixture ``metric``; one that judges several runs, ``runs``."""

    kind = "metric"

    @pytest.fixture
    def metric(self) -> Metric:
        raise NotImplementedError("subclasses of MetricTests give the fixture `metric`")

    @pytest.fixture
    def run(self, task: Task) -> Run:
        return made_run(task)

    @pytest.fixture
    def runs(self, run: Run) -> Sequence[Run]:
        return [run]

    @pytest.fixture
    def scores(self, xcore_subject: Judging) -> list[Score]:
        return xcore_subject.scores()

    @pytest.fixture
    def xcore_subject(
        self,
        request: pytest.FixtureRequest,
        metric: Metric,
        runs: Sequence[Run],
        tmp_path: Path,
    ) -> Judging:
        return Judging(metric, runs, tmp_path / "checks", shared=self._shared(request))


class GeneratorTests(Kit):
    """What every generator must keep. Subclasses give the fixture ``generator`` (a fresh one, or one that several tests
    share) and may give ``prompts``, of which each is drawn with two seeds.

    What the generator says that it can do is tried, and what it does not say must be refused in one line."""

    kind = "generator"

    @pytest.fixture
    def generator(self) -> Generator:
        raise NotImplementedError("subclasses of GeneratorTests give the fixture `generator`")

    @pytest.fixture
    def prompts(self) -> tuple[str, ...]:
        return ("angry", "calm", "striped")

    @pytest.fixture
    def drawn(self, generator: Generator, prompts: tuple[str, ...]) -> Samples:
        return generator.generate([*prompts, *prompts], range(2 * len(prompts)))

    @pytest.fixture
    def pairs(self, generator: Generator, prompts: tuple[str, ...]) -> tuple[Samples, Samples]:
        """Four preferred and four rejected samples of the first prompt, no two of a pair alike."""
        return pairs_of(generator, prompts[0])

    @pytest.fixture
    def xcore_subject(
        self,
        request: pytest.FixtureRequest,
        generator: Generator,
        prompts: tuple[str, ...],
    ) -> Drawing:
        return Drawing(generator, prompts, shared=self._shared(request))


class ClassifierTests(Kit):
    """What every classifier must keep. Subclasses give the fixtures ``classifier`` and ``samples`` (three or more)."""

    kind = "classifier"

    @pytest.fixture
    def classifier(self) -> Classifier:
        raise NotImplementedError("subclasses of ClassifierTests give the fixture `classifier`")

    @pytest.fixture
    def samples(self) -> Samples:
        raise NotImplementedError("subclasses of ClassifierTests give the fixture `samples`")

    @pytest.fixture
    def xcore_subject(self, request: pytest.FixtureRequest, classifier: Classifier, samples: Samples) -> Classifying:
        return Classifying(classifier, samples, shared=self._shared(request))


class DatasetTests(Kit):
    """What every data set must keep. Subclasses give the fixture ``data``, with samples in every split."""

    kind = "dataset"

    @pytest.fixture
    def data(self) -> Dataset:
        raise NotImplementedError("subclasses of DatasetTests give the fixture `data`")

    @pytest.fixture
    def xcore_subject(self, request: pytest.FixtureRequest, data: Dataset) -> Supplying:
        return Supplying(data, shared=self._shared(request))


class ModelTests(Kit):
    """What every helper model must keep. Subclasses give the fixtures ``model`` and ``role``."""

    kind = "model"

    @pytest.fixture
    def model(self) -> Any:
        raise NotImplementedError("subclasses of ModelTests give the fixture `model`")

    @pytest.fixture
    def role(self) -> str:
        raise NotImplementedError("subclasses of ModelTests give the fixture `role`")

    @pytest.fixture
    def images(self) -> Samples:
        return stripes(4, 1)

    @pytest.fixture
    def xcore_subject(self, request: pytest.FixtureRequest, model: Any, role: str, images: Samples) -> Helping:
        return Helping(model, role, images, shared=self._shared(request))


class EngineTests(Kit):
    """What every engine must keep. Subclasses give the fixture ``engine``."""

    kind = "engine"

    @pytest.fixture
    def engine(self) -> Engine:
        raise NotImplementedError("subclasses of EngineTests give the fixture `engine`")

    @pytest.fixture
    def xcore_subject(self, request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Running:
        return Running(engine, tmp_path, shared=self._shared(request))


class RenderingTests(Kit):
    """What every rendering must keep. Subclasses give ``rendering`` and may give ``how``, what follows the colon."""

    kind = "rendering"

    @pytest.fixture
    def rendering(self) -> Callable[[Samples, str, Any], Samples]:
        raise NotImplementedError("subclasses of RenderingTests give the fixture `rendering`")

    @pytest.fixture
    def how(self) -> str:
        return ""

    @pytest.fixture
    def xcore_subject(
        self, request: pytest.FixtureRequest, rendering: Callable[[Samples, str, Any], Samples], how: str
    ) -> Rendering:
        return Rendering(rendering, stripes(4, 1), how, shared=self._shared(request))


class CommandTests(Kit):
    """What every command must keep. Subclasses give ``app``, a typer app, and may give ``call``, its function."""

    kind = "command"

    @pytest.fixture
    def app(self) -> Any:
        raise NotImplementedError("subclasses of CommandTests give the fixture `app`")

    @pytest.fixture
    def call(self) -> Callable[..., Any] | None:
        return None

    @pytest.fixture
    def xcore_subject(self, app: Any, call: Callable[..., Any] | None) -> Commanding:
        return Commanding("command", app, call)


class OptionsTests(Kit):
    """What every options model must keep. Subclasses give the fixture ``options_model``."""

    kind = "options"

    @pytest.fixture
    def options_model(self) -> type[Any]:
        raise NotImplementedError("subclasses of OptionsTests give the fixture `options_model`")

    @pytest.fixture
    def xcore_subject(self, options_model: type[Any]) -> Choosing:
        return Choosing(options_model)


class TrackerTests(Kit):
    """What every tracker must keep. Subclasses give the fixture ``tracker``."""

    kind = "tracker"

    @pytest.fixture
    def tracker(self) -> Tracker:
        raise NotImplementedError("subclasses of TrackerTests give the fixture `tracker`")

    @pytest.fixture
    def cells(self) -> list[Cell]:
        return tracked_cells()

    @pytest.fixture
    def started(self, cells: list[Cell], tmp_path: Path) -> StartedRun:
        return started_run(cells, tmp_path)

    @pytest.fixture
    def rows(self, cells: list[Cell]) -> list[dict[str, Any]]:
        """The rows of one cell with a score, one that failed and one that was skipped."""
        return table_rows(cells)

    @pytest.fixture
    def xcore_subject(
        self,
        request: pytest.FixtureRequest,
        tracker: Tracker,
        started: StartedRun,
        cells: list[Cell],
        rows: list[dict[str, Any]],
    ) -> Following:
        return Following(tracker, started, cells, rows, shared=self._shared(request))
