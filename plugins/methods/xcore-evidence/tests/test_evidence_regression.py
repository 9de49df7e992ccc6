"""Ridge regression, its robust errors, and tests of many effects, against formulas that are written differently."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from xcore_evidence import ridge
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.statistics import half_width, holm, one_sided, signed_marks

from xcore.contract import NotApplicable


def world(n: int = 60, k: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated columns of different sizes, and a response whose noise grows with the first column."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, k, generator=rng, dtype=torch.float64) @ (torch.eye(k) + 0.3).double()
    x = x * torch.tensor([1.0, 10.0, 0.1, 3.0][:k], dtype=torch.float64) + 5
    noise = torch.randn(n, generator=rng, dtype=torch.float64) * (1 + (x[:, 0] - 5).abs())
    return x, 2 * x[:, 0] - 0.1 * x[:, 1] + noise


def test_coefficients_are_those_of_least_squares_with_a_row_of_penalty_for_each_column() -> None:
    x, y = world()
    found = ridge.fit(x, y, penalty=0.3)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    rows = torch.cat([z, (0.3 * len(x)) ** 0.5 * torch.eye(4, dtype=z.dtype)])
    wanted = torch.linalg.lstsq(rows, torch.cat([y - y.mean(), torch.zeros(4, dtype=z.dtype)])).solution
    assert torch.allclose(found.coefficients, wanted, atol=1e-10)


def test_errors_are_those_of_leaving_out_one_row_at_a_time() -> None:
    """Without a penalty, HC3 is the sum of squares of what each row changes if it is left out."""
    x, y = world(25, 3)
    found = ridge.fit(x, y, penalty=1e-13)
    z = np.column_stack([np.ones(25), ((x - x.mean(0)) / x.std(0, correction=0)).numpy()])
    whole = np.linalg.lstsq(z, y.numpy(), rcond=None)[0]
    without = [np.linalg.lstsq(np.delete(z, i, 0), np.delete(y.numpy(), i), rcond=None)[0] for i in range(25)]
    wanted = np.sqrt(((np.array(without) - whole) ** 2).sum(0))[1:]
    np.testing.assert_allclose(found.errors.numpy(), wanted, rtol=1e-6)


def test_errors_of_groups_are_those_of_leaving_out_one_group_at_a_time() -> None:
    x, y = world(60, 3)
    groups = [i % 15 for i in range(60)]
    found = ridge.fit(x, y, penalty=1e-13, groups=groups)
    z = np.column_stack([np.ones(60), ((x - x.mean(0)) / x.std(0, correction=0)).numpy()])
    whole = np.linalg.lstsq(z, y.numpy(), rcond=None)[0]
    kept = [np.array(groups) != g for g in range(15)]
    without = [np.linalg.lstsq(z[rows], y.numpy()[rows], rcond=None)[0] for rows in kept]
    wanted = np.sqrt(((np.array(without) - whole) ** 2).sum(0))[1:]
    np.testing.assert_allclose(found.errors.numpy(), wanted, rtol=1e-6)


def test_rows_that_are_there_twice_tell_no_more_than_once() -> None:
    x, y = world()
    once = ridge.fit(x, y, penalty=0.3)
    twice = ridge.fit(torch.cat([x, x]), torch.cat([y, y]), penalty=0.3, groups=[*range(60)] * 2)
    assert torch.allclose(twice.errors, once.errors, rtol=1e-9)
    alone = ridge.fit(x, y, penalty=0.3, groups=range(60))
    assert torch.allclose(alone.errors, once.errors, rtol=1e-9)
    assert (ridge.fit(torch.cat([x, x]), torch.cat([y, y]), penalty=0.3).errors < 0.8 * once.errors).all()


def test_tests_of_grouped_rows_keep_their_level_where_groups_differ() -> None:
    """40 groups of 5 rows that share columns and response, which have nothing to do with each other."""
    rng = np.random.default_rng(0)
    groups = [i % 40 for i in range(200)]
    below: dict[bool, list[bool]] = {True: [], False: []}
    for _ in range(100):
        x = rng.normal(size=(40, 8))[groups] + rng.normal(size=(200, 8))
        y = rng.normal(size=40)[groups] + 0.5 * rng.normal(size=200)
        for heeded, p in below.items():
            fit = ridge.fit(torch.from_numpy(x), torch.from_numpy(y), penalty=0.3, groups=groups if heeded else None)
            p += [value <= 0.05 for value in one_sided((fit.coefficients / fit.errors).tolist(), 39)[0]]
    assert np.mean(below[True]) == pytest.approx(0.05, abs=0.02)
    assert np.mean(below[False]) > 0.1


def test_the_explained_share_is_of_rows_that_were_left_out() -> None:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 20, generator=rng), torch.randn(40, generator=rng)
    assert ridge.fit(x, y, penalty=1e-3).explained < 0, "columns of noise predict worse than the mean"
    assert ridge.fit(x, x[:, 0] * 3, penalty=1e-3).explained > 0.9
    # each row is there twice: unless both are left out together, a row is predicted from its own copy
    twice, groups = torch.cat([x, x]), [*range(40)] * 2
    apart = ridge.fit(twice, torch.cat([y, y]), penalty=1e-3).explained
    assert ridge.fit(twice, torch.cat([y, y]), penalty=1e-3, groups=groups).explained < 0 < apart


def test_cross_validation_prefers_a_strong_penalty_for_noise_and_a_weak_one_for_signal() -> None:
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(80, 6, generator=rng)
    noise = ridge.fit(x, torch.randn(80, generator=rng)).penalty
    signal = ridge.fit(x, x @ torch.arange(6.0)).penalty
    assert noise == max(ridge.PENALTIES)
    assert signal < 0.01


def test_what_cannot_be_regressed_is_refused() -> None:
    x, y = world()
    with pytest.raises(NotApplicable, match="at least 10 samples that are independent, and there are 9"):
        ridge.fit(x[:9], y[:9])
    with pytest.raises(NotApplicable, match="the same margin to every sample"):
        ridge.fit(x, torch.full_like(y, 7.3))


def test_a_constant_column_has_no_effect_and_no_error() -> None:
    x, y = world()
    x[:, 2] = 0.1
    found = ridge.fit(x, y, penalty=1.0)
    assert float(found.coefficients[2]) == float(found.errors[2]) == 0
    assert ridge.inflation(x)[2] == 1


def test_inflation_is_that_of_regressions_on_the_other_columns() -> None:
    x, _ = world(50, 4)
    for j, factor in enumerate(ridge.inflation(x).tolist()):
        others = np.column_stack([np.ones(50), np.delete(x.numpy(), j, 1)])
        residual = x[:, j].numpy() - others @ np.linalg.lstsq(others, x[:, j].numpy(), rcond=None)[0]
        assert factor == pytest.approx(x[:, j].var(correction=0).item() / (residual**2).mean(), rel=1e-6)
    copied = torch.cat([x, x[:, :1] * -2 + 1], 1)
    assert ridge.inflation(copied).isinf().tolist() == [True, False, False, False, True]
    assert ridge.alike(copied) == [(0, 4)]


def test_directions_say_how_activations_move_if_one_column_alone_does() -> None:
    x, _ = world(200, 3)
    z = ridge.standardised(x)
    moves = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(ridge.directions(x, z @ moves + 4, 1e-10), moves, atol=1e-6)


def test_the_margin_is_the_log_odds() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    odds = logits.softmax(1)[:, 1] / (1 - logits.softmax(1)[:, 1])
    assert torch.allclose(margin(logits, 1).float(), odds.log(), atol=1e-6)
    with pytest.raises(NotApplicable, match="two classes or more"):
        margin(logits[:, :1], 0)
    with pytest.raises(NotApplicable, match="not finite"):
        margin(logits / 0, 0)


def test_holm_is_that_of_its_definition() -> None:
    p = np.random.default_rng(0).uniform(0, 0.2, 9)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for step, i in enumerate(np.argsort(p)):  # reject while the next one is small enough
            if p[i] > alpha / (len(p) - step):
                break
            rejected.add(int(i))
        assert {i for i, q in enumerate(holm(list(p))) if q <= alpha} == rejected


def test_marks_are_corrected_on_each_side_alone() -> None:
    marks, adjusted = signed_marks([0.001, 0.999, 0.4, 0.03], [0.999, 0.001, 0.6, 0.97], 0.05)
    assert marks == [1, -1, 0, 0]
    assert adjusted == pytest.approx([0.004, 0.004, 0.8, 0.09])


def test_p_values_and_intervals_are_those_of_the_t_distribution() -> None:
    up, down = one_sided([2.0, float("nan")], 7)
    assert (up[0], down[0]) == pytest.approx((stats.t.sf(2, 7), stats.t.cdf(2, 7)))
    assert (up[1], down[1]) == (1, 1)
    assert half_width(0.5, 7) == pytest.approx(0.5 * stats.t.ppf(0.975, 7))


def test_a_minimum_effect_must_be_exceeded_and_an_effect_without_error_comes_last() -> None:
    given = {"degrees": 50, "ranges": [2.0, 2.0, 2.0], "gap": 10.0, "alpha": 0.05}
    effects, errors = [1.0, 0.3, 9.0], [0.1, 0.1, 0.0]
    made = estimates(["a", "b", "c"], effects, errors, **given)  # type: ignore[arg-type]
    assert [e.mark for e in made] == [1, 1, 0]
    assert made[0].share == pytest.approx(0.2)
    least = estimates(["a", "b", "c"], effects, errors, minimum=0.05, **given)  # type: ignore[arg-type]
    assert [e.mark for e in least] == [1, 0, 0]
    assert least[0].p == pytest.approx(stats.t.sf((1 - 0.25) / 0.1, 50)), "0.05 of a gap of 10, over a range of 2"
    assert Evidence("observed", "", "", made, 60, 10.0).ranked() == [0, 1, 2]
    assert {"error", "lo", "hi"}.isdisjoint(made[2].as_evidence())


def test_p_values_of_permuted_margins_are_not_too_small() -> None:
    x, y = world(120, 4, seed=3)
    rng, runs = np.random.default_rng(0), 200
    p, marked = [], 0
    for _ in range(runs):
        found = ridge.fit(x, y[torch.from_numpy(rng.permutation(120))], penalty=1.0)
        made = estimates(
            list("abcd"), found.coefficients.tolist(), found.errors.tolist(),
            degrees=115, ranges=[1.0] * 4, gap=1.0, alpha=0.05,
        )  # fmt: skip
        p += [e.p for e in made]
        marked += any(e.mark > 0 for e in made)
    for level in (0.01, 0.05, 0.1):
        assert np.mean(np.array(p) <= level) <= level + 3 * (level * (1 - level) / len(p)) ** 0.5
    assert marked <= stats.binom.ppf(0.999, runs, 0.05)


def test_skewed_margins_mark_neither_side_too_often() -> None:
    """Margins and the presence of phrases are skewed, and nothing is to be found; 95 % of such data have no mark."""
    rng, sides, as_they_are = torch.Generator().manual_seed(0), [0, 0], 0
    for _ in range(200):
        x, y = (torch.empty(*shape).exponential_(generator=rng).double() for shape in ((400, 20), (400,)))
        fit = ridge.fit(x, y, penalty=0.3)
        for skews in (fit.skews.tolist(), ()):
            made = estimates(
                [str(i) for i in range(20)], fit.coefficients.tolist(), fit.errors.tolist(),
                degrees=379, ranges=[1.0] * 20, gap=1.0, alpha=0.05, skews=skews,
            )  # fmt: skip
            marks = {e.mark for e in made}
            if skews:
                sides = [sides[0] + (1 in marks), sides[1] + (-1 in marks)]
            else:
                as_they_are += -1 in marks
    assert max(sides) / 200 <= 0.08, sides
    assert as_they_are / 200 > 0.08, "the lower side is marked too often if the skewness is not heeded"
