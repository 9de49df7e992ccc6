"""Grad-CAM: where in an image a word, or the class, comes from; and masks of these places.

Both readings use activations A at a layer and the gradient of a target with respect to them: channel weights are the
means of the gradient over positions, and the map is the positive part of the weighted sum of channels (Selvaraju et
al., Grad-CAM, ICCV 2017). The target is the log-probability that a language model says the word after reading the
translated features, or the logit of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import NotApplicable, Probe, Samples, UsageError
from xcore.inputs.words import WORD, lemma
from xcore_texplain.features import BATCH, features
from xcore_texplain.translator import Translator

READ = 4
"""Sentences with the word from which its log-probability is taken: the mean over these."""


def class_maps(probe: Probe, samples: Samples, targets: Sequence[int]) -> Tensor:
    """Maps (n, h, w) >= 0 of the logit of a class for each image, at the resolution of the layer."""
    made: list[Tensor | None] = [None] * len(samples)
    for target in sorted(set(targets)):
        rows = [i for i, t in enumerate(targets) if t == target]
        part = samples.take(rows)
        a, gradient = probe.activations(part).float(), probe.gradients(part, target).float()
        shape = _grid(a, probe)
        if probe.layout == "NCHW":
            a, gradient = (t.flatten(2).transpose(1, 2) for t in (a, gradient))
        for i, one in zip(rows, _maps(a, gradient, shape), strict=True):
            made[i] = one
    return torch.stack([m for m in made if m is not None]) if made else torch.zeros(0, 1, 1)


def word_maps(
    probe: Probe,
    translator: Translator,
    decoder: Any,
    samples: Samples,
    words: Sequence[str],
    sentences: Sequence[Sequence[str]],
) -> Tensor:
    """Maps (n, h, w) >= 0 of the log-probability of a word for each image, at the resolution of the layer.

    Parameters
    ----------
    words
        A lemma for each image.
    sentences
        The sentences about each image; the first ones that contain its word say in which context it is read.

    Raises
    ------
    NotApplicable
        The decoder does not give the loss of a word.
    UsageError
        No sentence about an image contains its word.
    """
    if not hasattr(decoder, "word_loss"):
        raise NotApplicable(
            f"{decoder.name} does not say how likely a single word is, so there are no maps of words",
            "use blip-decoder:MODEL or prefix-decoder:MODEL, or mask by the class: --map class",
        )
    maps = []
    shape = _grid(probe.activations(samples.take([0])), probe) if len(samples) else (1, 1)
    for start in range(0, len(samples), BATCH):
        rows = range(start, min(start + BATCH, len(samples)))
        z = features(probe, samples.take(list(rows)))
        texts, spans, owner = [], [], []
        for place, i in enumerate(rows):
            found = [(text, span) for text in sentences[i] if (span := _span(text, words[i]))][:READ]
            if not found:
                raise UsageError(f"no sentence about image {samples.ids[i]!r} contains {words[i]!r}")
            texts += [text for text, _ in found]
            spans += [span for _, span in found]
            owner += [place] * len(found)
        with torch.enable_grad():
            read = z.clone().requires_grad_()
            states = translator(read)[torch.tensor(owner)]
            (gradient,) = torch.autograd.grad(-decoder.word_loss(states, texts, spans).sum(), read)
        maps.append(_maps(z, gradient, shape))
    return torch.cat(maps) if maps else torch.zeros(0, 1, 1)


def masks_of(maps: Tensor, size: tuple[int, int], deviations: float) -> Tensor:
    """Masks (n, H, W) of 0 and 1: where the map, enlarged to the image, is above its mean by so many deviations.

    A map that is the same everywhere, such as zero, masks nothing.
    """
    large = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    flat = large.flatten(1)
    bound = flat.mean(1) + deviations * flat.std(1, correction=0)
    return (large > bound[:, None, None]).float()


def filled(images: Tensor, masks: Tensor, fill: Tensor) -> Tensor:
    """Images (n, 3, H, W) whose masked pixels have the colour `fill` (3,); all other pixels are as they were."""
    return torch.where(masks[:, None].bool(), fill[None, :, None, None], images)


def _maps(a: Tensor, gradient: Tensor, shape: tuple[int, int]) -> Tensor:
    """Grad-CAM (n, h, w) of activations and gradients (n, P, D); tokens before the grid, such as the class's, go."""
    n, grid = len(a), shape[0] * shape[1]
    weights = gradient[:, -grid:].mean(1, keepdim=True)
    return (a[:, -grid:] * weights).sum(-1).relu().detach().reshape(n, *shape)


def _grid(a: Tensor, probe: Probe) -> tuple[int, int]:
    """Height and width of the positions of a layer; raises `NotApplicable` if it has none."""
    if probe.layout == "NCHW":
        return int(a.shape[2]), int(a.shape[3])
    side = isqrt(a.shape[1]) if probe.layout == "NTC" else 0
    if side < 2:
        raise NotApplicable("Grad-CAM needs a layer with positions, and this one has none", "name another with --layer")
    return side, side


def _span(text: str, word: str) -> tuple[int, int] | None:
    """Where the first form of a lemma is in a text."""
    return next((m.span() for m in WORD.finditer(text) if lemma(m.group().lower()) == word), None)
