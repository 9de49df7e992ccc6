"""Intervals, tests and Holm's correction: closed forms, scipy as the oracle, and runs that are simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from xcore.report.comparison.design import Values, change
from xcore.report.comparison.statistics import class_part, holm, judged, seed_part


def test_over_classes_alone_it_is_the_t_test_of_scipy():
    gaps = [0.3, 0.1, 0.25, -0.05, 0.2]
    found = judged(np.mean(gaps), [class_part(gaps)], len(gaps), 1.0, "t")
    theirs = stats.ttest_1samp(gaps, 0.0)
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_of_two_sides_it_is_the_t_test_of_welch():
    a, b = [1.0, 2.0, 4.0], [3.0, 3.5, 5.0, 6.0]
    found = judged(np.mean(b) - np.mean(a), [class_part(a), class_part(b)], 3, 6.0, "t")
    theirs = stats.ttest_ind(b, a, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_what_a_seed_changes_in_all_classes_is_seen():
    shifts = {0: 0.0, 1: 1.0, 2: 5.0}
    table = {(cls, seed): level + shift for cls, level in (("a", 10.0), ("b", 20.0)) for seed, shift in shifts.items()}
    part = seed_part(table)
    assert part.variance == pytest.approx(np.var([*shifts.values()], ddof=1) / 3)
    assert part.freedom == 2
    del table["b", 2]  # a class that lacks a seed takes no level into the others
    assert seed_part(table).variance < np.var([0.0, 1.0, 20.0], ddof=1) / 3


@pytest.mark.parametrize(("gap", "p"), [(0.0, 1.0), (0.5, 2 / 2**4)])
def test_where_nothing_varies_signs_are_flipped_and_there_is_no_interval(gap, p):
    found = judged(gap, [class_part([gap] * 4)], 4, 1.0, "t")
    assert (found.p, found.low, found.high) == (p, None, None)
    assert "sign-flip" in found.test


def test_holm_is_as_in_his_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# -- runs that are simulated -------------------------------------------------------------------------------------------
def simulated(rng, classes, seeds, common, shift=0.0, first=0):
    """Values of a run: what a class has, what a seed changes in all classes, noise; and a difference."""
    of_seed = rng.normal(size=seeds) * common
    return Values(
        {
            (f"c{c}", first + s): 3.0 * c + of_seed[s] + rng.normal() + shift
            for c in range(classes)
            for s in range(seeds)
        },
        {(f"c{c}", first + s): first + s for c in range(classes) for s in range(seeds)},
    )


def called(rng, shift, common, repeats=400):
    found = [
        change(simulated(rng, 6, 3, common), simulated(rng, 6, 3, common, shift, first=3)).estimate
        for _ in range(repeats)
    ]
    right = np.mean([e.low <= shift <= e.high for e in found])
    return np.mean([e.p <= 0.05 for e in found]), right


@pytest.mark.parametrize("common", [0.0, 1.0, 3.0])
def test_runs_that_differ_only_in_seeds_are_called_different_in_few_cases(common):
    rate, covered = called(np.random.default_rng(0), 0.0, common)
    assert rate <= 0.08  # 400 repeats of .05 are within .022 in 19 of 20 cases
    assert covered >= 0.92


def test_the_interval_holds_a_true_difference_and_large_ones_are_found():
    rate, covered = called(np.random.default_rng(1), 2.0, 0.3)
    assert rate >= 0.9
    assert covered >= 0.92


def test_the_t_test_over_classes_alone_would_call_most_such_runs_different():
    rng, wrong = np.random.default_rng(2), 0
    for _ in range(200):
        a, b = simulated(rng, 6, 3, 3.0), simulated(rng, 6, 3, 3.0, first=3)
        gaps = [np.mean([b.of[f"c{c}", s + 3] - a.of[f"c{c}", s] for s in range(3)]) for c in range(6)]
        wrong += stats.ttest_1samp(gaps, 0.0).pvalue <= 0.05
    assert wrong > 100
    assert math.isfinite(wrong)


# -- what is set against what ------------------------------------------------------------------------------------------
def values(of, draws=None, joint=False):
    return Values(of, draws or {case: case[1] for case in of}, joint)


def test_shared_classes_and_seeds_are_paired():
    a = values({("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 5.0, ("b", 1): 6.0, ("b", 2): 100.0})
    b = values({("a", 0): 1.5, ("a", 1): 2.5, ("b", 0): 5.6, ("b", 1): 6.5})
    found = change(a, b)
    assert found.design == "paired by class and seed"
    assert (found.unit, found.estimate.n) == ("classes", 2)
    assert found.estimate.difference == pytest.approx(0.525)
    assert (found.before, found.after) == pytest.approx((3.5, 4.025))  # b's third seed is in neither mean


def test_other_seeds_leave_classes_paired():
    a = values({("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 5.0, ("b", 1): 6.5})
    b = values({("a", 2): 1.5, ("a", 3): 2.5, ("b", 2): 5.6, ("b", 3): 6.5})
    found = change(a, b)
    assert found.design.startswith("paired by class; the seeds or samples differ")
    assert found.estimate.p is not None
    one = change(values({("a", 0): 1.0, ("b", 0): 2.0}), values({("a", 1): 1.0, ("b", 1): 2.0}))
    assert one.estimate.p is None
    assert "not tested" in one.remark


def test_the_same_seeds_with_other_samples_are_not_paired():
    of = {("a", 0): 1.0, ("a", 1): 2.0, ("b", 0): 5.0, ("b", 1): 6.0}
    drawn = [values(of, dict.fromkeys(of, seed)) for seed in (7, 8)]
    found = change(*drawn)
    assert found.estimate.p is None  # one draw each: what another would change is not seen
    assert change(drawn[0], drawn[0]).design == "paired by class and seed"


def test_one_class_is_compared_over_its_seeds():
    a = values({("a", s): float(s) for s in range(4)})
    paired = change(a, values({("a", s): s + 0.5 + 0.01 * s for s in range(4)}))
    assert (paired.design, paired.unit, paired.estimate.n) == ("one class, paired by seed", "seeds", 4)
    apart = change(a, values({("a", s): s - 3.0 for s in range(4, 8)}))
    theirs = stats.ttest_ind([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0], equal_var=False)
    assert apart.estimate.p == pytest.approx(theirs.pvalue)
    assert change(values({("a", 0): 1.0}), values({("a", 0): 2.0})).estimate.p is None


def test_other_classes_are_not_paired():
    a = values({(c, s): i + 0.1 * s for i, c in enumerate("abc") for s in (0, 1)})
    b = values({(c, s): i + 0.1 * s for i, c in enumerate("xyz") for s in (0, 1)})
    found = change(a, b)
    assert found.design.startswith("not paired")
    assert found.estimate.p is not None


def test_one_value_for_all_seeds_is_one_value():
    of = {("a", 0): 1.0, ("a", 1): 1.0, ("b", 0): 2.0, ("b", 1): 2.0, ("c", 0): 3.0, ("c", 1): 3.0}
    more = {("a", 0): 1.3, ("a", 1): 1.3, ("b", 0): 2.1, ("b", 1): 2.1, ("c", 0): 3.2, ("c", 1): 3.2}
    same = change(values(of, joint=True), values(more, joint=True))
    assert same.estimate.p == pytest.approx(stats.ttest_1samp([0.3, 0.1, 0.2], 0.0).pvalue)
    assert "not seen" in same.remark
    other = values({(cls, seed + 2): v for (cls, seed), v in more.items()}, joint=True)
    assert change(values(of, joint=True), other).estimate.p is None
