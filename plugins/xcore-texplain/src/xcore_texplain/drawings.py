"""A generator in the place of the classifier: its latents are read, from pictures that it draws of the classes."""

from __future__ import annotations

from collections.abc import Sequence

from xcore.errors import MissingError, NotApplicable
from xcore.protocols import Generator, Probe, Task
from xcore.samples import Samples
from xcore_texplain.said import mixed

LAYER = "the generator's latents"
"""What translators and messages call the layer."""
OWN, PRIOR = 6, 7
"""Streams of seeds: of the pictures that are explained, and of those behind the prior."""


def needed(generator: Generator | None) -> Generator:
    """The generator; raises `MissingError` if there is none."""
    if generator is None:
        raise MissingError("texplain.features=generator needs a generator", "name one with --generator REF")
    return generator


def open_latents(generator: Generator | None) -> Probe:
    """The probe of a generator.

    Raises
    ------
    MissingError, NotApplicable
        There is no generator, or it offers no probe.
    """
    offered = getattr(needed(generator), "probe", None)
    if offered is None:
        raise NotApplicable(
            "texplain.features=generator reads latents, and this generator offers no probe",
            "take a diffusion pipeline (--generator diffusion:DIR), or texplain.features=classifier",
        )
    probe: Probe = offered()
    return probe


def draw(task: Task, prompt: str, classes: Sequence[str], n: int, seed: int, stream: int) -> Samples:
    """n pictures of each class, by the prompt with the name of the class in it; the same for the same seed."""
    prompts = [prompt.replace("{class}", cls) for cls in classes for _ in range(n)]
    return needed(task.generator).generate(prompts, [mixed(seed, stream, i) for i in range(len(prompts))])
