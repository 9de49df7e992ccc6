"""What every generator must keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xcore.base.errors import NotApplicable, UsageError
from xcore.contract.samples import Samples
from xcore.pretrained.drawing import ABILITIES
from xcore.testing.checklist import Skipped, check, expect, refused
from xcore.testing.watching import Given, Subject, Watched, watch

if TYPE_CHECKING:
    from xcore.contract.protocols import Generator


STRENGTH = 0.7
"""Of the edits."""


@dataclass
class Drawing(Subject):
    """A generator with the prompts that it is checked on, each of which is drawn with two seeds."""

    generator: Generator
    prompts: tuple[str, ...] = ("angry", "calm", "striped")
    given: Samples | None = None
    """What it drew of the prompts, if that is known already."""
    given_pairs: tuple[Samples, Samples] | None = None

    @property
    def n(self) -> int:
        return len(self.prompts)

    def drawn(self) -> Samples:
        """Each prompt with two seeds."""
        if self.given is None:
            self.given = self.generator.generate([*self.prompts, *self.prompts], range(2 * self.n))
        return self.given

    def pairs(self) -> tuple[Samples, Samples]:
        """Four preferred and four rejected samples of the first prompt, no two of a pair alike."""
        if self.given_pairs is None:
            self.given_pairs = pairs_of(self.generator, self.prompts[0])
        return self.given_pairs

    def watch(self) -> Watched:
        """See what it does beside drawing, adapting and editing, as far as it can."""
        pairs = self.pairs() if "adapt" in self.generator.can else None
        given = Given()
        if pairs is not None:
            given.lent.note("preferred samples", pairs[0])
            given.lent.note("rejected samples", pairs[1])
        whole = self.drawn().take(range(self.n))
        given.lent.note("samples to edit", whole)

        def work() -> None:
            adapter = None
            if pairs is not None:
                adapter, _ = self.generator.adapt(None, *pairs, seed=0, options={"steps": 1})
            self.generator.generate(self.prompts, range(self.n), adapter)
            if "edit" in self.generator.can:
                self.edit(whole, adapter=adapter)

        return watch(work, given)

    def edit(self, given: Samples, prompts: Sequence[str] | None = None, **more: Any) -> Samples:
        """Edit each sample towards one of the prompts."""
        wanted = self.prompts if prompts is None else prompts
        edited: Samples = self.generator.edit(  # type: ignore[attr-defined]
            given, wanted, range(len(wanted)), **{"strength": STRENGTH, **more}
        )
        return edited

    def needs(self, ability: str) -> None:
        """Raise `Skipped` unless the generator says that it has an ability."""
        if ability not in self.generator.can:
            raise Skipped(f"this generator does not say that it can {ability}")


def pairs_of(generator: Generator, prompt: str) -> tuple[Samples, Samples]:
    """Four preferred and four rejected samples of a prompt, no two of a pair alike."""
    for n in (4, 20):  # more only where the first ones are alike, or are texts without words
        drawn = generator.generate([prompt] * 2 * n, [*range(n), *range(20, 20 + n)])
        differ = [i for i in range(n) if drawn.take([i]).digest != drawn.take([i + n]).digest]
        if drawn.modality == "text":
            differ = [i for i in differ if drawn.texts[i] and drawn.texts[i + n]]
        if len(differ) >= 4:
            break
    expect(len(differ) >= 4, "the generator draws the same whatever the seed")
    return drawn.take(differ[:4]), drawn.take([i + n for i in differ[:4]])


@check(
    "generator",
    why="A method asks `can` before anything is drawn; an ability that is not there fails it in the middle.",
    mend="List in `can` what it can do beside drawing, and raise NotApplicable with a hint for the rest.",
)
def it_says_what_it_can_do_and_refuses_the_rest(subject: Drawing) -> None:
    """Its abilities are known ones, and it refuses those that it does not list, in one line."""
    generator = subject.generator
    expect(isinstance(generator.can, frozenset), f"can is a {type(generator.can).__name__}; it must be a frozenset")
    expect(generator.can <= set(ABILITIES), f"can holds {sorted(generator.can)}; known are {', '.join(ABILITIES)}")
    absent = sorted({"adapt", "edit"} - generator.can)
    absent = [ability for ability in absent if hasattr(generator, ability)]
    if not absent:
        return
    preferred, rejected = subject.pairs()
    edit: Any = getattr(generator, "edit", None)
    calls: dict[str, Callable[[], Any]] = {
        "adapt": lambda: generator.adapt(None, preferred, rejected, seed=0, options={}),
        "edit": lambda: edit(preferred, [""] * 4, range(4), strength=STRENGTH),
    }
    for ability in absent:
        try:
            calls[ability]()
        except NotApplicable as error:
            expect(error.hint, f"the error of {ability}() has no hint on what to do")
            expect("\n" not in str(error), f"the error of {ability}() has several lines")
        else:
            expect(False, f"{ability}() is accepted, but {ability!r} is not in can; it must raise NotApplicable")


@check(
    "generator",
    why="Methods and random sets find what was drawn by its ids, prompts and seeds.",
    mend="Give float32 images from 0 to 1 (or stripped texts), one id each, and meta with prompt and seed.",
)
def samples_are_well_formed(subject: Drawing) -> None:
    """What it draws is of its modality and has an id, a prompt and a seed each."""
    drawn, n, prompts = subject.drawn(), subject.n, subject.prompts
    expect(drawn.modality == subject.generator.modality, f"it draws {drawn.modality}s")
    expect(len(drawn) == 2 * n, f"it gives {len(drawn)} samples for {2 * n} prompts")
    expect(len(set(drawn.ids)) == 2 * n, "two samples have one id")
    expect(tuple(drawn.meta.get("prompt", ())) == prompts + prompts, 'meta["prompt"] is not the prompts')
    expect(tuple(drawn.meta.get("seed", ())) == tuple(range(2 * n)), 'meta["seed"] is not the seeds')
    if drawn.modality == "image":
        expect(drawn.images.dtype == torch.float32, f"images are {drawn.images.dtype}; they must be torch.float32")
        least, most = map(float, drawn.images.aminmax())
        expect(0 <= least <= most <= 1, f"images hold values from {least:.6g} to {most:.6g}; they must be from 0 to 1")
    else:
        expect(all(isinstance(t, str) and t == t.strip() for t in drawn.texts), "texts have blanks at an end")


@check(
    "generator",
    why="Pools are drawn in parts and kept; a sample must be the same in whatever batch it is drawn.",
    mend="Seed the noise of each sample by its own seed, and pad nothing that changes it.",
)
def a_sample_does_not_depend_on_its_batch(subject: Drawing) -> None:
    """A prompt and a seed give the same sample, alone or among others."""
    drawn, prompts = subject.drawn(), subject.prompts
    wanted = list(zip([*prompts, *prompts], range(2 * len(prompts)), strict=True))
    back = subject.generator.generate([p for p, _ in wanted[::-1]], [s for _, s in wanted[::-1]])
    expect(back.take(range(len(wanted))[::-1]).digest == drawn.digest, "in reversed order, it draws others")
    expect(back.ids[::-1] == drawn.ids, "in reversed order, the ids are others")
    for i, (prompt, seed) in enumerate(wanted):
        alone = subject.generator.generate([prompt], [seed])
        expect(alone.digest == drawn.take([i]).digest, f"{prompt!r} with seed {seed} is another sample alone")


@check(
    "generator",
    why="A method goes back to earlier adapters, and keeps them beside each other.",
    mend="Return a new Adapter, write to none that was given, and load it for one call only.",
)
def adapters_are_values_and_leave_the_base(subject: Drawing) -> None:
    """Adapting gives a new value that depends on its seed alone, and the original model still draws the same."""
    subject.needs("adapt")
    generator, drawn, prompts = subject.generator, subject.drawn(), subject.prompts
    pairs, n, options = subject.pairs(), subject.n, {"steps": 2}
    one, figures = generator.adapt(None, *pairs, seed=0, options=options)
    expect(all(np.isfinite(v) for v in figures.values()), f"figures of the update are not finite: {dict(figures)}")
    kept = {name: tensor.clone() for name, tensor in one.state.items()}
    tuned = generator.generate(prompts, range(n), one)
    two, _ = generator.adapt(one, *pairs, seed=0, options=options)
    again, _ = generator.adapt(None, *pairs, seed=0, options=options)
    expect(one.digest == again.digest, "adapting again with the same seed gives another adapter")
    expect(one.digest != two.digest, "adapting an adapter further gives the same digest")
    expect(
        all(torch.equal(one.state[name], t) for name, t in kept.items()), "adapting further changed the first adapter"
    )
    expect(generator.generate(prompts, range(n), one).digest == tuned.digest, "the first adapter draws others now")
    base = generator.generate([*prompts, *prompts], range(2 * n))
    expect(base.digest == drawn.digest, "without an adapter, it draws others than before")
    expect(base.ids == drawn.ids, "without an adapter, the ids are others than before")
    expect(set(base.ids).isdisjoint(tuned.ids), "drawings by an adapter have the ids of those without")


@check(
    "generator",
    why="What is edited is compared with what was given, by its ids and its size.",
    mend="Give one edited sample for each given one, of its size, with prompt, seed and edited in meta.",
)
def edited_samples_are_well_formed(subject: Drawing) -> None:
    """Edited samples are of the size of the given ones, changed, and their ids say what was edited by what."""
    subject.needs("edit")
    prompts, n = subject.prompts, subject.n
    given = subject.drawn().take(range(n))
    edited = subject.edit(given)
    expect(edited.modality == subject.generator.modality, f"edited samples are {edited.modality}s")
    expect(len(edited) == len(set(edited.ids)) == n, f"it gives {len(edited)} edited samples of {n}, or equal ids")
    expect(set(edited.ids).isdisjoint(given.ids), "edited samples have ids of the given ones")
    for key, wanted in (("prompt", prompts), ("seed", tuple(range(n))), ("edited", given.ids)):
        expect(edited.meta.get(key) == wanted, f"meta[{key!r}] is {edited.meta.get(key)!r}; it must be {wanted!r}")
    expect(edited.images.shape == given.images.shape, f"edited images have shape {tuple(edited.images.shape)}")
    least, most = map(float, edited.images.aminmax())
    expect(0 <= least <= most <= 1, f"edited images hold values from {least:.6g} to {most:.6g}")
    expect(edited.digest != given.digest, "editing changes nothing")
    smaller = Samples("image", given.images[..., 1:, 3:], given.ids)
    expect(subject.edit(smaller).images.shape == smaller.images.shape, "images of another size do not keep it")
    ids = [edited.ids, subject.edit(given, strength=1).ids, subject.edit(given, prompts[::-1]).ids]
    several = len({i for each in ids for i in each})
    expect(several >= 3 * n - 1, "ids do not say what was edited by what: other prompts and strengths give equal ids")


@check(
    "generator",
    why="Edits are made in batches of whatever size fits into memory.",
    mend="Seed the noise of each sample by its own seed.",
)
def an_edit_does_not_depend_on_its_batch(subject: Drawing) -> None:
    """A sample is edited in the same way alone or among others, with and without a mask."""
    subject.needs("edit")
    n, drawn = subject.n, subject.drawn()
    given, masks = drawn.take(range(n)), torch.zeros(n, *drawn.images.shape[-2:])
    masks[:, : masks.shape[1] // 2] = 1
    for where in (None, masks):
        edited = subject.edit(given, masks=where)
        for i in range(n):
            own = None if where is None else where[i : i + 1]
            alone = subject.generator.edit(  # type: ignore[attr-defined]
                given.take([i]), [subject.prompts[i]], [i], strength=STRENGTH, masks=own
            )
            expect(alone.digest == edited.take([i]).digest, f"sample {i} is edited otherwise alone")
            expect(alone.ids == edited.ids[i : i + 1], f"sample {i} has another id alone")


@check(
    "generator",
    why="A mistake in a call must not become a picture.",
    mend="Raise UsageError in one line (`xcore.pretrained` has the checks).",
)
def edits_that_do_not_fit_are_refused(subject: Drawing) -> None:
    """A strength outside (0, 1] and masks, prompts or samples of another number are refused."""
    subject.needs("edit")
    prompts, n = subject.prompts, subject.n
    given = subject.drawn().take(range(n))
    masks = torch.ones(n, *given.images.shape[-2:])
    wrong: list[dict[str, Any]] = [
        *({"strength": strength} for strength in (0, -0.1, 1.1, float("nan"))),
        {"masks": masks[1:]},
        {"masks": masks[:, 1:]},
        {"negatives": ["one too many", *prompts]},
    ]
    for more in wrong:
        name, value = next(iter(more.items()))
        shown = tuple(value.shape) if isinstance(value, torch.Tensor) else value
        with refused(f"an edit with {name} {shown}", UsageError):
            subject.edit(given, **more)
    for few in (given.take([0]), given.take([])):
        with refused(f"an edit of {len(few)} samples by {n} prompts", UsageError):
            subject.edit(few)


@check(
    "generator",
    why="A list that is one short would give the wrong seed to every later prompt.",
    mend="Raise UsageError where there are no prompts, or not as many seeds.",
)
def prompts_and_seeds_must_pair_up(subject: Drawing) -> None:
    """Two prompts with one seed, and no prompts at all, are refused."""
    with refused("two prompts with one seed", UsageError):
        subject.generator.generate(["one", "two"], [0])
    with refused("no prompts", UsageError):
        subject.generator.generate([], [])
