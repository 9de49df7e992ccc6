"""``prefix-decoder:MODEL``: any causal language model, which reads states in front of its sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcore.errors import UsageError
from xcore.hub import model_directory
from xcore.pretrained import load_model
from xcore_texplain.decoders import Decoder
from xcore_texplain.options import DecoderOptions
from xcore_texplain.rules import Step

PREFIX = 10
"""States in front of a sentence if nobody says how many, as in ClipCap."""


def prefix_decoder(options: DecoderOptions | None, argument: str) -> Decoder:
    """The decoder of a directory or hub id."""
    return PrefixDecoder(model_directory(argument), options, f"prefix-decoder:{argument}")


class PrefixDecoder(Decoder):
    """Any causal language model of transformers that reads states as embeddings in front of the sentence."""

    def _load(self, folder: Path) -> Any:
        from transformers import AutoModelForCausalLM

        model = load_model(AutoModelForCausalLM, folder, "causal language model")
        self.width = int(model.get_input_embeddings().weight.shape[1])
        self.tokens = self.options.tokens or PREFIX
        return model

    def _marks(self) -> tuple[int, int]:
        end = self._tokenizer.eos_token_id
        if end is None:
            raise UsageError(f"the tokenizer of {self.name} names no token that ends a sentence", "set its eos_token")
        start = self._tokenizer.bos_token_id
        return int(end if start is None else start), int(end)

    def _positions(self, states: int) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", 1024)) - states

    def _logits(self, states: Tensor, ids: Tensor) -> Tensor:
        embedded = torch.cat([states, self.model.get_input_embeddings()(ids)], 1)
        logits: Tensor = self.model(inputs_embeds=embedded, use_cache=False).logits[:, states.shape[1] :]
        return logits

    def _open(self, state: Tensor, n: int) -> tuple[Tensor, Step]:
        given = torch.tensor([self._given], device=self._device)
        embedded = torch.cat([state, self.model.get_input_embeddings()(given)], 1)
        made = self.model(inputs_embeds=embedded, use_cache=True)
        cache = made.past_key_values
        cache.batch_repeat_interleave(n)

        def step(ids: Tensor) -> Tensor:
            logits: Tensor = self.model(input_ids=ids[:, None], past_key_values=cache, use_cache=True).logits[:, -1]
            return logits

        return made.logits[:, -1].expand(n, -1), step
