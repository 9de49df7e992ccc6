"""What a helper model said about a set of samples, asked once in a process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from xcore.types import Samples

T = TypeVar("T")

KEEP = 256
"""Sets of samples that are remembered; 60 embeddings of width 512 take 240 kB in float64."""

_said: OrderedDict[tuple[int, str], tuple[object, Any]] = OrderedDict()


def once(model: object, samples: Samples, ask: Callable[[Samples], T]) -> T:
    """Return ask(samples), computed once for this model and this content.

    A model is asked in one way only (the way of its role). The entry holds the model, so that no other model can get
    its id while the entry lives. The oldest entries are dropped.
    """
    key = (id(model), samples.digest)
    if key not in _said:
        _said[key] = (model, ask(samples))
        while len(_said) > KEEP:
            _said.popitem(last=False)
    _said.move_to_end(key)
    said: T = _said[key][1]
    return said
