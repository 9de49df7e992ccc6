"""Small helpers for the checks: a model for each role, a generator, and classifiers of three layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xcore.base.errors import UsageError, unknown
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Adapter
from xcore.models.classifiers import TorchClassifier
from xcore.testing.world import SIDE, tiny_network

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.15, 0.9, 0.15),
    "blue": (0.15, 0.15, 0.9),
}
"""Word -> the colour that it means; other words mean a grey of their own."""


def colour_of(phrase: str) -> Tensor:
    """The mean of the colours that a phrase names; a shade of grey if it names none."""
    named = [COLOURS[word] for word in phrase.lower().replace(",", " ").split() if word in COLOURS]
    if named:
        return torch.tensor(named).mean(0)
    digest = hashlib.sha256(phrase.encode()).digest()
    return torch.tensor([0.35 + 0.3 * byte / 255 for byte in digest[:3]])


class ColourModel:
    """Reads colours. It plays image-text, image-embedder, localiser, vqa, captioner and factor-oracle."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3)) - 0.4

    def embed(self, samples: Samples) -> Tensor:
        """The mean colours of the quarters of each image."""
        return torch.nn.functional.adaptive_avg_pool2d(samples.images, 2).flatten(1) - 0.4

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([colour_of(text) for text in texts]) - 0.4

    def locate(self, images: Samples, examples: Samples) -> Tensor:
        wanted = examples.images.mean((0, 2, 3))[None, :, None, None]
        return torch.exp(-4 * (images.images - wanted).abs().mean(1))

    def answer(self, images: Samples, questions: Sequence[str]) -> list[str]:
        return self.caption(images, range(len(questions)))

    def caption(self, images: Samples, seeds: Sequence[int]) -> list[str]:
        strongest: list[int] = images.images.mean((2, 3)).argmax(1).tolist()
        return [[*COLOURS][i] for i in strongest]

    def factors(self, images: Samples) -> Mapping[str, Mapping[str, Tensor]]:
        shares = images.images.mean((2, 3)).clamp(0, 1)
        return {"colour": {**dict(zip(COLOURS, shares.unbind(1), strict=True)), "none": 1 - shares.amax(1)}}


class WordEmbedder:
    """The role text-embedder: counts words, each at a place that its digest gives."""

    name = "words"

    def embed(self, samples: Samples) -> Tensor:
        made = torch.zeros(len(samples), 16)
        for row, text in zip(made, samples.texts, strict=True):
            for word in text.lower().split():
                row[hashlib.sha256(word.encode()).digest()[0] % 16] += 1
        return made + 0.01

    embed_texts = embed


class GridSegmenter:
    """The role segmenter: four quarters."""

    def segment(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        masks = torch.zeros(4, height, width, dtype=torch.bool)
        for i in range(4):
            rows = slice(0, height // 2) if i < 2 else slice(height // 2, None)
            columns = slice(0, width // 2) if i % 2 == 0 else slice(width // 2, None)
            masks[i, rows, columns] = True
        return masks


class WordDecoder:
    """The role text-decoder: a bag of colour words by a fixed linear map of the states."""

    name = "word decoder"
    fingerprint = "word-decoder"
    width = 8
    tokens = 2
    words = (*COLOURS, "stripe", "blob")

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(3)
        self.head = torch.randn(self.width, len(self.words), generator=rng)

    def _logs(self, states: Tensor) -> Tensor:
        return (states.mean(1) @ self.head).log_softmax(1)

    def loss(self, states: Tensor, texts: Sequence[str]) -> Tensor:
        known = torch.tensor([[float(w in text.split()) for w in self.words] for text in texts])
        return -(self._logs(states) * known).sum(1) / known.sum(1).clamp_min(1)

    def remarks(self, texts: Sequence[str], states: int) -> list[str]:
        unknown_words = {word for text in texts for word in text.split()} - {*self.words}
        return [f"{len(unknown_words)} word(s) of the texts are not known to it"] if unknown_words else []

    def sample(self, states: Tensor, n: int, seed: int) -> list[list[str]]:
        rng = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(self._logs(states).exp().detach(), n, replacement=True, generator=rng)
        return [[self.words[i] for i in row] for row in drawn.tolist()]


def helper_models() -> dict[str, Any]:
    """A small model for each role of `xcore.contract.roles`."""
    colours = ColourModel()
    roles = ("image-text", "image-embedder", "localiser", "vqa", "captioner", "factor-oracle")
    made: dict[str, Any] = dict.fromkeys(roles, colours)
    return made | {"text-embedder": WordEmbedder(), "segmenter": GridSegmenter(), "text-decoder": WordDecoder()}


class TinyGenerator:
    """Draws noisy fields of the colour that a prompt names; can be adapted, and can edit."""

    modality: Modality = "image"
    fingerprint = "tiny-generator"
    can = frozenset({"adapt", "edit"})

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        paired(prompts, seeds)
        images = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            colour = colour_of(prompt) + (adapter.state["shift"] if adapter else 0)
            noise = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
            images.append((colour.view(3, 1, 1) + 0.1 * noise).clamp(0, 1))
        by = f"@{adapter.digest[:8]}" if adapter else ""
        ids = tuple(f"{p}/{s}{by}" for p, s in zip(prompts, seeds, strict=True))
        return Samples("image", torch.stack(images), ids, meta={"prompt": tuple(prompts), "seed": tuple(seeds)})

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        gap = (preferred.images - rejected.images).mean((0, 2, 3))
        before = adapter.state["shift"] if adapter else torch.zeros(3)
        shift = before + 0.1 * options.get("steps", 1) * gap
        digest = hashlib.sha256(shift.numpy().tobytes()).hexdigest()
        return Adapter({"shift": shift}, {}, digest), {"margin": float(gap.norm())}

    def edit(
        self, samples: Samples, prompts: Sequence[str], seeds: Sequence[int], *, strength: float,
        masks: Tensor | None = None, negatives: Sequence[str] | None = None, adapter: Adapter | None = None,
    ) -> Samples:  # fmt: skip
        paired(prompts, seeds)
        if not 0 < strength <= 1:
            raise UsageError(f"strength is {strength}; it must be above 0 and at most 1")
        if len(samples) != len(prompts) or (negatives is not None and len(negatives) != len(prompts)):
            raise UsageError(f"{len(samples)} samples and {len(prompts)} prompts do not pair up")
        images = samples.images
        if masks is not None and masks.shape != (len(samples), *images.shape[2:]):
            raise UsageError(f"masks have shape {tuple(masks.shape)}")
        edited = []
        for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            tint = colour_of(prompt) - (colour_of(negatives[i]) if negatives else 0.4)
            tint = tint + (adapter.state["shift"] if adapter else 0)
            noise = torch.randn(images[i].shape, generator=torch.Generator().manual_seed(seed))
            change = strength * (tint.view(3, 1, 1) + 0.05 * noise)
            edited.append(images[i] + change * (1 if masks is None else masks[i]))
        ids = tuple(f"{i}>{p}/{s}/{strength}" for i, p, s in zip(samples.ids, prompts, seeds, strict=True))
        meta = {"prompt": tuple(prompts), "seed": tuple(seeds), "edited": samples.ids}
        return Samples("image", torch.stack(edited).clamp(0, 1), ids, meta=meta)


def paired(prompts: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise `UsageError` unless there are prompts, and as many seeds."""
    if not prompts or len(prompts) != len(seeds):
        raise UsageError(f"{len(prompts)} prompts and {len(seeds)} seeds do not pair up")


# -- classifiers of three layouts -------------------------------------------------------------------------------------
class _Rows(torch.nn.Module):
    """A small network whose hidden layer has tokens (NTC) or none (NC)."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens
        self.see = torch.nn.Conv2d(3, 6, 8, stride=8)
        self.mix = torch.nn.Linear(6, 6)
        self.act = torch.nn.ReLU()
        self.out = torch.nn.Linear(6, 3)
        rng = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(0.4 * torch.randn(weight.shape, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        h = self.see(x).flatten(2).transpose(1, 2)
        if not self.tokens:
            h = h.mean(1)
        h = self.act(self.mix(h))
        logits: Tensor = self.out(h.mean(1) if self.tokens else h)
        return logits


def classifier_of_layout(layout: str) -> TorchClassifier:
    """A classifier of stripes, blobs and others whose default layer has the layout NC, NCHW or NTC."""
    makers: Mapping[str, Callable[[], tuple[torch.nn.Module, str]]] = {
        "NCHW": lambda: (tiny_network(), "4"),
        "NTC": lambda: (_Rows(True), "act"),
        "NC": lambda: (_Rows(False), "act"),
    }
    if layout not in makers:
        raise unknown("layout", layout, makers)
    network, layer = makers[layout]()
    layouts: Any = {"act": layout} if layout == "NTC" else None
    return TorchClassifier(
        network.eval(), ("stripes", "blobs", "other"), layers=(layer,), default_layer=layer, layouts=layouts
    )
