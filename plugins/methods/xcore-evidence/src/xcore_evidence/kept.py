"""Drawings of the original generator that do not depend on the class: drawn once, and shared by all cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from xcore.contract import Generator, Samples, Task, digest

FILE = "pictures.safetensors"


def drawn(task: Task, generator: Generator, prompts: Sequence[str], seeds: Sequence[int]) -> Samples:
    """What the generator draws without an adapter: one sample for each prompt, as `Generator.generate` gives them.

    Pictures are kept as the artifact "drawings", all that are asked for in one call together, so ask for what others
    ask for too, such as the drawings of one prompt. They are kept with 8 bits, like files, and given so at the first
    time, too. Texts are cheap to draw and come with meta of their own, so that they are drawn anew each time.
    """
    if generator.modality != "image":
        return generator.generate(prompts, seeds)
    key = {
        "generator": generator.fingerprint,
        "prompts": digest(list(prompts)),
        "seeds": digest(list(seeds)),
        # a generator draws in its own size, and its pictures are then brought to the size of those of the class
        "size": list(task.samples.images.shape[-2:]),
        "framing": repr(getattr(task.classifier, "framing", None)),
    }

    def make(directory: Path) -> None:
        from safetensors.torch import save_file

        pictures = generator.generate(prompts, seeds).images
        save_file({"pictures": (pictures.clamp(0, 1) * 255).round().byte().cpu().contiguous()}, directory / FILE)

    from safetensors.torch import load_file

    pictures: Tensor = load_file(task.artifact("drawings", key, make) / FILE)["pictures"]
    ids = tuple(f"{prompt}/{seed}" for prompt, seed in zip(prompts, seeds, strict=True))
    return Samples("image", pictures.to(torch.float32) / 255, ids, meta={"prompt": tuple(prompts)})
