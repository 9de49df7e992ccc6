"""Where the tokens of a vision transformer lie in the picture."""

from __future__ import annotations

from xcore.inputs.tokens import token_grid


def test_tokens_lie_on_a_grid_behind_extra_ones() -> None:
    assert token_grid(65, (64, 64)) == (1, 8, 8)
    assert token_grid(196, (224, 224)) == (0, 14, 14)
    assert token_grid(197, (224, 224)) == (1, 14, 14)
    assert token_grid(261, (224, 224)) == (5, 16, 16)
    assert token_grid(25, (64, 96)) == (1, 4, 6)
    assert token_grid(48, (64, 64)) is None
