"""The margin of a class: what all evidence is about."""

from __future__ import annotations

import torch
from torch import Tensor

from xcore.contract import NotApplicable


def margin(logits: Tensor, target: int) -> Tensor:
    """(n,) the log-odds of a class: its logit less the log of the summed exponentials of all other logits.

    Unlike the logit, the margin rises only if the class gains on the others. It is in logits.

    Parameters
    ----------
    logits
        (n, classes).
    target
        Index of the class.

    Raises
    ------
    NotApplicable
        There is only one class, or a logit is not finite.
    """
    if logits.shape[1] < 2:
        raise NotApplicable(
            "a margin needs two classes or more, and this classifier has one",
            "wrap a classifier of one logit z so that it gives two, such as 0 and z",
        )
    if not logits.isfinite().all():
        bad = int((~logits.isfinite().all(1)).sum())
        raise NotApplicable(
            f"the classifier gives logits that are not finite for {bad} of {len(logits)} samples",
            "look for such numbers in its weights, and let it compute with 32 bits if it uses fewer",
        )
    others = [j for j in range(logits.shape[1]) if j != target]
    exact = logits.double()
    return exact[:, target] - torch.logsumexp(exact[:, others], 1)
