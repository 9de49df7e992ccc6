"""Sparse autoencoders: rows of activations as few active atoms of a dictionary that is larger than the layer is wide.

All kinds share a linear encoder with a bias and a ReLU, no bias in the decoder, and atoms of length 1. They differ in
what keeps the codes sparse:

- ``relu``: nothing but the ReLU; it is not trained here, but published ones are read.
- ``topk`` (Gao et al. 2024): the largest codes of each row.
- ``batch-topk`` (Bussmann et al. 2024): the largest codes of a batch of rows, so that rows may have different numbers
  of active atoms; a threshold takes its place after the training.
- ``jumprelu`` (Rajamanoharan et al. 2024): each atom has a threshold that is learned by pseudo-gradients.
- ``archetypal`` (Fel et al. 2025, RA-SAE): ``topk`` whose atoms are mixtures of points of the data, up to `delta`.

Rows are centred and have a variance of 1, see `Spread`; no module here changes that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

Kind = Literal["relu", "topk", "batch-topk", "jumprelu", "archetypal"]

THETA = math.exp(-3)
"""Where the thresholds of jumprelu begin, as in overcomplete."""


@dataclass(frozen=True, eq=False)
class Spread:
    """The mean of rows and their standard deviation, one number for all channels, so that directions stay as they are.

    An atom keeps its direction and its length under this change of units. Codes in the unit of the activations are
    `scale` times those of the autoencoder.
    """

    centre: Tensor
    """(C,)"""
    scale: float

    @classmethod
    def of(cls, rows: Tensor) -> Spread:
        """The spread of rows (n, C)."""
        centre = rows.double().mean(0)
        scale = float((rows.double() - centre).square().mean().sqrt())
        return cls(centre.float(), scale if scale > 0 else 1.0)

    def __call__(self, rows: Tensor) -> Tensor:
        """The rows with a mean of 0 and a variance of 1."""
        return (rows - self.centre) / self.scale


def top_per_row(codes: Tensor, k: int) -> Tensor:
    """The k largest codes of each row (n, K) of codes >= 0; the others are 0."""
    best = codes.topk(min(k, codes.shape[1]), dim=1)
    return torch.zeros_like(codes).scatter(1, best.indices, best.values)


def top_of_batch(codes: Tensor, k: int) -> Tensor:
    """The k * n largest of all codes (n, K) of a batch; the others are 0."""
    flat = codes.flatten()
    best = flat.topk(min(k * len(codes), flat.numel()))
    return torch.zeros_like(flat).scatter(0, best.indices, best.values).view_as(codes)


def _rectangle(pre: Tensor, theta: Tensor, bandwidth: float) -> Tensor:
    """K((pre - theta) / bandwidth): 1 inside a rectangle of width 1 and area 1."""
    return ((pre - theta).abs() <= bandwidth / 2).to(pre.dtype)


class _JumpRelu(torch.autograd.Function):
    """ReLU(pre) where pre >= theta, else 0.

    The pseudo-gradient is d z / d theta = -(theta / bandwidth) K((pre - theta) / bandwidth).
    """

    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, bandwidth: float, parity: bool) -> Tensor:
        ctx.save_for_backward(pre, theta)
        ctx.bandwidth, ctx.parity = bandwidth, parity
        return pre.relu() * (pre >= theta)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (pre, theta) = grads, ctx.saved_tensors
        slope = -(theta / ctx.bandwidth) * _rectangle(pre, theta, ctx.bandwidth)
        if ctx.parity:
            slope = slope / ctx.bandwidth
        return grad * ((pre >= theta) & (pre > 0)), (grad * slope).sum(0), None, None


class _Step(torch.autograd.Function):
    """1 where pre >= theta, else 0; d H / d theta = -(1 / bandwidth) K((pre - theta) / bandwidth)."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, theta: Tensor, bandwidth: float, parity: bool) -> Tensor:
        ctx.save_for_backward(pre, theta)
        ctx.bandwidth, ctx.parity = bandwidth, parity
        return (pre >= theta).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (pre, theta) = grads, ctx.saved_tensors
        slope = -_rectangle(pre, theta, ctx.bandwidth) / ctx.bandwidth
        if ctx.parity:
            slope = slope / ctx.bandwidth
        return None, (grad * slope).sum(0), None, None


_Jump = Callable[[Tensor, Tensor, float, bool], Tensor]
jump_relu = cast(_Jump, _JumpRelu.apply)
"""(pre (n, K), theta (K,), bandwidth, parity) -> codes. With `parity` the gradient of theta is divided by the bandwidth
once more, as in overcomplete 0.3.0, whose kernels contain that factor already."""
step = cast(_Jump, _Step.apply)
"""The same for the number of active codes."""


class FreeAtoms(nn.Module):
    """Atoms that may be any directions; they have length 1 at every call."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.raw = nn.Parameter(normalize(start, dim=1))

    def forward(self) -> Tensor:
        """(K, C)"""
        return normalize(self.raw, dim=1)

    def project(self) -> None:
        """After a step: lengths mean nothing, so keep them from growing."""
        with torch.no_grad():
            self.raw.copy_(normalize(self.raw, dim=1))

    def point_to(self, which: Tensor, rows: Tensor) -> None:
        """Make these atoms point to these rows."""
        with torch.no_grad():
            self.raw[which] = normalize(rows, dim=1)


class MixedAtoms(nn.Module):
    """Atoms near the convex hull of points: W P + L, with W row-stochastic and no row of L longer than delta.

    They are divided by their lengths at every call, as the atoms of the other kinds are. The paper has one factor for
    all atoms instead; here the codes take its place, so that the largest codes are those of the largest parts.

    Parameters
    ----------
    points
        P, (p, C), such as the means of clusters of the data.
    start
        K indices of points: where the atoms begin.
    delta
        How far an atom may be from a mixture of the points.
    """

    points: Tensor

    def __init__(self, points: Tensor, start: Tensor, delta: float) -> None:
        super().__init__()
        self.register_buffer("points", points)
        self.weights = nn.Parameter(torch.eye(len(points))[start])
        self.relaxation = nn.Parameter(torch.zeros(len(start), points.shape[1]))
        self.delta = delta

    def near_hull(self) -> Tensor:
        """(K, C): W P + L."""
        return self.weights @ self.points + self.relaxation

    def forward(self) -> Tensor:
        """(K, C)"""
        return normalize(self.near_hull(), dim=1)

    def project(self) -> None:
        """After a step: make W row-stochastic again, and rows of L no longer than delta."""
        with torch.no_grad():
            weights = self.weights.clamp_min(0)
            total = weights.sum(1, keepdim=True)
            even = torch.full_like(weights, 1 / weights.shape[1])  # for a row of which nothing is left
            self.weights.copy_(torch.where(total > 0, weights / total.clamp_min(1e-12), even))
            length = self.relaxation.norm(dim=1, keepdim=True)
            self.relaxation.mul_((self.delta / length.clamp_min(1e-12)).clamp_max(1))

    def point_to(self, which: Tensor, rows: Tensor) -> None:
        """Make these atoms the points whose directions are nearest to these rows."""
        with torch.no_grad():
            nearest = (normalize(rows, dim=1) @ normalize(self.points, dim=1).T).argmax(1)
            self.weights[which] = torch.eye(len(self.points))[nearest]
            self.relaxation[which] = 0


@dataclass(frozen=True)
class Settings:
    """What a sparse autoencoder needs beside its rows."""

    kind: Kind
    active: int
    """Active atoms of a row; of batch-topk and jumprelu on average."""
    aux: float = 0.1
    bandwidth: float = 0.1
    parity: bool = False


class Sae(nn.Module):
    """A sparse autoencoder of centred rows.

    Parameters
    ----------
    settings
        Its kind and how sparse it is.
    atoms
        `FreeAtoms`, or `MixedAtoms` for archetypal. The encoder begins as their transpose.
    """

    threshold: Tensor

    def __init__(self, settings: Settings, atoms: FreeAtoms | MixedAtoms) -> None:
        super().__init__()
        self.settings, self.atoms = settings, atoms
        start = atoms().detach()
        self.encoder = nn.Parameter(start.T.clone().contiguous())
        self.bias = nn.Parameter(torch.zeros(len(start)))
        if settings.kind == "jumprelu":
            self.log_theta = nn.Parameter(torch.full((len(start),), math.log(THETA)))
        self.register_buffer("threshold", torch.zeros(()))

    def pre_codes(self, x: Tensor) -> Tensor:
        """(n, K), before ReLU and sparsity."""
        return x @ self.encoder + self.bias

    def sparse(self, pre: Tensor) -> Tensor:
        """Codes (n, K) >= 0. Once trained, batch-topk goes by its threshold, so that a row's codes are its own."""
        s = self.settings
        if s.kind == "jumprelu":
            return jump_relu(pre, self.log_theta.exp(), s.bandwidth, s.parity)
        codes = pre.relu()
        if s.kind in ("topk", "archetypal"):
            return top_per_row(codes, s.active)
        if s.kind == "batch-topk":
            return top_of_batch(codes, s.active) if self.training else codes * (codes >= self.threshold)
        return codes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pre-codes, codes, and the rows that the codes rebuild."""
        pre = self.pre_codes(x)
        codes = self.sparse(pre)
        return pre, codes, codes @ self.atoms()

    def loss(self, x: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
        """The loss of the kind, and the codes.

        - jumprelu: ||x - x'||^2 + penalty * (number of active atoms), the mean over rows;
        - others: the mean squared error, and `aux` times that of what is left after the largest active/2 codes that
          were not kept (as `top_k_auxiliary_loss` of overcomplete).
        """
        pre, codes, rebuilt = self(x)
        left = x - rebuilt
        s = self.settings
        if s.kind == "jumprelu":
            count = step(pre, self.log_theta.exp(), s.bandwidth, s.parity).sum(1)
            return left.square().sum(1).mean() + penalty * count.mean(), codes
        loss = left.square().mean()
        if s.aux and s.kind != "relu":
            others = top_per_row(pre.relu() - codes, max(1, s.active // 2))
            loss = loss + s.aux * (left - others @ self.atoms()).square().mean()
        return loss, codes

    def thresholds(self) -> Tensor | None:
        """What a code has to reach: (K,) of jumprelu, () of batch-topk, None of other kinds."""
        if self.settings.kind == "jumprelu":
            return self.log_theta.detach().exp()
        return self.threshold if self.settings.kind == "batch-topk" else None
