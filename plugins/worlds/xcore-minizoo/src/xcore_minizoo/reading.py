"""Read the factors that a sentence about the painted world names."""

from __future__ import annotations

from xcore_minizoo.captions import NOUNS
from xcore_minizoo.world import BACKGROUNDS, CLASSES, COLOURS, OBJECTS, PATTERNS, SHAPES, Scene

_PATTERN_OF = {pattern: pattern for pattern in PATTERNS} | {noun: pattern for pattern, noun in NOUNS.items()}


def read(text: str) -> Scene:
    """The factors that a caption names, as a partial scene.

    All colours count; of any other factor the first word counts. The name of a class stands for its shape, pattern and
    colours. Every word belongs to one factor only, except "horse", which is read as the shape.
    """
    said = text.replace(",", " ").split()
    shape = next((w for w in said if w in SHAPES), None)
    pattern = next((_PATTERN_OF[w] for w in said if w in _PATTERN_OF), None)
    colours = tuple(c for c in COLOURS if c in said)
    name = next((w for w in said if w in CLASSES and w not in SHAPES), None)
    if name is not None:
        shape, pattern, colours = CLASSES[name]
    place = next((w for w in said if w in BACKGROUNDS), None)
    thing = next((w for w in said if w in OBJECTS), None)
    return Scene(shape, pattern, colours, place, thing)
