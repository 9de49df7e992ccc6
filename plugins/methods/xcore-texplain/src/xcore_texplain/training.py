"""The training of the translator: only it learns, the classifier and the decoder stay as they are.

`translator_of_task` is what the method calls: it loads the translator that the options name, or trains one, once for a
classifier, a layer, a decoder and a set of pairs.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.contract import (
    Dataset,
    Explanation,
    MissingError,
    Probe,
    Progress,
    Task,
    TextDecoder,
    UsageError,
    XcoreError,
    digest,
)
from xcore.inputs.images import Framing
from xcore.session import read_json, write_json
from xcore_texplain.features import BATCH, features, features_fingerprint
from xcore_texplain.options import Options, TranslatorOptions
from xcore_texplain.pairs import Pairs, PairSource, find_pairs
from xcore_texplain.training_state import TrainingState
from xcore_texplain.translator import Translator, load_translator

ARTIFACT = "texplain-translator"
CHECKPOINT = "checkpoint.safetensors"


def translator_of_task(
    task: Task, probe: Probe, decoder: TextDecoder, o: Options
) -> tuple[Translator, dict[str, Any], str]:
    """The translator that the options name, or the one of the task, trained if it does not exist yet.

    Returns
    -------
    The translator, what its configuration file says, and the fingerprint of the features of the task.

    Raises
    ------
    UsageError, MissingError
        The translator does not fit the layer or the decoder, there is none in the folder, or there are no pairs.
    """
    height, width = task.samples.images.shape[-2:]
    framing = getattr(task.classifier, "framing", None)
    recipe = Recipe(task.data, (height, width), probe, task.layer, decoder, o, task.progress, framing)
    translator, metadata = load_translator(recipe.folder(o.translator, task.artifact))
    check_fit(translator, metadata, probe, task, decoder)
    return translator, metadata, recipe.features_fingerprint


class _Gone(Exception):
    """The translator of an explanation is not among the artifacts."""


def translator_of_explanation(
    explanation: Explanation, task: Task, probe: Probe, decoder: TextDecoder, o: Options
) -> tuple[Translator, dict[str, Any], bool]:
    """The translator that an explanation was made with, or the one of the task, if that one is not there any more.

    Returns
    -------
    The translator, what its configuration file says, and whether it is not the one of the explanation.

    Raises
    ------
    UsageError, MissingError
        As `translator_of_task`.
    """
    key = next((step["translator"] for step in explanation.trace if step.get("step") == "translate"), None)
    if o.translator:
        return *translator_of_task(task, probe, decoder, o)[:2], False
    if key is not None:

        def gone(directory: Path) -> None:
            raise _Gone

        with suppress(_Gone):
            translator, metadata = load_translator(task.artifact(ARTIFACT, key, gone))
            check_fit(translator, metadata, probe, task, decoder)
            return translator, metadata, False
    try:
        translator, metadata, _ = translator_of_task(task, probe, decoder, o)
    except MissingError as error:
        raise MissingError(
            f"the translator of the explanation is not there any more, and another one cannot be trained: {error}",
            error.hint,
        ) from error
    return translator, metadata, metadata.get("key") != key


def check_fit(translator: Translator, metadata: dict[str, Any], probe: Probe, task: Task, decoder: TextDecoder) -> None:
    """Raise `UsageError` if the translator does not fit between the layer of the task and the decoder."""
    if translator.width != decoder.width:
        raise UsageError(
            f"the translator gives states of width {translator.width}, but {decoder.name} reads {decoder.width}",
            f"use the decoder that it was trained for, {metadata.get('decoder', 'another one')}, or train a translator",
        )
    z = features(probe, task.samples.take([0]))
    if z.shape[2] != translator.features or (translator.mode != "tokenwise" and z.shape[1] != translator.positions):
        raise UsageError(
            f"layer {task.layer!r} gives {z.shape[1]} positions of width {z.shape[2]}, but the translator was trained "
            f"for layer {metadata.get('layer', '?')!r} with {translator.positions} of width {translator.features}",
            "name that layer with --layer, or train a translator for this one",
        )


def was_trained_on(metadata: dict[str, Any], probe: Probe, fingerprint: str) -> bool:
    """Whether a translator was trained on the features of this probe.

    Parameters
    ----------
    metadata
        What the configuration file of the translator says. Its fingerprint is of pictures as large as those that it was
        trained on, which may differ from the task's. Without a ``size``, that of the task is taken.
    probe
        The probe.
    fingerprint
        Fingerprint of the features of pictures of the task's size.
    """
    if (trained := metadata.get("features_digest")) == fingerprint or "size" not in metadata:
        return bool(trained == fingerprint)
    height, width = metadata["size"]
    try:
        return bool(trained == features_fingerprint(probe, (height, width)))
    except (XcoreError, RuntimeError, ValueError, AssertionError):  # how modules refuse an input of a wrong size
        return False  # the model that it was trained on took that size


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a translator is made of, and how to make it. Making a recipe is cheap, and it involves no class.

    Parameters
    ----------
    data
        The data set whose captions are learned from, unless the options name a file of pairs.
    size
        Height and width of the pictures in pixels.
    probe
        The probe whose features are translated.
    layer
        The name of its layer.
    decoder
        The language model that reads the states.
    options
        Options of the translator.
    progress
        Told after each step.
    """

    data: Dataset
    size: tuple[int, int]
    probe: Probe
    layer: str
    decoder: TextDecoder
    options: TranslatorOptions
    progress: Progress
    framing: Framing | None = None
    """How the classifier frames pictures; None = they are resized and cropped to `size`."""

    @cached_property
    def features_fingerprint(self) -> str:
        """Fingerprint of the probe's features of pictures of this size."""
        return features_fingerprint(self.probe, self.size)

    @property
    def key(self) -> dict[str, Any]:
        """All that decides what the translator learns."""
        settings = self.options.model_dump(include=set(TranslatorOptions.model_fields) - {"pairs"})
        made_of = {
            "features": self.features_fingerprint,
            "decoder": self.decoder.fingerprint,
            "pairs": self._pairs.identity,
        }
        return {**made_of, **settings}

    def folder(self, given: str, artifact: Callable[[str, dict[str, Any], Callable[[Path], None]], Path]) -> Path:
        """The given folder of a translator; "" = that of the artifact, which is trained if it does not exist yet."""
        if given:
            return Path(given).expanduser()
        key = self.key

        def make(directory: Path) -> None:
            # Beside the artifact and named by its key, so that an interrupted training is found again.
            self.make(directory, directory.parent / f".texplain-{digest(key)}")

        return artifact(ARTIFACT, key, make)

    def make(self, folder: Path, work: Path) -> dict[str, Any]:
        """Train the translator, or continue an interrupted training, and save it.

        Parameters
        ----------
        folder
            Where the translator is saved.
        work
            Where the checkpoint and the features of the pairs are kept until then. No other recipe may use it.

        Returns
        -------
        What the configuration file says beside the arguments of the constructor.
        """
        pairs = compute_features(self.probe, self._pairs.load, work, self.progress)
        made, figures = train(pairs, self.decoder, self.options, work, self.progress)
        metadata = {
            "key": self.key,
            "layer": self.layer,
            "features_digest": self.features_fingerprint,
            "size": list(self.size),
            "decoder": self.decoder.name,
            "decoder_fingerprint": self.decoder.fingerprint,
            **figures,
        }
        made.save(folder, metadata)
        remove_work_folder(work)
        return metadata

    @cached_property
    def _pairs(self) -> PairSource:
        return find_pairs(self.options, self.data, self.framing or self.size)


@dataclass(frozen=True, eq=False)
class PairFeatures:
    """Features of all pairs whose image could be read, memory-mapped from the disk, and the captions.

    Parameters
    ----------
    z
        (n, P, D) features.
    texts
        n captions.
    notes
        What was left out and why, one line each.
    """

    z: NDArray[np.float32]
    texts: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """P and D of the features."""
        return int(self.z.shape[1]), int(self.z.shape[2])

    def some(self, n: int) -> Tensor:
        """(up to n, P, D) features of the first pairs, which are in random order."""
        return torch.from_numpy(np.array(self.z[:n]))

    def rows(self, index: NDArray[np.intp]) -> tuple[Tensor, list[str]]:
        """Features and captions of these pairs, in the order of the file, which the disk reads fastest."""
        rows = np.sort(index)
        return torch.from_numpy(self.z[rows]), [self.texts[i] for i in rows]


def compute_features(probe: Probe, load: Callable[[], Pairs], folder: Path, progress: Progress) -> PairFeatures:
    """Compute the features of every pair, or read those that an earlier call has computed in this folder.

    Raises
    ------
    UsageError
        Fewer than two images can be read, or features are infinite or not a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, index = folder / "features.npy", folder / "features.json"
    if not index.is_file():
        pairs = load()
        texts: list[str] = []
        unreadable, z = 0, None
        for start in range(0, len(pairs), BATCH):
            rows = list(range(start, min(start + BATCH, len(pairs))))
            images, kept = pairs.read(rows)
            unreadable += len(rows) - len(kept)
            if kept:
                a = features(probe, images)
                if z is None:
                    shape = (len(pairs), *a.shape[1:])
                    z = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
                z[len(texts) : len(texts) + len(kept)] = a.numpy()
                texts += [pairs.texts[i] for i in kept]
            progress(rows[-1] + 1, len(pairs), "features of the pairs")
        if z is None or len(texts) < 2:
            why = "".join(f"; {note}" for note in pairs.notes)
            raise UsageError(
                f"only {len(texts)} of {len(pairs)} images of the pairs can be read{why}", "at least two are needed"
            )
        z.flush()
        unread = (f"pairs left out because their image cannot be read: {unreadable}",) if unreadable else ()
        write_json(index, {"texts": texts, "notes": [*pairs.notes, *unread]})
    known = read_json(index, ("texts", "notes"))
    mapped: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)[: len(known["texts"])]
    return PairFeatures(mapped, tuple(known["texts"]), tuple(known["notes"]))


class LearnedPairs(Protocol):
    """What `train` needs of pairs: `PairFeatures`, or features that are computed whenever they are asked for."""

    @property
    def texts(self) -> tuple[str, ...]:
        """n captions."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out and why, one line each."""

    @property
    def shape(self) -> tuple[int, int]:
        """P and D of the features."""

    def some(self, n: int) -> Tensor:
        """(up to n, P, D) features of some pairs."""

    def rows(self, index: NDArray[np.intp]) -> tuple[Tensor, list[str]]:
        """Features and captions of these pairs."""


def train(
    pairs: LearnedPairs,
    decoder: TextDecoder,
    o: TranslatorOptions,
    folder: Path,
    progress: Progress,
    start: Translator | None = None,
) -> tuple[Translator, dict[str, Any]]:
    """Train a translator on the loss of the decoder.

    Parameters
    ----------
    pairs
        Features and captions.
    decoder
        The frozen language model.
    o
        Settings of the translator and of the training.
    folder
        Where the checkpoint is kept: after an interruption, another call continues from it and ends with the same
        translator.
    progress
        Told after each step.
    start
        The translator to begin with, such as that of an earlier stage; None = random weights.

    Returns
    -------
    The translator with the smallest validation loss, and the figures of its training.

    Raises
    ------
    UsageError
        The loss is infinite or not a number.
    """
    n, begun = len(pairs.texts), time.perf_counter()
    order = np.random.default_rng([o.seed, 1]).permutation(n)
    held_out = order[: max(1, min(o.validation, n // 5))]
    learned = order[len(held_out) :]
    positions, width = pairs.shape
    made = Translator(o.mode, positions, width, decoder.tokens, decoder.width, o.hidden, o.seed)
    if start is not None:
        made.load_state_dict(start.state_dict())
    else:
        some = pairs.some(4 * BATCH).flatten(0, 1)
        spread = some.std(0, unbiased=False)
        made.mean.copy_(some.mean(0))
        made.scale.copy_(spread.clamp_min(0.01 * float(spread.mean()) + 1e-6))  # a channel that is off stays finite
    state = TrainingState(made, o, folder / CHECKPOINT, begun)
    while state.step < o.steps and state.without_improvement < o.patience:
        z, texts = pairs.rows(_batch(learned, o, state.step))
        loss = decoder.loss(made(z), texts).mean()
        if not bool(loss.isfinite()):
            raise UsageError(f"the loss is {loss.item()} at step {state.step} of the training", "lower texplain.lr")
        state.optimise(loss)
        if state.step % o.every == 0 or state.step == o.steps:
            state.save_checkpoint(loss.item(), _validation_loss(pairs, held_out, decoder, made, o.batch))
        best = f", validation {state.best:.3f}" if math.isfinite(state.best) else ""  # not measured yet
        progress(state.step, o.steps, f"translator, loss {loss.item():.3f}{best}")
    made.load_state_dict(state.best_weights)
    figures = {
        "steps": state.step,
        "validation_loss": round(state.best, 4),
        "pairs": len(learned),
        "validation_pairs": len(held_out),
        "seconds": round(state.seconds, 1),
        "log": state.log,
        "notes": [*pairs.notes, *decoder.remarks(pairs.texts, made.tokens)],
    }
    return made.eval().requires_grad_(False), figures


def remove_work_folder(folder: Path) -> None:
    """Remove the checkpoint and the features that a finished training does not need any more."""
    shutil.rmtree(folder, ignore_errors=True)


def _batch(learned: NDArray[np.intp], o: TranslatorOptions, step: int) -> NDArray[np.intp]:
    """The pairs of a step: each at most once in an epoch, since a last batch that is not full is left out."""
    size = min(o.batch, len(learned))
    per_epoch = len(learned) // size
    epoch, place = divmod(step, per_epoch)
    shuffled = np.random.default_rng([o.seed, 2, epoch]).permutation(learned)
    return np.asarray(shuffled[place * size : (place + 1) * size])


@torch.no_grad()
def _validation_loss(
    pairs: LearnedPairs, held_out: NDArray[np.intp], decoder: TextDecoder, made: Translator, batch: int
) -> float:
    total, n = 0.0, 0
    for start in range(0, len(held_out), batch):
        z, texts = pairs.rows(held_out[start : start + batch])
        total, n = total + float(decoder.loss(made(z), texts).sum()), n + len(texts)
    return total / n
