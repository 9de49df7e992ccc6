"""The features that texplain reads: those of a classifier's layer, or the latents of a generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from xcore.contract import Classifier, Generator, MissingError, NotApplicable, Probe, Samples, UsageError
from xcore_texplain.options import Options
from xcore_texplain.sentences import combined_seed

BATCH = 64
"""Images whose features are computed at once."""
LATENTS = "the generator's latents"
"""What translators and messages call the layer if the features are latents."""
EXPLAINED, PRIOR = 6, 7
"""Seed streams of the pictures that a generator draws: those that are explained, and those of the prior."""


def open_probe(o: Options, classifier: Classifier, layer: str, generator: Generator | None) -> tuple[Probe, str]:
    """The probe that the options ask for, and the name of its layer.

    Raises
    ------
    NotApplicable
        The classifier gives no activations, or the generator offers no probe.
    MissingError
        The options ask for a generator, and there is none.
    """
    if o.features == "classifier":
        if "activations" not in classifier.can:
            raise NotApplicable("texplain reads activations, and this classifier gives none: it is a black box")
        return classifier.open(layer), layer
    offered = getattr(required(generator), "probe", None)
    if offered is None:
        raise NotApplicable(
            "texplain.features=generator reads the generator's latents, and this generator offers no probe of them",
            "use a diffusion pipeline (--generator diffusion:DIR), or set texplain.features=classifier",
        )
    probe: Probe = offered()
    return probe, LATENTS


def features(probe: Probe, samples: Samples) -> Tensor:
    """Features (n, P, D) of the samples, float32: P positions of width D. A layer without positions has P = 1.

    Raises
    ------
    UsageError
        Some features are infinite or not a number.
    """
    a = probe.activations(samples).float()
    if not bool(a.isfinite().all()):
        raise UsageError(
            "some features are infinite or not a number", "check the weights of the model, or name another --layer"
        )
    if probe.layout == "NC":
        return a[:, None]
    return a.flatten(2).transpose(1, 2).contiguous() if probe.layout == "NCHW" else a


def features_fingerprint(probe: Probe, size: tuple[int, int]) -> str:
    """Digest of the features of two synthetic pictures; other weights or another layer give another digest.

    Parameters
    ----------
    probe
        The probe.
    size
        Height and width of the pictures in pixels.
    """
    ramp = torch.linspace(0, 1, 2 * 3 * size[0] * size[1]).reshape(2, 3, *size)
    pictures = Samples("image", torch.stack([ramp[0], (ramp[1] * 37).frac()]), ("ramp", "saw"))
    return hashlib.sha256(features(probe, pictures).contiguous().numpy().tobytes()).hexdigest()[:16]


def draw_pictures(
    generator: Generator | None, prompt: str, classes: Sequence[str], n: int, seed: int, stream: int
) -> Samples:
    """Let the generator draw n pictures of each class; the same seed gives the same pictures.

    Parameters
    ----------
    generator
        The generator; raises `MissingError` if it is None.
    prompt
        The prompt, in which ``{class}`` stands for the name of the class.
    classes
        Names of the classes.
    n
        Pictures of each class.
    seed
        The seed.
    stream
        `EXPLAINED` or `PRIOR`: the two never share a seed.
    """
    prompts = [prompt.replace("{class}", cls) for cls in classes for _ in range(n)]
    return required(generator).generate(prompts, [combined_seed(seed, stream, i) for i in range(len(prompts))])


def required(generator: Generator | None) -> Generator:
    """The generator; raises `MissingError` if there is none."""
    if generator is None:
        raise MissingError("texplain.features=generator needs a generator", "name one with --generator REF")
    return generator
