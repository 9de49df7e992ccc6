"""Factorial evidence: decks, scenes that are shared, effects of prompts and of what is shown, and words in and out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from xcore_evidence import ridge
from xcore_evidence.factorial import factorial, scenes, versions, without
from xcore_evidence.randomised import TIED, by_chance, dealt, jointly

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.models.classifiers import FunctionClassifier
from xcore.store.run_directory import Artifacts

PHRASES = ("sand", "snow", "stripes", "spots", "grass", "apple", "mud", "ghost")
K = len(PHRASES)


class Painter:
    """A generator that lights up a column for each phrase of the prompt, now and then another one; no ghosts."""

    modality = "image"
    fingerprint = "painter"
    can = frozenset[str]()

    def __init__(self) -> None:
        self.drawn = 0

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Any = None) -> Samples:
        self.drawn += len(prompts)
        made = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            rng = torch.Generator().manual_seed(seed)
            lit = torch.tensor([float(p in prompt.split(", ") and p != "ghost") for p in PHRASES])
            lit = torch.where(torch.rand(K, generator=rng) < 0.1, 1 - lit, lit)
            made.append((0.1 + 0.8 * lit).expand(3, 4, K) + 0.1 * torch.rand(1, generator=rng))
        return Samples("image", torch.stack(made), tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True)))


class Reader:
    """An image-text model that reads which columns are lit.

    A large entry of all pictures keeps the presence of a phrase independent of how many others are lit.
    """

    name = "reader"

    def embed_images(self, images: Samples) -> Tensor:
        return torch.cat([images.images.mean((1, 2)), torch.full((len(images), 1), 10.0)], 1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.tensor([*(float(p == t) for p in PHRASES), 0.0]) for t in texts])


def pictures(n: int, seed: int) -> Samples:
    images = torch.rand(n, 3, 4, K, generator=torch.Generator().manual_seed(seed))
    return Samples("image", images, tuple(f"{seed}/{i}" for i in range(n)))


def black_box(**weights: float) -> FunctionClassifier:
    def logits(images: Tensor) -> Tensor:
        first = images.mean((1, 2)) @ torch.tensor([weights.get(p, 0.0) for p in PHRASES])
        return torch.stack([first, torch.zeros_like(first)], 1)

    return FunctionClassifier(logits, ["thing", "other"])


def make_task(tmp_path: Path, **given: Any) -> Task:
    models = given.pop("models", {"image-text": Reader()})
    own = {
        "classifier": black_box(stripes=6, grass=-6),
        "samples": pictures(6, 0),
        "random_set": lambda n, index, *rest: pictures(n, 100 + index),
        "generator": Painter(),
        "data": None,
        "seed": 1,
        **given,
    }
    return Task(
        layer="", target=0, model=lambda role: models[role], roles=tuple(models),
        artifact=Artifacts(tmp_path / "artifacts").get, **own,
    )  # fmt: skip


@pytest.mark.parametrize(("k", "at_once"), [(7, 3), (43, 3), (5, 2), (4, 2), (3, 1)])
def test_every_card_is_dealt_equally_often_and_never_twice_to_a_hand(k: int, at_once: int) -> None:
    hands = dealt(k, 200, at_once, 0)
    assert all(len(set(hand)) == at_once for hand in hands)
    counts = Counter(card for hand in hands for card in hand)
    assert len(counts) == k
    assert max(counts.values()) - min(counts.values()) <= 1
    assert dealt(k, 50, at_once, 0) == hands[:50]
    assert dealt(k, 200, at_once, 1) != hands


def test_a_hand_holds_at_most_half_of_the_cards() -> None:
    assert {len(hand) for hand in dealt(5, 20, 4, 0)} == {2}
    assert {len(hand) for hand in dealt(2, 20, 3, 0)} == {1}


def test_a_black_box_is_known_by_what_drawings_show_and_by_their_prompts(tmp_path: Path) -> None:
    found = factorial(make_task(tmp_path), PHRASES, drawings=160, at_once=2, permutations=999)
    assert (found.kind, found.n) == ("factorial", 160)
    assert "what drawings show" in found.says
    assert [e.phrase for e in found.estimates if e.mark > 0] == ["stripes"]
    assert [e.phrase for e in found.estimates if e.mark < 0] == ["grass"]
    assert PHRASES[found.ranked()[0]] == "stripes"
    d = found.of("stripes").details
    assert d["shown_effect"] == found.of("stripes").effect
    assert d["prompt_p"] == 0.001, "the smallest that 999 permutations can give"
    assert d["prompt_effect"] > 2
    assert found.of("grass").details["prompt_p_against"] == 0.001
    assert d["drawn_as_asked"] > 0.5
    assert found.of("ghost").details["drawn_as_asked"] < 0.1
    assert any(
        note.startswith("1 of 8 phrases are not shown more") and note.endswith(": ghost") for note in found.notes
    )


def test_without_an_image_text_model_only_the_prompts_count(tmp_path: Path) -> None:
    found = factorial(make_task(tmp_path, models={}), PHRASES, drawings=160, at_once=2, permutations=999)
    assert "effect of the prompt" in found.says
    assert [e.mark for e in found.estimates] == [0, 0, 1, 0, -1, 0, 0, 0]
    for e in found.estimates:
        assert e.effect == e.details["prompt_effect"]
        assert e.p == e.details["prompt_p"]
    assert any("no model of the role image-text" in note for note in found.notes)
    share = (abs(found.of("stripes").effect) + 3) / abs(found.gap)
    given: dict[str, Any] = {"drawings": 160, "at_once": 2, "permutations": 999, "minimum": share}
    assert not any(e.mark for e in factorial(make_task(tmp_path, models={}), PHRASES, **given).estimates)


def test_scenes_are_drawn_once_for_all_classifiers_and_more_of_them_begin_alike(tmp_path: Path) -> None:
    painter = Painter()
    drawn, asked = scenes(make_task(tmp_path, generator=painter), PHRASES, 120, 2)
    assert painter.drawn == 120
    again, _ = scenes(make_task(tmp_path, generator=painter, classifier=black_box(mud=1)), PHRASES, 120, 2)
    assert painter.drawn == 120
    assert again.digest == drawn.digest
    fewer, fewer_asked = scenes(make_task(tmp_path, generator=painter), PHRASES, 100, 2)
    assert painter.drawn == 120
    assert torch.equal(fewer.images, drawn.images[:100])
    assert torch.equal(fewer_asked, asked[:100])
    assert asked.sum(1).eq(2).all()


def test_what_cannot_be_drawn_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"needs a generator .*--generator REF"):
        factorial(make_task(tmp_path, generator=None), PHRASES)
    with pytest.raises(NotApplicable, match="need two phrases or more"):
        factorial(make_task(tmp_path), PHRASES[:1])
    with pytest.raises(NotApplicable, match=r"15 drawings are too few for 8 phrases: at least 19"):
        factorial(make_task(tmp_path), PHRASES, drawings=15, permutations=99)


def test_effects_of_prompts_are_those_of_a_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    asked, y = torch.from_numpy((rng.random((40, 3)) < 0.3) * 1.0), torch.from_numpy(rng.normal(size=(40, 2)) + 100)
    effects, errors = jointly(asked, intercept=True)(y)
    for c in range(2):
        found, spread = ridge.fit(asked, y[:, c], penalty=TIED), asked.std(0, correction=0)
        assert torch.allclose(effects[:, c], found.coefficients / spread)
        assert torch.allclose(errors[:, c], found.errors / spread)
    nothing = torch.cat([asked, torch.zeros(40, 1)], 1)
    assert [float(v[3, 0]) for v in jointly(nothing, intercept=True)(y)] == [0, 0]


def test_phrases_that_are_all_alike_have_no_effect_though_each_prompt_has_as_many() -> None:
    asked = torch.zeros(60, 6, dtype=torch.float64)
    for row, hand in enumerate(dealt(6, 60, 2, 0)):
        asked[row, list(hand)] = 1
    effects, _ = jointly(asked, intercept=True)((asked @ torch.tensor([3.0, 1, 1, 1, 1, 1]).double())[:, None])
    assert effects[:, 0].tolist() == pytest.approx([1.65, -0.33, -0.33, -0.33, -0.33, -0.33], abs=0.1)


def test_a_difference_of_versions_has_no_mean_of_its_own() -> None:
    signs = torch.tensor([1.0, 1, -1, 0, 1, 1, 0, 1])[:, None].double()
    effects, _ = jointly(signs, intercept=False)(2 * signs)
    assert float(effects) == pytest.approx(2 / (1 + TIED), rel=1e-6)


def test_p_values_of_prompts_are_uniform_where_prompts_do_nothing() -> None:
    asked = torch.zeros(24, 4, dtype=torch.float64)
    for row, hand in enumerate(dealt(4, 24, 1, 0)):
        asked[row, list(hand)] = 1
    rng, p = np.random.default_rng(2), []
    for _ in range(150):
        y = torch.from_numpy(rng.exponential(size=24) ** 2)  # far from normal

        def shuffled(c: int, y: Tensor = y) -> Tensor:
            return y[torch.from_numpy(rng.permuted(np.tile(np.arange(24), (c, 1)), axis=1))].T

        p += by_chance(jointly(asked, intercept=True), y, shuffled, 99)[2]
    for level in (0.05, 0.1, 0.5):
        assert abs(np.mean(np.array(p) <= level) - level) <= 4 * (level * (1 - level) / len(p)) ** 0.5


def test_words_are_taken_out_in_all_inflections() -> None:
    assert without("The films, a film; filmed!", ("film",)) == "The, a;!"
    assert without("very nice music, nice food", ("nice", "music")) == "very, nice food"
    assert without("Dull.", ("dull",)) == "."


def test_each_version_has_its_words() -> None:
    texts = ["the film is great", "a dull film", "music"]
    first, second, signs = versions(texts, ["great", "films", "film", "dull", "music", "?"], 60, 1, 0)
    assert set(signs.flatten().tolist()) == {-1, 0, 1}
    assert torch.equal(signs[:, 1], signs[:, 2]), "films and film are one"
    assert signs[:, 5].eq(0).all(), "no word at all"
    for one, other, row in zip(first, second, signs[:, [0, 3, 4]].tolist(), strict=True):
        for word, sign in zip(("great", "dull", "music"), row, strict=True):
            assert (word in one) - (word in other) == sign
    assert signs[0::3, 0].ne(0).all(), "a word of the text is in one of the two"


class Texts:
    """A data set of texts that say of some things that they are good or bad."""

    modality = "text"
    classes = ("praise", "blame")

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        rng = np.random.default_rng([seed, self.classes.index(cls), len(split)])
        word = {"praise": "lovely", "blame": "dreadful"}[cls]
        texts = tuple(
            f"the {rng.choice(['soup', 'room', 'view'])} was {word} on {rng.choice(['monday', 'friday'])}"
            for _ in range(n)
        )
        return Samples("text", texts, tuple(f"{cls}/{split}/{i}" for i in range(n)))


def test_words_of_texts_are_found_by_a_black_box(tmp_path: Path) -> None:
    def logits(texts: Sequence[str]) -> Tensor:
        first = torch.tensor([2.0 * ("lovely" in t) - 3.0 * ("dreadful" in t) + 0.5 * ("soup" in t) for t in texts])
        return torch.stack([first, torch.zeros(len(texts))], 1)

    data, words = Texts(), ("lovely", "dreadful", "soup", "room", "view", "monday", "purple")
    task = make_task(
        tmp_path, data=data, generator=None,
        classifier=FunctionClassifier(logits, ["praise", "blame"], modality="text"),
        samples=data.samples("praise", "explain", 5, 0),
        random_set=lambda n, index, *rest: data.samples("blame", "train", n, index),
    )  # fmt: skip
    found = factorial(task, words, drawings=400, permutations=999, at_once=2)
    assert [e.mark for e in found.estimates] == [1, -1, 1, 0, 0, 0, 0]
    for phrase, effect in (("lovely", 2.0), ("dreadful", -3.0), ("soup", 0.5)):
        estimate = found.of(phrase)
        assert estimate.lo - 0.3 < effect < estimate.hi + 0.3
        assert estimate.details["written_as_asked"] == 1
    assert "a coin" in found.says
    assert found.gap == pytest.approx(5.0, abs=0.7)
