"""A small text world: reviews that praise or blame, a classifier that reads them, a writer, and tasks on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xcore.base.errors import NotApplicable, unknown
from xcore.contract.protocols import Run, Task
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Adapter, Budget, Cell, Concept, Explanation, Ref, Split, Truth
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.random_sets import RandomSets
from xcore.store.run_directory import Artifacts
from xcore.testing.helpers import paired
from xcore.testing.world import model_of, registered_rendering

if TYPE_CHECKING:
    from xcore.contract.protocols import Generator

WORDS: Mapping[str, tuple[str, ...]] = {
    "praise": ("lovely", "great", "kind"),
    "blame": ("dreadful", "poor", "rude"),
}
"""Class -> the words that make a text one of it."""
NEUTRAL = ("the", "room", "soup", "view", "staff", "was", "we", "day")


class _Bag(torch.nn.Module):
    """Counts praise and blame, and weighs them."""

    def __init__(self) -> None:
        super().__init__()
        known = [*WORDS["praise"], *WORDS["blame"], *NEUTRAL]
        self.embed = torch.nn.Embedding(len(known) + 1, 6, padding_idx=0)
        self.act = torch.nn.ReLU()
        self.out = torch.nn.Linear(6, 2)
        self.known = {word: i + 1 for i, word in enumerate(known)}
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            self.embed.weight.copy_(0.3 * torch.rand(len(known) + 1, 6, generator=rng))
            self.embed.weight[0] = 0
            for column, cls in enumerate(WORDS):
                for word in WORDS[cls]:
                    self.embed.weight[self.known[word], column] += 2
            self.out.weight.copy_(torch.eye(2, 6) - 0.5 * torch.eye(2, 6).flip(0))
            self.out.bias.zero_()

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.out(self.act(self.embed(ids)).sum(1))
        return logits


def text_classifier() -> TorchClassifier:
    """A classifier of short reviews, whose layer ``act`` has the layout NTC."""
    bag = _Bag()

    def preprocess(texts: Sequence[str]) -> Tensor:
        rows = [[bag.known.get(word, 0) for word in text.lower().split()] or [0] for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

    return TorchClassifier(
        bag.eval(),
        tuple(WORDS),
        preprocess=preprocess,
        modality="text",
        layers=("act",),
        default_layer="act",
        layouts={"act": "NTC"},
    )


def reviews(cls: str, n: int, seed: int) -> Samples:
    """Short texts of a class."""
    rng = torch.Generator().manual_seed(1000 * list(WORDS).index(cls) + seed)
    texts = []
    for i in range(n):
        around = [NEUTRAL[int(j)] for j in torch.randint(len(NEUTRAL), (4,), generator=rng)]
        texts.append(" ".join([*around[:3], WORDS[cls][i % 3], around[3]]))
    return Samples("text", tuple(texts), tuple(f"{cls}/{seed}/{i}" for i in range(n)))


class ReviewData:
    """A data set of these texts."""

    modality: Modality = "text"
    classes = tuple(WORDS)
    concepts: tuple[str, ...] = ()
    vocabulary = tuple(word for words in WORDS.values() for word in words)
    defaults: Mapping[str, str] = {}
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        if cls is not None and cls not in self.classes:
            raise unknown("class", cls, self.classes)
        offset = {"train": 100, "explain": 200, "heldout": 300}[split]
        wanted = self.classes if cls is None else (cls,)
        return Samples.concat([reviews(c, -(-n // len(wanted)), seed + offset) for c in wanted]).take(range(n))

    def concept(self, name: str, n: int, seed: int) -> Samples:
        raise unknown("concept", name, self.concepts)

    def truth(self, classifier: str) -> Truth | None:
        return None


class TinyWriter:
    """A generator of texts: the prompt among words that the seed draws. It can neither be adapted nor edit."""

    modality: Modality = "text"
    fingerprint = "tiny-writer"
    can = frozenset[str]()

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        paired(prompts, seeds)
        texts = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            rng = torch.Generator().manual_seed(seed)
            words = [NEUTRAL[int(i)] for i in torch.randint(len(NEUTRAL), (4,), generator=rng)]
            texts.append(" ".join([*words[:2], prompt, *words[2:]]))
        ids = tuple(f"{p}/{s}" for p, s in zip(prompts, seeds, strict=True))
        return Samples("text", tuple(texts), ids, meta={"prompt": tuple(prompts), "seed": tuple(seeds)})

    def adapt(self, *args: Any, **more: Any) -> Any:
        raise NotApplicable("this writer cannot be adapted", "name another one with --generator REF")


def text_task(
    folder: Path, *, generator: Generator | None = None, models: Mapping[str, Any] | None = None, seed: int = 3
) -> Task:
    """A task of 12 short reviews that praise, with reviews that blame as the other class."""
    data, helpers, classifier = ReviewData(), dict(models or {}), text_classifier()
    workdir = folder / "work"
    workdir.mkdir(parents=True, exist_ok=True)
    return Task(
        classifier=classifier,
        layer=classifier.default_layer,
        target=0,
        samples=reviews("praise", 12, 1),
        random_set=RandomSets(
            data, "praise", "train", seed=0, generator=generator, vocabulary=data.vocabulary,
            renderings=registered_rendering, pool_size=40,
        ),
        data=TrainingData(data),
        seed=seed,
        concepts={word: _numbered(word) for word in (*WORDS["praise"], *WORDS["blame"])},
        vocabulary=data.vocabulary,
        generator=generator,
        model=model_of(helpers),
        roles=tuple(helpers),
        artifact=Artifacts(folder / "artifacts").get,
        workdir=workdir,
        budget=Budget(samples=12),
    )  # fmt: skip


def _numbered(word: str) -> Samples:
    return Samples("text", tuple(f"{n} {word}" for n in range(20)), tuple(f"{word}/{n}" for n in range(20)))


def text_run(task: Task, seed: int = 0) -> Run:
    """A finished explanation of a task of texts: a concept for each named word."""
    shown = list(task.concepts.items())[:3]
    n = len(task.samples)
    concepts = tuple(
        Concept(word, 1.0 - 0.2 * i, samples, words=(word,), local=torch.linspace(0, 1, n))
        for i, (word, samples) in enumerate(shown)
    )
    explanation = Explanation("made", task.target_name, "nothing", concepts)
    cell = Cell("made", Ref("made"), Ref("tiny"), Ref("live"), task.target_name, seed)
    return Run(cell, explanation, task, reviews("praise", 10, 9), task.random_set)
