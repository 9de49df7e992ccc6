"""The concepts of a dictionary in other images: how strong they are there, and where."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xcore.contract import Classifier, Dictionary, Samples
from xcore.models.codes import encode, rows_of
from xcore.models.presence import maps_from_positions, read_layer
from xcore_craft.activations import SplitClassifier, split_at
from xcore_craft.crops import CropGrid, crop_batches, crop_grid, maps_from_crops


def find_atoms(
    dictionary: Dictionary,
    classifier: Classifier,
    samples: Samples,
    crop: int | None,
    stride: float,
    atoms: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """How strong the atoms of a dictionary are in images, and where they are.

    Parameters
    ----------
    dictionary
        The dictionary; its codes are not looked at.
    classifier
        The network that was explained, or another version of it.
    samples
        N images.
    crop, stride
        The crops from which maps are made if the layer has no positions, see `xcore_craft.crops.crop_grid`.
    atoms
        Indices of k atoms that are looked for; None = all. Large dictionaries have too many for a map of each.

    Returns
    -------
    strength : (N, k), the mean code over the positions on which the logits depend
    maps : (k, N, H, W) >= 0, the codes at each position enlarged to the size of the image, or without positions the
        mean code of the crops that cover a pixel; negative codes are shown as zero

    Raises
    ------
    UsageError
        The classifier has no such layer, or the layer has another width.
    """
    probe, a = read_layer(classifier, dictionary.layer, dictionary.atoms.shape[1], samples)
    split = split_at(classifier, dictionary.layer, samples)
    chosen = slice(None) if atoms is None else list(atoms)
    codes = encode(dictionary, rows_of(a, probe.layout))[:, :, chosen]
    strength = split.read(codes).mean(1)
    size = (samples.images.shape[-2], samples.images.shape[-1])
    if positions := split.positions(size):
        extra, rows, columns = positions
        return strength, maps_from_positions(codes[:, extra:].clamp_min(0), (rows, columns), size)
    grid = crop_grid(size, crop, stride)
    of_crops = encode(dictionary, _crop_rows(split, samples, grid, dictionary.state.get("floor")))[:, :, chosen]
    return strength, maps_from_crops(of_crops.clamp_min(0), grid)


def _crop_rows(split: SplitClassifier, samples: Samples, grid: CropGrid, floor: Tensor | None) -> Tensor:
    """(N, crops, C): the activations of the crops of each image, averaged over the positions that the logits read."""
    means = []
    for batch in crop_batches(samples, grid, grid.all_crops(len(samples))):
        read = split.read(rows_of(split.probe.activations(batch), split.probe.layout))
        means.append((read if floor is None else torch.maximum(read, floor)).mean(1))
    rows = torch.cat(means)
    return rows.reshape(len(samples), len(grid.corners), rows.shape[1])
