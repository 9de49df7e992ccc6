"""Deliberately broken components: each is caught by the check that is meant for it, and the honest ones by none."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from xcore.contract import Cell, Concept, Explanation, NotApplicable, Ref, Samples, Score, UsageError
from xcore.run.engines import InProcess
from xcore.testing.checklist import Result, checks_of, run_check
from xcore.testing.classifiers import Classifying
from xcore.testing.commands import Commanding
from xcore.testing.datasets import Supplying
from xcore.testing.engines import Running
from xcore.testing.explainers import Explaining
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
from xcore.testing.texts import ReviewData, TinyWriter, text_classifier, text_task
from xcore.testing.world import blobs, made_run, stripes, tiny_task


def results(kind: str, make: Callable[[], Any], only: str = "") -> dict[str, Result]:
    """Check -> its result; each check gets a subject of its own, all share what was computed once."""
    shared: dict[str, Any] = {}
    found = {}
    for one in checks_of(kind):
        if not only or one.name == only:
            subject = make()
            if hasattr(subject, "shared"):
                subject.shared = shared
            found[one.name] = run_check(one, subject, "it")
    return found


def failed(kind: str, make: Callable[[], Any]) -> set[str]:
    return {name for name, result in results(kind, make).items() if result.status == "failed"}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a broken component leaves behind ends with its test."""
    before = torch.get_default_dtype()
    yield
    assert torch.get_default_dtype() == before


# -- explainers ------------------------------------------------------------------------------------------------------
class Channels:
    """An honest explainer: the channels of the layer, by what the logit loses without them."""

    def __init__(self, spoil: Callable[[Any], Any] | None = None, **fields: Any) -> None:
        self.spoil, self.fields = spoil, fields

    def explain(self, task: Any) -> Explanation:
        if self.spoil is not None:
            self.spoil(task)
        probe = task.classifier.open(task.layer)
        a = probe.activations(task.samples)
        concepts = []
        for channel in range(a.shape[1]):
            without = a.clone()
            without[:, channel] = 0
            lost = (probe.head(a, task.samples) - probe.head(without, task.samples))[:, task.target]
            small = a[:, channel].clamp_min(0)
            maps = torch.nn.functional.interpolate(small[:, None], size=task.samples.images.shape[-2:])[:, 0]
            direction = torch.eye(a.shape[1])[channel]
            best = lost.argsort(descending=True)[:3]
            concepts.append(
                Concept(
                    f"channel {channel}",
                    float(lost.mean()),
                    task.samples.take(best.tolist()),
                    source=best,
                    directions={task.layer: direction},
                    maps=maps,
                    local=lost,
                    **self.fields,
                )
            )
        ranked = tuple(sorted(concepts, key=lambda c: -c.importance))
        return Explanation("channels", task.target_name, "drop of the logit", ranked)

    repeats_maps = False


class Changed(Channels):
    """The same, with its explanation changed at the end."""

    def __init__(self, change: Callable[[Explanation], Explanation]) -> None:
        super().__init__()
        self.change = change

    def explain(self, task: Any) -> Explanation:
        return self.change(super().explain(task))


def first(**fields: Any) -> Callable[[Explanation], Explanation]:
    """Change fields of the first concept."""
    return lambda made: replace(made, concepts=(replace(made.concepts[0], **fields), *made.concepts[1:]))


def network(task: Any) -> torch.nn.Module:
    module: torch.nn.Module = task.classifier.model.module
    return module


def scale_weights(task: Any) -> None:
    with torch.no_grad():
        network(task)[0].weight.mul_(1.5)  # type: ignore[index]


def patch_forward(task: Any) -> None:
    module = network(task)
    module.forward = type(module).forward.__get__(module)  # type: ignore[method-assign]


def leave_gradients(task: Any) -> None:
    for weight in network(task).parameters():
        weight.grad = torch.zeros_like(weight)


def edit_contrast(task: Any) -> None:
    task.random_set(4, 0).images.mul_(0.5)


def edit_data(task: Any) -> None:
    task.data.samples(task.data.classes[-1], "explain", 4, 0).images.mul_(0.5)


def leave_a_thread(task: Any) -> None:
    threading.Thread(target=threading.Event().wait, args=(3,), daemon=True, name="left over").start()


def sort_by_hash(made: Explanation) -> Explanation:
    """As a set of strings has it, which only another process shows."""
    order = sorted(made.concepts, key=lambda c: hash(c.name))
    return replace(made, concepts=tuple(replace(c, importance=0.0) for c in order))


def nan_direction(made: Explanation) -> Explanation:
    layer = next(iter(made.concepts[0].directions))
    return first(directions={layer: torch.full_like(made.concepts[0].directions[layer], float("nan"))})(made)


def write_past_python(task: Any) -> None:
    os.write(1, b"progress\n")


def close_stdout(task: Any) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


MODEL, RANDOM, SAMPLES = "models_are_left_as_found", "random_state_is_left_as_found", "samples_are_left_as_found"
SETTINGS, OUTPUT, FORM = "settings_are_left_as_found", "output_is_left_alone", "concepts_are_sorted_and_well_formed"
HARM: dict[str, tuple[Callable[[Any], Any], str]] = {
    "seeds torch": (lambda task: torch.manual_seed(0), RANDOM),
    "seeds numpy": (lambda task: np.random.seed(0), RANDOM),
    "seeds random": (lambda task: random.seed(0), RANDOM),
    "draws": (lambda task: torch.rand(1), RANDOM),
    "leaves the training mode": (lambda task: network(task).train(), MODEL),
    "changes weights": (scale_weights, MODEL),
    "leaves a forward hook": (lambda task: network(task).register_forward_hook(lambda *a: None), MODEL),
    "leaves a backward hook": (lambda task: network(task)[0].register_full_backward_hook(lambda *a: None), MODEL),  # type: ignore[index]
    "leaves a hook on a weight": (
        lambda task: network(task)[0].weight.requires_grad_().register_hook(lambda g: None),  # type: ignore[index]
        MODEL,
    ),
    "leaves gradients": (leave_gradients, MODEL),
    "patches forward": (patch_forward, MODEL),
    "replaces a function of the classifier": (lambda task: vars(task.classifier).update(logits=len), MODEL),
    "edits explained samples": (lambda task: task.samples.images.mul_(0.5), SAMPLES),
    "edits random sets": (edit_contrast, SAMPLES),
    "edits training samples": (
        lambda task: task.data.samples(task.data.classes[-1], "explain", 4, 0).images.mul_(0.5),
        SAMPLES,
    ),
    "sets threads": (lambda task: torch.set_num_threads(torch.get_num_threads() + 1), SETTINGS),
    "sets the default dtype": (lambda task: torch.set_default_dtype(torch.float64), SETTINGS),
    "sets the deterministic mode": (lambda task: torch.use_deterministic_algorithms(True), SETTINGS),
    "sets the gradient mode": (lambda task: torch.set_grad_enabled(not torch.is_grad_enabled()), SETTINGS),
    "sets the environment": (lambda task: os.environ.update(XCORE_LEFT="1"), SETTINGS),
    "changes the folder": (lambda task: os.chdir("/"), SETTINGS),
    "replaces sys.stdout": (lambda task: setattr(sys, "stdout", sys.stderr), SETTINGS),
    "leaves a thread": (leave_a_thread, SETTINGS),
    "prints": (lambda task: print("step 1"), OUTPUT),
    "writes to the descriptor": (write_past_python, OUTPUT),
    "redirects the descriptor": (close_stdout, OUTPUT),
}
FORMS: dict[str, tuple[Callable[[Explanation], Explanation], str]] = {
    "a direction of NaN": (nan_direction, FORM),
    "a direction of another width": (first(directions={"4": torch.ones(7)}), FORM),
    "a direction at an unknown layer": (first(directions={"fourth": torch.ones(12)}), FORM),
    "local of another length": (first(local=torch.ones(5)), FORM),
    "notes as one string": (lambda made: replace(made, notes="no list"), FORM),  # type: ignore[arg-type]
    "no concepts": (lambda made: replace(made, concepts=()), FORM),
    "unsorted concepts": (lambda made: replace(made, concepts=made.concepts[::-1]), FORM),
    "negative maps": (first(maps=-torch.ones(12, 32, 32)), FORM),
    "an unknown rendering": (first(render="sepia:dark"), "renderings_are_known"),
    "segments without a segmenter": (first(render="segment:purple"), "renderings_are_known"),
    "another generator's drawings": (first(render="generated:else"), "renderings_are_known"),
}


def explaining(folder: Path, explainer: Any, **more: Any) -> Callable[[], Explaining]:
    return lambda: Explaining(explainer, tiny_task(folder, **more), folder / "checks", repeats_maps=False)


@pytest.mark.parametrize("name", HARM)
def test_harm_is_caught_by_name(name: str, tmp_path: Path) -> None:
    spoil, check = HARM[name]
    assert check in failed_by(tmp_path, Channels(spoil), check)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_malformed_is_caught_by_name(name: str, tmp_path: Path) -> None:
    change, check = FORMS[name]
    more = {"generator": TinyGenerator()} if "generator" in name else {}
    more |= {"models": {"segmenter": GridSegmenter()}} if "segments" in name else {}
    found = results("explainer", explaining(tmp_path, Changed(change), **more), check)
    assert found[check].status == "failed", found[check]
    assert found[check].why
    assert found[check].mend


def failed_by(folder: Path, explainer: Any, check: str) -> set[str]:
    found = results("explainer", explaining(folder, explainer), check)
    return {name for name, result in found.items() if result.status == "failed"}


class Reversed(Channels):
    """Its importances have the wrong sign."""

    def explain(self, task: Any) -> Explanation:
        made = super().explain(task)
        turned = tuple(replace(c, importance=-c.importance) for c in made.concepts[::-1])
        return replace(made, concepts=turned)


class Blind(Channels):
    """It measures colours of the samples, and asks no network."""

    def explain(self, task: Any) -> Explanation:
        images = task.samples.images
        values = images.mean((0, 2, 3))
        order = values.argsort(descending=True).tolist()
        concepts = tuple(
            Concept(("red", "green", "blue")[i], float(values[i]), task.samples.take([0, 1])) for i in order
        )
        return Explanation("blind", task.target_name, "brightness", concepts)


class Unsteady(Channels):
    """Every call gives something else."""

    calls = 0

    def explain(self, task: Any) -> Explanation:
        self.calls += 1
        return first(evidence={"call": float(self.calls)})(super().explain(task))


class Lost(Channels):
    """It finds its concepts again by chance."""

    def apply(self, explanation: Explanation, task: Any) -> Any:
        from xcore.contract import Presence

        n, k = len(task.samples), len(explanation.concepts)
        return Presence(torch.rand(n, k, generator=torch.Generator().manual_seed(n)), "chance")


@pytest.mark.parametrize(
    ("explainer", "check"),
    [
        (Reversed(), "a_planted_concept_comes_first"),
        (Blind(), "random_weights_change_the_explanation"),
        (Blind(), "permuted_classes_take_the_importance_away"),
        (Unsteady(), "same_seed_same_result"),
        (Lost(), "concepts_are_found_again"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_untruth_is_caught_by_name(explainer: Any, check: str, tmp_path: Path) -> None:
    assert check in failed_by(tmp_path, explainer, check)


def test_an_honest_explainer_fails_nothing(tmp_path: Path) -> None:
    found = results("explainer", explaining(tmp_path, Channels()))
    assert {name for name, result in found.items() if result.status != "passed"} == {
        "order_does_not_depend_on_the_hash_seed"  # two processes do that: see test_check_command.py
    }


def test_a_control_is_asked_for_no_truth(tmp_path: Path) -> None:
    blind = Blind()
    blind.control = True  # type: ignore[attr-defined]
    assert not failed("explainer", explaining(tmp_path, blind))


def test_a_method_that_renders_segments_is_at_home(tmp_path: Path) -> None:
    made = explaining(tmp_path, Channels(render="segment:black"), models={"segmenter": GridSegmenter()})
    assert results("explainer", made, "renderings_are_known")["renderings_are_known"].status == "passed"


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


def test_the_text_world_is_explained(tmp_path: Path) -> None:
    """The kit hosts methods for texts, too: words, by what the logit loses without them."""

    class Words:
        def explain(self, task: Any) -> Explanation:
            found = []
            for word in task.vocabulary:
                less = tuple(" ".join(w for w in text.split() if w != word) for text in task.samples.texts)
                lost = task.classifier.logits(task.samples) - task.classifier.logits(replace(task.samples, data=less))
                found.append(Concept(word, float(lost[:, task.target].mean()), words=(word,), local=lost[:, 0]))
            return Explanation(
                "words", task.target_name, "drop of the logit", tuple(sorted(found, key=lambda c: -c.importance))
            )

    made = results("explainer", lambda: Explaining(Words(), text_task(tmp_path), tmp_path / "checks"))
    assert not [r for r in made.values() if r.status == "failed"], made
    assert made["random_weights_change_the_explanation"].status == "passed"


def test_what_a_component_raises_is_told_with_its_place(tmp_path: Path) -> None:
    def fail(task: Any) -> None:
        raise KeyError("stripes")

    found = results("explainer", explaining(tmp_path, Channels(fail)), FORM)[FORM]
    assert found.status == "failed"
    assert "KeyError" in found.reason
    assert Path(__file__).name in found.reason


class Unrepeatable(Channels):
    """Its concepts are not found again."""

    def apply(self, explanation: Explanation, task: Any) -> Any:
        raise NotApplicable("its concepts are of these samples alone")


def test_what_cannot_be_looked_for_again_is_skipped_with_its_reason(tmp_path: Path) -> None:
    check = "concepts_are_found_again"
    found = results("explainer", explaining(tmp_path, Unrepeatable()), check)[check]
    assert found.status == "skipped"
    assert "its concepts are of these samples alone" in found.reason


class Shy(Channels):
    """It knows one network only."""

    def __init__(self) -> None:
        super().__init__()
        self.known = ""

    def explain(self, task: Any) -> Explanation:
        weights = next(network(task).parameters()).double().sum().item()
        self.known = self.known or repr(weights)
        if repr(weights) != self.known:
            raise NotApplicable("this is another network")
        return super().explain(task)


def test_another_network_of_which_a_method_says_nothing_is_skipped_with_its_reason(tmp_path: Path) -> None:
    check = "random_weights_change_the_explanation"
    found = results("explainer", explaining(tmp_path, Shy()), check)[check]
    assert found.status == "skipped"
    assert found.reason.endswith("this is another network")


def test_what_does_not_apply_is_skipped_with_its_reason(tmp_path: Path) -> None:
    def refuse(task: Any) -> None:
        raise NotApplicable("it reads texts only", "name a text classifier")

    found = results("explainer", explaining(tmp_path, Channels(refuse)), FORM)[FORM]
    assert (found.status, found.reason) == ("skipped", "it reads texts only (name a text classifier)")


def test_refusals_are_errors_of_the_contract() -> None:
    from xcore.testing.checklist import Fault, refused

    with refused("this", UsageError, says="what"):
        raise UsageError("what is wrong")
    with pytest.raises(Fault, match="this is accepted; it must raise UsageError"), refused("this", UsageError):
        pass
    assert len(blobs(2, 1)) == 2
