"""The audit of metrics on the planted network: one that asks it passes, one that does not fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xcore.contract import Score
from xcore.testing import planted_network, tiny_task
from xcore.testing.audit import AuditCase, audit_metric, value_of
from xcore.testing.perturbing import only, perturbed, random_concepts, shuffled
from xcore.testing.planted import LAYER, planted_run, planted_task


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return planted_run(planted_task(tiny_task(folder), folder, planted_network()), perfect=True)


def cases(run, n=8):
    concepts = run.explanation.concepts
    order = (1, 2, 0)  # what is right for another class: green is its first concept
    moved = tuple(replace(concepts[i], importance=c.importance) for i, c in zip(order, concepts, strict=True))
    other = replace(run.explanation, concepts=moved, dictionary=None)
    own = replace(run, explanation=replace(run.explanation, dictionary=None))
    return [AuditCase(f"case {i}", "directions", own, other, right=True) for i in range(n)]


class Slope:
    """By how much the class logit rises along the concepts, weighted by their importances."""

    direction = "higher"
    needs = frozenset({"directions"})

    def score(self, runs):
        (run,) = runs
        probe, heldout = run.task.classifier.open(LAYER), run.heldout
        slope = probe.gradients(heldout, run.task.target).mean((0, 2, 3))
        parts = [float(c.importance * c.directions[LAYER] @ slope) for c in run.explanation.concepts]
        return [Score("Slope", value=sum(parts))]


class Flattering:
    """The same for every explanation."""

    direction = "higher"
    needs = frozenset()

    def score(self, runs):
        return [Score("Flattering", value=1.0)]


class Preferring:
    """What a drawn explanation gets is chance, but its own test calls everything significant."""

    direction = "higher"
    needs = frozenset()

    def score(self, runs):
        drawn = sum(float(d.sum()) for c in runs[0].explanation.concepts for d in c.directions.values())
        return [Score("Preferring", 0, value=drawn % 0.01, details={"p": 0.01})]


def test_a_metric_that_asks_the_network_passes(run):
    found = audit_metric(Slope(), cases(run))
    assert found.verdict == "passed", list(found.sentences())
    assert found.median <= 2


def test_a_metric_that_is_the_same_for_all_fails_every_comparison_and_the_rank(run):
    found = audit_metric(Flattering(), cases(run))
    assert found.failed == (
        "random concepts",
        "shuffled importances",
        "random weights",
        "another class",
        "right explanation",
    )
    assert {share.better / share.of for share in found.power.values()} == {0.5}


def test_a_test_that_always_rejects_fails_the_level(run):
    found = audit_metric(Preferring(), cases(run))
    assert found.rejected == (8, 8)
    assert "level" in found.failed


def test_a_metric_that_does_not_apply_is_neither_passed_nor_failed(run):
    slope = Slope()
    slope.needs = frozenset({"maps"})
    assert audit_metric(slope, cases(run, 2)).verdict == "not applicable"


def test_a_case_of_one_kind_has_nothing_of_the_others(run):
    shown = only(run.explanation, "pictures").concepts[0]
    assert (shown.maps, dict(shown.directions), shown.atom) == (None, {}, None)
    assert only(run.explanation, "maps").concepts[0].samples is None


def test_shuffling_changes_what_is_important_and_nothing_else(run):
    rng = np.random.default_rng(0)
    for _ in range(5):
        made = shuffled(run.explanation, rng)
        assert [c.importance for c in made.concepts] == [c.importance for c in run.explanation.concepts]
        assert made.concepts[0].name != run.explanation.concepts[0].name


@pytest.mark.parametrize("kind", ["directions", "maps", "pictures"])
def test_random_concepts_are_of_the_same_size_and_others(run, kind):
    rng = np.random.default_rng(0)
    own = replace(run, explanation=replace(only(run.explanation, kind), dictionary=None))
    made = random_concepts(own, kind, rng)
    for one, other in zip(own.explanation.concepts, made.concepts, strict=True):
        assert one.importance == other.importance
        if kind == "directions":
            a, b = one.directions[LAYER], other.directions[LAYER]
            assert float(b.norm()) == pytest.approx(float(a.norm()), rel=1e-4)
            assert not torch.allclose(a, b)
        elif kind == "maps":
            assert float(other.maps.sum()) == pytest.approx(float(one.maps.sum()), rel=1e-4)
            assert not torch.equal(one.maps, other.maps)
        else:
            assert len(other.samples) == len(one.samples)
            assert other.samples.digest != one.samples.digest


def test_random_atoms_bring_codes_of_their_own(run):
    made = random_concepts(run, "directions", np.random.default_rng(0)).dictionary
    assert made.codes.shape == run.explanation.dictionary.codes.shape
    assert not torch.allclose(made.atoms, run.explanation.dictionary.atoms)


def test_perturbed_ones_are_noisy_swapped_shuffled_or_lack_the_first(run):
    own = replace(run, explanation=only(run.explanation, "maps"))
    made = perturbed(own, "maps", 4, np.random.default_rng(0))
    assert [len(e.concepts) for e in made] == [3, 3, 3, 2]
    assert all(e.concepts[0].name == "red" for e in made[:1])
    assert made[1].concepts[0].name != "red"


def test_the_value_of_single_concepts_is_that_of_the_better_ranked_half():
    scores = [Score("m", i, value=v) for i, v in enumerate([1.0, 0.5, 9.0, 9.0])]
    assert value_of(scores) == 0.75
    assert value_of([*scores, Score("m", value=0.1)]) == 0.1
    assert value_of([Score("m", reason="none")]) is None
