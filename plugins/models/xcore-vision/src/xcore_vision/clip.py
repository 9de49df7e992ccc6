"""``clip:MODEL`` embeds images and texts in one space: CLIP, SigLIP and OpenCLIP checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xcore.contract import Samples, unknown
from xcore.models import device
from xcore.pretrained.loading import load_model, load_tokenizer
from xcore_vision.directories import clip_directory, is_open_clip, model_type
from xcore_vision.open_clip import open_clip_parts
from xcore_vision.processor import OwnProcessor, load_image_processor

if TYPE_CHECKING:
    from xcore_vision.options import HubOptions

KINDS = {
    "clip": "CLIPModel",
    "metaclip_2": "MetaClip2Model",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
}
"""Kind of model in transformers -> its class. Fixed-size checkpoints of SigLIP 2 are of the kind ``siglip``."""
SIGLIP = ("siglip", "siglip2")
"""Kinds that were trained on texts in lower case, padded without a mask: they read the padding, too."""


def clip(options: HubOptions, argument: str) -> Clip:
    """``clip:MODEL``: from a directory that `save_pretrained` or OpenCLIP wrote, or from the Hub.

    Raises
    ------
    MissingError
        There is no such model, or a file of it is missing.
    UsageError
        The directory is damaged or holds another kind of model.
    """
    folder = clip_directory(argument)
    parts = open_clip_parts(folder) if is_open_clip(folder) else _parts(folder)
    return Clip(f"clip:{argument}", *parts, options)


def _parts(folder: Path) -> tuple[Any, Any, Any]:
    """Model, tokenizer and image processor of a directory."""
    import transformers

    kind = model_type(folder)
    if kind not in KINDS:
        raise unknown(f"kind of image-text model in {str(folder)!r}:", kind, KINDS)
    model = load_model(getattr(transformers, KINDS[kind]), folder, KINDS[kind])
    return model, load_tokenizer(folder), load_image_processor(folder)


class Clip:
    """Roles ``image-text`` and ``image-embedder``: a model with one space for images and texts.

    Embeddings are what `get_image_features` and `get_text_features` of transformers give: projected into the common
    space and not normalised. Images are prepared by the model's own image processor.

    Parameters
    ----------
    name
        How results call it.
    model, tokens, processor
        Model, tokenizer and image processor of transformers.
    options
        Device and batch size.

    References
    ----------
    Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, ICML 2021.
    Zhai et al.: Sigmoid Loss for Language Image Pre-Training, ICCV 2023.
    """

    def __init__(self, name: str, model: Any, tokens: Any, processor: Any, options: HubOptions) -> None:
        self.name = name
        self._device = torch.device(options.device or device.current())
        self._model = model.eval().to(self._device)
        self._tokens, self._batch = tokens, options.batch_size
        self._processor = OwnProcessor(processor, options.batch_size)
        self._siglip = model.config.model_type in SIGLIP
        self.text_length = int(model.config.text_config.max_position_embeddings)
        """Most tokens that the text encoder reads, with those that mark the beginning and the end."""
        self.notes: list[str] = []
        """Notes for the reader: which texts were cut."""

    @torch.no_grad()
    def embed_images(self, images: Samples) -> Tensor:
        """Embeddings (n, d) of images, not normalised."""
        batches = self._processor.batches(images.images, self._device)
        return torch.cat([_features(self._model.get_image_features(**x)) for x in batches])

    def embed(self, samples: Samples) -> Tensor:
        """The same, for the role ``image-embedder``."""
        return self.embed_images(samples)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (n, d) of texts, not normalised; a text that is too long is cut, and `notes` says so."""
        for text in texts:
            self._note_cut(text)
        # Padded to the full length, as these models were trained: some read the padding.
        how = {"padding": "max_length", "truncation": True, "max_length": self.text_length, "return_tensors": "pt"}
        parts = []
        for start in range(0, len(texts), self._batch):
            read = self._tokens([self._cased(text) for text in texts[start : start + self._batch]], **how)
            names = ("input_ids",) if self._siglip else ("input_ids", "attention_mask")
            inputs = {name: read[name].to(self._device) for name in names if name in read}
            parts.append(_features(self._model.get_text_features(**inputs)))
        return torch.cat(parts)

    def tokens_of(self, text: str) -> int:
        """The number of tokens of a text, to be compared with `text_length`."""
        return len(self._tokens(self._cased(text), truncation=False, verbose=False)["input_ids"])

    def _cased(self, text: str) -> str:
        return text.lower() if self._siglip else text

    def _note_cut(self, text: str) -> None:
        n = self.tokens_of(text)
        line = f"{self.name} reads {self.text_length} tokens of a text and cut {_short(text)!r}, which has {n}"
        if n > self.text_length and line not in self.notes:
            self.notes.append(line)


def _features(output: Any) -> Tensor:
    """The embeddings in what a model returns (transformers 4: a tensor; 5: an object), on the CPU."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features.float().cpu()


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
