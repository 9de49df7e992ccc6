"""The written world: its words, its grammar, its splits and its draws."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from xcore_reviews.data import CONCEPTS, SPLITS, english, random, reviews, split_of, vocabulary, written
from xcore_reviews.grammar import FILLERS, Review, Slot, about, adjectives, review
from xcore_reviews.lexicon import FITS, GROUP_OF, GROUPS, MET, POLARITY, THINGS
from xcore_reviews.models import mistral
from xcore_reviews.options import MistralOptions

from xcore.contract import MissingError, UsageError
from xcore.inputs.words import STOPWORDS, content_words, words
from xcore.testing import DatasetTests

MANY = 1500


def signs(text: str) -> list[int]:
    """What the judging words of a text say, in turn."""
    return [POLARITY[w] for w in words(text) if w in POLARITY]


class TestReviews(DatasetTests):
    @pytest.fixture
    def data(self):
        return reviews()


class TestRandom(DatasetTests):
    @pytest.fixture
    def data(self):
        return random()


def test_no_word_is_in_two_groups_or_of_two_polarities():
    listed = [word for members in GROUPS.values() for word in members]
    assert len(listed) == len(set(listed)) == len(GROUP_OF)
    assert all(re.fullmatch("[a-z]{3,}", word) for word in listed)
    assert len({POLARITY.get(w) for members in GROUPS.values() for w in members if w == members[0]}) == 3
    for members in GROUPS.values():
        assert len({POLARITY.get(w) for w in members}) == 1
    assert sum(POLARITY.values()) == 0  # as many words blame as praise
    assert FITS.keys() == THINGS.keys()


def test_every_word_can_be_said():
    """Verbs that judge nothing are for the contrast alone."""
    said = [
        {w for text in data.samples(None, "train", MANY, 0).texts for w in words(text)}
        for data in (reviews(), random())
    ]
    assert said[1] >= set(GROUP_OF)
    assert set(GROUP_OF) - said[0] == {w for members in MET.values() for w in members}
    assert said[0] | said[1] == set(vocabulary()) | STOPWORDS & (said[0] | said[1])


def test_every_word_has_a_natural_place():
    for word in GROUP_OF:
        for i in range(4):
            text = str(about(word, np.random.default_rng(i)))
            assert word in words(text)
            assert not [w for w in words(text) if w in POLARITY and w != word]


def test_the_vocabulary_is_the_words_of_the_world_and_some_of_english():
    data = reviews()
    assert data.vocabulary == (*vocabulary(), *english())
    assert len(set(data.vocabulary)) == len(data.vocabulary)
    assert set(GROUP_OF) - STOPWORDS <= set(vocabulary())
    assert not set(english()) & {*GROUP_OF, *STOPWORDS}
    assert set(content_words(data.samples(None, "explain", 300, 0).texts)) <= set(vocabulary())


def test_adjectives_fit_their_things():
    for thing in FILLERS["thing"]:
        assert {GROUP_OF[w] for w in adjectives(thing) if w in POLARITY} == set(FITS[GROUP_OF[thing]])
        assert {POLARITY.get(w) for w in adjectives(thing)} == {-1, None, 1}


def test_a_review_judges_as_its_class():
    rng = np.random.default_rng(0)
    for sign in (-1, 1):
        found = [signs(str(review(sign, rng))) for _ in range(400)]
        assert {len(f) for f in found} == {1, 2, 3}
        assert all(np.sign(sum(f)) == sign and f.count(-sign) <= (len(f) == 3) for f in found)
        doubtful = [f.count(-sign) for f in found if len(f) == 3]
        assert 0.35 < np.mean(doubtful) < 0.65


def test_the_contrast_mixes_and_takes_no_side():
    texts = random().samples(None, "train", MANY, 0).texts
    kinds = {(-1 in f, 1 in f) for f in map(signs, texts)}
    assert kinds == {(False, False), (True, False), (False, True), (True, True)}
    judged = [s for text in texts for s in signs(text)]
    assert abs(np.mean(judged)) < 3 / np.sqrt(len(judged))
    assert {w for text in texts for w in words(text)} >= set(POLARITY)


def test_reviews_are_sentences_of_plain_words():
    for text in random().samples(None, "train", 200, 5).texts:
        assert re.fullmatch(r"([a-z]+( [a-z]+)+\. )*[a-z]+( [a-z]+)+\.", text)


def test_articles():
    for word in GROUP_OF:
        made = Review(("it was a ", Slot((word,), word), "."))
        vowel = word[0] in "aeiou" and not word.startswith("usual")
        assert str(made) == f"it was {'an' if vowel else 'a'} {word}."
    for text in reviews().samples(None, "heldout", 300, 1).texts:
        for one, two in pairwise(words(text)):
            assert one != "an" or (two[0] in "aeiou" and two != "usual")
            assert one != "a" or two[0] not in "aeiou" or two == "usual"


@pytest.mark.parametrize("make", [reviews, random])
def test_no_two_splits_share_a_text(make):
    data = make()
    seen: dict[str, str] = {}
    for seed in range(2):
        for split in SPLITS:
            for text in data.samples(None, split, MANY, seed).texts:
                assert seen.setdefault(text, split) == split == split_of(text)


@pytest.mark.parametrize("cls", [None, "negative", "positive"])
def test_the_first_of_many_are_the_few(cls):
    data = reviews()
    many = data.samples(cls, "explain", 9, 2)
    assert many.labels is not None
    for k in (0, 1, 4):
        few = data.samples(cls, "explain", k, 2)
        assert few.labels is not None
        assert (few.texts, few.ids) == (many.texts[:k], many.ids[:k])
        assert few.labels.tolist() == many.labels.tolist()[:k]
    assert data.samples(cls, "explain", 9, 3).texts != many.texts


def test_concepts_say_a_word_of_their_group_and_judge_by_nothing_else():
    data = reviews()
    assert set(CONCEPTS) == set(GROUPS) - STOPWORDS
    for name in data.concepts:
        group, said = set(GROUPS[name]), set()
        n = 2 * len(group)
        for text in data.concept(name, n, 0).texts:
            here = set(words(text))
            assert here & group
            said |= here & group
            assert not {w for w in here - group if w in POLARITY}
        assert said == group
        assert data.concept(name, 3, 0).texts == data.concept(name, n, 0).texts[:3]
        assert data.concept(name, 3, 1).texts != data.concept(name, 3, 0).texts


def test_a_swap_changes_one_word():
    made = written(-1, "heldout", 0, 0)
    position = made.slots[0]
    slot = made.parts[position]
    assert isinstance(slot, Slot)
    for word in slot.fillers:
        other = made.swapped(position, word)
        assert [i for i in made.slots if made.parts[i] != other.parts[i]] == ([position] if word != slot.word else [])
    assert str(made.swapped(position, slot.word)) == str(made)


def test_bad_requests_are_one_line():
    data = reviews()
    with pytest.raises(UsageError, match=r"unknown class of data set reviews: 'negativ' \(did you mean 'negative'\?\)"):
        data.samples("negativ", "train", 1, 0)
    with pytest.raises(UsageError, match=r"'blend' \(did you mean"):
        data.concept("blend", 1, 0)
    with pytest.raises(UsageError, match="cannot write -1 reviews"):
        data.samples(None, "train", -1, 0)


def test_the_truth_is_known_of_one_classifier(tmp_path):
    data = reviews()
    assert data.truth("reviews/textcnn") is not None
    assert data.truth("xcore-reviews/reviews/textcnn") is not None
    assert data.truth(f"textcnn:{tmp_path}") is None
    assert random().truth("reviews/textcnn") is None
    from xcore_reviews.data import read_truth

    with pytest.raises(MissingError, match=r"xcore_reviews\.truth"):
        read_truth(tmp_path / "truth.json")


def test_the_language_model_is_asked_as_it_was_trained():
    asker = mistral(MistralOptions()).asker
    asked = asker.tokenizer.decode(asker.prompt("bland"))
    assert asked == '<s>[INST] Give synonyms of "bland" as comma-separated words only. [/INST]'
