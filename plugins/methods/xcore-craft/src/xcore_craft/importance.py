"""Importance of concepts: how much the class logit of each image depends on each concept's code."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.contract import Samples
from xcore_craft.activations import SplitClassifier
from xcore_craft.regression import Corners, indices_by_regression
from xcore_craft.sobol import Sampler, indices_by_pick_freeze

Array = NDArray[np.float64]
Estimator = Literal["regression", "jansen"]


@dataclass(frozen=True, eq=False)
class Importance:
    """What k concepts contribute to the target class's logit of N images."""

    total: Array
    """(N, k) total Sobol indices of the logit when each concept's code is multiplied by an independent uniform mask."""
    variance: Array
    """(N,) variance of the logit under these masks; 0 where the logit does not vary."""
    drop: Array
    """(N, k) logit with all concepts minus the logit without this one."""
    full: Array
    """(N,) logit of the activations themselves."""
    coded: Array
    """(N,) logit of codes @ atoms."""
    empty: Array
    """(N,) logit without any concept."""
    agrees: NDArray[np.bool_]
    """(N,) whether codes @ atoms lead to the same top class as the activations themselves."""
    evaluations: int
    """How many rows of activations were passed through the head."""

    @property
    def weighted(self) -> Array:
        """(k,) mean of `total` in which each image has the weight of its variance."""
        if not self.variance.any():
            return np.zeros(self.total.shape[1])
        return np.asarray(self.variance @ self.total / self.variance.sum())

    @property
    def explained(self) -> float:
        """The share of the mean logit (above that without any concept) that the codes give; NaN if that logit is 0."""
        whole = float(np.mean(self.full - self.empty))
        return float(np.mean(self.coded - self.empty)) / whole if whole else float("nan")


@torch.no_grad()
def sobol_importance(
    split: SplitClassifier,
    a: Tensor,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    *,
    n: int,
    seed: int,
    sampler: Sampler,
    estimator: Estimator = "regression",
    done: Callable[[int], None],
) -> Importance:
    """Total Sobol indices of the class logit of each image, and what the concepts explain of the logit.

    The design of an image is scrambled with the run's seed and a checksum of the image. So the errors of the designs
    average out over images, and the order of the images, or an image given twice, changes nothing. A concept that an
    image lacks has index 0 there and is not evaluated.

    Source: Fel et al. 2023 (CRAFT), with Jansen's estimator.

    Parameters
    ----------
    split
        The classifier, split at the layer of the concepts.
    a
        A, (N, P, C), activations of the images at all positions.
    codes
        U, (N, P, k) >= 0.
    atoms
        W, (k, C).
    samples
        The N images.
    target
        Index of the class.
    n
        Number of design points of an image for Jansen's estimator, which evaluates n (k + 1) of them; the regression
        evaluates a sixth of that.
    seed
        Seed of the run.
    sampler
        How design points are drawn, see `xcore_craft.sobol.designs`.
    estimator
        ``regression`` (`xcore_craft.regression`), or ``jansen``, as published.
    done
        Called with the index of each image that is done.
    """
    count, k = len(codes), atoms.shape[0]
    before = split.head(a, samples).cpu()
    total, drop, variance = np.zeros((count, k)), np.zeros((count, k)), np.zeros(count)
    coded, empty, agrees = np.zeros(count), np.zeros(count), np.zeros(count, dtype=bool)
    evaluations = count
    for i in range(count):
        here = np.flatnonzero(split.read(codes[i : i + 1])[0].amax(0).numpy() > 0)
        m = len(here)
        image = samples.images[i].detach().cpu().contiguous().numpy()
        seeds = [seed, zlib.crc32(image.tobytes())]
        head = partial(split.logits_of_masked_codes, codes=codes[i][:, here], atoms=atoms[here], like=samples.take([i]))
        corners = np.concatenate([np.ones((1, m)), np.zeros((1, m)), 1 - np.eye(m)])
        logits = head(torch.from_numpy(corners).float()).cpu()
        y = logits[:, target].double().numpy()
        ends = Corners(float(y[0]), float(y[1]), y[2:])
        evaluations += len(y)

        def logit(masks: Array, head: Callable[[Tensor], Tensor] = head) -> Array:
            nonlocal evaluations
            evaluations += len(masks)
            return np.asarray(head(torch.from_numpy(masks).float())[:, target].double().cpu().numpy())

        coded[i], empty[i] = ends.full, ends.empty
        agrees[i] = int(logits[0].argmax()) == int(before[i].argmax())
        drop[i, here] = ends.drops
        if m and estimator == "regression":
            total[i, here], variance[i] = indices_by_regression(logit, ends, n, seeds, sampler)
        elif m:
            total[i, here], variance[i] = indices_by_pick_freeze(logit, m, n, seeds, sampler)
        done(i)
    return Importance(total, variance, drop, before[:, target].double().numpy(), coded, empty, agrees, evaluations)
