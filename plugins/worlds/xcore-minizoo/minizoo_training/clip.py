"""Train the image-text `CLIPModel`. Its frozen text encoder also reads the prompts of the text-to-image pipeline.

There are two stages. "clip-text" trains the text tower against the scenes themselves, as vectors of their factors. It
needs no pictures, so it takes only minutes, and then the UNet of the pipeline can be trained. "clip" trains the picture
tower against the frozen text tower. Many captions are true of many scenes ("a horse"), so the target of a scene is
shared evenly by all captions of the batch that are true of it, and the other way round. Heads that read the factors
speed the training of both towers up and are thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from xcore_minizoo.captions import Caption, caption, class_caption, long_caption, words
from xcore_minizoo.labels import FACTORS, ONE_OF, UNKNOWN, crop, degrade, label, random_crop
from xcore_minizoo.training import Recipe, mean_weights, train
from xcore_minizoo.world import BACKGROUNDS, CLASSES, PATTERNS, Scene, class_scene, draw, training_scene

from minizoo_training.oracle import factor_loss

LENGTH = 32
TEXT: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": LENGTH, "projection_dim": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 3,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64,
    "patch_size": 8, "projection_dim": 96,
}  # fmt: skip


def tokenizer(more: Sequence[str] = (), length: int = LENGTH) -> Any:
    """The tokenizer: a token for each word (in lower case) and comma. It knows the words of captions and `more`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<start>", "<unknown>", "<end>"]
    vocabulary = {word: i for i, word in enumerate([*special, *words(), *sorted({*more} - {*words()})])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unknown>",
        model_max_length=length,
    )  # fmt: skip


def build(vocabulary: int) -> Any:
    """An untrained, small `CLIPModel`."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=TEXT | {"vocab_size": vocabulary},
        vision_config=VISION,
        projection_dim=96,
        logit_scale_init_value=2.3,
    )
    return CLIPModel(config)


def encode(tokens: Any, texts: list[str]) -> Tensor:
    """Token numbers (n, 32)."""
    padded = tokens(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    ids: Tensor = padded["input_ids"]
    return ids


def batch(seed: int, step: int, n: int) -> tuple[Tensor, list[Caption], list[Scene], Tensor, Tensor]:
    """Pictures (one in four is a crop), their captions, what can be seen of their scenes, labels of their factors."""
    rng = np.random.default_rng([seed, step])
    images, captions, scenes, one_of, colours = [], [], [], [], []
    for i in range(n):
        scene = training_scene(rng)
        drawing = draw(scene, (seed, 303, step, i))
        image, labels = drawing.image, label(scene, drawing)
        if rng.random() < 0.25:
            box = random_crop(rng, 30)
            labels = label(scene, drawing, box)
            scene = visible(labels.one_of, labels.colours)
            image = crop(image, box)
        if rng.random() < 0.2:
            image = degrade(image, rng)
        said = long_caption(scene, rng) if rng.random() < 0.1 and scene.background else caption_of(scene, rng)
        images.append(image)
        captions.append(said)
        scenes.append(scene)
        one_of.append(labels.one_of)
        colours.append(labels.colours)
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return x, captions, scenes, torch.tensor(one_of), torch.from_numpy(np.stack(colours))


def visible(one_of: tuple[int, int, int, int], colours: Any) -> Scene:
    """The scene that a crop shows; factors of which too little can be seen are left out."""
    shape, pattern, place, thing = (None if v <= 0 else FACTORS[f][v] for f, v in zip(ONE_OF, one_of, strict=True))
    held = () if colours[0] == UNKNOWN else tuple(c for c, on in zip(FACTORS["colours"], colours, strict=True) if on)
    return Scene(shape, pattern, held, place, thing)


def caption_of(scene: Scene, rng: np.random.Generator) -> Caption:
    """A caption of a whole scene, or of what a crop shows of it (whose factors may be incomplete)."""
    whole = scene.pattern is not None and scene.colours
    if (scene.shape and not whole) or (not scene.shape and not whole and scene.background is None):
        left = scene.shape or scene.background or scene.object or scene.pattern or "a picture"
        parts = {"shape": scene.shape, "background": scene.background, "object": scene.object, "pattern": scene.pattern}
        first = next((k for k, v in parts.items() if v == left), None)
        return Caption(left, Scene(**{first: left}) if first else Scene())  # type: ignore[arg-type]
    return caption(scene, rng)


def matches(captions: list[Caption], scenes: list[Scene]) -> Tensor:
    """(pictures, captions): 1 where the caption is true of the picture."""
    return torch.tensor([[float(c.true_of(s)) for c in captions] for s in scenes])


def contrastive(logits: Tensor, true: Tensor) -> Tensor:
    """The cross entropy, both ways, of logits (pictures, captions) with targets that all true pairs share evenly."""
    loss = torch.zeros(())
    for scores, target in ((logits, true), (logits.T, true.T)):
        share = target / target.sum(1, keepdim=True).clamp(min=1)
        loss = loss - 0.5 * (share * scores.log_softmax(1)).sum(1).mean()
    return loss


def embed(model: Any, ids: Tensor | None = None, x: Tensor | None = None) -> Tensor:
    """Embeddings of length 1 of token numbers, or of images in [0, 1]."""
    if ids is not None:
        h = model.text_projection(model.text_model(input_ids=ids).pooler_output)
    else:
        assert x is not None
        h = model.visual_projection(model.vision_model(pixel_values=x * 2 - 1).pooler_output)
    return F.normalize(h, dim=-1)


@torch.no_grad()
def figures(model: Any, tokens: Any, seed: int, n: int = 512) -> dict[str, float]:
    """Zero-shot accuracy on newly painted pictures: class (of 8), background, and pattern (of textures and animals)."""
    model.eval()
    rng = np.random.default_rng(seed)
    names = tuple(CLASSES)
    y = rng.integers(len(names), size=n)
    scenes = [class_scene(names[i], rng) for i in y]
    x = torch.from_numpy(np.stack([draw(s, (seed, 404, i)).image for i, s in enumerate(scenes)]))
    images = embed(model, x=x.permute(0, 3, 1, 2).float() / 255)

    def best(texts: list[str], of: Tensor = images) -> Any:
        return (of @ embed(model, encode(tokens, texts)).T).argmax(1).numpy()

    out = {"class": float((best([class_caption(c).text for c in names]) == y).mean())}
    places = np.array([BACKGROUNDS.index(s.background or "") for s in scenes])
    out["background"] = float((best(list(BACKGROUNDS)) == places).mean())
    coats = [training_scene(rng) for _ in range(4 * n)]
    coats = [s for s in coats if s.pattern is not None][:n]
    x = torch.from_numpy(np.stack([draw(s, (seed, 405, i)).image for i, s in enumerate(coats)]))
    others = embed(model, x=x.permute(0, 3, 1, 2).float() / 255)
    guess = best([f"{p} texture" for p in PATTERNS], others)
    out["pattern"] = float((guess == np.array([PATTERNS.index(s.pattern or "") for s in coats])).mean())
    return {k: round(v, 4) for k, v in out.items()}


def factor_vector(scene: Scene) -> Tensor:
    """The factors of a scene as zeros and ones: what an ideal picture tower would see."""
    held = [float(c in scene.colours) for c in FACTORS["colours"]]
    values = (scene.shape, scene.pattern, scene.background, scene.object)
    hot = [float((v or "none") == w) for f, v in zip(ONE_OF, values, strict=True) for w in FACTORS[f]]
    return torch.tensor(held + hot)


def run(out: Path, recipe: Recipe, name: str = "clip") -> None:
    """Train one tower. "clip" reads the text tower from `out`/../clip-text and saves a `CLIPModel` to `out`/model."""
    torch.manual_seed(recipe.seed)
    tokens = tokenizer()
    model = build(len(tokens))
    if name == "clip-text":
        _run_text(out, recipe, model, tokens)
        return
    text = mean_weights(out.parent / "clip-text" / "checkpoint.safetensors")
    model.text_model.load_state_dict({k[5:]: v for k, v in text.items() if k.startswith("text.")})
    model.text_projection.load_state_dict({k[11:]: v for k, v in text.items() if k.startswith("projection.")})
    _run_pictures(out, recipe, model, tokens)


def _run_text(out: Path, recipe: Recipe, model: Any, tokens: Any) -> None:
    """Train the text tower against the vectors of factors."""
    width = len(factor_vector(Scene()))
    tower = nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, 96))
    head = nn.Linear(TEXT["hidden_size"], width)
    scale = nn.ParameterList([nn.Parameter(torch.tensor(2.3))])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.seed, step, 111])
        scenes: list[Scene] = [training_scene(rng) for _ in range(recipe.batch)]
        said = [(long_caption if s.background and rng.random() < 0.08 else caption)(s, rng) for s in scenes]
        pooled = model.text_model(input_ids=encode(tokens, [c.text for c in said])).pooler_output
        texts = F.normalize(model.text_projection(pooled), dim=-1)
        seen = F.normalize(tower(torch.stack([factor_vector(s) for s in scenes])), dim=-1)
        main = contrastive(scale[0].exp().clamp(max=50) * seen @ texts.T, matches(said, scenes))
        named = torch.stack([factor_vector(c.says) for c in said])
        helper = F.binary_cross_entropy_with_logits(head(pooled), named)
        return main + 5 * helper, {"contrast": main.item(), "factors": helper.item()}

    trained = {
        "text": model.text_model,
        "projection": model.text_projection,
        "tower": tower,
        "head": head,
        "scale": scale,
    }
    train(nn.ModuleDict(trained), loss, recipe, out)


def _run_pictures(out: Path, recipe: Recipe, model: Any, tokens: Any) -> None:
    """Train the picture tower against the frozen text tower."""
    from transformers import CLIPImageProcessor

    model.text_model.requires_grad_(False)
    model.text_projection.requires_grad_(False)
    heads = nn.ModuleDict({f: nn.Linear(VISION["hidden_size"], len(v)) for f, v in FACTORS.items()})

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        x, captions, scenes, one_of, colours = batch(recipe.seed, step, recipe.batch)
        pooled = model.vision_model(pixel_values=x * 2 - 1).pooler_output
        images = F.normalize(model.visual_projection(pooled), dim=-1)
        with torch.no_grad():
            texts = embed(model, encode(tokens, [c.text for c in captions]))
        logits = model.logit_scale.exp().clamp(max=50) * images @ texts.T
        main = contrastive(logits, matches(captions, scenes))
        helper = factor_loss({f: head(pooled) for f, head in heads.items()}, one_of, colours)
        return main + 0.3 * helper, {"contrast": main.item(), "factors": helper.item()}

    done = train(
        nn.ModuleDict({"model": model, "heads": heads}),
        loss,
        recipe,
        out,
        lambda: figures(model, tokens, 9000, 256),
        6.0,
    )
    card = {**{k: done[k] for k in ("steps", "seconds")}, **figures(model, tokens, 9001)}
    model.half().save_pretrained(out / "model")
    tokens.save_pretrained(out / "model")
    half = [0.5, 0.5, 0.5]
    CLIPImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}, image_mean=half, image_std=half
    ).save_pretrained(out / "model")
    (out / "model" / "figures.json").write_text(json.dumps(card, indent=1))
