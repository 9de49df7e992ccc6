"""The explainer `tcav` (Kim et al., ICML 2018): named concepts, ranked by how sensitive the class is to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np
import torch
from xcore_evidence.statistics import signed_marks

from xcore.contract import (
    Concept,
    Cost,
    Dataset,
    Explanation,
    NotApplicable,
    Task,
    UsageError,
    XcoreError,
)
from xcore_tcav import cav_files, chart, contrast
from xcore_tcav.context import explain_in_context
from xcore_tcav.layer_scores import ConceptScore, LayerScores, open_scorer, score_layer
from xcore_tcav.maps import with_projections
from xcore_tcav.options import TcavOptions
from xcore_tcav.scorer import Scorer, one_sample_note, recording
from xcore_tcav.sources import ConceptSet, check_source, chosen_source, load_concept_sets

IMPORTANCE_IS = "TCAV effect: mean sensitivity of the class logit along the unit CAV, over the mean gradient norm"


class Tcav:
    """Which of the given concepts a class is sensitive to, each beside its null distribution.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients, or the head is affine at every layer.
    MissingError, UsageError
        There are no concepts, or a name of one is wrong (see `xcore_tcav.sources.load_concept_sets`).

    References
    ----------
    Kim et al., Interpretability beyond feature attribution (TCAV), ICML 2018, arXiv:1711.11279: sections 3.1 to 3.3
    (CAV, conceptual sensitivity, TCAV score) and 3.6 (relative TCAV). The test differs from theirs, see
    `xcore_tcav.inference.rank_p`.
    """

    def __init__(self, options: TcavOptions | None = None) -> None:
        self.options = options or TcavOptions()

    def check(self, data: Dataset) -> None:
        """Raise `MissingError` if there are no concepts to rank."""
        check_source(self.options, data.concepts, data.modality)

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        if missing := {"activations", "gradients"} - task.classifier.can:
            raise NotApplicable(f"tcav needs {' and '.join(sorted(missing))}, and this classifier gives none")
        names = tuple(dict.fromkeys(o.layers)) or (task.layer or task.classifier.default_layer,)
        scorers, undefined = _scorers(task, names, o)
        if chosen_source(o) == "context":
            return explain_in_context(task, scorers, undefined, o)
        sets, source_notes = load_concept_sets(task, o)
        if o.against and len(sets) < 2:
            raise UsageError("relative TCAV compares concepts, but there is only one", "name more with tcav.concepts")
        ranked_sets = [s for s in sets if s.name != o.against]
        renders, contrast_notes = contrast.renderings(sets, o)
        random_ids: set[str] = set()
        random_set = recording(contrast.with_others(task.random_set, sets, task.seed), random_ids)
        task = replace(task, random_set=random_set)
        for scorer in scorers.values():
            scorer.random_set = task.random_set
        before = time.perf_counter()
        # Draws the pool of random samples that all methods and seeds share, unless it is there already.
        task.random_set(len(sets[0].fit_samples), 0, renders[0])
        shared = time.perf_counter() - before
        layers: list[LayerScores] = []
        for name in list(scorers):
            task.progress(len(layers), len(layers) + len(scorers), f"{len(ranked_sets)} concepts at {name}")
            scorer = scorers.pop(name)  # because a scorer holds all the activations of its layer
            try:
                layers.append(score_layer(scorer, name, sets, renders, task, o))
            except NotApplicable as error:  # of one sample alone, an affine head shows only beside random samples
                if not layers and not scorers:
                    raise
                undefined.append(f"{name}: {error.message}")
        concepts = _concepts(ranked_sets, layers, o)
        concepts, map_notes = _with_maps(concepts, layers, task, o)
        order = [s.name for s in ranked_sets]
        layers = [_in_order(layer, [order.index(c.name) for c in concepts]) for layer in layers]
        files = {
            "bars.png": chart.write(task.workdir / "bars.png", task.target_name, concepts, layers, o),
            **cav_files.write(
                task.workdir,
                task,
                concepts,
                {layer.name: torch.stack([s.cav for s in layer.scores]) for layer in layers},
                {layer.name: layer.unit for layer in layers},
                o.against or "random sets",
                o.pool,
            ),
        }
        task.progress(len(layers), len(layers), "done")
        fitted = sum(len(s.fit_samples) for s in sets)
        return Explanation(
            method="tcav",
            target=task.target_name,
            importance_is=_importance_is(layers, o),
            concepts=tuple(concepts),
            files=files,
            notes=(
                *undefined,
                *one_sample_note(task.samples),
                *_notes(concepts, layers, o),
                *contrast_notes,
                *source_notes,
                *map_notes,
            ),
            cost=Cost(
                seconds=time.perf_counter() - start - shared,
                shared_seconds=shared,
                forwards=len(layers) * (len(task.samples) + fitted + len(random_ids)),
                backwards=len(layers) * len(task.samples),
                generated=sum(s.generated for s in sets),
            ),
        )


def _in_order(layer: LayerScores, order: Sequence[int]) -> LayerScores:
    """The layer with its scores in another order."""
    return replace(layer, scores=tuple(layer.scores[i] for i in order))


def _scorers(task: Task, names: Sequence[str], o: TcavOptions) -> tuple[dict[str, Scorer], list[str]]:
    """A scorer for each layer where TCAV is defined, and a note for each layer where it is not."""
    scorers: dict[str, Scorer] = {}
    undefined: list[str] = []
    for name in names:
        try:
            scorers[name] = open_scorer(task, name, o)
        except NotApplicable as error:
            nearest = _defined_before(task, name, o) if len(task.samples) > 1 else None
            undefined.append(f"{name}: {error.message}" + (f"; use the layer {nearest!r}" if nearest else ""))
    if not scorers:
        raise NotApplicable("; ".join(undefined))
    return scorers, undefined


def _defined_before(task: Task, layer: str, o: TcavOptions) -> str | None:
    """The nearest layer before this one where TCAV is defined, tried on a few samples."""
    layers = list(task.classifier.layers)
    few = replace(task, samples=task.samples.take(slice(8)))
    for name in reversed(layers[: layers.index(layer)] if layer in layers else layers):
        try:
            open_scorer(few, name, o)
        except XcoreError:  # a layer that cannot be opened, or where TCAV is undefined too, is no advice
            continue
        return name
    return None


def _concepts(sets: Sequence[ConceptSet], layers: Sequence[LayerScores], o: TcavOptions) -> list[Concept]:
    """The concepts with their evidence, most important first; ties keep the order in which they were given."""
    every = [s for layer in layers for s in layer.scores]
    found, adjusted = signed_marks([s.p for s in every], [s.p_against for s in every], o.alpha)
    marks, p_holm = (np.array(x, dtype=float).reshape(len(layers), -1) for x in (found, adjusted))
    concepts = []
    for i, concept_set in enumerate(sets):
        scores = [layer.scores[i] for layer in layers]
        evidence: dict[str, float] = {}
        for layer, score, p, mark in zip(layers, scores, p_holm[:, i], marks[:, i], strict=True):
            at = _suffix(layer, layers)
            evidence |= {f"{key}{at}": x for key, x in _evidence(score, float(p), float(mark), o).items()}
        effect = float(np.mean([s.effect for s in scores]))
        if len(layers) > 1:
            sign = float(marks[p_holm[:, i].argmin(), i])
            evidence |= {"effect": effect, "p_holm": float(p_holm[:, i].min()), "mark": sign, "outside": abs(sign)}
            evidence["learnable"] = float(any(s.accuracy >= o.learnable for s in scores))
        concepts.append(
            Concept(
                name=concept_set.name,
                importance=effect,
                samples=concept_set.shown_samples,
                words=(concept_set.name, *concept_set.words),
                render=concept_set.render,
                source=torch.full((len(concept_set.shown_samples),), -1),
                directions={
                    layer.name: torch.nn.functional.normalize(s.cav, dim=0)
                    for layer, s in zip(layers, scores, strict=True)
                },
                local=torch.stack([s.local for s in scores]).mean(0),
                evidence=evidence,
            )
        )
    return sorted(concepts, key=lambda c: -c.importance)


def _suffix(layer: LayerScores, layers: Sequence[LayerScores]) -> str:
    """What follows the keys of the evidence at a layer: nothing if there is only one layer."""
    return f"@{layer.name}" if len(layers) > 1 else ""


def _evidence(concept: ConceptScore, p_holm: float, mark: float, o: TcavOptions) -> dict[str, float]:
    """The evidence of a concept at a layer; `effect`, `lo`, `hi` and `null_*` are those against random sets."""
    score, relative = concept.score, concept.relative
    null_lo, null_hi = np.quantile(concept.null_effect, (0.025, 0.975))
    evidence: dict[str, float] = {}
    if relative:
        evidence = {
            "relative_ts": relative.ts,
            "relative_effect": relative.effect,
            "relative_lo": relative.lo,
            "relative_hi": relative.hi,
            "relative_accuracy": relative.accuracy,
        }
    evidence |= {
        "effect": score.effect,
        "lo": score.effect_lo,
        "hi": score.effect_hi,
        "p": concept.p,
        "p_against": concept.p_against,
        "p_holm": p_holm,
        "mark": mark,
        "outside": abs(mark),
        "null_mean": float(concept.null_effect.mean()),
        "null_lo": float(null_lo),
        "null_hi": float(null_hi),
        "ts": score.ts,
        "ts_std": score.ts_std,
        "ts_null_mean": float(concept.null_ts.mean()),
        "cav_accuracy": score.accuracy,
        "learnable": float(concept.accuracy >= o.learnable),
        "set_size": float(score.n),
        "null_sets": float(len(concept.null_effect)),
        "calibrated": float(o.test == "rank"),
    }
    return {key: x for key, x in evidence.items() if isfinite(x)}


def _with_maps(
    concepts: list[Concept], layers: Sequence[LayerScores], task: Task, o: TcavOptions
) -> tuple[list[Concept], tuple[str, ...]]:
    """The concepts, the first `o.maps` of them with maps at the first layer that has positions, and notes."""
    at_first = concepts
    for layer in layers:
        made, mapped = with_projections(task.classifier.open(layer.name), task.samples, concepts, layer.name, o.maps)
        if mapped:
            return made, ()
        at_first = made if layer is layers[0] else at_first
    wanted = concepts and o.maps and task.samples.modality == "image"
    return at_first, ("there are no maps, because no layer has a grid of positions",) if wanted else ()


def _importance_is(layers: Sequence[LayerScores], o: TcavOptions) -> str:
    relative = {"": "", "others": ", relative to the other concepts"}.get(o.against, f", relative to {o.against!r}")
    mean = f", mean over {', '.join(layer.name for layer in layers)}" if len(layers) > 1 else ""
    return IMPORTANCE_IS + relative + mean


def _notes(concepts: Sequence[Concept], layers: Sequence[LayerScores], o: TcavOptions) -> list[str]:
    """Notes about the scores, for the reader of the explanation."""
    notes, k = [], len(concepts)
    for layer in layers:
        at = _suffix(layer, layers)
        accuracy = "relative_accuracy" if o.against else "cav_accuracy"
        poor = [c for c in concepts if not c.evidence[f"learnable{at}"]]
        if poor:
            listed = ", ".join(f"{c.name} ({c.evidence[accuracy + at]:.2f})" for c in poor)
            notes.append(
                f"{len(poor)} of {k} concepts are not learnable at {layer.name} (cross-validated CAV accuracy below "
                f"{o.learnable:g}), so their scores mean nothing: {listed}"
            )
    if o.test == "ttest":
        notes.append(
            "p comes from the t-test over random sets, which is not calibrated: it also rejects random concepts"
        )
    signs = [c.evidence["mark"] for c in concepts]
    notes.append(
        f"of {k} concepts {signs.count(1)} raise the class and {signs.count(-1)} lower it (one-sided tests against "
        f"random sets, Holm at {o.alpha:g} on each side)"
    )
    if o.against:
        unranked = "" if o.against == "others" else f"; {o.against!r} itself is not ranked"
        notes.append(f"the concepts are ranked by relative TCAV, for which there is no test{unranked}")
    return notes
