"""Diffusion-DPO on a LoRA; the frozen base model is the reference.

Wallace et al., "Diffusion Model Alignment Using Direct Preference Optimization" (CVPR 2024), eq. 14. The constants T
and omega of the paper are part of beta here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import Adapter, UsageError
from xcore.pretrained.lora import Lora, prefer
from xcore_diffusion.options import AdaptOptions

PUBLISHED_BETA, PUBLISHED_ENTRIES = 2500.0, 4 * 64 * 64
"""The beta of the published recipe, and the number of entries of the latents that it was chosen for."""


@dataclass(frozen=True)
class Objective:
    """What the UNet was trained to predict, and the noise schedule of its training.

    Parameters
    ----------
    alphas_cumprod
        (T,) the share of the signal in the variance at each timestep, from 0 to 1.
    prediction
        ``epsilon``, ``v_prediction`` or ``sample``.
    """

    alphas_cumprod: Tensor
    prediction: str

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The noisy latents and the targets of the prediction, both (n, C, h, w).

        Parameters
        ----------
        x, noise
            Latents and noise, both (n, C, h, w).
        t
            Timesteps (n,).

        Raises
        ------
        UsageError
            The prediction type is not known.
        """
        a = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        signal, sigma = a.sqrt(), (1 - a).sqrt()
        targets = {"epsilon": noise, "v_prediction": signal * noise - sigma * x, "sample": x}
        if self.prediction not in targets:
            raise UsageError(
                f"the pipeline has the prediction type {self.prediction!r}, which is not known",
                f"known types: {', '.join(targets)}",
            )
        return signal * x + sigma * noise, targets[self.prediction]

    def errors(self, unet: Any, x: Tensor, noise: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The squared errors of the prediction, averaged over C, h and w, (n,)."""
        noisy, target = self.noised(x, noise, t)
        predicted = unet(noisy.to(unet.dtype), t, encoder_hidden_states=context.to(unet.dtype), return_dict=False)[0]
        error: Tensor = predicted.float() - target
        return error.square().mean(dim=(1, 2, 3))


def pair_loss(e_w: Tensor, e_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The loss and the implicit reward margin of each pair, both (n,).

    With Delta = e(preferred) - e(rejected), the margin is beta (Delta_ref - Delta_theta) and the loss is
    -log sigmoid(margin).

    Parameters
    ----------
    e_w, e_l
        Errors (n,) of the tuned model on the preferred and on the rejected images.
    ref_w, ref_l
        The same errors of the reference.
    beta
        Strength of the tie to the reference.
    """
    margin = beta * ((ref_w - ref_l) - (e_w - e_l))
    return -F.logsigmoid(margin), margin


def default_beta(entries: int) -> float:
    """The published beta, which is for errors averaged over 16384 latent entries, scaled to this number of entries."""
    return PUBLISHED_BETA * entries / PUBLISHED_ENTRIES


@dataclass(frozen=True)
class Draw:
    """What a step uses: the pairs, and for each pair a timestep and noise, which both of its images share."""

    pairs: Tensor
    t: Tensor
    noise: Tensor

    @staticmethod
    def make(seed: int, step: int, n: int, k: int, shape: tuple[int, ...], timesteps: int) -> Draw:
        """What a step uses, drawn from (seed, step) only, so that two calls of one step equal one call of two steps."""
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
        The network, its LoRA, and what the network predicts.
    start
        The adapter to start from, with the state of its optimiser.
    preferred, rejected
        (n, C, h, w) latents; pair i is (preferred_i, rejected_i).
    context
        (n, tokens, d) the embedding of the prompt of each pair.
    seed
        Timesteps, noise and the choice of pairs depend on it and on the number of steps taken so far.
    options
        The options of the update.
    chunk
        Number of pairs that go through the network at once; gradients are summed over chunks.

    Returns
    -------
    The new adapter, and the figures of `xcore.pretrained.lora.prefer` together with `beta`.
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
