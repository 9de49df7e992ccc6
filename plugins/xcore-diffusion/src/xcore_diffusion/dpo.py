"""Diffusion-DPO on a LoRA, against the frozen base as reference.

Wallace et al., "Diffusion Model Alignment Using Direct Preference Optimization" (CVPR 2024), eq. 14, with the
constants T and omega folded into beta.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.errors import UsageError
from xcore.lora import Lora, prefer
from xcore.types import Adapter
from xcore_diffusion.options import AdaptOptions

PUBLISHED_BETA, PUBLISHED_ENTRIES = 2500.0, 4 * 64 * 64


@dataclass(frozen=True)
class Objective:
    """What the UNet was trained to predict, on which noise schedule.

    Parameters
    ----------
    alphas_cumprod
        (T,) share of the signal in the variance at each timestep.
    prediction
        ``epsilon``, ``v_prediction`` or ``sample``.
    """

    alphas_cumprod: Tensor
    prediction: str

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x_t, target) for latents (n, C, h, w), noise alike and timesteps (n,)."""
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        signal, sigma = a.sqrt(), (1 - a).sqrt()
        targets = {"epsilon": noise, "v_prediction": signal * noise - sigma * x, "sample": x}
        if self.prediction not in targets:
            raise UsageError(f"prediction type {self.prediction!r} is not known", f"one of {', '.join(targets)}")
        return signal * x + sigma * noise, targets[self.prediction]

    def errors(self, unet: Any, x: Tensor, noise: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """(n,) mean over C, h, w of the squared error of the prediction."""
        noisy, target = self.noised(x, noise, t)
        predicted = unet(noisy.to(unet.dtype), t, encoder_hidden_states=context.to(unet.dtype), return_dict=False)[0]
        error: Tensor = predicted.float() - target
        return error.square().mean(dim=(1, 2, 3))


def pair_loss(e_w: Tensor, e_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Loss and implicit reward margin of each pair, from errors (n,) of the tuned model and of the reference.

    With Delta = e(preferred) - e(rejected): margin = beta (Delta_ref - Delta_theta), loss = -log sigmoid(margin).
    """
    margin = beta * ((ref_w - ref_l) - (e_w - e_l))
    return -F.logsigmoid(margin), margin


def default_beta(entries: int) -> float:
    """Published beta (for a mean over 16384 latent entries), scaled to the number of latent entries."""
    return PUBLISHED_BETA * entries / PUBLISHED_ENTRIES


@dataclass(frozen=True)
class Draw:
    """What one step uses: which pairs, and for each its timestep and noise, the same for both sides."""

    pairs: Tensor
    t: Tensor
    noise: Tensor

    @staticmethod
    def make(seed: int, step: int, n: int, k: int, shape: tuple[int, ...], timesteps: int) -> Draw:
        """Depends on (seed, step) only, so that two calls of one step each repeat one call of two steps."""
        digest = hashlib.sha256(f"diffusion-dpo {seed} {step}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        pairs = torch.randperm(n, generator=generator)[:k] if k < n else torch.arange(n)
        t = torch.randint(timesteps, (k,), generator=generator)
        return Draw(pairs, t, torch.randn((k, *shape), generator=generator))


def update(
    unet: Any,
    lora: Lora,
    objective: Objective,
    start: Adapter,
    preferred: Tensor,
    rejected: Tensor,
    context: Tensor,
    *,
    seed: int,
    options: AdaptOptions,
    chunk: int,
) -> tuple[Adapter, dict[str, float]]:
    """Take AdamW steps on the Diffusion-DPO loss from an adapter.

    Parameters
    ----------
    unet, lora, objective
        The network, its LoRA and what it predicts.
    start
        Adapter to start from; its optimiser state is continued.
    preferred, rejected
        (n, C, h, w) latents; pair i is (preferred_i, rejected_i).
    context
        (n, tokens, d) text embedding of each pair.
    seed
        Timesteps, noise and choice of pairs depend on it and on the number of steps taken so far.
    chunk
        Pairs that go through the network at once; gradients are summed over chunks.

    Returns
    -------
    The new adapter, and the figures of `xcore.lora.prefer` with `beta`.
    """
    n, shape = len(preferred), tuple(preferred.shape[1:])
    k = min(options.pairs_per_step or n, n)
    beta = options.beta or default_beta(preferred[0].numel())
    device, timesteps = preferred.device, len(objective.alphas_cumprod)

    def backward(step: int) -> Tensor:
        draw = Draw.make(seed, step, n, k, shape, timesteps)
        margins = []
        for first in range(0, k, chunk):
            rows = slice(first, first + chunk)
            pairs = draw.pairs[rows]
            x = torch.cat([preferred[pairs], rejected[pairs]])
            noise, t = draw.noise[rows].to(device).repeat(2, 1, 1, 1), draw.t[rows].to(device).repeat(2)
            inputs = unet, x, noise, t, context[pairs].repeat(2, 1, 1)
            with torch.no_grad(), lora.off():
                ref_w, ref_l = objective.errors(*inputs).chunk(2)
            with torch.enable_grad():
                e_w, e_l = objective.errors(*inputs).chunk(2)
                loss, margin = pair_loss(e_w, e_l, ref_w, ref_l, beta)
                torch.autograd.backward(loss.sum() / k)
            margins.append(margin.detach())
        return torch.cat(margins)

    o = options
    result, figures = prefer(
        lora, start, backward, steps=o.steps, lr=o.lr, weight_decay=o.weight_decay, grad_clip=o.grad_clip
    )
    return result, {**figures, "beta": beta}
