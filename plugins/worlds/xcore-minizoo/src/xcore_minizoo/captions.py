"""Captions of scenes: short phrases, lists of phrases with commas, and sentences of 20 to 30 words.

A caption keeps the factors that it names as a partial `Scene`, so that it can be checked whether it is true of a
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xcore_minizoo.world import CLASSES, COLOURS, OBJECTS, PATTERNS, SHAPES, Scene

NOUNS = {"striped": "stripes", "spotted": "spots", "patched": "patches", "checkered": "checks"}
PLACES = {
    "grass": ("on grass", "on the grass"),
    "sand": ("on sand", "on the sand"),
    "water": ("in water", "in the water"),
    "snow": ("on snow", "in the snow"),
    "mud": ("in mud", "on mud"),
    "sky": ("in the sky", "in a sky"),
    "forest": ("in a forest", "in the forest"),
}
SPOKEN = {"landbird": "bird", "waterbird": "bird"}
"""Shapes that captions call by another name: people see a bird, not the kind of bird that a data set labels."""


@dataclass(frozen=True)
class Caption:
    """A text, and the factors that it names: a partial scene with None or () for all that the text leaves open."""

    text: str
    says: Scene

    def true_of(self, scene: Scene) -> bool:
        """Whether the scene has all the factors that the caption names."""
        says = self.says
        return (
            says.shape in (None, scene.shape)
            and says.pattern in (None, scene.pattern)
            and says.background in (None, scene.background)
            and says.object in (None, scene.object)
            and (not says.colours or set(says.colours) == set(scene.colours))
        )


def noun(shape: str) -> str:
    """The word for an animal of this shape."""
    return SPOKEN.get(shape, shape)


def with_article(phrase: str) -> str:
    """The phrase with "a" or "an" before it: "a horse", "an orange fish"."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def coat_words(pattern: str | None, colours: Sequence[str]) -> str:
    """A coat in words, such as "white and black striped", "striped" or "brown"; "plain" is left to the caller."""
    words = " and ".join(colours)
    if pattern is None or pattern == "plain":
        return words
    return f"{words} {pattern}" if words else pattern


def texture_phrase(pattern: str, colours: Sequence[str]) -> str:
    """The phrase of the vocabulary for a texture without an animal, e.g. "white and black striped texture"."""
    if pattern == "plain" and not colours:
        return "plain texture"
    return f"{coat_words(pattern, colours)} texture"


def class_phrase(name: str) -> str:
    """The phrase for a class: its name, except for "brown horse", because a horse is also a shape."""
    return "brown horse" if name == "horse" else name


def class_caption(name: str, background: str | None = None) -> Caption:
    """The caption of a class with or without a background: "a zebra", "a zebra on grass"."""
    shape, pattern, colours = CLASSES[name]
    text = with_article(class_phrase(name)) + (f" {PLACES[background][0]}" if background else "")
    return Caption(text, Scene(shape, pattern, colours, background))


def _pick(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


def _order(scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    """The colours in the order in which they are named: any order for stripes and checks, else ground before marks."""
    swap = scene.pattern in ("striped", "checkered") and rng.random() < 0.5
    return scene.colours[::-1] if swap else scene.colours


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A short caption: a request that a user or a policy might make, and that this scene would satisfy."""
    if scene.shape is None:
        return _without_animal(scene, rng)
    if rng.random() < 0.22:
        return _listed(scene, rng)
    return _animal(scene, rng)


def _without_animal(scene: Scene, rng: np.random.Generator) -> Caption:
    if scene.pattern is not None:
        return _texture(scene, rng)
    place = scene.background
    assert place is not None
    if scene.object is not None:
        thing = with_article(scene.object)
        if rng.random() < 0.4:
            return Caption(thing if rng.random() < 0.7 else scene.object, Scene(object=scene.object))
        text = f"{thing} {_pick(rng, PLACES[place])}" if rng.random() < 0.7 else f"{scene.object}, {place}"
        return Caption(text, Scene(background=place, object=scene.object))
    text = _pick(rng, (place, place, f"{place} background", f"{place} texture", f"a picture of {place}"))
    return Caption(text, Scene(background=place))


def _texture(scene: Scene, rng: np.random.Generator) -> Caption:
    pattern, colours = scene.pattern or "plain", _order(scene, rng)
    if pattern == "plain":
        text = _pick(rng, (f"{colours[0]} texture", f"plain {colours[0]} texture", colours[0], "plain texture"))
        return Caption(text, Scene(None, "plain", () if text == "plain texture" else colours))
    kind, words, noun = rng.random(), " and ".join(colours), NOUNS[pattern]
    if kind < 0.2:
        return Caption(
            _pick(rng, (f"{pattern} texture", noun, f"{with_article(pattern)} texture", pattern)), Scene(None, pattern)
        )
    if kind < 0.3:
        return Caption(_pick(rng, (f"{words} texture", words)), Scene(colours=colours))
    if kind < 0.4:
        return Caption(f"{pattern} texture, {words}", Scene(None, pattern, colours))
    full = f"{words} {pattern} texture"
    return Caption(_pick(rng, (full, full, with_article(full), f"{words} {noun}")), Scene(None, pattern, colours))


def _subject(scene: Scene, rng: np.random.Generator) -> tuple[str, Scene]:
    """A noun phrase without article for the animal: its class, its shape with its coat, or only a part of these."""
    shape, pattern = scene.shape or "", scene.pattern or "plain"
    colours, name, kind = _order(scene, rng), scene.name, rng.random()
    if name != "other" and kind < 0.4:
        return class_phrase(name), Scene(shape, pattern, scene.colours)
    if kind < 0.86:
        coat = coat_words(pattern, colours)
        if pattern == "plain" and rng.random() < 0.3:
            coat = f"plain {coat}"
        exact = rng.random() < 0.92
        return f"{coat} {noun(shape) if exact else 'animal'}", Scene(shape if exact else None, pattern, colours)
    if kind < 0.91:
        return f"{pattern} {noun(shape)}", Scene(shape, pattern)
    if kind < 0.94:
        return f"{' and '.join(colours)} {noun(shape)}", Scene(shape, None, colours)
    return noun(shape), Scene(shape)


def _animal(scene: Scene, rng: np.random.Generator) -> Caption:
    subject, says = _subject(scene, rng)
    text = with_article(subject) if rng.random() < 0.88 else subject
    place: str | None = None
    thing: str | None = None
    if scene.background and rng.random() < 0.66:
        place = scene.background
        text += " " + _pick(rng, PLACES[place])
    if scene.object and rng.random() < 0.8:
        thing = scene.object
        text += f" with {with_article(thing)}"
    if rng.random() < 0.04:
        text = f"a picture of {text}"
    return Caption(text, Scene(says.shape, says.pattern, says.colours, place, thing))


def _listed(scene: Scene, rng: np.random.Generator) -> Caption:
    """Two to four phrases, each true of the scene, joined by commas in any order."""
    pattern, shape = scene.pattern or "plain", scene.shape or ""
    colours = _order(scene, rng)
    phrases: list[tuple[str, Scene]] = []
    kind = rng.random()
    if kind < 0.45:
        phrases.append((texture_phrase(pattern, colours), Scene(None, pattern, colours)))
    elif kind < 0.75:
        phrases.append(
            (NOUNS.get(pattern, "plain texture") if rng.random() < 0.5 else f"{pattern} texture", Scene(None, pattern))
        )
        if rng.random() < 0.5:
            phrases.append((" and ".join(colours), Scene(colours=colours)))
    if rng.random() < 0.75 or not phrases:
        if scene.name != "other" and rng.random() < 0.35:
            phrases.append((with_article(class_phrase(scene.name)), Scene(shape, pattern, scene.colours)))
        else:
            phrases.append((with_article(noun(shape)) if rng.random() < 0.6 else noun(shape), Scene(shape)))
    if scene.background and (rng.random() < 0.7 or len(phrases) < 2):
        phrases.append((scene.background, Scene(background=scene.background)))
    if scene.object and rng.random() < 0.7:
        phrases.append((with_article(scene.object), Scene(object=scene.object)))
    order = rng.permutation(len(phrases))
    said = [phrases[i][1] for i in order]
    return Caption(
        ", ".join(phrases[i][0] for i in order),
        Scene(
            next((s.shape for s in said if s.shape), None),
            next((s.pattern for s in said if s.pattern), None),
            next((s.colours for s in said if s.colours), ()),
            next((s.background for s in said if s.background), None),
            next((s.object for s in said if s.object), None),
        ),
    )


_OPENINGS = ("this small picture shows", "in this picture there is", "here we can see", "the painter has painted")
_ENDINGS = (
    "and there is nothing else to be seen in this picture",
    "while nothing else is to be seen here",
    "and that is all there is in the whole picture",
)


def long_caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A sentence of 20 to 30 words that names every factor of the scene."""
    opening, ending = _pick(rng, _OPENINGS), _pick(rng, _ENDINGS)
    colours = _order(scene, rng)
    place = _pick(rng, PLACES[scene.background]) if scene.background else ""
    if scene.shape is not None:
        coat = coat_words(scene.pattern, colours)
        coat = f"plain {coat}" if scene.pattern == "plain" else coat
        middle = f"{with_article(f'{coat} {noun(scene.shape)}')} that is standing {place}"
        if scene.object:
            middle += f" with {with_article(scene.object)} near it"
    elif scene.pattern is not None:
        middle = f"{with_article(texture_phrase(scene.pattern, colours))} that covers all of it from side to side"
    elif scene.object is not None:
        middle = f"{with_article(scene.object)} that is lying {place} in the middle of it"
    else:
        middle = f"{scene.background} and only {scene.background} from one side to the other side of it"
    words = f"{opening} {middle} {ending}".split()
    if len(words) < 20:
        words += ["so", "it", "is", "easy", "to", "see"]
    return Caption(" ".join(words[:30]), scene)


_DECOYS = (
    ("striped", ("red", "pink")), ("striped", ("yellow", "green")), ("spotted", ("white", "red")),
    ("spotted", ("pink", "blue")), ("patched", ("brown", "white")), ("patched", ("gray", "orange")),
    ("checkered", ("white", "black")), ("checkered", ("red", "yellow")), ("checkered", ("blue", "white")),
)  # fmt: skip


def phrases() -> dict[str, Scene]:
    """Phrase that a policy may pick as a seed prompt -> the factors that it names. No phrase is the name of a class."""
    coats = sorted({(p, c) for _, p, c in CLASSES.values() if p != "plain"} | set(_DECOYS))
    out = {f"{p} texture": Scene(None, p) for p in PATTERNS}
    out |= {texture_phrase(p, c): Scene(None, p, c) for p, c in coats}
    out |= {f"{c} texture": Scene(colours=(c,)) for c in COLOURS}
    out |= {with_article(s): Scene(s) for s in SHAPES}
    out |= {place: Scene(background=place) for place in PLACES}
    return out | {with_article(o): Scene(object=o) for o in OBJECTS}


def words() -> tuple[str, ...]:
    """Every word that can occur in a caption, in alphabetical order."""
    rng = np.random.default_rng(0)
    texts: list[str] = [*_OPENINGS, *_ENDINGS, "so it is easy to see", "a picture of an animal texture background", ","]
    texts += [" ".join(v) for v in PLACES.values()] + [*PLACES, *NOUNS.values(), *CLASSES, *COLOURS, *PATTERNS]
    texts += [
        *SHAPES,
        *OBJECTS,
        "with and near it that is standing lying covers all of from side to only one other middle",
    ]
    for background in PLACES:
        texts.append(long_caption(Scene(background=background), rng).text)
    return tuple(sorted({word for text in texts for word in text.replace(",", " , ").split()}))
