"""Drawn pictures get the size of the pictures of the class, as if they were files of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from xcore.contract import Adapter, Generator, Samples
from xcore.inputs.everyday import EVERYDAY, GROUPS
from xcore.inputs.images import Framing, read_picture
from xcore.run.drawing import AT_ONCE, FramedGenerator, drawn_phrases, framing_like


class Noise:
    """A generator of noise, 40 x 60 pixels, whose latents are the seeds."""

    modality = "image"
    fingerprint = "noise"
    can = frozenset({"adapt", "edit"})

    def __init__(self) -> None:
        self.calls: list[int] = []

    def generate(self, prompts, seeds, adapter=None):
        self.calls.append(len(prompts))
        images = torch.stack([torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(s)) for s in seeds])
        meta = {"prompt": tuple(prompts), "latents": torch.tensor(seeds).float()[:, None], "made": "by noise"}
        return Samples("image", images, tuple(map(str, seeds)), meta=meta)

    def adapt(self, adapter, preferred, rejected, *, seed, options):
        return Adapter({}, {}, "adapted"), {}

    def edit(self, samples, prompts, seeds, *, strength, masks=None, negatives=None, adapter=None):
        return Samples("image", samples.images * (1 - strength), tuple(f"edited/{i}" for i in samples.ids))

    def remarks(self, prompts):
        return [f"{len(prompts)} prompts"]


def of(size: tuple[int, int]) -> Samples:
    return Samples("image", torch.zeros(1, 3, *size), ("a",))


@pytest.mark.parametrize("framing", [Framing((16, 16), 20), Framing((16, 24), 16, "bilinear")])
def test_drawn_pictures_are_those_that_a_folder_of_them_would_give(framing: Framing, tmp_path: Path) -> None:
    inner = Noise()
    raw = inner.generate(["x"], [3]).images[0]
    Image.fromarray((raw * 255).round().byte().permute(1, 2, 0).numpy()).save(tmp_path / "x.png")
    drawn = FramedGenerator(inner, framing_like(of(framing.size), framing)).generate(["x"], [3])
    assert torch.equal(drawn.images[0], read_picture(tmp_path / "x.png", framing))
    assert float(drawn.meta["latents"]) == 3, "tuning uses the latents of the whole picture"


def test_pictures_of_that_size_stay_as_they_are() -> None:
    inner = Noise()
    drawn = FramedGenerator(inner, framing_like(of((40, 60)), Framing((224, 224), 256))).generate(["x"], [3])
    assert torch.equal(drawn.images, inner.generate(["x"], [3]).images)
    assert framing_like(Samples("text", ("a",), ("a",)), None) is None


def test_many_are_drawn_in_parts_and_are_the_same_as_alone() -> None:
    inner = Noise()
    generator = FramedGenerator(inner, Framing((8, 8), 8))
    n = AT_ONCE + 3
    drawn = generator.generate([f"p{i % 4}" for i in range(n)], range(n))
    assert inner.calls == [AT_ONCE, 3]
    assert drawn.ids == tuple(map(str, range(n)))
    assert drawn.meta["prompt"][-1] == f"p{(n - 1) % 4}"
    assert drawn.meta["latents"][:, 0].tolist() == list(range(n))
    assert drawn.meta["made"] == "by noise"
    assert torch.equal(drawn.images[-1], generator.generate(["p"], [n - 1]).images[0])


def test_all_else_is_that_of_the_generator() -> None:
    generator = FramedGenerator(Noise(), Framing((8, 8), 8))
    assert isinstance(generator, Generator)
    assert generator.fingerprint == "noise"
    assert generator.adapt(None, of((8, 8)), of((8, 8)), seed=0, options={})[0].digest == "adapted"
    assert not hasattr(generator, "probe")
    for prompts in (["a"], ["b", "a"]):
        generator.generate(prompts, range(len(prompts)))
    assert generator.notes == ("2 prompts",)
    edited = generator.edit(of((10, 12)), ["c"], [0], strength=0.5)
    assert edited.images.shape == (1, 3, 10, 12), "edited pictures keep the size that they have"
    assert generator.notes == ("3 prompts",)


def test_without_a_vocabulary_everyday_attributes_are_drawn() -> None:
    assert drawn_phrases((), "image") == EVERYDAY
    assert drawn_phrases(("a", "b"), "image") == ("a", "b")
    assert drawn_phrases((), "text") == EVERYDAY


def test_a_few_everyday_attributes_are_of_every_kind() -> None:
    assert 100 <= len(EVERYDAY) <= 150
    assert len({phrase.lower() for phrase in EVERYDAY}) == len(EVERYDAY)
    for start in range(0, len(EVERYDAY), len(GROUPS)):
        few = EVERYDAY[start : start + len(GROUPS)]
        assert [kind for kind, phrases in GROUPS.items() if set(phrases) & set(few)] == list(GROUPS)
