"""The concept sets that `tcav` scores: from the data set, from folders of images, or generated from prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xcore.contract import Generator, MissingError, NotApplicable, Samples, Task, UsageError, unknown
from xcore_tcav.folders import Folders
from xcore_tcav.options import TcavOptions

SEVERAL = 5
"""Samples of which words that only one of them has are left out."""

WORDS_SHOWN = 6
"""Words, besides its name, that describe a concept whose texts a generator wrote."""


@dataclass(frozen=True, eq=False)
class ConceptSet:
    """The samples of one concept, before it is scored."""

    name: str
    fit_samples: Samples
    """The samples that its CAVs are fitted on: the first `n`."""
    shown_samples: Samples
    """The samples that the explanation shows: the ones after `fit_samples`, or `fit_samples` where there are fewer than
    two others."""
    render: str
    """How the samples were made, see `xcore.contract.Concept.render`."""
    generated: int = 0
    """Number of samples that a generator made for it."""
    words: tuple[str, ...] = ()
    """Words that a generator of texts gave most often, without the concept's name."""


def load_concept_sets(task: Task, options: TcavOptions) -> tuple[list[ConceptSet], list[str]]:
    """Load the concepts that the options ask for.

    Returns
    -------
    The concept sets, in the order asked for, and notes for the reader of the explanation.

    Raises
    ------
    UsageError
        A name is not in the source, a concept has fewer than two samples, or folders and prompts are both given
        without `source`.
    MissingError
        The source has no concepts, there is no generator, or the generator gives no words for any prompt.
    NotApplicable
        The source holds samples of another modality than the classifier reads.
    """
    source = chosen_source(options)
    load = {"data": _from_data_set, "folders": _from_folders, "prompts": _from_prompts}[source]
    return load(task, options)


def chosen_source(options: TcavOptions) -> str:
    """Where the concepts come from: "data", "folders", "prompts" or "context".

    Raises
    ------
    UsageError
        Folders and prompts are both given without `source`.
    """
    if options.source != "auto":
        return options.source
    if options.folders and options.prompts:
        raise UsageError(
            "tcav.folders and tcav.prompts are both given, and concepts come from one of them",
            "choose with tcav.source=folders or tcav.source=prompts",
        )
    return "folders" if options.folders else "prompts" if options.prompts else "data"


def check_source(options: TcavOptions, known: Collection[str], modality: str) -> None:
    """Raise `MissingError`, which names what to give, if the options ask for concepts that nobody gives.

    Parameters
    ----------
    known
        The named concepts of the data set.
    modality
        Of its samples.
    """
    source = chosen_source(options)
    if source == "data" and not known:
        folders, provider = "folders of images (--set tcav.folders=DIR), ", "folder"
        if modality == "text":
            folders, provider = "", "texts"
        raise MissingError(
            "tcav ranks concepts that you name, and this data set has none",
            f"give {folders}prompts (--set tcav.prompts=a,b --generator REF), "
            f"or, for a data set {provider}:DIR, folders of concepts (--set {provider}.concepts=DIR)",
        )
    if source == "folders" and not options.folders:
        raise MissingError(
            "no folder of concept images is given",
            "give one with --set tcav.folders=DIR or --set tcav.folders=NAME=DIR",
        )


def _from_data_set(task: Task, options: TcavOptions) -> tuple[list[ConceptSet], list[str]]:
    check_source(options, task.concepts, task.samples.modality)
    names = _selected(options, tuple(task.concepts))
    return _concept_sets(task, options, names, lambda name: task.concepts[name], "as-is")


def _from_folders(task: Task, options: TcavOptions) -> tuple[list[ConceptSet], list[str]]:
    check_source(options, task.concepts, task.samples.modality)
    if task.samples.modality != "image":
        raise NotApplicable(
            f"tcav.folders holds images, but the classifier reads {task.samples.modality}",
            "give the data set a folder of files NAME.txt with one example on each line: --set texts.concepts=DIR",
        )
    height, width = task.samples.images.shape[2:]
    folders = Folders(options.folders, (height, width), getattr(task.classifier, "framing", None))
    names = _selected(options, folders.names)
    count = options.n + options.shown
    sets, notes = _concept_sets(task, options, names, lambda name: folders.images(name, count), "as-is")
    return sets, [*notes, *folders.notes]


def _from_prompts(task: Task, options: TcavOptions) -> tuple[list[ConceptSet], list[str]]:
    generator = task.generator
    if generator is None:
        raise MissingError("concepts from prompts need a generator", "name one with --generator REF")
    if generator.modality != task.classifier.modality:
        raise NotApplicable(
            f"the generator makes {generator.modality} samples, but the classifier reads {task.classifier.modality}",
            "name another generator with --generator REF",
        )
    known = tuple(dict.fromkeys(options.prompts)) or task.vocabulary
    if not known:
        raise MissingError(
            "no prompt is given, and the data set has no vocabulary to take prompts from",
            "give some with tcav.prompts=a,b",
        )
    names = _selected(options, known, () if options.prompts else known[: options.first])
    # All prompts share their seeds, so that no concept depends on which other concepts are asked for.
    seeds: list[int] = np.random.default_rng([task.seed, 1]).integers(2**62, size=options.n + options.shown).tolist()

    def generate(prompt: str, by: Generator = generator) -> Samples:
        return by.generate([prompt] * len(seeds), seeds)

    return _concept_sets(task, options, names, generate, f"generated:{generator.fingerprint}", generated=True)


def most_frequent_words(samples: Samples, n: int = WORDS_SHOWN) -> tuple[str, ...]:
    """The n words that a generator of texts gave in the most samples; () for images.

    Of `SEVERAL` samples or more, words that only one has are left out, unless fewer than two would be left: a language
    model now and then writes a word that is none. Ties are in alphabetical order. The words come from
    ``samples.meta["words"]``, one list for each sample.
    """
    lists = samples.meta.get("words", ()) if samples.modality == "text" else ()
    counts = Counter(word for words in lists for word in set(words))
    ranked = sorted(counts, key=lambda w: (-counts[w], w))
    often = [w for w in ranked if counts[w] > 1]
    return tuple((often if len(lists) >= SEVERAL and len(often) > 1 else ranked)[:n])


def _selected(options: TcavOptions, known: Sequence[str], default: Sequence[str] = ()) -> list[str]:
    """Names of the concepts to load: those of `options.concepts`, or `default`, or all, and then `options.against`."""
    other = (options.against,) if options.against and options.against != "others" else ()
    names = list(dict.fromkeys((*(options.concepts or default or known), *other)))
    for name in names:
        if name not in known:
            raise unknown("concept", name, known)
    return names


def _concept_sets(
    task: Task,
    options: TcavOptions,
    names: Sequence[str],
    samples_of: Callable[[str], Samples],
    render: str,
    generated: bool = False,
) -> tuple[list[ConceptSet], list[str]]:
    """The concept sets of these names and the notes about them."""
    modality = task.samples.modality
    sets: list[ConceptSet] = []
    without_others: list[str] = []
    without_words: list[str] = []
    dropped = 0
    for i, name in enumerate(names):
        task.progress(i, len(names), f"{modality}s of {name!r}")
        given = samples_of(name)
        usable = given.filled()
        if len(usable) < 2:
            if not generated or modality == "image":
                raise UsageError(
                    f"concept {name!r} has {len(usable)} {modality}(s), and a CAV needs at least 2",
                    f"add {modality}s to the concept, or leave it out with tcav.concepts",
                )
            without_words.append(name)
            continue
        dropped += len(given) - len(usable)
        plain = replace(usable, labels=None, meta={})
        fit_samples = plain.take(slice(options.n))
        shown_samples = plain.take(slice(options.n, options.n + options.shown))
        if len(shown_samples) < 2:
            shown_samples = fit_samples.take(slice(options.shown))
            without_others.append(name)
        words = tuple(w for w in most_frequent_words(usable) if w != name) if generated else ()
        sets.append(ConceptSet(name, fit_samples, shown_samples, render, len(given) if generated else 0, words))
    notes = []
    if without_others:
        notes.append(
            f"{len(without_others)} concept(s) have too few {modality}s to show others than those that their CAVs were "
            f"fitted on: {', '.join(without_others)}"
        )
    if dropped:
        notes.append(f"{dropped} generated {modality}(s) without a word were dropped")
    if without_words:
        notes.append(_note_without_words(without_words, sets, options))
    return sets, notes


def _note_without_words(names: Sequence[str], sets: Sequence[ConceptSet], options: TcavOptions) -> str:
    """The note that names the prompts for which the generator gives no words."""
    if not sets:
        raise MissingError(
            f"the generator gives fewer than 2 texts with a word for each of the {len(names)} prompt(s), such as "
            f"{names[0]!r}",
            "give other prompts with tcav.prompts, or another generator with --generator REF",
        )
    if options.against in names:
        raise UsageError(
            f"the generator gives no words for {options.against!r}, which tcav.against names",
            "compare with another concept",
        )
    return f"{len(names)} concept(s) are left out because the generator gives no words for them: {', '.join(names)}"
