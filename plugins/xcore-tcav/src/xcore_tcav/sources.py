"""Where concepts come from: the data set, folders of images, or prompts that the generator draws or answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xcore.errors import MissingError, NotApplicable, UsageError, unknown
from xcore.protocols import Generator, Task
from xcore.samples import Samples
from xcore_tcav.explainer_options import Options
from xcore_tcav.folders import Folders

SAID = 6
"""Words, besides its name, that a drawn concept of text is told by."""


@dataclass(frozen=True, eq=False)
class Given:
    """One concept before it is scored."""

    name: str
    fitted: Samples
    """What CAVs are fitted on."""
    shown: Samples
    """What the concept shows: samples that no CAV was fitted on, or the fitted ones where there are no others."""
    render: str
    drawn: int = 0
    """Samples that a generator drew for it."""
    words: tuple[str, ...] = ()
    """What a generator of text says of it most often."""


def gather(task: Task, o: Options) -> tuple[list[Given], list[str]]:
    """The concepts that were asked for, in that order, and notes about them.

    Raises
    ------
    UsageError
        A name that is not there, a concept with fewer than two samples, or folders and prompts at once without
        `source`.
    MissingError
        The source has no concepts, there is no generator, or it has no words for any prompt.
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
        folders, has = "folders of images (tcav.folders=DIR), ", "folder"
        if task.samples.kind == "text":
            folders, has = "", "texts"
        raise MissingError(
            "this data set has no named concepts",
            f"give {folders}prompts (tcav.prompts=a,b with --generator REF), "
            f"or a data set that has some (for {has}: --set {has}.concepts=DIR)",
        )
    chosen = _chosen(o, tuple(task.concepts))
    return _given(task, o, chosen, lambda name: task.concepts[name], "as-is")


def _folders(task: Task, o: Options) -> tuple[list[Given], list[str]]:
    if not o.folders:
        raise MissingError("no folder of concept images is named", "tcav.folders=DIR or tcav.folders=NAME=DIR")
    if task.samples.kind != "image":
        raise NotApplicable(
            f"folders hold images, the classifier reads {task.samples.kind}",
            "give the data set a folder of files NAME.txt, one example a line: --set texts.concepts=DIR",
        )
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


def most_said(samples: Samples, n: int = SAID) -> tuple[str, ...]:
    """The n words that most samples of a text generator say, ties in the order of the alphabet; none for images."""
    lists = samples.meta.get("words", ()) if samples.kind == "text" else ()
    counts = Counter(word for said in lists for word in set(said))
    return tuple(sorted(counts, key=lambda w: (-counts[w], w))[:n])


def _chosen(o: Options, known: Sequence[str], usual: Sequence[str] = ()) -> list[str]:
    """The named concepts (`usual` or all if none are named), and the one that they are compared with."""
    other = (o.against,) if o.against and o.against != "others" else ()
    chosen = list(dict.fromkeys((*(o.concepts or usual or known), *other)))
    for name in chosen:
        if name not in known:
            raise unknown("concept", name, known)
    return chosen


def _given(
    task: Task, o: Options, names: Sequence[str], samples: Callable[[str], Samples], render: str, drawn: bool = False
) -> tuple[list[Given], list[str]]:
    made, same, mute, empty, kind = [], [], [], 0, task.samples.kind
    for i, name in enumerate(names):
        task.progress(i, len(names), f"{kind}s of {name!r}")
        asked = samples(name)
        found = asked.filled()
        if len(found) < 2:
            if not drawn or kind == "image":
                raise UsageError(f"concept {name!r} has {len(found)} {kind}(s)", "a CAV needs at least 2")
            mute.append(name)
            continue
        empty += len(asked) - len(found)
        plain, said = replace(found, labels=None, meta={}), most_said(found) if drawn else ()
        fitted, fresh = plain.take(slice(o.n)), plain.take(slice(o.n, o.n + o.shown))
        if len(fresh) < 2:
            fresh = fitted.take(slice(o.shown))
            same.append(name)
        words = tuple(w for w in said if w != name)
        made.append(Given(name, fitted, fresh, render, len(asked) if drawn else 0, words))
    few = f"{len(same)} concept(s) show the {kind}s that their CAVs were fitted on, for want of others: "
    notes = [few + ", ".join(same)] if same else []
    notes += [f"{empty} drawn {kind}(s) without a word were dropped"] if empty else []
    return made, [*notes, *_without_words(mute, made, o)]


def _without_words(mute: Sequence[str], made: Sequence[Given], o: Options) -> list[str]:
    """The note that names prompts to which the generator has nothing to say."""
    if mute and not made:
        raise MissingError(
            f"the generator gives fewer than 2 texts with a word for each of {len(mute)} prompts, such as {mute[0]!r}",
            "name other prompts or another generator",
        )
    if o.against in mute:
        raise UsageError(f"the generator has no words for {o.against!r}, which tcav.against names")
    return [f"{len(mute)} concept(s) left out, for the generator has no words for them: {', '.join(mute)}"] * bool(mute)
