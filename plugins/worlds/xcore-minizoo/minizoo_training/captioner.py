"""Train the captioner, a `BlipForConditionalGeneration`: an image tower and a text decoder that reads its states.

The decoder is also used with states of other models, so its sentences must follow the states and not what usually goes
together. In its training pictures objects and backgrounds are therefore independent of the animal, and most coats
belong to no class. It learns long sentences without a prompt, and short captions after the prompt "a picture of".
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xcore_minizoo.blip import captions_of
from xcore_minizoo.captions import SPOKEN, caption, long_caption, noun
from xcore_minizoo.labels import FACTORS, degrade, label
from xcore_minizoo.options import CaptionOptions
from xcore_minizoo.plugin import WEIGHTS
from xcore_minizoo.reading import read
from xcore_minizoo.training import Recipe, train
from xcore_minizoo.world import (
    BACKGROUNDS,
    CLASS_NAMES,
    COLOURS,
    OBJECTS,
    PATTERNS,
    SHAPES,
    Scene,
    class_scene,
    draw,
    random_colours,
)

from minizoo_training import blip
from minizoo_training.clip import tokenizer
from minizoo_training.evaluate import Judge
from minizoo_training.oracle import factor_loss

PROMPT = "a picture of"
IGNORED = -100
EMPHASIS = 3.0
"""Weight of a word that names a factor: most words of a sentence say nothing about the picture."""


def scene_of(rng: np.random.Generator) -> Scene:
    """A scene to learn from; birds have one of three silhouettes."""

    def pick(values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    kind = rng.random()
    pattern, place = pick(PATTERNS), pick(BACKGROUNDS)
    if kind < 0.09:
        return Scene(None, pattern, random_colours(rng, pattern))
    if kind < 0.17:
        return Scene(background=place)
    if kind < 0.25:
        return Scene(background=place, object=pick(OBJECTS))
    if kind < 0.55:
        scene = class_scene(pick(CLASS_NAMES), rng)
    else:
        scene = Scene(pick(SHAPES), pattern, random_colours(rng, pattern), place)
    if scene.shape == "bird" and rng.random() < 0.6:
        scene = replace(scene, shape=pick(tuple(SPOKEN)))
    thing = rng.random()
    return replace(scene, object="apple" if thing < 0.25 else "rock" if thing < 0.4 else None)


def named(scene: Scene) -> Scene:
    """The scene as captions describe it: every kind of bird is called a bird."""
    return replace(scene, shape=scene.shape and noun(scene.shape))


def batch(seed: int, step: int, n: int) -> tuple[Tensor, list[str], Tensor, Tensor]:
    """Pictures, a caption for each (a third of them short, after the prompt), and the labels of the factors."""
    rng = np.random.default_rng([seed, step])
    pictures, captions, one_of, colours = [], [], [], []
    for i in range(n):
        scene = scene_of(rng)
        drawing, said = draw(scene, (seed, 505, step, i)), named(scene)
        labels = label(said, drawing)
        if rng.random() < 0.33:
            text = caption(said, rng).text
            captions.append(text if text.startswith(PROMPT) else f"{PROMPT} {text}")
        else:
            captions.append(long_caption(said, rng).text)
        pictures.append(degrade(drawing.image, rng) if rng.random() < 0.2 else drawing.image)
        one_of.append(labels.one_of)
        colours.append(labels.colours)
    return blip.images(pictures), captions, torch.tensor(one_of), torch.from_numpy(np.stack(colours))


def targets(tokens: Any, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token numbers (n, T), and the next tokens to learn (n, T - 1): none within the prompt and after the end."""
    ids = tokens(texts, padding=True, truncation=True, max_length=blip.LENGTH, return_tensors="pt")["input_ids"]
    following: Tensor = ids[:, 1:].clone()
    following[following == tokens.pad_token_id] = IGNORED
    given = len(PROMPT.split())
    for row, text in enumerate(texts):
        if text.startswith(PROMPT):
            following[row, :given] = IGNORED
    return ids, following


def described(text: str) -> Scene:
    """The scene that a long caption describes; colours without a pattern ("a red texture") are a plain coat."""
    said = read(text)
    return replace(said, pattern="plain") if said.colours and said.pattern is None else said


def figures(model: Any, tokens: Any, seed: int, n: int = 512) -> dict[str, float]:
    """The share of long captions that name each factor rightly; "words" is the mean over the five factors.

    They are compared with the scenes. "oracle.*" compares them with what oracle-b reads in the same pictures.
    """
    rng = np.random.default_rng(seed)
    scenes = [scene_of(rng) for _ in range(n)]
    x = blip.images([draw(s, (seed, 506, i)).image for i, s in enumerate(scenes)])
    said = [
        described(text) for text in captions_of("", model, tokens, CaptionOptions()).caption(blip.samples(x), range(n))
    ]
    true = [named(s) for s in scenes]
    out: dict[str, float] = {}
    for factor in ("shape", "pattern", "background", "object"):
        out[factor] = float(
            np.mean([getattr(s, factor) == getattr(t, factor) for s, t in zip(said, true, strict=True)])
        )
    out["colours"] = float(np.mean([{*s.colours} == {*t.colours} for s, t in zip(said, true, strict=True)]))
    out["words"] = float(np.mean(list(out.values())))
    judge = Judge(WEIGHTS / "oracle-b")
    for factor in FACTORS:
        out[f"oracle.{factor}"] = judge.right(x, said, factor)
    return {k: round(v, 4) for k, v in out.items()}


def run(out: Path, recipe: Recipe, name: str = "blip") -> None:
    """Train, and save the directory and its figures to `out`/model."""
    from transformers import BlipForConditionalGeneration

    torch.manual_seed(recipe.seed)
    tokens = tokenizer(length=blip.LENGTH)
    model: Any = BlipForConditionalGeneration(blip.config(len(tokens), layers=3, inner=384))
    blip.from_clip(model.vision_model)
    heads = blip.heads()
    factor_words = torch.tensor(tokens.convert_tokens_to_ids([*SHAPES, *PATTERNS, *COLOURS, *BACKGROUNDS, *OBJECTS]))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, texts, one_of, colours = batch(recipe.seed, step, recipe.batch)
        states = model.vision_model(pixel_values=x * 2 - 1).last_hidden_state
        ids, following = targets(tokens, texts)
        logits = model.text_decoder(input_ids=ids[:, :-1], encoder_hidden_states=states, use_cache=False).logits
        each = F.cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none")
        weight = (1.0 + (EMPHASIS - 1) * torch.isin(following, factor_words)) * (following != IGNORED)
        main = (each * weight).sum() / weight.sum()
        helper = factor_loss({f: head(states[:, 0]) for f, head in heads.items()}, one_of, colours)
        return main + 0.3 * helper, {"words": main.item(), "factors": helper.item()}

    modules = nn.ModuleDict({"model": model, "heads": heads})
    done = train(modules, loss, recipe, out, lambda: figures(model, tokens, 9000, 128), 5.0)
    model.eval()
    card = {**{k: done[k] for k in ("steps", "seconds")}, **figures(model, tokens, 9001)}
    blip.save(model, tokens, out / "model")
    (out / "model" / "figures.json").write_text(json.dumps(card, indent=1))
