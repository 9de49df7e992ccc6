"""The translator of a task: read from a folder, or trained once for this classifier, layer, decoder and these pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xcore.errors import UsageError
from xcore.identity import digest
from xcore.protocols import Probe, Task
from xcore.roles import TextDecoder
from xcore_texplain.features import features, fingerprint
from xcore_texplain.options import Options, TranslatorOptions
from xcore_texplain.pairs import Source, source
from xcore_texplain.train import clear, gather, train
from xcore_texplain.translator import Translator, load_translator

NAME = "texplain-translator"


class Recipe:
    """What a translator is made of, and how; light to make.

    Parameters
    ----------
    task
        Its classifier, layer and data count, not its class.
    """

    def __init__(self, task: Task, probe: Probe, decoder: TextDecoder, o: TranslatorOptions) -> None:
        size = (task.samples.images.shape[-2], task.samples.images.shape[-1])
        self.features = fingerprint(probe, size)
        self._task, self._probe, self._decoder, self._options = task, probe, decoder, o
        self._size = size

    @property
    def key(self) -> dict[str, Any]:
        """What decides what the translator learns."""
        settings = self._options.model_dump(include=set(TranslatorOptions.model_fields) - {"pairs"})
        made_of = {"features": self.features, "decoder": self._decoder.fingerprint, "pairs": self._pairs().identity}
        return {**made_of, **settings}

    def make(self, folder: Path, work: Path) -> dict[str, Any]:
        """Train it, or go on where an interrupted training stopped, and save it; returns what is known of it.

        Parameters
        ----------
        folder
            Where the translator goes.
        work
            Where the checkpoint and the features of the pairs are kept meanwhile.
        """
        task, progress = self._task, self._task.progress
        gathered = gather(self._probe, self._pairs().load, work, progress)
        made, figures = train(gathered, self._decoder, self._options, work, progress)
        about = {
            "key": self.key,
            "layer": task.layer,
            "features_digest": self.features,
            "decoder": self._decoder.name,
            "decoder_fingerprint": self._decoder.fingerprint,
            **figures,
        }
        made.save(folder, about)
        clear(work)
        return about

    def _pairs(self) -> Source:
        return source(self._options, self._task.data, self._size)


def obtain(task: Task, probe: Probe, decoder: TextDecoder, o: Options) -> tuple[Translator, dict[str, Any], str]:
    """The translator of the option, or of the task, what is known of it, and the digest of the task's features."""
    recipe = Recipe(task, probe, decoder, o)
    if o.translator:
        folder = Path(o.translator).expanduser()
    else:
        key = recipe.key
        # Beside the artifact, under the name of its key: an interrupted training is found again.
        folder = task.artifact(
            NAME, key, lambda directory: _ignore(recipe.make(directory, directory.parent / f".texplain-{digest(key)}"))
        )
    translator, about = load_translator(folder)
    check(translator, about, probe, task, decoder)
    return translator, about, recipe.features


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


def _ignore(made: object) -> None:
    """An artifact's maker returns nothing."""
