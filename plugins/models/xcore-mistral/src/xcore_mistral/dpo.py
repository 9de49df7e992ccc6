"""DPO on a LoRA; the frozen base model is the reference.

Rafailov et al., "Direct Preference Optimization" (NeurIPS 2023), eq. 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import Adapter
from xcore.pretrained.lora import Lora, prefer
from xcore_mistral.options import AdaptOptions
from xcore_mistral.sample import join, start


@dataclass(frozen=True)
class Pair:
    """The tokens of a prompt and of two answers to it, with their ends."""

    prompt: tuple[int, ...]
    preferred: tuple[int, ...]
    rejected: tuple[int, ...]


def log_probabilities(model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> Tensor:
    """The log-probability of each completion of a prompt, summed over its tokens, (n,).

    The prompt is read once. Completions are padded at their ends, which no earlier token sees.
    """
    logits, cache = start(model, prompt)
    length = max(map(len, completions))
    filled = torch.tensor([[*c, *[c[-1]] * (length - len(c))] for c in completions], device=model.device)
    real = torch.tensor([[i < len(c) for i in range(length)] for c in completions], device=model.device)
    rows = logits.expand(len(completions), 1, -1)
    if length > 1:
        out = model(input_ids=filled[:, :-1], past_key_values=join([cache] * len(completions)), use_cache=True)
        rows = torch.cat([rows, out.logits], 1)
    of_tokens = torch.log_softmax(rows.float(), -1).gather(2, filled.unsqueeze(-1)).squeeze(-1)
    return (of_tokens * real).sum(1)


def margins(preferred: Tensor, rejected: Tensor, ref_preferred: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """The implicit reward margins (n,) of pairs, from log-probabilities (n,) of the tuned model and of the reference.

    The loss of a pair is -log sigmoid(margin).
    """
    return beta * ((preferred - ref_preferred) - (rejected - ref_rejected))


def update(
    model: Any, lora: Lora, begin: Adapter, pairs: Sequence[Pair], *, seed: int, options: AdaptOptions, chunk: int
) -> tuple[Adapter, dict[str, float]]:
    """Take AdamW steps on the DPO loss from an adapter.

    Parameters
    ----------
    model, lora
        The network and its LoRA.
    begin
        The adapter to start from, with the state of its optimiser.
    pairs
        The pairs, at least one.
    seed
        The choice of pairs depends on it and on the number of steps taken so far.
    options
        The options of the update.
    chunk
        Number of pairs that go through the network at once; gradients are summed over chunks.

    Returns
    -------
    The new adapter, and the figures of `xcore.pretrained.lora.prefer` together with `beta`.
    """
    k = min(options.pairs_per_step or len(pairs), len(pairs))
    lora.put(begin)
    with torch.no_grad(), lora.off():
        reference = {
            i: both.detach()
            for rows in _chunks(pairs, range(len(pairs)), chunk)
            for i, both in zip(rows, _both(model, pairs, rows), strict=True)
        }

    def backward(step: int) -> Tensor:
        of_pair: dict[int, Tensor] = {}
        chosen = _choice(seed, step, len(pairs), k)
        for rows in _chunks(pairs, chosen, chunk):
            with torch.enable_grad():
                p, ref = _both(model, pairs, rows), torch.stack([reference[i] for i in rows])
                margin = margins(p[:, 0], p[:, 1], ref[:, 0], ref[:, 1], options.beta)
                torch.autograd.backward(-F.logsigmoid(margin).sum() / k)
            of_pair |= dict(zip(rows, margin.detach(), strict=True))
        return torch.stack([of_pair[i] for i in chosen])

    o = options
    result, figures = prefer(
        lora, begin, backward, steps=o.steps, lr=o.lr, weight_decay=o.weight_decay, grad_clip=o.grad_clip
    )
    return result, {**figures, "beta": o.beta}


def _both(model: Any, pairs: Sequence[Pair], rows: Sequence[int]) -> Tensor:
    """The log-probabilities (n, 2) of the preferred and of the rejected answers of pairs with the same prompt."""
    texts = [text for i in rows for text in (pairs[i].preferred, pairs[i].rejected)]
    return log_probabilities(model, pairs[rows[0]].prompt, texts).view(-1, 2)


def _chunks(pairs: Sequence[Pair], rows: Sequence[int], size: int) -> list[list[int]]:
    """These pairs in parts of at most `size`; the pairs of a part have the same prompt."""
    of_prompt: dict[tuple[int, ...], list[int]] = {}
    for i in rows:
        of_prompt.setdefault(pairs[i].prompt, []).append(i)
    return [part[a : a + size] for part in of_prompt.values() for a in range(0, len(part), size)]


def _choice(seed: int, step: int, n: int, k: int) -> list[int]:
    """The pairs of a step, drawn from (seed, step) only, so that two calls of one step equal one call of two steps."""
    if k == n:
        return list(range(n))
    digest = hashlib.sha256(f"dpo {seed} {step}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    chosen: list[int] = torch.randperm(n, generator=generator)[:k].tolist()
    return chosen
