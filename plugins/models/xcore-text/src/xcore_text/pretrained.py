"""Turn texts into padded token numbers for a model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcore.contract import UsageError
from xcore.pretrained.loading import load_tokenizer

NEEDS = ("config.json", "tokenizer_config.json")


class Tokens:
    """Turns texts into token numbers, cut at a length that the model reads.

    Parameters
    ----------
    folder
        Directory of the tokenizer.
    model
        The model; its configuration names the maximum length and the padding token.
    max_length
        Tokens after which a text is cut; None = as many as the model reads, at most `usual`.
    usual
        See `max_length`.

    Raises
    ------
    MissingError
        No tokenizer can be read.
    UsageError
        `max_length` is more than the model reads or less than a text of one token takes.
    """

    def __init__(self, folder: Path, model: nn.Module, max_length: int | None, usual: int) -> None:
        self._tokenizer: Any = load_tokenizer(folder)
        limit = _limit(self._tokenizer, model)
        if max_length is not None and limit is not None and max_length > limit:
            raise UsageError(
                f"max_length is {max_length}, but the model in {str(folder)!r} takes {limit} tokens",
                f"set max_length to {limit} or less",
            )
        self.max_length = max_length if max_length is not None else min(limit or usual, usual)
        least = self._tokenizer.num_special_tokens_to_add() + 1
        if self.max_length < least:
            raise UsageError(
                f"max_length is {self.max_length}, but a text of one token takes {least} with its special tokens",
                f"set max_length to {least} or more",
            )
        self.pad = _padding(self._tokenizer, model)
        self._tokenizer.padding_side = self._tokenizer.truncation_side = "right"
        self.cut: set[int] = set()
        """Hashes of the texts that were cut."""

    def __call__(self, texts: Sequence[str], length: int | None = None, *, count: bool = True) -> tuple[Tensor, Tensor]:
        """Token numbers and attention mask, both (n, T), padded on the right.

        Parameters
        ----------
        texts
            n texts. A text without any token becomes the unknown token, or padding if there is none.
        length
            T; None = the length of the longest text.
        count
            Whether texts that are cut are added to `cut`.
        """
        rows = self._encoded(texts)
        for i, row in enumerate(rows):
            if len(row) > self.max_length:
                self.cut |= {hash(texts[i])} if count else set()
                rows[i] = self._encoded([texts[i]], truncation=True, max_length=self.max_length)[0]
            elif not row:
                unknown = self._tokenizer.unk_token_id
                rows[i] = [self.pad if unknown is None else unknown]
        width = length if length is not None else max(map(len, rows))
        ids = torch.tensor([[*row, *[self.pad] * (width - len(row))] for row in rows])
        sizes = torch.tensor([len(row) for row in rows])
        return ids, (torch.arange(width) < sizes[:, None]).long()

    def made_up(self, n: int, length: int) -> list[str]:
        """n meaningless texts of 1 to `length` tokens, always the same ones."""
        rng = np.random.default_rng(0)
        rows = [rng.integers(len(self._tokenizer), size=rng.integers(1, length + 1)).tolist() for _ in range(n)]
        return [" ".join(self._tokenizer.decode([i], skip_special_tokens=True).strip() for i in row) for row in rows]

    def _encoded(self, texts: Sequence[str], **settings: Any) -> list[list[int]]:
        encoded = self._tokenizer(list(texts), return_attention_mask=False, verbose=False, **settings)
        return [list(row) for row in encoded["input_ids"]]


def _limit(tokenizer: Any, model: nn.Module) -> int | None:
    """The number of tokens that a model reads; None if there is no limit."""
    bounds = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 1e9 else []
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and models like it number positions from the padding index on.
        tables = (m for name, m in model.named_modules() if name.endswith("position_embeddings"))
        offset = next((m.padding_idx + 1 for m in tables if getattr(m, "padding_idx", None) is not None), 0)
        bounds.append(positions - offset)
    return min(bounds, default=None)


def _padding(tokenizer: Any, model: nn.Module) -> int:
    """The padding token; also set in the model, since heads of causal models look for the last token before it."""
    config: Any = model.config
    known = (config.pad_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
    pad = next((int(i) for i in known if i is not None and i >= 0), None)
    if pad is None:
        raise UsageError(
            "neither the model nor its tokenizer names a padding token", "set pad_token_id in config.json of the model"
        )
    config.pad_token_id = pad
    return pad
