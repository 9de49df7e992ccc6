"""The cards of the written world. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.hookspecs import Register
    from xcore_reviews.options import MistralOptions

WEIGHTS = Path(__file__).parent / "weights"
DEFAULTS = {
    "classifier": "reviews/textcnn",
    "generator": "reviews/mistral",
    "contrast": "reviews/random",
    "text-embedder": "reviews/embedder",
}


@hookimpl
def register_datasets(register: Register) -> None:
    register(
        "reviews",
        "xcore_reviews.data:reviews",
        summary="short reviews that blame or praise; the truth is known word by word",
        fingerprint="xcore_reviews.plugin:world_fingerprint",
        kinds=("text",),
    )
    register(
        "reviews/random",
        "xcore_reviews.data:random",
        summary="reviews that say anything: the contrast of both classes",
        fingerprint="xcore_reviews.plugin:world_fingerprint",
        kinds=("text",),
    )


@hookimpl
def register_classifiers(register: Register) -> None:
    register(
        "reviews/textcnn",
        "xcore_reviews.models:textcnn",
        summary="a small TextCNN that tells blame from praise",
        fingerprint="xcore_reviews.plugin:textcnn_fingerprint",
        kinds=("text",),
    )


@hookimpl
def register_generators(register: Register) -> None:
    register(
        "reviews/mistral",
        "xcore_reviews.models:mistral",
        summary="a small Mistral that answers with synonyms, of this world and of WordNet",
        options="xcore_reviews.options:MistralOptions",
        fingerprint="xcore_reviews.plugin:mistral_fingerprint",
        kinds=("text",),
    )


@hookimpl
def register_models(register: Register) -> None:
    register(
        "reviews/embedder",
        "xcore_reviews.models:embedder",
        summary="a small sentence encoder in which synonyms are near",
        fingerprint="xcore_reviews.plugin:embedder_fingerprint",
        role="text-embedder",
        kinds=("text",),
    )


def world_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the code that writes, and of the truth table."""
    from xcore.identity import digest, file_digest

    here = Path(__file__).parent
    code = [here / f"{m}.py" for m in ("lexicon", "grammar", "data")]
    return digest([file_digest(p) for p in [*code, here / "english.json", *sorted(WEIGHTS.glob("*/truth.json"))]])


def textcnn_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the weights and of the code that reads them."""
    from xcore_text.fingerprint import textcnn

    return textcnn(options, str(WEIGHTS / "textcnn"))


def mistral_fingerprint(options: MistralOptions, argument: str | None = None) -> str:
    """Digest of the weights, the options, and the code that asks and adapts."""
    from xcore_mistral.files import fingerprint, model_source

    return fingerprint(model_source(str(WEIGHTS / "mistral")), options)


def embedder_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the weights and of the code that reads them."""
    from xcore_text.fingerprint import sentence

    return sentence(options, str(WEIGHTS / "embedder"))
