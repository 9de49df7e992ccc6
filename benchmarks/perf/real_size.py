"""A step of RLPO at the sizes of the paper, with random weights: `python benchmarks/perf/real_size.py --device cuda`.

    python benchmarks/perf/real_size.py --device cuda --dtype float16              # Stable Diffusion 1.5, GoogLeNet
    python benchmarks/perf/real_size.py --device cuda --few unipc:8                # few denoising steps
    python benchmarks/perf/real_size.py --tiny                                     # a look whether it runs

What a step costs depends on the sizes of the networks and not on their weights, so that nothing has to be downloaded:
the pipeline has the parts of Stable Diffusion 1.5 (860 million weights in the UNet, 512 x 512 pixels), the classifier
is GoogLeNet of torchvision, and a step draws two groups of images, scores them with TCAV and tunes the LoRA by as many
pairs. Printed are the seconds of each part, the largest memory, and what 500 such steps take; the authors report about
seven hours for a class on an RTX 4090. What the drawings show means nothing here.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torchvision.models import googlenet
from xcore_diffusion.generator import DiffusionGenerator
from xcore_diffusion.options import Options
from xcore_diffusion.testing import STABLE_DIFFUSION_15, TINY, save_pipeline
from xcore_tcav.scorer import Scorer

from xcore.contract import Samples
from xcore.models import device
from xcore.models.classifiers import TorchClassifier

PROMPT, STEPS, SIDE = "striped texture", 500, 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--images", type=int, default=10, help="n, the images of each group")
    parser.add_argument("--batch", type=int, default=10, help="images drawn at once")
    parser.add_argument("--pairs", type=int, default=2, help="pairs that pass the UNet at once")
    parser.add_argument("--few", default="dpm:25", help="sampler and number of denoising steps")
    parser.add_argument("--class-images", type=int, default=20)
    parser.add_argument("--sets", type=int, default=5, help="random sets of TCAV")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a pipeline of 64 x 64 pixels")
    asked = parser.parse_args()
    device.use(asked.device)
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, save_pipeline(Path(folder), TINY if asked.tiny else STABLE_DIFFUSION_15))


def measure(asked: argparse.Namespace, path: Path) -> None:
    """Take steps, and print what their parts cost."""
    sampler, steps = asked.few.split(":")
    generator = DiffusionGenerator(
        path,
        Options(
            steps=int(steps), scheduler=sampler, batch_size=asked.batch, pairs_at_once=asked.pairs, dtype=asked.dtype
        ),
    )
    torch.manual_seed(0)
    net = googlenet(weights=None, init_weights=True, aux_logits=False)
    classifier = TorchClassifier(net, [str(i) for i in range(1000)], input_size=SIDE, device=device.current())
    scorer = Scorer(
        classifier.open(classifier.default_layer),
        0,
        noise(asked.class_images, 0),
        lambda n, index, render="as-is", purpose="negative": noise(n, 1 + index + 1000 * (purpose == "null")),
        negatives=asked.sets,
    )
    n, seconds = asked.images, dict[str, list[float]]()

    def timed(part: str, run: Callable[[], Any]) -> Any:
        waited(asked.device)
        began = time.perf_counter()
        made = run()
        waited(asked.device)
        seconds.setdefault(part, []).append(time.perf_counter() - began)
        return made

    def step(t: int) -> None:
        drawn = timed("drawing", lambda: generator.generate([PROMPT] * (2 * n), range(2 * n * t, 2 * n * (t + 1))))
        small = Samples("image", resized(drawn.images), drawn.ids)
        groups = small.take(range(n)), small.take(range(n, 2 * n))
        one, two = timed("scoring", lambda: scorer.score_many(groups, "as-is"))
        halves = [drawn.take(range(n)), drawn.take(range(n, 2 * n))]
        better, worse = halves if one.ts >= two.ts else halves[::-1]
        timed("tuning", lambda: generator.adapt(None, better, worse, seed=t, options={"steps": 1}))

    step(0)  # loads kernels, and what is kept from step to step
    seconds.clear()
    for t in range(1, asked.repeats + 1):
        step(t)
    parts = {part: median(of) for part, of in seconds.items()}
    whole = sum(parts.values())
    where = torch.cuda.get_device_name() if asked.device.startswith("cuda") else "processor"
    print(f"{where}, {asked.dtype}, {asked.few}, {2 * n} images of {generator.height} pixels a step\n")
    print("| drawing, s | scoring, s | tuning, s | step, s | memory, GB | 500 steps, h |")
    print("|---|---|---|---|---|---|")
    figures = [f"{parts[part]:.2f}" for part in ("drawing", "scoring", "tuning")]
    print(f"| {' | '.join(figures)} | {whole:.2f} | {memory(asked.device):.1f} | {STEPS * whole / 3600:.2f} |")


def noise(n: int, seed: int) -> Samples:
    """Pictures of random pixels."""
    images = torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    return Samples("image", images, tuple(f"noise {seed}/{i}" for i in range(n)))


def resized(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)


def waited(where: str) -> None:
    """Wait for what a GPU has been given to do."""
    if where.startswith("cuda"):
        torch.cuda.synchronize()


def memory(where: str) -> float:
    """GB at most: of the GPU what torch reserved, else what was resident."""
    if where.startswith("cuda"):
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
