"""Maps of where a concept is in the explained images: the projection of the activations on its CAV at each position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from xcore.contract import Concept, Probe, Samples
from xcore.models.presence import ZERO, project


def with_projections(
    probe: Probe, samples: Samples, concepts: Sequence[Concept], layer: str, maps: int
) -> tuple[list[Concept], bool]:
    """The concepts with the mean of their projections in the samples, the first ones also with maps.

    A map shows max(0, <a_p - mean, v>) at each position p, enlarged to the size of the image (see
    `xcore.models.presence.project` for v). The mean is over all positions of all samples, so 0 means "no more than the
    average in this class". Its projection is kept in `Concept.evidence`, so that other samples are measured from there,
    too.

    Parameters
    ----------
    probe
        The model opened at the layer.
    samples
        The explained images or texts.
    layer
        Name of the layer, at which all concepts have a direction: one of flattened activations, or one that all
        positions share.
    maps
        How many concepts, from the first, have maps.

    Returns
    -------
    The concepts, and whether the layer has a grid of positions.
    """
    if not concepts:
        return [], True
    found = project(probe, samples, torch.stack([c.directions[layer] for c in concepts]))
    assert found is not None  # the directions were made at this layer
    zero = found.mean
    known = [replace(c, evidence={**c.evidence, ZERO: float(z)}) for c, z in zip(concepts, zero.tolist(), strict=True)]
    if found.grid is None:
        return known, False
    size = (samples.images.shape[-2], samples.images.shape[-1])
    places = replace(found, values=found.values[:, :, :maps]).maps(zero[:maps], size)
    assert places is not None
    return [*(replace(c, maps=m) for c, m in zip(known, places, strict=False)), *known[len(places) :]], True
