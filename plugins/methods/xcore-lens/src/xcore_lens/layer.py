"""The layer of the dictionary: which one it is, its activations as rows, and its positions in the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.activations import SplitClassifier, nearest_nonnegative_layer, to_rows
from xcore_craft.crops import CropGrid, crop_batches, maps_from_crops, maps_from_positions, token_grid

from xcore.contract import Classifier, Probe, Samples, Task, UsageError, XcoreError
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
        if position_grid(probe.layout, tuple(a.shape[1:]), few) is not None:
            return name, "the input of the affine head"
        affine.append(name)
    if affine:
        return affine[0], "the input of the affine head"
    if not last:
        raise UsageError("this classifier lists no layer except its logits", "name a layer with --set lens.layer=NAME")
    return last, "the last layer before the logits, though the head above it is not affine"


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


def position_grid(layout: str, shape: tuple[int, ...], samples: Samples) -> tuple[int, int, int] | None:
    """(number of extra tokens in front, rows, columns) of one sample's positions; None if they form no grid."""
    if layout == "NCHW":
        return (0, shape[1], shape[2]) if shape[1] * shape[2] > 1 else None
    height, width = samples.images.shape[-2:]
    return token_grid(shape[0], (height, width)) if layout == "NTC" else None


def read_activations(
    classifier: Classifier, layer: str, samples: Samples, options: Options
) -> tuple[SplitClassifier, Tensor]:
    """The classifier, split at the layer, and the activations (N, P, C) at all positions as the extractor needs them.

    Raises
    ------
    UsageError
        If activations are negative, the extractor is ``nmf`` and no option says what to do with them; the hint names
        what can be done. If ``nmf`` is asked to centre activations.
    XcoreError
        If activations are infinite or not a number.
    """
    probe = classifier.open(layer)
    a = probe.activations(samples)
    rows, shape = to_rows(a, probe.layout), tuple(a.shape[1:])
    if not torch.isfinite(rows).all():
        raise XcoreError(
            f"layer {layer!r} gives activations that are infinite or not a number", "check the classifier's weights"
        )
    if options.extractor != "nmf":
        if not options.centre:
            return SplitClassifier(probe, shape), rows
        mean = rows.double().mean((0, 1)).float()
        return SplitClassifier(probe, shape, shift=mean), rows - mean
    if options.centre:
        raise UsageError(
            "nmf cannot factorise centred activations, because some of them are negative",
            f"set lens.centre=false, or lens.extractor to one of {', '.join(ANY_SIGN)}",
        )
    low = rows.amin((0, 1))
    if float(low.min()) >= 0:
        return SplitClassifier(probe, shape), rows
    if options.negative == "relu":
        return SplitClassifier(probe, shape, floor=torch.zeros_like(low)), rows.clamp_min(0)
    if options.negative == "shift":
        shift = low.clamp_max(0)
        return SplitClassifier(probe, shape, shift=shift), rows - shift
    near = nearest_nonnegative_layer(classifier, layer, samples)
    instead = f", or choose layer {near!r}, whose activations are not negative" if near else ""
    raise UsageError(
        f"layer {layer!r} has negative activations (down to {float(low.min()):.3g}), and nmf needs activations of zero "
        "or more",
        f"set lens.extractor to one of {', '.join(ANY_SIGN)}, or lens.negative to 'shift' or 'relu'{instead}",
    )


def training_rows(a: Tensor, images: Sequence[int], most: int, seed: int) -> NDArray[np.float64]:
    """The positions of these images as rows (n, C); if there are more than `most`, a seeded random draw of them.

    Parameters
    ----------
    a
        (N, P, C)
    """
    rows = a[list(images)].reshape(-1, a.shape[2])
    if len(rows) > most:
        drawn = np.random.default_rng([seed, most]).choice(len(rows), most, replace=False)
        rows = rows[np.sort(drawn)]
    return np.asarray(rows.double().numpy())


def maps_and_crop_codes(
    split: SplitClassifier, samples: Samples, codes: Tensor, code: Callable[[Tensor], Tensor], grid: CropGrid
) -> tuple[Tensor, Tensor]:
    """Where each concept is in each image, and how strong it is in each crop.

    If the layer has positions, both follow from the codes there. If it has none, each crop is passed through the
    network and coded. Negative codes, which some extractors give, are shown as zero.

    Parameters
    ----------
    codes
        (N, P, k) of the images.
    code
        Rows (n, P, C) -> codes (n, P, k).

    Returns
    -------
    maps : (k, N, H, W) >= 0
    crop_codes : (N, crops, k) >= 0
    """
    tokens = position_grid(split.probe.layout, split.shape, samples)
    if tokens is not None:
        extra, *shape = tokens
        maps = maps_from_positions(codes[:, extra:].clamp_min(0), (shape[0], shape[1]), grid.size)
        height, width = grid.window
        means = [maps[:, :, top : top + height, left : left + width].mean((2, 3)) for top, left in grid.corners]
        return maps, torch.stack(means).permute(2, 0, 1)
    crops = grid.all_crops(len(samples))
    parts = [
        code(split.to_rows(split.probe.activations(batch))).mean(1) for batch in crop_batches(samples, grid, crops)
    ]
    crop_codes = torch.cat(parts).reshape(len(samples), len(grid.corners), -1).clamp_min(0)
    return maps_from_crops(crop_codes, grid), crop_codes
