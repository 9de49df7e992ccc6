"""``blip-decoder:MODEL``: the text decoder of a BLIP captioning model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcore.contract import UsageError
from xcore.pretrained.hub import model_directory, read_json
from xcore.pretrained.loading import load_model
from xcore_texplain.decoders import Decoder, Step
from xcore_texplain.options import DecoderOptions


def blip_decoder(options: DecoderOptions | None, argument: str) -> Decoder:
    """``blip-decoder:MODEL``: the text decoder of a directory or Hub id."""
    return BlipDecoder(model_directory(argument), options, f"blip-decoder:{argument}")


class BlipDecoder(Decoder):
    """The text decoder of a `BlipForConditionalGeneration` directory, which reads states by cross-attention.

    References
    ----------
    Li et al., BLIP: Bootstrapping Language-Image Pre-training, ICML 2022.
    """

    def _load(self, folder: Path) -> Any:
        from transformers import BlipForConditionalGeneration

        config = read_json(folder / "config.json")
        kind = config.get("model_type")
        if kind != "blip":
            raise UsageError(
                f"{self.name} is a model of type {kind!r}, which has no text decoder with cross-attention",
                "name a BLIP captioning model, or load this one with prefix-decoder:",
            )
        model = load_model(BlipForConditionalGeneration, folder, "BLIP captioner").text_decoder
        layers = model.bert.encoder.layer
        if not all(hasattr(layer, "crossattention") for layer in layers):
            raise UsageError(
                f"the text model of {self.name} has no cross-attention",
                "its text_config says is_decoder=false; name a captioning model",
            )
        for layer in layers:
            layer.crossattention.self = SharedAttention(layer.crossattention.self)
        vision = config.get("vision_config", {})
        side = int(vision.get("image_size", 384)) // int(vision.get("patch_size", 16))
        self.width = int(model.config.encoder_hidden_size)
        self.tokens = self.options.tokens or side * side + 1
        return model

    def _start_and_end(self) -> tuple[int, int]:
        config = self.model.config
        return int(config.bos_token_id), int(config.sep_token_id)

    def _positions(self, states: int) -> int:
        return int(self.model.config.max_position_embeddings)

    def _logits(self, states: Tensor, ids: Tensor) -> Tensor:
        out: Tensor = self.model(input_ids=ids, encoder_hidden_states=states, use_cache=False).logits
        return out

    def _begin(self, states: Tensor, n: int) -> tuple[Tensor, Step]:
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        # Keys and values are computed once for each row of states, and all its sentences share them.
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

        def step(ids: Tensor) -> Tensor:
            ids = ids if ids.ndim == 2 else ids[:, None]
            made = self.model(
                input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            logits: Tensor = made.logits[:, -1]
            return logits

        return step(torch.tensor([self._opening] * (len(states) * n), device=self._device)), step


class SharedAttention(nn.Module):
    """Cross-attention of a BLIP layer, in which many sentences can attend to each row of states without copying it.

    It replaces the layer's own attention and keeps its weights under the same names.
    """

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.query, self.key, self.value = own.query, own.key, own.value
        self.heads, self.index = own.num_attention_heads, own.layer_idx

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """Context (n, L, d) of tokens (n, L, d) that attend to states (m, T, width), n/m sentences to each of them."""
        n, length, _ = hidden_states.shape
        if past_key_values is not None and past_key_values.is_updated.get(self.index):
            kept = past_key_values.cross_attention_cache.layers[self.index]
            key, value = kept.keys, kept.values
        else:
            assert encoder_hidden_states is not None
            key, value = (
                part(encoder_hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in (self.key, self.value)
            )
            if past_key_values is not None:
                key, value = past_key_values.cross_attention_cache.update(key, value, self.index)
                past_key_values.is_updated[self.index] = True
        # The positions of all sentences about a row of states are the queries of a single row.
        query = self.query(hidden_states).reshape(len(key), -1, self.heads, key.shape[-1]).transpose(1, 2)
        context = F.scaled_dot_product_attention(query, key, value)
        return context.transpose(1, 2).reshape(n, length, -1), None
