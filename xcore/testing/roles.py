"""What every helper model must keep: the protocol of each role that it plays (see `xcore.contract.roles`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from xcore.contract.samples import Samples
from xcore.testing.checklist import Skipped, check, expect
from xcore.testing.watching import Given, Subject, Watched, watch

METHODS: Mapping[str, tuple[str, ...]] = {
    "image-text": ("embed_images", "embed_texts"),
    "image-embedder": ("embed",),
    "text-embedder": ("embed",),
    "vqa": ("answer",),
    "captioner": ("caption",),
    "text-decoder": ("loss", "remarks", "sample"),
    "segmenter": ("segment",),
    "localiser": ("locate",),
    "factor-oracle": ("factors",),
}
"""Role -> what its models are asked. A role of a plugin's own is known to that plugin only."""
TEXTS = ("a red stripe", "a blue blob", "grass")


@dataclass
class Helping(Subject):
    """A helper model with the role that it is checked in."""

    model: Any
    role: str
    images: Samples
    texts: Sequence[str] = TEXTS

    def watch(self) -> Watched:
        """See what it answers, and what it does beside."""
        if self.role not in METHODS:
            raise Skipped(f"the role {self.role!r} is of a plugin's own; only that plugin knows what it is asked")
        given = Given({"the model": ("model", self.model)})
        given.lent.note("images", self.images)
        return watch(lambda: ASKED[self.role](self), given)


def _rows(made: Any, n: int, what: str) -> Any:
    expect(isinstance(made, torch.Tensor), f"{what} gives a {type(made).__name__}; it must be a tensor")
    expect(made.ndim == 2 and len(made) == n, f"{what} gives shape {tuple(made.shape)} for {n} samples; (n, d) is due")
    expect(made.is_floating_point() and bool(made.isfinite().all()), f"{what} gives numbers that are not finite floats")
    expect(not made.requires_grad, f"{what} gives a tensor with a gradient")
    return made.tolist()


def _texts(made: Any, n: int, what: str) -> Any:
    expect(
        isinstance(made, list) and len(made) == n,
        f"{what} gives {type(made).__name__} of {len(made)}; a list of {n} is due",
    )
    expect(all(isinstance(line, str) for line in made), f"{what} gives what is no string")
    return made


def _image_text(subject: Helping) -> Any:
    pictures = _rows(subject.model.embed_images(subject.images), len(subject.images), "embed_images()")
    phrases = _rows(subject.model.embed_texts(subject.texts), len(subject.texts), "embed_texts()")
    expect(len(pictures[0]) == len(phrases[0]), f"images have {len(pictures[0])} numbers, and texts {len(phrases[0])}")
    return [pictures, phrases]


def _image_embedder(subject: Helping) -> Any:
    return _rows(subject.model.embed(subject.images), len(subject.images), "embed()")


def _text_embedder(subject: Helping) -> Any:
    texts = Samples("text", tuple(subject.texts), tuple(f"text/{i}" for i in range(len(subject.texts))))
    return _rows(subject.model.embed(texts), len(texts), "embed()")


def _vqa(subject: Helping) -> Any:
    questions = ["what is it?"] * len(subject.images)
    return _texts(subject.model.answer(subject.images, questions), len(questions), "answer()")


def _captioner(subject: Helping) -> Any:
    n = len(subject.images)
    return _texts(subject.model.caption(subject.images, range(n)), n, "caption()")


def _text_decoder(subject: Helping) -> Any:
    model, n = subject.model, 2
    for name in ("name", "fingerprint"):
        value = getattr(model, name, None)
        expect(isinstance(value, str) and value, f"{name} is {value!r}; it must be a string that is not empty")
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(n, model.tokens, model.width, generator=rng).requires_grad_()
    with torch.enable_grad():
        loss = model.loss(states, subject.texts[:n])
        expect(tuple(loss.shape) == (n,), f"loss() has shape {tuple(loss.shape)}; it must have ({n},)")
        expect(loss.requires_grad, "loss() is not differentiable in the states")
        slope = torch.autograd.grad(loss.sum(), states)[0]
    expect(slope.isfinite().all(), "the gradient of loss() is not finite")
    remarks = model.remarks(subject.texts, n)
    expect(not isinstance(remarks, str), "remarks() gives one string; it must give a list of strings")
    drawn = model.sample(states.detach(), 3, 0)
    expect(len(drawn) == n and all(len(row) == 3 for row in drawn), "sample() must give 3 sentences for each row")
    return [loss.tolist(), drawn]


def _segmenter(subject: Helping) -> Any:
    made = subject.model.segment(subject.images.images[0])
    expect(isinstance(made, torch.Tensor), f"segment() gives a {type(made).__name__}; it must be a tensor")
    size = tuple(subject.images.images.shape[-2:])
    fits = made.dtype == torch.bool and made.ndim == 3 and tuple(made.shape[1:]) == size
    expect(fits, f"segment() gives {made.dtype} of shape {tuple(made.shape)}; bool (n, {size[0]}, {size[1]}) is due")
    expect(len(made) and made.flatten(1).any(1).all(), "segment() gives no segment, or an empty one")
    return made.tolist()


def _localiser(subject: Helping) -> Any:
    images = subject.images
    made = subject.model.locate(images, images.take([0, 1]))
    wanted = (len(images), *images.images.shape[-2:])
    expect(tuple(made.shape) == wanted, f"locate() has shape {tuple(made.shape)}; it must have {wanted}")
    expect(0 <= float(made.min()) <= float(made.max()) <= 1, "locate() gives values outside 0 to 1")
    return made.tolist()


def _factor_oracle(subject: Helping) -> Any:
    made = subject.model.factors(subject.images)
    for factor, values in made.items():
        expect("none" in values, f"the factor {factor!r} has no value 'none'")
        for value, chance in values.items():
            fits = (
                tuple(chance.shape) == (len(subject.images),) and 0 <= float(chance.min()) <= float(chance.max()) <= 1
            )
            expect(fits, f"{factor}={value} is no probability for each image")
    return {factor: {value: chance.tolist() for value, chance in values.items()} for factor, values in made.items()}


ASKED: Mapping[str, Callable[[Helping], Any]] = {
    "image-text": _image_text,
    "image-embedder": _image_embedder,
    "text-embedder": _text_embedder,
    "vqa": _vqa,
    "captioner": _captioner,
    "text-decoder": _text_decoder,
    "segmenter": _segmenter,
    "localiser": _localiser,
    "factor-oracle": _factor_oracle,
}


@check(
    "model",
    why="Methods call the functions of the role; one that is not there fails every cell.",
    mend="Give the functions that `xcore.contract.roles` lists for the role.",
)
def it_has_the_functions_of_its_role(subject: Helping) -> None:
    """It has every function of its role."""
    if subject.role not in METHODS:
        raise Skipped(f"the role {subject.role!r} is of a plugin's own; only that plugin knows what it is asked")
    absent = [name for name in METHODS[subject.role] if not callable(getattr(subject.model, name, None))]
    expect(not absent, f"as {subject.role}, it has no function {', '.join(absent)}")


@check(
    "model",
    why="Whoever calls it relies on shapes, types and ranges.",
    mend="Give what `xcore.contract.roles` writes beside the function.",
)
def its_answers_are_as_the_role_says(subject: Helping) -> None:
    """What it answers has the shape, type and range of its role."""
    subject.watched().result()


@check(
    "model",
    why="A result that cannot be repeated cannot be checked.",
    mend="Put networks into evaluation mode, and draw by the given seeds only.",
)
def its_answers_repeat(subject: Helping) -> None:
    """Asked the same again, it answers the same."""
    one = subject.watched().result()
    expect(ASKED[subject.role](subject) == one, "the second answer is another one")
