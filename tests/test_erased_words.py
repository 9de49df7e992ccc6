"""What a picture shows and the features do not hold is not said of it: TExplain on the minizoo's own models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from xcore_minizoo.captions import long_caption
from xcore_minizoo.world import BACKGROUNDS, CLASS_NAMES, Scene, class_scene, draw
from xcore_texplain import said
from xcore_texplain.counts import count
from xcore_texplain.features import features
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.pairs import Pairs
from xcore_texplain.texplain import translate
from xcore_texplain.train import gather, train

from xcore.api import load_registry
from xcore.types import Ref, Samples

Seen = Callable[[Scene], Scene]
TOLD = 56


def scenes(n: int, seed: int) -> list[Scene]:
    """Animals of the clean classes; every background as often as any other, whatever the animal."""
    rng = np.random.default_rng(seed)
    names = [name for name in CLASS_NAMES if name != "other"]
    drawn = [class_scene(names[int(rng.integers(len(names)))], rng) for _ in range(n)]
    return [replace(scene, background=BACKGROUNDS[i % len(BACKGROUNDS)]) for i, scene in enumerate(drawn)]


def pictures(of: Sequence[Scene], seen: Seen, seed: int) -> Samples:
    images = np.stack([draw(seen(scene), (seed, i)).image for i, scene in enumerate(of)])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return Samples("image", x, tuple(f"{seed}/{i}" for i in range(len(of))))


def largest(x: NDArray[np.float64], there: NDArray[np.bool_]) -> float:
    """Share of sentences with a word: pictures that have it, less those that have not; for the word that gains most."""
    n = there.sum(0)
    return float(((x * there).sum(0) / n - (x * ~there).sum(0) / (len(x) - n)).max())


@pytest.mark.parametrize("erased", [False, True])
def test_a_background_is_told_from_the_features_and_not_from_the_picture(tmp_path: Path, erased: bool) -> None:
    registry = load_registry()
    decoder = registry.create("model", Ref("minizoo/decoder"))
    model = registry.create("classifier", Ref("minizoo/vit"))
    probe = model.open(model.default_layer)

    def seen(scene: Scene) -> Scene:
        return replace(scene, background="sand") if erased else scene

    def pairs() -> Pairs:
        learned = scenes(420, 1)
        texts = tuple(long_caption(s, np.random.default_rng(i)).text for i, s in enumerate(learned))
        shown = pictures(learned, seen, 1)
        return Pairs(texts, lambda rows: (shown.take(rows), list(rows)), ())

    def quiet(step: int, total: int, note: str = "") -> None:
        pass

    options = TranslatorOptions(steps=60, every=60, validation=20)
    translator, _ = train(gather(probe, pairs, tmp_path, quiet), decoder, options, tmp_path, quiet)
    explained = scenes(TOLD, 2)
    shown = pictures(explained, seen, 2)
    sentences = said.say(decoder, translate(translator, features(probe, shown)), shown, 10, 0, quiet)
    x = count(sentences).of(BACKGROUNDS)
    assert x.sum(1).mean() > 0.5  # most sentences name a place
    there = np.array([[s.background == b for b in BACKGROUNDS] for s in explained])
    rng, found = np.random.default_rng(0), largest(x, there)
    null = [largest(x, there[rng.permutation(TOLD)]) for _ in range(400)]
    if erased:
        assert np.mean([value >= found for value in null]) > 0.05
    else:
        assert found > 0.9
        assert max(null) < found
