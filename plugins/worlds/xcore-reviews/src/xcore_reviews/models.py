"""The shipped models, loaded by the plugins in whose formats they are saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcore_reviews.options import MistralOptions
from xcore_reviews.plugin import WEIGHTS

if TYPE_CHECKING:
    from xcore_mistral.generator import MistralGenerator
    from xcore_text.classifiers import TextCNNClassifier
    from xcore_text.embed import SentenceEmbedder


def textcnn(options: None = None) -> TextCNNClassifier:
    """The classifier `reviews/textcnn`."""
    from xcore_text.classifiers import TextCNNClassifier
    from xcore_text.options import TextOptions

    return TextCNNClassifier(TextOptions(), str(WEIGHTS / "textcnn"))


def mistral(options: MistralOptions | None = None) -> MistralGenerator:
    """The generator `reviews/mistral`."""
    from xcore_mistral.files import model_source
    from xcore_mistral.generator import MistralGenerator

    return MistralGenerator(model_source(str(WEIGHTS / "mistral")), options or MistralOptions(), name="reviews/mistral")


def embedder(options: None = None) -> SentenceEmbedder:
    """The text embedder `reviews/embedder`."""
    from xcore_text.embed import SentenceEmbedder
    from xcore_text.options import EmbedderOptions

    made = SentenceEmbedder(EmbedderOptions(), str(WEIGHTS / "embedder"))
    made.name = "reviews/embedder"
    return made
