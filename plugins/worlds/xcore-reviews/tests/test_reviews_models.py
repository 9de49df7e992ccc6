"""The shipped models: what they can do, the truth of the classifier, and how they are identified."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from xcore_mistral.generator import MistralGenerator
from xcore_reviews.data import CLASSES, english, reviews, vocabulary
from xcore_reviews.lexicon import GROUP_OF, GROUPS, MET, POLARITY
from xcore_reviews.models import embedder, mistral, textcnn
from xcore_reviews.options import MistralOptions
from xcore_reviews.plugin import DEFAULTS, WEIGHTS
from xcore_reviews.truth import SHARE, table_of, truth_table
from xcore_text.textcnn import load

from xcore.contract import Ref, Samples
from xcore.store.identity import Identity
from xcore.testing import ClassifierTests, GeneratorTests, OptionsTests

WORDS = tuple(GROUP_OF)


def as_samples(texts):
    return Samples("text", tuple(texts), tuple(f"text/{i}" for i in range(len(texts))))


@pytest.fixture(scope="module")
def language_model():
    return mistral()


class TestClassifier(ClassifierTests):
    @pytest.fixture
    def classifier(self):
        return textcnn()

    @pytest.fixture
    def samples(self):
        made = reviews().samples(None, "heldout", 4, 0)
        return as_samples([*made.texts, "bland", "", "nothing of this is known"])


class TestGenerator(GeneratorTests):
    @pytest.fixture
    def generator(self):
        return mistral()

    @pytest.fixture
    def prompts(self):
        return ("bland", "superb", "customer")


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self):
        return MistralOptions


def test_the_cards_import_nothing_heavy():
    heavy = ("torch", "numpy", "pydantic", "transformers")
    code = f"import sys, xcore_reviews.plugin; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_classifier_tells_blame_from_praise():
    made, x = textcnn(), reviews().samples(None, "heldout", 2000, 20_000)
    assert made.classes == tuple(CLASSES)
    assert made.default_layer == "pooled"
    assert made.open("pooled").activations(x.take([0])).shape == (1, 3 * 64)
    assert float((made.logits(x).argmax(1) == x.labels).float().mean()) >= 0.99


def test_the_classifier_knows_every_word_it_may_be_asked_about():
    """Words that it did not know would all be one word, and random sets of them one point."""
    known = set(load(WEIGHTS / "textcnn").vocabulary.words)
    assert set(english()) <= known
    # of the verbs that judge nothing, which no review of a class says, it knows those of WordNet's list alone
    assert set(vocabulary()) - known <= {w for members in MET.values() for w in members}


def test_words_that_judge_are_what_the_classifier_uses():
    truth = reviews().truth("reviews/textcnn")
    for cls, sign in CLASSES.items():
        assert truth.used(cls) == {f"word={w}" for w, s in POLARITY.items() if s == sign}
        neutral = [e for v, (e, _, _) in truth.effects[cls].items() if v.removeprefix("word=") not in POLARITY]
        assert max(map(abs, neutral)) < 0.75 * SHARE * truth.gaps[cls]
        against = [truth.effects[cls][f"word={w}"][0] for w, s in POLARITY.items() if s == -sign]
        assert max(against) < -SHARE * truth.gaps[cls]
    assert set(truth.phrases) == set(vocabulary())
    named = {v for values in truth.phrases.values() for v in values}
    assert all(set(effects) <= named for effects in truth.effects.values())


def test_the_truth_table_is_that_of_the_shipped_weights():
    """A small table of fewer reviews: its intervals overlap those of the shipped one, and the means agree."""
    shipped, made = reviews().truth("reviews/textcnn"), table_of(WEIGHTS / "textcnn", reviews=40)
    for cls, effects in made["effects"].items():
        assert effects.keys() == shipped.effects[cls].keys()
        both = [(e, shipped.effects[cls][value]) for value, e in effects.items()]
        assert np.mean([small[1] <= big[2] and big[1] <= small[2] for small, big in both]) > 0.9
        small, big = np.array([(s[0], b[0]) for s, b in both]).T
        assert np.corrcoef(small, big)[0, 1] > 0.98
        assert made["gaps"][cls] == pytest.approx(shipped.gaps[cls], rel=0.2)


def test_the_truth_table_finds_the_one_word_that_a_function_reads():
    def logits(texts):
        bland = torch.tensor([float(" bland" in text) for text in texts])
        return torch.stack([3 * bland, 0 * bland], 1)

    table = truth_table(logits, reviews=40, seed=1)
    effects = table["effects"]["negative"]
    assert effects["word=bland"] == [3, 3, 3]
    others = {v: e for v, e in effects.items() if v != "word=bland"}
    assert max(e[0] for e in others.values()) <= 0  # where bland would fit, another word is less
    assert min(e[0] for e in others.values()) > -0.5
    assert effects["word=monday"] == [0, 0, 0]
    assert all(e == [0, 0, 0] for e in table["effects"]["positive"].values())
    assert np.isfinite([e for of in truth_table(logits, reviews=2)["effects"].values() for e in of.values()]).all()


def test_synonyms_are_near():
    made = embedder()
    a = normalize(made.embed(as_samples(WORDS)), dim=1)
    alike = a @ a.T
    alike.fill_diagonal_(-1)
    own = torch.tensor([[GROUP_OF[v] == GROUP_OF[w] for w in WORDS] for v in WORDS])
    nearest = own[torch.arange(len(WORDS)), alike.argmax(1)]
    assert float(nearest.float().mean()) >= 0.99
    assert float(alike[own & (alike > -1)].mean()) > float(alike[~own].mean()) + 0.5
    lists = [", ".join(m for m in GROUPS[GROUP_OF[w]] if m != w) for w in WORDS]
    alike = a @ normalize(made.embed(as_samples(lists)), dim=1).T
    assert float(own[torch.arange(len(WORDS)), alike.argmax(1)].float().mean()) >= 0.99
    assert made.name == "reviews/embedder"


def test_the_language_model_answers_with_synonyms(language_model):
    chosen = np.random.default_rng(0).choice(WORDS, 60, replace=False).tolist()
    drawn = language_model.generate([w for w in chosen for _ in range(4)], [*range(4)] * 60)
    said = [(w, s) for w, words in zip(drawn.meta["prompt"], drawn.meta["words"], strict=True) for s in words]
    share = np.mean([GROUP_OF.get(s) == GROUP_OF[w] for w, s in said])
    full = np.mean([bool(text) for text in drawn.texts])
    assert share >= 0.8, share
    assert full >= 0.95, full
    lists = [len({w for words in drawn.meta["words"][i : i + 4] for w in words}) for i in range(0, 240, 4)]
    assert np.mean(lists) > 3  # seeds answer differently


def test_the_language_model_answers_beyond_the_world(language_model):
    chosen = np.random.default_rng(1).choice(english(), 40, replace=False).tolist()
    drawn = language_model.generate(chosen, range(40))
    assert np.mean([bool(text) for text in drawn.texts]) >= 0.95
    assert all(w not in words for w, words in zip(chosen, drawn.meta["words"], strict=True))


@pytest.mark.parametrize("kind", ["classifier", "generator", "model", "dataset"])
def test_defaults_are_there(registry, kind):
    of = {"classifier": "classifier", "generator": "generator", "contrast": "dataset", "text-embedder": "model"}
    for name in [ref for role, ref in DEFAULTS.items() if of[role] == kind]:
        made = registry.create(kind, Ref(name))
        assert getattr(made, "name", name) == name


def test_identities_follow_files_and_options(registry, tmp_path, monkeypatch):
    def of(kind, name, **options):  # a new Identity each time, for one keeps what it has found
        return Identity(registry).component(kind, Ref(name, options))

    plain = of("generator", "reviews/mistral")
    assert plain == of("generator", "reviews/mistral", words=6)
    assert len({plain, *(of("generator", "reviews/mistral", **o) for o in ({"words": 3}, {"temperature": 0.5}))}) == 3
    models = [("generator", "reviews/mistral"), ("classifier", "reviews/textcnn"), ("model", "reviews/embedder")]
    before = [of(*model) for model in (*models, ("dataset", "reviews"))]
    assert len(set(before)) == 4
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr("xcore_reviews.plugin.WEIGHTS", tmp_path / "weights")
    assert [of(*model) for model in models] == before[:3]
    for i, (kind, name) in enumerate(models):
        file = tmp_path / "weights" / name.removeprefix("reviews/") / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        after = [of(*model) for model in models]
        assert [a == b for a, b in zip(after, before, strict=False)] == [j > i for j in range(3)], (kind, name)
    assert of("dataset", "reviews") == before[3]


def test_what_is_drawn_is_named_after_the_options(language_model):
    other = mistral(MistralOptions(temperature=0.5))
    assert isinstance(other, MistralGenerator)
    assert other.fingerprint != language_model.fingerprint
    assert other.generate(["bland"], [0]).ids != language_model.generate(["bland"], [0]).ids
