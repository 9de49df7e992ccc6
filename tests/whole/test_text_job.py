"""The main job on texts, in small: one command explains any classifier with any language model, only names changed."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast
from xcore_mistral import dpo
from xcore_mistral.load import quiet
from xcore_mistral.options import AdaptOptions
from xcore_mistral.testing import save_gguf, save_tiny_model
from xcore_reviews.data import reviews
from xcore_reviews.lexicon import BLAME, PRAISE
from xcore_reviews.models import mistral
from xcore_reviews.truth import table_of

from xcore.api import bench
from xcore.cli.main import main
from xcore.contract import Adapter, Ref, Samples
from xcore.registry import load_registry

SMALL = {
    "rlpo": {"actions": 4, "steps": 3, "n": 4, "negatives": 4, "rank_sets": 1, "shown": 4, "update_rule": "always"},
    "TS": {"n": 4, "negatives": 4, "null": 19},
}
BUDGET = {"samples": 12, "heldout": 12}


def save_classifier(directory: Path, x: Samples, classes: tuple[str, ...]) -> None:
    """A small DistilBERT with a tokenizer of its own, trained on these texts for some seconds."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.train_from_iterator(
        x.texts, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    )
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, model_max_length=64, **names)
    size = {"dim": 64, "hidden_dim": 128, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 64}
    dropout = {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    labels = {"id2label": dict(enumerate(classes)), "label2id": {c: i for i, c in enumerate(classes)}}
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(0)
        config = DistilBertConfig(vocab_size=len(tokenizer), **size, **dropout, **labels)
        model = DistilBertForSequenceClassification(config)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(4):
            for rows in torch.randperm(len(x)).split(32):
                inputs = tokenizer([x.texts[i] for i in rows], padding=True, return_tensors="pt")
                ids, mask = inputs["input_ids"], inputs["attention_mask"]
                loss = model(input_ids=ids, attention_mask=mask, labels=x.labels[rows]).loss
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A classifier and a language model saved by `save_pretrained`, a GGUF file, a CSV file and a folder of texts."""
    root, data = tmp_path_factory.mktemp("made"), reviews()
    save_classifier(root / "classifier", data.samples(None, "train", 700, 0), data.classes)
    table = table_of(root / "classifier", reviews=3)
    (root / "classifier" / "truth.json").write_text(json.dumps(table))
    synonyms = {words[0]: words[1:] for words in [*BLAME.values(), *PRAISE.values()]}
    save_tiny_model(root / "speaker", synonyms, chat=True, steps=40)
    save_gguf(root / "speaker", root / "speaker.gguf")
    x = data.samples(None, "explain", 240, 0)
    with (root / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        labelled = zip(x.texts, (data.classes[i] for i in x.labels.tolist()), strict=True)
        csv.writer(file).writerows([("text", "label"), *labelled])
    for i, (text, label) in enumerate(zip(x.texts, x.labels.tolist(), strict=True)):
        folder = root / "folder" / data.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return root


pytestmark = pytest.mark.usefixtures("small_pools")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network is not to be asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


BENCH = ("bench", "--methods", "rlpo", "--seeds", "1", "--controls", "")
EXPLAIN = ("explain", "rlpo")
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Run:
    """Rows that a command prints for these names, into ``tmp_path / "run"``; all else is the same."""

    def run(*verb: str, **refs: str) -> list[dict[str, Any]]:
        flags = {"data": "reviews", "classifier": "reviews/textcnn", "class": "negative", **refs}
        words = [w for flag, value in flags.items() for w in (f"--{flag}", value)]
        words += [f"--set={name}.{key}={value}" for name, options in SMALL.items() for key, value in options.items()]
        words += [
            "--model",
            "text-embedder=reviews/embedder",
            "--samples",
            "12",
            "--metrics",
            "TS,CS,recovery",
            "--out",
            str(tmp_path / "run"),
        ]
        monkeypatch.setattr("sys.argv", ["xcore", *verb, *words, "--json"])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        return [row for line in capsys.readouterr().out.splitlines() if "concept" in (row := json.loads(line))]

    return run


def check(rows: list[dict], out: Path) -> None:
    """Concepts with their lists and scores, and the marked texts as a file."""
    assert [r["status"] for r in rows] == ["ok"] * 4
    assert [r["rank"] for r in rows] == [1, 2, 3, 4]
    assert rows[0]["words"]
    for row in rows:
        assert 0 <= row["scores"]["TS"]["value"] <= 1
        assert row["scores"]["CS"]["value"] is not None
    (record,) = (out / "explanations").iterdir()
    marked = json.loads((record / "marked.json").read_text("utf-8"))
    assert len(marked["texts"]) == 12
    assert (out / "report.html").is_file()


def test_models_of_transformers_by_their_names(made, command, tmp_path):
    rows = command(*BENCH, classifier=f"hf-text:{made}/classifier", generator=f"mistral:{made}/speaker")
    check(rows, tmp_path / "run")
    recovery = rows[0]["overall"]["recovery"]
    assert 0 <= recovery["value"] <= 1
    assert 0 < recovery["details"]["chance"] < 1


@pytest.mark.parametrize(
    ("verb", "data", "generator"),
    [(BENCH, "table:{}/reviews.csv", "gguf:{}/speaker.gguf"), (EXPLAIN, "texts:{}/folder", "mistral:{}/speaker")],
)
def test_data_of_ones_own_by_its_name(made, verb, data, generator, command, tmp_path):
    rows = command(*verb, data=data.format(made), generator=generator.format(made))
    check(rows, tmp_path / "run")
    recovery = rows[0]["scores"]["recovery"]
    assert recovery["value"] is None
    assert recovery["reason"].startswith("no truth table for reviews/textcnn")


def test_the_classifier_of_the_test_is_one_worth_explaining(made):
    data = reviews()
    classifier = load_registry().create("classifier", Ref(f"hf-text:{made}/classifier"))
    x = data.samples(None, "heldout", 400, 0)
    assert float((classifier.logits(x).argmax(1) == x.labels).float().mean()) > 0.9
    truth = data.truth(f"hf-text:{made}/classifier")
    assert all(gap > 0 for gap in truth.gaps.values())
    assert all(truth.used(cls) for cls in data.classes)


def weights(model: torch.nn.Module) -> dict[str, bytes]:
    """Everything but a LoRA, under the names that it had before the LoRA was added."""
    named = ((n.replace(".base_layer", ""), t) for n, t in model.state_dict().items() if ".lora_" not in n)
    return {name: tensor.numpy().tobytes() for name, tensor in named}


def test_an_explanation_leaves_the_language_model_as_it_was(tmp_path, monkeypatch):
    """The generator of the run itself: base weights bit for bit, and what it says without an adapter."""
    from xcore_reviews import models

    generator = mistral()
    monkeypatch.setattr(models, "mistral", lambda options=None: generator)
    asked = (["bland", "superb", "customer"] * 4, range(12))
    before, said = weights(generator.model), generator.generate(*asked)
    calls = []
    adapt = generator.adapt
    monkeypatch.setattr(generator, "adapt", lambda *a, **k: calls.append(adapt(*a, **k)) or calls[-1])
    keys = {"budget": BUDGET, "seeds": [0], "controls": [], "metrics": ["cost"], "set": SMALL}
    result = bench(["rlpo"], data="reviews", classes=["negative"], out=tmp_path / "run", **keys)
    assert {r["status"] for r in result.rows} == {"ok"}
    tuned = [adapter for adapter, figures in calls if figures["steps"]]
    assert tuned
    assert weights(generator.model) == before
    assert generator.generate(*asked, tuned[-1]).texts != said.texts
    after = generator.generate(*asked)
    assert (after.meta["answer"], after.ids) == (said.meta["answer"], said.ids)
    record = next((tmp_path / "run" / "explanations").iterdir())
    assert list((record / "files").glob("adapter-*.safetensors"))


@pytest.mark.parametrize(("word", "preferred"), [("bland", "boring"), ("superb", "splendid")])
def test_the_margin_rises_on_samples_that_were_not_trained_on(word, preferred):
    """Of the lists drawn with some seeds, those that say a word are preferred; then those of other seeds are."""
    generator = mistral()
    drawn = generator.generate([word] * 80, range(80))

    def pairs(rows: range) -> tuple[Samples, Samples]:
        said = [preferred in drawn.meta["words"][i] for i in rows]
        yes, no = ([i for i, s in zip(rows, said, strict=True) if s is wanted] for wanted in (True, False))
        n = min(len(yes), len(no))
        assert n >= 10
        return drawn.take(yes[:n]), drawn.take(no[:n])

    train, fresh = pairs(range(40)), pairs(range(40, 80))
    adapter, figures = generator.adapt(None, *train, seed=0, options={"steps": 8, "lr": 1e-3})
    assert figures["total_steps"] == 8

    def difference(state: Adapter | None) -> torch.Tensor:
        """log p(preferred) - log p(rejected) of each fresh pair."""
        asker = generator.asker
        generator._put(state)
        with torch.no_grad():
            yes, no = (
                dpo.log_probabilities(
                    generator.model, asker.prompt(word), [asker.completion(word, text) for text in side.texts]
                )
                for side in fresh
            )
        generator._put(None)
        return yes - no

    base = difference(None)
    rise = difference(adapter) - base
    assert float(rise.mean()) > 2 * float(rise.std()) / len(rise) ** 0.5
    # the update itself says the same: its figures are those before its step
    _, held_out = generator.adapt(adapter, *fresh, seed=1, options={"steps": 1})
    assert held_out["margin"] == pytest.approx(AdaptOptions().beta * float(rise.mean()), rel=1e-3)
    assert torch.equal(difference(None), base)
