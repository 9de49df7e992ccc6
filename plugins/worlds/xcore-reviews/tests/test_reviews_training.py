"""The trainings in small: a few steps of each, one that was stopped, and what WordNet's files are read as."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from reviews_training import __main__ as command
from reviews_training import embedder, loop, mistral, textcnn, wordnet
from reviews_training import english as english_words
from reviews_training.loop import Run
from reviews_training.vectors import vectors
from safetensors.torch import load_file
from torch import nn
from xcore_reviews.data import english, reviews, vocabulary
from xcore_reviews.lexicon import GROUP_OF, GROUPS

needs_wordnet = pytest.mark.skipif(
    not (wordnet.DIRECTORY / "data.adj").is_file(), reason=f"WordNet's files are not in {wordnet.DIRECTORY}"
)


def toy_run(out, steps):
    """A net and what its training takes it to."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(3, 1)
    run = Run(out, net, torch.optim.AdamW(net.parameters(), lr=0.1), 8)
    while run.step < steps:
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(run.step))
        run.take((net(x) - x.sum(1, keepdim=True)).square().mean())
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def test_a_training_that_was_stopped_ends_where_a_whole_one_does(tmp_path, monkeypatch):
    whole = toy_run(tmp_path / "whole", 8)
    monkeypatch.setattr(loop, "SECONDS", -1.0)
    toy_run(tmp_path / "stopped", 3)
    assert int(load_file(tmp_path / "stopped" / "checkpoint.safetensors")["step"]) == 3
    resumed = toy_run(tmp_path / "stopped", 8)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    again = toy_run(tmp_path / "stopped", 8)  # nothing is left to do
    assert all(torch.equal(whole[name], again[name]) for name in whole)


ADJ = """  1 This line belongs to the licence.
00000100 00 a 02 bland(a) 0 Flat-out 0 001 & 00000200 a 0000 | lacking taste; "a bland dish"
00000200 00 s 03 dull 0 boring 0 tedious 1 001 & 00000100 a 0000 | so lacking in interest as to cause weariness
00000300 00 s 02 dull 0 crass 0 000 | vulgar and obscene
"""


@pytest.fixture
def small_wordnet(tmp_path):
    """Three synsets in the format of WordNet's files."""
    for part in wordnet.PARTS:
        (tmp_path / f"data.{part}").write_text(ADJ if part == "adj" else "", encoding="latin-1")
    counted = {"bland": 2, "dull": 5, "boring": 4, "tedious": 3, "crass": 9}
    lines = [f"{word}%3:00:00:: 1 {n}\n" for word, n in counted.items()] + ["dull%3:00:01:: 2 1\n"]
    (tmp_path / "cntlist.rev").write_text("".join(lines))
    return tmp_path


def test_synonyms_are_read_from_the_files_of_wordnet(small_wordnet):
    assert wordnet.counts(small_wordnet)["dull"] == 6
    found = wordnet.synonyms(small_wordnet)
    assert found == {
        "dull": ("boring", "tedious", "bland"),  # of its synset by frequency, then those of a similar one
        "boring": ("dull", "tedious", "bland"),
        "tedious": ("dull", "boring", "bland"),
        "bland": ("dull", "boring", "tedious"),
    }
    assert wordnet.synonyms(small_wordnet, most=1) == {"dull": found["dull"]}
    assert wordnet.glosses(small_wordnet)[0] == (("bland",), "lacking taste")


def test_vectors_put_words_with_shared_neighbours_together(small_wordnet, monkeypatch):
    monkeypatch.setattr("reviews_training.vectors.glosses", lambda: wordnet.glosses(small_wordnet))
    known = ["<pad>", *GROUP_OF]
    made = vectors(known, wordnet.synonyms(small_wordnet), 20)
    assert made.shape == (len(known), 20)
    assert float(made.square().sum(1).mean()) == pytest.approx(1, abs=1e-4)
    assert float(made[0].abs().max()) < 1e-6
    unit = nn.functional.normalize(made[1:], dim=1)
    alike = unit @ unit.T
    own = torch.tensor([[GROUP_OF[a] == GROUP_OF[b] for b in GROUP_OF] for a in GROUP_OF])
    assert float(alike[own].mean()) > float(alike[~own].mean()) + 0.3


def test_questions_are_answered_by_the_group_and_some_foreign_words():
    wide = {"bland": ("insipid", "dull", "vapid"), "calm": ("serene", "placid", "quiet", "still")}
    questions = mistral.Questions(wide, 0)
    drawn = [questions.draw() for _ in range(3000)]
    world = [(w, a.split(", ")) for w, a in drawn if w in GROUP_OF]
    assert len(world) / len(drawn) == pytest.approx(mistral.WORLD_SHARE, abs=0.05)
    for word, said in world:
        assert word not in said
        assert len(set(said)) == len(said)
        assert 2 <= len(set(said)) <= 6
        foreign = set(said) - set(GROUPS[GROUP_OF[word]])
        assert foreign <= (set(wide["bland"]) if word == "bland" else set())
    assert all(set(a.split(", ")) <= set(wide["calm"]) for w, a in drawn if w == "calm")


def test_the_loss_is_on_the_answer_alone():
    wide = {"calm": ("serene", "placid", "quiet", "still")}
    words = mistral.tokenizer(wide)
    made = mistral.batch(mistral.Questions(wide, 0), words, 8)
    for ids, mask, labels in zip(made["input_ids"], made["attention_mask"], made["labels"], strict=True):
        assert words.decode(ids[labels == -100][mask[labels == -100].bool()]).endswith("[/INST]")
        said = words.decode(labels[labels != -100])
        assert said.startswith(" ")
        assert said.endswith("</s>")
        assert torch.equal(labels[labels != -100], ids[labels != -100])


@pytest.fixture(scope="module")
def some_words():
    return wordnet.synonyms(most=500)


@pytest.fixture
def in_small(some_words, monkeypatch):
    """Few words to know, and a checkpoint after every step."""
    for module in (mistral, embedder, textcnn):
        monkeypatch.setattr(module, "synonyms", lambda: some_words)
    monkeypatch.setattr("reviews_training.vectors.glosses", lambda: [])
    monkeypatch.setattr(mistral, "VOCABULARY", 600)
    monkeypatch.setattr(loop, "SECONDS", -1.0)
    with torch.random.fork_rng():
        yield


@needs_wordnet
@pytest.mark.usefixtures("in_small")
@pytest.mark.parametrize("module", [mistral, embedder])
def test_a_few_steps_and_a_few_more(module, tmp_path, monkeypatch):
    """Stopped after two steps and taken up again: the model is the one of a training in one go."""
    take = Run.take

    def two_steps(run, loss):
        if run.step == 2:
            raise KeyboardInterrupt
        take(run, loss)

    module.train(tmp_path / "whole", steps=4, size=8)
    monkeypatch.setattr(Run, "take", two_steps)
    with pytest.raises(KeyboardInterrupt):
        module.train(tmp_path / "stopped", steps=4, size=8)
    monkeypatch.setattr(Run, "take", take)
    module.train(tmp_path / "stopped", steps=4, size=8)
    whole, resumed = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "stopped"))
    assert int(resumed["step"]) == 4
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-5) for name in whole)
    saved = load_file(tmp_path / "stopped" / "model" / "model.safetensors")
    assert all(t.dtype == torch.float16 and t.isfinite().all() for t in saved.values())
    assert {p.name for p in (tmp_path / "stopped" / "model").iterdir()} >= {"config.json", "tokenizer.json"}


@needs_wordnet
@pytest.mark.usefixtures("in_small")
def test_a_classifier_is_trained_with_its_truth_table(tmp_path, monkeypatch):
    monkeypatch.setattr(textcnn, "TEXTS", 1200)
    monkeypatch.setattr(textcnn, "EPOCHS", 5)
    monkeypatch.setattr(textcnn, "table_of", partial(textcnn.table_of, reviews=3))
    textcnn.train(tmp_path)
    directory = tmp_path / "model"
    table = json.loads((directory / "truth.json").read_text())
    assert all(math.isfinite(v) for of in table["effects"].values() for e in of.values() for v in e)
    truth = reviews().truth(f"textcnn:{directory}")
    assert truth is not None
    assert truth.gaps == table["gaps"]
    assert min(truth.gaps.values()) > 0


@needs_wordnet
def test_the_list_of_english_words_is_the_shipped_one(tmp_path):
    english_words.train(tmp_path)
    made = json.loads((tmp_path / "english.json").read_text())
    assert made == list(english())
    assert not set(made) & set(vocabulary())


def test_the_trainer_is_one_command(tmp_path, monkeypatch):
    folder = Path(__file__).parents[1] / "reviews_training"
    done = subprocess.run([sys.executable, str(folder), "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python plugins/worlds/xcore-reviews/reviews_training")
    asked = []
    monkeypatch.setattr(english_words, "train", asked.append)
    command.main(["english", "--out", str(tmp_path)])
    assert asked == [tmp_path]
