"""Where the dictionary is made: the layer, and its activations as rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from xcore_craft.maps import token_grid
from xcore_craft.space import Space, flatten, nearest_nonnegative

from xcore.errors import UsageError, XcoreError
from xcore.protocols import Classifier, Probe, Task
from xcore.samples import Samples
from xcore_lens.extract import SIGNED
from xcore_lens.options import Options

TRIED = 24
"""Layers, counted from the logits, that are tried for the penultimate one."""


def find_layer(task: Task, asked: str) -> tuple[str, str]:
    """The layer of the dictionary, and why it is that one (empty if somebody named it).

    A task always has a layer, and the classifier's default is chosen for TCAV, which is undefined below an affine head.
    So a task's layer counts as named if it is another one.
    """
    classifier = task.classifier
    if asked or (task.layer and task.layer != classifier.default_layer):
        return asked or task.layer, ""
    return penultimate(classifier, task.samples.take(range(min(4, len(task.samples)))))


def penultimate(classifier: Classifier, few: Samples) -> tuple[str, str]:
    """The input of the classifier's affine head, and that it is.

    Of the last layers from which alone the logits are an affine function, the one closest to the logits that has
    positions, else the one closest to the logits. Where there is none: the last layer that is not the logits.
    """
    logits = classifier.logits(few)
    affine: list[str] = []
    last = ""
    for name in list(reversed(classifier.layers))[:TRIED]:
        try:
            probe = classifier.open(name)
            a = probe.activations(few)
            if a.shape == logits.shape and torch.allclose(a, logits, rtol=1e-4, atol=1e-5):
                continue
            last = last or name
            if not carries_all(probe, a, few, logits):
                continue
            if not is_affine(probe, a, few):
                break
        except XcoreError:  # a layer that cannot be opened, or whose output no head can take
            continue
        if positions(probe.layout, tuple(a.shape[1:]), few) is not None:
            return name, "the input of the affine head"
        affine.append(name)
    if affine:
        return affine[0], "the input of the affine head"
    if not last:
        raise UsageError("this classifier lists no layer but its logits", "name one: --set lens.layer=NAME")
    return last, "the last layer before the logits; the head above is not affine"


def carries_all(probe: Probe, a: Tensor, few: Samples, logits: Tensor) -> bool:
    """Whether the logits depend on the samples through these activations alone: none changes with other samples."""
    other = Samples("image", 1 - few.images, tuple(f"{i}#negative" for i in few.ids))
    with torch.no_grad():
        return torch.allclose(probe.head(a, other), logits, rtol=1e-3, atol=1e-4)


def is_affine(probe: Probe, a: Tensor, few: Samples) -> bool:
    """Whether the logits are an affine function of these activations, tried along random lines through them."""
    generator = torch.Generator().manual_seed(0)
    step = 3 * torch.randn(a.shape, generator=generator) * a.std(correction=0)
    with torch.no_grad():
        there, here, back = found = torch.stack([probe.head(a + t * step, few).cpu().double() for t in (-1, 0, 1)])
    bend = (there + back - 2 * here).abs().max()
    return bool(bend <= max(1e-4, 4 * rounding(found)) * found.abs().max())


def rounding(numbers: Tensor) -> float:
    """The relative rounding of the narrowest type that holds these numbers: that in which a network computed them."""
    for narrow in (torch.bfloat16, torch.float16):
        if torch.equal(numbers.to(narrow).to(numbers.dtype), numbers):
            return torch.finfo(narrow).eps
    return torch.finfo(torch.float32).eps


def positions(layout: str, shape: tuple[int, ...], samples: Samples) -> tuple[int, int, int] | None:
    """(positions in front that are no place, rows, columns) of one sample's activations; None if they are no grid."""
    if layout == "NCHW":
        return (0, shape[1], shape[2]) if shape[1] * shape[2] > 1 else None
    height, width = samples.images.shape[-2:]
    return token_grid(shape[0], (height, width)) if layout == "NTC" else None


def open_space(classifier: Classifier, layer: str, samples: Samples, options: Options) -> tuple[Space, Tensor]:
    """The layer, and its activations (N, P, C) at all positions as the extractor takes them.

    Raises
    ------
    UsageError
        If activations are negative, the extractor is ``nmf`` and no option allows it; names what would do.
    XcoreError
        If activations are infinite.
    """
    probe = classifier.open(layer)
    a = probe.activations(samples)
    full, shape = flatten(a, probe.layout), tuple(a.shape[1:])
    if not torch.isfinite(full).all():
        raise XcoreError(f"activations at layer {layer!r} are not finite", "check the classifier's weights")
    if options.extractor != "nmf":
        if not options.centre:
            return Space(probe, shape), full
        mean = full.double().mean((0, 1)).float()
        return Space(probe, shape, shift=mean), full - mean
    if options.centre:
        raise UsageError("nmf takes no centred activations", f"lens.extractor may be {', '.join(SIGNED)}")
    low = full.amin((0, 1))
    if float(low.min()) >= 0:
        return Space(probe, shape), full
    if options.negative == "relu":
        return Space(probe, shape, floor=torch.zeros_like(low)), full.clamp_min(0)
    if options.negative == "shift":
        shift = low.clamp_max(0)
        return Space(probe, shape, shift=shift), full - shift
    near = nearest_nonnegative(classifier, layer, samples)
    instead = f", or use layer {near!r}, which has none" if near else ""
    raise UsageError(
        f"layer {layer!r} has negative activations (down to {float(low.min()):.3g}) and nmf takes none",
        f"set lens.extractor to one of {', '.join(SIGNED)}, or lens.negative to 'shift' or 'relu'{instead}",
    )


def chosen_rows(
    full: Tensor, images: list[int], most: int, seed: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """At most `most` positions of these images, (n, C); a seeded draw where there are more."""
    rows = full[images].reshape(-1, full.shape[2])
    if len(rows) > most:
        drawn = np.random.default_rng([seed, most]).choice(len(rows), most, replace=False)
        rows = rows[np.sort(drawn)]
    return rows.double().numpy()
