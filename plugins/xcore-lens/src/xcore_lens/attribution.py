"""What each concept contributes to the class logit of each image: attributions of codes -> logit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.sobol import designs, jansen
from xcore_craft.space import Space
from xcore_eac import games

from xcore.errors import UsageError
from xcore.samples import Samples
from xcore_lens.options import Options

Array = NDArray[np.float64]
Game = Callable[[Array], Array]
"""Masks (m, players) in [0, 1] -> logits (m,)."""
Players = Callable[[Game, int, list[int]], Array]
"""(game, players, seed) -> a value of each player."""

BATCH = 32
"""Images whose gradients are taken at once."""

EXACT = 10
"""Concepts in an image up to which Shapley values come from all coalitions."""

MEANING = {
    "gradient": "d class logit / d code, summed over positions",
    "gradient-x-input": "contribution to the class logit (gradient x input)",
    "integrated-gradients": "contribution to the class logit (integrated gradients)",
    "occlusion": "fall of the class logit without the concept (occlusion)",
    "sobol": "total Sobol index of the class logit",
    "shapley": "contribution to the class logit (Shapley value)",
}
IN_LOGITS = ("gradient-x-input", "integrated-gradients", "occlusion", "shapley")
"""Importances in the unit of the logit; for an affine head they are the same."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Of N images and k concepts; logits are of the target class."""

    values: Array
    """(N, k)"""
    full: Array
    """(N,) logit of the classifier itself."""
    coded: Array
    """(N,) logit of codes @ atoms."""
    empty: Array
    """(N,) logit of codes that are all zero: of the zero, or the mean, activation."""
    right: NDArray[np.bool_]
    """(N,) whether the classifier's top class is the target."""
    agrees: NDArray[np.bool_]
    """(N,) whether codes @ atoms has the same top class as the classifier itself."""
    forwards: int
    """Rows that went through the head, and one pass of each image through the classifier."""
    backwards: int
    """Rows whose gradient was taken."""


def attribute(
    space: Space,
    own: Tensor,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    options: Options,
    seed: int,
    tick: Callable[[int], None],
) -> Attribution:
    """One signed number for each image and concept, from codes at P positions.

    Gradient, gradient x input and integrated gradients (from codes of zero along the straight line) give a number at
    each position, pooled over positions: their sum or, by option, the largest absolute value. Occlusion, Sobol and
    Shapley scale a concept's codes at all positions by one mask, so there is nothing to pool; with ``abs-max`` their
    absolute value is taken. A concept whose codes in an image are all zero has value 0 there (except
    for its gradient).

    Parameters
    ----------
    own
        (N, classes) logits of the classifier itself.
    codes, atoms
        (N, P, k) and (k, C).
    seed
        Of the designs of Sobol and the permutations of Shapley, mixed with each image's content.
    tick
        Called with the number of images done.
    """
    o, steps = options, 1
    rows = codes @ atoms
    logits = [own, space.head(rows, samples).cpu(), space.head(torch.zeros_like(rows), samples).cpu()]
    counted = 3 * len(codes)  # with the classifier's own pass
    if o.importance in ("gradient", "gradient-x-input", "integrated-gradients"):
        path = [(1.0, 1.0)]
        if o.importance == "integrated-gradients":
            points, weights = np.polynomial.legendre.leggauss(o.steps)
            path, steps = list(zip((points + 1) / 2, weights / 2, strict=True)), o.steps
        at_positions = _gradients(space, codes, atoms, samples, target, path, tick)
        if o.importance != "gradient":
            at_positions = at_positions * codes
        pooled = at_positions.abs().amax(1) if o.pool == "abs-max" else at_positions.double().sum(1)
        values, counted, backwards = pooled.double().numpy(), counted + steps * len(codes), steps * len(codes)
    else:
        values, asked = _masked(space, codes, atoms, samples, target, _players(o), seed, tick)
        values, counted, backwards = np.abs(values) if o.pool == "abs-max" else values, counted + asked, 0
    before, after, none = (part[:, target].double().numpy() for part in logits)
    top = logits[0].argmax(1)
    agrees = (top == logits[1].argmax(1)).numpy()
    return Attribution(values, before, after, none, (top == target).numpy(), agrees, counted, backwards)


def _gradients(
    space: Space,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    path: list[tuple[float, float]],
    tick: Callable[[int], None],
) -> Tensor:
    """(N, P, k) gradients of the logit by the codes, a weighted mean over points t * codes of the path."""
    parts = []
    for start in range(0, len(codes), BATCH):
        chosen = range(start, min(start + BATCH, len(codes)))
        here, like = codes[chosen.start : chosen.stop] @ atoms, samples.take(chosen)
        total = torch.zeros_like(here)
        for t, weight in path:
            with torch.enable_grad():
                leaf = (t * here).detach().requires_grad_()
                logit = space.probe.head(unflatten(leaf, space), like)[:, target].sum()
                found = torch.autograd.grad(logit, leaf, allow_unused=True)[0] if logit.requires_grad else None
            if found is None:
                raise UsageError("the logits do not depend on the activations of this layer", "choose another layer")
            total += weight * found
        parts.append(total @ atoms.T)
        tick(chosen.stop)
    return torch.cat(parts)


def unflatten(rows: Tensor, space: Space) -> Tensor:
    """Activations in the layout of the probe from rows (n, P, C); differentiable."""
    a = rows if space.shift is None else rows + space.shift
    if space.probe.layout == "NCHW":
        a = a.transpose(1, 2)
    return a.reshape(len(a), *space.shape)


def _players(o: Options) -> Players:
    if o.importance == "sobol":
        designs(1, o.designs)  # refuses a wrong number of points before any work

    def occlusion(game: Game, m: int, _: list[int]) -> Array:
        y = game(np.concatenate([np.ones((1, m)), 1 - np.eye(m)]))
        return np.asarray(y[0] - y[1:])

    def sobol(game: Game, m: int, seed: list[int]) -> Array:
        a, c = designs(m, o.designs, seed)
        y = game(np.concatenate([a, c.reshape(-1, m)]))
        return jansen(y[: len(a)], y[len(a) :].reshape(m, -1))[0]

    def shapley(game: Game, m: int, seed: list[int]) -> Array:
        rng = np.random.default_rng(seed)
        few = m <= EXACT
        design = games.exact(m, "shapley") if few else games.sampled(m, "shapley", o.permutations // 2, rng)
        return design.worth(game(design.coalitions.astype(np.float64)))[0]

    return {"occlusion": occlusion, "sobol": sobol, "shapley": shapley}[o.importance]


def _masked(
    space: Space,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    players: Players,
    seed: int,
    tick: Callable[[int], None],
) -> tuple[Array, int]:
    """(N, k) values of the game that masks concepts, and the masks asked; concepts that an image lacks do not play."""
    values, asked = np.zeros((len(codes), len(atoms))), 0
    for i in range(len(codes)):
        here = np.flatnonzero(codes[i].ne(0).any(0).numpy())

        def game(masks: Array, i: int = i, here: NDArray[np.intp] = here) -> Array:
            nonlocal asked
            asked += len(masks)
            chosen = torch.from_numpy(masks).float()
            logits = space.masked(chosen, codes[i][:, here], atoms[here], samples.take([i]))
            return np.asarray(logits[:, target].double().cpu().numpy())

        if len(here):
            image = samples.images[i].detach().cpu().contiguous().numpy()
            values[i, here] = players(game, len(here), [seed, zlib.crc32(image.tobytes())])
        tick(i + 1)
    return values, asked
