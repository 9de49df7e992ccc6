"""What every rendering of random sets must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xcore.contract.samples import Samples
from xcore.testing.checklist import check, expect
from xcore.testing.watching import Given, Subject, Watched, watch


@dataclass
class Rendering(Subject):
    """A rendering with samples to render."""

    render: Callable[[Samples, str, Any], Samples]
    samples: Samples
    how: str = ""

    def watch(self) -> Watched:
        """See what it gives twice of the same rng, and what it does beside."""
        given = Given()
        given.lent.note("samples", self.samples)

        def work() -> list[str]:
            return [self.render(self.samples, self.how, np.random.default_rng(3)).digest for _ in range(2)]

        return watch(work, given)


@check(
    "rendering",
    why="A random set of another size or kind is no counterpart of a concept's samples.",
    mend="Return as many samples as were given, of the same modality, with images in [0, 1].",
)
def it_gives_as_many_samples(subject: Rendering) -> None:
    """It gives one rendered sample for each, of the same kind."""
    made = subject.render(subject.samples, subject.how, np.random.default_rng(0))
    expect(isinstance(made, Samples), f"it gives a {type(made).__name__}; it must give Samples")
    expect(len(made) == len(subject.samples), f"it gives {len(made)} samples of {len(subject.samples)}")
    expect(made.modality == subject.samples.modality, f"it gives {made.modality}s of {subject.samples.modality}s")
    if made.modality == "image":
        least, most = map(float, made.images.aminmax())
        expect(0 <= least <= most <= 1, f"images hold values from {least:.6g} to {most:.6g}; they must be from 0 to 1")


@check(
    "rendering",
    why="The same random set is asked for again by every method and metric.",
    mend="Draw from the given rng only, and write to copies.",
)
def it_repeats(subject: Rendering) -> None:
    """The same rng gives the same."""
    one, two = subject.watched().result()
    expect(one == two, "the same rng gives other samples")
