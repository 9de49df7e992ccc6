"""Factor oracles: small networks with several heads that read which value each factor of a picture has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcore_minizoo.labels import FACTORS, ONE_OF


def _conv(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU())


class Residual(nn.Module):
    """A residual block: two 3 x 3 convolutions, and a 1 x 1 convolution beside them."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            _conv(cin, cout, 3, stride), nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        )
        self.short = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        """(n, cin, h, w) -> (n, cout, h / stride, w / stride)."""
        return torch.relu(self.path(x) + self.short(x))


class Oracle(nn.Module):
    """A convolutional body, the mean and the maximum over positions, and a linear head for each factor.

    Parameters
    ----------
    body
        "residual" (three residual stages) or "plain" (five stages of convolution and max-pooling).
    width
        Channels of the first stage.
    """

    def __init__(self, body: str, width: int) -> None:
        super().__init__()
        w = width
        if body == "residual":
            self.body = nn.Sequential(
                _conv(3, w, 3, 2), Residual(w, 2 * w, 1), Residual(2 * w, 4 * w, 2), Residual(4 * w, 6 * w, 2)
            )
            out = 6 * w
        else:
            self.body = nn.Sequential(
                _conv(3, w, 5, 2), _conv(w, 2 * w), nn.MaxPool2d(2), _conv(2 * w, 3 * w), _conv(3 * w, 4 * w, 3, 2),
                _conv(4 * w, 6 * w),
            )  # fmt: skip
            out = 6 * w
        self.heads = nn.ModuleDict({factor: nn.Linear(2 * out, len(values)) for factor, values in FACTORS.items()})
        self.register_buffer("temperature", torch.ones(len(FACTORS)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (n, 3, 64, 64) in [0, 1] -> calibrated logits {factor: (n, values)}."""
        h = self.body(x * 4 - 2)
        h = torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)
        return {
            factor: head(h) / self.temperature[i]  # type: ignore[index]
            for i, (factor, head) in enumerate(self.heads.items())
        }

    @torch.no_grad()
    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Probabilities {factor: (n, values)}: a softmax for the factors in `ONE_OF`, sigmoids for the colours."""
        self.eval()
        logits = [self(part) for part in x.split(256)]
        joined = {factor: torch.cat([part[factor] for part in logits]) for factor in FACTORS}
        return {f: v.softmax(1) if f in ONE_OF else v.sigmoid() for f, v in joined.items()}


def agreement(probs: dict[str, Tensor], one_of: Tensor, colours: Tensor) -> dict[str, float]:
    """Factor -> the share of pictures of which the likeliest value is right; of the colours the whole set must be.

    `one_of` is (n, 4) and `colours` (n, 10); pictures that are labelled UNKNOWN do not count.
    """
    figures = {}
    for i, factor in enumerate(ONE_OF):
        asked = one_of[:, i] >= 0
        right = probs[factor].argmax(1) == one_of[:, i]
        figures[factor] = right[asked].float().mean().item() if asked.any() else float("nan")
    asked = colours[:, 0] >= 0
    right = ((probs["colours"] > 0.5) == (colours > 0.5)).all(1)
    figures["colours"] = right[asked].float().mean().item() if asked.any() else float("nan")
    return figures
