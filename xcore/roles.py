"""Who helps: the protocols of helper models. A model is registered for one role and chosen by `--model ROLE=REF`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from xcore.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.registry import Card
    from xcore.types import Samples


class ImageText(Protocol):
    """Role ``image-text``: images and texts in one space (CLIP)."""

    name: str

    def embed_images(self, images: Samples) -> Tensor: ...  # (n, d), not normalised

    def embed_texts(self, texts: Sequence[str]) -> Tensor: ...  # (n, d), not normalised


class Embedder(Protocol):
    """Roles ``image-embedder`` and ``text-embedder``."""

    name: str

    def embed(self, samples: Samples) -> Tensor: ...  # (n, d), not normalised


class VisualQuestionAnswering(Protocol):
    """Role ``vqa``."""

    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]: ...  # one question per image


class Captioner(Protocol):
    """Role ``captioner``."""

    def caption(self, images: Samples, seeds: Sequence[int]) -> list[str]: ...


class TextDecoder(Protocol):
    """Role ``text-decoder``: a frozen language model that reads encoder states."""

    name: str
    fingerprint: str  # of its weights and of what is asked of its sentences
    width: int  # of a state
    tokens: int  # states that it is used to

    def loss(self, states: Tensor, texts: Sequence[str]) -> Tensor: ...  # (n,), differentiable in states (n, T, width)

    def remarks(self, texts: Sequence[str], states: int) -> list[str]: ...  # what it loses of texts, for the reader

    def sample(self, states: Tensor, n: int, seed: int) -> list[list[str]]: ...  # n sentences per row of states


class Segmenter(Protocol):
    """Role ``segmenter``."""

    def segment(self, image: Tensor) -> Tensor: ...  # (3, H, W) in [0, 1] -> (n, H, W) bool


class Localiser(Protocol):
    """Role ``localiser``: finds in images what a few example images show (CLIPSeg)."""

    def locate(self, images: Samples, examples: Samples) -> Tensor: ...  # (n, H, W) in [0, 1], one map per image


class FactorOracle(Protocol):
    """Role ``factor-oracle``: a judge of made worlds that reads the factors of a picture."""

    name: str

    def factors(self, images: Samples) -> Mapping[str, Mapping[str, Tensor]]:
        """factor -> value -> (n,) probability; every factor has the value "none"."""


ROLES: Mapping[str, type] = {
    "image-text": ImageText,
    "image-embedder": Embedder,
    "text-embedder": Embedder,
    "vqa": VisualQuestionAnswering,
    "captioner": Captioner,
    "text-decoder": TextDecoder,
    "segmenter": Segmenter,
    "localiser": Localiser,
    "factor-oracle": FactorOracle,
}

SAMPLES: Mapping[str, str] = {
    "image-text": "image",
    "image-embedder": "image",
    "text-embedder": "text",
    "vqa": "image",
    "captioner": "image",
    "segmenter": "image",
    "localiser": "image",
    "factor-oracle": "image",
}
"""Role -> the kind of samples that it reads, where it reads one kind only."""


def check_role(card: Card, role: str) -> None:
    """Raise `UsageError` if a model plays another role than the one it was named for."""
    if card.role != role:
        raise UsageError(f"model {card.shown!r} plays the role {card.role!r}, not {role!r}", "see `xcore list models`")
