"""Deliberately broken explainers: each is caught by the check that is meant for it, and the honest ones by none."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from teeth import FORM, MODEL, OUTPUT, RANDOM, SAMPLES, SETTINGS, Channels, failed, leave_a_thread, network, results

from xcore.contract import Concept, Explanation, NotApplicable, UsageError
from xcore.testing.explainers import Explaining
from xcore.testing.helpers import (
    GridSegmenter,
    TinyGenerator,
)
from xcore.testing.texts import text_task
from xcore.testing.world import blobs, tiny_task


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
