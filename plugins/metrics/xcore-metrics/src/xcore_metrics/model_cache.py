"""What helper models give for sets of samples, cached for the process: several metrics ask for the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from cachetools import LRUCache

from xcore.contract import Samples

T = TypeVar("T")

SETS_KEPT = 256
"""Sets of samples whose outputs are kept; 60 embeddings of width 512 take 240 kB in float64."""

_outputs: LRUCache[tuple[int, str], tuple[object, Any]] = LRUCache(SETS_KEPT)


def cached_output(model: object, samples: Samples, compute: Callable[[Samples], T]) -> T:
    """Return compute(samples), computed once for this model and this content.

    `compute` must be the only way in which the model is asked: the one of its role. The entry holds the model too, so
    that no other model gets the same id while the entry exists.
    """
    key = (id(model), samples.digest)
    if key not in _outputs:
        _outputs[key] = (model, compute(samples))
    output: T = _outputs[key][1]
    return output
