"""Right explanations of wired classifiers, made from what they are known to use, to audit metrics with.

See `xcore.testing.audit`, and docs/metrics-audit.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from xcore.contract import Concept, Explanation, Task, Truth
from xcore.models.codes import rows_of
from xcore.testing.audit import AuditCase
from xcore.testing.audit_runs import Bench
from xcore_minizoo.captions import phrases
from xcore_minizoo.wired_zoo import family
from xcore_minizoo.wiring import Wiring

FAMILIES = ("one", "and", "or", "against", "shortcut", "shape-only")
"""Families whose right explanation is a list of values by their effects; "xor" and "half" are no such lists."""
CONCEPTS = 5
SCENES = 200
"""Training pictures, of all classes, from which the direction of a value is measured."""
PICTURES = 10
"""Pictures of each concept."""
SEES = {"shape": 0, "pattern": 0, "colour": 0, "object": 1, "background": 2}
"""Factor -> the mask of the picture in which it is seen: animal, object or background."""
REGIONS = ("animal", "object", "background")


def values_of(truth: Truth, cls: str) -> dict[str, float]:
    """The `CONCEPTS` values of a right explanation with their effects as shares of the gap, greatest first.

    All used values come first. The rest are the values of the smallest effect that can be named by one phrase each, of
    factors that are not used as long as there are some: they should not be confused with what is used.
    """
    effects = {value: effect / truth.gaps[cls] for value, (effect, _, _) in truth.effects[cls].items()}
    used = sorted((v for v in truth.used(cls) if phrase_of(truth, v)), key=lambda v: -effects[v])
    factors = {v.partition("=")[0] for v in used}
    rest = [v for v in effects if v not in truth.used(cls) and phrase_of(truth, v)]
    rest.sort(key=lambda v: (v.partition("=")[0] in factors, abs(effects[v])))
    chosen = [*used, *rest][:CONCEPTS]
    return {v: effects[v] for v in sorted(chosen, key=lambda v: -effects[v])}


def phrase_of(truth: Truth, value: str) -> str:
    """The phrase of the data sets that names this factor value and nothing else; "" if there is none."""
    return next((phrase for phrase in phrases() if truth.phrases[phrase] == {value}), "")


def right_explanation(task: Task, truth: Truth, kind: str) -> Explanation:
    """What a wired classifier uses, as an explanation of one kind, with importances by the measured effects.

    Directions are the difference of the mean activations of pictures with a value and of those without it; maps are the
    painted masks of animal, object and background, with the greatest effect of the values that are seen in them;
    pictures are drawn of the phrase that names the value.
    """
    effects = values_of(truth, task.target_name)
    if kind == "maps":
        concepts = _regions(task, truth)
    elif kind == "directions":
        concepts = [
            Concept(v, effects[v], directions={task.layer: direction}) for v, direction in _directions(task, effects)
        ]
    else:
        named = {v: phrase_of(truth, v) for v in effects}
        concepts = [
            Concept(p, effects[v], task.data.concept(p, PICTURES, task.seed), words=(p,)) for v, p in named.items()
        ]
    return Explanation("truth", task.target_name, "effect of a swap as a share of the gap", tuple(concepts))


def _regions(task: Task, truth: Truth) -> list[Concept]:
    masks = task.samples.meta["masks"]
    cls = task.target_name
    effects = [0.0, 0.0, 0.0]
    for value in truth.used(cls):
        at = SEES[value.partition("=")[0]]
        effects[at] = max(effects[at], truth.effects[cls][value][0] / truth.gaps[cls])
    order = sorted(range(len(REGIONS)), key=lambda i: -effects[i])
    return [Concept(REGIONS[i], effects[i], maps=masks[:, i].float()) for i in order]


def _directions(task: Task, values: Sequence[str] | dict[str, float]) -> Iterator[tuple[str, Tensor]]:
    scenes = task.data.samples(None, "train", SCENES, task.seed)
    probe = task.classifier.open(task.layer)
    rows = rows_of(probe.activations(scenes), probe.layout).mean(1).float().cpu()
    for value in values:
        factor, _, wanted = value.partition("=")
        shows = torch.tensor([_shows(shown[factor], wanted) for shown in scenes.meta["factors"]])
        yield value, rows[shows].mean(0) - rows[~shows].mean(0)


def _shows(shown: object, wanted: str) -> bool:
    """Whether a picture shows a value of a factor, by what is known of its scene; no object is the value "none"."""
    return wanted in shown if isinstance(shown, tuple) else (shown or "none").casefold() == wanted.casefold()  # type: ignore[attr-defined]


def wirings(each: int, families: Sequence[str] = FAMILIES) -> list[Wiring]:
    """The first `each` classifiers of these families, one of each family first, then the second ones, and so on."""
    listed = [family(name)[:each] for name in families]
    return [own[i] for i in range(each) for own in listed]


def wired_cases(
    kind: str, each: int = 1, families: Sequence[str] = FAMILIES, bench: Bench | None = None
) -> Iterator[AuditCase]:
    """Right explanations of the first wired classifiers of some families, as cases of an audit."""
    bench = bench or Bench()
    for wiring in wirings(each, families):
        yield wired_case(bench, wiring, kind)


def wired_case(bench: Bench, wiring: Wiring, kind: str) -> AuditCase:
    """The right explanation of a wired classifier as a case, with that of another one beside it.

    The other one is the next of the zoo that depends on other factors, seen in other parts of the picture: otherwise
    its explanation could be right, too. It is found in the pictures and at the layer of this one.
    """
    run = bench.run(bench.cell(wiring.reference, "wired"), lambda task, truth: right_explanation(task, truth, kind))
    other = _unlike(wiring)
    theirs = bench.truth(bench.cell(other.reference, "wired"))
    return AuditCase(f"truth of {wiring}", kind, run, right_explanation(run.task, theirs, kind), True)


def _unlike(wiring: Wiring) -> Wiring:
    """The first classifier of one factor value that is seen in other parts of the picture."""
    own = {SEES[value.factor] for value in wiring.values}
    others = [w for w in family("one") if not own & {SEES[value.factor] for value in w.values}]
    return others[len(str(wiring)) % len(others)]
