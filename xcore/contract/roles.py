"""The protocols of helper models. A model is registered for one role and chosen with ``--model ROLE=REF``.

A plugin may also register models for a role that is not among these, and its methods may ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.contract.samples import Modality, Samples

READS: Mapping[str, Modality] = {
    "image-text": "image",
    "image-embedder": "image",
    "text-embedder": "text",
    "vqa": "image",
    "captioner": "image",
    "segmenter": "image",
    "localiser": "image",
}
"""Role -> the modality of the samples that its models read. A role that is not here may read any."""


class ImageText(Protocol):
    """Role ``image-text``: embeds images and texts in one space, like CLIP.

    A model may also have `text_length`, the most tokens that it reads of a text, `tokens_of(text)`, their number, and
    `notes`, lines for the reader of the results, such as on texts that it cut.

    Attributes
    ----------
    name
        As tables show it.
    """

    name: str

    def embed_images(self, images: Samples) -> Tensor: ...  # (n, d), not normalised

    def embed_texts(self, texts: Sequence[str]) -> Tensor: ...  # (n, d), not normalised


class Embedder(Protocol):
    """Roles ``image-embedder`` and ``text-embedder``: embeds samples of one modality.

    Attributes
    ----------
    name
        As tables show it.
    """

    name: str

    def embed(self, samples: Samples) -> Tensor: ...  # (n, d), not normalised


class VisualQuestionAnswering(Protocol):
    """Role ``vqa``: answers questions about images."""

    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]: ...  # one question for each image


class Captioner(Protocol):
    """Role ``captioner``: describes images."""

    def caption(self, images: Samples, seeds: Sequence[int]) -> list[str]: ...  # one of both for each image


class TextDecoder(Protocol):
    """Role ``text-decoder``: a frozen language model that writes sentences from the states of an encoder.

    Attributes
    ----------
    name
        As tables show it.
    fingerprint
        Digest of its weights and of its settings for sampling sentences.
    width
        Channels of a state.
    tokens
        Number of states per sample that it was trained with.
    """

    name: str
    fingerprint: str
    width: int
    tokens: int

    def loss(self, states: Tensor, texts: Sequence[str]) -> Tensor:
        """Loss of each text given its states (n, T, width): (n,), differentiable in the states."""

    def remarks(self, texts: Sequence[str], states: int) -> list[str]:
        """Notes for the reader on what cannot be learned from these texts, e.g. words that the tokenizer does not know.

        Parameters
        ----------
        texts
            The texts that it is to be trained on.
        states
            Number of states per sample that it will be given.
        """

    def sample(self, states: Tensor, n: int, seed: int) -> list[list[str]]:
        """n sentences for each row of states (rows, T, width)."""


class Segmenter(Protocol):
    """Role ``segmenter``: divides an image into segments."""

    def segment(self, image: Tensor) -> Tensor: ...  # (3, H, W) in [0, 1] -> (n, H, W) bool


class Localiser(Protocol):
    """Role ``localiser``: finds in images what a few example images show, like CLIPSeg."""

    def locate(self, images: Samples, examples: Samples) -> Tensor: ...  # (n, H, W) in [0, 1], one map per image


class FactorOracle(Protocol):
    """Role ``factor-oracle``: recognises the factors of the images of a synthetic data set.

    Attributes
    ----------
    name
        As tables show it.
    """

    name: str

    def factors(self, images: Samples) -> Mapping[str, Mapping[str, Tensor]]:
        """Factor -> value -> (n,) probability in [0, 1]; every factor has the value "none", too."""
