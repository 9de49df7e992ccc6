"""What `xcore texplain repair` does: starts, translators, flags, masks and cures of each seed, and their table."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from xcore.contract import Cell, Samples, UsageError, digest, seeded, unknown
from xcore.models import TorchClassifier
from xcore.session import Found, Session, fingerprints, read_json
from xcore_texplain import cures
from xcore_texplain import sentences as sentence_file
from xcore_texplain.dominant import Described, Dominant, describe, dominant_words
from xcore_texplain.features import features
from xcore_texplain.gradcam import class_maps, filled, masks_of, word_maps
from xcore_texplain.lexicon import Lexicon, lexicon_of, read_lexicon
from xcore_texplain.networks import (
    Part,
    accuracies,
    batches_of,
    fit,
    learner,
    load_network,
    part_of,
    save_network,
    state_digest,
)
from xcore_texplain.repair_options import CURES, FIGURES, WEIGHTS, RepairOptions
from xcore_texplain.repair_pictures import draw_masked, draw_table
from xcore_texplain.repair_table import table
from xcore_texplain.sentences import SentenceRow, combined_seed
from xcore_texplain.session import ROLE, trained_translator
from xcore_texplain.translator import Translator, load_translator, translate
from xcore_texplain.words import count_words, lemmas_of

BANK = 30
"""Pictures of each concept in the bank of DISC."""
SHOWN = 6
"""Flagged images in the picture of a seed."""
MASKED = {"random": "random", "random-class": "random-class", "texplain-word": "word", "texplain-class": "class"}
"""Cure by masked images, which needs the words of the training images -> its masks in `Flags.masks`."""
MODELS = "models"
"""Folder of the trained networks in that of a finding, and in --out."""


@dataclass(frozen=True, eq=False)
class Flags:
    """What the sentences say of the training images, and what is masked in which of them."""

    dominant: list[Dominant]
    flagged: list[int]
    random: list[int]
    """As many images, drawn from all that have a word which is not of their class."""
    masks: Mapping[str, Tensor]
    """"word" and "class" (of the flagged images), "random" and "random-class" (of the random ones) -> masks (k, H, W),
    by the map of the word or of the class. A mask is empty where its map is the same everywhere."""

    def rows(self, name: str) -> list[int]:
        """The images that these masks are of."""
        return self.random if name.startswith("random") else self.flagged

    def covering(self, name: str) -> list[int]:
        """The places of the masks that cover something: an image that is not masked teaches nothing new."""
        return [k for k, mask in enumerate(self.masks[name]) if mask.any()] if name in self.masks else []


class Repairs:
    """The work behind one finding; every long part is an artifact, so that an interrupted command goes on."""

    def __init__(self, session: Session, cell: Cell, options: RepairOptions) -> None:
        self.session, self.cell, self.options = session, cell, options
        self.data = session.dataset(cell)
        self.notes: list[str] = []
        self.reasons: dict[str, str] = {}
        if self.data.modality != "image":
            raise UsageError(f"texplain reads images, but the samples of {cell.data} are {self.data.modality}s")
        self.classifier: Any = session.classifier(cell)
        known = self.data.classes if options.train else self.classifier.classes
        for cls in self.data.classes:
            if cls not in known:
                raise UsageError(
                    f"classifier {cell.classifier} has no class {cls!r}", "train it on the classes of the data: --train"
                )
        self.lexicon: Lexicon = lexicon_of(options.lexicon, self.classifier, self.data)
        for concept in options.concepts:
            if self.data.concepts and concept not in self.data.concepts:
                raise unknown(f"concept of data set {cell.data}:", concept, self.data.concepts)
        self._step = session.reporter.step

    @cached_property
    def parts(self) -> dict[str, Part]:
        """The training, validation and test images; labels are indices into the classes of the networks."""
        o, seed = self.options, self.cell.data_seed
        made = {
            "train": part_of(self.data, "train", o.images, seed),
            "validation": part_of(self.data, "explain", o.validation_images, seed),
            "test": part_of(self.data, "heldout", o.test_images, seed),
        }
        if not o.train:
            places = torch.tensor([self.classifier.classes.index(cls) for cls in self.data.classes])
            made = {name: replace(part, labels=places[part.labels]) for name, part in made.items()}
        return made

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The names of all groups."""
        return tuple(sorted({group for part in self.parts.values() for group in part.groups}))

    @cached_property
    def fill(self) -> Tensor:
        """The mean colour (3,) of the training images."""
        return self.parts["train"].samples.images.mean((0, 2, 3))

    @cached_property
    def _data_key(self) -> list[Any]:
        parts = [[p.samples.digest, p.labels.tolist(), list(p.groups)] for p in self.parts.values()]
        return [parts, fingerprints("explainer", [self.cell.method])]  # the latter changes with the code

    def found(self, folder: Path) -> Found:
        """All seeds, their table and pictures."""
        o, rows, flagged = self.options, [], []
        for seed in range(o.seeds):
            start, start_folder, figures = self.start(seed)
            accuracy = {"erm": figures["test"]}
            keep(start_folder, folder / MODELS / f"seed-{seed}" / "erm")
            flags = None
            if {*MASKED} & {*o.cures}:
                flags = self.flags(start, *self.described(start, seed), seed, folder)
                flagged.append(self._flagged_figures(flags))
                if seed == 0 and flags.flagged:
                    draw_masked(folder / "masked.png", self._shown(flags))
            for cure in o.cures:
                if cure != "erm" and (made := self.cured(cure, start, flags, seed)) is not None:
                    keep(made[0], folder / MODELS / f"seed-{seed}" / cure)
                    accuracy[cure] = made[1]
            rows.append(accuracy)
        pictures = {"table.png": "Accuracy on the worst group and on average, a dot for each seed"}
        if (folder / "masked.png").is_file():
            pictures = {"masked.png": "Flagged images, and what is masked in them by both maps", **pictures}
        order = [c for c in o.cures if any(c in row for row in rows)]
        draw_table(folder / "table.png", rows, order)
        columns, lines = table(rows, self.groups, o.cures, self.reasons)
        return Found(
            title=f"{self.cell.classifier} on {self.cell.data}: accuracy on test images, {o.seeds} seeds",
            columns=columns,
            rows=lines,
            notes=self._notes(flagged),
            pictures=pictures,
            figures={"seeds": rows, "flagged": flagged},
        )

    # -- the steps of a seed -----------------------------------------------------------------------------------------
    def start(self, seed: int) -> tuple[TorchClassifier, Path, dict[str, Any]]:
        """The network that all cures of a seed begin with, its folder, and its figures."""
        o, parts = self.options, self.parts
        network = learner(
            self.classifier, self.data.classes if o.train else self.classifier.classes, seed if o.train else None
        )
        key = {
            "network": state_digest(network),
            "data": digest(self._data_key),
            "start": [o.start_epochs, o.start_lr, o.batch, seed] if o.train else None,
        }

        def make(directory: Path) -> None:
            made: dict[str, Any] = {}
            if o.train:
                made = fit(
                    network,
                    lambda number, _: batches_of(parts["train"], o.batch, [seed, 59, number], self.groups),
                    parts["validation"],
                    epochs=o.start_epochs,
                    lr=o.start_lr,
                    file=self._checkpoints(directory, key) / "start.safetensors",
                    learn_statistics=True,
                    progress=self._step,
                    what=f"seed {seed}, ERM",
                )
            save_network(network, directory, {**made, **self._made_from("erm", network)})
            shutil.rmtree(self._checkpoints(directory, key), ignore_errors=True)

        with seeded(combined_seed(seed, 58)):
            folder = self.session.artifact("repair-start", key, make)
        figures = load_network(network, folder)
        return network, folder, figures

    def described(self, start: TorchClassifier, seed: int) -> tuple[Described, Translator, Any]:
        """The sentences about the training images, the translator behind them, and the probe that they are read by."""
        o, session, cell = self.options, self.session, self.cell
        samples = self.parts["train"].samples
        height, width = samples.images.shape[-2:]
        if o.train and session.explainer(cell).options.translator:
            raise UsageError(
                "texplain.translator names one translator, but with --train each seed has features of its own",
                "leave one of the two out",
            )
        folder, recipe = trained_translator(session, cell, start, (height, width), o.captions, self._step)
        translator, _ = load_translator(folder)
        probe, decoder = recipe.probe, recipe.decoder
        states_key = {
            "features": recipe.features_fingerprint,
            "translator": digest([str(translator.config), [t.sum().item() for t in translator.state_dict().values()]]),
            "decoder": decoder.fingerprint,
            "images": samples.digest,
            "sentences": [o.sentences, seed],
            "code": fingerprints("explainer", [self.cell.method]),
        }

        def make(directory: Path) -> None:
            states = translate(translator, features(probe, samples))
            said = describe(decoder, states, samples, o.sentences, combined_seed(seed, 57), self._step)
            part = self.parts["train"]
            rows = [
                SentenceRow("class", start.classes[int(y)], i, g, tuple(texts))
                for y, i, g, texts in zip(part.labels, samples.ids, part.groups, said.sentences, strict=True)
            ]
            sentence_file.write(directory / sentence_file.FILE, rows)

        folder = session.artifact("repair-sentences", states_key, make)
        sentences = [list(row.sentences) for row in sentence_file.read(folder / sentence_file.FILE)]
        return Described(sentences, count_words(sentences)), translator, probe

    def flags(
        self, start: TorchClassifier, described: Described, translator: Translator, probe: Any, seed: int, folder: Path
    ) -> Flags:
        """Which training images are flagged, and the masks of both maps."""
        o, part = self.options, self.parts["train"]
        names = [start.classes[int(y)] for y in part.labels]
        dominant = dominant_words(described.counts, names, self.lexicon, sorted(lemmas_of(o.words)))
        flagged = [i for i, d in enumerate(dominant) if d.flagged]
        able = [i for i, d in enumerate(dominant) if d.foreign]
        random = np.random.default_rng([seed, 56]).permutation(able)[: len(flagged)].tolist()
        if not flagged:
            self.reasons |= dict.fromkeys(MASKED, "no image was flagged")
            return Flags(dominant, [], [], {})
        decoder = self.session.component("model", self.cell.models[ROLE])
        size = tuple(part.samples.images.shape[-2:])
        masks = {}
        for name, rows in (("word", flagged), ("random", random)):
            words = [dominant[i].foreign for i in rows]
            own = [described.sentences[i] for i in rows]
            maps = word_maps(probe, translator, decoder, part.samples.take(rows), words, own)
            masks[name] = masks_of(maps, (size[0], size[1]), o.deviations)
        for name, rows in (("class", flagged), ("random-class", random)):
            maps = class_maps(probe, part.samples.take(rows), [int(part.labels[i]) for i in rows])
            masks[name] = masks_of(maps, (size[0], size[1]), o.deviations)
        kept = folder / "masks"
        kept.mkdir(exist_ok=True)
        tensors = {name: m.to(torch.uint8) for name, m in masks.items()}
        tensors |= {"flagged": torch.tensor(flagged), "random images": torch.tensor(random)}
        save_file(tensors, kept / f"seed-{seed}.safetensors")
        return Flags(dominant, flagged, random, masks)

    def cured(
        self, cure: str, start: TorchClassifier, flags: Flags | None, seed: int
    ) -> tuple[Path, dict[str, float]] | None:
        """The network of a cure and its accuracies on the test images; None if it cannot be tried.

        `reasons` says why it cannot be.
        """
        o, parts = self.options, self.parts
        images: Part | None = None
        bank: dict[str, Samples] = {}
        if cure in MASKED:
            assert flags is not None
            name = MASKED[cure]
            places = flags.covering(name)
            if not places:
                self.reasons.setdefault(cure, "no mask covers a part of an image")
                return None
            images = self._masked([flags.rows(name)[k] for k in places], flags.masks[name][places])
        elif cure == "disc":
            bank = self._bank
            if not bank:
                return None
        elif not parts["validation" if cure == "last-layer" else "train"].grouped:
            self.reasons[cure] = "the data names no groups; name their column with --set folder.group=COLUMN"
            return None
        elif cure == "last-layer" and (reason := cures.too_small(parts["validation"])):
            self.reasons[cure] = reason
            return None
        key = {
            "start": state_digest(start),
            "data": digest(self._data_key),
            "cure": cure,
            "images": images.samples.digest if images else digest([s.digest for s in bank.values()]),
            "training": [o.epochs, list(o.lrs), o.batch, seed],
        }

        def make(directory: Path) -> None:
            work = self._checkpoints(directory, key)
            names, lrs = self.groups, tuple(o.lrs)
            setting = cures.Setting(
                parts["train"],
                parts["validation"],
                names,
                o.epochs,
                lrs,
                o.batch,
                seed,
                work,
                self._progress(seed, cure),
            )
            more: dict[str, Any] = {}
            if images is not None:
                network, figures = cures.on_images(start, images, setting, cure)
            elif cure == "disc":
                (network, figures), more["unstable"] = cures.disc(start, bank, setting)
            else:
                ways: dict[str, Callable[..., cures.Cured]] = {
                    "reweighted": cures.reweighted, "group-dro": cures.group_dro, "last-layer": cures.last_layer,
                }  # fmt: skip
                network, figures = ways[cure](start, setting)
            save_network(network, directory, {**figures, **more, **self._made_from(cure, network)})
            shutil.rmtree(work, ignore_errors=True)

        with seeded(combined_seed(seed, 55)):
            folder = self.session.artifact("repair-cure", key, make)
        figures = read_json(folder / FIGURES, ("test",))
        if unstable := figures.get("unstable"):
            said = "; ".join(f"{cls}: {', '.join(names) or 'none'}" for cls, names in unstable.items())
            self.notes.append(f"seed {seed}, unstable concepts of DISC before the first epoch: {said}")
        found: dict[str, float] = figures["test"]
        return folder, found

    # -- parts of them -----------------------------------------------------------------------------------------------
    @cached_property
    def _bank(self) -> dict[str, Samples]:
        """Pictures of concepts, none of which names a class."""
        o, data, generator = self.options, self.data, self.cell.generator
        names = list(o.concepts or data.concepts)
        if data.concepts:
            return {n: data.concept(n, BANK, self.cell.data_seed) for n in names if not self._names_a_class(n)}
        if names and generator is not None:
            made = self.session.component("generator", generator)
            seeds = [combined_seed(self.cell.data_seed, 54, i) for i in range(BANK)]
            return {n: made.generate([n] * BANK, seeds) for n in names}
        self.reasons["disc"] = (
            "no pictures of concepts; name concepts with --concepts and what draws them with --generator"
        )
        return {}

    def _names_a_class(self, concept: str) -> bool:
        from xcore.inputs.words import lemma, words

        said = [lemma(word) for word in words(concept)]
        named = read_lexicon("", self.data.classes)
        return any(named.is_own(word, cls) for word in said for cls in self.data.classes)

    def _masked(self, rows: list[int], masks: Tensor) -> Part:
        part = self.parts["train"].take(rows)
        return replace(part, samples=replace(part.samples, data=filled(part.samples.images, masks, self.fill)))

    def _checkpoints(self, directory: Path, key: Mapping[str, Any]) -> Path:
        """A folder beside an artifact, named by its key, so that an interrupted training is found again."""
        made = directory.parent / f".training-{digest(key)}"
        made.mkdir(parents=True, exist_ok=True)
        return made

    def _made_from(self, cure: str, network: TorchClassifier) -> dict[str, Any]:
        """What is kept beside the weights of a network: what it is of (see `repaired`), and its test accuracies."""
        ref = self.cell.classifier
        given = {"text": ref.text, "options": dict(ref.options)}
        return {"cure": cure, "from": given, "test": accuracies(network, self.parts["test"])}

    def _progress(self, seed: int, cure: str) -> Any:
        return lambda step, total, note="": self._step(step, total, f"seed {seed}, {note}")

    def _flagged_figures(self, flags: Flags) -> dict[str, Any]:
        """What was flagged and masked, as plain data."""
        part = self.parts["train"]
        n, of = Counter(part.groups), Counter(part.groups[i] for i in flags.flagged)
        words = Counter(flags.dominant[i].word for i in flags.flagged)
        chosen = {"flagged": flags.flagged, "random": flags.random}
        return {
            "share": len(flags.flagged) / len(part),
            "groups": {g: of[g] / n[g] for g in self.groups if n[g]},
            "words": dict(words.most_common(8)),
            "masked": {name: float(masks.mean()) for name, masks in flags.masks.items()},
            "empty": {name: len(masks) - len(flags.covering(name)) for name, masks in flags.masks.items()},
            "classes": {
                name: {of: sum(int(part.labels[i]) == label for i in rows) for of, rows in chosen.items()}
                for label, name in sorted({int(y): self._class(int(y)) for y in part.labels}.items())
            },
        }

    def _class(self, label: int) -> str:
        """The class of a label of the networks."""
        return str((self.data.classes if self.options.train else self.classifier.classes)[label])

    def _shown(self, flags: Flags) -> list[tuple[str, list[Tensor]]]:
        """Some flagged images of each class: a label, and the image, masked by the word and by the class."""
        part, fill, shown = self.parts["train"], self.fill, []
        labels = sorted(set(part.labels.tolist()))
        for label in labels:
            places = [k for k, i in enumerate(flags.flagged) if int(part.labels[i]) == label]
            for k in places[: max(1, SHOWN // len(labels))]:
                i = flags.flagged[k]
                image = part.samples.images[i : i + 1]
                versions = [filled(image, flags.masks[name][k : k + 1], fill)[0] for name in ("word", "class")]
                shown.append((flags.dominant[i].word, [image[0], *versions]))
        return shown

    def _notes(self, flagged: list[dict[str, Any]]) -> tuple[str, ...]:
        o, n = self.options, {name: len(part) for name, part in self.parts.items()}
        start = "trained from the classifier with a new head" if o.train else "the classifier as it is"
        shares = ", ".join(f"{f['share']:.0%}" for f in flagged)
        notes = [
            f"{n['train']} training, {n['validation']} validation and {n['test']} test images; the start of each seed "
            f"is {start}; every network is the epoch and the learning rate with the best average on validation images"
        ]
        if flagged:
            words = ", ".join(f"{word} ({count})" for word, count in flagged[0]["words"].items())
            groups = ", ".join(f"{group} {share:.0%}" for group, share in flagged[0]["groups"].items())
            masked = ", ".join(f"{name} {share:.1%}" for name, share in flagged[0]["masked"].items())
            notes.append(
                f"flagged (most frequent word not of the class), by seed: {shares}; seed 0: {words or 'no word'}; "
                f"share of each group: {groups}" + (f"; masked of an image: {masked}" if masked else "")
            )
            counts = [
                ", ".join(f"{cls} {c['flagged']} and {c['random']}" for cls, c in f["classes"].items()) for f in flagged
            ]
            notes.append(
                "images of each class, flagged and random, by seed: " + "; ".join(counts) + ": random images are as "
                "many, but drawn without regard to the class"
            )
            empty = {name: sum(f["empty"].get(name, 0) for f in flagged) for name in MASKED.values()}
            if said := ", ".join(f"{count} of {name}" for name, count in empty.items() if count):
                notes.append(f"masks that cover nothing, whose images are left out of the training, over seeds: {said}")
        if not o.train and o.seeds > 1:
            notes.append(
                f"all {o.seeds} seeds share one start, the classifier as it is: intervals over seeds are of the "
                "sentences, the random images and the order of training, not of the classifier (--train trains a "
                "start for each seed)"
            )
        if not self.parts["test"].grouped:
            notes.append("the data names no groups, so that the groups are the classes")
        return (*notes, *dict.fromkeys(self.notes))


def keep(network: Path, target: Path) -> None:
    """Let a trained network be found in another folder: by a second name of the same file, or as a copy."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, FIGURES):
        (target / name).unlink(missing_ok=True)
        try:
            (target / name).hardlink_to(network / name)
        except OSError:
            shutil.copyfile(network / name, target / name)


def show_models(finding: Path, out: Path) -> None:
    """Put the networks of a finding into the folder ``models`` below --out, in place of those of another call."""
    for stale in (out / MODELS).glob("seed-*/*"):
        if stale.name in CURES:
            for name in (WEIGHTS, FIGURES):
                (stale / name).unlink(missing_ok=True)
    for path in sorted((finding / MODELS).glob("*/*")):
        keep(path, out / MODELS / path.parent.name / path.name)
