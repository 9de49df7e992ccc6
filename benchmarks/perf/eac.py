"""EAC an image, against permutation Shapley with one masked forward pass a coalition, at the same accuracy.

    python benchmarks/perf/eac.py

Images of the minizoo whose segments are too many for all coalitions to fit the budget. Exact values come from
enumeration. The plain way draws permutations until its expected squared error is ours: that number follows from the
variance of a permutation's gains, and a forward pass of one image is timed. The floor is the passes of the network
inside of ours. Seconds of one thread for an image; ours is explained several times, each time by a new classifier.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from figures import note
from measure import Spent, Ways
from tcav import Clock
from xcore_eac import games

import xcore
from xcore.contract import Explanation, Ref, Samples
from xcore.models.graph import frozen
from xcore.registry import load_registry

FORWARDS = 100
PERMUTATIONS = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3, help="of ours")
    asked = parser.parse_args()
    count, repeats = asked.images, asked.repeats
    torch.set_num_threads(1)
    registry = load_registry()
    data = registry.create("dataset", Ref("minizoo"))
    classifier = registry.create("classifier", Ref("minizoo/clean"))
    target = classifier.classes.index("zebra")

    def explain(samples: Samples) -> tuple[Explanation, float]:
        start = time.process_time()
        made = xcore.explain("eac", classifier, samples, target="zebra", registry=registry)
        return made, time.process_time() - start

    def output(images: torch.Tensor) -> np.ndarray:
        samples = Samples("image", images, tuple(map(str, range(len(images)))))
        return classifier.logits(samples).softmax(1)[:, target].double().numpy()

    samples = data.samples("zebra", "heldout", 60, 0)
    first, seconds = explain(samples)
    print(f"{len(samples)} images: {seconds:.1f} s, {first.cost.forwards} forward passes")
    chosen = [i for i, step in enumerate(first.trace) if step["values_from"] == "PIE"][:count]
    ways = Ways()
    inside, floor = Clock(torch.nn.Module, "__call__"), Spent()
    for _ in range(repeats):
        classifier = registry.create("classifier", Ref("minizoo/clean"))
        explain(samples.take([-1]))  # the graph is cut
        before = inside.seconds, inside.wall
        made, _ = ways.run("ours", lambda: explain(samples.take(chosen)))
        floor.processor.append(inside.seconds - before[0])
        floor.wall.append(inside.wall - before[1])
    ways.spent["floor: the network inside of it"] = floor
    plain = Spent()
    with frozen(classifier.model.module), torch.no_grad():
        one = Spent()
        with one.measured():
            for _ in range(FORWARDS):
                classifier.model.forward(samples.images[:1])
    passes = 0
    for i, part in zip(chosen, made.parts, strict=True):
        masks = torch.cat([c.maps for c in part.concepts if c.maps is not None]).bool()
        design = games.exact(len(masks), "shapley")
        unions = (torch.from_numpy(design.coalitions).float() @ masks.flatten(1).float()) > 0
        values = output(samples.images[i] * unions.reshape(-1, 1, *masks.shape[1:]))
        found = np.array([c.importance for c in part.concepts])
        error = float(((found - design.worth(values)[0]) ** 2).mean())
        rng, gains = np.random.default_rng(i), np.zeros((PERMUTATIONS, len(masks)))
        for row in gains:
            code = 0
            for player in rng.permutation(len(masks)):
                row[player] = values[code | 1 << player] - values[code]
                code |= 1 << player
        needed = max(2, int(np.ceil(gains.var(axis=0).mean() / error)))
        passes += needed * (len(masks) + 1)
        print(f"{len(masks)} segments: error {error**0.5:.4f}, which takes {needed} plain permutations")
    plain.processor.append(one.processor[0] / FORWARDS * passes)
    plain.wall.append(one.wall[0] / FORWARDS * passes)
    plain.rows = {"pictures": passes}
    ways.spent["plain, at the same error"] = plain
    print(f"\n{len(chosen)} images, each alike in error\n")
    ways.table()
    figures = (ways.seconds(way) / len(chosen) for way in ways.spent)
    note("eac", **dict(zip(("ours", "floor", "peer"), figures, strict=True)))


if __name__ == "__main__":
    main()
