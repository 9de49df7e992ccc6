"""Are drawn concepts faithful stand-ins for real pictures? `python benchmarks/drawn_versus_real.py` prints the tables.

    python benchmarks/drawn_versus_real.py                  # draws and runs what is missing, then prints
    python benchmarks/drawn_versus_real.py --classes zebra  # a shorter run
    python benchmarks/drawn_versus_real.py --table          # only the tables of what is done

Of twelve phrases there are pictures of the data set (real) and drawings by its generator, in several draws of each. Two
draws of real pictures, compared in the same way as drawings and real pictures, show what can be reached at most; two
draws of drawings show whether what drawings lack is chance, or alike in all of them.

*Pictures*, by the activations of a layer:

- CKA needs two sets of vectors with rows that belong together. No drawing belongs to a real picture, but the phrases
  do: a row is the mean activation of n pictures of a phrase. So it says whether a layer arranges the phrases alike, not
  whether the pictures are alike; whatever sets all drawings apart in the same way drops out. It is the linear CKA with
  unbiased estimates, since of twelve rows with thousands of columns the usual one is near 1 for noise, too.
- The energy distance compares two clouds of pictures of one phrase without any pairs, as a share of the distance
  between them: 0 = of one distribution, 1 = two points. It does see what sets all drawings apart. Mean over phrases.

*CAVs and explanations*, by TCAV (the suite `drawn-versus-real`, with folders of the drawings for the other kind):

- the cosine of the CAVs of a phrase;
- the CKA of what the CAVs read in held-out pictures of all classes: here a row is a picture, and a column the
  projection of its activations on the CAV of a phrase;
- Spearman's correlation of the effects of the phrases, and the mean absolute difference of their TCAV scores.

*After removal*, the coats of the explained pictures are painted plain (`minizoo/repainted`), and all else stays. A CAV
says what happened by the *presence* of its phrase (the mean projection of the explained pictures, in standard
deviations over held-out pictures of all classes), and by the effect. The pattern was removed; the shape of the animal
was not.

References
----------
Drawn against real pictures: arXiv:2605.19855; the measures are as described here and may differ from theirs. CKA:
Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019, section 3. Its unbiased estimates:
Song et al., Feature Selection via Dependence Maximization, JMLR 2012, equation 4. Energy distance: Székely, Rizzo,
Energy statistics, Journal of Statistical Planning and Inference 2013.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alike import alike, importance, made, rank_correlation
from intervals import mean_interval
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from xcore_minizoo.world import CLASSES
from xcore_tcav.folders import Folders

import xcore
from xcore.contract import Explanation, Ref, Samples
from xcore.registry import load_registry
from xcore.run.plan import load_suite

SUITE = load_suite("drawn-versus-real")
PHRASES: Sequence[str] = SUITE.set["tcav"]["concepts"]
LAYERS: Sequence[str] = SUITE.set["tcav"]["layers"]
SIZES: Mapping[int, str] = {arm.set["n"]: arm.label for arm in SUITE.arms}
"""Pictures that a phrase is learned from -> the arm."""
LARGEST = max(SIZES)
PICTURES = SUITE.budget.samples
"""Pictures of each phrase in a draw."""
REMOVED = "pattern=plain"
"""What the coats become."""
KINDS = ("real", "drawn")
COMPARED = (("real", "real"), ("drawn", "drawn"), ("drawn", "real"))
LACK = "drawn with real, less real with real"
TESTED, TEST_SEED = 48, 700
"""Held-out pictures of all classes in which CAVs are read, and their seed, other than those of the draws."""


def main() -> None:
    """Draw and run what is missing, and print the tables."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--run", type=Path, default=Path("runs/drawn-versus-real"), help="folder of drawings and runs")
    ask.add_argument("--classes", default="", help="classes, separated by commas; empty: those of the suite")
    ask.add_argument("--table", action="store_true", help="print the tables of what is done, without running anything")
    given = ask.parse_args()
    classes = given.classes.split(",") if given.classes else SUITE.classes
    if not given.table:
        for seed in SUITE.seeds:
            draw(given.run / "drawings" / str(seed), seed)
        run(given.run, classes)
    study = Study(given.run, classes)
    print(f"Command: `python benchmarks/drawn_versus_real.py`; classes {', '.join(classes)}\n")
    print("\n\n".join([table_of_pictures(study), table_of_explanations(study), *tables_of_removal(study)]))


def draw(folder: Path, seed: int) -> None:
    """Draw all phrases into sub-folders; a phrase that is there is whole, and is kept."""
    missing = [phrase for phrase in PHRASES if not (folder / phrase).is_dir()]
    if not missing:
        return
    generator = load_registry().create("generator", Ref("minizoo/diffusion"))
    for phrase in missing:
        seeds = np.random.default_rng([seed, PHRASES.index(phrase)]).integers(2**31, size=PICTURES).tolist()
        drawn = generator.generate([phrase] * PICTURES, seeds).images
        begun = folder / f"{phrase}.part"
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        for i, pixels in enumerate(drawn.permute(0, 2, 3, 1).mul(255).round().byte().numpy()):
            Image.fromarray(pixels).save(begun / f"{i:02}.png")
        begun.rename(folder / phrase)


def run(folder: Path, classes: Sequence[str]) -> None:
    """Explain what is missing: by both kinds of pictures, before and after the removal."""
    for seed in SUITE.seeds:
        for kind in KINDS:
            pictures = {"folders": [str(folder / "drawings" / str(seed))]} if kind == "drawn" else {}
            keys: dict[str, Any] = {
                "suite": "drawn-versus-real",
                "classes": classes,
                "seeds": [seed],
                "set": {"tcav": pictures},
            }
            xcore.bench(out=folder / f"{kind}-{seed}", **keys)
            removed: dict[str, Any] = {"data": f"minizoo/repainted:{REMOVED}", "contrast": "minizoo"}
            xcore.bench([SIZES[LARGEST]], out=folder / f"{kind}-{seed}-removed", **keys, **removed)


# --- what is compared -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """The explanations of a run, and the activations that they are compared by."""

    folder: Path
    classes: Sequence[str]

    @cached_property
    def explanations(self) -> dict[tuple[str, str, str, int], Explanation]:
        """(class, label, kind, draw) -> explanation; the label ends in "-removed" for repainted pictures."""
        found: dict[tuple[str, str, str, int], Explanation] = {}
        for kind, seed, end in product(KINDS, SUITE.seeds, ("", "-removed")):
            folder = self.folder / f"{kind}-{seed}{end}"
            if (folder / "explanations").is_dir():
                found |= {(m.cell["cls"], m.label + end, kind, seed): m.explanation for m in made(folder)}
        return found

    @cached_property
    def classifier(self) -> Any:
        """The explained classifier."""
        return load_registry().create("classifier", Ref(SUITE.classifiers[0]))

    def data(self, reference: str = SUITE.data) -> Any:
        """A data set of the painted world."""
        return load_registry().create("dataset", Ref(reference))

    def activations(self, samples: Samples, layer: str) -> Tensor:
        """(n, d), flattened as CAVs are."""
        found: Tensor = self.classifier.open(layer).activations(samples).flatten(1)
        return found

    @cached_property
    def pictures(self) -> dict[tuple[str, int, str], Tensor]:
        """(kind, draw, layer) -> (phrases, pictures, d) activations of the pictures of the phrases."""
        found = {}
        for seed in SUITE.seeds:
            drawings = Folders((str(self.folder / "drawings" / str(seed)),), (64, 64))
            sets = {
                "real": [self.data().concept(phrase, PICTURES, seed) for phrase in PHRASES],
                "drawn": [drawings.images(phrase, PICTURES) for phrase in PHRASES],
            }
            for kind, layer in product(sets, LAYERS):
                found[kind, seed, layer] = torch.stack([self.activations(s, layer) for s in sets[kind]])
        return found

    @cached_property
    def tested(self) -> dict[str, Tensor]:
        """Layer -> (`TESTED`, d) activations of held-out pictures."""
        samples = self.data().samples(None, "heldout", TESTED, TEST_SEED)
        return {layer: self.activations(samples, layer) for layer in LAYERS}

    def cavs(self, label: str, kind: str, draw: int, layer: str) -> Tensor:
        """(phrases, d) CAVs of length 1; with random sets of other phrases they are the same for all classes."""
        return directions(self.explanations[self.classes[0], label, kind, draw], layer)

    def pairs(self, n: int, one: str, other: str, layer: str) -> list[tuple[Tensor, Tensor]]:
        """The CAVs of two kinds by n pictures, for each pair of draws."""
        label = SIZES[n]
        return [(self.cavs(label, one, s, layer), self.cavs(label, other, t, layer)) for s, t in draws_of(one, other)]

    def presence_fall(self, cls: str, kind: str, draw: int) -> dict[str, float]:
        """Phrase -> how much less of it there is in the explained pictures once the coats are plain; mean over layers.

        In standard deviations of the projection over held-out pictures of all classes.
        """
        before, after = (
            self.data(name).samples(cls, "explain", PICTURES, draw)
            for name in (SUITE.data, f"minizoo/repainted:{REMOVED}")
        )
        changes = [
            fall(
                self.cavs(SIZES[LARGEST], kind, draw, layer),
                self.activations(before, layer),
                self.activations(after, layer),
                self.tested[layer],
            )
            for layer in LAYERS
        ]
        return dict(zip(PHRASES, torch.stack(changes).mean(0).tolist(), strict=True))

    def effects(self, cls: str, kind: str, draw: int, removed: bool) -> dict[str, float]:
        """Phrase -> its TCAV effect, before or after the removal."""
        found = self.explanations[cls, SIZES[LARGEST] + ("-removed" if removed else ""), kind, draw]
        return {c.name: importance(c) for c in found.concepts}


def directions(explanation: Explanation, layer: str) -> Tensor:
    """(phrases, d): the directions of the phrases at a layer, in the order of `PHRASES`, of length 1."""
    found = {c.name: c.directions[layer].flatten() for c in explanation.concepts}
    return normalize(torch.stack([found[phrase] for phrase in PHRASES]).float(), dim=1)


def draws_of(one: str, other: str, seeds: Sequence[int] = tuple(SUITE.seeds)) -> list[tuple[int, int]]:
    """The pairs of different draws that two kinds are compared by; of one kind each pair once."""
    return [*combinations(seeds, 2)] if one == other else [*permutations(seeds, 2)]


def cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of two sets of vectors, (n, d) and (n, e) with n >= 4 rows that belong together, from unbiased HSICs.

    1 = the same but for rotation and scale; about 0 = nothing in common, and it may fall below 0.
    """
    k, m = (gram(v) for v in (x, y))
    return hsic(k, m) / float(np.sqrt(hsic(k, k) * hsic(m, m)))


def gram(x: Tensor) -> Tensor:
    """(n, n) inner products of centred rows. Centring changes no unbiased HSIC, but keeps digits."""
    centred = x.double() - x.double().mean(0)
    return centred @ centred.T


def hsic(k: Tensor, m: Tensor) -> float:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion of two Gram matrices (n, n), n >= 4."""
    n = len(k)
    k, m = (g - g.diag().diag() for g in (k, m))
    rows = k.sum(1), m.sum(1)
    whole = float(rows[0].sum() * rows[1].sum()) / ((n - 1) * (n - 2))
    return (float((k * m).sum()) + whole - 2 * float(rows[0] @ rows[1]) / (n - 2)) / (n * (n - 3))


def energy(x: Tensor, y: Tensor) -> float:
    """The energy distance of two clouds (n, d) and (m, d) as a share of twice the mean distance between them.

    The means within a cloud are over different points, so that two draws of one distribution have 0 on average.
    """
    between = 2 * float(torch.cdist(x.double(), y.double()).mean())
    within = sum(float(torch.pdist(v.double()).mean()) for v in (x, y))
    return (between - within) / between


def fall(cavs: Tensor, before: Tensor, after: Tensor, tested: Tensor) -> Tensor:
    """(phrases,): by how much the mean projections on CAVs (phrases, d) fall, in their deviations over tested rows."""
    scale = (tested @ cavs.T).std(0)
    return (before.mean(0) - after.mean(0)) @ cavs.T / scale


def score_difference(a: Explanation, b: Explanation) -> float:
    """The mean absolute difference of the TCAV scores of the same phrases, over phrases and layers."""
    other = {c.name: c.evidence for c in b.concepts}
    pairs = [(c.evidence[f"ts@{layer}"], other[c.name][f"ts@{layer}"]) for c in a.concepts for layer in LAYERS]
    return float(np.mean([abs(x - y) for x, y in pairs]))


# --- tables ---------------------------------------------------------------------------------------------------------


def compared() -> Iterator[tuple[int, str, str]]:
    """(n, kind, other kind), in the order of the rows."""
    for n in SIZES:
        for one, other in COMPARED:
            yield n, one, other


def spread(values: Sequence[float]) -> str:
    """The mean over pairs of draws, with the least and the greatest of them; they share draws, so it is no interval."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table_of_pictures(study: Study) -> str:
    """CKA of the phrases and energy distance, by n and kinds."""
    names = [f"{what}, {layer}" for what in ("CKA of phrases", "energy distance") for layer in LAYERS]
    lines = ["## Pictures\n", f"| n | compared | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    acts = study.pictures
    for n, one, other in compared():
        cells = []
        for measure in (of_phrases, of_clouds):
            for layer in LAYERS:
                pairs = [(acts[one, s, layer][:, :n], acts[other, t, layer][:, :n]) for s, t in draws_of(one, other)]
                cells.append(spread([measure(x, y) for x, y in pairs]))
        lines.append(f"| {n} | {one} with {other} | {' | '.join(cells)} |")
    return "\n".join(lines)


def of_phrases(x: Tensor, y: Tensor) -> float:
    """CKA whose rows are phrases, of activations (phrases, n, d)."""
    return cka(x.mean(1), y.mean(1))


def of_clouds(x: Tensor, y: Tensor) -> float:
    """The mean energy distance of the pictures of the same phrases."""
    return float(np.mean([energy(a, b) for a, b in zip(x, y, strict=True)]))


def table_of_explanations(study: Study) -> str:
    """Cosines of CAVs, ranks of effects, differences of scores and CKA of what the CAVs read, by n and kinds."""
    readings = [f"CKA of readings, {layer}" for layer in LAYERS]
    found = {(n, one, other): by_case(study, n, one, other) for n, one, other in compared()}
    names = [*next(iter(found.values())), *readings]
    lines = ["## CAVs and explanations\n", f"| n | compared | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for (n, one, other), values in found.items():
        cells = [mean_interval(v) for v in values.values()]
        for layer in LAYERS:
            read = [
                (study.tested[layer] @ a.T, study.tested[layer] @ b.T) for a, b in study.pairs(n, one, other, layer)
            ]
            cells.append(spread([cka(a, b) for a, b in read]))
        lines.append(f"| {n} | {one} with {other} | {' | '.join(cells)} |")
        if (one, other) == COMPARED[-1]:
            cells = [*(lack(v, found[n, "real", "real"][name]) for name, v in values.items()), *("-" for _ in LAYERS)]
            lines.append(f"| {n} | {LACK} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_case(study: Study, n: int, one: str, other: str) -> dict[str, list[float]]:
    """What is compared -> its value for each phrase (cosines) or class, as means over pairs of draws."""
    found = {}
    for layer in LAYERS:
        cosines = [(a * b).sum(1) for a, b in study.pairs(n, one, other, layer)]
        found[f"cosine of CAVs, {layer}"] = torch.stack(cosines).mean(0).tolist()
    found["ranks of effects"] = of_classes(study, n, one, other, lambda a, b: alike(a, b, ())["importance"])
    return {**found, "difference of TS": of_classes(study, n, one, other, score_difference)}


def lack(drawn: Sequence[float], real: Sequence[float]) -> str:
    """What drawings with real pictures have less or more than real ones with one another, paired, with its interval."""
    return mean_interval([a - b for a, b in zip(drawn, real, strict=True)])


def of_classes(
    study: Study, n: int, one: str, other: str, measure: Callable[[Explanation, Explanation], float]
) -> list[float]:
    """The mean of a measure over pairs of draws, of each class."""
    found, label = study.explanations, SIZES[n]
    return [
        float(np.mean([measure(found[c, label, one, s], found[c, label, other, t]) for s, t in draws_of(one, other)]))
        for c in study.classes
    ]


def tables_of_removal(study: Study) -> tuple[str, str]:
    """What is said of the removed pattern and of the shape that stayed; and whether the kinds agree on all phrases."""
    truth = study.data().truth(SUITE.classifiers[0])
    keys = [(c, kind, seed) for c in study.classes for kind in KINDS for seed in SUITE.seeds]
    presence = {key: study.presence_fall(*key) for key in keys}
    before, after = ({key: study.effects(*key, removed) for key in keys} for removed in (False, True))
    changes = {key: {p: before[key][p] - after[key][p] for p in PHRASES} for key in keys}
    lines = [
        "## After the coats were made plain\n",
        "| class | its logit falls, share of the gap | phrase | presence falls: real | drawn | effect: real | drawn |",
        "|---" * 7 + "|",
    ]
    for cls in study.classes:
        shape, pattern, _ = CLASSES[cls]
        logit = -truth.effects[cls][REMOVED][0] / truth.gaps[cls]
        for phrase, what in ((f"{pattern} texture", "removed"), (f"a {shape}", "stayed")):
            cells = [spread([presence[cls, kind, s][phrase] for s in SUITE.seeds]) for kind in KINDS]
            for kind in KINDS:
                was, became = (np.mean([of[cls, kind, s][phrase] for s in SUITE.seeds]) for of in (before, after))
                cells.append(f"{was:+.3f} to {became:+.3f}")
            lines.append(f"| {cls} | {logit:.2f} | {phrase} ({what}) | {' | '.join(cells)} |")
    told = {"falls of presence": presence, "falls of effect": changes, "effects after": after}
    agreed = [f"| compared | {' | '.join(f'ranks of {name}' for name in told)} |", "|---" * (1 + len(told)) + "|"]
    found = {pair: [[agreement(v, c, *pair) for c in study.classes] for v in told.values()] for pair in COMPARED}
    rows = {f"{one} with {other}": [mean_interval(v) for v in values] for (one, other), values in found.items()}
    rows[LACK] = [lack(a, b) for a, b in zip(found["drawn", "real"], found["real", "real"], strict=True)]
    agreed += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(lines), "\n".join(agreed)


def agreement(values: Mapping[tuple[str, str, int], Mapping[str, float]], cls: str, one: str, other: str) -> float:
    """Spearman's correlation over the phrases of what two kinds say of a class, as a mean over pairs of draws."""
    return float(
        np.mean(
            [
                rank_correlation(
                    *(np.array([v[p] for p in PHRASES]) for v in (values[cls, one, s], values[cls, other, t]))
                )
                for s, t in draws_of(one, other)
            ]
        )
    )


if __name__ == "__main__":
    main()
