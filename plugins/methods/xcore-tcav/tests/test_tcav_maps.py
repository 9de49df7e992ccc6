"""Maps of where a concept is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from xcore_tcav.maps import projections

from xcore.contract import Samples


class Opened:
    """A probe that gives these activations."""

    def __init__(self, a: Tensor, layout: str) -> None:
        self.a, self.layout = a, layout

    def activations(self, samples: Samples) -> Tensor:
        return self.a


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_tokens_have_the_maps_of_the_same_positions_without_the_tokens_in_front(extra: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a, front = torch.randn(3, 6, 4, 4, generator=generator), 9 * torch.ones(3, extra, 6)
    tokens = torch.cat([front, a.flatten(2).transpose(1, 2)], dim=1)
    samples = Samples("image", torch.zeros(3, 3, 16, 16), ("a", "b", "c"))
    shared = torch.randn(2, 6, generator=generator)
    at_each = torch.randn(2, 6, 4, 4, generator=generator)
    of_tokens = torch.cat([9 * torch.ones(2, extra, 6), at_each.flatten(2).transpose(1, 2)], dim=1).flatten(1)
    for of_map, of_token in ((shared, shared), (at_each.flatten(1), of_tokens)):
        wanted = projections(Opened(a, "NCHW"), samples, of_map)  # type: ignore[arg-type]
        made = projections(Opened(tokens, "NTC"), samples, of_token)  # type: ignore[arg-type]
        assert wanted is not None
        assert made is not None
        assert torch.allclose(made, wanted, atol=1e-5)


def test_vectors_and_tokens_that_form_no_grid_have_no_maps() -> None:
    samples = Samples("image", torch.zeros(3, 3, 16, 16), ("a", "b", "c"))
    assert projections(Opened(torch.zeros(3, 6), "NC"), samples, torch.ones(2, 6)) is None  # type: ignore[arg-type]
    assert projections(Opened(torch.zeros(3, 48, 6), "NTC"), samples, torch.ones(2, 6)) is None  # type: ignore[arg-type]
