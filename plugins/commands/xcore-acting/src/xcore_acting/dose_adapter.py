"""Doses by a slider: a generator is tuned towards a phrase once, and the change of its weights is scaled.

After Gandikota et al., Concept Sliders: LoRA Adaptors for Precise Control in Diffusion Models, ECCV 2024, with the
preference updates of a generator instead of their loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xcore.contract import Adapter, Generator, MissingError, NotApplicable, Samples, Task, digest
from xcore.pretrained.adapters import load_adapter, save_adapter, scaled
from xcore.pretrained.drawing import check_can
from xcore_acting.dose import DOSES, Dosed, answered, dosed, gap_size, tables

DRAWN = 40
"""Drawings at each dose."""
PAIRS, UPDATES = 16, 10
"""Pairs of drawings that the generator is tuned by, and how often it is updated."""
FILE = "adapter.safetensors"
SAYS = (
    "margin of drawings of the class by the scaled slider, less that of drawings of the same noise by a slider that "
    "was tuned as long without a direction"
)


def check_generator(generator: Generator | None) -> Generator:
    """The generator, if it can be tuned.

    Raises
    ------
    MissingError
        There is none.
    NotApplicable
        It cannot be adapted.
    """
    if generator is None:
        raise MissingError("doses by an adapter need a generator that can be adapted", "name one with --generator REF")
    check_can(generator, "adapt", "--dose-by adapter", "give doses by edits: --dose-by edit")
    return generator


def sliding(task: Task, at_most: int | None = None, options: Mapping[str, Any] | None = None) -> Callable[[str], Dosed]:
    """What gives the answers to doses of a phrase by a slider; what is the same for all phrases is done once.

    The generator draws the name of the class, and the name with the phrase. It is updated to prefer the latter under
    the prompt of the former, and the change of its weights times d draws the dose d: below 0 the phrase is taken away.
    Any change of the weights changes drawings, so that the response is the margin beyond that of a slider that was
    updated as often by the same pairs, half of them turned round: it prefers nothing.

    Parameters
    ----------
    at_most
        Number of drawings at each dose; None = `DRAWN`.
    options
        Options of the generator's updates, as `Generator.adapt` takes them.

    Raises
    ------
    MissingError, NotApplicable
        The generator is not there or cannot be adapted, or texts are explained.
    """
    if task.samples.modality != "image":
        raise NotApplicable("doses by an adapter are of pictures", "words are put into texts: leave --dose-by out")
    generator, gap, n = check_generator(task.generator), gap_size(task), at_most or DRAWN
    name = task.target_name
    seeds, of_pairs = ([_seed(task, what, i) for i in range(m)] for what, m in (("drawn", n), ("pair", PAIRS)))
    without = generator.generate([name] * PAIRS, of_pairs)
    unchanged = generator.generate([name] * n, seeds)

    def of(phrase: str) -> Dosed:
        towards = generator.generate([f"{name}, {phrase}"] * PAIRS, of_pairs)
        own = _slider(task, generator, phrase, towards, without, "towards", options or {})
        none = _slider(task, generator, phrase, *_turned(towards, without), "without a direction", options or {})
        columns, shown = tables()
        for i, d in enumerate(DOSES):
            task.progress(i, len(DOSES), f"{phrase!r} at strength {d:g}")
            made = generator.generate([name] * n, seeds, scaled(own, d)) if d else unchanged
            plain = generator.generate([name] * n, seeds, scaled(none, d)) if d else unchanged
            (m, p), (before, chance) = answered(task, made), answered(task, plain)
            for column, values in zip(columns, (p, chance, (m - before) / gap), strict=True):
                column.append(values)
            shown.append(made.take([0, 1]))
        note = f"sliders: {UPDATES} updates by {PAIRS} pairs of {f'{name}, {phrase}'!r} and {name!r}; drawn is {name!r}"
        return dosed(columns, shown, SAYS, "a slider without a direction", note)

    return of


def _turned(towards: Samples, without: Samples) -> tuple[Samples, Samples]:
    """The same pairs, every second one turned round, so that neither side has the phrase more often."""
    order = [i if i % 2 else i + len(towards) for i in range(len(towards))]
    other = [i + len(towards) if i % 2 else i for i in range(len(towards))]
    both = _joined(towards, without)
    return both.take(order), both.take(other)


def _joined(first: Samples, second: Samples) -> Samples:
    """Drawings below one another, with the meta of both, such as the latents that updates use."""
    import torch

    joined = Samples.concat([first, second])
    meta: dict[str, Any] = {}
    for key in first.meta.keys() & second.meta.keys():
        a, b = first.meta[key], second.meta[key]
        meta[key] = torch.cat([a, b]) if isinstance(a, torch.Tensor) else (*a, *b)
    return replace(joined, meta=meta)


def _slider(
    task: Task,
    generator: Generator,
    phrase: str,
    better: Samples,
    worse: Samples,
    what: str,
    options: Mapping[str, Any],
) -> Adapter:
    """The generator's change after all updates; kept, so that it is tuned once."""
    prompts = (task.target_name,) * len(better)
    pair = [replace(samples, meta={**samples.meta, "prompt": prompts}) for samples in (better, worse)]
    about = {"class": task.target_name, "phrase": phrase, "what": what, "seed": task.seed, "options": dict(options)}

    def make(directory: Path) -> None:
        adapter: Adapter | None = None
        for i in range(UPDATES):
            task.progress(i, UPDATES, f"tuning a slider of {phrase!r} ({what})")
            adapter, _ = generator.adapt(adapter, *pair, seed=_seed(task, what, i), options=options)
        assert adapter is not None
        save_adapter(adapter, directory / FILE)

    key = {"generator": generator.fingerprint, "updates": UPDATES, "pairs": PAIRS, **about}
    return load_adapter(task.artifact("slider", key, make) / FILE)


def _seed(task: Task, what: str, i: int) -> int:
    return int(digest([task.seed, "slider", what, i])[:8], 16)
