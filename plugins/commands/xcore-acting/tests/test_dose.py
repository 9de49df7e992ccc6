"""Doses of a concept: what a curve shows, its tests and band, and what is given to pictures and texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from xcore_acting import dose, dose_curve
from xcore_acting.ask_concepts import Asked
from xcore_acting.dose import DOSES, dosing
from xcore_acting.dose_curve import Curve, curve, trend
from xcore_acting.dose_found import found, verdict
from xcore_evidence.options import SurrogateOptions

from xcore.contract import MissingError, NotApplicable, Samples, UsageError
from xcore.models.classifiers import FunctionClassifier

OPTIONS = SurrogateOptions()
DOSE = np.array(DOSES)


def noisy(means: np.ndarray, n: int, seed: int, spread: float = 0.3) -> np.ndarray:
    found = means + spread * np.random.default_rng(seed).normal(size=(n, len(means)))
    found[:, 2] = 0  # nothing is changed at dose 0
    return found


def test_a_rising_a_flat_and_a_bent_curve_are_told_apart() -> None:
    rising = curve(DOSE, noisy(0.2 * DOSE, 30, 0))
    assert rising.slope_lo > 0
    assert rising.slope == pytest.approx(0.2, abs=0.05)
    assert verdict(rising, rising.p, 0.1) == "rises"
    falling = curve(DOSE, noisy(-0.2 * DOSE, 30, 1))
    assert verdict(falling, falling.p, 0.1) == "falls"
    flat = curve(DOSE, noisy(0 * DOSE, 60, 2, spread=0.1))
    assert verdict(flat, flat.p, 0.1) == "flat within ±10%"
    assert verdict(flat, flat.p, 0.001) == "not shown"
    bent = curve(DOSE, noisy(np.array([-0.9, -0.9, 0.0, 1.5, 0.1]), 60, 3, spread=0.1))
    assert verdict(bent, bent.p, 0.1) == "changes, not monotonely"
    assert bent.reversal > 0.3


def test_the_band_holds_whole_curves_and_the_trend_test_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dose_curve, "RESAMPLED", 200)
    held, trends, pointwise = [], [], []
    for seed in range(150):
        y = noisy(0 * DOSE, 24, seed)
        c = curve(DOSE, y, seed)
        held.append(bool(((c.lo <= 0) & (c.hi >= 0)).all()))
        trends.append(c.p <= 0.05)
        error = y.std(0, ddof=1) / np.sqrt(len(y))
        pointwise.append(bool((np.abs(y.mean(0)) <= 2.07 * error + 1e-12).all()))
    assert np.mean(held) >= 0.90
    assert np.mean(pointwise) < np.mean(held), "intervals of single points hold the whole curve less often"
    assert 0.0 <= np.mean(trends) <= 0.10


def test_samples_without_a_dose_count_where_they_have_one() -> None:
    y = noisy(0.2 * DOSE, 40, 4)
    y[10:, 0] = np.nan
    y[3:, 1] = np.nan
    c = curve(DOSE, y)
    assert c.counts == (10, 3, 40, 40, 40)
    assert np.isfinite(c.mean[0])
    assert np.isnan(c.mean[1]), "three samples are no point of a curve"
    assert c.p < 0.001
    assert trend(DOSE, np.full((5, 5), np.nan)) == 1.0
    assert trend(DOSE, np.zeros((5, 5))) == 1.0


def test_pages_test_agrees_with_scipy() -> None:
    from scipy import stats

    y = np.random.default_rng(5).normal(size=(20, 5)) + 0.2 * DOSE
    p = trend(DOSE, y)
    one_sided = stats.page_trend_test(y, method="asymptotic").pvalue
    assert p == pytest.approx(2 * min(one_sided, 1 - one_sided), rel=1e-6)


def test_pictures_answer_to_doses_of_what_is_used(tmp_path: Path, painted: Any) -> None:
    task = painted.task()
    give = dosing(task, ("stripes", "grass", "snow"), ("sand", "moss"), 0.6, 12)
    curves = {phrase: curve(DOSES, give(phrase).response) for phrase in ("stripes", "grass", "snow")}
    assert verdict(curves["stripes"], curves["stripes"].p, 0.1) == "rises"
    assert verdict(curves["grass"], curves["grass"].p, 0.1) == "falls"
    assert curves["snow"].within(0.1)
    d = give("stripes")
    assert len(d.response) == 12
    assert np.all(d.response[:, DOSES.index(0)] == 0)
    assert d.probability[:, -1].mean() > d.probability[:, DOSES.index(0)].mean() > d.probability[:, 0].mean()


def test_what_an_edit_away_from_any_phrase_does_is_no_response_to_this_one(painted: Any) -> None:
    class Plain(painted.painter):
        """Draws less moss whatever an edit leads away from."""

        def edit(
            self, samples: Samples, prompts: Any, seeds: Any, *, strength: float, negatives: Any = None
        ) -> Samples:
            made = super().edit(samples, prompts, seeds, strength=strength, negatives=negatives)
            made.images[..., painted.phrases.index("moss")] -= 0.3 * strength * bool(negatives)
            return made

    def asked(beside: tuple[str, ...], **weights: float) -> Curve:
        task = painted.task(generator=Plain(), classifier=painted.black_box(stripes=6, moss=-6, **weights))
        return curve(DOSES, dosing(task, ["snow"], beside, 0.6, 24)("snow").response)

    falls = asked(())
    assert verdict(falls, falls.p, 0.1) == "falls", "beside nothing, the response is to being edited at all"
    others = ("sand", "spots", "grass")
    assert asked(others).within(0.1)
    rises = asked(others, snow=6)
    assert verdict(rises, rises.p, 0.1) == "rises"


def test_edits_are_compared_with_phrases_that_matter_little(painted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dose, "NEUTRAL", 2)
    task = painted.task(classifier=painted.black_box(stripes=6, sand=-6, moss=-6))
    d = dosing(task, ["snow"], ("sand", "spots", "moss", "grass"), 0.6, 24)("snow")
    assert any(note.endswith("'grass', 'spots'") or note.endswith("'spots', 'grass'") for note in d.notes)
    assert curve(DOSES, d.response).within(0.1), "beside what speaks against the class, snow would rise"
    monkeypatch.setattr(dose, "NEUTRAL", 4)
    beside_all = curve(DOSES, dosing(task, ["snow"], ("sand", "spots", "moss", "grass"), 0.6, 24)("snow").response)
    assert verdict(beside_all, beside_all.p, 0.1) == "rises"


def test_a_band_that_is_too_wide_says_how_many_samples_it_needs(tmp_path: Path, painted: Any) -> None:
    class Loud(painted.painter):
        def edit(self, samples: Samples, prompts: Any, seeds: Any, **given: Any) -> Samples:
            made = super().edit(samples, prompts, seeds, **given)
            jolts = [
                np.random.default_rng(seed + len(text)).normal() for seed, text in zip(seeds, prompts, strict=True)
            ]
            added = made.images + 0.4 * torch.tensor(jolts, dtype=torch.float32).view(-1, 1, 1, 1)
            return Samples("image", added.clamp(0, 1), made.ids)

    task = painted.task(generator=Loud())
    made = found(task, OPTIONS, [Asked("snow", "phrase")], within=0.1, samples=12, folder=tmp_path)
    assert made.rows[0]["verdict"] == "not shown"
    assert any("the band of 12 images is too wide" in note and "--dosed" in note for note in made.notes)


def test_a_finding_has_a_row_and_a_picture_for_each_phrase(tmp_path: Path, painted: Any) -> None:
    asked = [Asked("stripes", "phrase"), Asked("snow", "phrase"), Asked("bars", "mask")]
    made = found(painted.task(), OPTIONS, asked, within=0.1, samples=12, folder=tmp_path)
    assert [row["concept"] for row in made.rows] == ["stripes", "snow"]
    assert all((tmp_path / name).is_file() for name in made.pictures)
    assert len(made.pictures) == 2
    assert [point["dose"] for point in made.figures["curves"]["snow"]] == list(DOSES)
    assert any("not of 'bars'" in note for note in made.notes)
    with pytest.raises(UsageError, match="a dose-response is of phrases"):
        found(painted.task(), OPTIONS, asked[2:], within=0.1, samples=12, folder=tmp_path)


def test_words_are_put_in_and_taken_out(tmp_path: Path, painted: Any) -> None:
    class Reviews:
        modality, classes = "text", ("praise", "blame")

        def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
            texts = ["a fine film, fine and long", "a fine story", "a long story", "nothing new"] * 5
            return Samples("text", tuple(texts[: n if split == "train" else 0]), tuple(map(str, range(min(n, 20)))))

    def logits(texts: tuple[str, ...]) -> torch.Tensor:
        z = torch.tensor([float(t.count("fine")) for t in texts])
        return torch.stack([z, torch.zeros_like(z)], 1)

    own = Reviews().samples("praise", "train", 20, 0)
    task = replace(
        painted.task(), classifier=FunctionClassifier(logits, Reviews.classes, modality="text"), samples=own,
        data=Reviews(), random_set=lambda n, index, *rest: Samples("text", ("dull",) * n, tuple(map(str, range(n)))),
    )  # type: ignore[arg-type]  # fmt: skip
    d = dosing(task, (), (), 0.6, 20)("fine")
    assert d.doses == DOSES
    assert (~np.isnan(d.response)).sum(0).tolist() == [5, 10, 20, 20, 20], "out of texts that hold so many"
    moved = np.nanmean(d.response, 0)
    assert moved == pytest.approx(moved[3] * np.array([-2, -1, 0, 1, 2]))
    assert "occurs in 10 of 20 texts, and twice or more in 5" in d.notes[0]
    assert np.nanmax(np.abs(dosing(task, (), (), 0.6, 20)("story").response)) == 0
    (row,) = found(task, OPTIONS, [Asked("fine", "phrase")], within=0.1, samples=20, folder=tmp_path).rows
    twice = ~np.isnan(d.probability[:, 0])
    assert row["probability_n"] == twice.sum() == 5
    told = [row[f"probability_{which}"] for which in ("low", "zero", "high")]
    assert told == pytest.approx([d.probability[twice, i].mean() for i in (0, 2, 4)]), "of the same texts"
    assert told[1] != pytest.approx(d.probability[:, 2].mean())


def test_a_slider_gives_doses_by_a_scaled_change_of_the_generator(tmp_path: Path, painted: Any) -> None:
    from xcore_acting.dose_adapter import sliding
    from xcore_rlpo.testing import Painter, Reader

    from xcore.models.classifiers import TorchClassifier

    class Fields:
        modality, classes = "image", ("red", "green")

        def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
            return Painter().generate([cls] * n, [1000 * seed + i for i in range(n)])

    painter, data = Painter(), Fields()
    task = painted.task(
        classifier=TorchClassifier(Reader(), data.classes), data=data, generator=painter,
        samples=data.samples("red", "explain", 12, 0),
    )  # fmt: skip
    task = replace(task, random_set=lambda n, index, *rest: data.samples("green", "train", n, 50 + index))
    give = sliding(task, 8, {"lr": 0.05})
    towards, same = give("green"), give("red")
    falls = curve(DOSES, towards.response)
    assert verdict(falls, falls.p, 0.1) == "falls"
    assert falls.mean[4] == pytest.approx(2 * falls.mean[3], abs=0.05), "the change is scaled"
    assert falls.mean[0] > falls.mean[1] > 0 == falls.mean[2], "away from it below 0"
    assert curve(DOSES, same.response).within(0.1), "red and more red are the same prompt to this generator"
    adapted = painter.adapted
    assert adapted == 40, "two sliders for each of two phrases"
    assert np.allclose(sliding(task, 8, {"lr": 0.05})("green").response, towards.response)
    assert painter.adapted == adapted, "a slider is tuned once"
    again = found(
        task, OPTIONS, [Asked("green", "phrase")], within=0.1, samples=8, folder=tmp_path, by="adapter",
        adapt={"lr": 0.05},
    )  # fmt: skip
    assert again.rows[0]["verdict"] == "falls"
    assert any("drawn is 'red'" in note for note in again.notes)
    with pytest.raises(NotApplicable, match="adapt"):
        sliding(painted.task(), 8)
    with pytest.raises(MissingError, match="can be adapted"):
        sliding(painted.task(generator=None), 8)


def test_what_doses_need_is_said(tmp_path: Path, painted: Any) -> None:
    with pytest.raises(MissingError, match="needs a generator that edits"):
        dosing(painted.task(generator=None), (), (), 0.6)
    mute = painted.painter()
    mute.can = frozenset()
    with pytest.raises(NotApplicable, match="edit"):
        dosing(painted.task(generator=mute), (), (), 0.6)

    class Few:
        modality, classes = "image", ("thing", "other")

        def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
            return painted.pictures(min(n, 2), 1)

    with pytest.raises(NotApplicable, match="needs 5 samples of the class, and there are 2"):
        dosing(painted.task(data=Few()), (), painted.phrases, 0.6)
