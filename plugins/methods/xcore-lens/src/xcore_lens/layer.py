"""The layer of the dictionary: which one it is, its activations as rows, and its positions in the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.activations import SplitClassifier, split_at
from xcore_craft.activations import read_activations as read_activations_of
from xcore_craft.crops import CropGrid, crop_batches, maps_from_crops, maps_from_positions

from xcore.contract import Classifier, Probe, Samples, Task, UsageError, XcoreError
from xcore.models.codes import rows_of
from xcore_lens.extract import ANY_SIGN
from xcore_lens.options import Options

LAYERS_TRIED = 24
"""How many layers, counted back from the logits, are tried when the penultimate layer is looked for."""


def find_layer(task: Task, option: str) -> tuple[str, str]:
    """The layer of the dictionary, and the reason for it (empty if the user chose the layer).

    A task always has a layer. The classifier's default is chosen for TCAV, which is undefined at the input of an affine
    head. Therefore a task's layer counts as the user's choice only if it is another one.

    Parameters
    ----------
    option
        The value of ``lens.layer``.
    """
    classifier = task.classifier
    if option or (task.layer and task.layer != classifier.default_layer):
        return option or task.layer, ""
    return penultimate_layer(classifier, task.samples.take(range(min(4, len(task.samples)))))


def penultimate_layer(classifier: Classifier, few: Samples) -> tuple[str, str]:
    """The input of the classifier's affine head, and a phrase that says so.

    The candidates are the last layers from whose activations alone the logits follow by an affine function. Of these it
    is the one nearest to the logits that has positions, or if none has positions, the one nearest to the logits. If
    there is no candidate, it is the last layer that is not itself the logits.

    Raises
    ------
    UsageError
        If the classifier lists no layer except its logits.
    """
    logits = classifier.logits(few)
    affine: list[str] = []
    last = ""
    for name in list(reversed(classifier.layers))[:LAYERS_TRIED]:
        try:
            probe = classifier.open(name)
            a = probe.activations(few)
            if a.shape == logits.shape and torch.allclose(a, logits, rtol=1e-4, atol=1e-5):
                continue
            last = last or name
            if not determines_logits(probe, a, few, logits):
                continue
            if not is_affine(probe, a, few):
                break
        except XcoreError:  # a layer that cannot be opened, or whose output cannot be passed to a head
            continue
        if split_at(classifier, name, few).positions(_size(few)) is not None:
            return name, "the input of the affine head"
        affine.append(name)
    if affine:
        return affine[0], "the input of the affine head"
    if not last:
        raise UsageError("this classifier lists no layer except its logits", "name a layer with --set lens.layer=NAME")
    return last, "the last layer before the logits, though the head above it is not affine"


def _size(samples: Samples) -> tuple[int, int]:
    """(H, W) of the images in pixels."""
    return samples.images.shape[-2], samples.images.shape[-1]


def determines_logits(probe: Probe, a: Tensor, few: Samples, logits: Tensor) -> bool:
    """Whether the logits depend on these activations alone: they stay the same when the images are inverted."""
    inverted = Samples("image", 1 - few.images, tuple(f"{i}#negative" for i in few.ids))
    with torch.no_grad():
        return torch.allclose(probe.head(a, inverted), logits, rtol=1e-3, atol=1e-4)


def is_affine(probe: Probe, a: Tensor, few: Samples) -> bool:
    """Whether the logits are an affine function of these activations, tested along random lines through them."""
    generator = torch.Generator().manual_seed(0)
    step = 3 * torch.randn(a.shape, generator=generator) * a.std(correction=0)
    with torch.no_grad():
        there, here, back = found = torch.stack([probe.head(a + t * step, few).cpu().double() for t in (-1, 0, 1)])
    bend = (there + back - 2 * here).abs().max()
    return bool(bend <= max(1e-4, 4 * rounding_error(found)) * found.abs().max())


def rounding_error(numbers: Tensor) -> float:
    """The relative rounding error of the narrowest type that holds these numbers, in which they were computed."""
    for narrow in (torch.bfloat16, torch.float16):
        if torch.equal(numbers.to(narrow).to(numbers.dtype), numbers):
            return torch.finfo(narrow).eps
    return torch.finfo(torch.float32).eps


def read_activations(
    classifier: Classifier, layer: str, samples: Samples, grid: CropGrid, options: Options
) -> tuple[SplitClassifier, Tensor, Tensor | None]:
    """Pass the images through the network up to the layer, and prepare their activations for the extractor.

    Returns
    -------
    split : the classifier, split at the layer, with what was done to the activations
    of_images : (N, P, C), the activations at all positions
    of_crops : (N, crops, C), the activations of the crops of each image, for a layer without positions on which the
        logits depend; None if it has some

    Raises
    ------
    UsageError
        If ``nmf`` is asked for, and activations are negative and the options refuse them, or are to be centred.
    XcoreError
        If activations are infinite or not a number.
    """
    if options.extractor == "nmf" and options.centre:
        raise UsageError(
            "nmf cannot factorise centred activations, because some of them are negative",
            f"set lens.centre=false, or lens.extractor to one of {', '.join(ANY_SIGN)}",
        )
    split = split_at(classifier, layer, samples)
    crops = [] if split.positions(grid.size) else grid.all_crops(len(samples))
    negative = options.negative if options.extractor == "nmf" else "semi-nmf"
    split, rows, means = read_activations_of(classifier, split, layer, samples, grid, crops, negative, "lens")
    if options.centre:
        mean = split.read(rows).double().mean((0, 1)).float()
        split, rows, means = replace(split, shift=mean), rows - mean, means - mean
    return split, rows, means.reshape(len(samples), -1, rows.shape[2]) if crops else None


def rows_of_images(split: SplitClassifier, samples: Samples, grid: CropGrid) -> Tensor:
    """Rows (n, C) of images as they are found for `read_activations`: of their positions, or of images and crops."""
    rows = split.read(rows_of(split.probe.activations(samples), split.probe.layout))
    parts = [rows.flatten(0, 1)]
    if split.positions(grid.size) is None:
        for batch in crop_batches(samples, grid, grid.all_crops(len(samples))):
            parts.append(split.read(rows_of(split.probe.activations(batch), split.probe.layout)).mean(1))
    return torch.cat(parts).float().cpu()


def training_rows(rows: Tensor, most: int, seed: int) -> NDArray[np.float64]:
    """The rows (n, C) that the dictionary is made from; if there are more than `most`, a seeded random draw of them."""
    if len(rows) > most:
        drawn = np.random.default_rng([seed, most]).choice(len(rows), most, replace=False)
        rows = rows[np.sort(drawn)]
    return np.asarray(rows.double().numpy())


def maps_and_crop_codes(
    split: SplitClassifier, codes: Tensor, codes_of_crops: Tensor | None, grid: CropGrid
) -> tuple[Tensor, Tensor]:
    """Where each concept is in each image, and how strong it is in each crop.

    If the layer has positions, both follow from the codes there. If it has none, they follow from the codes of the
    crops. Negative codes, which some extractors give, are shown as zero.

    Parameters
    ----------
    codes
        (N, P, k) of the images.
    codes_of_crops
        (N, crops, k) if the layer has no positions.

    Returns
    -------
    maps : (k, N, H, W) >= 0
    crop_codes : (N, crops, k) >= 0
    """
    if codes_of_crops is not None:
        shown = codes_of_crops.clamp_min(0)
        return maps_from_crops(shown, grid), shown
    positions = split.positions(grid.size)
    assert positions is not None  # otherwise the crops were read
    extra, rows, columns = positions
    maps = maps_from_positions(codes[:, extra:].clamp_min(0), (rows, columns), grid.size)
    height, width = grid.window
    means = [maps[:, :, top : top + height, left : left + width].mean((2, 3)) for top, left in grid.corners]
    return maps, torch.stack(means).permute(2, 0, 1)
