"""Train visual question answering, a `BlipForQuestionAnswering`, on seven questions about pictures and patches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from xcore_minizoo.blip import answers_of
from xcore_minizoo.labels import crop, degrade, random_crop
from xcore_minizoo.questions import NONE, NOTHING, QUESTIONS
from xcore_minizoo.training import Recipe, train
from xcore_minizoo.world import draw

from minizoo_training import blip
from minizoo_training.asking import Answer, answers, patch
from minizoo_training.captioner import named, scene_of
from minizoo_training.clip import tokenizer

IGNORED = -100
ASKED = {
    "pattern": ("what is the pattern", "what pattern is", "what are the patterns"),
    "colours": ("what are the colors", "what is the color", "what are the main colors", "what colors are"),
    "background colour": ("what is the background color", "what is the color of the background"),
    "background": ("what is in the background", "what is the background", "what can be seen in the background"),
    "primary texture": ("what is the primary texture", "what is the main texture", "what is the texture"),
    "secondary texture": ("what is the secondary texture", "what is the second texture"),
    "shape": ("what is the shape", "what shape is", "what are the shapes"),
}
WHERE = ("in the image", "of the image", "in this image", "in the picture", "in this picture", "of the picture", "")


def question(key: str, rng: np.random.Generator) -> str:
    """A question in words that somebody might use; half of the time in its own words."""
    if rng.random() < 0.5:
        return QUESTIONS[key]
    ways, places = ASKED[key], WHERE
    text = f"{ways[int(rng.integers(len(ways)))]} {places[int(rng.integers(len(places)))]}".strip()
    text = text.replace("color", "colour") if rng.random() < 0.3 else text
    return f"{text}?" if rng.random() < 0.7 else text


def extra_words() -> list[str]:
    """The words of questions and answers that occur in no caption."""
    texts = [NONE, NOTHING, "?", *WHERE, *(q for ways in ASKED.values() for q in ways)]
    texts += [t.replace("color", "colour") for t in texts] + [q.replace("?", "") for q in QUESTIONS.values()]
    return sorted({w for t in texts for w in t.split()})


def view(rng: np.random.Generator, kind: str, seed: Sequence[int]) -> tuple[NDArray[np.uint8], dict[str, Answer]]:
    """A picture or an enlarged piece of one, with the answers to all questions.

    `kind` is "whole", "crop" (any piece), "patch" (any patch of the grid) or "coat" (a patch with a part of the animal,
    if one is found).
    """
    scene = scene_of(rng)
    drawing = draw(scene, seed)
    if kind == "whole":
        return drawing.image, answers(named(scene), drawing)
    box = random_crop(rng, 26) if kind == "crop" else patch(int(rng.integers(9)))
    for _ in range(4 if kind == "coat" else 0):
        if drawing.animal[box[1] : box[3], box[0] : box[2]].sum() > 40:
            break
        box = patch(int(rng.integers(9)))
    return crop(drawing.image, box), answers(named(scene), drawing, box)


def batch(seed: int, step: int, n: int) -> tuple[Tensor, list[dict[str, Answer]]]:
    """Pictures and their answers: half are patches (most with an animal), a quarter other pieces, a quarter whole."""
    rng = np.random.default_rng([seed, step])
    pictures, said = [], []
    for i in range(n):
        u = rng.random()
        kind = "patch" if u < 0.15 else "coat" if u < 0.55 else "crop" if u < 0.75 else "whole"
        picture, answer = view(rng, kind, (seed, 606, step, i))
        pictures.append(degrade(picture, rng) if rng.random() < 0.1 else picture)
        said.append(answer)
    return blip.images(pictures), said


def figures(model: Any, tokens: Any, seed: int, n: int = 512) -> dict[str, float]:
    """The share of right answers by view and question, over the pictures that show enough ("all": mean over questions).

    "patch.pattern of coats" leaves out the patches without a coat. "patch.shape guessed" is about pieces of animals
    that are too small to show the shape.
    """
    rng = np.random.default_rng(seed)
    answerer = answers_of("", model, tokens)
    out: dict[str, float] = {}
    for kind in ("patch", "whole"):
        drawn = [view(rng, kind, (seed, 607, i)) for i in range(n)]
        x = blip.samples(blip.images([picture for picture, _ in drawn]))
        means = []
        for key, text in QUESTIONS.items():
            said = answerer.answer(x, [text] * n)
            right = [(s == a[key].text, a[key].sure) for s, (_, a) in zip(said, drawn, strict=True)]
            out[f"{kind}.{key}"] = float(np.mean([r for r, sure in right if sure]))
            means.append(out[f"{kind}.{key}"])
            if kind == "patch" and key == "shape":
                out["patch.shape guessed"] = float(np.mean([r for r, sure in right if not sure]))
            if kind == "patch" and key == "pattern":
                coats = [a[key].sure and a[key].text != NONE for _, a in drawn]
                out["patch.pattern of coats"] = float(np.mean([r for (r, _), c in zip(right, coats, strict=True) if c]))
        out[f"{kind}.all"] = float(np.mean(means))
    return {k: round(v, 4) for k, v in out.items()}


def run(out: Path, recipe: Recipe, name: str = "vqa") -> None:
    """Train, and save the directory and its figures to `out`/model; the image tower starts from the captioner's."""
    from transformers import BlipForQuestionAnswering

    torch.manual_seed(recipe.seed)
    tokens = tokenizer(extra_words(), blip.LENGTH)
    model: Any = BlipForQuestionAnswering(blip.config(len(tokens), layers=2, inner=192))
    model.vision_model.load_state_dict(blip.captioners_tower(out))

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.seed, step, 1])
        x, said = batch(recipe.seed, step, recipe.batch)
        states = model.vision_model(pixel_values=x * 2 - 1).last_hidden_state
        parts: dict[str, Tensor] = {}
        for key in QUESTIONS:
            asked = torch.tensor([tokens(question(key, rng))["input_ids"]]).expand(len(x), -1)
            read = model.text_encoder(input_ids=asked, encoder_hidden_states=states)[0]
            ids = tokens([a[key].text for a in said], padding=True, return_tensors="pt")["input_ids"]
            logits = model.text_decoder(input_ids=ids[:, :-1], encoder_hidden_states=read, use_cache=False).logits
            following = ids[:, 1:].masked_fill(ids[:, 1:] == tokens.pad_token_id, IGNORED)
            each = F.cross_entropy(logits.transpose(1, 2), following, ignore_index=IGNORED, reduction="none").sum(1)
            sure = torch.tensor([1.0 if a[key].sure else 0.3 for a in said])  # a guess teaches less
            parts[key] = (each * sure).sum() / sure.sum()
        value = torch.stack([*parts.values()]).mean()
        return value, {"loss": value.item(), **{k: v.item() for k, v in parts.items()}}

    done = train(nn.ModuleDict({"model": model}), loss, recipe, out, lambda: figures(model, tokens, 9000, 128), 5.0)
    model.eval()
    card = {**{k: done[k] for k in ("steps", "seconds")}, **figures(model, tokens, 9001)}
    blip.save(model, tokens, out / "model")
    (out / "model" / "figures.json").write_text(json.dumps(card, indent=1))
