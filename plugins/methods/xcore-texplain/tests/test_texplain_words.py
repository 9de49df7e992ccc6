"""Words, frequencies, priors, changes and pictures."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from xcore_texplain.cloud import draw_changes, draw_cloud
from xcore_texplain.habits import explained_by_images, habits_note, without_habits
from xcore_texplain.lexicon import Lexicon, is_head
from xcore_texplain.texplain import few_images_notes, group_difference_note
from xcore_texplain.words import (
    Change,
    Word,
    compare_groups,
    compare_with_prior,
    content_lemmas,
    count_words,
    lemmas_of,
    most_frequent_forms,
    read_table,
    write_table,
)


def test_content_is_lemmas_without_grammar() -> None:
    sentence = "This photo shows two Zebras with black stripes, standing on the grass; a zebra's picture."
    assert content_lemmas(sentence) >= {"zebra", "black", "stripe", "grass", "photo"}
    assert not content_lemmas(sentence) & {"this", "with", "the", "a"}
    assert content_lemmas("striped and stripes") == {"stripe"}
    assert "grass" not in content_lemmas(sentence, lemmas_of(["grasses"]))
    assert content_lemmas("12 !? a") == frozenset()


def test_the_most_frequent_form_of_a_lemma() -> None:
    found = most_frequent_forms(["a striped horse", "striped cats", "stripes"])
    assert (found["stripe"], found["cat"]) == ("striped", "cats")


def test_counts_are_shares_of_sentences_whatever_their_order() -> None:
    sentences = [["a cat on grass", "a cat, the cat", "grass"], ["a dog", "cats"]]
    counted = count_words(sentences)
    assert counted.words == ("cat", "dog", "grass")
    np.testing.assert_allclose(counted.shares, [[2 / 3, 0, 2 / 3], [0.5, 0.5, 0]])  # twice in a sentence is once
    shuffled = count_words([random.Random(1).sample(texts, len(texts)) for texts in sentences])
    np.testing.assert_array_equal(counted.counts, shuffled.counts)
    assert counted.shares_of(["grass", "sea"])[0].tolist() == [pytest.approx(2 / 3), 0]


def test_class_frequency_is_the_mean_of_images() -> None:
    own = count_words([["cat"] * 10, ["dog"] * 5 + ["cat"] * 5, ["dog"] * 2])
    prior = count_words([["cat", "dog"]] * 4)
    rows = {w.word: w for w in compare_with_prior(own, prior, count_words([["cat"] * 3 + ["dog"]]), 400, 0)}
    assert rows["cat"].freq == pytest.approx((1 + 0.5 + 0) / 3)
    assert rows["cat"].shuffled == 0.5
    assert rows["cat"].over == pytest.approx(0)
    assert rows["cat"].mean == 0.75
    assert rows["cat"].lift_mean == pytest.approx((0.5 * 22 + 0.5) / 23 / ((0.75 * 4 + 0.5) / 5))
    assert 0 <= rows["cat"].lo < 0.5 < rows["cat"].hi <= 1


def test_lifts_are_finite_for_words_that_a_prior_never_says() -> None:
    (row,) = compare_with_prior(
        count_words([["apple"]] * 5), count_words([["pear"]] * 5), count_words([["pear"]]), 50, 0
    )
    assert row.lift_shuffled == pytest.approx((5 + 0.5) / 6 / (0.5 / 6))
    assert np.isfinite(list(row.evidence.values())).all()


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(100):
        sentences = [["cat" if u < p else "dog" for u in rng.random(20)] for p in rng.beta(2, 3, size=40)]
        rows = {
            w.word: w
            for w in compare_with_prior(
                count_words(sentences), count_words([["dog"]] * 40), count_words([["dog"]]), 200, 0
            )
        }
        held += rows["cat"].lo <= 0.4 <= rows["cat"].hi
    assert 88 <= held <= 99


def test_gained_and_lost_words() -> None:
    before = count_words([["cat on grass", "cat on grass"]] * 20)
    after = count_words([["cat on sand", "cat on grass"]] * 20)
    rows = compare_groups(before, after, 200)
    assert [(r.word, r.change) for r in rows] == [("sand", 0.5), ("cat", 0.0), ("grass", -0.5)]
    assert [r.sure for r in rows] == [True, False, True]


def test_over_one_image_there_is_no_interval() -> None:
    one, two = count_words([["cat on grass"] * 4]), count_words([["cat on sand"] * 4, ["cat"] * 4])
    for before, after in ((one, two), (two, one)):
        rows = compare_groups(before, after, 50)
        assert {r.word: abs(r.change) for r in rows} == {"cat": 0, "grass": 1, "sand": 0.5}
        assert {(r.lo, r.hi, r.sure) for r in rows} == {(None, None, False)}
    alone = {w.word: w for w in compare_with_prior(one, two, count_words([["cat"]]), 50, 0)}
    assert set(alone["grass"].evidence) == {"freq", "shuffled", "mean", "over", "lift_shuffled", "lift_mean"}
    against_one = {w.word: w for w in compare_with_prior(two, one, count_words([["cat"]]), 50, 0)}
    assert (against_one["sand"].lo, against_one["sand"].hi) == (0, 1)  # of its own frequency there is one
    assert (against_one["sand"].over_lo, against_one["sand"].lift_hi) == (None, None)
    assert few_images_notes({"": one, " of group a": two}) == [
        "only one image was described: there are no intervals over a single image",
        "only 2 images of group a were described: intervals over so few are too narrow",
    ]
    assert few_images_notes({"": count_words([["cat"]] * 10)}) == []


def word(name: str, freq: float, over: float) -> Word:
    return Word(name, freq, freq, freq, freq - over, 0.1, over, over - 0.01, over + 0.01, 1.5, 1.0, 2.0, 1.5)


def test_clouds_colour_the_name_of_the_class(tmp_path: Path) -> None:
    words = [word("zebra", 0.9, 0.5), word("grass", 0.5, 0.2), word("paint", 0.5, 0.0)]
    words += [word("stand", 1.0, 0.015), word("rare", 0.001, 0.001)]
    files = draw_cloud(words, "zebras", tmp_path)
    svg = files["cloud.svg"].read_text()
    assert svg.startswith("<svg")
    assert {w: svg[: svg.index(f">{w}<")].rsplit("fill:", 1)[1][:7] for w in ("zebra", "grass", "paint", "stand")} == {
        "zebra": "#c0392b",
        "grass": "#1f4e79",
        "paint": "#b5bcc4",
        "stand": "#b5bcc4",  # over its prior, interval and all, by less than what counts as a word
    }
    assert ">rare<" not in svg
    first = files["cloud.png"].read_bytes()
    assert Image.open(files["cloud.png"]).size == (800, 500)
    assert draw_cloud(words, "zebras", tmp_path)["cloud.png"].read_bytes() == first
    assert draw_cloud([words[-1]], "zebra", tmp_path) == {}
    bird = [word("bird", 0.9, 0.5), word("water", 0.5, 0.2), word("gull", 0.5, 0.2)]
    drawn = draw_cloud(bird, "water_bird", tmp_path, lexicon=Lexicon({"water_bird": ["gulls", "-water"]}))
    shown = drawn["cloud.svg"].read_text()
    assert {w: shown[: shown.index(f">{w}<")].rsplit("fill:", 1)[1][:7] for w in ("bird", "water", "gull")} == {
        "bird": "#c0392b",
        "water": "#1f4e79",
        "gull": "#c0392b",
    }


def test_heads_of_compounds_are_told_from_words_that_only_end_alike() -> None:
    heads = [("bird", "waterbird"), ("fish", "clownfish"), ("snake", "rattlesnake"), ("house", "greenhouse")]
    assert all(is_head(*pair) for pair in heads)
    others = [("rain", "train"), ("hair", "chair"), ("room", "broom"), ("water", "waterbird"), ("bird", "bird")]
    assert not any(is_head(*pair) for pair in others)


def test_habits_are_what_is_said_alike_whatever_is_read_and_no_more_about_the_class() -> None:
    rng = np.random.default_rng(0)

    def said(n: int, grass: float, photo: float) -> list[list[str]]:
        """20 sentences about each image: all "stand", every image on grass or not, some are called a photo."""
        on = rng.random(n) < grass
        return [[f"stand{' grass' if g else ''}{' photo' if p else ''}" for p in rng.random(20) < photo] for g in on]

    shuffled, mean = count_words(said(200, 0.5, 0.4)), count_words([["stand"] * 5])
    words = compare_with_prior(count_words(said(200, 0.5, 0.4)), shuffled, mean, 200, 0)
    share = dict(zip(shuffled.words, explained_by_images(shuffled).tolist(), strict=True))
    assert share["grass"] > 0.99
    assert share["photo"] < 0.02
    assert share["stand"] == 0
    assert explained_by_images(count_words([["grass"]])).tolist() == [1]
    kept, left = without_habits(words, shuffled, lambda word: False)
    assert sorted(w.word for w in left) == ["photo", "stand"]  # grass is as frequent as in the prior, but not alike
    assert [w.word for w in kept] == ["grass"]
    (note,) = habits_note(left, 0.02)
    assert "stand 1.00 (lift 1.00 [1.00, 1.00]), photo 0." in note
    assert habits_note([], 0.02) == []
    more = compare_with_prior(count_words(said(200, 0.5, 0.8)), shuffled, mean, 200, 0)
    assert [w.word for w in without_habits(more, shuffled, lambda word: False)[1]] == ["stand"]
    assert without_habits(words, shuffled, lambda word: word == "stand")[1][0].word == "photo"
    one = compare_with_prior(count_words([["stand"]]), shuffled, mean, 50, 0)
    assert without_habits(one, shuffled, lambda word: False)[1] == []  # over one image there is no interval


def test_tables_are_read_back(tmp_path: Path) -> None:
    alone = replace(word("sand", 0.5, 0.5), lo=None, hi=None, over_lo=None)
    words = [word("zebra", 0.5, 0.25), word("grass", 0.125, -0.5), alone]
    assert read_table(write_table(words, tmp_path / "words.csv")) == words


def test_changes_are_drawn(tmp_path: Path) -> None:
    rows = compare_groups(count_words([["cat on grass"]] * 5), count_words([["cat on sand"]] * 5), 50)
    with Image.open(draw_changes(rows, ("one", "two"), tmp_path / "a.png")) as picture:
        assert picture.width > 400
    draw_changes([], ("one", "two"), tmp_path / "b.png")


def test_pictures_say_that_there_is_no_interval(tmp_path: Path) -> None:
    def last_line(images: int) -> np.ndarray:
        rows = compare_groups(count_words([["cat on grass"]] * images), count_words([["cat on sand"]] * 5), 50)
        with Image.open(draw_changes(rows, ("one", "two"), tmp_path / "a.png")) as picture:
            return np.array(picture)[-20:, :300]

    assert (last_line(5) == 255).mean() > 0.99 > (last_line(1) == 255).mean()
    words = [word("grass", 0.5, 0.2), word("sand", 0.5, -0.2)]
    svg = draw_cloud([replace(w, over_lo=None, over_hi=None) for w in words], "zebra", tmp_path)[
        "cloud.svg"
    ].read_text()
    assert {w: svg[: svg.index(f">{w}<")].rsplit("fill:", 1)[1][:7] for w in ("grass", "sand")} == {
        "grass": "#7fa8cc",
        "sand": "#b5bcc4",
    }


def test_the_note_of_two_groups_names_the_surest_changes_first() -> None:
    rows = [Change("water", 0.1, 0.9, 0.8, 0.7, 0.9), Change("bird", 0.5, 0.6, 0.1, -0.1, 0.3)]
    rows.append(Change("grass", 0.95, 0.05, -0.9, -1.0, -0.8))
    assert (
        group_difference_note(rows, ("land", "water"))
        == "share of sentences, water minus land: grass -0.90, water +0.80"
    )
    assert group_difference_note(rows[1:2], ("a", "b")).endswith("no word has an interval that excludes 0")


def test_words_of_one_frequency_are_of_one_size_in_the_cloud(tmp_path: Path) -> None:
    words = [word(name, 0.99, 0.5) for name in ("stand", "black", "stripe", "white", "horse")]
    words += [word(name, 0.25, 0.1) for name in ("small", "painter", "grass", "forest", "snow", "water")]
    svg = draw_cloud(words, "zebra", tmp_path)["cloud.svg"].read_text()
    sizes = {w.word: float(svg[: svg.index(f">{w.word}<")].rsplit('font-size="', 1)[1].split('"')[0]) for w in words}
    assert len({sizes[w.word] for w in words[:5]}) == 1
    assert len({sizes[w.word] for w in words[5:]}) == 1
    assert sizes["small"] < sizes["stand"]
