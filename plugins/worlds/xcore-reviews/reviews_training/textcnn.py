"""Train the classifier: a TextCNN on the reviews, with word vectors of more words than the reviews have."""

from __future__ import annotations

import json
from pathlib import Path

from xcore_reviews.data import CLASSES, reviews
from xcore_reviews.truth import table_of
from xcore_text.textcnn import TextCNN, load, save
from xcore_text.train import accuracy, fit
from xcore_text.vocabulary import Vocabulary

from reviews_training.vectors import vectors
from reviews_training.wordnet import synonyms

TEXTS, EPOCHS, WIDTH, CHANNELS, LENGTH = 12_000, 4, 50, 64, 64


def known_words(wide: dict[str, tuple[str, ...]], texts: tuple[str, ...]) -> list[str]:
    """The words of the reviews, most frequent first, then those of WordNet."""
    own = Vocabulary.build(texts).words[2:]
    return list(dict.fromkeys([*own, *wide, *sorted({w for near in wide.values() for w in near})]))


def train(out: Path, seed: int = 61) -> None:
    """Train, save in half precision with the truth table beside the weights, and print the accuracy."""
    data = reviews()
    texts = data.samples(None, "train", TEXTS, seed)
    heldout = data.samples(None, "heldout", 4000, seed)
    wide = synonyms()
    vocabulary = Vocabulary(known_words(wide, texts.texts))
    model = TextCNN(
        len(vocabulary),
        len(CLASSES),
        embedding=WIDTH,
        channels=CHANNELS,
        max_length=LENGTH,
        vectors=vectors(vocabulary.words, wide, WIDTH, seed),
        seed=seed,
    )
    assert texts.labels is not None
    assert heldout.labels is not None
    history = fit(model, vocabulary, texts.texts, texts.labels.tolist(), epochs=EPOCHS, seed=seed)
    save(model.half(), vocabulary, data.classes, out / "model")
    table = table_of(out / "model")
    (out / "model" / "truth.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    saved = load(out / "model")
    encoded = [saved.vocabulary.encode(t) for t in heldout.texts]
    right = accuracy(saved.model, encoded, heldout.labels.tolist())
    print(f"loss {history.loss[-1]:.3f}; accuracy {right:.4f} of {len(heldout)} held-out reviews; gaps {table['gaps']}")
