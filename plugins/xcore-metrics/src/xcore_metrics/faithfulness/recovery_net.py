"""A two-layer network that recovers activations from concept scores, below a frozen head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

ROWS = 8192
"""Rows that the closed-form start is solved on, at most."""
RIDGE = 1e-4
"""Weight of the penalty of the closed-form start, as a share of the mean square of a hidden unit."""
BATCH = 64
Head = Callable[[Tensor], Tensor]


@dataclass(eq=False)
class RecoveryNet:
    """scores (b, P, k) -> activations (b, P, C): ``relu(z W1 + b1) W2 + b2``, with z the standardised scores."""

    mean: Tensor
    scale: Tensor
    weights: list[Tensor]

    def __call__(self, scores: Tensor) -> Tensor:
        w1, b1, w2, b2 = self.weights
        made: Tensor = self.hidden(scores, w1, b1) @ w2 + b2
        return made

    def hidden(self, scores: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
        return (((scores - self.mean) / self.scale) @ w1 + b1).relu()


def fit(
    scores: Tensor,
    activations: Tensor,
    labels: Tensor,
    head: Head,
    *,
    hidden: int,
    epochs: int,
    lr: float,
    generator: torch.Generator,
) -> RecoveryNet:
    """Fit the network so that the head, which stays as it is, names the labels.

    The first layer is drawn at random and the second solved in closed form so that the activations come out; from
    there both are trained on the cross-entropy of the labels (Adam). What is kept is the best state on a fifth of the
    images, which is not trained on; the closed-form start is among the candidates.

    Parameters
    ----------
    scores, activations
        (n, P, k) and (n, P, C).
    labels
        (n,) classes of the head.
    head
        (b, P, C) -> (b, classes) logits, differentiable.
    generator
        Draws the first layer, the split and the order of the images.
    """
    n, _, k = scores.shape
    channels = activations.shape[-1]
    flat = scores.flatten(0, 1)
    spread = flat.std(0, correction=0)
    weights = [
        torch.randn(k, hidden, generator=generator) / k**0.5,
        torch.randn(hidden, generator=generator) / 2,
        torch.zeros(hidden, channels),
        torch.zeros(channels),
    ]
    net = RecoveryNet(flat.mean(0), torch.where(spread > 0, spread, torch.ones_like(spread)), weights)
    shuffled = torch.randperm(n, generator=generator)
    check, train = shuffled[: n // 5], shuffled[n // 5 :]
    _solve(net, scores[train].flatten(0, 1), activations[train].flatten(0, 1), generator)

    def loss(rows: Tensor) -> Tensor:
        return cross_entropy(head(net(scores[rows])), labels[rows])

    optimiser = torch.optim.Adam(net.weights, lr=lr)
    best, kept = _mean(loss, check), [w.clone() for w in net.weights]
    for _ in range(epochs):
        with torch.enable_grad():
            for rows in train[torch.randperm(len(train), generator=generator)].split(BATCH):
                for w in net.weights:
                    w.requires_grad_()
                gradients = torch.autograd.grad(loss(rows), net.weights)
                for w, g in zip(net.weights, gradients, strict=True):
                    w.requires_grad_(False)
                    w.grad = g
                optimiser.step()
        now = _mean(loss, check)
        if now < best:
            best, kept = now, [w.clone() for w in net.weights]
    net.weights = kept
    return net


def _solve(net: RecoveryNet, scores: Tensor, activations: Tensor, generator: torch.Generator) -> None:
    """The second layer that comes nearest to the activations, by ridge regression."""
    rows = torch.randperm(len(scores), generator=generator)[:ROWS]
    h = net.hidden(scores[rows], *net.weights[:2]).double()
    target = activations[rows].double()
    at_h, at_target = h.mean(0), target.mean(0)
    h, target = h - at_h, target - at_target
    penalty = RIDGE * len(h) * float((h**2).mean().clamp_min(1e-12))
    w2 = torch.linalg.solve(h.T @ h + penalty * torch.eye(h.shape[1], dtype=h.dtype), h.T @ target)
    net.weights[2:] = [w2.float(), (at_target - at_h @ w2).float()]


def _mean(loss: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    with torch.no_grad():
        parts = [float(loss(part)) * len(part) for part in rows.split(BATCH)]
    return sum(parts) / max(len(rows), 1)
