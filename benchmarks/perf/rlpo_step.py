"""One step of RLPO against the published procedure, written plainly: `python benchmarks/perf/rlpo_step.py`.

    python benchmarks/perf/rlpo_step.py                       # minizoo/clean, zebra, minizoo/diffusion
    python benchmarks/perf/rlpo_step.py --images 6 --steps 5  # a shorter look
    python benchmarks/perf/rlpo_step.py --few dpm:12:0        # another sampler of few steps

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
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from figures import note
from measure import Ways, pictures
from torch import Tensor, nn
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
    parser.add_argument(
        "--few", default="unipc:5:1", help="sampler, number of few denoising steps, and of those without guidance"
    )
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
    sampler, few_steps, unguided = asked.few.split(":")
    options = Options(steps=asked.steps, batch_size=asked.images)
    few = Options(steps=int(few_steps), unguided=int(unguided), scheduler=sampler, batch_size=asked.images)
    ways, made = Ways(_named), dict[str, Step]()
    for name, floor, chosen in (
        ("ours", "floor", options),
        ("ours, few steps", "floor, few steps", few),
    ):
        generator = DiffusionGenerator(shipped("diffusion"), chosen)
        ours = Ours(task, classifier, generator, asked)
        # The random sets, gradients and prompt are there from the first step on. Every step draws images of its own, as
        # those of a search do: activations of the same images would be kept.
        ours.step(asked.repeats)
        for turn in reversed(range(asked.repeats)):
            made[name] = ways.run(name, partial(ours.step, turn))
            ways.run(floor, partial(ours.floor, asked.repeats + 1 + turn))
    mine = made["ours"]
    for name in ("kept", "plain"):
        theirs = Plain(task, classifier, options, asked, reload=name == "plain")
        made[name] = ways.run(name, partial(theirs.step, mine.ts[0] >= mine.ts[1]))
    oracle = registry.create("model", Ref("minizoo/oracle-a"))
    read = {name: _read_right(oracle, step) for name, step in made.items()}
    print(f"{asked.images} images a group, {asked.steps} denoising steps, {asked.sets} random sets\n")
    few_seconds = ways.seconds("ours, few steps")
    more = {
        "times ours, few steps": {name: f"{ways.seconds(name) / few_seconds:.2f}" for name in ways.spent},
        "TS of the groups": {name: "{:.2f}, {:.2f}".format(*step.ts) for name, step in made.items()},
        "read right": {name: f"{share:.2f}" for name, share in read.items()},
        "largest difference: image, LoRA": {
            name: "{:.1e}, {:.1e}".format(*_difference(mine, made[name])) for name in ("kept", "plain")
        },
    }
    ways.table(more=more)
    for name in ("kept", "plain"):
        if any(off > most for off, most in zip(_difference(mine, made[name]), CLOSE, strict=True)):
            raise SystemExit(f"the {name} step made other images or another LoRA: the row is worth nothing")
    if read["ours"] - read["ours, few steps"] > LESS_RIGHT:
        raise SystemExit("an oracle reads less of the prompt in images of few steps: that row is worth nothing")
    for name, floor in (("ours", "floor"), ("ours, few steps", "floor, few steps")):
        part = name.replace("ours", "rlpo")
        note(part, ours=ways.seconds(name), floor=ways.seconds(floor), peer=ways.seconds("plain"))


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


def _named(module: nn.Module) -> str:
    """Rows are counted by the kind of network, since the plain step loads its pipeline anew.

    Pictures enter the classifier, or the encoder of the VAE.
    """
    within = {"UNet2DConditionModel": "UNet", "Decoder": "decoder", "Encoder": "encoder"}
    return within.get(type(module).__name__, "") or pictures(module)


class Ours:
    """The step as `xcore_rlpo.algorithm.Search` takes it."""

    def __init__(
        self, task: Task, classifier: TorchClassifier, generator: DiffusionGenerator, asked: argparse.Namespace
    ) -> None:
        self.generator, self.n = generator, asked.images
        self.probe = classifier.open(classifier.default_layer)
        chosen = task.samples.take(list(range(asked.class_images)))
        self.scorer = Scorer(self.probe, task.target, chosen, task.random_set, negatives=asked.sets)

    def step(self, turn: int) -> Step:
        """A step whose noise is that of the turn; the plain steps take that of turn 0."""
        n, drawn = self.n, self._draw(turn)
        groups = drawn.take(list(range(n))), drawn.take(list(range(n, 2 * n)))
        one, two = self.scorer.score_many(groups, "as-is")
        better, worse = groups if one.ts >= two.ts else groups[::-1]
        adapter, _ = self.generator.adapt(None, better, worse, seed=0, options=ADAPT)
        return Step(drawn.images, (one.ts, two.ts), dict(adapter.state))

    def _draw(self, turn: int) -> Samples:
        n = 2 * self.n
        return self.generator.generate([PROMPT] * n, list(range(n * turn, n * turn + n)))

    def floor(self, turn: int) -> None:
        """The calls of the networks alone."""
        generator, n, drawn = self.generator, self.n, self._draw(turn)
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


def _difference(mine: Step, theirs: Step) -> tuple[float, float]:
    """The largest difference of the images, and of the LoRA as a share of its largest entry."""
    largest = max(float(v.abs().max()) for v in mine.lora.values())
    lora = max(float((v - theirs.lora[name]).abs().max()) for name, v in mine.lora.items())
    return float((mine.images - theirs.images).abs().max()), lora / largest


if __name__ == "__main__":
    main()
