"""One step of RLPO against the published procedure, written plainly: `python benchmarks/perf/rlpo_step.py`.

    python benchmarks/perf/rlpo_step.py                       # minizoo/clean, zebra, minizoo/diffusion
    python benchmarks/perf/rlpo_step.py --images 6 --steps 5  # a shorter look
    python benchmarks/perf/rlpo_step.py --few dpm:12          # another sampler of few steps

A step draws two groups of images of a prompt, scores both with TCAV and tunes the LoRA towards the better one. The
*plain* step does this as the scripts of the paper do: the pipeline is loaded anew for each of the three parts, captum's
TCAV asks integrated gradients of five steps and computes the activations of all random sets for each group again, and
DPO takes one pair at a time, whose images the VAE encodes. The *kept* step is the same with a pipeline that stays
loaded, so that the ratio is not of loading alone. All three use the same networks, prompt, noise, class images, random
sets, denoising steps and pairs.

A faster wrong answer would be worth nothing: images must be the same up to rounding, and the tuned LoRA nearly so,
since the plain step decodes latents and encodes them again. TS differs, since captum's default classifier is another
one and integrated gradients are not gradients; both are printed. The floor is the calls of the networks that a step
cannot do without, in batches: denoising and decoding of 2n images, their activations, and n pairs of UNet passes
forward and back, with those of the reference. Processor seconds of one thread.

Nearly all of a step is drawing, so two more rows are ours and its floor with few steps of another sampler, as the
default suite draws. Their images are others: what they must share with the images of many steps is what a factor oracle
reads in them (*read right*, the share of the images in which it sees what the prompt names; docs/performance.md has the
same for many captions, with intervals).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor
from xcore_diffusion import dpo
from xcore_diffusion.generator import DiffusionGenerator
from xcore_diffusion.options import AdaptOptions, Options
from xcore_minizoo.models import shipped
from xcore_minizoo.world import Scene
from xcore_tcav.scorer import Scorer

from xcore.contract import Cell, Ref, Samples, Task
from xcore.models.classifiers import TorchClassifier
from xcore.registry import Registry, load_registry
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

sys.path.append(str(Path(__file__).resolve().parent.parent))
from steps import right

PROMPT, TARGET = "white and black striped texture", "zebra"
NAMED = Scene(shape=None, pattern="striped", colours=("white", "black"), background=None, object=None)
"""What the prompt names."""
LESS_RIGHT = 0.05
"""How much less an oracle may read in images of few steps."""
ADAPT = {"steps": 1}
"""One optimiser step on all pairs: what the plain step sums over pairs one by one."""
GRADIENT_STEPS = 5
CLOSE = 1e-3, 0.05
"""The largest difference of an entry of an image, and of the LoRA as a share of its largest one: latents that were
decoded and encoded again are not quite those that were drawn."""


@dataclass
class Spent:
    """Processor and wall seconds, and calls of networks as rows of their batches."""

    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What a step has made."""

    images: Tensor
    ts: tuple[float, float]
    lora: dict[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="n, the images of each group")
    parser.add_argument("--class-images", type=int, default=20, help="of TCAV")
    parser.add_argument("--sets", type=int, default=5, help="random sets of TCAV")
    parser.add_argument("--steps", type=int, default=25, help="denoising steps")
    parser.add_argument("--few", default="unipc:6", help="sampler and number of few denoising steps")
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the plain steps are run once")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="captum")
    with tempfile.TemporaryDirectory() as folder:
        _compare(asked, Path(folder))


def _compare(asked: argparse.Namespace, folder: Path) -> None:
    registry = load_registry()
    task = _task(registry, folder)
    classifier: TorchClassifier = registry.create("classifier", Ref("minizoo/clean"))
    sampler, few_steps = asked.few.split(":")
    options = Options(steps=asked.steps, batch_size=asked.images)
    few = Options(steps=int(few_steps), scheduler=sampler, batch_size=asked.images)
    spent, made = dict[str, Spent](), dict[str, Step]()
    for name, floor, chosen in (
        ("ours", "floor", options),
        ("ours, few steps", "floor, few steps", few),
    ):
        generator = DiffusionGenerator(shipped("diffusion"), chosen)
        ours = Ours(task, classifier, generator, asked)
        spent |= {name: Spent(), floor: Spent()}
        ours.step()  # the random sets, gradients and prompt are there from the first step on
        for _ in range(asked.repeats):
            with _clocked(spent[name], generator):
                made[name] = ours.step()
            with _clocked(spent[floor], generator):
                ours.floor(made[name])
    mine = made["ours"]
    for name in ("kept", "plain"):
        theirs = Plain(task, classifier, options, asked, reload=name == "plain")
        spent[name] = Spent()
        with _clocked(spent[name]):
            made[name] = theirs.step(mine.ts[0] >= mine.ts[1])
    oracle = registry.create("model", Ref("minizoo/oracle-a"))
    read = {name: _read_right(oracle, step) for name, step in made.items()}
    print(f"{asked.images} images a group, {asked.steps} denoising steps, {asked.sets} random sets\n")
    print(
        "| step | processor s | wall s | times ours | times ours, few steps | TS of the groups | read right | "
        "largest difference: image, LoRA |\n" + "|---" * 8 + "|"
    )
    bases = [median(spent[name].processor) for name in ("ours", "ours, few steps")]
    for name, clock in spent.items():
        seconds, told = median(clock.processor), made.get(name)
        times = " | ".join(f"{seconds / base:.2f}" for base in bases)
        ts = "{:.2f}, {:.2f}".format(*told.ts) if told else ""
        off = "{:.1e}, {:.1e}".format(*_difference(mine, told)) if told and name in ("kept", "plain") else ""
        seen = f"{read[name]:.2f}" if told else ""
        print(f"| {name} | {seconds:.2f} | {median(clock.wall):.2f} | {times} | {ts} | {seen} | {off} |")
    for name in ("ours", "ours, few steps"):
        print(f"\nrows through the networks of the pipeline in one step of {name}:", spent[name].rows)
    for name in ("kept", "plain"):
        if any(off > most for off, most in zip(_difference(mine, made[name]), CLOSE, strict=True)):
            raise SystemExit(f"the {name} step made other images or another LoRA: the row is worth nothing")
    if read["ours"] - read["ours, few steps"] > LESS_RIGHT:
        raise SystemExit("an oracle reads less of the prompt in images of few steps: that row is worth nothing")


def _read_right(oracle: Any, step: Step) -> float:
    """The share of what the prompt names that the oracle sees in the images of a step."""
    drawn = Samples("image", step.images, tuple(map(str, range(len(step.images)))))
    return fmean(right(oracle, drawn, [NAMED] * len(drawn)))


def _task(registry: Registry, folder: Path) -> Task:
    """The class, with its images and random sets."""
    cell = Cell(
        label="rlpo",
        method=Ref("rlpo"),
        classifier=Ref("minizoo/clean"),
        data=Ref("minizoo"),
        cls=TARGET,
        seed=0,
        data_seed=0,
    )
    return Workbench(registry, Store(folder)).task(cell, folder, lambda step, total, note="": None)


@contextmanager
def _clocked(spent: Spent, generator: DiffusionGenerator | None = None) -> Iterator[None]:
    """Measures the block; of a generator, counts the rows that go through its networks."""
    hooks, rows = [], dict.fromkeys(("unet", "decoder", "encoder"), 0)
    if generator is not None:
        pipe = generator.pipe
        watched = {
            "unet": pipe.unet,
            "decoder": pipe.vae.decoder,
            "encoder": pipe.vae.encoder,
        }
        for name, module in watched.items():

            def count(module: Any, given: Any, name: str = name) -> None:
                rows[name] += len(given[0])

            hooks.append(module.register_forward_pre_hook(count))
    processor, wall = time.process_time(), time.perf_counter()
    try:
        yield
    finally:
        spent.processor.append(time.process_time() - processor)
        spent.wall.append(time.perf_counter() - wall)
        spent.rows = rows
        for hook in hooks:
            hook.remove()


class Ours:
    """The step as `xcore_rlpo.algorithm.Search` takes it."""

    def __init__(
        self, task: Task, classifier: TorchClassifier, generator: DiffusionGenerator, asked: argparse.Namespace
    ) -> None:
        self.generator, self.n = generator, asked.images
        self.probe = classifier.open(classifier.default_layer)
        chosen = task.samples.take(list(range(asked.class_images)))
        self.scorer = Scorer(self.probe, task.target, chosen, task.random_set, negatives=asked.sets)

    def step(self) -> Step:
        n, seeds = self.n, list(range(2 * self.n))
        drawn = self.generator.generate([PROMPT] * (2 * n), seeds)
        groups = drawn.take(list(range(n))), drawn.take(list(range(n, 2 * n)))
        one, two = self.scorer.score_many(groups, "as-is")
        better, worse = groups if one.ts >= two.ts else groups[::-1]
        adapter, _ = self.generator.adapt(None, better, worse, seed=0, options=ADAPT)
        return Step(drawn.images, (one.ts, two.ts), dict(adapter.state))

    def floor(self, made: Step) -> None:
        """The calls of the networks alone."""
        generator, n = self.generator, self.n
        drawn = generator.generate([PROMPT] * (2 * n), list(range(2 * n)))
        self.probe.activations(drawn)
        x, t = drawn.meta["latents"], torch.zeros(2 * n, dtype=torch.long)
        context = generator._embed(PROMPT).expand(2 * n, -1, -1)
        unet, lora = generator.pipe.unet, generator._lora_layers()
        with torch.no_grad(), lora.off():
            unet(x, t, encoder_hidden_states=context)
        unet(x, t, encoder_hidden_states=context).sample.sum().backward()
        unet.zero_grad(set_to_none=True)
        lora.switch(False)


class Plain:
    """The published procedure, one part after another; `reload` loads the pipeline for each part."""

    def __init__(
        self, task: Task, classifier: TorchClassifier, options: Options, asked: argparse.Namespace, *, reload: bool
    ) -> None:
        self.task, self.classifier, self.asked, self.reload = task, classifier, asked, reload
        self.path, self.options = shipped("diffusion"), options
        self.kept = DiffusionGenerator(self.path, self.options)

    def pipeline(self) -> DiffusionGenerator:
        return DiffusionGenerator(self.path, self.options) if self.reload else self.kept

    def step(self, first_is_better: bool) -> Step:
        n = self.asked.images
        groups = [self.draw(range(n)), self.draw(range(n, 2 * n))]
        ts = self.tcav(groups)
        # Prefer what ours prefers, so that both tune towards the same group.
        better, worse = groups if first_is_better else groups[::-1]
        return Step(torch.cat(groups), ts, self.tune(better, worse))

    def draw(self, seeds: range) -> Tensor:
        """n images of a group by the pipeline itself."""
        drawn = self.pipeline()
        noise = torch.stack([drawn._noise(seed) for seed in seeds])
        pipe = drawn.pipe
        made: Tensor = pipe(
            [PROMPT] * len(seeds),
            latents=noise,
            num_inference_steps=self.asked.steps,
            guidance_scale=self.options.guidance,
            output_type="pt",
        ).images
        return made.float().cpu()

    def tcav(self, groups: list[Tensor]) -> tuple[float, float]:
        """captum's TS of each group: the mean over random sets."""
        from captum.attr import LayerIntegratedGradients
        from captum.concept import TCAV, Concept

        task, asked = self.task, self.asked
        network, layer = self.classifier.model, self.classifier.default_layer
        images = network.inputs(task.samples.images[: asked.class_images])
        found = []
        for group in groups:  # each call of the scripts starts anew
            with tempfile.TemporaryDirectory() as folder:
                theirs = TCAV(
                    network.module,
                    [layer],
                    layer_attr_method=LayerIntegratedGradients(network.module, None, multiply_by_inputs=False),
                    save_path=folder,
                )
                concept = Concept(0, "group", [network.inputs(group)])
                sets = [
                    Concept(1 + i, f"random-{i}", [network.inputs(task.random_set(len(group), i).images)])
                    for i in range(asked.sets)
                ]
                scores = theirs.interpret(
                    images, [[concept, other] for other in sets], target=task.target, n_steps=GRADIENT_STEPS
                )
                signs = [float(of[layer]["sign_count"][0]) for of in scores.values()]
                found.append(sum(signs) / len(signs))
        return found[0], found[1]

    def tune(self, better: Tensor, worse: Tensor) -> dict[str, Tensor]:
        """One optimiser step whose gradient is summed over pairs one by one, with the noise that ours draws."""
        drawn = self.pipeline()
        lora, unet, scheduler = drawn._lora_layers(), drawn.pipe.unet, drawn.pipe.scheduler
        objective = dpo.Objective(scheduler.alphas_cumprod, str(scheduler.config.prediction_type))
        o, n = AdaptOptions(**ADAPT), len(better)
        lora.put(lora.initial(0))
        draws = dpo.Draw.make(0, 0, n, n, drawn.latent_shape, len(objective.alphas_cumprod))
        beta = dpo.default_beta(better[0].new_empty(drawn.latent_shape).numel())
        optimiser = torch.optim.AdamW(lora.parameters.values(), lr=o.lr, weight_decay=o.weight_decay)
        for i in range(n):
            pair = int(draws.pairs[i])
            with torch.no_grad():
                x = torch.cat([drawn._encode(images[pair : pair + 1]) for images in (better, worse)])
            noise, t = draws.noise[i : i + 1].repeat(2, 1, 1, 1), draws.t[i : i + 1].repeat(2)
            inputs = unet, x, noise, t, drawn._embed(PROMPT).expand(2, -1, -1)
            with torch.no_grad(), lora.off():
                reference = objective.errors(*inputs)
            own = objective.errors(*inputs)
            loss, _ = dpo.pair_loss(own[:1], own[1:], reference[:1], reference[1:], beta)
            torch.autograd.backward(loss.sum() / n)
        torch.nn.utils.clip_grad_norm_(lora.parameters.values(), o.grad_clip)
        optimiser.step()
        return dict(lora.take({}).state)


def _difference(mine: Step, theirs: Step | None) -> tuple[float, float]:
    """The largest difference of the images, and of the LoRA as a share of its largest entry."""
    assert theirs is not None
    largest = max(float(v.abs().max()) for v in mine.lora.values())
    lora = max(float((v - theirs.lora[name]).abs().max()) for name, v in mine.lora.items())
    return float((mine.images - theirs.images).abs().max()), lora / largest


if __name__ == "__main__":
    main()
