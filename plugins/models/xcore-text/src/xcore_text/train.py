"""The training of a TextCNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from xcore.contract import UsageError, seeded
from xcore_text.textcnn import TextCNN
from xcore_text.vocabulary import Vocabulary


class History(NamedTuple):
    """How a training went, with a value for each epoch."""

    loss: list[float]
    """Mean cross entropy of the training texts, in nats."""
    accuracy: list[float]
    """Accuracy on the validation texts, from 0 to 1; empty if there are none."""


def fit(
    model: TextCNN,
    vocabulary: Vocabulary,
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    epochs: int = 5,
    lr: float = 1e-3,
    batch_size: int = 64,
    validation: float = 0.1,
    seed: int = 0,
) -> History:
    """Train a model in place with Adam on the cross entropy; the same seed gives the same weights.

    Parameters
    ----------
    model
        The model. It is trained on its device and left in evaluation mode.
    vocabulary
        Its vocabulary.
    texts, labels
        Training texts and their class numbers.
    validation
        Share of the texts on which accuracy is measured instead of training on them; 0 = none.
    seed
        Seed of the choice of validation texts, of the order and of the dropout; the global random state is left alone.

    Raises
    ------
    UsageError
        There are no texts, or not a label for each.
    """
    if len(texts) != len(labels) or not len(texts):
        raise UsageError(
            f"there are {len(texts)} texts but {len(labels)} labels" if len(texts) else "there are no texts to train on"
        )
    encoded = [vocabulary.encode(text) for text in texts]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(texts))
    kept = int(len(texts) * validation)
    held, used = order[:kept].tolist(), order[kept:]
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    device = model.decoder.weight.device
    targets = torch.as_tensor(labels, dtype=torch.long, device=device)
    history = History([], [])
    with seeded(seed):
        for _ in range(epochs):
            model.train()
            total = 0.0
            for rows in np.array_split(rng.permutation(used), max(1, round(len(used) / batch_size))):
                logits = model(*model.inputs([encoded[i] for i in rows]))
                loss = nn.functional.cross_entropy(logits, targets[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += float(loss.detach()) * len(rows)
            history.loss.append(total / len(used))
            if held:
                history.accuracy.append(accuracy(model, [encoded[i] for i in held], [labels[i] for i in held]))
    model.eval()
    return history


def accuracy(model: TextCNN, encoded: Sequence[Sequence[int]], labels: Sequence[int], batch_size: int = 256) -> float:
    """The share of texts, given as word numbers, whose largest logit is that of their label; sets evaluation mode."""
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(encoded), batch_size):
            rows = slice(start, start + batch_size)
            found = model(*model.inputs(encoded[rows])).argmax(1).tolist()
            right += sum(a == b for a, b in zip(found, labels[rows], strict=True))
    return right / len(encoded)
