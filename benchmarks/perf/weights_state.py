"""How long it takes to see whether the weights of a network changed, beside a forward pass of 8 pictures.

python benchmarks/perf/weights_state.py [MODEL of timm]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import timm
import torch

from xcore.models.modules import weights_state


def milliseconds(call: Callable[[], Any], times: int) -> float:
    """Mean time of a call after one that is not counted."""
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1000


def main() -> None:
    torch.set_num_threads(1)
    name = sys.argv[1] if len(sys.argv) > 1 else "resnet50"
    module, images = timm.create_model(name).eval(), torch.rand(8, 3, 224, 224)
    megabytes = sum(p.nbytes for p in module.parameters()) / 2**20
    with torch.inference_mode():
        forward = milliseconds(lambda: module(images), 2)
    print(f"{name}: {megabytes:.0f} MB, weights {milliseconds(lambda: weights_state(module), 10):.0f} ms, ", end="")
    print(f"forward pass of 8 pictures {forward:.0f} ms (one thread)")


if __name__ == "__main__":
    main()
