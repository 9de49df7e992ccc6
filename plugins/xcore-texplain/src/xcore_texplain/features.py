"""Features of a frozen model as tokens, and what they are known by."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from xcore.errors import NotApplicable, UsageError
from xcore.protocols import Classifier, Generator, Probe
from xcore.samples import Samples
from xcore_texplain.drawings import LAYER, open_latents
from xcore_texplain.options import Options

BATCH = 64


def open_probe(o: Options, classifier: Classifier, layer: str, generator: Generator | None) -> tuple[Probe, str]:
    """The probe that the options ask for, and what its layer is called.

    Raises
    ------
    NotApplicable, MissingError
        The classifier is a black box; there is no generator, or it offers no probe.
    """
    if o.features == "generator":
        return open_latents(generator), LAYER
    if "activations" not in classifier.can:
        raise NotApplicable("texplain reads activations, and this classifier shows none")
    return classifier.open(layer), layer


def features(probe: Probe, samples: Samples) -> Tensor:
    """(n, P, D) float32: P positions of width D; a layer without positions has one.

    Raises
    ------
    UsageError
        They hold numbers that are none.
    """
    a = probe.activations(samples).float()
    if not bool(a.isfinite().all()):
        raise UsageError(
            "the features hold numbers that are not finite", "look at the model's weights, or name another --layer"
        )
    if probe.layout == "NC":
        return a[:, None]
    return a.flatten(2).transpose(1, 2).contiguous() if probe.layout == "NCHW" else a


def fingerprint(probe: Probe, size: tuple[int, int]) -> str:
    """What features do to two made-up pictures of (height, width): other weights or another layer, another digest."""
    ramp = torch.linspace(0, 1, 2 * 3 * size[0] * size[1]).reshape(2, 3, *size)
    pictures = Samples("image", torch.stack([ramp[0], (ramp[1] * 37).frac()]), ("ramp", "saw"))
    return hashlib.sha256(features(probe, pictures).contiguous().numpy().tobytes()).hexdigest()[:16]
