"""How few denoising steps will do? `python benchmarks/steps.py` asks a factor oracle about drawings of few steps.

    python benchmarks/steps.py                                        # 64 captions, three samplers, six step counts
    python benchmarks/steps.py --captions 8 --steps 25,6 --samplers dpm
    python benchmarks/steps.py --captions 128 --steps 6,5,4,3 --samplers unipc --unguided 0,1,2

Captions of random scenes of the minizoo are drawn by `minizoo/diffusion`, with the same noise for every row. Of each
factor that a caption names, the oracle says whether the drawing has the named value as the likeliest one (of colours:
whether it sees all the named ones, each with more than one half). *Read right* is the mean over the factors of a
caption, then over captions, with a t interval; *less than the first row* is the difference within captions. *Other
pixels* is the mean absolute difference of the drawings from those of the first row, of a range of 1: two of different
noise differ by what the last row says. The seconds are of the processor, of one picture.

The oracle was not trained on drawings, nor the generator for it. `--oracle minizoo/oracle-b` asks another one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from intervals import mean_interval
from xcore_minizoo.captions import caption
from xcore_minizoo.world import Scene, any_scene

from xcore.contract import Ref, Samples
from xcore.registry import Registry, load_registry

REFERENCE = "dpm", 25, 0
"""The sampler, the steps and those of them without guidance, with which all others are compared."""


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--captions", type=int, default=64, help="number of captions")
    ask.add_argument("--steps", default="25,12,8,6,4,3", help="numbers of steps")
    ask.add_argument("--samplers", default="dpm,unipc,ddim", help="samplers")
    ask.add_argument("--unguided", default="0", help="numbers of first steps that take no guidance")
    ask.add_argument("--oracle", default="minizoo/oracle-a", help="the factor oracle")
    ask.add_argument(
        "--seed",
        type=int,
        default=4711,
        help="of the captions: what is chosen on some is reported on others",
    )
    given = ask.parse_args()
    torch.set_num_threads(1)
    registry, rng = load_registry(), np.random.default_rng(given.seed)
    said = [caption(any_scene(rng), rng) for _ in range(given.captions)]
    prompts, scenes = [c.text for c in said], [c.says for c in said]
    print(f"Command: `python benchmarks/steps.py {' '.join(sys.argv[1:])}`\n")
    print(
        "| sampler | steps | without guidance | read right | less than the first row | other pixels | s a picture |\n"
        + "|---" * 7
        + "|"
    )
    oracle, seeds = registry.create("model", Ref(given.oracle)), list(range(len(prompts)))
    numbers = itertools.product(*(map(int, numbers.split(",")) for numbers in (given.steps, given.unguided)))
    rows = [REFERENCE, *((sampler, *row) for sampler, row in itertools.product(given.samplers.split(","), numbers))]
    first, _ = _drawn(registry, *REFERENCE, prompts, seeds)
    read_first = right(oracle, first, scenes)
    for sampler, steps, unguided in dict.fromkeys(rows):
        drawn, seconds = _drawn(registry, sampler, steps, unguided, prompts, seeds)
        read = right(oracle, drawn, scenes)
        less = mean_interval([a - b for a, b in zip(read_first, read, strict=True)])
        other = f"{float((drawn.images - first.images).abs().mean()):.3f}"
        cells = (sampler, str(steps), str(unguided), mean_interval(read), less, other, f"{seconds / len(prompts):.3f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    again, _ = _drawn(registry, *REFERENCE, prompts, [seed + 10_000 for seed in seeds])
    noise = float((again.images - first.images).abs().mean())
    print(f"| other noise | | | {mean_interval(right(oracle, again, scenes))} | | {noise:.3f} | |")


def _drawn(
    registry: Registry, sampler: str, steps: int, unguided: int, prompts: Sequence[str], seeds: Sequence[int]
) -> tuple[Samples, float]:
    """Drawings of the prompts, and the processor seconds that they took."""
    how = {"scheduler": sampler, "steps": steps, "unguided": unguided}
    generator = registry.create("generator", Ref("minizoo/diffusion", how))
    generator.generate(prompts[:1], seeds[:1])  # what is loaded at the first use
    began = time.process_time()
    drawn: Samples = generator.generate(list(prompts), list(seeds))
    return drawn, time.process_time() - began


def right(oracle: Any, drawn: Samples, scenes: Sequence[Scene]) -> list[float]:
    """Of each picture the share of the factors named by its caption that the oracle reads as named."""
    read, shares = oracle.factors(drawn), []
    for i, says in enumerate(scenes):
        named = {"shape": says.shape, "pattern": says.pattern, "background": says.background, "object": says.object}
        named_right = [
            value == max(read[factor], key=lambda v: float(read[factor][v][i]))
            for factor, value in named.items()
            if value is not None
        ]
        if says.colours:
            named_right.append(all(float(read["colour"][colour][i]) > 0.5 for colour in says.colours))
        shares.append(float(np.mean(named_right)))
    return shares


if __name__ == "__main__":
    main()
