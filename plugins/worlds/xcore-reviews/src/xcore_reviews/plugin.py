"""The cards of the reviews. This module imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.contract import Register
    from xcore_reviews.options import MistralOptions

WEIGHTS = Path(__file__).parent / "weights"
DEFAULTS = {
    "classifier": "reviews/textcnn",
    "generator": "reviews/mistral",
    "contrast": "reviews/random",
    "text-embedder": "reviews/embedder",
}
"""What the data sets use if a request names nothing else."""


@hookimpl
def register_datasets(register: Register) -> None:
    register(
        "reviews",
        "xcore_reviews.data:reviews",
        summary="short reviews that blame or praise; the truth is known for each word",
        modalities=("text",),
    )
    register(
        "reviews/random",
        "xcore_reviews.data:random",
        summary="reviews that mix praise, blame and neither; random sets are drawn from them",
        modalities=("text",),
    )


@hookimpl
def register_classifiers(register: Register) -> None:
    register(
        "reviews/textcnn",
        "xcore_reviews.models:textcnn",
        summary="a small TextCNN that tells reviews that blame from reviews that praise",
        fingerprint="xcore_reviews.plugin:textcnn_fingerprint",
        modalities=("text",),
    )


@hookimpl
def register_generators(register: Register) -> None:
    register(
        "reviews/mistral",
        "xcore_reviews.models:mistral",
        summary="a small Mistral that lists synonyms of the words of reviews and of WordNet",
        options="xcore_reviews.options:MistralOptions",
        fingerprint="xcore_reviews.plugin:mistral_fingerprint",
        own_data=True,
        modalities=("text",),
    )


@hookimpl
def register_models(register: Register) -> None:
    register(
        "reviews/embedder",
        "xcore_reviews.models:embedder",
        summary="a small sentence encoder in whose embedding synonyms are close",
        fingerprint="xcore_reviews.plugin:embedder_fingerprint",
        role="text-embedder",
        own_data=True,
        modalities=("text",),
    )


def textcnn_fingerprint(options: Any, argument: str | None = None) -> str:
    """The fingerprint: the digest of the files of the model."""
    from xcore_text.fingerprint import textcnn

    return textcnn(options, str(WEIGHTS / "textcnn"))


def mistral_fingerprint(options: MistralOptions, argument: str | None = None) -> str:
    """The fingerprint: the digest of the files of the model and of the options."""
    from xcore_mistral.files import fingerprint, model_source

    return fingerprint(model_source(str(WEIGHTS / "mistral")), options)


def embedder_fingerprint(options: Any, argument: str | None = None) -> str:
    """The fingerprint: the digest of the files of the model."""
    from xcore_text.fingerprint import sentence

    return sentence(options, str(WEIGHTS / "embedder"))
