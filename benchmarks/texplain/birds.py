"""Birds that are told by their background: with the shortcut and without, with the bird and without."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from reading import PAIRS, Reader, as_samples, interval, obtain, painted, pick, quiet, scene_of, shares, strip
from xcore_minizoo.captions import SPOKEN
from xcore_minizoo.collections import COLLECTIONS, LAND, WATER
from xcore_minizoo.world import BACKGROUNDS, Scene
from xcore_texplain.cloud import draw_changes, draw_cloud
from xcore_texplain.features import features
from xcore_texplain.sentences import sample_sentences
from xcore_texplain.translator import translate
from xcore_texplain.words import compare_groups, compare_with_prior

from xcore.contract import Dataset, Ref, Samples
from xcore.registry import load_registry

DATA, MODEL = "minizoo/shortcut-birds", "minizoo/vit-birds"
IMAGES, SENTENCES = 150, 20
OTHERS = tuple(place for place in BACKGROUNDS if place not in (*LAND, *WATER))
ASKED = tuple((place,) for place in (*WATER, *LAND, *OTHERS, "bird"))


def birds(decoder: Any, out: Path) -> None:
    """Words of the backgrounds in the split with the shortcut, beside the balanced one."""
    data, model, read = opened(decoder, out)
    prior = Samples.concat([data.samples(cls, "train", IMAGES // 2, 1) for cls in data.classes])
    shuffled, mean = read.count(prior, 1, SENTENCES), read.mean(prior)
    print(f"## Shortcut birds: {MODEL} at {model.default_layer}\n")
    print(f"{IMAGES} images of a class and split, {SENTENCES} sentences each. Share of sentences with the word, with")
    print("its 95 % interval over images; the balanced split is `heldout`.\n")
    print("| class | word | own | balanced | in pictures | with shortcut | in pictures | change | apart |")
    print(f"|{'---|' * 9}")
    for cls in data.classes:
        own = LAND if cls == "landbird" else WATER
        shown = {split: data.samples(cls, split, IMAGES, 2) for split in ("heldout", "train")}
        counted = {split: read.count(samples, 2, SENTENCES) for split, samples in shown.items()}
        words = {split: compare_with_prior(c, shuffled, mean, 1000, 0) for split, c in counted.items()}
        for said_words in dict.fromkeys([own, *ASKED]):
            before, after = (shares(counted[split], said_words) for split in ("heldout", "train"))
            apart = "yes" if after[1] > before[2] else "reverse" if after[2] < before[1] else "no"
            there = [np.mean([f["background"] in said_words for f in shown[s].meta["factors"]]) for s in shown]
            true = ["1.00" if said_words == ("bird",) else f"{share:.2f}" for share in there]
            mark, change = "yes" if {*said_words} <= {*own} else "", f"{after[0] - before[0]:+.2f}"
            row = [interval(before), true[0], interval(after), true[1], change, apart]
            print(f"| {cls} | {' or '.join(said_words)} | {mark} | {' | '.join(row)} |", flush=True)
        for split, name in (("heldout", "balanced"), ("train", "shortcut")):
            draw_cloud(words[split], cls, out, stem=f"{cls}-{name}")
        changed = [c for c in compare_groups(counted["heldout"], counted["train"]) if max(c.before, c.after) >= 0.02]
        draw_changes(changed, ("balanced", "with the shortcut"), out / f"{cls}-changes.png")
    print()


def hidden(decoder: Any, out: Path) -> None:
    """Words of pictures whose bird is painted out, and what the classifier takes them for (Only-BG)."""
    data, model, read = opened(decoder, out.parent / "birds")
    print(f"## Hidden birds: the training pictures of {DATA} without the bird\n")
    print("| class | taken for it | word | own | without the bird | in pictures | with the bird |")
    print(f"|{'---|' * 7}")
    for target, cls in enumerate(data.classes):
        full = data.samples(cls, "train", IMAGES, 3)
        scenes = [COLLECTIONS[DATA].draw_scene(cls, "train", i, 3) for i in range(IMAGES)]
        bare = [replace(scene, shape=None, pattern=None, colours=()) for scene, _, _ in scenes]
        alone = as_samples(bare, [key for _, _, key in scenes], f"hidden/{cls}")
        kept = float((model.logits(alone).argmax(1) == target).float().mean())
        told = {name: read.count(samples, 2, SENTENCES) for name, samples in (("alone", alone), ("full", full))}
        strip([full, alone], out / f"{cls}.png")
        changed = [c for c in compare_groups(told["full"], told["alone"]) if max(c.before, c.after) >= 0.02]
        draw_changes(changed, ("with the bird", "without it"), out / f"{cls}-changes.png")
        own = LAND if cls == "landbird" else WATER
        for words in dict.fromkeys([own, *ASKED]):
            there = np.mean([scene.background in words for scene in bare])
            row = [interval(shares(told["alone"], words)), f"{there:.2f}", interval(shares(told["full"], words))]
            mark = "yes" if {*words} <= {*own} else ""
            print(f"| {cls} | {kept:.2f} | {' or '.join(words)} | {mark} | {' | '.join(row)} |", flush=True)
    print()


def speed(decoder: Any, out: Path) -> None:
    """Seconds of 1,000 sentences about one image, and of the training of the translator of `birds`."""
    data, _, made = opened(decoder, out.parent / "birds")
    image = data.samples("waterbird", "heldout", 1, 0)
    began, busy = time.perf_counter(), time.process_time()
    states = translate(made.translator, features(made.probe, image))
    sentences = sample_sentences(decoder, states, image, 1000, 0, quiet)[0]
    took, used = time.perf_counter() - began, time.process_time() - busy
    lengths, about = [len(text.split()) for text in sentences], made.about
    print("## Speed\n")
    print(f"- 1,000 sentences ({min(lengths)} to {max(lengths)} words, {len(set(sentences))} different) of one image: "
          f"{took:.1f} s by the clock, {used:.1f} s of processor")  # fmt: skip
    print(f"- translator: {about['pairs']} pairs, {about['steps']} steps in {about['seconds']:.0f} s by the clock, "
          f"validation loss {about['validation_loss']:.3f}\n")  # fmt: skip


def opened(decoder: Any, out: Path) -> tuple[Dataset, Any, Reader]:
    """The birds, their classifier, and what its default layer is read by."""
    registry = load_registry()
    data, model = registry.create("dataset", Ref(DATA)), registry.create("classifier", Ref(MODEL))
    return data, model, obtain(decoder, model.open(model.default_layer), lambda: painted(bird, PAIRS), out)


def bird(rng: np.random.Generator) -> Scene:
    """Every second time a bird of either kind anywhere, else any scene: else no sentence could do without the bird."""
    scene = scene_of(rng)
    return scene if scene.shape is None or rng.random() < 1 / 3 else replace(scene, shape=pick(rng, tuple(SPOKEN)))
