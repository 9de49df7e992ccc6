"""Failure modes: the search, its tests and the baseline on made tags; the command on a small world."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
import torch
from xcore_acting import failures_search as search
from xcore_acting import failures_tags as tagging
from xcore_acting.failures_clusters import clusters, describe, kmeans
from xcore_acting.failures_search import Rules
from xcore_acting.failures_tags import Tags

import xcore
from xcore.cli.main import main
from xcore.contract import MissingError, Samples, UsageError

PLUGIN = '''
import torch
from xcore import hookimpl
from xcore.contract import Samples

KINDS = ("bright", "dark")


class Data:
    """Grey pictures; every third of the bright ones has a red corner, which the network takes for dark."""

    modality = "image"
    classes = KINDS
    concepts = ()
    vocabulary = ("a corner", "a plain picture", "bright light")
    defaults = {"classifier": "corner-net"}
    skipped = ()
    notes = ()

    def __init__(self, bare=False):
        self.bare = bare

    def samples(self, cls, split, n, seed):
        from xcore.contract import UsageError

        if split == "train":
            raise UsageError("there is nothing in train")
        n = min(n, 90)
        g = torch.Generator().manual_seed(seed + 1)
        x = torch.rand(n, 3, 8, 8, generator=g) * 0.1 + (0.7 if cls == "bright" else 0.1)
        corner = [i % 3 == 0 for i in range(n)]
        side = ["left" if i % 2 else "right" for i in range(n)]
        for i in range(n):
            if corner[i]:
                x[i, :, :2, :2] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
        meta = {} if self.bare else {"attributes": tuple({"corner": int(c), "side": s} for c, s in zip(corner, side))}
        ids = tuple(f"{split}/{cls}/{i}" for i in range(n))
        return Samples("image", x, ids, torch.full((n,), KINDS.index(cls)), meta)

    def truth(self, classifier):
        return None


class Net:
    modality = "image"
    classes = KINDS
    can = frozenset()
    layers = ()
    default_layer = ""

    def logits(self, x):
        bright = x.images.mean((1, 2, 3))
        red = (x.images[:, 0, 0, 0] - x.images[:, 1, 0, 0] > 0.5).float()
        score = (bright - 0.4) * 10 - 20 * red
        return torch.stack([score, -score], 1)

    def open(self, layer):
        raise NotImplementedError


@hookimpl
def register_datasets(register):
    register("corners", lambda options: Data(), summary="x")
    register("bare", lambda options: Data(True), summary="x")


@hookimpl
def register_classifiers(register):
    register("corner-net", lambda options: Net(), summary="x")
'''


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "corners_plugin.py"
    file.write_text(PLUGIN)
    return file


def made(n=400, seed=0):
    """Tags a, b, c of n samples; failures are twice as likely in a & b as they would be by either alone."""
    rng = np.random.default_rng(seed)
    has = rng.random((n, 3)) < 0.5
    wrong = rng.random(n) < np.where(has[:, 0] & has[:, 1], 0.9, 0.05)
    return Tags(("a", "b", "c"), has), wrong


def found(tags, wrong, rules=None, seed=0):
    rules = rules or Rules()
    chosen = search.halves(wrong, seed)
    modes, _ = search.modes(search.with_absent(tags), wrong, chosen, rules)
    return search.marked(modes, rules), chosen


def test_the_combination_that_fails_is_found_first_and_what_does_not_matter_is_in_none_that_is_shown():
    tags, wrong = made()
    shown, chosen = found(tags, wrong)
    assert shown[0].name == "a & b"
    assert not [m for m in shown if "c" in m.name]
    inside = tags.has[:, :2].all(1) & ~chosen
    assert (shown[0].n, shown[0].failures) == (inside.sum(), (inside & wrong).sum())
    outside = (wrong & ~chosen & ~inside).sum() / (~chosen & ~inside).sum()
    expected = (shown[0].failures - shown[0].n * outside) / (wrong & ~chosen).sum()
    assert shown[0].accounts == pytest.approx(expected)


def test_of_failures_that_no_tag_goes_with_few_are_shown():
    """At 5 % family-wise, at most 2 of 40 worlds without a mode show one on average; six happen in 1.4 %."""
    rng = np.random.default_rng(3)
    shown = sum(
        bool(found(Tags(tuple("abcdefgh"), rng.random((300, 8)) < 0.4), rng.random(300) < 0.3, seed=i)[0])
        for i in range(40)
    )
    assert shown <= 5


def test_halves_share_the_failures():
    wrong = np.arange(100) % 5 == 0
    chosen = search.halves(wrong, 1)
    assert (chosen.sum(), (chosen & wrong).sum()) == (50, 10)
    assert (search.halves(wrong, 2) != chosen).any()


def test_intervals_and_tests_are_those_of_scipy_and_of_the_literature():
    from scipy.stats import binomtest, fisher_exact

    for k, n in ((0, 10), (3, 10), (10, 10)):
        exact = binomtest(k, n).proportion_ci(0.95, "exact")
        assert search.clopper_pearson(k, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
    p = search.fisher(np.array([8, 0]), np.array([10, 4]), 20, 60)
    assert p[0] == pytest.approx(fisher_exact([[8, 2], [12, 38]], alternative="greater").pvalue)
    assert p[1] == 1.0
    assert search.newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)  # Newcombe 1998, table II (a)
    assert search.attributable(30, 100, 50, 200) == pytest.approx((30 - 100 * 0.2) / 50)


def test_a_longer_combination_must_fail_more_often_than_each_shorter_one():
    rng = np.random.default_rng(0)
    has = rng.random((400, 2)) < 0.5
    wrong = rng.random(400) < np.where(has[:, 0], 0.8, 0.02)
    names = [m.name for m in found(Tags(("a", "b"), has), wrong)[0]]
    assert names == ["a"]


def test_an_absence_is_a_tag_too_and_tags_that_say_the_same_are_told():
    tags, _ = made()
    twice = Tags((*tags.names, "again", "all"), np.hstack([tags.has, tags.has[:, :1], np.ones((400, 1), dtype=bool)]))
    both = search.with_absent(twice)
    assert both.names == ("a", "b", "c", "not a", "not b", "not c")
    assert both.notes[0].endswith("'again' is 'a'")
    assert both.notes[1].startswith("1 of 5 tags are true of all samples or of none")
    wrong = ~tags.has[:, 0]
    assert found(tags, wrong)[0][0].name == "not a"
    two = Tags(("left", "right"), np.stack([tags.has[:, 0], ~tags.has[:, 0]], 1))
    assert search.with_absent(two).names == ("left", "right")


def test_a_phrase_that_begins_with_not_is_no_absence():
    rng = np.random.default_rng(0)
    has = rng.random((600, 2)) < 0.5
    wrong = rng.random(600) < np.where(has.any(1), 0.05, 0.9)  # a picture fails that has neither
    tags = Tags(("not striped", "wet"), has)
    both = search.with_absent(tags)
    assert both.is_absent.tolist() == [False, False, True, True]
    seen = Tags(("not striped", "not wet"), ~has)
    assert search.with_absent(seen).names == ("not striped", "not wet", "not not striped", "not not wet")
    assert found(seen, wrong)[0][0].name == "not striped & not wet", "both are seen, so they are combined"
    assert not any(m.name.count("not") > 1 for m in found(tags, wrong)[0] if m.name.startswith("not striped & not"))
    named = search.with_absent(Tags(("wet", "not wet"), np.stack([has[:, 0], has[:, 1]], 1)))
    assert named.names == ("wet", "not wet", "not (wet)", "not not wet")
    assert search.strongest(named, wrong, np.ones(600, dtype=bool)).is_absent.tolist() == [False, False, True, True]


def test_too_many_tags_are_cut_and_this_is_told(monkeypatch):
    monkeypatch.setattr(search, "MOST_TAGS", 2)
    tags, wrong = made()
    cut = search.strongest(tags, wrong, np.ones(400, dtype=bool))
    assert cut.names == ("a", "b")
    assert "the 2 that go most with failures" in cut.notes[0]


def test_clusters_of_the_features_are_the_baseline_and_are_described_by_tags():
    tags, wrong = made()
    rng = np.random.default_rng(1)
    x = tags.has[:, :2] * 10.0 + rng.normal(size=(400, 2))
    chosen = search.halves(wrong, 0)
    ways = clusters(x, wrong, chosen, tags, Rules(), 4, 0)
    assert [m.name for m in search.marked(ways["clusters"], Rules())] == ["about a & b (F1 1.00)"]
    assert len(search.marked(ways["clusters of failures"], Rules())) >= 1
    assert len(kmeans(np.ones((5, 2)), 3, 0)) == 1
    assert describe(tags, tags.has[:, 2], chosen) == "about c (F1 1.00)"


def test_tags_of_metadata_are_values_yes_or_no_and_thirds():
    rows = [{"place": "sea", "wet": 1, "size": float(i), "coat": ("red", "white"), "none": None} for i in range(12)]
    rows[0] = {"place": "land", "wet": -1, "size": 0.0, "coat": ("red",), "none": None}
    meta = {"attributes": tuple(rows), "group": tuple("ab" * 6)}
    tags = tagging.of_metadata([Samples("image", torch.zeros(12, 3, 2, 2), tuple(map(str, range(12))), None, meta)])
    expected = {"place=sea", "place=land", "wet", "coat=red", "coat=white", "group=a", "group=b"}
    assert set(tags.names) == expected | {"size low", "size middle", "size high"}
    assert tags.has[:, tags.names.index("wet")].tolist() == [False] + [True] * 11
    assert tags.has[:, tags.names.index("size low")].sum() == 4


def test_otsu_separates_two_halves_and_says_how_well():
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(0, 1, 90), rng.normal(20, 1, 10)])
    threshold, explained = tagging.otsu(two)
    assert (two > threshold).sum() == 10
    assert explained > 0.9
    assert tagging.otsu(rng.normal(size=4000))[1] == pytest.approx(2 / np.pi, abs=0.03) != tagging.CLEAR
    assert tagging.otsu(np.full(7, 3.0)) == (3.0, 0.0)


def test_tags_of_texts_are_words_and_pairs_of_them():
    tags = tagging.of_texts(["The plot was dull", "a dull plot", "plots, and bright actors"], 1)
    assert {"plot", "dull", "dull plot", "bright actor"} <= set(tags.names)
    assert tags.has[:, tags.names.index("plot")].all()
    assert "the" not in tags.names


def test_the_command_names_the_planted_failure_first_in_a_table_a_file_and_a_strip(
    plugin, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    command = ["xcore", "failures", "--data", "corners", "--class", "bright", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--plugin", str(plugin), "--json"])
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]
    whole, first = rows[:2]
    assert (whole["mode"], whole["n"], whole["failures"]) == ("all samples", 45, 15)
    assert (first["mode"], first["accuracy"], first["shown"]) == ("corner", 0.0, True)
    assert first["confused"] == "dark (100%)"
    assert first["accounts"] == 1.0
    table = list(csv.DictReader((out / "failures.csv").open()))
    assert table[1]["mode"] == "corner"
    text = (out / "failures.md").read_text()
    assert "no clusters to compare with, as the classifier gives no activations" in text
    assert "name one with --model image-text=REF" in text
    assert "0 of 90 samples fail (mistaken), which are too few to search" in text
    assert "![failures of bright (missed)" in text


def ask(plugin, tmp_path, **given):
    asked = {"data": "corners", "classes": ["bright"], "out": tmp_path, "plugins": [plugin], **given}
    return xcore.failures(**asked)


def test_samples_of_other_classes_that_are_mistaken_for_the_class_are_named_too(plugin, tmp_path):
    (found,) = ask(plugin, tmp_path, classes=["dark"], kinds=["mistaken"])
    whole, first = found.rows[:2]
    assert (whole["kind"], whole["n"], whole["failures"]) == ("mistaken", 45, 15)
    assert (first["mode"], first["shown"], first["confused"]) == ("corner", True, "bright (100%)")


def test_a_class_that_fails_is_told_at_the_end_and_loses_no_other(plugin, tmp_path, monkeypatch, capsys):
    from xcore_acting import failures_found

    real = failures_found.found_of

    def broken(task, *rest):
        if task.target_name == "bright":
            raise ValueError("a bug\nin a reader")
        return real(task, *rest)

    monkeypatch.setattr(failures_found, "found_of", broken)
    made = ask(plugin, tmp_path, classes=["all"])
    assert [f.about["class"] for f in made] == ["dark"]
    assert [str(f) for f in made.failed] == ["bright failed: ValueError: a bug in a reader"]
    command = ["xcore", "failures", "--data", "corners", "--class", "all", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--plugin", str(plugin)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1
    told = capsys.readouterr()
    assert "dark: where the classifier fails" in told.out
    assert told.err.splitlines()[-2:] == [
        "bright failed: ValueError: a bug in a reader",
        "1 failed; the same command tries what failed again",
    ]
    with pytest.raises(ValueError, match="a bug"):
        ask(plugin, tmp_path, classes=["bright"])


def test_what_cannot_be_is_told_in_one_line(plugin, tmp_path):
    with pytest.raises(UsageError, match=r"corners has no train samples of the class") as error:
        ask(plugin, tmp_path, split=["train"])
    assert "--split" in error.value.hint
    with pytest.raises(MissingError, match="nothing says anything of these samples") as missing:
        ask(plugin, tmp_path, data="bare", classifier="corner-net")
    assert "metadata.csv" in missing.value.hint
    with pytest.raises(UsageError, match="'test'"):
        ask(plugin, tmp_path, split=["test"])
    with pytest.raises(UsageError, match="'caption'") as near:
        ask(plugin, tmp_path, tags=["caption"])
    assert "captions" in near.value.hint
    with pytest.raises(UsageError, match="--tags words needs texts"):
        ask(plugin, tmp_path, tags=["words"])
    with pytest.raises(UsageError, match="--tags answers needs a question"):
        ask(plugin, tmp_path, tags=["answers"])
    with pytest.raises(MissingError, match="image-text"):
        ask(plugin, tmp_path, tags=["phrases"])
    with pytest.raises(UsageError, match="looked for in one data set"):
        ask(plugin, tmp_path, heldout="bare")
    with pytest.raises(UsageError, match="failures takes no budget") as budget:
        ask(plugin, tmp_path, budget={"samples": 40})
    assert "samples=N" in budget.value.hint
    with pytest.raises(UsageError, match=r"surrogate\.pool is not used here"):
        ask(plugin, tmp_path, set={"surrogate": {"pool": 40}})
    with pytest.raises(UsageError, match="'dept'"):
        ask(plugin, tmp_path, rules={"dept": 2})


TEXTS = '''
import torch
from xcore import hookimpl
from xcore.contract import Samples

KINDS = ("complaint", "praise")


class Data:
    modality = "text"
    classes = KINDS
    concepts = ()
    vocabulary = ()
    defaults = {"classifier": "reader"}
    skipped = ()
    notes = ()

    def samples(self, cls, split, n, seed):
        n = min(n, 120)
        verdict = "terrible" if cls == "complaint" else "lovely"
        times = ("monday", "tuesday", "friday")
        ends = (" but the service was never slow", " and the room was cold", "")
        texts = tuple(f"a {verdict} stay on {times[i % 3]}{ends[i // 3 % 3]}" for i in range(n))
        return Samples("text", texts, tuple(f"{split}/{cls}/{i}" for i in range(n)))

    def truth(self, classifier):
        return None


class Reader:
    """It takes a complaint with the word "never" for praise."""

    modality = "text"
    classes = KINDS
    can = frozenset()
    layers = ()
    default_layer = ""

    def logits(self, x):
        bad = torch.tensor([5.0 if "terrible" in t and "never" not in t else -5.0 for t in x.texts])
        return torch.stack([bad, -bad], 1)

    def open(self, layer):
        raise NotImplementedError


@hookimpl
def register_datasets(register):
    register("stays", lambda options: Data(), summary="x")


@hookimpl
def register_classifiers(register):
    register("reader", lambda options: Reader(), summary="x", modalities=("text",))
'''


def test_failures_on_texts_are_named_by_words_and_by_phrases(tmp_path):
    file = tmp_path / "stays_plugin.py"
    file.write_text(TEXTS)
    asked = {"data": "stays", "classes": ["complaint"], "plugins": [file], "out": tmp_path / "out"}
    (found,) = xcore.failures(**asked)
    first = found.rows[1]
    assert (first["mode"], first["n"], first["failures"], first["shown"]) == ("service", 21, 21, True)
    assert "'slow' is 'service'" in " ".join(found.found.notes)
    (found,) = xcore.failures(**asked, tags=["phrases"], phrases=["never slow", "on Monday"])
    assert found.rows[1]["mode"] == "never slow"
    with pytest.raises(UsageError, match="--tags captions needs pictures"):
        xcore.failures(**asked, tags=["captions"])


def test_words_of_captions_and_answers_to_questions_are_tags():
    class Task:
        target_name = "cow"

        def model(self, role):
            return self

        def caption(self, samples, seeds):
            return ["a cow on the grass" if i % 2 else "a cow at the sea" for i in seeds]

        def answer(self, samples, questions):
            return ["grass " if i % 2 else "sea" for i, _ in enumerate(questions)]

    samples = Samples("image", torch.zeros(10, 3, 2, 2), tuple(map(str, range(10))))
    captions = tagging.of_captions(Task(), samples)
    assert captions.names == ("caption: grass", "caption: sea")  # neither function words nor the class
    answers = tagging.of_answers(Task(), samples, ["where is it?"])
    assert answers.names == ("where is it: grass", "where is it: sea")
    assert (answers.has == captions.has).all()
