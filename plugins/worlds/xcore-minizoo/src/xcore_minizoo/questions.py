"""The seven questions about pictures whose answers become seed prompts, and the factors that the answers name.

An answer is a phrase of the vocabulary if there is one, else it is made of words of the vocabulary: "striped texture",
"white and black", "green", "grass", "white and black striped texture", "a horse". If there is nothing to name it is
"none" or "nothing".
"""

from __future__ import annotations

from itertools import permutations

from xcore_minizoo.captions import NOUNS, texture_phrase, with_article
from xcore_minizoo.reading import read
from xcore_minizoo.world import BACKGROUNDS, COLOURS, OBJECTS, PATTERNS, SHAPES, Scene

QUESTIONS = {
    "pattern": "what is the pattern in the image?",
    "colours": "what are the colors in the image?",
    "background colour": "what is the background color of the image?",
    "background": "what is in the background of the image?",
    "primary texture": "what is the primary texture in the image?",
    "secondary texture": "what is the secondary texture in the image?",
    "shape": "what is the shape in the image?",
}
NONE, NOTHING = "none", "nothing"
BACKGROUND_COLOURS = {
    "grass": "green",
    "sand": "yellow",
    "water": "blue",
    "snow": "white",
    "mud": "brown",
    "sky": "blue",
    "forest": "green",
}
OBJECT_COLOURS = {"apple": "red", "rock": "gray"}
# the order in which answers name the colours of a pattern that has no ground; it agrees with the classes
_ORDER = ("red", "orange", "yellow", "pink", "green", "brown", "gray", "blue", "white", "black")


def colour_words(colours: tuple[str, ...]) -> str:
    """Colours in words: "white and black", "orange"."""
    return " and ".join(sorted(colours, key=_ORDER.index))


def texture_words(pattern: str, colours: tuple[str, ...]) -> str:
    """A coat as a phrase. In spots the ground is named first; other patterns have no ground that one could tell."""
    ordered = colours if pattern == "spotted" else tuple(sorted(colours, key=_ORDER.index))
    return texture_phrase(pattern, ordered)


def answer_phrases() -> dict[str, Scene]:
    """Every answer, and every single word that names a factor -> the factors that it names."""
    pairs = [*permutations(COLOURS, 2)]
    texts = [*SHAPES, *PATTERNS, *NOUNS.values(), *COLOURS, *BACKGROUNDS, *OBJECTS]
    texts += [with_article(t) for t in (*SHAPES, *OBJECTS)] + [f"{p} texture" for p in PATTERNS]
    texts += [colour_words(pair) for pair in pairs] + [texture_words("plain", (c,)) for c in COLOURS]
    texts += [texture_words(p, pair) for p in PATTERNS if p != "plain" for pair in pairs]
    return {text: read(text) for text in texts}
