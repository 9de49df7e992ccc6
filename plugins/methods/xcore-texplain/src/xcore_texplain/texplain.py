"""TExplain: a frozen language model describes the features of a class, and its words are compared with a prior."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from xcore_evidence.observed import observed

from xcore.contract import (
    Concept,
    Cost,
    Explanation,
    MissingError,
    NotApplicable,
    Presence,
    Probe,
    Samples,
    Task,
    TextDecoder,
)
from xcore.session import groups_of
from xcore_texplain import sentences as sentence_file
from xcore_texplain.cloud import draw_changes, draw_cloud
from xcore_texplain.features import (
    EXPLAINED,
    PRIOR,
    draw_pictures,
    features,
    features_fingerprint,
    open_probe,
    required,
)
from xcore_texplain.habits import habits_note, without_habits
from xcore_texplain.lexicon import lexicon_of
from xcore_texplain.options import Options
from xcore_texplain.sentences import SentenceRow, combined_seed, sample_sentences
from xcore_texplain.training import translator_of_explanation, translator_of_task, was_trained_on
from xcore_texplain.translator import Translator, translate
from xcore_texplain.words import (
    Change,
    Word,
    WordCounts,
    compare_groups,
    compare_with_prior,
    count_words,
    lemmas_of,
    most_frequent_forms,
    write_table,
)

IMPORTANCE = "share of the sentences with the word, minus the share for features of all classes (the language prior)"
FREQUENCY_IS = "share of the sentences about the image that contain the word"
FEW_IMAGES = 10
"""With fewer images than this, a note warns that bootstrap intervals are too narrow."""
CHANGES_IN_NOTE = 6
"""Words in the note on the difference between two groups."""
WORDS_IN_NOTE = 8
"""Words in the note on what is over the prior."""


class TExplain:
    """Explain a class by the words that a frozen language model says about its features.

    The features Z of every explained image go through the translator to the decoder, which says a number of sentences
    about each. The frequency of a word is the mean, over the images, of the share of their sentences that contain it.
    A language model says some words whatever it reads, so the same is counted for Z of images of all classes (the
    shuffled prior) and for the mean of these Z. The importance of a word is its frequency minus that in the shuffled
    prior. It is a difference rather than the logarithm of a ratio because a difference is bounded, says how many
    sentences it concerns, and has a small error for rare words, which a ratio would rank first. Both ratios are in the
    evidence of a concept.

    With the option `features="generator"`, Z are latents of pictures that the generator draws of the class, as many as
    the task has samples, and for the prior of pictures that it draws of all classes. The classifier then gives nothing
    but the name of the class, and concepts have no `local` values, since the pictures are not the samples of the task.

    Parameters
    ----------
    options
        Options of the method; None means the defaults.

    References
    ----------
    Taghanaki et al., TExplain: Explaining Learned Visual Features via Pre-trained (Frozen) Language Models, 2023.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task.

        Returns
        -------
        An explanation whose concepts are words, the most important first. Its files are the sentences, the figures of
        all words, and word clouds; its parts are the groups that the data set puts the samples in.

        Raises
        ------
        NotApplicable
            The features cannot be read (a classifier without activations, a generator without a probe), there is no
            prior because only one class has images, or no word is frequent enough.
        UsageError
            The translator does not fit the layer or the decoder.
        MissingError
            There are no captions to train a translator on, no translator in the folder that the options name, or no
            generator although the options ask for one.
        """
        begun, o = time.perf_counter(), self.options
        if o.draw and task.generator is None:
            raise MissingError("texplain.draw needs a generator that draws the words", "name one with --generator REF")
        decoder: TextDecoder = task.model("text-decoder")
        probe, layer = open_probe(o, task.classifier, task.layer, task.generator)
        task = replace(task, layer=layer)
        translator, metadata, fingerprint = translator_of_task(task, probe, decoder, o)
        prior, prior_notes = self._prior(task, probe, decoder, translator, fingerprint)
        shared = time.perf_counter() - begun

        if reads_latents := o.features == "generator":
            n = len(task.samples)
            pictures = draw_pictures(task.generator, o.prompt, [task.target_name], n, task.seed, EXPLAINED)
            task = replace(task, samples=pictures)
        states = translate(translator, features(probe, task.samples))
        sentences = sample_sentences(decoder, states, task.samples, o.sentences, task.seed, task.progress)
        drop = lemmas_of(o.drop)
        own = count_words(sentences, drop)
        shuffled = count_words([row.sentences for row in prior if row.of == "shuffled"], drop)
        mean = count_words([row.sentences for row in prior if row.of == "mean"], drop)
        lexicon = lexicon_of(o.lexicon, task.classifier, task.data)
        every = compare_with_prior(own, shuffled, mean, o.bootstrap, task.seed)
        words, habits = without_habits(every, shuffled, lambda word: lexicon.is_own(word, task.target_name))

        groups = groups_of(task.samples)
        rows = [
            SentenceRow("class", task.target_name, task.samples.ids[i], groups[i] if groups else "", tuple(texts))
            for i, texts in enumerate(sentences)
        ]
        files = {sentence_file.FILE: sentence_file.write(task.workdir / sentence_file.FILE, [*rows, *prior])}
        files["words.csv"] = write_table(words, task.workdir / "words.csv")
        files |= draw_cloud(words, task.target_name, task.workdir, o.least, lexicon=lexicon)
        whole = self._explanation(words, own, task.target_name)
        if not whole.concepts:
            raise NotApplicable(
                f"no word is in {o.least:.0%} of the sentences about {task.target_name!r}", "lower texplain.least"
            )
        left_out = {w.word for w in habits}
        by_group = {g: own.take([i for i, group in enumerate(groups) if group == g]) for g in sorted(set(groups))}
        parts = [
            self._explanation(
                [w for w in compare_with_prior(part, shuffled, mean, o.bootstrap, task.seed) if w.word not in left_out],
                own,
                f"{task.target_name}, group {name}",
            )
            for name, part in by_group.items()
            if len(by_group) > 1
        ]
        same_features = was_trained_on(metadata, probe, fingerprint)
        notes = [*_translator_notes(task, metadata, translator, same_features, decoder), *prior_notes]
        if len(by_group) == 2:
            (a, first), (b, second) = by_group.items()
            changes = compare_groups(first, second, o.bootstrap, task.seed)
            files["groups.png"] = draw_changes(changes, (a, b), task.workdir / "groups.png")
            files["groups.csv"] = write_table(changes, task.workdir / "groups.csv")
            notes.append(group_difference_note(changes, (a, b)))
        described = {"": own, " of all classes": shuffled}
        if parts:
            described |= {f" of group {name}": part for name, part in by_group.items()}
        concepts, drawn = self._with_drawings(task, whole.concepts, sentences)
        if o.context:
            concepts, context_notes = in_context(task, concepts)
            notes += context_notes
        return replace(
            whole,
            concepts=concepts,
            parts=tuple(parts),
            trace=({"step": "translate", "translator": metadata.get("key")},),
            files=files,
            notes=(*notes, *whole.notes, *habits_note(habits, o.least), *few_images_notes(described)),
            cost=Cost(
                seconds=time.perf_counter() - begun - shared,
                shared_seconds=shared,
                forwards=len(task.samples),
                generated=sum(map(len, sentences)) + drawn + (len(task.samples) if reads_latents else 0),
            ),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Count how often the language model says the words about other images.

        The translator is the one of the explanation, if it is still there. Otherwise one is trained, as for a new
        explanation, and a note says so.

        Parameters
        ----------
        explanation
            An explanation by this method.
        task
            With the other images as its samples, and a text decoder. With ``features="generator"``, the latents of the
            images are read, not those of drawn pictures.

        Raises
        ------
        MissingError
            The translator of the explanation is not there any more, and there are no captions to train one on.
        """
        o = self.options
        decoder: TextDecoder = task.model("text-decoder")
        probe, layer = open_probe(o, task.classifier, task.layer, task.generator)
        task = replace(task, layer=layer)
        translator, metadata, anew = translator_of_explanation(explanation, task, probe, decoder, o)
        states = translate(translator, features(probe, task.samples))
        sentences = sample_sentences(decoder, states, task.samples, o.sentences, task.seed, task.progress)
        said = count_words(sentences, lemmas_of(o.drop)).shares_of([c.name for c in explanation.concepts])
        notes = ["the translator of the explanation is gone, so another one was trained"] if anew else []
        height, width = task.samples.images.shape[-2:]
        if not was_trained_on(metadata, probe, features_fingerprint(probe, (height, width))):
            notes.append("the translator was trained on other features than this network's; its words may be wrong")
        return Presence(torch.from_numpy(said).float(), FREQUENCY_IS, notes=tuple(notes))

    def _prior(
        self, task: Task, probe: Probe, decoder: TextDecoder, translator: Translator, fingerprint: str
    ) -> tuple[list[SentenceRow], list[str]]:
        """Sentences about features of images of all classes and about their mean, and notes on these images.

        They are the same for all classes and seeds of a run, which share them.
        """
        o = self.options
        identity, load, notes = prior_images(task, o)
        key = {
            "translator": _weights_digest(translator),
            "decoder": decoder.fingerprint,
            "images": identity,
            "features": fingerprint,
            "sentences": [o.sentences, o.prior_sentences, o.seed],
        }

        def make(directory: Path) -> None:
            images = load()
            z = features(probe, images)
            shuffled = sample_sentences(
                decoder, translate(translator, z), images, o.sentences, combined_seed(o.seed, 1), task.progress
            )
            mean = decoder.sample(
                translate(translator, z.mean(0, keepdim=True)), o.prior_sentences, combined_seed(o.seed, 2)
            )
            rows = [SentenceRow("shuffled", "", i, "", tuple(s)) for i, s in zip(images.ids, shuffled, strict=True)]
            sentence_file.write(
                directory / sentence_file.FILE, [*rows, SentenceRow("mean", "", "", "", tuple(mean[0]))]
            )

        return sentence_file.read(task.artifact(sentence_file.PRIOR, key, make) / sentence_file.FILE), notes

    def _explanation(self, words: Sequence[Word], own: WordCounts, target: str) -> Explanation:
        """The concepts of a class or group: the first `k` of the words that are frequent enough."""
        frequent = [w for w in words if w.freq >= self.options.least]
        kept = frequent[: self.options.k]
        local = own.shares_of([w.word for w in kept]) if self.options.features == "classifier" else None
        concepts = [
            Concept(
                name=w.word,
                importance=float(w.over),
                words=(w.word,),
                local=None if local is None else torch.from_numpy(local[:, i].copy()).float(),
                evidence=w.evidence,
            )
            for i, w in enumerate(kept)
        ]
        return Explanation("texplain", target, IMPORTANCE, tuple(concepts), notes=tuple(over_prior_notes(frequent)))

    def _with_drawings(
        self, task: Task, concepts: tuple[Concept, ...], sentences: Sequence[Sequence[str]]
    ) -> tuple[tuple[Concept, ...], int]:
        """The concepts with pictures of their words, if the options ask for them, and the number of these pictures.

        The prompt is the form of the word that the sentences use: a generator may know "striped" but not "stripe".
        """
        o, generator = self.options, task.generator
        if not o.draw or generator is None:
            return concepts, 0
        made, forms = [], most_frequent_forms(text for texts in sentences for text in texts)
        for i, concept in enumerate(concepts):
            seeds = [combined_seed(task.seed, 5, i, j) for j in range(o.drawn)]
            drawn = generator.generate([forms[concept.name]] * o.drawn, seeds)
            render = f"generated:{generator.fingerprint}"
            made.append(replace(concept, samples=drawn, render=render, source=torch.full((len(drawn),), -1)))
            task.progress(i + 1, len(concepts), "words drawn")
        return tuple(made), o.drawn * len(concepts)


def prior_images(task: Task, o: Options) -> tuple[Any, Callable[[], Samples], list[str]]:
    """Images of all classes, the same number of each as far as there are enough.

    They are training images. If the generator's latents are read, they are drawings, made only when they are needed.

    Returns
    -------
    What identifies the images, a function that gets them, and notes on them.

    Raises
    ------
    NotApplicable
        The data set has one class only, or training images of at most one.
    """
    classes = task.data.classes
    if len(classes) < 2:
        raise NotApplicable(
            "texplain compares a class with images of all classes, and the data set has one class only",
            "in Python pass images of other classes as contrast=...; "
            "on the command line name a data set with more classes",
        )
    share = -(-o.prior_images // len(classes))
    if o.features == "generator":
        identity = [required(task.generator).fingerprint, o.prompt, *classes, share]
        return identity, lambda: draw_pictures(task.generator, o.prompt, classes, share, o.seed, PRIOR), []
    found = {cls: part for cls in classes if len(part := task.data.samples(cls, "train", share, o.seed))}
    if len(found) < 2:
        raise NotApplicable(
            "texplain compares a class with training images of all classes, and at most one class has any",
            "add training images of other classes to the data set",
        )
    images = Samples.concat(list(found.values()))
    lacking = f"there is no training image of {task.target_name!r}, so the prior is of the other classes only"
    return images.digest, lambda: images, [] if task.target_name in found else [lacking]


def over_prior_notes(words: Sequence[Word]) -> list[str]:
    """The note that names the words whose interval lies over the prior; none if there are no intervals."""
    bounded = [(w, w.over_lo) for w in words if w.over_lo is not None]
    if not bounded:
        return []
    # A word that is in every sentence can be over its prior for certain, but by less than the two digits show.
    certain = [w for w, low in bounded if low > 0 and round(w.over, 2) > 0]
    if not certain:
        return ["no word is more frequent than in the prior with an interval that excludes 0"]
    shown = sorted(certain, key=lambda w: (-w.over, w.word))[:WORDS_IN_NOTE]
    named = ", ".join(f"{w.word} {w.over:+.2f}" for w in shown)
    return [f"words more frequent than in the prior, with an interval that excludes 0: {named}"]


def group_difference_note(changes: Sequence[Change], labels: tuple[str, str]) -> str:
    """The words that change most from the first group to the second, among those whose interval excludes zero."""
    certain = sorted((row for row in changes if row.sure), key=lambda row: (-abs(row.change), row.word))
    words = ", ".join(f"{row.word} {row.change:+.2f}" for row in certain[:CHANGES_IN_NOTE])
    return f"share of sentences, {labels[1]} minus {labels[0]}: {words or 'no word has an interval that excludes 0'}"


def few_images_notes(described: Mapping[str, WordCounts]) -> list[str]:
    """Notes on sets of images that are too small for their intervals, or have one image and no intervals.

    Parameters
    ----------
    described
        What follows "images" in the note, such as " of group a", and the counts of these images.
    """
    notes = []
    for which, counts in described.items():
        if (n := len(counts.sentences)) < FEW_IMAGES:
            what = f"only {n} images{which} were" if n > 1 else f"only one image{which} was"
            why = "intervals over so few are too narrow" if n > 1 else "there are no intervals over a single image"
            notes.append(f"{what} described: {why}")
    return notes


def _translator_notes(
    task: Task, metadata: dict[str, Any], translator: Translator, same_features: bool, decoder: TextDecoder
) -> list[str]:
    """Notes on the translator: how it was trained, and whether it was trained for these features and this decoder."""
    notes = [
        f"{task.target_name} at {task.layer}: translator ({translator.mode}) trained on {metadata.get('pairs', '?')} "
        f"pairs, validation loss {metadata.get('validation_loss', '?')} after {metadata.get('steps', '?')} steps"
    ]
    if not same_features:
        notes.append(
            "the translator was trained on other features: other weights, or another layer "
            f"(its layer was {metadata.get('layer', '?')!r}); its words may be wrong"
        )
    if metadata.get("decoder_fingerprint") != decoder.fingerprint:
        own = metadata.get("decoder")
        other = f"{own} with other weights or options" if own == decoder.name else f"{own}, not for {decoder.name}"
        notes.append(f"the translator was trained for {other}; its words may be wrong")
    return [*notes, *metadata.get("notes", ())]


def _weights_digest(translator: Translator) -> str:
    h = hashlib.sha256(str(translator.config).encode())
    for value in translator.state_dict().values():
        h.update(value.contiguous().numpy().tobytes())
    return h.hexdigest()[:16]


def in_context(task: Task, concepts: Sequence[Concept]) -> tuple[tuple[Concept, ...], list[str]]:
    """The words with the evidence of images of all classes for each, and a note of which of them raise the class.

    A word may be said because the features hold it, whether or not the class depends on it. The keys of the evidence
    begin with ``context_``; see `xcore_evidence.observed`.
    """
    words = [c.name for c in concepts]
    evidence = observed(task, words)
    made = tuple(
        replace(c, evidence={**c.evidence, **{f"context_{name}": x for name, x in e.as_evidence().items()}})
        for c, e in zip(concepts, evidence.estimates, strict=True)
    )
    raising = [e.phrase for e in evidence.estimates if e.mark > 0]
    return made, [
        f"in context ({evidence.says}, {evidence.n} images) {len(raising)} of {len(words)} words raise the class"
        f"{': ' if raising else ''}{', '.join(raising)}",
        *evidence.notes,
    ]
