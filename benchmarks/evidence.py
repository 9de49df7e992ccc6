"""How well each kind of evidence finds what a classifier uses: `python benchmarks/evidence.py`.

``--classifier minizoo/clean --kinds observed,factorial,edited,prior`` asks each kind of evidence about all concepts of
the data set for each class of the suite, compares what it says with the truth table, and prints Markdown: AUC of the
ranking (concepts of which everything named is used against the others), precision among the first three (five of
texts), and the share of concepts marked +, by how much of what they name is used: all, some or nothing. Intervals are
95 % t intervals over classes. ``--networks A,B`` asks about several classifiers, ``--twins`` also about the twin of
each planted one, which was trained alike without the shortcut, and of planted networks the rank of the planted factor
is printed. ``--data reviews`` asks about words of texts.

``--permuted N`` permutes the margins of the classes N times instead, so that nothing is to be found, and prints how
often anything is marked, and how often a p-value is at most .01, .05 and .1.

Every class that is done is written to the file results.json in the folder --out, and is not done again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from xcore_evidence import edited as changed
from xcore_evidence import factorial as drawn
from xcore_evidence import observed as seen
from xcore_evidence import ridge
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.phrases import without_class_name
from xcore_evidence.randomised import Made, by_chance, jointly
from xcore_evidence.readings import pool_of, presence
from xcore_evidence.statistics import half_width, signed_marks

from xcore.contract import Cell, Dataset, Task, Truth, XcoreError
from xcore.registry import load_registry
from xcore.run.plan import load_suite, make_plan
from xcore.run.workbench import Workbench
from xcore.store.run_directory import Store

SUITE = {"minizoo": "minizoo", "reviews": "text"}
KINDS = ("all", "some", "nothing")
STRANGE = 41
"""Words that occur in no text, beside the others."""
LEVELS = (0.01, 0.05, 0.1)
Record = dict[str, Any]


def main() -> None:
    """Ask what was not asked before, and print the tables."""
    args = _flags().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Workbench(load_registry(), Store(args.out))
    networks = _networks(args.networks or args.classifier, args.twins)
    if args.permuted:
        permuted(bench, networks, args)
        return
    file = args.out / "results.json"
    records: dict[str, Record] = json.loads(file.read_text()) if file.is_file() else {}
    wanted: dict[str, dict[str, list[Record]]] = {}
    for network in networks:
        planned = cells(args.data, network, args.seed)
        for cls in _classes(planned, args):
            for kind in args.kinds.split(","):
                key = json.dumps([network, cls, kind, args.seed, args.data, settings(kind, args)])
                if key not in records:
                    try:
                        records[key] = ask(bench, planned[cls], network, kind, args)
                    except XcoreError as error:
                        print(f"<!-- {network} {cls} {kind}: {error} -->", flush=True)
                        continue
                    file.write_text(json.dumps(records))
                    print(f"<!-- {network} {cls} {kind}: {records[key]['seconds']:.0f} s -->", flush=True)
                wanted.setdefault(network, {}).setdefault(kind, []).append(records[key])
    for network, by_kind in wanted.items():
        _print_table(network, by_kind, 5 if args.data == "reviews" else 3)
    _print_planted(wanted)


def ask(bench: Workbench, cell: Cell, network: str, kind: str, args: argparse.Namespace) -> Record:
    """What one kind of evidence says of all concepts for one class, beside the truth."""
    task = _task(bench, cell, args)
    truth, phrases = truth_of(bench.dataset(cell.data), network), _phrases(bench, cell, task, args)
    start = time.perf_counter()
    scores, told = (prior(task, phrases), None) if kind == "prior" else _evidence(kind, task, phrases, args)
    used = truth.used(cell.cls)
    kinds = [kind_of(truth.phrases.get(p, frozenset()), used) for p in phrases]
    record: Record = {
        "class": cell.cls,
        "phrases": list(phrases),
        "names": [sorted(truth.phrases.get(p, ())) for p in phrases],
        "kinds": kinds,
        "used": sorted(used),
        "scores": scores,
        "seconds": time.perf_counter() - start,
    }
    if told is not None:
        record["marks"] = [e.mark for e in told.estimates]
        record["evidence"] = [e.as_evidence() for e in told.estimates]
        record["explained"], record["notes"] = told.explained, list(told.notes)
    return record


def _evidence(kind: str, task: Task, phrases: Sequence[str], args: argparse.Namespace) -> tuple[list[float], Evidence]:
    penalty = None if args.penalty == "cv" else float(args.penalty)
    if kind == "observed":
        found = seen.observed(task, phrases, penalty=penalty, pool=pool_of(task, **_pool_sizes(args)))
    elif kind in ("factorial", "prompt"):
        found = drawn.factorial(
            task, phrases, drawings=args.drawings, at_once=args.at_once or drawn.AT_ONCE, penalty=penalty
        )
    elif kind == "edited":
        found = changed.edited(task, phrases, made=_edits(task, phrases, args), penalty=penalty)
    else:
        raise SystemExit(f"there is no kind of evidence {kind!r}: observed, factorial, prompt, edited, prior")
    if kind == "prompt" and task.samples.modality == "image":
        found = _prompt_alone(found)
    order = found.ranked()
    scores = np.empty(len(order))
    scores[order] = -np.arange(len(order), dtype=float)
    return scores.tolist(), found


def _prompt_alone(found: Evidence) -> Evidence:
    """The effects of the prompts, which factorial evidence gives beside those of what the drawings show."""
    d = [e.details for e in found.estimates]
    made = estimates(
        [e.phrase for e in found.estimates],
        [x["prompt_effect"] for x in d],
        [x["prompt_effect"] / x["prompt_t"] if x["prompt_t"] else float("nan") for x in d],
        degrees=found.n - len(d) - 1,
        ranges=[1.0] * len(d),
        gap=found.gap,
        alpha=0.05,
        p_values=([x["prompt_p"] for x in d], [x["prompt_p_against"] for x in d]),
    )
    return Evidence("factorial", drawn.SCENES.says_prompt, drawn.SCENES.unit_prompt, made, found.n, found.gap)


def prior(task: Task, phrases: Sequence[str]) -> list[float]:
    """How much an image-text model sees each phrase in the pictures of the class; the classifier is not asked."""
    model = task.model("image-text")
    pictures = normalize(model.embed_images(task.samples).double(), dim=1)
    found = (100 * pictures @ normalize(model.embed_texts(tuple(phrases)).double(), dim=1).T).softmax(1).mean(0)
    return [float(v) for v in found]


def permuted(bench: Workbench, networks: Sequence[str], args: argparse.Namespace) -> None:
    """Print how often evidence marks anything if the margins are those of other samples."""
    print(f"Margins permuted {args.permuted} times for each class.\n")
    print("| network | kind | any mark + | any mark - | p <= .01 | p <= .05 | p <= .1 | n |\n" + "|---" * 8 + "|")
    for network in networks:
        planned = cells(args.data, network, args.seed)
        counts: dict[str, list[tuple[bool, bool, list[float]]]] = {}
        for cls in _classes(planned, args):
            task = _task(bench, planned[cls], args)
            phrases = _phrases(bench, planned[cls], task, args)
            for name, test in _tests(task, phrases, args).items():
                rng = np.random.default_rng([args.seed, 7])
                for _ in range(args.permuted):
                    up, down = test(rng)
                    marks, _ = signed_marks(up, down, 0.05)
                    counts.setdefault(name, []).append((1 in marks, -1 in marks, up))
        for name, found in counts.items():
            plus, minus, p = (np.array(part) for part in zip(*found, strict=True))
            levels = " | ".join(f"{(p <= level).mean():.3f}" for level in LEVELS)
            print(
                f"| {network} | {name} | {plus.mean():.3f} | {minus.mean():.3f} | {levels} | {len(found)} |", flush=True
            )


Test = Callable[[np.random.Generator], tuple[list[float], list[float]]]


def _tests(task: Task, phrases: Sequence[str], args: argparse.Namespace) -> dict[str, Test]:
    """Kind -> a test of all phrases with the margins in a random order."""
    kinds, tests = args.kinds.split(","), dict[str, Test]()
    penalty = None if args.penalty == "cv" else float(args.penalty)

    def shown(read: torch.Tensor | None, y: torch.Tensor, rng: np.random.Generator) -> tuple[list[float], list[float]]:
        assert read is not None, "permuted margins need a model of the role image-text"
        fit = ridge.fit(read, y[torch.from_numpy(rng.permutation(len(y)))], penalty=penalty)
        degrees = len(y) - len(phrases) - 1
        found = estimates(phrases, fit.coefficients.tolist(), fit.errors.tolist(), degrees=degrees,
                          ranges=[1.0] * len(phrases), gap=1.0, alpha=0.05, skews=fit.skews.tolist())  # fmt: skip
        return [e.p for e in found], [e.p_against for e in found]

    def of_prompt(asked: torch.Tensor, y: torch.Tensor, rng: np.random.Generator) -> tuple[list[float], list[float]]:
        y, n = y[torch.from_numpy(rng.permutation(len(y)))], len(y)

        def orders(c: int) -> torch.Tensor:
            return y[torch.from_numpy(rng.permuted(np.tile(np.arange(n), (c, 1)), axis=1))].T

        return by_chance(jointly(asked, intercept=True), y, orders, 1999)[2:]

    if "observed" in kinds:
        pool = pool_of(task, **_pool_sizes(args))
        y = margin(task.classifier.logits(pool.samples), task.target)
        tests["observed"] = partial(shown, presence(task, pool.samples, phrases), y)
    if "factorial" in kinds and task.samples.modality == "image":
        scenes, asked = drawn.scenes(task, phrases, args.drawings or drawn.DRAWINGS, args.at_once or drawn.AT_ONCE)
        y = margin(task.classifier.logits(scenes), task.target)
        tests["factorial, shown"] = partial(shown, presence(task, scenes, phrases), y)
        tests["factorial, prompt"] = partial(of_prompt, asked, y)
    if "edited" in kinds:
        made = _edits(task, phrases, args)
        assert made.given is not None
        y = margin(task.classifier.logits(made.samples), task.target)
        before = margin(task.classifier.logits(made.given), task.target)[list(made.source)]
        tests["edited, shown"] = partial(shown, made.read, y)
        tests["edited, prompt"] = partial(of_prompt, made.asked, y - before)
    return tests


def cells(data: str, classifier: str, seed: int) -> dict[str, Cell]:
    """Class -> a cell of the suite whose method has the generator."""
    suite = load_suite(SUITE[data]).model_copy(
        update={"methods": ["rlpo"], "arms": [], "controls": [], "seeds": [seed], "classifiers": [classifier]}
        | {"leave_out": {}}  # which classes are reported is for the caller to say
    )
    return {cell.cls: cell for cell in make_plan(suite, load_registry()).cells}


def area(scores: Sequence[float], good: Sequence[bool]) -> float:
    """The area under the ROC curve; ties count half."""
    s, g = np.asarray(scores), np.asarray(good)
    if g.all() or not g.any():
        return float("nan")
    above, below = s[g][:, None], s[~g][None]
    return float(((above > below).sum() + 0.5 * (above == below).sum()) / (above.size * below.size))


def kind_of(named: frozenset[str], used: frozenset[str]) -> str:
    """How much of what a concept names is used."""
    return "all" if named and named <= used else "some" if named & used else "nothing"


def settings(kind: str, args: argparse.Namespace) -> Mapping[str, Any]:
    """What the evidence of a kind depends on."""
    named = {
        "observed": ("penalty", "choose"),
        "factorial": ("penalty", "drawings", "at_once"),
        "prompt": ("drawings", "at_once"),
        "edited": ("penalty", "edits", "at_once", "strength"),
    }
    return {name: getattr(args, name) for name in named.get(kind, ())}


def _pool_sizes(args: argparse.Namespace) -> dict[str, int]:
    """`all` = 900 samples in equal parts of the classes, none left out."""
    return {"size": 900, "chosen": 900} if args.choose == "all" else {"size": seen.POOL, "chosen": seen.CHOSEN}


def _edits(task: Task, phrases: Sequence[str], args: argparse.Namespace) -> Made:
    """The edited pictures, which are kept for all classifiers."""
    return changed.edits_read(task, phrases, args.edits, args.at_once or changed.AT_ONCE, args.strength)


def _task(bench: Workbench, cell: Cell, args: argparse.Namespace) -> Task:
    work = args.out / "work"
    work.mkdir(exist_ok=True)
    return bench.task(cell, work, lambda step, total, note="": None)


def truth_of(dataset: Dataset, network: str) -> Truth:
    """The truth table of a network; ends the script if there is none."""
    truth = dataset.truth(network)
    if truth is None:
        raise SystemExit(f"there is no truth table of {network}")
    return truth


def _phrases(bench: Workbench, cell: Cell, task: Task, args: argparse.Namespace) -> tuple[str, ...]:
    """The concepts of pictures; of texts the words of all reviews, and some that occur in none."""
    if task.samples.modality == "image":
        return tuple(bench.dataset(cell.data).concepts)
    truth = truth_of(bench.dataset(cell.data), cell.classifier.text)
    found = without_class_name(bench.dataset(cell.data).vocabulary, task.target_name)
    own, others = [p for p in found if p in truth.phrases], [p for p in found if p not in truth.phrases]
    return (*own, *(others[i * len(others) // STRANGE] for i in range(STRANGE)))


def _classes(planned: Mapping[str, Cell], args: argparse.Namespace) -> list[str]:
    left_out = set(args.exclude.split(",")) if args.exclude else set()
    wanted = args.classes.split(",") if args.classes else list(planned)
    return [cls for cls in wanted if cls not in left_out]


def _networks(text: str, twins: bool) -> list[str]:
    """References separated by commas; a comma inside of a reference is not followed by one."""
    named = re.split(r",(?=[\w-]+/)", text)
    return named + [_twin(n) for n in named if twins and planted_in(n)]


def planted_in(network: str) -> tuple[str, str, float] | None:
    """Class, factor and strength of the shortcut of a planted network."""
    from xcore_minizoo.planted import Planted

    provider, _, argument = network.partition(":")
    if provider != "minizoo/planted":
        return None
    found = Planted.parse(argument)
    return found.cls, found.factor, found.rho


def _twin(network: str) -> str:
    from xcore_minizoo.planted import Planted

    found = Planted.parse(network.partition(":")[2])
    return str(Planted(found.cls, found.factor, 0.0, found.seed))


def _print_table(network: str, by_kind: Mapping[str, Sequence[Record]], top: int) -> None:
    print(f"\n## {network}\n")
    print(f"| kind | AUC | P@{top} | marked: all used | some used | nothing used | classes | s |\n" + "|---" * 8 + "|")
    for kind, records in by_kind.items():
        rows = np.array([_figures(r, top) for r in records])
        figures = " | ".join(interval(column) for column in rows.T)
        print(f"| {kind} | {figures} | {len(records)} | {np.mean([r['seconds'] for r in records]):.0f} |")
    print("\nAUC by class: ")
    for kind, records in by_kind.items():
        print(f"- {kind}: " + ", ".join(f"{r['class']} {_figures(r, top)[0]:.2f}" for r in records))


def _figures(r: Record, top: int) -> list[float]:
    kinds = np.array(r["kinds"])
    good = kinds == "all"
    first = np.argsort(-np.array(r["scores"]), kind="stable")[:top]
    marks = np.array(r["marks"]) > 0 if "marks" in r else np.full(len(kinds), np.nan)
    shares = [float(np.mean(marks[kinds == kind])) if (kinds == kind).any() else float("nan") for kind in KINDS]
    return [area(r["scores"], good), float(good[first].mean()) if good.any() else float("nan"), *shares]


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % t interval over classes."""
    v = np.asarray(values, dtype=float)
    v = v[np.isfinite(v)]
    if not len(v):
        return "n/a"
    if len(v) == 1:
        return f"{v[0]:.2f}"
    half = half_width(float(v.std(ddof=1)) / len(v) ** 0.5, len(v) - 1)
    return f"{v.mean():.2f} [{v.mean() - half:.2f}, {v.mean() + half:.2f}]"


def _print_planted(wanted: Mapping[str, Mapping[str, Sequence[Record]]]) -> None:
    """The rank and the mark of the phrase that names the planted factor and nothing else, for the planted class."""
    rows = []
    for network, by_kind in wanted.items():
        if (shortcut := planted_in(network)) is None:
            continue
        cls, factor, _ = shortcut
        for kind, records in by_kind.items():
            for r in records:
                own = [i for i, names in enumerate(r["names"]) if names == [factor]]
                if r["class"] != cls or not own:
                    continue
                rank = min(1 + sum(s > r["scores"][i] for s in r["scores"]) for i in own)
                mark = {1: "+", 0: "none", -1: "-"}[max(r["marks"][i] for i in own)] if "marks" in r else "n/a"
                phrase = r["phrases"][own[0]]
                used = "yes" if factor in r["used"] else "no"
                rows.append(f"| {network} | {phrase} | {used} | {kind} | {rank} of {len(r['phrases'])} | {mark} |")
    if rows:
        print(
            "\n## Planted factors\n\n| network | phrase | used by the truth | kind | rank | mark |\n" + "|---" * 6 + "|"
        )
        print("\n".join(rows))


def _flags() -> argparse.ArgumentParser:
    ask = argparse.ArgumentParser(description="Compares kinds of evidence with what classifiers are known to use.")
    ask.add_argument("--classifier", default="minizoo/clean", help="the classifier, if --networks names none")
    ask.add_argument("--networks", default="", help="several classifiers, separated by commas")
    ask.add_argument("--twins", action="store_true", help="also the networks without the shortcut (rho 0)")
    ask.add_argument("--data", default="minizoo", choices=sorted(SUITE))
    ask.add_argument("--kinds", default="observed,factorial,prior", help="observed, factorial, prompt, edited, prior")
    ask.add_argument("--classes", default="", help="only these classes")
    ask.add_argument("--exclude", default="", help="not these classes, on which settings were chosen")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--penalty", default=str(seen.PENALTY), help="of the ridge; cv = by cross-validation")
    ask.add_argument("--choose", default="far", choices=("far", "all"), help="pictures: far from one another, or all")
    ask.add_argument("--drawings", type=int, default=None, help="scenes, or texts, of factorial evidence")
    ask.add_argument("--at-once", type=int, default=None, help="phrases in a prompt; none: 3, of edits 2")
    ask.add_argument("--edits", type=int, default=changed.EDITS, help="edited pictures of the class")
    ask.add_argument("--strength", type=float, default=changed.STRENGTH, help="how much the edits change")
    ask.add_argument("--permuted", type=int, default=0, help="permute the margins so many times instead")
    ask.add_argument("--out", type=Path, default=Path("runs/evidence"), help="where results and drawings are kept")
    return ask


if __name__ == "__main__":
    main()
