"""Everyday visual attributes, in plain English: what a picture may show where nobody says what to look for.

They are what a generator draws random pictures of, and the seed prompts of RLPO, where a data set of pictures has no
vocabulary of its own. The order takes one phrase of each group in turn, so that the first few are varied.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

GROUPS: Mapping[str, tuple[str, ...]] = {
    "pattern": (
        *("stripes", "spots", "checkered pattern", "polka dots", "zigzag pattern", "honeycomb pattern", "grid"),
        *("swirls", "floral pattern", "irregular patches", "speckles", "thin parallel lines", "concentric rings"),
        *("plaid pattern", "overlapping scales", "mosaic", "cracks", "waves", "lettering"),
    ),
    "colour": (
        *("black and white", "orange", "green", "blue", "brown", "white", "yellow", "black", "red", "gray", "pink"),
        *("golden", "beige", "purple", "silver", "turquoise", "pale colours", "bright colours", "rust red"),
    ),
    "texture": (
        *("fur", "smooth surface", "rough surface", "wrinkles", "feathers", "shiny surface", "woven texture"),
        *("fluffy texture", "bumpy texture", "prickly texture", "wet surface", "grainy texture", "ribbed texture"),
        *("velvety texture", "bubbles", "braided texture", "crumpled texture", "moss", "bare skin"),
    ),
    "place": (
        *("grass", "sky", "water", "street", "snow", "forest", "living room", "desert", "beach", "mountains"),
        *("city", "field of crops", "kitchen", "rocks", "garden", "river", "under water", "workshop", "stable"),
    ),
    "material": (
        *("wood", "metal", "glass", "stone", "leather", "plastic", "fabric", "paper", "brick", "sand", "wool"),
        *("concrete", "rubber", "clay", "marble", "rope", "straw", "ice", "bone"),
    ),
    "part": (
        *("eyes", "wheels", "legs", "wings", "leaves", "ears", "hands", "tail", "windows", "horns", "beak"),
        *("petals", "teeth", "whiskers", "branches", "fins", "handle", "mane", "fence"),
    ),
    "light": (
        *("bright sunlight", "dark shadow", "blurred background", "night", "fog", "sunset", "reflections"),
        *("silhouette", "close-up", "soft light", "high contrast", "neon lights", "overcast sky", "candlelight"),
        *("motion blur", "backlight", "sparkles", "dim light", "glare"),
    ),
}
"""Kind of attribute -> phrases, the most usual ones first; as many of each kind."""

EVERYDAY: tuple[str, ...] = tuple(chain.from_iterable(zip(*GROUPS.values(), strict=True)))
"""All phrases: the first of each kind, then the second of each kind, and so on."""
