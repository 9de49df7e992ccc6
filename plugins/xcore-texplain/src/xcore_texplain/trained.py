"""The translator of a task: read from a folder, or trained once for this classifier, layer, decoder and these pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xcore.errors import UsageError, XcoreError
from xcore.identity import digest
from xcore.protocols import Dataset, Probe, Progress, Task
from xcore.roles import TextDecoder
from xcore_texplain.features import features, fingerprint
from xcore_texplain.options import Options, TranslatorOptions
from xcore_texplain.pairs import Source, source
from xcore_texplain.train import clear, gather, train
from xcore_texplain.translator import Translator, load_translator

NAME = "texplain-translator"


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a translator is made of, and how; light to make. No class is among it."""

    data: Dataset
    """Whose captions are learned from, unless the options name others."""
    size: tuple[int, int]
    """Height and width of the pictures."""
    probe: Probe
    layer: str
    decoder: TextDecoder
    options: TranslatorOptions
    progress: Progress

    @cached_property
    def features(self) -> str:
        """Digest of what the probe does to pictures of this size."""
        return fingerprint(self.probe, self.size)

    @property
    def key(self) -> dict[str, Any]:
        """What decides what the translator learns."""
        settings = self.options.model_dump(include=set(TranslatorOptions.model_fields) - {"pairs"})
        made_of = {"features": self.features, "decoder": self.decoder.fingerprint, "pairs": self._pairs.identity}
        return {**made_of, **settings}

    def make(self, folder: Path, work: Path) -> dict[str, Any]:
        """Train it, or go on where an interrupted training stopped, and save it; returns what is known of it.

        Parameters
        ----------
        folder
            Where the translator goes.
        work
            Where the checkpoint and the features of the pairs are kept meanwhile; of this recipe alone.
        """
        gathered = gather(self.probe, self._pairs.load, work, self.progress)
        made, figures = train(gathered, self.decoder, self.options, work, self.progress)
        about = {
            "key": self.key,
            "layer": self.layer,
            "features_digest": self.features,
            "size": list(self.size),
            "decoder": self.decoder.name,
            "decoder_fingerprint": self.decoder.fingerprint,
            **figures,
        }
        made.save(folder, about)
        clear(work)
        return about

    @cached_property
    def _pairs(self) -> Source:
        return source(self.options, self.data, self.size)


def obtain(task: Task, probe: Probe, decoder: TextDecoder, o: Options) -> tuple[Translator, dict[str, Any], str]:
    """The translator of the option, or of the task, what is known of it, and the digest of the task's features."""
    height, width = task.samples.images.shape[-2:]
    recipe = Recipe(task.data, (height, width), probe, task.layer, decoder, o, task.progress)
    if o.translator:
        folder = Path(o.translator).expanduser()
    else:
        key = recipe.key

        def make(directory: Path) -> None:
            # Beside the artifact, under the name of its key: an interrupted training is found again.
            recipe.make(directory, directory.parent / f".texplain-{digest(key)}")

        folder = task.artifact(NAME, key, make)
    translator, about = load_translator(folder)
    check(translator, about, probe, task, decoder)
    return translator, about, recipe.features


def knows(about: dict[str, Any], probe: Probe, found: str) -> bool:
    """Whether a translator was trained on the features of this probe.

    The digest is of pictures as large as those it was trained on, and the task's may be larger.

    Parameters
    ----------
    about
        What is known of the translator; without a ``size``, that of the task is taken.
    found
        Digest of the probe's features of pictures of the task's size.
    """
    if (trained := about.get("features_digest")) == found or "size" not in about:
        return bool(trained == found)
    height, width = about["size"]
    try:
        return bool(trained == fingerprint(probe, (height, width)))
    except (XcoreError, RuntimeError, ValueError, AssertionError):  # how modules refuse a wrong input size
        return False  # what it was trained on took that size


def check(translator: Translator, about: dict[str, Any], probe: Probe, task: Task, decoder: TextDecoder) -> None:
    """Raise `UsageError` if the translator does not fit between this layer and this decoder."""
    if translator.width != decoder.width:
        raise UsageError(
            f"the translator gives states of width {translator.width}, {decoder.name} reads {decoder.width}",
            f"it was trained for {about.get('decoder', 'another decoder')}",
        )
    z = features(probe, task.samples.take([0]))
    if z.shape[2] != translator.features or (translator.mode != "tokenwise" and z.shape[1] != translator.positions):
        raise UsageError(
            f"layer {task.layer!r} gives {z.shape[1]} positions of width {z.shape[2]}, the translator was trained at "
            f"layer {about.get('layer', '?')!r} for {translator.positions} of width {translator.features}",
            "name that layer with --layer, or train a translator for this one",
        )
