"""What TExplain says of features whose content is known: `python benchmarks/texplain.py` prints it as Markdown.

Sections by flag: --birds, --speed, --apples, --latents; none = all. Every translator is trained on balanced pictures,
in which the words that are asked for are independent of the class, and is kept below --out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
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
from torch import Tensor
from xcore_minizoo.collections import LAND, WATER
from xcore_minizoo.data import Painted
from xcore_minizoo.world import BACKGROUNDS
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


def main() -> None:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(description=__doc__)
    sections: dict[str, Callable[[Any, Path], None]] = {
        "birds": birds, "speed": speed, "apples": apples, "latents": latents,
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
    print(f"| class | word | own | balanced | with the shortcut | change | apart |\n|{'---|' * 7}")
    for cls in data.classes:
        own = LAND if cls == "landbird" else WATER
        counted = {s: read.count(data.samples(cls, s, IMAGES, 2), 2, SENTENCES) for s in ("heldout", "train")}
        words = {s: weigh(c, shuffled, mean, 1000, 0) for s, c in counted.items()}
        by_word = {s: {w.word: w for w in rows} for s, rows in words.items()}
        for word in (*WATER, *LAND, *[b for b in BACKGROUNDS if b not in (*LAND, *WATER)], "bird"):
            before, after = (by_word[s].get(word, NEVER) for s in ("heldout", "train"))
            apart = "yes" if after.lo > before.hi else "reverse" if after.hi < before.lo else "no"
            mark, change = "yes" if word in own else "", f"{after.freq - before.freq:+.2f}"
            print(f"| {cls} | {word} | {mark} | {level(before)} | {level(after)} | {change} | {apart} |")
        for split, name in (("heldout", "balanced"), ("train", "shortcut")):
            cloud(words[split], cls, out, stem=f"{cls}-{name}")
        changed = [c for c in compare(counted["heldout"], counted["train"]) if max(c.before, c.after) >= 0.02]
        changes(changed, ("balanced", "with the shortcut"), out / f"{cls}-changes.png")
    print()


def speed(decoder: Any, out: Path) -> None:
    """Seconds of 1,000 sentences about one image, and of training a translator with the default options."""
    registry = load_registry()
    data, model = registry.create("dataset", Ref("minizoo")), registry.create("classifier", Ref("minizoo/vit-birds"))
    probe, image = model.open(model.default_layer), data.samples("zebra", "explain", 1, 0)
    began = time.perf_counter()
    made = obtain(decoder, probe, whole, out, pairs=TranslatorOptions().train_pairs, options=TranslatorOptions())
    trained = time.perf_counter() - began
    began, busy = time.perf_counter(), time.process_time()
    sentences = said.say(decoder, translate(made.translator, features(probe, image)), image, 1000, 0, quiet)[0]
    took, used = time.perf_counter() - began, time.process_time() - busy
    lengths = [len(text.split()) for text in sentences]
    print("## Speed\n")
    print(f"- 1,000 sentences ({min(lengths)} to {max(lengths)} words, {len(set(sentences))} different) of one image:"
          f" {took:.1f} s by the clock, {used:.1f} s of processor")  # fmt: skip
    about = made.about
    whole_time = f"{trained:.0f} s with painting and features" if trained > 1 else "trained before"
    print(f"- translator: {about['pairs']} pairs, {about['steps']} steps in {about['seconds']:.0f} s ({whole_time}), "
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
        options = TranslatorOptions(mode="flatten_bottleneck", steps=1000)
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
            print(f"| {rho:g} | {seed} | {accuracy:.2f} | {cls} | {aucs[-1]:.3f} | {level(apple)} | {bare:.2f} | "
                  f"{base:.2f} | {lifts[-1]:.2f} |", flush=True)  # fmt: skip
    print(f"\nSpearman of AUC and lift over class x seed x rho ({len(aucs)} points): {spearmanr(aucs, lifts)[0]:.2f}\n")


def latents(decoder: Any, out: Path, n: int = 30) -> None:
    """Words of a generator's last latents beside what a captioner says of the pictures."""
    registry = load_registry()
    generator, captioner = (
        registry.create("generator", Ref("minizoo/diffusion")),
        registry.create("model", Ref("minizoo/blip", {"top_p": 0.95})),
    )

    class Latents:
        """A probe at the latents: those that were drawn, or those of the encoder for any picture."""

        layout = "NCHW"

        def activations(self, samples: Samples) -> Tensor:
            drawn = samples.meta.get("latents")
            found: Tensor = generator.roundtrip(samples).meta["latents"] if drawn is None else drawn
            return found.float()

    options = TranslatorOptions(mode="flatten_bottleneck", steps=2000)
    read = obtain(decoder, Latents(), whole, out, options=options)
    classes = registry.create("dataset", Ref("minizoo")).classes[:3]
    drawn = {c: generator.generate([f"a {c}"] * n, range(n)) for c in classes}
    ours = {c: read.count(s, 0, SENTENCES) for c, s in drawn.items()}
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


def level(word: Word) -> str:
    """A share with its interval."""
    return f"{word.freq:.2f} [{word.lo:.2f}, {word.hi:.2f}]"


if __name__ == "__main__":
    main()
