"""How much the class logit of each image depends on each concept."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.samples import Samples
from xcore_craft.sobol import Sampler, designs, jansen
from xcore_craft.space import Space

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Importance:
    """Of N images and k concepts; logits are of the target class."""

    total: Array
    """(N, k) total Sobol indices of the logit, when each code is scaled by an independent uniform mask."""
    variance: Array
    """(N,) variance of the logit under the masks, 0 where it does not vary."""
    drop: Array
    """(N, k) logit with all concepts minus logit without this one."""
    full: Array
    """(N,) logit of the activations as they are."""
    coded: Array
    """(N,) logit of codes @ atoms."""
    empty: Array
    """(N,) logit without any concept."""
    agrees: NDArray[np.bool_]
    """(N,) whether codes @ atoms has the same top class as the activations."""
    evaluations: int
    """Rows that went through the head."""

    @property
    def weighted(self) -> Array:
        """(k,) mean of `total`, each image weighted with its variance: the share of all variance of all logits."""
        if not self.variance.any():
            return np.zeros(self.total.shape[1])
        return np.asarray(self.variance @ self.total / self.variance.sum())

    @property
    def explained(self) -> float:
        """Share of the mean logit, over that of no concept, that the codes give; NaN if there is nothing to explain."""
        whole = float(np.mean(self.full - self.empty))
        return float(np.mean(self.coded - self.empty)) / whole if whole else float("nan")


def assess(
    space: Space,
    full: Tensor,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    *,
    n: int,
    seed: int,
    sampler: Sampler,
    tick: Callable[[int], None],
) -> Importance:
    """Total Sobol indices of the logit of each image, and what the concepts explain of it.

    Each image has a scrambling of its own, drawn from the seed and the image's content: errors of the design average
    out over images, and neither order nor repetition of images changes anything. A concept that an image lacks has
    index 0 there and is not evaluated.

    Parameters
    ----------
    full, codes, atoms
        (N, P, C), (N, P, k) and (k, C), all >= 0.
    n
        Design points of an image.
    tick
        Called with the index of each image when it is done.
    """
    count, k = len(codes), atoms.shape[0]
    before = space.head(full, samples).cpu()
    total, drop, variance = np.zeros((count, k)), np.zeros((count, k)), np.zeros(count)
    coded, empty, agrees = np.zeros(count), np.zeros(count), np.zeros(count, dtype=bool)
    evaluations = count
    for i in range(count):
        here = np.flatnonzero(codes[i].amax(0).numpy() > 0)
        m = len(here)
        image = samples.images[i].detach().cpu().contiguous().numpy()
        a, c = designs(max(m, 1), n, [seed, zlib.crc32(image.tobytes())], sampler)
        masks = torch.from_numpy(
            np.concatenate([np.ones((1, m)), np.zeros((1, m)), 1 - np.eye(m), a[:, :m], c[:m, :, :m].reshape(m * n, m)])
        ).float()
        logits = space.masked(masks, codes[i][:, here], atoms[here], samples.take([i])).cpu()
        y = logits[:, target].double().numpy()
        evaluations += len(y)
        coded[i], empty[i] = y[:2]
        agrees[i] = int(logits[0].argmax()) == int(before[i].argmax())
        drop[i, here] = y[0] - y[2 : 2 + m]
        y_a, y_c = y[2 + m : 2 + m + n], y[2 + m + n :].reshape(m, n)
        total[i, here], variance[i] = jansen(y_a, y_c)
        tick(i)
    whole = before[:, target].double().numpy()
    return Importance(total, variance, drop, whole, coded, empty, agrees, evaluations)
