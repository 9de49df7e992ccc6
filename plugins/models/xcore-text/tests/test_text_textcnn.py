"""TextCNN: closed forms, padding, training, round trips, and as a classifier that a probe opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from xcore_tcav.scorer import Scorer
from xcore_text.classifiers import TextCNNClassifier
from xcore_text.options import TextOptions
from xcore_text.textcnn import TextCNN, load, save
from xcore_text.train import fit
from xcore_text.vocabulary import Vocabulary

from xcore.contract import MissingError, NotApplicable, Samples, UsageError
from xcore.testing import ClassifierTests, OptionsTests, global_state, model_state

POSITIVE = ("good", "great", "superb", "fine", "lovely")
NEGATIVE = ("bad", "dull", "bland", "awful", "boring")
NEUTRAL = ("movie", "plot", "actor", "scene", "music", "camera", "story", "screen")


def texts_of(*texts: str) -> Samples:
    return Samples("text", texts, tuple(f"text/{i}" for i in range(len(texts))))


def vocabulary() -> Vocabulary:
    return Vocabulary([*POSITIVE, *NEGATIVE, *NEUTRAL])


def sentences(n: int, words: tuple[str, ...], seed: int, length: int = 6) -> Samples:
    rng = torch.Generator().manual_seed(seed)
    index = torch.randint(len(words), (n, length), generator=rng).tolist()
    return texts_of(*(" ".join(words[i] for i in row) for row in index))


def saved(model: TextCNN, directory: Path) -> str:
    save(model, vocabulary(), ("negative", "positive"), directory)
    return str(directory)


def bag_of_words() -> TextCNN:
    """Polarity is the first number of the constant embedding, the second is noise; kernel 1, so words are averaged."""
    words = vocabulary()
    vectors = torch.zeros(len(words), 2)
    for value, group in ((1.0, POSITIVE), (-1.0, NEGATIVE), (0.0, NEUTRAL)):
        for i, word in enumerate(group):
            vectors[words.encode(word)[0]] = torch.tensor([value, 0.1 * i])
    model = TextCNN(len(words), 2, embedding=2, channels=2, kernels=(1,), vectors=vectors)
    with torch.no_grad():
        model.embedding.trained.weight.zero_()
        # Channels: ReLU(p) and ReLU(-p), so that the logits are affine in the mean polarity p.
        model.convs[0].weight.copy_(torch.tensor([[0.0, 0, 1, 0], [0, 0, -1, 0]])[:, :, None])
        model.convs[0].bias.zero_()
        model.decoder.weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
        model.decoder.bias.copy_(torch.tensor([0.25, 0.5]))
    return model.eval()


def test_closed_form_of_a_bag_of_words(tmp_path: Path) -> None:
    classifier = TextCNNClassifier(TextOptions(), saved(bag_of_words(), tmp_path))
    x = texts_of("good great movie bad", "Dull, dull plot!", "movie", "")
    polarity = torch.tensor([1 / 4, -2 / 3, 0.0, 0.0])
    wanted = torch.stack((0.25 - polarity, 0.5 + polarity), dim=1)
    assert torch.allclose(classifier.logits(x), wanted, atol=1e-6)


def test_windows_are_averaged_by_hand() -> None:
    model = TextCNN(len(vocabulary()), 3, embedding=4, channels=5, kernels=(2, 3), seed=1).eval()
    encoded = [5, 9, 2, 7]
    ids, lengths = model.inputs([encoded, [3]])
    vectors = torch.cat((model.embedding.trained.weight, model.embedding.constant.weight), dim=1)[encoded]
    means = []
    for kernel, conv in zip((2, 3), model.convs, strict=True):
        windows = torch.stack([vectors[i : i + kernel].T for i in range(5 - kernel)])  # (W, 2e, kernel)
        means.append((torch.einsum("wck,ock->wo", windows, conv.weight) + conv.bias).mean(0))
    wanted = model.decoder(torch.cat(means).relu())
    assert torch.allclose(model(ids, lengths)[0], wanted, atol=1e-5)


def test_it_is_the_published_network_on_texts_of_one_length() -> None:
    """Adaptive average pooling to 1 and ReLU, as d2l has it, is the same where nothing is padded."""
    model = TextCNN(30, 2, embedding=8, channels=6, seed=2).eval()
    ids = torch.randint(2, 30, (4, 9), generator=torch.Generator().manual_seed(0))
    embedded = model.embedding(ids).permute(0, 2, 1)
    pool = torch.nn.AdaptiveAvgPool1d(1)
    convs = [torch.nn.functional.conv1d(embedded, c.weight, c.bias) for c in model.convs]
    wanted = model.decoder(torch.cat([torch.relu(pool(c)).squeeze(-1) for c in convs], dim=1))
    assert torch.allclose(model(ids, torch.full((4,), 9)), wanted, atol=1e-5)


@pytest.mark.parametrize("text", ["good", "", "qqq zzz", "good movie bad plot great scene"])
def test_logits_do_not_depend_on_padding_or_batch(text: str, tmp_path: Path) -> None:
    directory = saved(TextCNN(len(vocabulary()), 2, embedding=8, channels=6, seed=3), tmp_path)
    others = ("bad movie", "good " * 40, "plot")
    alone = TextCNNClassifier(TextOptions(max_length=64), directory).logits(texts_of(text))
    wider = TextCNNClassifier(TextOptions(max_length=100), directory).logits(texts_of(*others, text))[-1:]
    model = load(directory).model
    tight = model(*model.inputs([vocabulary().encode(text)]))
    assert torch.allclose(alone, wider, atol=1e-5)
    assert torch.allclose(alone, tight, atol=1e-5)


def test_layers_open_and_the_default_is_before_the_relu(tmp_path: Path) -> None:
    directory = saved(TextCNN(len(vocabulary()), 2, embedding=8, channels=6, seed=3), tmp_path)
    classifier = TextCNNClassifier(TextOptions(max_length=20), directory)
    x = sentences(5, (*POSITIVE, *NEUTRAL), 0, length=9)
    assert classifier.default_layer == "pooled"
    assert classifier.open("embedding").activations(x).shape == (5, 20, 16)
    assert classifier.open("convs.1").activations(x).shape == (5, 17, 6)
    assert classifier.open("pooled").activations(x).shape == (5, 18)
    assert classifier.open("pooled").is_cut
    for layer in ("embedding", "convs.0", "pooled"):
        probe = classifier.open(layer)
        assert torch.allclose(probe.head(probe.activations(x), x), classifier.logits(x), atol=1e-5)
    pooled = classifier.open("pooled").activations(x)
    decoder = load(directory).model.decoder.weight[1]
    assert torch.allclose(classifier.open("pooled").gradients(x, 1), (pooled > 0) * decoder, atol=1e-6)


def test_gradient_at_the_embeddings_is_autograds(tmp_path: Path) -> None:
    directory = saved(TextCNN(len(vocabulary()), 2, embedding=8, channels=6, seed=3), tmp_path)
    classifier = TextCNNClassifier(TextOptions(max_length=12), directory)
    x = texts_of("good movie bad plot great scene", "dull")
    model = load(directory).model
    ids, lengths = model.inputs([vocabulary().encode(t) for t in x.texts], 12)
    leaf = model.embedding(ids).detach().requires_grad_()
    pooled = model.pooled([conv(leaf) for conv in model.convs], lengths)
    model.decoder(pooled.relu())[:, 0].sum().backward()
    found = classifier.open("embedding").gradients(x, 0)
    assert torch.allclose(found, leaf.grad, atol=1e-6)
    assert not found[0, 6:].any(), "padding has no influence"


def test_planted_polarity_words(tmp_path: Path) -> None:
    """Concepts of positive words get TS 1 for the positive class, of negative words 0; the head is affine here."""
    classifier = TextCNNClassifier(TextOptions(max_length=16), saved(bag_of_words(), tmp_path))
    reviews = sentences(8, (*POSITIVE, *NEUTRAL), 1)
    reviews = reviews.take([i for i, t in enumerate(reviews.texts) if set(t.split()) & set(POSITIVE)])
    probe = classifier.open("embedding")

    def random_set(n: int, index: int, render: str = "as-is", purpose: str = "negative") -> Samples:
        assert purpose == "negative"
        return sentences(n, NEUTRAL, 1000 + index)

    scorer = Scorer(probe, 1, reviews, random_set, negatives=5, pool=True, affine=True)
    good, bad = scorer.score_many([sentences(12, POSITIVE, 2), sentences(12, NEGATIVE, 3)])
    assert (good.ts, bad.ts) == (1.0, 0.0)
    with pytest.raises(NotApplicable, match="affine"):
        Scorer(probe, 1, reviews, random_set, negatives=5, pool=True)


def test_training_learns_the_world_and_repeats(tmp_path: Path) -> None:
    texts, labels = [], []
    for i, x in enumerate((sentences(150, NEUTRAL, 4), sentences(150, NEUTRAL, 5))):
        group = (NEGATIVE, POSITIVE)[i]
        texts += [f"{t} {group[k % 5]}" for k, t in enumerate(x.texts)]
        labels += [i] * len(x)
    before = global_state()
    made = []
    for _ in range(2):
        model = TextCNN(len(vocabulary()), 2, embedding=8, channels=6, seed=5)
        constant = model.embedding.constant.weight.clone()
        history = fit(model, vocabulary(), texts, labels, epochs=6, lr=1e-2, batch_size=32)
        assert torch.equal(model.embedding.constant.weight, constant)
        assert not model.embedding.trained.weight[0].any()
        made.append((history, {k: v.clone() for k, v in model.state_dict().items()}))
    assert global_state() == before
    assert made[0][0] == made[1][0]
    assert all(torch.equal(a, made[1][1][k]) for k, a in made[0][1].items())
    assert made[0][0].accuracy[-1] == 1.0
    assert made[0][0].loss[-1] < made[0][0].loss[0] / 2
    classifier = TextCNNClassifier(TextOptions(), saved(model, tmp_path))
    x = texts_of("Scene, plot, music, story, actor, movie: superb!", "movie story camera plot plot screen boring")
    assert classifier.logits(x).argmax(1).tolist() == [1, 0]


def test_training_wants_labels_for_texts() -> None:
    model = TextCNN(len(vocabulary()), 2, embedding=2, channels=2)
    with pytest.raises(UsageError, match="2 texts but 1 labels"):
        fit(model, vocabulary(), ["good", "bad"], [1])
    with pytest.raises(UsageError, match="no texts"):
        fit(model, vocabulary(), [], [])


def test_round_trip(tmp_path: Path) -> None:
    model = TextCNN(len(vocabulary()), 2, embedding=3, channels=4, kernels=(2, 5), max_length=17, seed=6)
    saved(model, tmp_path)
    back = load(tmp_path)
    assert back.classes == ("negative", "positive")
    assert back.vocabulary.words == vocabulary().words
    assert back.model.config == model.config
    assert all(torch.equal(v, back.model.state_dict()[k]) for k, v in model.state_dict().items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors", "vocabulary.json"]


def test_bad_directories(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere"):
        load(tmp_path / "nowhere")
    saved(TextCNN(len(vocabulary()), 2, embedding=3, channels=4), tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(UsageError, match="no TextCNN can be read"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "vocabulary.json").write_text(json.dumps(["<pad>", "<unk>", "good"]))
    with pytest.raises(UsageError, match="3 words, but the model is for 20"):
        load(tmp_path)
    (tmp_path / "vocabulary.json").write_text('{"good": 2}')
    with pytest.raises(UsageError, match="no vocabulary"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "BertForSequenceClassification"}')
    with pytest.raises(UsageError, match="describes no TextCNN"):
        load(tmp_path)


def test_wrong_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vectors have shape"):
        TextCNN(10, 2, embedding=3, vectors=torch.zeros(9, 3))
    with pytest.raises(UsageError, match="do not fit"):
        TextCNN(10, 2, kernels=(3, 4, 5), max_length=4)
    with pytest.raises(UsageError, match="for 20 words and 2 classes, not for 20 and 1"):
        save(TextCNN(20, 2, embedding=3, channels=4), vocabulary(), ["one"], tmp_path)
    directory = saved(TextCNN(20, 2, embedding=3, channels=4), tmp_path)
    with pytest.raises(UsageError, match=r"widest kernel of .* takes 5 words"):
        TextCNNClassifier(TextOptions(max_length=3), directory)
    with pytest.raises(UsageError, match="max_length is 99999999, but the model reads 128 words"):
        TextCNNClassifier(TextOptions(max_length=99_999_999), directory)
    with pytest.raises(UsageError, match="2 logits but there are 3"):
        TextCNNClassifier(TextOptions(classes=("a", "b", "c")), directory)


def test_long_texts_are_cut_and_counted_once(tmp_path: Path) -> None:
    classifier = TextCNNClassifier(TextOptions(max_length=6), saved(bag_of_words(), tmp_path))
    assert classifier.notes == ()
    x = texts_of("good good good movie movie movie bad bad bad", "good")
    assert torch.allclose(classifier.logits(x)[0], classifier.logits(texts_of("good " * 3 + "movie " * 3))[0])
    classifier.open("pooled").activations(x)
    assert [note.split(" (")[0] for note in classifier.notes] == [
        f"1 text is longer than the 6 words that textcnn:{tmp_path} reads; the rest was not read"
    ]


def test_the_module_is_left_as_found(tmp_path: Path) -> None:
    classifier = TextCNNClassifier(TextOptions(), saved(bag_of_words(), tmp_path))
    before, state = model_state(classifier.model.module), global_state()
    classifier.logits(texts_of("good", ""))
    for layer in classifier.layers:
        classifier.open(layer).gradients(texts_of("good", "bad"), 1)
    assert model_state(classifier.model.module) == before
    assert global_state() == state


def test_vocabulary_is_built_by_frequency(tmp_path: Path) -> None:
    made = Vocabulary.build(["b a b, 12", "B c a", "d"], minimum=2)
    assert made.words == ("<pad>", "<unk>", "b", "a")
    assert made.encode("A zebra b.") == [3, 1, 2]
    assert Vocabulary.build(["b a b c"], size=1).words[2:] == ("b",)
    assert "a" in made
    made.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json").words == made.words
    with pytest.raises(UsageError, match="'x' twice"):
        Vocabulary(["x", "y", "x"])


class TestConformance(ClassifierTests):
    @pytest.fixture
    def classifier(self, tmp_path: Path) -> TextCNNClassifier:
        model = TextCNN(len(vocabulary()), 2, embedding=8, channels=6, seed=3)
        return TextCNNClassifier(TextOptions(max_length=20), saved(model, tmp_path))

    @pytest.fixture
    def samples(self) -> Samples:
        return texts_of("good movie, bad plot", "", "qqq zzz", "good " * 40, "dull")


class TestTextOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[TextOptions]:
        return TextOptions
