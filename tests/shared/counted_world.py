"""What passes through a network, counted by hooks so that nothing is missed, and pictures for a small world of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcore.contract import Samples

WATCHED: list[Passes] = []
"""Those of the networks that `tests/plugins/counted_plugin.py` made, in order."""
GIVEN: Counter[str] = Counter()
"""How many pictures its data set gave, by split."""


class Passes:
    """What has passed through a network, from its first layer to its last.

    Parameters
    ----------
    first, last
        The layers at which rows are counted. A head that is run alone passes the last one only, and a pass that ends
        at a layer between them the first one only.
    """

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        self.images: Counter[str] = Counter()
        """Content of a picture, as the network sees it -> how often it passed the first layer."""
        self.logits = 0
        """Rows that passed the last layer."""
        self.rows_back = 0
        """Rows whose logits were differentiated."""
        self.backwards = 0
        """Backward passes of batches."""
        first.register_forward_hook(self._forward)
        last.register_forward_hook(self._watch)

    def clear(self) -> None:
        """Forget what was counted."""
        self.images.clear()
        self.logits = self.rows_back = self.backwards = 0

    def _forward(self, _module: nn.Module, args: Any, _output: Tensor) -> None:
        self.images.update(map(content, args[0]))

    def _watch(self, _module: nn.Module, _args: Any, output: Tensor) -> None:
        self.logits += len(output)
        if output.requires_grad:
            output.register_hook(self._backward)

    def _backward(self, gradient: Tensor) -> None:
        self.backwards += 1
        self.rows_back += len(gradient)


def content(image: Tensor) -> str:
    """What a picture is counted under."""
    return hashlib.sha256(image.detach().contiguous().numpy().tobytes()).hexdigest()


def pictures(kind: str, n: int, seed: int) -> Samples:
    """n noisy pictures of a kind, such as bars or dots; the i-th is the same however many there are."""

    def one(i: int) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng([*map(ord, kind), seed, i])
        x, step = rng.random((3, 32, 32)) * 0.5, int(rng.integers(2, 5))
        if kind in ("bars", "lines", "grid"):
            x[:, ::step] += 0.4
        if kind in ("dots", "spots", "grid"):
            x[:, ::step, ::step] += 0.4
        return x.clip(0, 1)

    images = torch.tensor(np.stack([one(i) for i in range(n)]), dtype=torch.float32)
    return Samples("image", images, tuple(f"{kind}/{seed}/{i}" for i in range(n)))
