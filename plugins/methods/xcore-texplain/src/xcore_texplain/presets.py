"""Schedules of training by name: which sets of pairs are learned from, one stage after another, and for how long."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.contract import MissingError, Probe, Samples, UsageError, unknown
from xcore_texplain.features import BATCH, features
from xcore_texplain.pairs import Pairs, PairSource, find_pairs
from xcore_texplain.training import Recipe, remove_work_folder, train
from xcore_texplain.translator import CONFIG, Translator, load_translator


@dataclass(frozen=True)
class Stage:
    """Sets of pairs that are learned from together, for so many epochs."""

    sets: tuple[str, ...]
    epochs: int


@dataclass(frozen=True)
class Preset:
    """A schedule of training."""

    stages: tuple[Stage, ...]
    batch: int
    pairs: int
    """About how many pairs the sets had when the schedule was published."""


PRESETS = {
    "paper": Preset(
        (Stage(("visual-genome", "conceptual-captions", "cc12m", "sbu"), 20), Stage(("coco",), 5)), 512, 14_000_000
    )
}
"""Taghanaki et al., TExplain, 2023: 20 epochs on all sets but COCO, then 5 on COCO, 512 pairs in each step."""
EVERY_PAIR = 10**9
EXAMPLE = 'the file reads coco = "coco/captions.jsonl", and one such line for each set; paths are relative to it'


@dataclass(frozen=True, eq=False)
class PresetRecipe:
    """A recipe whose pairs and steps a preset decides; `key` and `make` are as those of `Recipe`.

    The option `mode` and the learning rate stay as they are, since the paper does not state them. Features are computed
    in each step anew: those of 14 million pictures fit on no disk.

    Parameters
    ----------
    recipe
        What it is made of beside the pairs.
    name
        Name of the preset.
    file
        TOML file: name of a set -> its file of pairs, as of ``texplain.pairs``.

    Raises
    ------
    UsageError
        There is no such preset, or the file is damaged.
    MissingError
        There is no file, or it lacks a set or names pairs that do not exist.
    """

    recipe: Recipe
    name: str
    file: str

    def __post_init__(self) -> None:
        if self.name not in PRESETS:
            raise unknown("preset", self.name, PRESETS)
        _ = self._sources

    @property
    def key(self) -> dict[str, Any]:
        """All that decides what the translator learns."""
        o = self.recipe.options
        return {
            "features": self.recipe.features_fingerprint,
            "decoder": self.recipe.decoder.fingerprint,
            "preset": self.name,
            "pairs": {name: source.identity for name, source in self._sources.items()},
            **o.model_dump(include={"mode", "hidden", "lr", "validation", "seed"}),
        }

    def make(self, folder: Path, work: Path) -> dict[str, Any]:
        """Train the translator stage by stage, or continue an interrupted training, and save it; see `Recipe.make`."""
        made: Translator | None = None
        figures: dict[str, Any] = {}
        notes: list[str] = []
        counts: list[int] = []
        seconds, log, steps = 0.0, list[Any](), 0
        for i, stage in enumerate(PRESETS[self.name].stages):
            made, figures = self._stage(stage, made, work / f"stage-{i + 1}")
            counts.append(figures["pairs"] + figures["validation_pairs"])
            sets = ", ".join(stage.sets)
            notes.append(
                f"stage {i + 1}: {sets}: {counts[-1]} pairs, {stage.epochs} epochs of {figures['steps']} steps in all"
            )
            notes += figures["notes"]
            seconds, log, steps = seconds + figures["seconds"], log + figures["log"], steps + figures["steps"]
        preset = PRESETS[self.name]
        if sum(counts) < preset.pairs // 2:
            notes.append(f"the preset {self.name!r} was published with about {preset.pairs} pairs, not {sum(counts)}")
        metadata = {
            "key": self.key,
            "layer": self.recipe.layer,
            "features_digest": self.recipe.features_fingerprint,
            "size": list(self.recipe.size),
            "decoder": self.recipe.decoder.name,
            "decoder_fingerprint": self.recipe.decoder.fingerprint,
            **figures,
            "pairs": sum(counts),
            "steps": steps,
            "seconds": seconds,
            "log": log,
            "notes": notes,
        }
        assert made is not None
        made.save(folder, metadata)
        remove_work_folder(work)
        return metadata

    def _stage(self, stage: Stage, start: Translator | None, work: Path) -> tuple[Translator, dict[str, Any]]:
        """The translator after a stage, and the figures of its training; read if the stage was finished before."""
        if (work / CONFIG).is_file():
            made, metadata = load_translator(work)
            return made, metadata["figures"]
        r = self.recipe
        pairs = FreshFeatures(r.probe, [self._sources[name].load() for name in stage.sets])
        n = len(pairs.texts)
        learned = n - max(1, min(r.options.validation, n // 5))
        epoch = steps_of(learned, 1, PRESETS[self.name].batch)
        schedule = {"steps": stage.epochs * epoch, "batch": PRESETS[self.name].batch, "every": epoch}
        o = r.options.model_copy(update={**schedule, "patience": stage.epochs + 1})
        work.mkdir(parents=True, exist_ok=True)
        made, figures = train(pairs, r.decoder, o, work, r.progress, start)
        made.save(work, {"figures": figures})
        return made, figures

    @cached_property
    def _sources(self) -> dict[str, PairSource]:
        needed = [name for stage in PRESETS[self.name].stages for name in stage.sets]
        example = f"{EXAMPLE}; the sets are {', '.join(needed)}"
        if not self.file:
            raise MissingError(
                f"the preset {self.name!r} needs {len(needed)} sets of pairs", f"--pairs FILE: {example}"
            )
        path = Path(self.file).expanduser()
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise MissingError(f"cannot read {self.file!r}: {error.strerror}", example) from error
        except ValueError as error:
            raise UsageError(f"{self.file!r} is no TOML: {error}", example) from error
        for name in given:
            if name not in needed:
                raise unknown(f"set of pairs in {self.file}:", name, needed)
        if lacking := [name for name in needed if not isinstance(given.get(name), str)]:
            raise MissingError(f"{self.file} does not say where the pairs of {', '.join(lacking)} are", example)
        found = {}
        for name in needed:
            one = self.recipe.options.model_copy(
                update={"pairs": str(path.parent / given[name]), "train_pairs": EVERY_PAIR}
            )
            found[name] = find_pairs(one, self.recipe.data, self.recipe.framing or self.recipe.size)
        return found


def steps_of(pairs: int, epochs: int, batch: int) -> int:
    """Steps of so many epochs, in which a last batch that is not full is left out."""
    return epochs * max(1, pairs // min(batch, pairs))


class FreshFeatures:
    """Features of pairs that are computed whenever they are asked for, as `PairFeatures` has them on the disk.

    Parameters
    ----------
    probe
        The probe.
    parts
        The pairs of each set.
    """

    def __init__(self, probe: Probe, parts: Sequence[Pairs]) -> None:
        self._probe, self._parts = probe, parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.texts = tuple(text for part in parts for text in part.texts)
        self.notes = tuple(note for part in parts for note in part.notes)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """P and D of the features."""
        z = self.some(1)
        return int(z.shape[1]), int(z.shape[2])

    def some(self, n: int) -> Tensor:
        """(up to n, P, D) features of pairs of all sets."""
        index = np.linspace(0, len(self.texts) - 1, min(n, len(self.texts))).astype(np.intp)
        return self.rows(index)[0]

    def rows(self, index: NDArray[np.intp]) -> tuple[Tensor, list[str]]:
        """Features and captions of these pairs, without those whose image cannot be read.

        Raises
        ------
        UsageError
            None of the images can be read.
        """
        made, texts = list[Tensor](), list[str]()
        for start in range(0, len(index), BATCH):
            images, told = self._read(np.sort(index)[start : start + BATCH])
            if told:
                made.append(features(self._probe, images))
                texts += told
        if not made:
            raise UsageError(f"none of {len(index)} images of the pairs can be read", "check the files of pairs")
        return torch.cat(made), texts

    def _read(self, index: NDArray[np.intp]) -> tuple[Samples, list[str]]:
        found, texts = list[Samples](), list[str]()
        for part, start, end in zip(self._parts, self._starts[:-1], self._starts[1:], strict=True):
            rows = [int(i - start) for i in index if start <= i < end]
            if rows:
                images, kept = part.read(rows)
                if kept:
                    found.append(images)
                    texts += [part.texts[i] for i in kept]
        return (Samples.concat(found) if found else Samples("image", torch.zeros(0, 3, 1, 1), ())), texts
