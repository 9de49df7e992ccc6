"""Orders of axes are told from what a network does, or asked for."""

from __future__ import annotations

import pytest
import torch
from small_networks import opened, pictures
from torch import Tensor, nn

from xcore.contract import Samples, UsageError

# ------------------------------------------------------------------------------------------------------------- layouts


class Fixed(nn.Module):
    """Takes pictures of 7 x 7 only, so that all axes of its maps may be 7 long."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        return self.pool(self.block(self.stem(x)))


class Pass(nn.Module):
    """A block of which the code says nothing about axes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("abcd->abcd", x) * 2


class First(Fixed):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.fc = nn.Conv2d(3, 7, 3, padding=1), nn.Sequential(nn.ReLU()), nn.Linear(7, 3)

    def pool(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Last(First):
    """Blocks of channels last, as in Swin and ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.LayerNorm(7), nn.Linear(7, 7), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        a = self.stem(x).permute(0, 2, 3, 1)
        return self.fc((a + self.block(a)).mean((1, 2)))


class Tokens(First):
    """As many tokens as channels: 49 of both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 49, 3, padding=1), nn.Linear(49, 3)
        self.block = nn.Sequential(nn.LayerNorm(49), nn.Linear(49, 49), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        return self.fc(self.block(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class OwnNorm(Tokens):
    """Tokens with a norm over the channels that is written out, as in language models."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        a = self.block(self.stem(x).flatten(2).transpose(1, 2))
        return self.fc((a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1e-6))[:, 0])


class ChannelsOfTokens(Tokens):
    """Tokens with the channels first, (n, C, T), as a convolution over a sequence has them."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv1d(49, 49, 1), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        return self.fc(self.block(self.stem(x).flatten(2)).mean(2))


def raw(module: nn.Module, layer: str, x: Samples) -> Tensor:
    seen: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        module(x.images)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("kind", "layer", "order"),
    [
        (First, "stem", (0, 1, 2, 3)),
        (First, "block", (0, 1, 2, 3)),
        (Last, "stem", (0, 1, 2, 3)),
        (Last, "block", (0, 3, 1, 2)),
        (Last, "block.1", (0, 3, 1, 2)),
        (Tokens, "block", (0, 1, 2)),
        (OwnNorm, "block", (0, 1, 2)),
        (ChannelsOfTokens, "block", (0, 2, 1)),
    ],
)
def test_axes_of_equal_length_are_told_apart(kind: type[nn.Module], layer: str, order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = kind().eval(), pictures(side=7)
    c = opened(module, input_size=7)
    probe = c.open(layer)
    torch.testing.assert_close(probe.activations(x), raw(module, layer, x).permute(order))
    torch.testing.assert_close(probe.head(probe.activations(x), x), c.logits(x))


def test_axes_that_nothing_tells_are_asked_for() -> None:
    class Unclear(First):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.fc = Pass(), nn.Linear(343, 3)

        def pool(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1))

    module, x = Unclear().eval(), pictures(side=7)
    c = opened(module, input_size=7)
    assert c.layers == ("stem", "fc")
    with pytest.raises(UsageError, match=r"nothing in the network shows.*layouts=\{'block': 'NCHW'\}"):
        c.open("block")
    said = opened(module, input_size=7, layouts={"block": "NHWC"}).open("block")
    torch.testing.assert_close(said.activations(x), raw(module, "block", x).permute(0, 3, 1, 2))
    torch.testing.assert_close(said.head(said.activations(x)), c.logits(x))
    with pytest.raises(UsageError, match="unknown order of axes 'NCWH'"):
        opened(module, layouts={"block": "NCWH"})


class Mixer(Tokens):
    """A linear layer over positions between two that read channels, as in mixers."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.norm, self.mix = (
            nn.Sequential(nn.Linear(49, 49), nn.GELU()),
            nn.LayerNorm(49),
            nn.Linear(49, 49),
        )

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (7, 7)
        a = self.block(self.stem(x).flatten(2).transpose(1, 2))
        return self.fc((a + self.mix(self.norm(a).transpose(1, 2)).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(("layer", "order"), [("block", (0, 1, 2)), ("norm", (0, 1, 2)), ("mix", (0, 2, 1))])
def test_linear_layers_over_positions_do_not_turn_tokens(layer: str, order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = Mixer().eval(), pictures(side=7)
    probe = opened(module, input_size=7).open(layer)
    torch.testing.assert_close(probe.activations(x), raw(module, layer, x).permute(order))
