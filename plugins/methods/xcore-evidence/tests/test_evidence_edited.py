"""Evidence by editing: what edits show and what they ask for, shared edits, few pictures, and what cannot be tried."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from xcore_evidence.edited import LEAST, edited, edits_read

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.models.classifiers import FunctionClassifier
from xcore.store.run_directory import Artifacts

PHRASES = ("sand", "snow", "stripes", "spots", "grass", "ghost")
K = len(PHRASES)
SMALL: dict[str, Any] = {"edits": 160, "permutations": 999}


class Retoucher:
    """A generator that lights up a column of a picture for each phrase of the prompt; it cannot paint ghosts."""

    modality = "image"
    fingerprint = "retoucher"

    def __init__(self, can: Sequence[str] = ("edit",), beyond: float = 0.0) -> None:
        self.can, self.beyond, self.edits = frozenset(can), beyond, 0

    def generate(self, prompts: Any, seeds: Any, adapter: Any = None) -> Samples:
        raise AssertionError("nothing is to be drawn anew")

    def edit(self, samples: Samples, prompts: Sequence[str], seeds: Sequence[int], *, strength: float) -> Samples:
        self.edits += len(prompts)
        made = []
        for picture, prompt, seed in zip(samples.images, prompts, seeds, strict=True):
            lit = torch.tensor([float(p in prompt.split(", ") and p != "ghost") for p in PHRASES])
            noise = torch.rand(1, generator=torch.Generator().manual_seed(seed)) - 0.5
            made.append((1 - strength) * picture + strength * lit + 0.1 * noise + self.beyond)
        return Samples("image", torch.stack(made), tuple(f"e/{i}" for i in range(len(made))))


class Reader:
    """An image-text model that reads which columns are lit (see the tests of drawn scenes)."""

    name = "reader"

    def embed_images(self, images: Samples) -> Tensor:
        return torch.cat([images.images.mean((1, 2)), torch.full((len(images), 1), 10.0)], 1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([torch.tensor([*(float(p == t) for p in PHRASES), 0.0]) for t in texts])


def pictures(n: int, seed: int) -> Samples:
    columns = torch.rand(n, 1, 1, K, generator=torch.Generator().manual_seed(seed))
    return Samples("image", columns.expand(n, 3, 4, K).clone(), tuple(f"{seed}/{i}" for i in range(n)))


class Zoo:
    """A data set of two classes that has these pictures of each for methods."""

    modality = "image"
    classes = ("thing", "other")

    def __init__(self, pictures: Samples) -> None:
        self.pictures = pictures

    def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
        return self.pictures.take(slice(n if split == "train" else 0))


def black_box(together: float = 0.0, **weights: float) -> FunctionClassifier:
    """Logits of the thing: a weighted sum of columns, and the product of sand and stripes."""

    def logits(images: Tensor) -> Tensor:
        columns = images.mean((1, 2))
        first = columns @ torch.tensor([weights.get(p, 0.0) for p in PHRASES])
        first = first + together * columns[:, 0] * columns[:, 2]
        return torch.stack([first, torch.zeros_like(first)], 1)

    return FunctionClassifier(logits, ["thing", "other"])


def make_task(tmp_path: Path, n: int = 300, **given: Any) -> Task:
    models = given.pop("models", {"image-text": Reader()})
    own = {
        "classifier": black_box(stripes=6, grass=-6),
        "samples": pictures(6, 0),
        "random_set": lambda n, index, *rest: pictures(n, 100 + index),
        "generator": Retoucher(),
        "data": Zoo(pictures(n, 7)),
        "seed": 1,
        **given,
    }
    return Task(
        layer="", target=0, model=lambda role: models[role], roles=tuple(models),
        artifact=Artifacts(tmp_path / "artifacts").get, **own,
    )  # fmt: skip


def test_a_black_box_is_known_by_what_edits_show_and_by_what_they_change(tmp_path: Path) -> None:
    found = edited(make_task(tmp_path), PHRASES, **SMALL)
    assert (found.kind, found.n, found.penalty) == ("edited", 160, 0.3)
    assert "what edited pictures of the class show" in found.says
    assert [e.mark for e in found.estimates] == [0, 0, 1, 0, -1, 0]
    assert PHRASES[found.ranked()[0]] == "stripes"
    d = found.of("stripes").details
    assert (d["shown_effect"], d["prompt_p"]) == (found.of("stripes").effect, 0.001)
    # towards stripes a column goes from its share of the picture to that and .6; the mean over all phrases is taken off
    assert d["prompt_effect"] == pytest.approx(6 * 0.6, abs=0.4)
    assert found.of("ghost").details["drawn_as_asked"] < 0.2 < 0.5 < d["drawn_as_asked"]
    assert any("not shown more by edited pictures" in note and note.endswith(": ghost") for note in found.notes)
    assert "160 pictures of the class were edited, each once" in found.notes


def test_the_margin_before_the_edit_is_taken_off_for_the_effect_of_the_prompt(tmp_path: Path) -> None:
    """Pictures that are far apart in the margin, whatever is edited: only what the edit changes counts."""

    class AllButTheLast(Retoucher):
        def edit(self, samples: Samples, *rest: Any, **more: Any) -> Samples:
            images = super().edit(samples, *rest, **more).images.clone()
            images[..., -1] = samples.images[..., -1]
            return Samples("image", images, samples.ids)

    given = pictures(300, 7)
    exact = Samples("image", (given.images * 255).round() / 255, given.ids)  # edits are kept with 8 bits
    task = make_task(
        tmp_path, models={}, generator=AllButTheLast(), data=Zoo(exact), classifier=black_box(stripes=6, ghost=1000)
    )
    stripes = edited(task, PHRASES, **SMALL).of("stripes")
    assert stripes.effect == pytest.approx(6 * 0.6 * 5 / 6, abs=0.3), "above the mean over six phrases"
    assert stripes.error < 1 < 1000 / 12**0.5 / 160**0.5, "far below that of margins after the edit"


def test_without_an_image_text_model_only_the_prompts_count(tmp_path: Path) -> None:
    found = edited(make_task(tmp_path, models={}), PHRASES, **SMALL)
    assert "effect of the edit" in found.says
    assert [e.mark for e in found.estimates] == [0, 0, 1, 0, -1, 0]
    assert all(e.effect == e.details["prompt_effect"] and e.p == e.details["prompt_p"] for e in found.estimates)
    assert "what the edited pictures show was not read: no model of the role image-text is named" in found.notes


def test_a_shortcut_that_matters_only_together_with_the_class_is_found(tmp_path: Path) -> None:
    """Sand counts only where there are stripes, and all pictures of the class have them."""
    striped = pictures(300, 7)
    striped.images[..., 2] = 1
    found = edited(make_task(tmp_path, data=Zoo(striped), classifier=black_box(together=9)), PHRASES, **SMALL)
    assert found.of("sand").mark == 1


def test_other_classifiers_on_the_same_pictures_edit_nothing_again_and_more_edits_begin_alike(tmp_path: Path) -> None:
    generator = Retoucher()
    edited(make_task(tmp_path, generator=generator), PHRASES, edits=200, permutations=99)
    assert generator.edits == 200
    other = edited(
        make_task(tmp_path, generator=generator, classifier=black_box(snow=5)), PHRASES, edits=200, permutations=99
    )
    assert generator.edits == 200
    assert PHRASES[other.ranked()[0]] == "snow"
    fewer = edits_read(make_task(tmp_path, generator=generator), PHRASES, 100, 2, 0.6)
    assert generator.edits == 200
    assert fewer.asked.sum(1).eq(2).all()
    edits_read(make_task(tmp_path, generator=generator, seed=5), PHRASES, 100, 2, 0.6)
    assert generator.edits == 300, "another seed has other noise and other prompts"
    edits_read(make_task(tmp_path, generator=generator), PHRASES, 100, 2, 0.5)
    assert generator.edits == 400, "and so has another strength"


def test_each_picture_is_used_once_before_any_is_used_again_and_then_errors_heed_it(tmp_path: Path) -> None:
    made = edits_read(make_task(tmp_path, n=40), PHRASES, 160, 2, 0.6)
    assert made.given is not None
    assert len(made.given) == 40
    assert made.source == tuple(range(40)) * 4
    found = edited(make_task(tmp_path, n=40), PHRASES, **SMALL)
    assert any(note.startswith("40 pictures of the class were edited, 160 times in all") for note in found.notes)
    assert [e.mark for e in found.estimates] == [0, 0, 1, 0, -1, 0]
    none = make_task(tmp_path, n=0, samples=pictures(12, 0))
    assert edits_read(none, PHRASES, 60, 2, 0.6).source[11:13] == (11, 0), (
        "the explained pictures, if there are no others"
    )


def test_edits_outside_of_the_range_of_pictures_are_cut_off_when_they_are_kept(tmp_path: Path) -> None:
    made = edits_read(make_task(tmp_path, generator=Retoucher(beyond=0.5)), PHRASES, 20, 2, 0.6)
    assert float(made.samples.images.max()) == 1.0
    assert float(made.samples.images.min()) >= 0.4  # nothing begins at 0 again


def test_what_cannot_be_tried_says_what_to_do(tmp_path: Path) -> None:
    generator = Retoucher()
    with pytest.raises(MissingError, match=r"needs a generator that can edit .*name a diffusion pipeline"):
        edited(make_task(tmp_path, generator=None), PHRASES)
    with pytest.raises(NotApplicable, match=r"can edit samples, and this generator cannot .*observed evidence"):
        edited(make_task(tmp_path, generator=Retoucher(can=())), PHRASES)
    texts = make_task(tmp_path, samples=Samples("text", ("a", "b", "c"), ("1", "2", "3")))
    with pytest.raises(NotApplicable, match=r"these samples are texts .*factorial"):
        edited(texts, PHRASES)
    with pytest.raises(NotApplicable, match=rf"needs {LEAST} pictures of the class, and there is 1 .*give more"):
        edited(make_task(tmp_path, n=1, generator=generator), PHRASES)
    with pytest.raises(NotApplicable, match=r"need two phrases or more, and there is 1 .*name more phrases"):
        edited(make_task(tmp_path), PHRASES[:1])
    with pytest.raises(NotApplicable, match=r"15 edits are too few for 6 phrases: at least 17 .*ask for more edits"):
        edited(make_task(tmp_path, generator=generator), PHRASES, edits=15)
    assert not generator.edits, "known before anything is edited"
