"""Clusters of segments, and which of them are common enough to be concepts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cluster:
    """Segments that the network sees alike."""

    number: int
    """From 0, as k-means numbers them."""
    members: tuple[int, ...]
    """Rows of all its segments, the nearest to the centre first."""


def common(segments: int, images: int, discovery: int) -> bool:
    """Whether a cluster is common enough to be a concept.

    Parameters
    ----------
    segments
        s, the number of its segments.
    images
        m, the number of images that they come from.
    discovery
        D, the number of images in which concepts are looked for.

    Returns
    -------
    Whether hardly any image repeats (m > s / 2), or it is in some images and repeats little (m > s / 4 and m > D / 4),
    or it is in most images (m > s / 10 and m > D / 2).

    References
    ----------
    The released code of Ghorbani et al., NeurIPS 2019.
    """
    s, m, d = segments, images, discovery
    return m > s / 2 or (m > s / 4 and m > d / 4) or (m > s / 10 and m > d / 2)


def clusters(activations: Tensor, source: Tensor, k: int, least: int, seed: int) -> list[Cluster]:
    """The common clusters of segments.

    Parameters
    ----------
    activations
        (n, C) of the segments, averaged over positions.
    source
        (n,) index of the image of each segment.
    k
        Number of clusters of k-means; fewer where there are fewer segments.
    least
        Clusters of fewer segments are left out.

    Returns
    -------
    Those with at least `least` segments that are `common`, in the order of k-means.
    """
    from sklearn.cluster import KMeans

    rows = activations.double().cpu().numpy()
    fitted = KMeans(min(k, len(rows)), n_init=10, random_state=seed).fit(rows)
    labels = torch.from_numpy(fitted.labels_)
    distance = torch.from_numpy(fitted.transform(rows)).gather(1, labels[:, None].long())[:, 0]
    images = len(source.unique())
    found = []
    for number in range(fitted.n_clusters):
        members = (labels == number).nonzero().flatten()
        if len(members) >= least and common(len(members), len(source[members].unique()), images):
            nearest = members[distance[members].argsort(stable=True)]
            found.append(Cluster(number, tuple(nearest.tolist())))
    return found
