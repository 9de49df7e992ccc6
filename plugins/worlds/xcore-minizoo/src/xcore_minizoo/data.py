"""The collections of scenes as data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xcore.contract import MissingError, Modality, Samples, Split, Truth, UsageError, unknown
from xcore.inputs.class_names import counted
from xcore_minizoo.captions import caption, long_caption, phrases
from xcore_minizoo.collections import COLLECTIONS, Collection, repaint
from xcore_minizoo.options import PlantOptions
from xcore_minizoo.planted import Planted, truth_file
from xcore_minizoo.plugin import DEFAULTS, WEIGHTS
from xcore_minizoo.questions import answer_phrases
from xcore_minizoo.wiring import CLASSES as WIRED
from xcore_minizoo.wiring import Wiring
from xcore_minizoo.wiring import collection as wired_scenes
from xcore_minizoo.world import (
    BACKGROUNDS,
    CLASS_NAMES,
    PATTERNS,
    Drawing,
    Scene,
    draw,
    random_colours,
)

if TYPE_CHECKING:
    import torch

_CLASSIFIERS = {"minizoo/clean": "clean", "minizoo/shortcut": "shortcut", "minizoo/vit": "vit"}
"""Shipped classifier -> the folder of its weights and of its truth table."""


class Painted:
    """A collection as a data set (protocol `xcore.contract.Dataset`). Pictures are painted when samples are requested.

    `Samples.meta` holds ``factors`` (a mapping for each sample), ``masks`` (n, 3, 64, 64) in [0, 1] (animal, object,
    background), ``caption``, ``long_caption`` and, if the collection has groups, ``group``.

    Parameters
    ----------
    collection
        The classes and their scenes.
    classifier
        The classifier to explain if a request names none. A collection of other classes than the clean ones and those
        of wired classifiers has no such classifier.
    """

    modality: Modality = "image"
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, collection: Collection, classifier: str = DEFAULTS["classifier"]) -> None:
        self._collection = collection
        self._phrases = phrases()
        self.name = collection.name
        self.classes: tuple[str, ...] = collection.classes
        self.concepts: tuple[str, ...] = tuple(self._phrases)
        self.vocabulary: tuple[str, ...] = tuple(self._phrases)
        helpers = {role: ref for role, ref in DEFAULTS.items() if role != "classifier"}
        fits = collection.classes in (CLASS_NAMES, WIRED)
        self.defaults: Mapping[str, str] = {"classifier": classifier, **helpers} if fits else helpers

    def __repr__(self) -> str:
        return f"<data {self.name!r}, images that are painted when they are asked for, {counted(self.classes)}>"

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n pictures of a class, or of all classes if `cls` is None; the first k of n are the same for every n."""
        import torch  # imported here, because a run that is only reported needs the names of the classes and no torch

        if cls is not None and cls not in self.classes:
            raise unknown(f"class of data set {self.name}:", cls, self.classes)
        if n < 0 or seed < 0:
            raise UsageError(f"cannot paint {n} pictures with seed {seed}", "both numbers must be 0 or more")
        made = [self._collection.draw_scene(cls, split, i, seed) for i in range(n)]
        scenes, labels, keys = [m[0] for m in made], [m[1] for m in made], [m[2] for m in made]
        ids = tuple(f"{self.name}/{split}/{cls or 'all'}/{seed}/{i}" for i in range(n))
        names = [self.classes[label] for label in labels]
        return _painted(scenes, keys, ids, torch.tensor(labels, dtype=torch.long), names, self._collection)

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n pictures of which a phrase of the vocabulary is true; the factors that it leaves open are random."""
        if name not in self._phrases:
            raise unknown(f"concept of data set {self.name}:", name, self.concepts)
        says, place = self._phrases[name], list(self._phrases).index(name)
        keys = [(seed, 9, place, i) for i in range(n)]
        scenes = [_scene_of(says, np.random.default_rng([*key, 1])) for key in keys]
        ids = tuple(f"{self.name}/concept/{name}/{seed}/{i}" for i in range(n))
        return _painted(scenes, keys, ids, None, None, self._collection)

    def truth(self, classifier: str) -> Truth | None:
        """What a classifier of the classes of this data set is known to use; None if that is not known.

        It is known of `minizoo/clean`, `minizoo/shortcut` and `minizoo/vit`; of `minizoo/planted:...`, whose truth
        table is measured when it is first asked for (about three minutes); of ``file:PATH`` if there is a truth
        table ``truth.json`` beside the file; and on the data sets `minizoo/wired:...` of `minizoo/wired:...`.
        """
        provider, _, argument = classifier.removeprefix("xcore-minizoo/").partition(":")
        if provider == "minizoo/wired" and self.classes == WIRED:
            from xcore_minizoo.wired import truth_table

            return truth_of(truth_table(Wiring.parse(argument)))
        if self.classes != CLASS_NAMES:
            return None
        if provider == "minizoo/planted":
            return read_truth(truth_file(Planted.parse(argument)))
        if provider == "file":
            beside = Path(argument).with_name("truth.json")
            return read_truth(beside) if beside.is_file() else None
        directory = _CLASSIFIERS.get(provider) if not argument else None
        return None if directory is None else read_truth(WEIGHTS / directory / "truth.json")


class Rearranged(Painted):
    """The clean classes, with the explained pictures in another order, or each of them twice.

    Only the split "explain" is rearranged. What a method finds in a class is a statement about its pictures, so that it
    must not depend on their order, nor on how often all of them are given.

    Parameters
    ----------
    how
        ``shuffled`` or ``twice``.
    """

    def __init__(self, how: str) -> None:
        if how not in REARRANGED:
            raise unknown("way to rearrange:", how, REARRANGED)
        super().__init__(COLLECTIONS["minizoo"])
        self.name = f"minizoo/rearranged:{how}"
        self._how = how

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n pictures of a class, or of all classes if `cls` is None, shuffled; or twice as many, each twice."""
        found = super().samples(cls, split, n, seed)
        if split != "explain":
            return found
        if self._how == "shuffled":
            return found.take(shuffled(n))
        both = found.take([*range(n), *range(n)])
        return replace(both, ids=(*found.ids, *(f"{name}/again" for name in found.ids)))


REARRANGED = ("shuffled", "twice")


def shuffled(n: int) -> list[int]:
    """The order of n pictures of `minizoo/rearranged:shuffled`: place -> the place in `minizoo`."""
    return [int(i) for i in np.random.default_rng(n).permutation(n)]


def read_truth(path: Path) -> Truth:
    """Read a truth table; raises `MissingError` if there is no such file."""
    if not path.is_file():
        raise MissingError(
            f"there is no truth table {str(path)!r}", "measure it with `python -m xcore_minizoo.truth FOLDER`"
        )
    return truth_of(json.loads(path.read_text()))


def truth_of(table: Mapping[str, Any]) -> Truth:
    """A truth table, as `xcore_minizoo.truth` and `xcore_minizoo.wired` measure it, with the phrases of the world."""
    effects = {c: {v: (e[0], e[1], e[2]) for v, e in values.items()} for c, values in table["effects"].items()}
    named = {text: factor_values(says) for text, says in {**answer_phrases(), **phrases()}.items()}
    return Truth(effects, table["gaps"], named, table["share"])


def factor_values(says: Scene) -> frozenset[str]:
    """The factor values that a partial scene names, such as ``pattern=striped`` and ``colour=white``."""
    pairs = (("shape", says.shape), ("pattern", says.pattern), ("background", says.background), ("object", says.object))
    values = [f"{factor}={value}" for factor, value in pairs if value is not None]
    return frozenset([*values, *(f"colour={c}" for c in says.colours)])


def minizoo(options: None = None) -> Painted:
    """The clean classes."""
    return Painted(COLLECTIONS["minizoo"])


def shortcut_birds(options: None = None) -> Painted:
    """Two shapes of birds; 95 % stand on their own background in training, half of them in the other splits."""
    return Painted(COLLECTIONS["minizoo/shortcut-birds"])


def cats_apples(options: None = None) -> Painted:
    """Cats and dogs; in training every cat and no dog is beside an apple, in the other splits all animals are."""
    return Painted(COLLECTIONS["minizoo/cats-apples"])


def objects(options: None = None) -> Painted:
    """Any animal on any background, labelled by the animal."""
    return Painted(COLLECTIONS["minizoo/objects"])


def scenes(options: None = None) -> Painted:
    """Any animal on any background, labelled by the background."""
    return Painted(COLLECTIONS["minizoo/scenes"])


def planted(options: PlantOptions) -> Painted:
    """The clean classes with a shortcut planted in one of them; explains the classifier that learned it by default."""
    shortcut = Planted(options.cls, options.factor, options.rho)
    return Painted(shortcut.collection, str(shortcut))


def rearranged(options: None, argument: str) -> Painted:
    """The clean classes, rearranged (see `Rearranged`)."""
    return Rearranged(argument)


def repainted(options: None, argument: str) -> Painted:
    """The clean classes, with one factor of the explained pictures changed (see `collections.repaint`)."""
    return Painted(repaint(argument))


def wired(options: None, argument: str) -> Painted:
    """Any animals on any background, by an expression in the class "wired" or "rest"; explains the classifier of it."""
    wiring = Wiring.parse(argument)
    return Painted(wired_scenes(wiring), wiring.reference)


def _scene_of(says: Scene, rng: np.random.Generator) -> Scene:
    """A complete scene that has all the factors of a partial one."""

    def pick(values: Sequence[str]) -> str:
        return values[int(rng.integers(len(values)))]

    if says.background:
        return says
    if says.object:
        return Scene(background=pick(BACKGROUNDS), object=says.object)
    if says.shape:
        pattern = pick(PATTERNS)
        return Scene(pick((says.shape,)), pattern, random_colours(rng, pattern), pick(BACKGROUNDS))
    pattern = says.pattern or "plain"
    return Scene(None, pattern, says.colours or random_colours(rng, pattern))


def _painted(
    scenes: list[Scene],
    keys: Sequence[tuple[int, ...]],
    ids: tuple[str, ...],
    labels: torch.Tensor | None,
    names: list[str] | None,
    collection: Collection,
) -> Samples:
    import torch

    drawings = [draw(scene, key) for scene, key in zip(scenes, keys, strict=True)]
    if drawings:
        images = torch.from_numpy(np.stack([d.image for d in drawings])).permute(0, 3, 1, 2).float().div(255)
        masks = torch.from_numpy(np.stack([_masks(d) for d in drawings]))
    else:
        images, masks = torch.zeros(0, 3, 64, 64), torch.zeros(0, 3, 64, 64)
    rngs = [np.random.default_rng([*key, 2]) for key in keys]
    meta: dict[str, Any] = {
        "factors": tuple(_factors(s) for s in scenes),
        "masks": masks,
        "caption": tuple(caption(s, r).text for s, r in zip(scenes, rngs, strict=True)),
        "long_caption": tuple(long_caption(s, r).text for s, r in zip(scenes, rngs, strict=True)),
    }
    if collection.group is not None and names is not None:
        meta["group"] = tuple(collection.group(c, s) for c, s in zip(names, scenes, strict=True))
    return Samples("image", images.contiguous(), ids, labels, meta)


def _masks(drawing: Drawing) -> np.ndarray[Any, Any]:
    return np.stack([drawing.animal, drawing.object, drawing.background])


def _factors(scene: Scene) -> dict[str, Any]:
    one_of = {"shape": scene.shape, "pattern": scene.pattern, "background": scene.background, "object": scene.object}
    return {**one_of, "colour": scene.colours}
