"""What the original generator draws or edits without regard to the classifier: made once, and shared by all cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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

    pictures = _pictures(task, "drawings", key, lambda: generator.generate(prompts, seeds))
    ids = tuple(f"{prompt}/{seed}" for prompt, seed in zip(prompts, seeds, strict=True))
    return Samples("image", pictures, ids, meta={"prompt": tuple(prompts)})


def edited(
    task: Task,
    generator: Any,
    given: Samples,
    prompts: Sequence[str],
    seeds: Sequence[int],
    strength: float,
    negatives: Sequence[str] | None = None,
) -> Samples:
    """What the generator makes of n pictures without an adapter, changed towards a prompt each, or away from one.

    They are kept as the artifact "edits", all that are asked for in one call together, with 8 bits, and given so at the
    first time, too.
    """
    key = {
        "generator": generator.fingerprint,
        "given": digest([given.take([i]).digest for i in range(len(given))]),
        "prompts": digest(list(prompts)),
        "seeds": digest(list(seeds)),
        "strength": strength,
        **({"negatives": digest(list(negatives))} if negatives else {}),
    }
    away = {"negatives": negatives} if negatives else {}
    pictures = _pictures(task, "edits", key, lambda: generator.edit(given, prompts, seeds, strength=strength, **away))
    ids = tuple(f"{prompt}/{seed}/{name}" for prompt, seed, name in zip(prompts, seeds, given.ids, strict=True))
    return Samples("image", pictures, ids, meta={"prompt": tuple(prompts)})


def _pictures(task: Task, name: str, key: Mapping[str, Any], made: Callable[[], Samples]) -> Tensor:
    """The pictures that are kept under a name and key, made if there are none; in [0, 1]."""

    def make(directory: Path) -> None:
        from safetensors.torch import save_file

        pictures = made().images
        save_file({"pictures": (pictures.clamp(0, 1) * 255).round().byte().cpu().contiguous()}, directory / FILE)

    from safetensors.torch import load_file

    pictures: Tensor = load_file(task.artifact(name, key, make) / FILE)["pictures"]
    return pictures.to(torch.float32) / 255
