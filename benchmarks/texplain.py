"""What TExplain says of features whose content is known: `python benchmarks/texplain.py` prints it as Markdown.

Sections by flag: --birds, --hidden, --speed, --apples, --latents; none = all. Every translator is trained on balanced
pictures, in which the words that are asked for are independent of the class, and is kept below --out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from apples import LAYER, cats, classifier, learn
from numpy.typing import NDArray
from reading import bird, obtain, pet, quiet, whole
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from xcore_minizoo.collections import COLLECTIONS, LAND, WATER
from xcore_minizoo.data import Painted
from xcore_minizoo.world import BACKGROUNDS, draw
from xcore_texplain import said
from xcore_texplain.cloud import changes, cloud
from xcore_texplain.counts import Counted, Word, compare, count, weigh
from xcore_texplain.features import features
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.texplain import translate

from xcore.api import load_registry
from xcore.types import Ref, Samples

IMAGES, SENTENCES, PETS = 150, 20, 40
NEVER = Word("", *[0.0] * 12)
OTHERS = tuple(place for place in BACKGROUNDS if place not in (*LAND, *WATER))


def main() -> None:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(description=__doc__)
    sections: dict[str, Callable[[Any, Path], None]] = {
        "birds": birds, "hidden": hidden, "speed": speed, "apples": apples, "latents": latents,
    }  # fmt: skip
    for name in sections:
        ask.add_argument(f"--{name}", action="store_true")
    ask.add_argument("--out", type=Path, default=Path("runs/texplain"))
    flags = ask.parse_args()
    asked = [name for name in sections if getattr(flags, name)] or list(sections)
    decoder = load_registry().create("model", Ref("minizoo/decoder"))
    command = " ".join(["python benchmarks/texplain.py", *(f"--{name}" for name in asked)])
    print(f"Command: `{command}`, {torch.get_num_threads()} threads\n")
    for name in asked:
        sections[name](decoder, flags.out / name)


def birds(decoder: Any, out: Path) -> None:
    """Words of the backgrounds in the split with the shortcut, beside the balanced one."""
    registry = load_registry()
    data, model = (
        registry.create(kind, Ref(ref))
        for kind, ref in (("dataset", "minizoo/shortcut-birds"), ("classifier", "minizoo/vit-birds"))
    )
    read = obtain(decoder, model.open(model.default_layer), bird, out)
    prior = Samples.concat([data.samples(cls, "train", IMAGES // 2, 1) for cls in data.classes])
    shuffled, mean = read.count(prior, 1, SENTENCES), read.mean(prior)
    print(f"## Shortcut birds: minizoo/vit-birds at {model.default_layer}\n")
    print(
        f"{IMAGES} images of a class and split, {SENTENCES} sentences each. Share of sentences with the word, with its"
    )
    print("95 % interval over images; the balanced split is `heldout`.\n")
    print(
        f"| class | word | own | balanced | in pictures | with shortcut | in pictures | change | apart |\n|{'---|' * 9}"
    )
    for cls in data.classes:
        own = LAND if cls == "landbird" else WATER
        shown = {split: data.samples(cls, split, IMAGES, 2) for split in ("heldout", "train")}
        counted = {split: read.count(samples, 2, SENTENCES) for split, samples in shown.items()}
        words = {split: weigh(c, shuffled, mean, 1000, 0) for split, c in counted.items()}
        for said_words in (own, *[(place,) for place in (*WATER, *LAND, *OTHERS)], ("bird",)):
            before, after = (shares(counted[split], said_words) for split in ("heldout", "train"))
            apart = "yes" if after[1] > before[2] else "reverse" if after[2] < before[1] else "no"
            there = [np.mean([f["background"] in said_words for f in shown[s].meta["factors"]]) for s in shown]
            true = ["" if said_words == ("bird",) else f"{share:.2f}" for share in there]
            mark, change = "yes" if {*said_words} <= {*own} else "", f"{after[0] - before[0]:+.2f}"
            row = [interval(before), true[0], interval(after), true[1], change, apart]
            print(f"| {cls} | {' or '.join(said_words)} | {mark} | {' | '.join(row)} |", flush=True)
        for split, name in (("heldout", "balanced"), ("train", "shortcut")):
            cloud(words[split], cls, out, stem=f"{cls}-{name}")
        changed = [c for c in compare(counted["heldout"], counted["train"]) if max(c.before, c.after) >= 0.02]
        changes(changed, ("balanced", "with the shortcut"), out / f"{cls}-changes.png")
    print()


def hidden(decoder: Any, out: Path) -> None:
    """Words of pictures whose bird is painted out, and what the classifier takes them for (Only-BG)."""
    registry, collection = load_registry(), COLLECTIONS["minizoo/shortcut-birds"]
    data = registry.create("dataset", Ref("minizoo/shortcut-birds"))
    model = registry.create("classifier", Ref("minizoo/vit-birds"))
    read = obtain(decoder, model.open(model.default_layer), bird, out.parent / "birds")
    print("## Hidden birds: the training pictures of minizoo/shortcut-birds without the bird\n")
    print("| class | taken for it | word | own | without the bird | in pictures | with the bird |")
    print("|---|---|---|---|---|---|---|")
    for target, cls in enumerate(data.classes):
        full = data.samples(cls, "train", IMAGES, 3)
        scenes = [collection.draw_scene(cls, "train", i, 3) for i in range(IMAGES)]
        bare = [replace(scene, shape=None, pattern=None, colours=()) for scene, _, _ in scenes]
        painted = np.stack([draw(scene, key).image for scene, (_, _, key) in zip(bare, scenes, strict=True)])
        pictures = torch.from_numpy(painted).permute(0, 3, 1, 2).float() / 255
        alone = Samples("image", pictures, tuple(f"hidden/{cls}/{i}" for i in range(IMAGES)))
        kept = float((model.logits(alone).argmax(1) == target).float().mean())
        told = {name: read.count(samples, 2, SENTENCES) for name, samples in (("alone", alone), ("full", full))}
        own = LAND if cls == "landbird" else WATER
        for words in (own, *[(place,) for place in (*WATER, *LAND, *OTHERS)], ("bird",)):
            there = np.mean([scene.background in words for scene in bare])
            row = [interval(shares(told["alone"], words)), f"{there:.2f}", interval(shares(told["full"], words))]
            mark = "yes" if {*words} <= {*own} else ""
            print(f"| {cls} | {kept:.2f} | {' or '.join(words)} | {mark} | {' | '.join(row)} |", flush=True)
    print()


def speed(decoder: Any, out: Path) -> None:
    """Seconds of 1,000 sentences about one image, and of the training of the translator of `birds`."""
    registry = load_registry()
    data = registry.create("dataset", Ref("minizoo/shortcut-birds"))
    model = registry.create("classifier", Ref("minizoo/vit-birds"))
    made = obtain(decoder, model.open(model.default_layer), bird, out.parent / "birds")
    image = data.samples("waterbird", "heldout", 1, 0)
    began, busy = time.perf_counter(), time.process_time()
    states = translate(made.translator, features(made.probe, image))
    sentences = said.say(decoder, states, image, 1000, 0, quiet)[0]
    took, used = time.perf_counter() - began, time.process_time() - busy
    lengths, about = [len(text.split()) for text in sentences], made.about
    print("## Speed\n")
    print(f"- 1,000 sentences ({min(lengths)} to {max(lengths)} words, {len(set(sentences))} different) of one image: "
          f"{took:.1f} s by the clock, {used:.1f} s of processor")  # fmt: skip
    print(f"- translator: {about['pairs']} pairs, {about['steps']} steps in {about['seconds']:.0f} s by the clock, "
          f"validation loss {about['validation_loss']:.3f}\n")  # fmt: skip


def apples(decoder: Any, out: Path) -> None:
    """A linear probe for "apple" in the features of a class beside what TExplain says of it."""
    print(f"## Apples: small ViTs of cats and dogs at {LAYER} (the class token)\n")
    print("| rho | seed | held-out accuracy | class | probe's AUC | share with apple | without | prior | lift |")
    print("|---|---|---|---|---|---|---|---|---|")
    data = Painted(cats(0))
    prior = Samples.concat([data.samples(cls, "train", PETS, 1) for cls in data.classes])
    fit, held = ({cls: data.samples(cls, split, 400, 4) for cls in data.classes} for split in ("explain", "heldout"))
    aucs, lifts = [], []
    for rho, seed in [(rho, seed) for seed in (0, 1) for rho in (0.0, 0.5, 1.0)]:
        folder = out / f"{rho:g}-{seed}"
        accuracy = learn(folder, rho, seed)["heldout.all"]
        probe = classifier(folder).open(LAYER)
        options = TranslatorOptions(mode="flatten_bottleneck", steps=600)
        read = obtain(decoder, probe, pet, folder, options=options)
        shuffled = read.count(prior, 1, SENTENCES)
        base = float(shuffled.of(["apple"]).mean())
        for cls in data.classes:
            there = apple_in(held[cls])
            with_it, without = ([i for i, found in enumerate(there) if found == want][:PETS] for want in (True, False))
            words = weigh(read.count(held[cls].take(with_it), 2, SENTENCES), shuffled, shuffled, 1000, 0)
            apple = next((w for w in words if w.word == "apple"), NEVER)
            bare = float(read.count(held[cls].take(without), 2, SENTENCES).of(["apple"]).mean())
            aucs.append(probed(probe, fit[cls], held[cls]))
            lifts.append(apple.lift_shuffled)
            said_of = interval((apple.freq, apple.lo, apple.hi))
            row = [
                f"{rho:g}",
                f"{seed}",
                f"{accuracy:.2f}",
                cls,
                f"{aucs[-1]:.3f}",
                said_of,
                f"{bare:.2f}",
                f"{base:.2f}",
            ]
            print(f"| {' | '.join(row)} | {lifts[-1]:.2f} |", flush=True)
    print(f"\nSpearman of AUC and lift over class x seed x rho ({len(aucs)} points): {spearmanr(aucs, lifts)[0]:.2f}\n")


def latents(decoder: Any, out: Path, n: int = 30) -> None:
    """Words of a generator's last latents beside what a captioner says of the pictures."""
    registry = load_registry()
    generator, captioner = (
        registry.create("generator", Ref("minizoo/diffusion")),
        registry.create("model", Ref("minizoo/blip", {"top_p": 0.95})),
    )
    options = TranslatorOptions(mode="flatten_bottleneck", steps=2000)
    read = obtain(decoder, generator.probe(), whole, out, options=options)
    classes = registry.create("dataset", Ref("minizoo")).classes[:3]
    drawn = {c: generator.generate([f"a {c}"] * n, range(n)) for c in classes}
    ours = {c: read.count(s, 0, 50) for c, s in drawn.items()}
    theirs = {}
    for c, samples in drawn.items():
        each = [captioner.caption(samples, [1000 * i + j for i in range(n)]) for j in range(10)]
        theirs[c] = count(list(zip(*each, strict=True)))
    words = sorted({w for c in classes for w in (*ours[c].words, *theirs[c].words)})
    print(f"## Latents: {n} pictures of a class by minizoo/diffusion\n")
    print("Jensen-Shannon distance (base 2) of word distributions: rows TExplain on latents, columns the captioner.\n")
    print(f"| | {' | '.join(classes)} | own | others |\n|---|{'---|' * (len(classes) + 2)}")
    own, others = [], []
    for a in classes:
        row = [float(jensenshannon(spread(ours[a], words), spread(theirs[b], words), base=2)) for b in classes]
        at = classes.index(a)
        own.append(row[at])
        others.append(float(np.mean([d for i, d in enumerate(row) if i != at])))
        print(f"| {a} | {' | '.join(f'{d:.3f}' for d in row)} | {own[-1]:.3f} | {others[-1]:.3f} |")
    print(
        f"\nMean: {np.mean(own):.3f} own, {np.mean(others):.3f} shuffled; ratio {np.mean(own) / np.mean(others):.2f}\n"
    )


def apple_in(samples: Samples) -> list[bool]:
    """Whether there is an apple, picture by picture."""
    return [bool(factors["object"]) for factors in samples.meta["factors"]]


def probed(probe: Any, fit: Samples, held: Samples) -> float:
    """Held-out AUC of a linear probe for "apple"."""
    x, x2 = (features(probe, samples).flatten(1).numpy() for samples in (fit, held))
    scale = x.std(0) + 1e-6
    made = LogisticRegression(C=0.1, max_iter=1000).fit((x - x.mean(0)) / scale, apple_in(fit))
    return float(roc_auc_score(apple_in(held), made.decision_function((x2 - x.mean(0)) / scale)))


def spread(counted: Counted, words: Sequence[str]) -> NDArray[np.float64]:
    """Mean document frequencies, scaled to sum 1."""
    shares = counted.of(words).mean(0)
    return np.asarray(shares / shares.sum())


def shares(counted: Counted, words: Sequence[str]) -> tuple[float, float, float]:
    """Share of sentences with one of these words (a sentence names one place), and its interval over images."""
    each = counted.of(words).sum(1)
    drawn = np.random.default_rng(0).integers(len(each), size=(1000, len(each)))
    low, high = np.quantile(each[drawn].mean(1), [0.025, 0.975])
    return float(each.mean()), float(low), float(high)


def interval(figures: tuple[float, float, float]) -> str:
    """A figure with its interval."""
    return f"{figures[0]:.2f} [{figures[1]:.2f}, {figures[2]:.2f}]"


if __name__ == "__main__":
    main()
