"""The classifiers `minizoo/wired:EXPRESSION`: what they use is known by construction, and measured by intervention.

A wired classifier is composed from the shipped factor oracle `minizoo/oracle-b` and an expression over factor values
(see `xcore_minizoo.wiring`). Nothing is trained: the logit of the class "wired" is the expression over what the oracle
reads in a picture, and that of "rest" is its negative. The network is differentiable from the picture to the logits.

All wired classifiers share the oracle. So the pictures of all truth tables are painted once, the oracle reads them
once (`xcore_minizoo.pool`), and the table of any expression is then a matter of arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xcore.contract import Samples, seeded
from xcore.models.classifiers import TorchClassifier
from xcore_minizoo.labels import FACTORS
from xcore_minizoo.models import fit
from xcore_minizoo.nets import load_oracle
from xcore_minizoo.oracle import Oracle
from xcore_minizoo.pool import ORACLE, PAIRS, Lines, Readings, pool, read
from xcore_minizoo.truth import SHARE, interval
from xcore_minizoo.wiring import CLASSES, Value, Wiring, members

SOFTNESS = 2.0
"""The oracle's log-odds are divided by this, so that gradients do not vanish where the oracle is sure."""
FEWEST = 20
"""A value that pictures of the class show on fewer lines than this is judged on pictures of both classes."""


def presence(readings: Readings, value: Value) -> Tensor:
    """How true it is, by the oracle, that pictures show a value, (n,) in [0, 1].

    This is the sigmoid of the log-odds of the value, divided by `SOFTNESS`. Of several values of a factor with exactly
    one value the log-odds are those of their summed probability; of several colours, those of at least one of them.
    """
    if value.factor == "colour":
        index = [FACTORS["colours"].index(v) for v in value.values]
        logits = readings["colours"][:, index]
        odds = logits[:, 0] if len(index) == 1 else F.softplus(logits).sum(1).expm1().clamp_min(1e-20).log()
    else:
        held = torch.tensor([v in value.values for v in FACTORS[value.factor]])
        logits = readings[value.factor]
        odds = logits[:, held].logsumexp(1) - logits[:, ~held].logsumexp(1)
    return torch.sigmoid(odds / SOFTNESS)


def logits_of(wiring: Wiring, readings: Readings) -> Tensor:
    """The logits (n, 2) of "wired" and "rest" for pictures that the oracle has read."""
    logit: Tensor = wiring.logit(lambda value: presence(readings, value))
    return torch.stack([logit, -logit], 1)


class Wired(nn.Module):
    """An expression over what a factor oracle reads: images (n, 3, 64, 64) in [0, 1] -> logits (n, 2).

    The oracle loses the heads of the factors that the expression does not name. Where results are computed and not
    used, the network above a layer cannot be traced (`xcore.models.graph.cut`), and every pass through its head would
    pass the layers below it as well.
    """

    def __init__(self, wiring: Wiring, oracle: Oracle) -> None:
        super().__init__()
        named = {"colours" if value.factor == "colour" else value.factor for value in wiring.values}
        kept = [i for i, factor in enumerate(oracle.heads) if factor in named]
        oracle.heads = nn.ModuleDict({factor: head for factor, head in oracle.heads.items() if factor in named})
        oracle.temperature = oracle.temperature[kept]  # type: ignore[index]
        self.wiring = wiring
        self.oracle = oracle

    def forward(self, x: Tensor) -> Tensor:
        """The logits of "wired" and "rest"."""
        return logits_of(self.wiring, self.oracle(x))


def network(wiring: Wiring) -> Wired:
    """The network of an expression, with the shipped weights of the oracle."""
    with seeded(0):  # building a network draws random weights, which must not change the global state
        return Wired(wiring, load_oracle(ORACLE)).eval()


def classifier(options: None, argument: str) -> TorchClassifier:
    """The classifier `minizoo/wired:EXPRESSION`. Its layers are those of the oracle's body."""
    model = network(Wiring.parse(argument))
    layers = [f"oracle.body.{i}" for i in range(len(model.oracle.body))]
    # above the default layer there are a convolution, the head of the oracle and the expression
    return TorchClassifier(model, CLASSES, preprocess=fit, layers=layers, default_layer=layers[-2], input_size=64)


def scores(wirings: Sequence[Wiring], samples: Samples) -> Tensor:
    """The logits (expressions, n, 2) of many wired classifiers from one pass of the oracle over samples."""
    readings = read(fit(samples.images))
    return torch.stack([logits_of(wiring, readings) for wiring in wirings])


# --- the truth ------------------------------------------------------------------------------------------------------


def truth_table(wiring: Wiring, pairs: int = PAIRS) -> dict[str, Any]:
    """The truth table of a wired classifier, measured by swapping one factor value at a time (see docs/judge.md).

    On each line (a scene with all values of one factor in turn) the effect of a value is the class logit of the picture
    with it, less the median over the pictures with the other values. It is averaged over the lines on which the picture
    with the value is of the class: so a value that matters in half of the pictures only, or against another one, is
    not averaged away by pictures of the other class. Of a value that the class (hardly) ever shows, the effect is
    averaged over all lines. The median, because single other values of the factor may count too.

    Parameters
    ----------
    pairs
        How many pairs of pictures every effect is measured on, in a class of one scene in 40.

    Returns
    -------
    dict
        As `xcore_minizoo.truth.truth_table` returns it.
    """
    effects: dict[str, dict[str, list[float]]] = {cls: {} for cls in CLASSES}
    margins: dict[str, list[NDArray[Any]]] = {cls: [] for cls in CLASSES}
    for lines in pool(pairs).values():
        logit = logits_of(wiring, lines.readings)[:, 0].double().numpy()
        wired = members(wiring, lines.shown)
        raised = _raised(_rows(logit, lines), lines.values)
        for cls, sign in zip(CLASSES, (1, -1), strict=True):
            mine = wired == (sign > 0)
            margins[cls].append(2 * sign * logit[lines.base][mine[lines.base]])
            shows = _rows(mine, lines) == 1
            for i, value in enumerate(lines.values):
                rows = shows[:, i] if shows[:, i].sum() >= FEWEST else lines.there[:, i]
                if value != "object=None":
                    effects[cls][value] = interval(sign * raised[rows, i])
    gaps = {cls: round(float(np.concatenate(found).mean()), 4) for cls, found in margins.items()}
    data = {"data": wiring.reference, "pairs": pairs}
    return {"effects": {c: dict(sorted(e.items())) for c, e in effects.items()}, "gaps": gaps, "share": SHARE, **data}


def _rows(pictures: NDArray[Any], lines: Lines) -> NDArray[np.float64]:
    """A figure for each picture as (lines, values); NaN where there is no picture."""
    out = np.full(lines.there.shape, np.nan)
    out[lines.there] = pictures
    return out


def _raised(logit: NDArray[np.float64], values: Sequence[str]) -> NDArray[np.float64]:
    """By how much each value on a line raises the logit above the median over the others, (lines, values).

    A missing object counts twice, because it is as frequent as both objects together.
    """
    times = np.array([2 if value == "object=None" else 1 for value in values])
    return np.stack([logit[:, i] - _median_without(logit, times, i) for i in range(len(values))], 1)


def _median_without(logit: NDArray[np.float64], times: NDArray[np.int64], i: int) -> NDArray[np.float64]:
    counted = np.where(np.arange(len(times)) == i, 0, times)
    return np.asarray(np.nanmedian(np.repeat(logit, counted, axis=1), axis=1))
