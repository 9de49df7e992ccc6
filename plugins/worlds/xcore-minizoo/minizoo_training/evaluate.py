"""How well a text-to-image pipeline draws what it is asked for, as a factor oracle reads its pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from xcore_minizoo.captions import PLACES, class_phrase, coat_words, texture_phrase, with_article
from xcore_minizoo.labels import FACTORS
from xcore_minizoo.nets import load_oracle
from xcore_minizoo.oracle import agreement
from xcore_minizoo.world import BACKGROUNDS, CLASSES, Scene, any_scene, held_out


class Judge:
    """The factor oracle in a folder, as a judge of pictures."""

    def __init__(self, path: Path) -> None:
        self.oracle = load_oracle(path)

    def right(self, x: Tensor, scenes: list[Scene], factor: str) -> float:
        """The share of pictures in which the oracle reads the value of the scene (of colours: the whole set)."""
        probs = self.oracle.read(x)
        if factor == "class":
            return float(np.mean([self.name(probs, i) == s.name for i, s in enumerate(scenes)]))
        if factor == "colours":
            asked = torch.tensor([[c in s.colours for c in FACTORS["colours"]] for s in scenes])
            return ((probs["colours"] > 0.5) == asked).all(1).float().mean().item()
        asked = torch.tensor([FACTORS[factor].index(getattr(s, factor) or "none") for s in scenes])
        return (probs[factor].argmax(1) == asked).float().mean().item()

    @staticmethod
    def name(probs: dict[str, Tensor], i: int) -> str:
        """The class of picture i, from the factors that the oracle reads."""
        shape = FACTORS["shape"][int(probs["shape"][i].argmax())]
        pattern = FACTORS["pattern"][int(probs["pattern"][i].argmax())]
        colours = tuple(c for c, p in zip(FACTORS["colours"], probs["colours"][i], strict=True) if p > 0.5)
        return Scene(shape, pattern, colours).name


def prompts(seed: int, per_kind: int) -> dict[str, list[tuple[str, Scene]]]:
    """Kind -> prompts, each with the scene that it asks for: textures, classes, backgrounds, unseen combinations."""
    rng = np.random.default_rng([seed, 808])
    asked: dict[str, list[tuple[str, Scene]]] = {"texture": [], "class": [], "background": [], "unseen": []}
    while len(asked["texture"]) < per_kind:
        scene = any_scene(rng)
        if scene.shape is None and scene.pattern is not None:
            asked["texture"].append((texture_phrase(scene.pattern, scene.colours), scene))
    names = tuple(CLASSES)
    for i in range(per_kind):
        name, place = names[i % len(names)], BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
        shape, pattern, colours = CLASSES[name]
        asked["class"].append(
            (f"{with_article(class_phrase(name))} {PLACES[place][0]}", Scene(shape, pattern, colours, place))
        )
        where = BACKGROUNDS[i % len(BACKGROUNDS)]
        asked["background"].append((where, Scene(background=where)))
    while len(asked["unseen"]) < per_kind:
        scene = any_scene(rng)
        if held_out(scene) and scene.object is None:
            subject = with_article(f"{coat_words(scene.pattern, scene.colours)} {scene.shape}")
            asked["unseen"].append((f"{subject} {PLACES[scene.background or ''][0]}", scene))
    return asked


ASKED = {
    "texture": ("pattern", "colours"),
    "class": ("class", "shape", "pattern", "colours", "background"),
    "background": ("background",),
    "unseen": ("shape", "pattern", "colours", "background"),
}


@torch.no_grad()
def conditioning(
    pipe: Any, judge: Judge, seed: int, per_kind: int, steps: int = 12, guidance: float = 2.5
) -> dict[str, float]:
    """The share of drawn pictures in which the judge reads what the prompt asked for, by kind of prompt and factor."""
    pipe.set_progress_bar_config(disable=True)
    out = {}
    for kind, pairs in prompts(seed, per_kind).items():
        generator = torch.Generator().manual_seed(seed)
        images = []
        for low in range(0, len(pairs), 32):
            texts = [text for text, _ in pairs[low : low + 32]]
            drawn = pipe(
                texts, num_inference_steps=steps, guidance_scale=guidance, generator=generator, output_type="pt"
            )
            images.append(drawn.images.float())
        x = torch.cat(images)
        for factor in ASKED[kind]:
            out[f"{kind}.{factor}"] = round(judge.right(x, [s for _, s in pairs], factor), 4)
    return out


@torch.no_grad()
def round_trip(vae: Any, judge: Judge, seed: int, n: int = 512) -> dict[str, float]:
    """The agreement of the judge with the labels on pictures that were encoded and decoded, and their mean error."""
    from minizoo_training.oracle import batch

    x, one_of, colours = batch(seed, 0, n, "whole")
    y = torch.cat([vae.decode(vae.encode(p * 2 - 1).latent_dist.mode()).sample for p in x.split(64)])
    y = (y / 2 + 0.5).clamp(0, 1)
    out = agreement(judge.oracle.read(y), one_of, colours)
    return {k: round(v, 4) for k, v in out.items()} | {"l1": round((y - x).abs().mean().item(), 4)}


def measure(directory: Path, judge: Judge, per_kind: int = 100) -> dict[str, float]:
    """The figures of a pipeline: what the judge reads in its samples, and in what its autoencoder reproduces."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(directory, local_files_only=True, torch_dtype=torch.float32)
    coded = round_trip(pipe.vae, judge, 4000)
    return {**conditioning(pipe, judge, 2, per_kind), **{f"coded.{k}": v for k, v in coded.items()}}


def main(arguments: Sequence[str], prog: str) -> None:
    """Measure a text-to-image pipeline with a factor oracle, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog=prog, description=main.__doc__)
    parser.add_argument("pipeline", type=Path, help="folder of the pipeline")
    parser.add_argument("oracle", type=Path, help="folder of the factor oracle")
    parser.add_argument("--per-kind", type=int, default=100, help="number of prompts of each kind")
    args = parser.parse_args(arguments)
    print(json.dumps(measure(args.pipeline, Judge(args.oracle), args.per_kind), indent=1))
