"""TExplain: a class's features, translated for a frozen language model, whose words are counted against its prior."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcore.errors import MissingError, NotApplicable
from xcore.protocols import Probe, Task
from xcore.roles import TextDecoder
from xcore.samples import Samples
from xcore.types import Concept, Cost, Explanation
from xcore_texplain import drawings, said
from xcore_texplain.cloud import changes, cloud, table
from xcore_texplain.counts import Counted, Word, compare, count, weigh
from xcore_texplain.features import features, open_probe
from xcore_texplain.groups import clear, differing, few, groups_of
from xcore_texplain.options import Options
from xcore_texplain.said import Said
from xcore_texplain.trained import knows, obtain
from xcore_texplain.translator import Translator
from xcore_texplain.words import dropped, spoken

IMPORTANCE = "share of sentences with the word, less the share with features of all classes (language prior)"


class TExplain:
    """Words that a frozen language model finds in the features of a class.

    Features Z of every explained image go through the translator to the decoder, which says `sentences` sentences about
    each. A word's frequency is the mean over images of the share of its sentences that hold it. Since a language model
    says some words whatever it reads, the same is counted for Z of images of all classes (the shuffled prior) and
    for the mean of these Z; the importance of a word is its frequency less that of the shuffled prior.

    A difference of shares, not the logarithm of the lift, because it is bounded, tells how many sentences it is about,
    and has a small error for rare words, which a ratio would put first. Both lifts are in the evidence.

    With the option `features="generator"`, Z are latents: of as many pictures as there are samples, which the generator
    draws of the class, and for the prior of pictures that it draws of all classes. The classifier gives no more than
    the name of the class, and concepts have no `local`, since the pictures are not the samples of the task.

    Raises
    ------
    NotApplicable
        What is read cannot be: a classifier without activations, a generator without a probe; or there is one class
        only, so that there is no prior.
    UsageError, MissingError
        The layer and the translator, or the translator and the decoder, do not fit; there are no captions.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task from its samples."""
        begun, o = time.perf_counter(), self.options
        if o.draw and task.generator is None:
            raise MissingError("texplain.draw needs a generator that paints the words", "name one with --generator REF")
        decoder: TextDecoder = task.model("text-decoder")
        probe, layer = open_probe(o, task.classifier, task.layer, task.generator)
        task = replace(task, layer=layer)
        translator, about, found = obtain(task, probe, decoder, o)
        prior, lacking = self._prior(task, probe, decoder, translator, found)
        shared = time.perf_counter() - begun

        if drawn := o.features == "generator":
            n = len(task.samples)
            task = replace(task, samples=drawings.draw(task, o.prompt, [task.target_name], n, task.seed, drawings.OWN))
        states = translate(translator, features(probe, task.samples))
        sentences = said.say(decoder, states, task.samples, o.sentences, task.seed, task.progress)
        drop = dropped(o.drop)
        own = count(sentences, drop)
        shuffled = count([row.sentences for row in prior if row.of == "shuffled"], drop)
        mean = count([row.sentences for row in prior if row.of == "mean"], drop)
        words = weigh(own, shuffled, mean, o.bootstrap, task.seed)

        groups = groups_of(task.samples)
        rows = [
            Said("class", task.target_name, task.samples.ids[i], groups[i] if groups else "", tuple(text))
            for i, text in enumerate(sentences)
        ]
        files = {said.FILE: said.write(task.workdir / said.FILE, [*rows, *prior])}
        files["words.csv"] = table(words, task.workdir / "words.csv")
        files |= cloud(words, task.target_name, task.workdir, o.least)
        whole = self._explanation(task, words, own, task.target_name)
        if not whole.concepts:
            raise NotApplicable(
                f"no word is in {o.least:.0%} of the sentences about {task.target_name!r}", "lower texplain.least"
            )
        by_group = {g: own.take([i for i, own_g in enumerate(groups) if own_g == g]) for g in sorted(set(groups))}
        parts = [
            self._explanation(
                task, weigh(part, shuffled, mean, o.bootstrap, task.seed), own, f"{task.target_name}, group {name}"
            )
            for name, part in by_group.items()
            if len(by_group) > 1
        ]
        notes = _notes(task, about, translator, knows(about, probe, found), decoder)
        notes += lacking
        if len(by_group) == 2:
            (a, one), (b, two) = by_group.items()
            changed = compare(one, two, o.bootstrap, task.seed)
            files["groups.png"] = changes(changed, (a, b), task.workdir / "groups.png")
            files["groups.csv"] = table(changed, task.workdir / "groups.csv")
            notes.append(differing(changed, (a, b)))
        read = {"": own, " of all classes": shuffled}
        if parts:
            read |= {f" of group {name}": part for name, part in by_group.items()}
        concepts, painted = self._painted(task, whole.concepts, sentences)
        return replace(
            whole,
            concepts=concepts,
            parts=tuple(parts),
            files=files,
            notes=(*notes, *whole.notes, *few(read)),
            cost=Cost(
                seconds=time.perf_counter() - begun - shared,
                shared_seconds=shared,
                forwards=len(task.samples),
                generated=sum(map(len, sentences)) + painted + (len(task.samples) if drawn else 0),
            ),
        )

    def _prior(
        self, task: Task, probe: Probe, decoder: TextDecoder, translator: Translator, found: str
    ) -> tuple[list[Said], list[str]]:
        """Sentences about features of images of all classes, and their mean, the same for all classes and seeds; and
        what a reader must know of the images."""
        o = self.options
        identity, load, lacking = others(task, o)
        key = {
            "translator": _weights(translator),
            "decoder": decoder.fingerprint,
            "images": identity,
            "features": found,
            "sentences": [o.sentences, o.prior_sentences, o.seed],
        }

        def make(directory: Path) -> None:
            images = load()
            z = features(probe, images)
            shuffled = said.say(
                decoder, translate(translator, z), images, o.sentences, said.mixed(o.seed, 1), task.progress
            )
            mean = decoder.sample(
                translate(translator, z.mean(0, keepdim=True)), o.prior_sentences, said.mixed(o.seed, 2)
            )
            rows = [Said("shuffled", "", i, "", tuple(s)) for i, s in zip(images.ids, shuffled, strict=True)]
            said.write(directory / said.FILE, [*rows, Said("mean", "", "", "", tuple(mean[0]))])

        return said.read(task.artifact(said.PRIOR, key, make) / said.FILE), lacking

    def _explanation(self, task: Task, words: Sequence[Word], own: Counted, target: str) -> Explanation:
        kept = [w for w in words if w.freq >= self.options.least][: self.options.k]
        local = own.of([w.word for w in kept]) if self.options.features == "classifier" else None
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
        told = tuple(clear([w for w in words if w.freq >= self.options.least]))
        return Explanation("texplain", target, IMPORTANCE, tuple(concepts), notes=told)

    def _painted(
        self, task: Task, concepts: tuple[Concept, ...], sentences: Sequence[Sequence[str]]
    ) -> tuple[tuple[Concept, ...], int]:
        """The concepts with pictures of their words, if these were asked for, and how many were painted.

        The prompt is the form in which the sentences say the word: a generator may know striped and not stripe.
        """
        o, generator = self.options, task.generator
        if not o.draw or generator is None:
            return concepts, 0
        made, forms = [], spoken(text for own in sentences for text in own)
        for i, concept in enumerate(concepts):
            seeds = [said.mixed(task.seed, 5, i, j) for j in range(o.drawn)]
            drawn = generator.generate([forms[concept.name]] * o.drawn, seeds)
            render = f"generated:{generator.fingerprint}"
            made.append(replace(concept, samples=drawn, render=render, source=torch.full((len(drawn),), -1)))
            task.progress(i + 1, len(concepts), "words painted")
        return tuple(made), o.drawn * len(concepts)


def translate(translator: Translator, z: Tensor) -> Tensor:
    """States of features, without gradients."""
    with torch.no_grad():
        states: Tensor = translator(z)
    return states


def others(task: Task, o: Options) -> tuple[Any, Callable[[], Samples], list[str]]:
    """Images of all classes, in equal parts as far as there are so many: what they are known by, how to get them, and
    what a reader must know of them.

    They are training images; where the generator's latents are read, drawings, made only if they are needed.

    Raises
    ------
    NotApplicable
        The data has one class only, or training images of one.
    """
    classes = task.data.classes
    if len(classes) < 2:
        raise NotApplicable(
            "texplain compares with images of all classes, and there is one class only",
            "in Python pass images of others as contrast=...; on the command line name a data set with more classes",
        )
    share = -(-o.prior_images // len(classes))
    if o.features == "generator":
        identity = [drawings.needed(task.generator).fingerprint, o.prompt, *classes, share]
        return identity, lambda: drawings.draw(task, o.prompt, classes, share, o.seed, drawings.PRIOR), []
    found = {cls: part for cls in classes if len(part := task.data.samples(cls, "train", share, o.seed))}
    parts = list(found.values())
    if len(parts) < 2:
        raise NotApplicable(
            "texplain compares with training images of all classes, and one class at most has any", "add images"
        )
    images = Samples.concat(parts)
    lacking = f"there is no training image of {task.target_name!r}: the prior is of the other classes only"
    return images.digest, lambda: images, [] if task.target_name in found else [lacking]


def _notes(task: Task, about: dict[str, Any], translator: Translator, known: bool, decoder: TextDecoder) -> list[str]:
    """What a reader must know of the translator."""
    notes = [
        f"{task.target_name} at {task.layer}: translator ({translator.mode}) of {about.get('pairs', '?')} pairs, "
        f"validation loss {about.get('validation_loss', '?')} after {about.get('steps', '?')} steps"
    ]
    if not known:
        at = about.get("layer", "?")
        notes.append(
            f"the translator was trained on other features (other weights, or another layer; its own is {at!r}): "
            "its words may be wrong"
        )
    if about.get("decoder_fingerprint") != decoder.fingerprint:
        own = about.get("decoder")
        other = "with other weights or options" if own == decoder.name else f"and {decoder.name} reads it"
        notes.append(f"the translator was trained for {own} {other}: its words may be wrong")
    return [*notes, *about.get("notes", ())]


def _weights(translator: Translator) -> str:
    h = hashlib.sha256(str(translator.config).encode())
    for value in translator.state_dict().values():
        h.update(value.contiguous().numpy().tobytes())
    return h.hexdigest()[:16]
