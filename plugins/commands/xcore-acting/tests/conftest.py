"""A painted world for the tests of `xcore ask`: a column of a picture for each phrase, its reader and its painter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from xcore.contract import Samples, Task
from xcore.models.classifiers import FunctionClassifier
from xcore.store.run_directory import Artifacts

PHRASES = ("sand", "snow", "stripes", "spots", "grass", "moss")
K = len(PHRASES)


class Painter:
    """A generator of pictures with a column for each phrase: lit where the prompt names it, dark where one is away."""

    modality = "image"
    fingerprint = "painter"
    can = frozenset({"edit"})

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Any = None) -> Samples:
        blank = Samples("image", torch.full((len(prompts), 3, 4, K), 0.5), tuple(map(str, seeds)))
        return self.edit(blank, prompts, seeds, strength=1.0)

    def edit(
        self,
        samples: Samples,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        strength: float,
        negatives: Sequence[str] | None = None,
    ) -> Samples:
        made = []
        for i, (picture, prompt, seed) in enumerate(zip(samples.images, prompts, seeds, strict=True)):
            lit = torch.tensor([float(p in prompt.split(", ")) for p in PHRASES])
            away = torch.tensor([float(bool(negatives) and p == negatives[i]) for p in PHRASES])
            noise = torch.rand(K, generator=torch.Generator().manual_seed(seed)) - 0.5
            made.append(picture + strength * (0.5 * lit - 0.5 * away) + 0.1 * strength * noise)
        return Samples("image", torch.stack(made).clamp(0, 1), tuple(f"e/{i}" for i in range(len(made))))


class Reader:
    """An image-text model that reads which columns are lit."""

    name = "reader"

    def embed_images(self, images: Samples) -> Tensor:
        return torch.cat([images.images.mean((1, 2)), torch.full((len(images), 1), 10.0)], 1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.tensor([*(float(p == t) for p in PHRASES), 0.0]) for t in texts])


class Zoo:
    """Pictures of two classes; those of the thing are striped."""

    modality = "image"
    classes = ("thing", "other")

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        return pictures(min(n, 80), 1 + (cls == "other"), 0.3 * (cls == "thing"))


def pictures(n: int, seed: int, striped: float = 0.0) -> Samples:
    columns = torch.rand(n, 1, 1, K, generator=torch.Generator().manual_seed(seed)) * 0.6
    columns[..., PHRASES.index("stripes")] += striped
    return Samples("image", columns.expand(n, 3, 4, K).clone(), tuple(f"{seed}/{i}" for i in range(n)))


def black_box(**weights: float) -> FunctionClassifier:
    def logits(images: Tensor) -> Tensor:
        first = images.mean((1, 2)) @ torch.tensor([weights.get(p, 0.0) for p in PHRASES])
        return torch.stack([first, torch.zeros_like(first)], 1)

    return FunctionClassifier(logits, ["thing", "other"])


def make_task(tmp_path: Path, **given: Any) -> Task:
    own = {
        "classifier": black_box(stripes=6, grass=-6), "samples": pictures(20, 3, 0.3), "data": Zoo(),
        "generator": Painter(), "vocabulary": PHRASES, **given,
    }  # fmt: skip
    return Task(
        layer="", target=0, seed=0, random_set=lambda n, index, *rest: pictures(n, 50 + index),
        model=lambda role: {"image-text": Reader()}[role], roles=("image-text",),
        artifact=Artifacts(tmp_path / "artifacts").get, **own,
    )  # fmt: skip


@pytest.fixture
def painted(tmp_path: Path) -> SimpleNamespace:
    """The phrases, ``task(**given)``, ``pictures(n, seed, striped)``, ``black_box(**weights)`` and the
    classes of the painted world."""

    def task(**given: Any) -> Task:
        return make_task(tmp_path, **given)

    return SimpleNamespace(phrases=PHRASES, task=task, pictures=pictures, painter=Painter, zoo=Zoo, black_box=black_box)


COLOURS = """
import torch
from xcore import hookimpl
from xcore.contract import Concept, Explanation, Samples
from xcore.models.classifiers import TorchClassifier
from xcore_rlpo.testing import COLOURS, Colours, Painter, Reader


class Data:
    modality, classes, concepts = "image", ("red", "green"), ()
    vocabulary = ("blue", "gray", "pale green")
    skipped = notes = ()

    def __init__(self, **defaults):
        self.defaults = {"classifier": "reader", **defaults}

    def samples(self, cls, split, n, seed):
        kinds = self.classes if cls is None else (cls,)
        names = [kinds[i % len(kinds)] for i in range(n)]
        drawn = Painter().generate(names, [seed * 1000 + i + 500 * (split == "train") for i in range(n)])
        return Samples("image", drawn.images, tuple(f"{split}/{cls}/{i}" for i in range(n)))

    def truth(self, classifier):
        return None


class Editing(Painter):
    can = frozenset({"adapt", "edit"})

    def edit(self, samples, prompts, seeds, *, strength, negatives=None):
        drawn = self.generate(list(prompts), list(seeds)).images
        away = self.generate(list(negatives), list(seeds)).images if negatives else drawn
        made = (samples.images + strength * (drawn - samples.images) - 0.5 * strength * (away - drawn)).clamp(0, 1)
        return Samples("image", made, tuple(f"edit/{i}" for i in range(len(made))))


def other(options):
    reader = Reader()
    with torch.no_grad():
        for p in reader.parameters():
            p.mul_(1 + 0.3 * torch.rand(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return TorchClassifier(reader, ("red", "green"))


@hookimpl
def register_datasets(register):
    register("fields", lambda options: Data(), summary="x")
    drawn = {"generator": "painter", "image-text": "colours"}
    register("drawn-fields", lambda options: Data(**drawn), summary="with a generator and a reader of phrases")


@hookimpl
def register_classifiers(register):
    register("reader", lambda options: TorchClassifier(Reader(), ("red", "green")), summary="x")
    register("other", other, summary="x")


class Finder:
    "Two concepts: pictures of red, and of gray."

    def __init__(self, options):
        pass

    def explain(self, task):
        drawn = {name: Painter().generate([name] * 8, range(8)) for name in ("red", "gray")}
        concepts = [Concept(name, importance=0.5, samples=samples) for name, samples in drawn.items()]
        return Explanation("finder", task.target_name, "a number", tuple(concepts))


@hookimpl
def register_explainers(register):
    register("finder", Finder, summary="x")


@hookimpl
def register_generators(register):
    register("painter", lambda options: Editing(), summary="x")
    register("drawer", lambda options: Painter(), summary="it cannot edit")


@hookimpl
def register_models(register):
    register("colours", lambda options: Colours(), role="image-text", summary="x")
"""


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A plugin file of a world of colours, in which RLPO runs in moments and no concept is known to the data."""
    file = tmp_path / "colours_plugin.py"
    file.write_text(COLOURS)
    return file
