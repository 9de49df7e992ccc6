"""TCAV (Kim et al., ICML 2018) as a method of its own: named concepts, ranked by what the class is sensitive to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite

import numpy as np
import torch

from xcore.contrast import NULL
from xcore.errors import NotApplicable, UsageError, XcoreError
from xcore.protocols import Task
from xcore.samples import Samples
from xcore.types import Concept, Cost, Explanation
from xcore_tcav import chart, saved
from xcore_tcav.explainer_options import Options
from xcore_tcav.inference import holm, null_size
from xcore_tcav.judging import Layer, Verdict, judge, open_scorer
from xcore_tcav.maps import projections
from xcore_tcav.scorer import Scorer
from xcore_tcav.sources import Given, gather

IMPORTANCE_IS = "TCAV effect: mean sensitivity of the class logit along the unit CAV, over the mean gradient norm"


class Tcav:
    """Which of the given concepts a class is sensitive to, each with its null beside it.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients, the class has fewer than two samples, or the head is affine at every layer.
    MissingError, UsageError
        There are no concepts, or what names them is wrong (see `xcore_tcav.sources.gather`).

    References
    ----------
    Kim et al., Interpretability beyond feature attribution (TCAV), ICML 2018, arXiv:1711.11279: sections 3.1 to 3.3
    (CAV, conceptual sensitivity, TCAV score) and 3.6 (relative TCAV). The test is another one, see `inference.rank_p`.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        if missing := {"activations", "gradients"} - task.classifier.can:
            raise NotApplicable(f"tcav asks for {' and '.join(sorted(missing))}, and this classifier gives none")
        random_ids: set[str] = set()
        task = replace(task, contrast=_noted(task.contrast, random_ids))
        names = tuple(dict.fromkeys(o.layers)) or (task.layer or task.classifier.default_layer,)
        scorers, undefined = _scorers(task, names, o)
        given, notes = gather(task, o)
        if o.against and len(given) < 2:
            raise UsageError("relative TCAV compares concepts, and there is one", "name more with tcav.concepts")
        judged = [g for g in given if g.name != o.against]
        before = time.perf_counter()
        # draws the pool that all methods and seeds share, unless it is there already
        task.contrast(len(given[0].fitted), 0, given[0].render)
        shared = time.perf_counter() - before
        j, layers = null_size(o.null, len(judged) * len(scorers), o.alpha), list[Layer]()
        for name in list(scorers):
            task.progress(len(layers), len(layers) + len(scorers), f"{len(judged)} concepts at {name}")
            layers.append(judge(scorers.pop(name), name, given, task, o, j))  # popped: a scorer holds all activations
        concepts = _concepts(judged, layers, o)
        concepts, no_maps = _mapped(concepts, layers, task, o)
        order = [g.name for g in judged]
        ranked = [_in_order(layer, [order.index(c.name) for c in concepts]) for layer in layers]
        files = {
            "bars.png": chart.write(task.workdir / "bars.png", task.target_name, concepts, ranked, o),
            **saved.write(task.workdir, task, concepts, ranked, o),
        }
        task.progress(len(layers), len(layers), "done")
        fitted = sum(len(g.fitted) for g in given)
        return Explanation(
            method="tcav",
            target=task.target_name,
            importance_is=_importance_is(layers, o),
            concepts=tuple(concepts),
            files=files,
            notes=(*undefined, *_notes(concepts, layers, o), *notes, *no_maps),
            cost=Cost(
                seconds=time.perf_counter() - start - shared,
                shared_seconds=shared,
                forwards=len(layers) * (len(task.samples) + fitted + len(random_ids)),
                backwards=len(layers) * len(task.samples),
                generated=sum(g.drawn for g in given),
            ),
        )


def _in_order(layer: Layer, order: Sequence[int]) -> Layer:
    """The layer with its verdicts in another order."""
    return replace(layer, verdicts=tuple(layer.verdicts[i] for i in order))


def _noted(contrast: Callable[[int, int, str], Samples], ids: set[str]) -> Callable[[int, int, str], Samples]:
    """The random sets, with a note of which samples they hold: each is run once."""

    def noted(n: int, index: int, render: str) -> Samples:
        drawn = contrast(n, index, render)
        ids.update(f"{index >= NULL}/{i}" for i in drawn.ids)
        return drawn

    return noted


def _scorers(task: Task, names: Sequence[str], o: Options) -> tuple[dict[str, Scorer], list[str]]:
    """A scorer for each layer where TCAV is defined, and a line for each where it is not."""
    scorers, undefined = dict[str, Scorer](), list[str]()
    for name in names:
        try:
            scorers[name] = open_scorer(task, name, o)
        except NotApplicable as error:
            near = _defined_before(task, name, o) if len(task.samples) > 1 else None
            undefined.append(f"{name}: {error.message}" + (f"; use the layer {near!r}" if near else ""))
    if not scorers:
        raise NotApplicable("; ".join(undefined))
    return scorers, undefined


def _defined_before(task: Task, layer: str, o: Options) -> str | None:
    """The nearest layer before this one where TCAV is defined."""
    layers = list(task.classifier.layers)
    few = replace(task, samples=task.samples.take(slice(8)))
    for name in reversed(layers[: layers.index(layer)] if layer in layers else layers):
        try:
            open_scorer(few, name, o)
        except XcoreError:  # a layer that cannot be opened, or is undefined too, is no advice
            continue
        return name
    return None


def _concepts(given: Sequence[Given], layers: Sequence[Layer], o: Options) -> list[Concept]:
    """The concepts with their evidence, most important first, ties in the order given."""
    p_holm = np.array(holm([v.p for layer in layers for v in layer.verdicts])).reshape(len(layers), -1)
    made = []
    for i, g in enumerate(given):
        verdicts = [layer.verdicts[i] for layer in layers]
        evidence: dict[str, float] = {}
        for layer, v, p in zip(layers, verdicts, p_holm[:, i], strict=True):
            at = f"@{layer.name}" if len(layers) > 1 else ""
            evidence |= {f"{key}{at}": x for key, x in _evidence(v, float(p), layer, o).items()}
        effect = float(np.mean([v.effect for v in verdicts]))
        if len(layers) > 1:
            best = float(p_holm[:, i].min())
            evidence |= {"effect": effect, "p_holm": best, "outside": float(best <= o.alpha)}
            evidence["learnable"] = float(any(v.accuracy >= o.learnable for v in verdicts))
        made.append(
            Concept(
                name=g.name,
                importance=effect,
                samples=g.shown,
                words=(g.name, *g.words),
                render=g.render,
                source=torch.full((len(g.shown),), -1),
                directions={
                    layer.name: torch.nn.functional.normalize(v.cav, dim=0)
                    for layer, v in zip(layers, verdicts, strict=True)
                },
                local=torch.stack([v.local for v in verdicts]).mean(0),
                evidence=evidence,
            )
        )
    return sorted(made, key=lambda c: -c.importance)


def _evidence(v: Verdict, p_holm: float, layer: Layer, o: Options) -> dict[str, float]:
    """What is known of a concept at a layer; `effect`, `lo`, `hi` and `null_*` are against random sets."""
    null_lo, null_hi = np.quantile(v.null_effect, (0.025, 0.975))
    s, found = v.score, dict[str, float]()
    if v.relative:
        r = v.relative
        found = {"relative_ts": r.ts, "relative_effect": r.effect, "relative_lo": r.lo, "relative_hi": r.hi}
        found["relative_accuracy"] = r.accuracy
    found |= {"effect": s.effect, "lo": s.effect_lo, "hi": s.effect_hi, "p": v.p, "p_holm": p_holm}
    found |= {"outside": float(p_holm <= o.alpha), "null_mean": float(v.null_effect.mean())}
    found |= {"null_lo": float(null_lo), "null_hi": float(null_hi)}
    found |= {"ts": s.ts, "ts_std": s.ts_std, "ts_null_mean": float(v.null_ts.mean()), "cav_accuracy": s.accuracy}
    found |= {
        "learnable": float(v.accuracy >= o.learnable),
        "set_size": float(s.n),
        "null_sets": float(layer.null_sets),
    }
    found["calibrated"] = float(o.test == "rank")
    return {key: x for key, x in found.items() if isfinite(x)}


def _mapped(
    concepts: list[Concept], layers: Sequence[Layer], task: Task, o: Options
) -> tuple[list[Concept], tuple[str, ...]]:
    """The concepts, the first ones with their places in the class images, by the first layer that has positions."""
    top = concepts[: o.maps]
    if not top or task.samples.kind != "image":
        return concepts, ()
    for layer in layers:
        probe = task.classifier.open(layer.name)
        places = projections(probe, task.samples, torch.stack([c.directions[layer.name] for c in top]))
        if places is not None:
            mapped = [replace(c, maps=m) for c, m in zip(top, places, strict=True)]
            return [*mapped, *concepts[len(top) :]], ()
    return concepts, ("no maps: none of the layers has a grid of positions",)


def _importance_is(layers: Sequence[Layer], o: Options) -> str:
    what = {"": "", "others": ", relative to the other concepts"}.get(o.against, f", relative to {o.against!r}")
    over = f", mean over {', '.join(layer.name for layer in layers)}" if len(layers) > 1 else ""
    return IMPORTANCE_IS + what + over


def _notes(concepts: Sequence[Concept], layers: Sequence[Layer], o: Options) -> list[str]:
    notes, k = [], len(concepts)
    for layer in layers:
        at = f"@{layer.name}" if len(layers) > 1 else ""
        accuracy = "relative_accuracy" if o.against else "cav_accuracy"
        poor = [c for c in concepts if not c.evidence[f"learnable{at}"]]
        if poor:
            listed = ", ".join(f"{c.name} ({c.evidence[accuracy + at]:.2f})" for c in poor)
            notes.append(
                f"not learnable at {layer.name}, so their scores say nothing: {len(poor)} of {k} concepts with a "
                f"held-out CAV accuracy below {o.learnable:g}: {listed}"
            )
    if o.test == "ttest":
        notes.append("p is of the t-test over random sets, which is not calibrated: it rejects random concepts, too")
    outside = sum(c.evidence["outside"] for c in concepts)
    notes.append(f"{outside:.0f} of {k} concepts are outside their null (random sets, Holm at {o.alpha:g})")
    if o.against:
        kept = "" if o.against == "others" else f"; {o.against!r} itself is not ranked"
        notes.append(f"ranked by relative TCAV, for which there is no test{kept}")
    return notes
