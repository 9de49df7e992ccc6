"""What TCAV costs beside the network calls that cannot be avoided: 50 concepts, 20 random sets, one layer.

    python benchmarks/perf/tcav.py

A ResNet-18 of timm with random weights sees images of 224 pixels. The network calls are those of the class images
(forward and backward), of the samples of the random sets and of their counterparts, and of the concept images, each
once; they are timed inside of the run. The rest is fits, null, statistics, maps, chart and files.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from xcore_tcav.options import TcavOptions
from xcore_tcav.tcav import Tcav

from xcore.contract import Samples, Task
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets

COARSE = 14


def images(n: int, seed: int, side: int) -> Samples:
    """Smooth noise around a colour of the seed."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.rand(1, 3, 1, 1, generator=generator)
    coarse = (colour + 0.3 * torch.randn(n, 3, COARSE, COARSE, generator=generator)).clamp(0, 1)
    data = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return Samples("image", data, tuple(f"{seed}/{i}" for i in range(n)))


class Clock:
    """Adds up the seconds inside of methods, and the rows of the first tensor that each call is given.

    A call from within another one is not counted twice.
    """

    def __init__(self, owner: Any, *names: str) -> None:
        self.seconds, self.rows, self._inside = 0.0, 0, False
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            self._inside, start = True, time.process_time()
            given = (each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor) and each.ndim)
            self.rows += len(next(given, ()))
            try:
                return method(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.process_time() - start

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concepts", type=int, default=50)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--layer", default="layer3")
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    import timm

    torch.manual_seed(0)
    classifier = TorchClassifier(
        timm.create_model(arguments.model, num_classes=10), [f"class {i}" for i in range(10)], input_size=arguments.side
    )
    side = arguments.side
    samples, others = images(60, 1, side), Samples.concat([images(60, 10 + i, side) for i in range(8)])
    data = LiveData(samples, "class 0", others, ())
    network = Clock(classifier.open(arguments.layer), "activations", "gradients")
    with tempfile.TemporaryDirectory() as folder:
        task = Task(
            classifier,
            arguments.layer,
            0,
            samples,
            RandomSets(data, "class 0", "train", seed=0),
            TrainingData(data),
            seed=0,
            concepts={f"concept {i}": images(20, 100 + i, arguments.side) for i in range(arguments.concepts)},
            workdir=Path(folder),
        )
        start = time.process_time()
        made = Tcav(TcavOptions()).explain(task)
        total = time.process_time() - start
    what = f"{arguments.concepts} concepts, 20 random sets, {arguments.model} at {arguments.layer}, {side} pixels"
    print(f"{what}: {total:.1f} s, of it the network {network.seconds:.1f} s ({network.seconds / total:.0%})")
    print(f"{made.cost.forwards} forwards, {made.cost.backwards} backwards, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
