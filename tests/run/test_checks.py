"""What is wrong with a classifier's answer is told before a method builds numbers on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xcore
from xcore.contract import NotApplicable, UsageError


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


class Takes32(Masked):
    """Takes one size only, as vision transformers do."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == 32, "Input height (16) doesn't match model (32)."
        return super().forward(x)


class NoLayers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2, 3)), -x.mean((1, 2, 3))], 1)


def explained(images: object, **given: object) -> object:
    keys = {"target": "a", "class_names": ["a", "b", "c"], **given}
    return xcore.explain(keys.pop("method", "lens"), keys.pop("model", Takes32().eval()), images, **keys)


PLAIN = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "given", "message"),
    [
        (PLAIN * float("nan"), {}, "image/0 holds NaN"),
        ([PLAIN[0], PLAIN[0, :, :16]], {}, r"the pictures have 2 sizes: 32 x 32, 16 x 32 \(say which one"),
        (PLAIN[..., :16], {}, r"cannot read the samples of shape \(4, 3, 32, 16\): Input height"),
        (
            PLAIN,
            {"class_names": "a,b,c"},
            r"class names are one string \(pass a list of names, such as \['a', 'b', 'c'\]",
        ),
        (PLAIN, {"target": torch.tensor(9)}, "target 9 is not one of 3 classes"),
        (PLAIN, {"target": 0.5}, "the target is a float"),
    ],
)
def test_what_is_wrong_with_the_request_is_told_in_one_line(images: object, given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explained(images, **given)


@pytest.mark.parametrize("target", [np.int64(1), torch.tensor(1), 1, "1", "b"])
def test_an_integer_of_numpy_or_torch_is_an_index(target: object) -> None:
    assert explained(PLAIN, target=target).target == "b"


def test_a_network_without_layers_is_no_place_for_a_method_that_opens_one() -> None:
    with pytest.raises(NotApplicable, match="NoLayers has no layer that can be opened"):
        explained(PLAIN, method="craft", model=NoLayers(), class_names=["a", "b"])
