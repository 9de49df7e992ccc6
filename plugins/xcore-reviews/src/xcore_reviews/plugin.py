"""The cards of the written world. Nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore import hookimpl

if TYPE_CHECKING:
    from xcore.hookspecs import Fingerprint, Register

WEIGHTS = Path(__file__).parent / "weights"
DEFAULTS = {
    "classifier": "reviews/textcnn",
    "generator": "reviews/mistral",
    "contrast": "reviews/random",
    "text-embedder": "reviews/embedder",
}


def _of(name: str) -> Fingerprint:
    """Fingerprint of a shipped model: its files and the code that opens them."""

    def fingerprint(options: Any, argument: str | None = None) -> str:
        from xcore.identity import digest, file_digest, plain_options, tree_digest

        code = file_digest(Path(__file__).parent / "models.py")
        return digest([tree_digest(WEIGHTS / name), code, dict(plain_options(options))])

    return fingerprint


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
        fingerprint=_of("textcnn"),
        kinds=("text",),
    )


@hookimpl
def register_generators(register: Register) -> None:
    register(
        "reviews/mistral",
        "xcore_reviews.models:mistral",
        summary="a small Mistral that answers with synonyms, of this world and of WordNet",
        options="xcore_reviews.options:MistralOptions",
        fingerprint=_of("mistral"),
        kinds=("text",),
    )


@hookimpl
def register_models(register: Register) -> None:
    register(
        "reviews/embedder",
        "xcore_reviews.models:embedder",
        summary="a small sentence encoder in which synonyms are near",
        fingerprint=_of("embedder"),
        role="text-embedder",
        kinds=("text",),
    )


def world_fingerprint(options: Any, argument: str | None = None) -> str:
    """Digest of the code that writes, and of the truth table."""
    from xcore.identity import digest, file_digest

    here = Path(__file__).parent
    code = [here / f"{m}.py" for m in ("lexicon", "grammar", "data")]
    return digest([file_digest(p) for p in [*code, here / "english.json", *sorted(WEIGHTS.glob("*/truth.json"))]])
