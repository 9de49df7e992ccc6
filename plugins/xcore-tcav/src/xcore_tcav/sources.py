"""Where concepts come from: the data set, folders of images, or prompts that the generator draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xcore.errors import MissingError, NotApplicable, UsageError, unknown
from xcore.protocols import Generator, Task
from xcore.samples import Samples
from xcore_tcav.explainer_options import Options
from xcore_tcav.folders import Folders


@dataclass(frozen=True, eq=False)
class Given:
    """One concept before it is scored."""

    name: str
    fitted: Samples
    """What CAVs are fitted on."""
    shown: Samples
    """What the concept shows: images that no CAV was fitted on, or the fitted ones where there are no others."""
    render: str
    drawn: bool = False
    """Whether a generator drew it."""


def gather(task: Task, o: Options) -> tuple[list[Given], list[str]]:
    """The concepts that were asked for, in that order, and notes about them.

    Raises
    ------
    UsageError
        A name that is not there, a concept with fewer than two images, or folders and prompts at once without `source`.
    MissingError
        The source has no concepts, or there is no generator.
    NotApplicable
        The samples of the source are of another kind than the classifier reads.
    """
    source = o.source
    if source == "auto":
        if o.folders and o.prompts:
            raise UsageError("both tcav.folders and tcav.prompts are given", "choose with tcav.source")
        source = "folders" if o.folders else "prompts" if o.prompts else "data"
    take = {"data": _data, "folders": _folders, "prompts": _prompts}[source]
    return take(task, o)


def _data(task: Task, o: Options) -> tuple[list[Given], list[str]]:
    if not len(task.concepts):
        raise MissingError(
            "this data set has no named concepts",
            "give folders of images (tcav.folders=DIR), prompts (tcav.prompts=a,b with --generator REF), "
            "or a data set that has some (for folder: --set folder.concepts=DIR)",
        )
    chosen = _chosen(o, tuple(task.concepts))
    return _given(task, o, chosen, lambda name: task.concepts[name], "as-is")


def _folders(task: Task, o: Options) -> tuple[list[Given], list[str]]:
    if not o.folders:
        raise MissingError("no folder of concept images is named", "tcav.folders=DIR or tcav.folders=NAME=DIR")
    if task.samples.kind != "image":
        raise NotApplicable(f"folders hold images, the classifier reads {task.samples.kind}")
    height, width = task.samples.images.shape[2:]
    folders = Folders(o.folders, (height, width))
    chosen = _chosen(o, folders.names)
    made, notes = _given(task, o, chosen, lambda name: folders.images(name, o.n + o.shown), "as-is")
    return made, [*notes, *folders.notes]


def _prompts(task: Task, o: Options) -> tuple[list[Given], list[str]]:
    generator = task.generator
    if generator is None:
        raise MissingError("prompts need a generator that draws them", "name one with --generator REF")
    if generator.kind != task.classifier.kind:
        raise NotApplicable(f"the generator draws {generator.kind}, the classifier reads {task.classifier.kind}")
    known = tuple(dict.fromkeys(o.prompts)) or task.vocabulary
    if not known:
        raise MissingError("no prompt is named, and the data set has no vocabulary", "name some: tcav.prompts=a,b")
    chosen = _chosen(o, known, () if o.prompts else known[: o.first])
    # the same noise for every prompt, so that no concept depends on which others are asked for
    seeds: list[int] = np.random.default_rng([task.seed, 1]).integers(2**62, size=o.n + o.shown).tolist()

    def draw(prompt: str, by: Generator = generator) -> Samples:
        return by.generate([prompt] * len(seeds), seeds)

    return _given(task, o, chosen, draw, f"generated:{generator.fingerprint}", drawn=True)


def _chosen(o: Options, known: Sequence[str], usual: Sequence[str] = ()) -> list[str]:
    """The named concepts (`usual` or all if none are named), and the one that they are compared with."""
    other = (o.against,) if o.against and o.against != "others" else ()
    chosen = list(dict.fromkeys((*(o.concepts or usual or known), *other)))
    for name in chosen:
        if name not in known:
            raise unknown("concept", name, known)
    return chosen


def _given(
    task: Task, o: Options, names: Sequence[str], images: Callable[[str], Samples], render: str, drawn: bool = False
) -> tuple[list[Given], list[str]]:
    made, same = [], []
    for i, name in enumerate(names):
        task.progress(i, len(names), f"images of {name!r}")
        found = images(name)
        if len(found) < 2:
            raise UsageError(f"concept {name!r} has {len(found)} image(s)", "a CAV needs at least 2")
        plain = replace(found, labels=None, meta={})
        fitted, fresh = plain.take(slice(o.n)), plain.take(slice(o.n, o.n + o.shown))
        if len(fresh) < 2:
            fresh = fitted.take(slice(o.shown))
            same.append(name)
        made.append(Given(name, fitted, fresh, render, drawn))
    few = f"{len(same)} concept(s) show the images that their CAVs were fitted on, for want of others: "
    return made, [few + ", ".join(same)] if same else []
