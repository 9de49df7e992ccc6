"""What every data set must keep, of images and texts alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from xcore.base.errors import MissingError, UsageError
from xcore.contract.types import Split
from xcore.testing.checklist import Skipped, check, expect, refused
from xcore.testing.watching import Given, Subject, Watched, watch

if TYPE_CHECKING:
    from xcore.contract.protocols import Dataset

MANY = 200
"""More samples than many have of a class, which they note, and so few that drawing or loading them is quick."""


@dataclass
class Supplying(Subject):
    """A data set."""

    data: Dataset

    def watch(self) -> Watched:
        """See what it does beside drawing some samples."""
        return watch(lambda: self.data.samples(None, "explain", 3, 0), Given())


@check(
    "dataset",
    why="What methods see must not be what metrics hold out.",
    mend="Divide the data once, by something that does not depend on the seed.",
)
def splits_share_no_sample(subject: Supplying) -> None:
    """Every split has samples, and none is in two of them."""
    seen: dict[str, str] = {}
    for split in get_args(Split):
        x = subject.data.samples(None, split, 100, 0)
        expect(len(x), f"split {split!r} has no samples")
        for i in range(len(x)):
            one = x.take([i])
            for key in (one.ids[0], one.digest):
                where = seen.setdefault(key, split)
                expect(where == split, f"{one.ids[0]} is in {where} and {split}")


@check(
    "dataset",
    why="The same cell must be given the same samples in every run.",
    mend="Draw by numpy.random.default_rng(seed), from a sorted list.",
)
def the_seed_decides_the_draw(subject: Supplying) -> None:
    """The same seed gives the same samples, none of them twice."""
    cls = subject.data.classes[0]
    one, two = (subject.data.samples(cls, "train", 5, seed=3) for _ in range(2))
    expect(one.ids == two.ids, "the same seed gives other ids")
    expect(one.digest == two.digest, "the same seed gives other samples")
    expect(len(set(one.ids)) == len(one), "a sample is drawn twice")


@check(
    "dataset",
    why="A class with samples of another is explained as what it is not.",
    mend="Give samples of the class that is asked for, with labels as indices into `classes`.",
)
def samples_are_of_their_class_and_kind(subject: Supplying) -> None:
    """Samples of a class have its label and the modality of the data set, and are no more than asked for."""
    data = subject.data
    for index, cls in enumerate(data.classes):
        x = data.samples(cls, "train", 4, 0)
        expect(
            x.modality == data.modality,
            f"samples of {cls!r} are {x.modality}s, and the data set holds {data.modality}s",
        )
        expect(0 < len(x) <= 4, f"it gives {len(x)} samples of {cls!r} where 4 are asked for")
        if x.labels is not None:
            expect(x.labels.tolist() == [index] * len(x), f"samples of {cls!r} have the labels {x.labels.tolist()}")


@check(
    "dataset",
    why="Methods that test concepts ask for samples of each.",
    mend="List in `concepts` only what `concept` gives samples of.",
)
def concepts_can_be_drawn(subject: Supplying) -> None:
    """There are samples of every concept that it lists."""
    if not subject.data.concepts:
        raise Skipped("it lists no concepts")
    for name in subject.data.concepts:
        n = len(subject.data.concept(name, 2, 0))
        expect(0 < n <= 2, f"it gives {n} samples of the concept {name!r} where 2 are asked for")


@check(
    "dataset",
    why="A misspelt class must not become another one, or an empty set.",
    mend="Raise UsageError with the nearest name (`xcore.contract.unknown`).",
)
def unknown_names_are_refused(subject: Supplying) -> None:
    """A class and a concept that are not there are refused by name."""
    with refused("an unknown class", UsageError, says="no such class"):
        subject.data.samples("no such class", "train", 1, 0)
    with refused("an unknown concept", UsageError, MissingError, says="no such concept"):
        subject.data.concept("no such concept", 1, 0)


@check(
    "dataset",
    why="Names and notes are printed, one line each.",
    mend="Give tuples of strings: ('one note',), not 'one note'.",
)
def what_it_tells_is_plain_text(subject: Supplying) -> None:
    """Classes, concepts, vocabulary, skipped inputs and notes are tuples of strings."""
    data = subject.data
    data.samples(data.classes[0], "train", MANY, 0)  # what is skipped or noted is told once samples were read
    for name in ("classes", "concepts", "vocabulary", "skipped", "notes"):
        lines = getattr(data, name)
        expect(not isinstance(lines, str), f"{name} is one string; it must be a tuple of strings")
        expect(all(isinstance(line, str) for line in lines), f"{name} holds what is no string")
