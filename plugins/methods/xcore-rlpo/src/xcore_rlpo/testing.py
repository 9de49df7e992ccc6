"""A world in which RLPO runs in milliseconds, for tests: prompts are colours, and tuning shifts them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xcore.contract import Adapter, Modality, Samples

COLOURS: Mapping[str, Sequence[float]] = {
    "red": [0.8, 0.3, 0.3],
    "green": [0.3, 0.8, 0.3],
    "blue": [0.3, 0.3, 0.8],
    "gray": [0.45, 0.45, 0.45],
    "pale green": [0.5, 0.7, 0.5],
}
"""Prompt -> the mean colour that is drawn for it."""
RED_GREEN_BLUE = ("red", "green", "blue")


class Painter:
    """A generator of noisy fields of a colour (gray for an unknown one); an adapter shifts the colours of its prompts.

    The option ``lr`` of `adapt` is the share of the difference between the two groups' colours that is added.
    """

    modality: Modality = "image"
    fingerprint = "painter"
    can = frozenset({"adapt"})

    def __init__(self, side: int = 8) -> None:
        self.side = side
        self.drawn: list[tuple[str, int, str]] = []
        """(prompt, seed, digest of the adapter) of every sample."""
        self.adapted = 0
        """Updates made."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        pictures = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            colour = torch.tensor([COLOURS.get(p, COLOURS["gray"]) for p in prompt.split(", ")]).mean(0)
            if adapter is not None and prompt in adapter.state:
                colour = colour + adapter.state[prompt]
            rng, side = torch.Generator().manual_seed(seed), self.side
            tint = torch.randn(3, 1, 1, generator=rng) * 0.06
            noise = torch.randn(3, side, side, generator=rng) * 0.1
            pictures.append((colour.view(3, 1, 1) + tint + noise).clamp(0, 1))
            self.drawn.append((prompt, seed, adapter.digest if adapter else ""))
        ids = tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True))
        return Samples("image", torch.stack(pictures), ids, meta={"prompt": tuple(prompts)})

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        self.adapted += 1
        prompt = preferred.meta["prompt"][0]
        gap = (preferred.images - rejected.images).mean((0, 2, 3))
        state = dict(adapter.state) if adapter else {}
        state[prompt] = state.get(prompt, torch.zeros(3)) + options["lr"] * gap
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in state.values())).hexdigest()
        updates = torch.ones(1) if adapter is None else adapter.optimiser["updates"] + 1
        return Adapter(state, {"updates": updates}, digest), {"margin": float(gap.norm())}


class Colours:
    """An image-text model that embeds images by their mean colour, and phrases by the colour that they name."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3)) - 0.4

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([COLOURS[t] for t in texts]) - 0.4


class ColourAnswers:
    """A model that answers questions with the strongest colour of an image, or as a script says.

    Parameters
    ----------
    script
        (colour, question) -> another answer.
    """

    def __init__(self, script: Mapping[tuple[str, str], str] | None = None) -> None:
        self.script = script or {}
        self.asked: list[tuple[str, str, str]] = []
        """(id of the image, question, colour)."""

    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]:
        answers = []
        colours = [RED_GREEN_BLUE[c] for c in images.images.mean((2, 3)).argmax(1).tolist()]
        for name, question, colour in zip(images.ids, questions, colours, strict=True):
            self.asked.append((name, question, colour))
            answers.append(self.script.get((colour, question), colour))
        return answers


class Reader(torch.nn.Module):
    """Class 0 is red, class 1 is green: through saturating units, so that gradients differ from image to image.

    Parameters
    ----------
    seed
        Of random weights instead.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(3, 4, 1)
        self.out = torch.nn.Linear(4, 2)
        if seed is None:
            mix = torch.tensor([[3.0, -1, -1], [-1, 3, -1], [-1, -1, 3], [1, 1, -1]]).view(4, 3, 1, 1)
            planted = {
                "mix.weight": mix,
                "mix.bias": torch.tensor([-0.2, -0.2, -0.2, -0.3]),
                "out.weight": torch.tensor([[3.0, -1, 0, 0.2], [-1, 3, 0, 0.2]]),
                "out.bias": torch.zeros(2),
            }
            self.load_state_dict(planted)
        else:
            rng = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for p in self.parameters():
                    p.copy_(torch.randn(p.shape, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(torch.tanh(self.mix(x)).mean((2, 3)))
        return logits
