"""TCAV on texts: a bag of embeddings with planted polarity words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from xcore_tcav.cav_files import apply
from xcore_tcav.metric import TS
from xcore_tcav.options import TcavOptions, TSOptions
from xcore_tcav.scorer import Scorer
from xcore_tcav.sources import most_frequent_words
from xcore_tcav.tcav import Tcav

from xcore.contract import Cell, Concept, Explanation, MissingError, NotApplicable, Ref, Run, Samples, Task, UsageError
from xcore.inputs.words import words
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets
from xcore.testing import ExplainerTests, MetricTests

Explain = Callable[..., Explanation]
ByName = Callable[[Explanation], dict[str, Any]]

POSITIVE = ("good", "great", "lovely", "superb", "fine")
NEGATIVE = ("bad", "awful", "dull", "bland", "poor")
NEUTRAL = ("film", "plot", "actor", "music", "story", "scene", "evening", "theatre", "light", "sound")
WORDS = (*POSITIVE, *NEGATIVE, *NEUTRAL)
LISTS = {"good": POSITIVE[1:], "bad": NEGATIVE[1:], "film": NEUTRAL[2:]}


def embedding() -> Tensor:
    """Entry 0 says how positive a word is, the others tell the words apart; unknown words are all zero."""
    e = torch.zeros(len(WORDS) + 1, 8)
    e[1:, 1:] = torch.randn(len(WORDS), 7, generator=torch.Generator().manual_seed(0))
    e[1:6, 0], e[6:11, 0] = 2.0, -2.0
    return e


class Bag(nn.Module):
    """The mean of the embeddings of the words, and a head that bends: positive means class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding(), freeze=False)
        self.bag, self.bend, self.out = nn.Identity(), nn.Tanh(), nn.Linear(8, 2, bias=False)
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.weight[:, 0] = torch.tensor([-3.0, 3.0])

    def forward(self, ids: Tensor) -> Tensor:
        known = (ids >= 0).float()[..., None]
        mean = (self.embedding(ids.clamp_min(0)) * known).sum(1) / known.sum(1).clamp_min(1)
        logits: Tensor = self.out(self.bend(self.bag(mean)))
        return logits


def numbers(batch: Sequence[str]) -> Tensor:
    rows = [[WORDS.index(w) + 1 if w in WORDS else 0 for w in words(text)] for text in batch]
    wide = max(1, *map(len, rows))
    return torch.tensor([row + [-1] * (wide - len(row)) for row in rows])


def texts(strings: Sequence[str], name: str = "t") -> Samples:
    return Samples("text", tuple(strings), tuple(f"{name}/{i}" for i in range(len(strings))))


def drawn(n: int, seed: int, *parts: tuple[Sequence[str], int]) -> Samples:
    """n texts of so many words from each list."""
    rng = np.random.default_rng(seed)
    return texts(
        [" ".join(w for own, k in parts for w in rng.choice(own, k, replace=False)) for _ in range(n)], f"{seed}"
    )


def reviews(n: int, seed: int, polar: Sequence[str] = POSITIVE) -> Samples:
    """One to three polar words each, so that no gradient is like another."""
    parts = [drawn(1, 1000 * seed + i, (polar, 1 + i % 3), (NEUTRAL, 4)) for i in range(n)]
    return texts([t for p in parts for t in p.texts], f"{seed}")


def concepts() -> dict[str, Samples]:
    mixed = (POSITIVE[0], NEGATIVE[0], *NEUTRAL)
    return {
        n: drawn(30, s, (own, 2))
        for s, (n, own) in enumerate((("praise", POSITIVE), ("scorn", NEGATIVE), ("things", mixed)), 11)
    }


class Thesaurus:
    """Answers with words of a list; to "mute" it never has any, to "shy" only sometimes."""

    modality = "text"
    fingerprint = "thesaurus"
    can = frozenset[str]()

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: object = None) -> Samples:
        lists: list[tuple[str, ...]] = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            rng = np.random.default_rng(seed)
            own = LISTS.get(prompt, WORDS)
            quiet = prompt == "mute" or (prompt == "shy" and rng.random() < 0.5)
            lists.append(() if quiet else tuple(rng.choice(own, 3, replace=False).tolist()))
        made = texts([", ".join(own) for own in lists])
        ids = tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True))
        return replace(made, ids=ids, meta={"words": tuple(lists), "prompt": tuple(prompts)})


def made_task(workdir: Path, target: int = 1, **kw: Any) -> Task:
    samples = reviews(24, 1, (NEGATIVE, POSITIVE)[target])
    data = LiveData(samples, "own", drawn(200, 2, (WORDS, 4)), WORDS)
    task = Task(
        classifier=TorchClassifier(Bag(), ["negative", "positive"], preprocess=numbers, modality="text"),
        layer="bag",
        target=target,
        samples=samples,
        random_set=RandomSets(data, "own", "train", seed=0, generator=Thesaurus(), vocabulary=WORDS, pool_size=80),
        data=TrainingData(data),
        seed=0,
        concepts=concepts(),
        vocabulary=WORDS,
        generator=Thesaurus(),
        workdir=workdir,
    )
    return replace(task, **kw)


def gibberish(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
    rng = np.random.default_rng(index + 1000 * (purpose == "null"))
    word = lambda: "".join(rng.choice(list("qxzvkj"), rng.integers(2, 8)))  # noqa: E731
    return texts([" ".join(word() for _ in range(5)) for _ in range(n)], str(index))


@pytest.mark.parametrize("target", [0, 1])
def test_planted_polarity_is_found_for_either_class(tmp_path: Path, target: int, explain: Explain) -> None:
    got = explain(made_task(tmp_path, target))
    own, other = ("scorn", "praise")[:: 1 - 2 * target]
    assert [c.name for c in got.concepts] == [own, "things", other]
    first, middle, last = (c.evidence for c in got.concepts)
    assert (first["ts"], last["ts"]) == (1, 0)
    assert (first["outside"], middle["outside"], last["outside"]) == (1, 0, 1)
    for c in got.concepts:
        assert c.words == (c.name,)
        assert c.samples.modality == "text"
        assert c.local.shape == (24,)
        assert c.maps is None
    assert not any("maps" in note for note in got.notes)
    assert all(path.is_file() for path in got.files.values())


def test_two_groups_are_scored_with_one_target(tmp_path: Path) -> None:
    """In any order; the other target reverses both."""
    one, two = concepts()["praise"].take(slice(10)), concepts()["scorn"].take(slice(10))
    task = made_task(tmp_path)
    made = [Scorer(task.classifier.open("bag"), t, task.samples, task.random_set, negatives=5) for t in (1, 0, 1)]
    both, opposite, turned = (
        s.score_many(pair) for s, pair in zip(made, ([one, two], [one, two], [two, one]), strict=True)
    )
    assert [s.ts for s in both] == [1, 0]
    assert [s.ts for s in opposite] == [0, 1]
    assert [s.effect for s in both] == pytest.approx([s.effect for s in reversed(turned)])
    assert [s.effect for s in both] == pytest.approx([-s.effect for s in opposite])


def test_synonyms_of_a_linear_bag_have_ts_one_and_zero(tmp_path: Path) -> None:
    """Behind an affine head every gradient is the same: it is refused, unless asked for."""
    task = made_task(tmp_path)
    module = task.classifier.model.module
    module.bend = nn.Identity()
    plain = TorchClassifier(module, ["negative", "positive"], preprocess=numbers, modality="text")
    with pytest.raises(NotApplicable, match="affine head"):
        Scorer(plain.open("bag"), 1, task.samples, task.random_set)
    scorer = Scorer(plain.open("bag"), 1, task.samples, task.random_set, negatives=5, affine=True)
    draw = Thesaurus().generate
    sets = [draw([p] * 10, range(10)) for p in ("good", "bad")]
    assert [s.ts for s in scorer.score_many(sets, "generated:thesaurus")] == [1, 0]


def test_texts_that_are_one_to_the_classifier_are_not_called_an_affine_head(tmp_path: Path) -> None:
    task = made_task(tmp_path)
    with pytest.raises(NotApplicable, match="the classifier sees no difference between the class samples"):
        Scorer(task.classifier.open("bag"), 1, texts(["wug blick", "dax", "wug dax"]), task.random_set)


def test_prompts_are_answered(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    got = explain(made_task(tmp_path), prompts="good,bad,film", shown=6)
    assert {c.render for c in got.concepts} == {"generated:thesaurus"}
    assert [by_name(got)[n].evidence["ts"] for n in ("good", "bad")] == [1, 0]
    good = by_name(got)["good"]
    assert good.words[0] == "good"
    assert sorted(good.words[1:]) == sorted(LISTS["good"])
    assert len(by_name(got)["film"].words) == 7
    assert (len(good.samples), good.samples.meta) == (6, {})
    assert got.cost.generated == 3 * 16


def test_empty_answers_are_dropped_and_counted(tmp_path: Path, explain: Explain, by_name: ByName) -> None:
    got = explain(made_task(tmp_path), prompts="good,shy,mute", n=10, shown=10)
    assert sorted(by_name(got)) == ["good", "shy"]
    silent = sum(not t for t in Thesaurus().generate(["shy"] * 20, _seeds(20)).texts)
    assert 0 < silent < 18
    assert f"{silent} generated text(s) without a word were dropped" in got.notes
    assert "1 concept(s) are left out because the generator gives no words for them: mute" in got.notes
    assert all(t for c in got.concepts for t in c.samples.texts)
    assert by_name(got)["shy"].evidence["set_size"] == min(10, 20 - silent)


def _seeds(n: int) -> list[int]:
    seeds: list[int] = np.random.default_rng([0, 1]).integers(2**62, size=n).tolist()
    return seeds


def test_a_generator_without_words_is_one_clear_error(tmp_path: Path, explain: Explain) -> None:
    with pytest.raises(
        MissingError, match=r"fewer than 2 texts with a word for each of the 1 prompt\(s\), such as 'mute'"
    ):
        explain(made_task(tmp_path), prompts="mute")
    with pytest.raises(UsageError, match=r"no words for 'mute', which tcav\.against names"):
        explain(made_task(tmp_path), prompts="good,bad,mute", against="mute")


def test_the_most_frequent_words() -> None:
    answers = replace(texts(["a", "b", "c"]), meta={"words": (("x", "y"), ("y", "z"), ("y", "x"))})
    assert most_frequent_words(answers) == ("y", "x", "z")
    assert most_frequent_words(answers, 1) == ("y",)
    assert most_frequent_words(texts(["a"])) == ()


def test_random_texts_that_are_one_point_are_refused(tmp_path: Path, explain: Explain) -> None:
    """Made-up words are all the one unknown word to a model with a vocabulary."""
    task = made_task(tmp_path, random_set=gibberish)
    assert len(set(gibberish(10, 0, "").texts)) == 10
    with pytest.raises(NotApplicable, match="all 80 random samples have the same activations at this layer"):
        explain(task)
    (score,) = TS(TSOptions(negatives=8)).score([run_of(task, gibberish)])
    assert "have the same activations" in str(score.reason)


def test_sources_for_images_say_what_to_do(tmp_path: Path, explain: Explain) -> None:
    with pytest.raises(NotApplicable, match=r"tcav\.folders holds images.*texts\.concepts=DIR"):
        explain(made_task(tmp_path), folders="somewhere")
    with pytest.raises(MissingError, match=r"give prompts .*texts\.concepts=DIR"):
        explain(made_task(tmp_path, concepts={}))
    with pytest.raises(UsageError, match=r"'one' has 1 text\(s\)"):
        explain(made_task(tmp_path, concepts={"one": texts(["good", " "])}))


def test_relative_scores_and_saved_cavs(tmp_path: Path, explain: Explain) -> None:
    task = made_task(tmp_path)
    got = explain(task, against="others")
    assert [c.name for c in got.concepts] == ["praise", "things", "scorn"]
    found = apply(tmp_path, task.classifier, task.samples)["bag"]
    torch.testing.assert_close(found, torch.stack([c.local for c in got.concepts], 1), atol=1e-5, rtol=1e-4)


def run_of(task: Task, random_set: Any = None) -> Run:
    made = (Concept("praise", 1.0, concepts()["praise"].take(slice(10))),)
    cell = Cell("m", Ref("m"), Ref("c"), Ref("d"), "positive", 0)
    explanation = Explanation("m", task.target_name, "any", made)
    return Run(cell, explanation, task, reviews(20, 3), random_set or task.random_set)


def test_ts_of_held_out_texts(tmp_path: Path) -> None:
    (score,) = TS(TSOptions(negatives=8)).score([run_of(made_task(tmp_path))])
    assert (score.value, score.details["outside"], score.variant) == (1, 1, "bag")


class OnText:
    @pytest.fixture
    def task(self, tmp_path: Path) -> Task:
        (tmp_path / "work").mkdir()
        return made_task(tmp_path / "work")

    @pytest.fixture
    def module(self, task: Task) -> Any:
        return task.classifier.model.module


class TestTcavOnText(OnText, ExplainerTests):
    @pytest.fixture(params=[{}, {"prompts": "good,bad"}])
    def explainer(self, request: Any) -> Any:
        return Tcav(TcavOptions(negatives=5, **request.param))


class TestTSOnText(OnText, MetricTests):
    @pytest.fixture
    def metric(self) -> Any:
        return TS(TSOptions(negatives=5))

    @pytest.fixture
    def run(self, task: Task) -> Run:
        return run_of(task)
