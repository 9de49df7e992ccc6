"""Nucleus sampling: which tokens are kept, and that they are drawn in proportion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xcore.pretrained.nucleus import nucleus, pick


def whole_vocabulary(probabilities: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The definition: all tokens sorted."""
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    inside = before < p if p < 1 else torch.ones_like(before, dtype=torch.bool)
    inside[:, 0] = True
    return ordered * inside, tokens


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 0.95, 0.999, 1.0])
def test_the_same_is_drawn_as_from_the_whole_vocabulary(p: float, kind: torch.dtype) -> None:
    """Bit for bit, with many equal probabilities and rows that need few tokens beside rows that need many."""
    rng = torch.Generator().manual_seed(int(100 * p))
    sharp = torch.tensor([0.0, 0.5, 1.0, 3.0, 9.0])[:, None, None]
    logits = (sharp * torch.randn(5, 8, 3000, generator=rng, dtype=kind)).round(decimals=1).flatten(0, 1)
    probabilities, u = logits.softmax(-1), torch.rand(40, generator=rng, dtype=kind)
    kept, tokens = nucleus(probabilities, p)
    wanted, order = whole_vocabulary(probabilities, p)
    inside = kept > 0
    assert torch.equal(inside.sum(-1), (wanted > 0).sum(-1))
    assert torch.equal(kept[inside], wanted[:, : kept.shape[1]][inside])
    assert torch.equal(tokens[inside], order[:, : kept.shape[1]][inside])
    assert torch.equal(pick(kept, tokens, u), pick(wanted, order, u))


def test_the_token_that_reaches_p_is_kept() -> None:
    p = torch.tensor([[0.1, 0.5, 0.0, 0.4]], dtype=torch.float64)

    def picked(top_p: float, *u: float) -> list[int]:
        return [int(pick(*nucleus(p, top_p), torch.tensor([v], dtype=torch.float64))) for v in u]

    assert picked(0.5, 0.0, 0.5, 0.999) == [1, 1, 1]
    assert picked(0.6, 0.0, 0.55, 0.56, 0.999) == [1, 1, 3, 3]
    assert picked(1.0, 0.0, 0.49, 0.51, 0.89, 0.91, 0.9999999) == [1, 1, 3, 3, 0, 0]
    assert picked(0.0, 0.0, 0.999) == [1, 1]


@pytest.mark.parametrize("p", [1e-6, 0.3, 0.9, 0.95, 1.0])
def test_nucleus_equals_the_warper_of_transformers(p: float) -> None:
    from transformers import TopPLogitsWarper

    logits = 3 * torch.randn(50, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept, tokens = nucleus(logits.softmax(-1), p)
    back = torch.zeros_like(logits).scatter(-1, tokens, kept / kept.sum(-1, keepdim=True))
    expected = logits.softmax(-1) if p == 1 else TopPLogitsWarper(p)(None, logits.clone()).softmax(-1)
    torch.testing.assert_close(back, expected)
    count = (kept > 0).sum(-1)
    assert int(count.min()) >= 1
    ordered = logits.softmax(-1).sort(descending=True).values
    for row, n in zip(ordered, count, strict=True):
        assert float(row[:n].sum()) >= p - 1e-9  # enough
        assert n == 1 or float(row[: n - 1].sum()) < p  # and no more


def test_picks_follow_the_probabilities() -> None:
    probabilities = torch.tensor([[0.5, 0.1, 0.3, 0.1]], dtype=torch.float64)
    kept, tokens = nucleus(probabilities, 0.85)
    u = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    picked = pick(kept.expand(len(u), -1), tokens.expand(len(u), -1), u)
    shares = torch.bincount(picked, minlength=4) / len(u)
    torch.testing.assert_close(shares, torch.tensor([5, 1, 3, 0]) / 9, atol=0.015, rtol=0)  # ties: the first token
    ends = pick(kept.expand(2, -1), tokens.expand(2, -1), torch.tensor([0.0, 1 - 1e-12], dtype=torch.float64))
    assert ends.tolist() == [0, 1]
