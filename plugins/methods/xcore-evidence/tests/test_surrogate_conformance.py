"""The method surrogate, with each kind of evidence, held to the core's conformance classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_evidence import edited, factorial, observed, readings, surrogate
from xcore_evidence.options import SurrogateOptions
from xcore_evidence.plugin import uses
from xcore_evidence.surrogate import Surrogate

from xcore.contract import MissingError, NotApplicable, Samples, Task, UsageError
from xcore.models.classifiers import FunctionClassifier
from xcore.store.run_directory import Artifacts
from xcore.testing import SIDE, ExplainerTests, OptionsTests

PHRASES = ("red", "green", "blue")
COLOURS = torch.tensor([[1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.1, 1.0]])


class Colours:
    """An image-text model that reads the mean colour."""

    name = "colours"

    def embed_images(self, images: Samples) -> Tensor:
        return images.images.mean((2, 3))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([COLOURS[PHRASES.index(t)] if t in PHRASES else torch.ones(3) for t in texts])


class Tinter:
    """A generator that draws plain colours with noise, and tints pictures."""

    modality = "image"
    fingerprint = "tinter"
    can = frozenset({"edit"})
    made = 0

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Any = None) -> Samples:
        images = [self._colour(p) + 0.2 * self._noise(s) for p, s in zip(prompts, seeds, strict=True)]
        return self._samples(images, prompts, seeds)

    def edit(
        self, samples: Samples, prompts: Sequence[str], seeds: Sequence[int], *, strength: float, masks: Any = None,
        negatives: Sequence[str] | None = None, adapter: Any = None,
    ) -> Samples:  # fmt: skip
        images = []
        for i, prompt in enumerate(prompts):
            tint = self._colour(prompt) - (self._colour(negatives[i]) if negatives else 0)
            images.append(samples.images[i] + strength * tint + 0.1 * self._noise(seeds[i]))
        return self._samples(images, prompts, seeds)

    @staticmethod
    def _colour(prompt: str) -> Tensor:
        named = [COLOURS[PHRASES.index(p)] for p in prompt.split(", ") if p in PHRASES]
        return (torch.stack(named).mean(0) if named else torch.zeros(3))[:, None, None]

    @staticmethod
    def _noise(seed: int) -> Tensor:
        return torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))

    def _samples(self, images: Sequence[Tensor], prompts: Sequence[str], seeds: Sequence[int]) -> Samples:
        self.made += len(images)
        ids = tuple(f"{p}/{s}/{i}" for i, (p, s) in enumerate(zip(prompts, seeds, strict=True)))
        return Samples("image", torch.stack(list(images)).clamp(0, 1), ids)


class OnColours(ExplainerTests):
    """The world of the suite, with phrases and what reads and draws them."""

    @pytest.fixture
    def models(self) -> Mapping[str, Any]:
        return {"image-text": Colours()}

    @pytest.fixture
    def generator(self) -> Any:
        return Tinter()

    @pytest.fixture
    def vocabulary(self) -> tuple[str, ...]:
        return PHRASES

    @pytest.fixture(autouse=True)
    def artifacts(self, task: Task, tmp_path: Path) -> None:
        object.__setattr__(task, "artifact", Artifacts(tmp_path / "artifacts").get)

    def test_the_cost_is_what_was_asked_and_made_and_nothing_is_read_twice(
        self, explainer: Surrogate, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, read = counted(monkeypatch, task.classifier)
        made = explainer.explain(task)
        assert made.cost.forwards == sum(asked)
        assert made.cost.generated == task.generator.made
        assert len(set(read)) == len(read)


def counted(monkeypatch: pytest.MonkeyPatch, classifier: Any) -> tuple[list[int], list[str]]:
    """Numbers of samples that the classifier is asked about from now on, and digests of those that are read."""
    asked, read, logits = list[int](), list[str](), classifier.logits

    def counting(samples: Samples) -> Tensor:
        asked.append(len(samples))
        return logits(samples)

    def reading(task: Task, samples: Samples, phrases: Sequence[str]) -> Tensor:
        read.append(samples.digest)
        return readings.presence(task, samples, phrases)

    monkeypatch.setattr(classifier, "logits", counting)
    for module in (surrogate, observed, factorial, edited):
        monkeypatch.setattr(module, "presence", reading)
    return asked, read


class TestObserved(OnColours):
    @pytest.fixture
    def explainer(self) -> Surrogate:
        return Surrogate(SurrogateOptions(pool=80, samples=40, shown=3))


class TestFactorial(OnColours):
    @pytest.fixture
    def explainer(self) -> Surrogate:
        return Surrogate(SurrogateOptions(evidence="factorial", drawings=60, at_once=2, permutations=99, shown=3))

    def test_the_samples_of_a_concept_are_drawings_that_show_it(self, explainer: Surrogate, task: Task) -> None:
        made = explainer.explain(task)
        red = next(c for c in made.concepts if c.name == "red")
        assert red.samples is not None
        assert all("red" in name for name in red.samples.ids)
        assert {"prompt_p", "shown_p", "drawn_as_asked"} <= red.evidence.keys()
        assert made.cost.generated == 60
        assert set(made.files) == {"bars.png", "high-low.png"}

    def test_without_an_image_text_model_prompts_are_explained(self, explainer: Surrogate, task: Task) -> None:
        made = explainer.explain(replace(task, roles=()))
        assert any("effect of the prompt" in note for note in made.notes)
        assert set(made.files) == {"bars.png"}
        assert all(c.local is None for c in made.concepts)


class TestEdited(OnColours):
    @pytest.fixture
    def explainer(self) -> Surrogate:
        return Surrogate(SurrogateOptions(evidence="edited", edits=60, permutations=99, shown=3))

    def test_the_samples_of_a_concept_are_edited_pictures_that_show_it(self, explainer: Surrogate, task: Task) -> None:
        made = explainer.explain(task)
        assert made.cost.generated == 60
        assert set(made.files) == {"bars.png", "high-low.png"}
        for concept in made.concepts:
            assert concept.samples is not None
            assert len(concept.samples) == 3
            assert {"prompt_p", "shown_p", "drawn_as_asked"} <= concept.evidence.keys()
            assert all(name.startswith(f"{concept.name}/") for name in concept.samples.ids)

    def test_without_an_image_text_model_prompts_are_explained(self, explainer: Surrogate, task: Task) -> None:
        made = explainer.explain(replace(task, roles=()))
        assert any("effect of the edit" in note for note in made.notes)
        assert set(made.files) == {"bars.png"}
        assert all(c.local is None for c in made.concepts)


class TestOptions(OptionsTests):
    @pytest.fixture
    def options_model(self) -> type[SurrogateOptions]:
        return SurrogateOptions

    @pytest.mark.parametrize("phrases", [("red", " "), ("red", "red")])
    def test_phrases_are_given_once(self, phrases: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match=r"is empty|given twice"):
            SurrogateOptions(phrases=phrases)

    def test_the_penalty_is_above_0_or_by_cross_validation(self) -> None:
        assert SurrogateOptions(penalty="cv").penalty == "cv"
        with pytest.raises(ValueError, match="above 0, or cv"):
            SurrogateOptions(penalty=0)

    def test_each_kind_of_evidence_names_its_helpers(self) -> None:
        assert uses(SurrogateOptions()) == ("image-text",)
        assert uses(SurrogateOptions(evidence="factorial")) == ("image-text?", "generator?")
        assert "generator" in uses(SurrogateOptions(evidence="edited"))


class Reviews:
    """A data set of texts of two classes."""

    modality = "text"
    classes = ("praise", "blame")
    notes: tuple[str, ...] = ()

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        things, word = ("soup", "room", "view"), {"praise": "lovely", "blame": "dreadful"}[cls]
        texts = tuple(f"the {things[i % 3]} was {word} on day {'abcde'[i % 5]}" for i in range(n))
        return Samples("text", texts, tuple(f"{cls}/{split}/{i}" for i in range(n)))


@pytest.mark.parametrize("kind", ["observed", "factorial"])
def test_texts_are_explained_by_the_words_that_occur(tmp_path: Path, kind: Any, monkeypatch: Any) -> None:
    def logits(texts: Sequence[str]) -> Tensor:
        first = torch.tensor([2.0 * ("lovely" in t) - 2.0 * ("dreadful" in t) for t in texts])
        return torch.stack([first, torch.zeros(len(texts))], 1)

    data = Reviews()
    task = Task(
        classifier=FunctionClassifier(logits, ["praise", "blame"], modality="text"), layer="", target=0,
        samples=data.samples("praise", "explain", 12, 0), seed=0, data=data,
        random_set=lambda n, index, *rest: data.samples("blame", "train", n, index),
        vocabulary=("lovely", "dreadful", "soup", "room", "zeppelin"), workdir=tmp_path,
    )  # fmt: skip
    asked, read = counted(monkeypatch, task.classifier)
    made = Surrogate(SurrogateOptions(evidence=kind, pool=60, drawings=200, permutations=199)).explain(task)
    assert (made.cost.forwards, made.cost.generated) == (sum(asked), 0 if kind == "observed" else 200)
    assert len(set(read)) == len(read)
    assert {c.name for c in made.concepts} == {"lovely", "dreadful", "soup", "room"}
    assert made.concepts[0].name == "lovely"
    assert made.concepts[0].samples is not None
    assert "lovely" in made.concepts[0].samples.texts[0]
    assert any("4 of 5 phrases occur in 5 or more of 60 texts" in note for note in made.notes)
    edits = Surrogate(SurrogateOptions(evidence="edited"))
    with pytest.raises(NotApplicable, match="these samples are texts"):
        edits.explain(task)
    unknown = Surrogate(SurrogateOptions(evidence=kind, pool=60))
    with pytest.raises(NotApplicable, match=r"no phrase occurs .*name phrases of your own"):
        unknown.explain(replace(task, vocabulary=("zeppelin",)))
    with pytest.raises(MissingError, match=r"surrogate\.phrases"):
        unknown.explain(replace(task, vocabulary=()))


def test_a_file_of_phrases_is_part_of_what_identifies_an_explanation(tmp_path: Path) -> None:
    from xcore_evidence.plugin import vocabulary_fingerprint

    file, digests = tmp_path / "phrases.txt", []
    for text in ("sand\n# no phrase\n", "sand\nmud\n"):
        file.write_text(text)
        digests.append(vocabulary_fingerprint(SurrogateOptions(vocabulary=str(file))))
    assert len(set(digests)) == 2
    assert vocabulary_fingerprint(SurrogateOptions()) == ""
    file.write_text("# nothing\n")
    with pytest.raises(UsageError, match="holds no phrase"):
        vocabulary_fingerprint(SurrogateOptions(vocabulary=str(file)))
