"""TCAV in context: CAVs of phrases, learned from samples of all classes in which the phrases are more or less present.

A classic CAV separates samples that show a concept alone from random ones. A picture of nothing but sand is unlike any
picture of the data, and so are its activations. Here activations of ordinary samples are regressed on the presence of
all phrases jointly: the CAV of a phrase is how they move if it alone becomes more present, the others held fixed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_evidence import chart, ridge
from xcore_evidence.estimates import Estimate, Evidence, estimates
from xcore_evidence.observed import CHOSEN, PENALTY, POOL, ranges, reading_notes
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import Pool, pool_of, presence
from xcore_evidence.surrogate import summary

from xcore.contract import Concept, Cost, Explanation, NotApplicable, Samples, Task, UsageError
from xcore_tcav import cav_files
from xcore_tcav.maps import with_projections
from xcore_tcav.options import TcavOptions
from xcore_tcav.scorer import Scorer, one_sample_note

IMPORTANCE_IS = "mean sensitivity of the class logit along the unit CAV learned in context, over the mean gradient norm"
SAYS = "association of the activations with the phrase, given the other phrases, times the slope of the class logit"
UNIT = "logits of the class, by its slope, for one standard deviation of a phrase's presence"


@dataclass(frozen=True, eq=False)
class ContextScores:
    """What one layer says of all phrases."""

    evidence: Evidence
    cavs: Tensor
    """(k, d) unit CAVs."""
    lengths: Tensor
    """(k,) their lengths before: how far activations move for one standard deviation of the presence."""


def explain_in_context(
    task: Task, scorers: dict[str, Scorer], undefined: Sequence[str], options: TcavOptions
) -> Explanation:
    """Rank phrases by the sensitivity of the class to their CAVs.

    Parameters
    ----------
    scorers
        Layer -> the scorer of the class, whose gradients are used and no random sets.
    undefined
        Notes on the layers where TCAV is undefined.

    Raises
    ------
    UsageError
        Relative TCAV is asked for: in context each CAV is already relative to all other phrases.
    MissingError
        There are no phrases, or no model of the role image-text for pictures.
    NotApplicable
        There are no samples of other classes, or too few for so many phrases.
    """
    start, o = time.perf_counter(), options
    if o.against:
        raise UsageError(
            "tcav.against compares concepts, and in context each of them is already learned beside all others",
            "leave out tcav.against, or name another tcav.source",
        )
    phrases, notes = candidates(task, o.concepts or o.prompts, "", "", "--set tcav.concepts=a,b,c")
    pool = pool_of(task, POOL, CHOSEN)
    read = presence(task, pool.samples, phrases)
    layers: dict[str, ContextScores] = {}
    for name, scorer in scorers.items():
        task.progress(len(layers), len(scorers) + 1, f"{len(phrases)} phrases in context at {name}")
        layers[name] = scores_in_context(scorer, phrases, pool, read, o.alpha * (1 / len(scorers)), task.seed)
    concepts = _concepts(phrases, layers, scorers, pool, read, o)
    concepts, map_notes = _with_maps(concepts, layers, task, o)
    order = [phrases.index(c.name) for c in concepts]
    files = {}
    for i, (name, found) in enumerate(layers.items()):
        file = "bars.png" if not i else f"bars-{i + 1}.png"
        title = f"{task.target_name} at {name}"
        files[file] = chart.bars(task.workdir / file, title, found.evidence)
    vectors = {name: found.cavs[order] for name, found in layers.items()}
    units = {name: float(scorer.units.mean()) for name, scorer in scorers.items()}
    files |= cav_files.write(task.workdir, task, concepts, vectors, units, "the other phrases, in context", o.pool)
    task.progress(len(layers) + 1, len(layers) + 1, "done")
    first = next(iter(layers.values())).evidence
    return Explanation(
        method="tcav",
        target=task.target_name,
        importance_is=IMPORTANCE_IS + (f", mean over {', '.join(layers)}" if len(layers) > 1 else ""),
        concepts=tuple(concepts),
        files=files,
        notes=(
            *undefined,
            *one_sample_note(task.samples),
            *summary(first, o.alpha / len(layers)),
            *first.notes,
            *notes,
            *map_notes,
        ),
        cost=Cost(
            seconds=time.perf_counter() - start,
            forwards=len(layers) * (len(task.samples) + len(pool.samples)),
            backwards=len(layers) * len(task.samples),
        ),
    )


def scores_in_context(
    scorer: Scorer, phrases: Sequence[str], pool: Pool, read: Tensor, alpha: float, seed: int
) -> ContextScores:
    """CAVs of all phrases at a layer, and the sensitivity of the class to each with its test.

    With A the activations (n, d), g the mean gradient of the class samples and Z the presence (n, k), standardised, the
    CAVs are the ridge coefficients of A on Z, V = M Z'A / n. So the sensitivities V g = M Z'(A g) / n are the ridge
    coefficients of one number for each sample, its activations along the gradient, on Z. Their standard errors (HC3)
    and one-sided t-tests are those of this regression. The null is that activations along the gradient do not change
    with the phrase, the other phrases held fixed; the gradient is taken as known. A permutation of samples would test
    that they change with no phrase at all.

    Parameters
    ----------
    read
        (n, k) presence of the phrases in the samples of the pool.
    alpha
        Family-wise error rate of the marks on each side.
    seed
        Of the folds by which it is judged how much the phrases explain.

    Raises
    ------
    NotApplicable
        There are too few samples for so many phrases.
    """
    n, k = read.shape
    if n - k - 1 < 10:
        raise NotApplicable(
            f"{n} samples are too few for {k} phrases in context: at least {k + 11} are needed",
            "name fewer phrases with tcav.concepts, or give more samples",
        )
    activations = scorer.activations(pool.samples)
    along = (activations.double() @ scorer.gradients.double().mean(0)).cpu()
    found = ridge.fit(read, along, penalty=PENALTY, seed=seed)
    cavs = ridge.directions(read, activations.cpu(), PENALTY)
    gap = float(along[pool.of_class].mean() - along[~pool.of_class].mean())
    made = estimates(
        phrases,
        found.coefficients.tolist(),
        found.errors.tolist(),
        degrees=n - k - 1,
        ranges=ranges(read).tolist(),
        gap=gap,
        alpha=alpha,
        skews=found.skews.tolist(),
        details=[{"inflation": float(i)} for i in ridge.inflation(read)],
    )
    alike = tuple((phrases[i], phrases[j]) for i, j in ridge.alike(read))
    readings = reading_notes(phrases, read, alike, found.explained, pool.samples.modality)
    evidence = Evidence(
        kind="observed",
        says=SAYS,
        unit=UNIT,
        estimates=made,
        n=n,
        gap=gap,
        explained=found.explained,
        penalty=found.penalty,
        alike=alike,
        notes=(*pool.notes, *(note.replace("the margin's variance", "what the slope sees") for note in readings)),
    )
    return ContextScores(evidence, normalize(cavs, dim=1).float(), cavs.norm(dim=1))


def _concepts(
    phrases: Sequence[str],
    layers: dict[str, ContextScores],
    scorers: dict[str, Scorer],
    pool: Pool,
    read: Tensor,
    o: TcavOptions,
) -> list[Concept]:
    """The concepts, most important first; they show samples of other classes, which are not the class itself."""
    others = (~pool.of_class).nonzero().flatten()
    concepts = []
    for i, phrase in enumerate(phrases):
        evidence: dict[str, float] = {}
        local = []
        for name, found in layers.items():
            local.append(scorers[name].local(found.cavs[i]))
            at = f"@{name}" if len(layers) > 1 else ""
            one = _evidence(found.evidence.estimates[i], local[-1], float(found.lengths[i]), scorers[name])
            evidence |= {f"{key}{at}": value for key, value in one.items()}
        effect = float(torch.stack(local).mean())
        if len(layers) > 1:
            nearest = min((found.evidence.estimates[i] for found in layers.values()), key=lambda e: e.p_holm)
            evidence |= {"effect": effect, "mark": float(nearest.mark), "outside": float(nearest.mark != 0)}
        high = others[torch.argsort(read[others, i], descending=True, stable=True)[: o.shown]].tolist()
        shown = pool.samples.take(high)
        concepts.append(
            Concept(
                name=phrase,
                importance=effect,
                samples=Samples(shown.modality, shown.data, shown.ids),
                words=(phrase,),
                source=torch.full((len(high),), -1),
                directions={name: found.cavs[i] for name, found in layers.items()},
                local=torch.stack(local).mean(0),
                evidence=evidence,
            )
        )
    return sorted(concepts, key=lambda c: -c.importance)


def _evidence(estimate: Estimate, local: Tensor, length: float, scorer: Scorer) -> dict[str, float]:
    """The figures of a phrase at a layer; `effect`, `lo` and `hi` are in the unit of the importance."""
    scale = 1 / (length * float(scorer.units.mean())) if length > 0 else 0.0
    figures = estimate.as_evidence()
    figures |= {key: figures[key] * scale for key in ("effect", "error", "lo", "hi") if key in figures}
    return figures | {"outside": abs(figures["mark"]), "ts": float((local > 0).float().mean())}


def _with_maps(
    concepts: list[Concept], layers: dict[str, ContextScores], task: Task, o: TcavOptions
) -> tuple[list[Concept], tuple[str, ...]]:
    """The concepts, the first `o.maps` of them with maps at the first layer."""
    layer = next(iter(layers))
    made, mapped = with_projections(task.classifier.open(layer), task.samples, concepts, layer, o.maps)
    if mapped or not o.maps or task.samples.modality != "image":
        return made, ()
    return made, (f"there are no maps, because the layer {layer} has no grid of positions",)
