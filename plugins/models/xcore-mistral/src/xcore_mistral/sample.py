"""Seeded sampling with a key-value cache: no padding, batches of one size, a random stream for each row."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xcore.contract import UsageError
from xcore.pretrained.nucleus import nucleus, pick


def start(model: Any, prompt: Sequence[int]) -> tuple[Tensor, Any]:
    """Read a prompt by itself: the logits (V,) after its last token, and the cache.

    Differentiable if gradients are enabled.

    Raises
    ------
    UsageError
        The model keeps no key-value cache.
    """
    ids = torch.tensor([list(prompt)], device=model.device)
    extra = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    out = model(input_ids=ids, use_cache=True, **extra)
    if getattr(out, "past_key_values", None) is None or not hasattr(out.past_key_values, "layers"):
        raise UsageError(f"{type(model).__name__} keeps no key-value cache", "choose another causal language model")
    return out.logits[0, -1], out.past_key_values


def join(caches: Sequence[Any]) -> Any:
    """A cache whose rows are these caches of one row and of equal length; a cache may occur several times."""
    joined = copy.copy(caches[0])
    joined.layers = [copy.copy(layer) for layer in caches[0].layers]
    for i, layer in enumerate(joined.layers):
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and value.ndim > 1:
                setattr(layer, name, torch.cat([getattr(c.layers[i], name) for c in caches]))
    return joined


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    draws: Tensor,
    *,
    stops: frozenset[int],
    temperature: float,
    top_p: float,
    batch: int,
) -> list[list[int]]:
    """Sample an answer to each prompt.

    Each distinct prompt is read once, by itself. Answers are sampled in batches of exactly `batch` rows of equal
    length, the last one filled up, so that the same kernels run for a row whatever the other rows are.

    Parameters
    ----------
    draws
        (n, T) uniform numbers in [0, 1), a row for each prompt: draws[i, t] decides the t-th token of answer i.
    stops
        Tokens that end an answer.
    temperature, top_p
        See `xcore_mistral.options.Options`.
    batch
        Rows of a batch.

    Returns
    -------
    n lists of at most T tokens; the last token is in `stops` if the model ended the answer.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), tuple(prompts[i])))
    first = 0
    while first < len(order):
        rows = [i for i in order[first : first + batch] if len(prompts[i]) == len(prompts[order[first]])]
        first += len(rows)
        _write(model, prompts, draws, rows, answers, stops, temperature, top_p, batch)
    return answers


def _write(
    model: Any,
    prompts: Sequence[Sequence[int]],
    draws: Tensor,
    rows: Sequence[int],
    answers: list[list[int]],
    stops: frozenset[int],
    temperature: float,
    top_p: float,
    batch: int,
) -> None:
    """Sample the answers of these rows, which are at most `batch` prompts of equal length."""
    read = {prompt: start(model, prompt) for prompt in dict.fromkeys(tuple(prompts[i]) for i in rows)}
    filled = [*rows, *[rows[0]] * (batch - len(rows))]
    logits = torch.stack([read[tuple(prompts[i])][0] for i in filled])
    cache = join([read[tuple(prompts[i])][1] for i in filled])
    del read
    quantiles = draws[list(rows)]
    open_rows = list(range(len(rows)))
    total = draws.shape[1]
    for t in range(total):
        probabilities = torch.softmax(logits.float().cpu().double() / temperature, -1)
        chosen = [0] * batch
        drawn = pick(*nucleus(probabilities[open_rows], top_p), quantiles[open_rows, t])
        for r, token in zip(open_rows, drawn.tolist(), strict=True):
            chosen[r] = token
            answers[rows[r]].append(token)
        open_rows = [r for r in open_rows if chosen[r] not in stops]
        if not open_rows or t + 1 == total:
            return
        out = model(
            input_ids=torch.tensor(chosen, device=model.device).view(-1, 1), past_key_values=cache, use_cache=True
        )
        logits, cache = out.logits[:, -1], out.past_key_values
