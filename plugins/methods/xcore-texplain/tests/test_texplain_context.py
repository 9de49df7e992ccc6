"""Words with the evidence of images of all classes beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from xcore_texplain import plugin
from xcore_texplain.options import Options
from xcore_texplain.texplain import in_context

from xcore.contract import Concept, Samples, Task
from xcore.models.classifiers import FunctionClassifier

WORDS = ("red", "green", "blue")


class Coloured:
    """Pictures of one random colour each, of two classes."""

    modality = "image"
    classes, vocabulary = ("warm", "cold"), WORDS

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        drawn = torch.Generator().manual_seed(seed + 10 * self.classes.index(cls))
        colours = torch.rand(n, 3, 1, 1, generator=drawn)
        return Samples("image", colours.expand(n, 3, 4, 4).clone(), tuple(f"{cls}/{i}" for i in range(n)))


class Reads:
    """An image-text model whose axes are the colours."""

    name = "reads"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3)) + 0.01

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(3)[[WORDS.index(text) for text in texts]]


def test_only_words_that_the_classifier_uses_raise_the_class() -> None:
    def logits(images: Tensor) -> Tensor:
        red = images.mean((2, 3))[:, 0]
        return torch.stack([4 * red, -4 * red], 1)

    data: Any = Coloured()
    task = Task(
        classifier=FunctionClassifier(logits, ["warm", "cold"]),
        layer="",
        target=0,
        samples=data.samples("warm", "explain", 8, 1),
        random_set=None,  # type: ignore[arg-type]
        data=data,
        seed=0,
        model=lambda role: Reads(),
    )
    words, notes = in_context(task, [Concept(word, 0.1, evidence={"freq": 0.5}) for word in WORDS])
    assert [word.evidence["context_mark"] for word in words] == [1, -1, -1]  # more green is less red, for a cosine
    assert all(word.evidence["freq"] == 0.5 for word in words)
    assert "1 of 3 words raise the class: red" in notes[0]


def test_the_card_asks_for_the_image_text_model_then() -> None:
    assert plugin.uses(Options(context=True)) == ("text-decoder", "image-text")
