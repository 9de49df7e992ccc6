"""Deliberately broken components of all kinds but explainers: each is caught by the check that is meant for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from teeth import MODEL, OUTPUT, RANDOM, SAMPLES, SETTINGS, failed, leave_a_thread, network, results

from xcore.contract import Cell, Ref, Samples, Score
from xcore.run.engines import InProcess
from xcore.testing.classifiers import Classifying
from xcore.testing.commands import Commanding
from xcore.testing.datasets import Supplying
from xcore.testing.engines import Running
from xcore.testing.generators import Drawing
from xcore.testing.helpers import (
    ColourModel,
    GridSegmenter,
    TinyGenerator,
    classifier_of_layout,
    helper_models,
)
from xcore.testing.metrics import Judging
from xcore.testing.roles import Helping
from xcore.testing.texts import ReviewData, TinyWriter, text_classifier
from xcore.testing.world import made_run, stripes, tiny_task


# -- metrics ---------------------------------------------------------------------------------------------------------
class Sensitivity:
    """An honest metric: how much the logit falls along the direction of each concept."""

    direction = "higher"
    needs = frozenset({"directions"})

    def __init__(self, spoil: Callable[[Any], Any] | None = None, **fields: Any) -> None:
        self.spoil, self.fields = spoil, fields

    def score(self, runs: Any) -> list[Score]:
        scores = []
        for run in runs[:1]:
            if self.spoil is not None:
                self.spoil(run)
            probe = run.task.classifier.open(run.task.layer)
            slopes = probe.gradients(run.heldout, run.task.target).flatten(2).sum(2).mean(0)
            for i, concept in enumerate(run.explanation.concepts):
                direction = concept.directions[run.task.layer]
                value = float(slopes @ direction / direction.norm())
                scores.append(Score("sensitivity", i, value, n=len(run.heldout)))
        return scores


class Rewritten(Sensitivity):
    """The same, with its scores changed at the end."""

    def __init__(self, change: Callable[[list[Score]], Any], **fields: Any) -> None:
        super().__init__()
        self.change = change
        for name, value in fields.items():
            setattr(self, name, value)

    def score(self, runs: Any) -> list[Score]:
        made: list[Score] = self.change(super().score(runs))
        return made


SCORED = "every_concept_or_the_whole_is_scored"
METRICS: dict[str, tuple[Any, str]] = {
    "another name in its scores": (Rewritten(lambda s: [replace(x, metric="TS") for x in s]), SCORED),
    "a concept that is not there": (Rewritten(lambda s: [*s, replace(s[0], concept=99)]), SCORED),
    "a concept left out": (Rewritten(lambda s: s[1:]), SCORED),
    "a value that is not finite": (Rewritten(lambda s: [replace(s[0], value=float("nan")), *s[1:]]), SCORED),
    "no scores": (Rewritten(lambda s: []), SCORED),
    "direction up": (Rewritten(list, direction="up"), "it_says_how_it_is_read"),
    "unknown needs": (Rewritten(list, needs=frozenset({"gradients"})), "it_says_how_it_is_read"),
    "edits of held-out images": (Sensitivity(lambda run: run.heldout.images.mul_(0.9)), SAMPLES),
    "edits of the directions": (Sensitivity(lambda run: run.explanation.concepts[0].directions["4"].mul_(2)), SAMPLES),
    "a seed": (Sensitivity(lambda run: torch.manual_seed(0)), RANDOM),
    "the training mode": (Sensitivity(lambda run: network(run.task).train()), MODEL),
    "print": (Sensitivity(lambda run: print("scoring")), OUTPUT),
    "the wrong direction": (Rewritten(list, direction="lower"), "a_perfect_explanation_beats_a_random_one"),
}


def judging(folder: Path, metric: Any, runs: int = 1) -> Callable[[], Judging]:
    def make() -> Judging:
        return Judging(
            metric, [made_run(tiny_task(folder), seed) for seed in range(runs)], folder / "checks", "sensitivity"
        )

    return make


@pytest.mark.parametrize("name", METRICS)
def test_a_broken_metric_is_caught_by_name(name: str, tmp_path: Path) -> None:
    metric, check = METRICS[name]
    found = results("metric", judging(tmp_path, metric), check)
    assert found[check].status == "failed", found[check]


@pytest.mark.parametrize("runs", [1, 3])
def test_an_honest_metric_fails_nothing(runs: int, tmp_path: Path) -> None:
    """One that needs directions, and that judges several runs together, too."""
    found = results("metric", judging(tmp_path, Sensitivity(), runs))
    assert {name for name, result in found.items() if result.status != "passed"} == {
        "order_does_not_depend_on_the_hash_seed"
    }


# -- generators ------------------------------------------------------------------------------------------------------
class Batchwise(TinyGenerator):
    """Its first sample of a batch is brighter."""

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        made = super().generate(prompts, seeds, adapter)
        made.images[0].mul_(0.9)
        return made


class Unpaired(TinyGenerator):
    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        return super().generate(list(prompts)[: len(seeds)] or ["one"], [*seeds] or [0], adapter)


class Untidy(TinyGenerator):
    """It writes into the adapter that it is given."""

    def adapt(self, adapter: Any, preferred: Any, rejected: Any, *, seed: int, options: Any) -> Any:
        made = super().adapt(adapter, preferred, rejected, seed=seed, options=options)
        if adapter is not None:
            adapter.state["shift"].add_(0.5)
        return made


class Seeding(TinyGenerator):
    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        torch.manual_seed(0)
        return super().generate(prompts, seeds, adapter)


class Overpromising(TinyWriter):
    can = frozenset({"fly"})


class Undeclared(TinyWriter):
    """It adapts, and does not say so."""

    def adapt(self, *args: Any, **more: Any) -> Any:
        return None, {}


@pytest.mark.parametrize(
    ("generator", "check"),
    [
        (Batchwise(), "a_sample_does_not_depend_on_its_batch"),
        (Unpaired(), "prompts_and_seeds_must_pair_up"),
        (Untidy(), "adapters_are_values_and_leave_the_base"),
        (Seeding(), RANDOM),
        (Overpromising(), "it_says_what_it_can_do_and_refuses_the_rest"),
        (Undeclared(), "it_says_what_it_can_do_and_refuses_the_rest"),
    ],
    ids=lambda given: "" if isinstance(given, str) else type(given).__name__,
)
def test_a_broken_generator_is_caught_by_name(generator: Any, check: str) -> None:
    found = results("generator", lambda: Drawing(generator), check)
    assert found[check].status == "failed", found[check]


@pytest.mark.parametrize("generator", [TinyGenerator(), TinyWriter()], ids=["adapts and edits", "only draws"])
def test_an_honest_generator_fails_nothing(generator: Any) -> None:
    assert not failed("generator", lambda: Drawing(generator))


# -- classifiers, data sets, helper models, engines ------------------------------------------------------------------
class Wrapped:
    """A classifier with one thing changed."""

    def __init__(self, **changed: Any) -> None:
        self._inner = classifier_of_layout("NCHW")
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        return self._changed[name] if name in self._changed else getattr(self._inner, name)


def in_context(x: Samples) -> torch.Tensor:
    logits = classifier_of_layout("NCHW").logits(x)
    return logits - logits.mean(0)


@pytest.mark.parametrize(
    ("classifier", "check"),
    [
        (Wrapped(logits=lambda x: torch.full((len(x), 3), float("inf"))), "one_finite_logit_a_class"),
        (Wrapped(logits=lambda x: np.zeros((len(x), 3))), "one_finite_logit_a_class"),
        (Wrapped(can=frozenset({"gradient"})), "one_finite_logit_a_class"),
        (Wrapped(logits=in_context), "logits_do_not_depend_on_the_batch"),
        (Wrapped(default_layer="fifth"), "every_layer_leads_to_the_logits"),
        (Wrapped(open=lambda layer: classifier_of_layout("NCHW").open("4")), "unknown_layers_are_refused"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_broken_classifier_is_caught_by_name(classifier: Any, check: str) -> None:
    found = results("classifier", lambda: Classifying(classifier, stripes(4, 1)), check)
    assert found[check].status == "failed", found[check]


@pytest.mark.parametrize("layout", ["NC", "NCHW", "NTC", "text"])
def test_honest_classifiers_of_all_layouts_fail_nothing(layout: str) -> None:
    made: Any = text_classifier() if layout == "text" else classifier_of_layout(layout)
    samples = ReviewData().samples(None, "explain", 4, 0) if layout == "text" else stripes(4, 1)
    assert made.open(made.default_layer).layout == ("NTC" if layout == "text" else layout)
    found = results("classifier", lambda: Classifying(made, samples))
    assert {r.status for r in found.values()} == {"passed"}, found


class OneSplit(ReviewData):
    def samples(self, cls: Any, split: Any, n: int, seed: int) -> Samples:
        return super().samples(cls, "train", n, seed)


class Mixed(ReviewData):
    def samples(self, cls: Any, split: Any, n: int, seed: int) -> Samples:
        made = super().samples(cls, split, n, seed)
        return replace(made, labels=torch.zeros(len(made), dtype=torch.long)) if cls == "blame" else made


class Forgiving(ReviewData):
    def samples(self, cls: Any, split: Any, n: int, seed: int) -> Samples:
        return super().samples(cls if cls in self.classes else None, split, n, seed)


class Noted(ReviewData):
    notes = "one note"  # type: ignore[assignment]


class Restless(ReviewData):
    def samples(self, cls: Any, split: Any, n: int, seed: int) -> Samples:
        return super().samples(cls, split, n, random.randrange(50))


@pytest.mark.parametrize(
    ("data", "check"),
    [
        (OneSplit(), "splits_share_no_sample"),
        (Mixed(), "samples_are_of_their_class_and_kind"),
        (Forgiving(), "unknown_names_are_refused"),
        (Noted(), "what_it_tells_is_plain_text"),
        (Restless(), RANDOM),
    ],
    ids=lambda given: "" if isinstance(given, str) else type(given).__name__,
)
def test_a_broken_data_set_is_caught_by_name(data: Any, check: str) -> None:
    found = results("dataset", lambda: Supplying(data), check)
    assert found[check].status == "failed", found[check]


def test_an_honest_data_set_fails_nothing() -> None:
    assert not failed("dataset", lambda: Supplying(ReviewData()))


@pytest.mark.parametrize("role", helper_models())
def test_honest_models_of_every_role_fail_nothing(role: str) -> None:
    found = results("model", lambda: Helping(helper_models()[role], role, stripes(4, 1)))
    assert {r.status for r in found.values()} == {"passed"}, found


class Short(ColourModel):
    def embed_texts(self, texts: Any) -> torch.Tensor:
        return super().embed_texts(texts)[:, :2]


class Floats(GridSegmenter):
    def segment(self, image: torch.Tensor) -> torch.Tensor:
        return super().segment(image).float()


class Drawn(ColourModel):
    def caption(self, images: Samples, seeds: Any) -> list[str]:
        return [str(random.random()) for _ in seeds]


@pytest.mark.parametrize(
    ("model", "role", "check"),
    [
        (Short(), "image-text", "its_answers_are_as_the_role_says"),
        (Floats(), "segmenter", "its_answers_are_as_the_role_says"),
        (GridSegmenter(), "localiser", "it_has_the_functions_of_its_role"),
        (Drawn(), "captioner", "its_answers_repeat"),
        (Drawn(), "captioner", RANDOM),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_a_broken_model_is_caught_by_name(model: Any, role: str, check: str) -> None:
    found = results("model", lambda: Helping(model, role, stripes(4, 1)), check)
    assert found[check].status == "failed", found[check]


class Forgetful:
    """An engine that loses a cell."""

    def run(self, cells: Any, work: Any) -> Iterator[Any]:
        for cell in list(cells)[1:]:
            yield work(cell)


class Eager(Forgetful):
    enforces = frozenset({"minutes"})

    def run(self, cells: Any, work: Any) -> Any:
        return [work(cell) for cell in cells]


class Inventive(Forgetful):
    """An engine that runs something where there is nothing to run, and changes a status."""

    def run(self, cells: Any, work: Any) -> Iterator[Any]:
        for cell in cells or [Cell("more", Ref("more"), Ref("net"), Ref("data"), "red", 0)]:
            yield replace(work(cell), status="ok", reason="")


class Spoiling:
    """An engine that does harm before it runs anything."""

    def __init__(self, spoil: Callable[[], Any]) -> None:
        self.spoil = spoil

    def run(self, cells: Any, work: Any) -> Iterator[Any]:
        self.spoil()
        yield from map(work, cells)


@pytest.mark.parametrize(
    ("engine", "checks"),
    [
        (Forgetful(), {"every_cell_has_one_outcome"}),
        (Inventive(), {"every_cell_has_one_outcome", "no_cells_are_no_outcomes"}),
        (Eager(), {"it_can_be_closed", "it_names_limits_that_there_are"}),
        (Spoiling(lambda: random.seed(0)), {RANDOM}),
        (Spoiling(lambda: print("cell 1")), {OUTPUT}),
        (Spoiling(lambda: leave_a_thread(None)), {SETTINGS}),
    ],
    ids=lambda given: "" if isinstance(given, set) else type(given).__name__,
)
def test_a_broken_engine_is_caught_by_name(engine: Any, checks: set[str], tmp_path: Path) -> None:
    assert failed("engine", lambda: Running(engine, tmp_path)) == checks


def test_an_honest_engine_fails_nothing(tmp_path: Path) -> None:
    assert not failed("engine", lambda: Running(InProcess(), tmp_path))


def app_of(*commands: Callable[..., Any]) -> Any:
    made = typer.Typer()
    for one in commands:
        made.command()(one)
    return made


def documented() -> None:
    """Does what it says."""


def bare() -> None:
    pass


def unreadable(given: complex) -> None:
    """Takes what no command line can give."""


APP, HELP, CALL = "it_is_a_typer_app_with_commands", "its_help_can_be_read", "its_function_can_be_called"


@pytest.mark.parametrize(
    ("app", "call", "check"),
    [
        (documented, None, APP),
        (app_of(), None, APP),
        (app_of(bare), None, HELP),
        (app_of(documented, bare), None, HELP),
        (app_of(unreadable), None, HELP),
        (app_of(documented), "documented", CALL),
        (app_of(documented), bare, CALL),
    ],
)
def test_a_broken_command_is_caught_by_name(app: Any, call: Any, check: str) -> None:
    found = results("command", lambda: Commanding("mine", app, call), check)[check]
    assert found.status == "failed", found


def test_an_honest_command_fails_nothing() -> None:
    assert not failed("command", lambda: Commanding("mine", app_of(documented), documented))
