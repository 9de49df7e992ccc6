"""A two-layer network that recovers activations from concept scores, trained through the frozen head of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

ROWS = 8192
"""Largest number of rows for the closed-form initialisation."""
RIDGES = (1e-4, 1e-2, 1.0)
"""Ridge penalties that the closed-form initialisation tries, as shares of the mean square of a hidden unit."""
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
        """Activations of the hidden units."""
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
    """Fit the network so that the head, which is not changed, predicts the labels.

    The first layer is initialised with each score and its negative, so that the network can be a linear map, and with
    random combinations for the other units. The second layer is solved in closed form to recover the activations. Then
    both are trained on the cross-entropy of the labels (Adam). The result is the state with the fewest errors on a
    validation fifth of the images; among closed-form initialisations with equal errors, the one with the least loss.

    Parameters
    ----------
    scores, activations
        (n, P, k) and (n, P, C).
    labels
        (n,) class indices.
    head
        (b, P, C) -> (b, classes) logits, differentiable.
    generator
        Draws the first layer, the validation images and the order of the training images.
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
    if hidden >= 2 * k:
        weights[0][:, : 2 * k] = torch.cat([torch.eye(k), -torch.eye(k)], 1)
        weights[1][: 2 * k] = 0.0
    net = RecoveryNet(flat.mean(0), torch.where(spread > 0, spread, torch.ones_like(spread)), weights)
    shuffled = torch.randperm(n, generator=generator)
    check, train = shuffled[: n // 5], shuffled[n // 5 :]

    def loss(rows: Tensor) -> Tensor:
        return cross_entropy(head(net(scores[rows])), labels[rows])

    def validation() -> tuple[float, float]:
        """Error rate and loss on the validation images; states are compared by the error rate first."""
        with torch.no_grad():
            logits = torch.cat([head(net(scores[rows])) for rows in check.split(BATCH)])
        errors = (logits.argmax(1) != labels[check]).double().mean()
        return float(errors), float(cross_entropy(logits, labels[check]))

    best, kept = (inf, inf), net.weights
    for second in _second_layers(net, scores[train].flatten(0, 1), activations[train].flatten(0, 1), generator):
        net.weights = [*weights[:2], *second]
        if (now := validation()) < best:
            best, kept = now, net.weights
    net.weights = [w.clone() for w in kept]
    optimiser = torch.optim.Adam(net.weights, lr=lr)
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
        if (now := validation())[0] < best[0]:  # a lower loss alone may only be higher confidence
            best, kept = now, [w.clone() for w in net.weights]
    net.weights = kept
    return net


def _second_layers(
    net: RecoveryNet, scores: Tensor, activations: Tensor, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of the second layer that recover the activations: the best linear map, then ridge regressions."""
    k, hidden = net.weights[0].shape
    if hidden >= 2 * k:
        z = ((scores - net.mean) / net.scale).double()
        at_z, at = z.mean(0), activations.double().mean(0)
        # by the pseudo-inverse, since scores may be linearly dependent
        linear = torch.linalg.pinv((z - at_z).T @ (z - at_z), rtol=1e-9, hermitian=True)
        linear = linear @ ((z - at_z).T @ (activations.double() - at))
        w2 = torch.zeros(hidden, linear.shape[1], dtype=torch.float64)
        w2[:k], w2[k : 2 * k] = linear, -linear
        yield w2.float(), (at - at_z @ linear).float()
    rows = torch.randperm(len(scores), generator=generator)[:ROWS]
    h = net.hidden(scores[rows], *net.weights[:2]).double()
    target = activations[rows].double()
    at_h, at_target = h.mean(0), target.mean(0)
    h, target = h - at_h, target - at_target
    values, vectors = torch.linalg.eigh(h.T @ h)
    turned = vectors.T @ (h.T @ target)
    unit = len(h) * float((h**2).mean().clamp_min(1e-12))
    for ridge in RIDGES:
        w2 = vectors @ (turned / (values.clamp_min(0) + ridge * unit)[:, None])
        yield w2.float(), (at_target - at_h @ w2).float()
