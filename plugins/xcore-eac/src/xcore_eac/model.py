"""The model as a game: what a coalition's image is worth, and its features on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.protocols import Task
from xcore.samples import Samples
from xcore_eac.features import Space


class Model:
    """The classifier of a task, asked for the target class; counts what it is asked.

    Parameters
    ----------
    output
        "probability": softmax of the logits. Scores that are probabilities already (a black box that returns them: not
        negative, and every row sums to 1) are taken as they are.
    space
        Where features are read; None = nowhere.
    """

    def __init__(self, task: Task, output: Literal["probability", "logit"], space: Space | None) -> None:
        self._classifier, self._target, self._space = task.classifier, task.target, space
        self.bounded = output == "probability"
        scores = task.classifier.logits(task.samples)
        sums = scores.sum(1)
        normal = bool((scores >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())
        self._softmax = self.bounded and not (normal and scores.shape[1] > 1)
        self.forwards, self.backwards = len(scores), 0

    @property
    def layer(self) -> str | None:
        """Where features are read."""
        return self._space.layer if self._space else None

    @property
    def affine(self) -> bool:
        """Whether the head above the features is affine, so that no pass through the model's own modules is needed."""
        return self._space is not None and self._space.affine

    def output_of_features(self, rows: Tensor) -> Tensor:
        """(m,) values of features (m, F); differentiable."""
        if self._space is None:
            raise RuntimeError("no features were read")
        return self._output(self._space.logits(rows))

    def ask(
        self, batches: Iterator[Tensor], name: str, *, with_features: bool = False
    ) -> tuple[NDArray[np.float64], Tensor | None]:
        """Values (m,) of images, and their features (m, F) if asked for and there is a space.

        Parameters
        ----------
        batches
            Images (., 3, H, W).
        name
            Of the image that they were made from.
        """
        values: list[Tensor] = []
        rows: list[Tensor] = []
        for batch in batches:
            ids = tuple(f"{name}#{self.forwards + i}" for i in range(len(batch)))
            samples = Samples("image", batch, ids)
            self.forwards += len(batch)
            if self._space is None or not with_features:
                values.append(self._output(self._classifier.logits(samples)))
                continue
            found = self._space.read(samples)
            rows.append(found)
            with torch.no_grad():
                values.append(self.output_of_features(found))
        return torch.cat(values).double().numpy(), torch.cat(rows) if rows else None

    def _output(self, scores: Tensor) -> Tensor:
        return (scores.softmax(1) if self._softmax else scores)[:, self._target]
