"""What is wrong with a classifier's answer is told before a method builds numbers on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xcore
from xcore.contract import UsageError


class Masked(nn.Module):
    """Gives the logit of the last class as minus infinity, as class-incremental learning does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).amax((2, 3))).index_fill(1, torch.tensor([2]), float("-inf"))


@pytest.mark.parametrize("method", ["craft", "eac", "lens"])
def test_a_class_whose_logit_is_infinite_is_refused_by_name(method: str) -> None:
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UsageError, match=r"logit of class 'c' is -inf for 6 of 6 samples, first .*masks this class"):
        xcore.explain(method, Masked().eval(), images, target="c", class_names={"a": 0, "b": 1, "c": 2})
