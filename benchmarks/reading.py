"""Translators from features to the captioner's decoder, trained on balanced pictures, and what is read through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from xcore_minizoo.captions import long_caption
from xcore_minizoo.train.captioner import BIRDS, named, scene_of
from xcore_minizoo.world import Scene, draw
from xcore_texplain import said
from xcore_texplain.counts import Counted, count
from xcore_texplain.features import features, fingerprint
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.pairs import Pairs
from xcore_texplain.texplain import translate
from xcore_texplain.train import clear, gather, train
from xcore_texplain.translator import Translator, load_translator

from xcore.types import Samples

PAIRS, HELD = 3000, 256
SHARED = 0.5  # how often an apple is there if it goes with no class
Draws = Callable[[np.random.Generator], Scene]


class Reader:
    """A decoder with a translator to it: samples in, counted words out."""

    def __init__(self, decoder: Any, probe: Any, translator: Translator, about: dict[str, Any]) -> None:
        self.decoder, self.probe, self.translator, self.about = decoder, probe, translator, about

    def count(self, samples: Samples, seed: int, sentences: int) -> Counted:
        """Words of so many sentences about each sample."""
        states = translate(self.translator, features(self.probe, samples))
        return count(said.say(self.decoder, states, samples, sentences, seed, quiet))

    def mean(self, samples: Samples) -> Counted:
        """Words of sentences about the mean feature."""
        z = features(self.probe, samples).mean(0, keepdim=True)
        return count(self.decoder.sample(translate(self.translator, z), 2000, 1))


def obtain(
    decoder: Any, probe: Any, one: Draws, out: Path, *, pairs: int = PAIRS, options: TranslatorOptions | None = None
) -> Reader:
    """The translator of a probe, trained on pictures that `one` draws, unless it is there."""
    of = fingerprint(probe, (64, 64))  # other weights or another layer: another translator
    folder, work = out / f"translator-{of}", out / f"training-{of}"
    if not (folder / "config.json").is_file():
        o = options or TranslatorOptions()
        made, figures = train(gather(probe, lambda: painted(one, pairs + HELD), work, quiet), decoder, o, work, quiet)
        made.save(folder, {"features_digest": of, **figures})
        clear(work)
    return Reader(decoder, probe, *load_translator(folder))


@lru_cache(maxsize=2)
def painted(one: Draws, n: int) -> Pairs:
    """n pictures with captions of 20 to 30 words."""
    scenes = [one(np.random.default_rng([77, i])) for i in range(n)]
    texts = tuple(long_caption(named(s), np.random.default_rng([78, i])).text for i, s in enumerate(scenes))
    images = torch.from_numpy(np.stack([draw(s, (77, i)).image for i, s in enumerate(scenes)])).permute(0, 3, 1, 2)

    def read(rows: Sequence[int]) -> tuple[Samples, list[int]]:
        return Samples("image", images[list(rows)].float() / 255, tuple(f"pair/{i}" for i in rows)), list(rows)

    return Pairs(texts, read, ())


def whole(rng: np.random.Generator) -> Scene:
    """Any animal of the captioner's own pictures."""
    while True:
        scene = scene_of(rng)
        if scene.shape is not None:
            return scene


def bird(rng: np.random.Generator) -> Scene:
    """A bird of either kind anywhere."""
    return replace(whole(rng), shape=pick(rng, tuple(BIRDS)))


def pet(rng: np.random.Generator) -> Scene:
    """A cat or a dog anywhere; every second one has an apple, whichever it is."""
    base = whole(rng)
    return replace(base, shape=pick(rng, ("cat", "dog")), object="apple" if rng.random() < SHARED else None)


def pick(rng: np.random.Generator, values: Sequence[str]) -> str:
    """One of these."""
    return values[int(rng.integers(len(values)))]


def quiet(step: int, total: int, note: str = "") -> None:
    """No progress: the output is a page."""
