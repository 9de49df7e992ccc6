"""What TCAV costs beside the network calls that cannot be avoided: 50 concepts, 20 random sets, one layer.

    python benchmarks/perf/tcav.py

A ResNet-18 of timm with random weights sees images of 224 pixels, whose values are whole 255ths as those of pictures
from files are. The network calls are those of the class images (forward and backward), of the samples of the random
sets and of their counterparts, and of the concept images, each once; they are timed inside of the run, and are the
floor. The rest is fits, null, statistics, maps, chart and files.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from figures import note
from measure import Spent, Ways
from xcore_tcav.options import TcavOptions
from xcore_tcav.tcav import Tcav

from xcore.contract import Explanation, Samples, Task
from xcore.models.classifiers import TorchClassifier
from xcore.run.data import TrainingData
from xcore.run.live import LiveData
from xcore.run.random_sets import RandomSets

COARSE = 14


def images(n: int, seed: int, side: int) -> Samples:
    """Smooth noise around a colour of the seed, in whole 255ths."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.rand(1, 3, 1, 1, generator=generator)
    coarse = (colour + 0.3 * torch.randn(n, 3, COARSE, COARSE, generator=generator)).clamp(0, 1)
    data = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    return Samples("image", data.mul_(255).round_().div_(255), tuple(f"{seed}/{i}" for i in range(n)))


def several(colours: int, side: int) -> Samples:
    """60 pictures of each colour; never are they all held twice."""
    data, ids = torch.empty(60 * colours, 3, side, side), []
    for i, rows in enumerate(data.split(60)):
        made = images(60, 10 + i, side)
        rows.copy_(made.images)
        ids += made.ids
    return Samples("image", data, tuple(ids))


class Clock:
    """Adds up the seconds inside of methods, and the rows of the first tensor that each call is given.

    A call from within another one is not counted twice.
    """

    def __init__(self, owner: Any, *names: str) -> None:
        self.seconds, self.wall, self.rows, self._inside = 0.0, 0.0, 0, False
        for name in names:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            self._inside, start, wall = True, time.process_time(), time.perf_counter()
            given = (each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor) and each.ndim)
            self.rows += len(next(given, ()))
            try:
                return method(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds += time.process_time() - start
                self.wall += time.perf_counter() - wall

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concepts", type=int, default=50)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--layer", default="layer3")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    side = arguments.side
    samples, others = images(60, 1, side), several(8, side)
    data = LiveData(samples, "class 0", others, ())
    concepts = {f"concept {i}": images(20, 100 + i, side) for i in range(arguments.concepts)}
    ways, inside = Ways(), Spent()
    for _ in range(arguments.repeats):
        made, network = ways.run("ours", lambda: explained(arguments, data, samples, concepts))
        inside.processor.append(network.seconds)
        inside.wall.append(network.wall)
    ways.spent["floor: the network inside of it"] = inside
    what = f"{arguments.concepts} concepts, 20 random sets, {arguments.model} at {arguments.layer}, {side} pixels"
    print(f"{what}; medians of {arguments.repeats}\n")
    ways.table()
    print(f"\n{made.cost.forwards} forwards, {made.cost.backwards} backwards, {torch.get_num_threads()} threads")
    note("tcav", ours=ways.seconds("ours"), floor=median(inside.processor))


def explained(
    arguments: argparse.Namespace, data: LiveData, samples: Samples, concepts: Mapping[str, Samples]
) -> tuple[Explanation, Clock]:
    """An explanation by a classifier that has kept nothing yet, with the time that it spent in its network."""
    import timm

    torch.manual_seed(0)
    classifier = TorchClassifier(
        timm.create_model(arguments.model, num_classes=10), [f"class {i}" for i in range(10)], input_size=arguments.side
    )
    network = Clock(classifier.open(arguments.layer), "activations", "activations_each", "gradients")
    with tempfile.TemporaryDirectory() as folder:
        task = Task(
            classifier,
            arguments.layer,
            0,
            samples,
            RandomSets(data, "class 0", "train", seed=0),
            TrainingData(data),
            seed=0,
            concepts=concepts,
            workdir=Path(folder),
        )
        return Tcav(TcavOptions()).explain(task), network


if __name__ == "__main__":
    main()
