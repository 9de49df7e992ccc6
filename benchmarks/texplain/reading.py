"""Translators from features to the captioner's decoder, trained on balanced pictures, and what is read through them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2] / "plugins/worlds/xcore-minizoo"))  # the trainers are not installed

import numpy as np
import torch
import torch.nn.functional as F
from minizoo_training.captioner import named, scene_of
from torchvision.utils import save_image
from xcore_minizoo.captions import long_caption
from xcore_minizoo.world import Scene, draw
from xcore_texplain.features import features, features_fingerprint
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.pairs import Pairs
from xcore_texplain.sentences import sample_sentences
from xcore_texplain.training import compute_features, remove_work_folder, train
from xcore_texplain.translator import Translator, load_translator, translate
from xcore_texplain.words import WordCounts, count_words

from xcore.contract import Samples

PAIRS, HELD = 3000, 256
Draws = Callable[[np.random.Generator], Scene]


class Reader:
    """A decoder with a translator to it: samples in, counted words out."""

    def __init__(self, decoder: Any, probe: Any, translator: Translator, about: dict[str, Any]) -> None:
        self.decoder, self.probe, self.translator, self.about = decoder, probe, translator, about

    def count(self, samples: Samples, seed: int, sentences: int) -> WordCounts:
        """Words of so many sentences about each sample."""
        states = translate(self.translator, features(self.probe, samples))
        return count_words(sample_sentences(self.decoder, states, samples, sentences, seed, quiet))

    def mean(self, samples: Samples) -> WordCounts:
        """Words of sentences about the mean feature."""
        z = features(self.probe, samples).mean(0, keepdim=True)
        return count_words(self.decoder.sample(translate(self.translator, z), 2000, 1))


def obtain(
    decoder: Any, probe: Any, pairs: Callable[[], Pairs], out: Path, options: TranslatorOptions | None = None
) -> Reader:
    """The translator of a probe, trained on these pairs, unless it is below `out`."""
    of = features_fingerprint(probe, (64, 64))  # other weights or another layer: another translator
    folder, work = out / f"translator-{of}", out / f"training-{of}"
    if not (folder / "config.json").is_file():
        o = options or TranslatorOptions()
        made, figures = train(compute_features(probe, pairs, work, quiet), decoder, o, work, quiet)
        made.save(folder, {"features_digest": of, **figures})
        remove_work_folder(work)
    return Reader(decoder, probe, *load_translator(folder))


def painted(one: Draws, n: int, seen: Callable[[Scene], Scene] | None = None) -> Pairs:
    """n pictures, and some to validate with, and their captions of 20 to 30 words.

    Parameters
    ----------
    seen
        What is painted instead of the scene that the caption tells.
    """
    texts, pictures = [], []
    for i in range(n + HELD):
        scene = one(np.random.default_rng([77, i]))
        texts.append(long_caption(named(scene), np.random.default_rng([78, i])).text)
        pictures.append(draw(seen(scene) if seen else scene, (77, i)).image)
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    def read(rows: Sequence[int]) -> tuple[Samples, list[int]]:
        return Samples("image", images[list(rows)].float() / 255, tuple(f"pair/{i}" for i in rows)), list(rows)

    return Pairs(tuple(texts), read, ())


def as_samples(scenes: Sequence[Scene], keys: Sequence[Sequence[int]], of: str) -> Samples:
    """Pictures of scenes; the same key gives the same pose."""
    images = np.stack([draw(scene, key).image for scene, key in zip(scenes, keys, strict=True)])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return Samples("image", x, tuple(f"{of}/{i}" for i in range(len(scenes))))


def whole(rng: np.random.Generator) -> Scene:
    """Any animal of the captioner's own pictures."""
    while True:
        scene = scene_of(rng)
        if scene.shape is not None:
            return scene


def pick(rng: np.random.Generator, values: Sequence[str]) -> str:
    """One of these."""
    return values[int(rng.integers(len(values)))]


def shares(counted: WordCounts, words: Sequence[str]) -> tuple[float, float, float]:
    """Share of sentences with one of these words (a sentence names one place), and its interval over images."""
    each = counted.shares_of(words).sum(1)
    drawn = np.random.default_rng(0).integers(len(each), size=(1000, len(each)))
    low, high = np.quantile(each[drawn].mean(1), [0.025, 0.975])
    return float(each.mean()), float(low), float(high)


def interval(figures: tuple[float, float, float]) -> str:
    """A figure with its interval."""
    return f"{figures[0]:.2f} [{figures[1]:.2f}, {figures[2]:.2f}]"


def strip(rows: Sequence[Samples], path: Path, n: int = 8) -> None:
    """The first pictures of each of these, a row each, twice as large."""
    shown = torch.cat([row.images[:n] for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(F.interpolate(shown, scale_factor=2, mode="nearest"), path, nrow=n, padding=4, pad_value=1.0)


def quiet(step: int, total: int, note: str = "") -> None:
    """No progress: the output is a page."""
