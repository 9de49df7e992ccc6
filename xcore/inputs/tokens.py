"""How the tokens of a vision transformer lie in the picture."""

from __future__ import annotations

MAX_EXTRA_TOKENS = 8
"""Class, distillation and register tokens come before the patch tokens; no network in use has more of them."""


def token_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int, int] | None:
    """How tokens lie on a grid with the aspect ratio of the image.

    Parameters
    ----------
    tokens
        Number of tokens of an image.
    size
        (H, W) of the image in pixels.

    Returns
    -------
    (number of extra tokens in front, rows, columns), or None if the tokens form no such grid
    """
    height, width = size
    for extra in range(min(MAX_EXTRA_TOKENS, tokens)):
        rows = round(((tokens - extra) * height / width) ** 0.5)
        if rows and (tokens - extra) % rows == 0:
            columns = (tokens - extra) // rows
            if rows * width == columns * height and rows * columns > 1:
                return extra, rows, columns
    return None
