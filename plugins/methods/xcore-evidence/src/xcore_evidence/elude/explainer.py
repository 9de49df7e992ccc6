"""The explainer `elude`: the predictions of a model, as far as named attributes tell them, and what is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xcore.contract import Concept, Cost, Explanation, NotApplicable, Presence, Samples, Task
from xcore.models.codes import rows_of
from xcore.models.presence import ZERO, Projection, assembled, grid_of, open_layer, project
from xcore_evidence.elude.additive import Additive, additive
from xcore_evidence.elude.chart import picture
from xcore_evidence.elude.options import EludeOptions
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import enough_words, evenly, phrases_again, presence
from xcore_evidence.showing import highest

IMPORTANCE_IS = (
    "logits of the class above the mean of all classes, for one standard deviation of an attribute's presence or of a "
    "feature direction"
)
UNNAMED = "feature direction"
"""Name of the concepts that are no attributes, before their number."""


@dataclass(frozen=True, eq=False)
class Given:
    """What the sum is fitted to."""

    samples: Samples
    read: Tensor
    """(n, k) presence of the attributes."""
    features: Tensor | None
    """(n, d) activations of the layer, mean over positions; None for a black box."""


class Elude:
    """The predictions of a model as a sum: named attributes first, then unnamed directions of a layer.

    Attributes get sparse weights for all classes. What they leave of the logits is told by few directions in the layer,
    whose number is the smallest that is right about as often as the best. The concepts are the attributes with a weight
    for the class, and these directions.

    Raises
    ------
    MissingError
        There are no phrases, or no model of the role image-text.
    NotApplicable
        The model predicts one class only, and predictions are fitted; or neither attributes nor features tell the
        class.

    References
    ----------
    After Ramaswamy et al., arXiv:2206.07690; see `xcore_evidence.elude.additive`.
    """

    def __init__(self, options: EludeOptions | None = None) -> None:
        self.options = options or EludeOptions()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        how = "--set elude.phrases=a,b,c"
        phrases, notes = candidates(task, o.phrases, o.vocabulary, "elude.vocabulary", how)
        task.progress(0, 3, f"reading {len(phrases)} attributes")
        samples = evenly(task, o.pool)
        read = presence(task, samples, phrases)
        if samples.modality == "text" and not o.phrases:
            phrases, read, few = enough_words(phrases, read, how)
            notes = (*notes, few)
        logits, features = task.classifier.logits(samples), _features(task, samples)
        task.progress(1, 3, "fitting the sum")
        found = additive(
            read,
            logits,
            features,
            fit=o.fit,
            penalty=o.penalty,
            rank=o.rank,
            most=o.most,
            ridge=o.ridge,
            seed=task.seed,
        )
        task.progress(2, 3, "showing the concepts")
        given = Given(samples, read, features)
        made = [*self._attributes(task, phrases, found, given), *self._directions(task, found, given)]
        if not made:
            raise NotApplicable(
                f"no attribute has a weight for {task.target_name!r}, and no feature direction is needed",
                "name other phrases, or ask for directions by --set elude.rank=1",
            )
        made.sort(key=lambda c: -c.importance)
        passes = 1 if features is None else 2
        explained = 0 if features is None else len(task.samples) * bool(found.rank)
        return Explanation(
            method="elude",
            target=task.target_name,
            importance_is=IMPORTANCE_IS,
            concepts=tuple(made),
            trace=tuple(
                {"directions": r, "share right": share, "variance explained": explained}
                for r, (share, explained) in enumerate(zip(found.shares, found.explained, strict=True))
            ),
            files={"sum.png": picture(task.workdir / "sum.png", task.target_name, made, found)},
            notes=(*self._told(phrases, found, features), *notes),
            cost=Cost(seconds=time.perf_counter() - start, forwards=passes * len(samples) + explained),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """The presence of the attributes, and the projection on the directions, in other samples."""
        concepts = explanation.concepts
        named = [i for i, c in enumerate(concepts) if not c.directions]
        unnamed = [i for i, c in enumerate(concepts) if c.directions]
        strength = torch.full((len(task.samples), len(concepts)), torch.nan)
        units, maps = list[str](), dict[int, Tensor]()
        if named:
            words = phrases_again(explanation, task, named)
            strength[:, named] = words.strength
            units.append(f"attributes: {words.strength_is}")
        if unnamed:
            (layer,) = concepts[unnamed[0]].directions
            made = _projected(task, layer, torch.stack([concepts[i].directions[layer] for i in unnamed]))
            zero = torch.tensor([concepts[i].evidence[ZERO] for i in unnamed])
            strength[:, unnamed] = made.values.mean(1) - zero
            places = made.maps(zero, _size(task.samples))
            maps = {} if places is None else dict(zip(unnamed, places, strict=True))
            units.append("directions: mean projection of the activations, above that of the explained samples")
        return assembled(concepts, strength, "; ".join(units), maps, task.samples)

    def _attributes(self, task: Task, phrases: Sequence[str], found: Additive, given: Given) -> list[Concept]:
        """The attributes that have a weight for the class."""
        weights, own = found.weights[:, task.target], presence(task, task.samples, phrases)
        centre, spread = given.read.mean(0), given.read.std(0, correction=0).clamp_min(1e-12)
        return [
            Concept(
                name=phrases[i],
                importance=float(weights[i]),
                samples=_shown(given.samples, given.read[:, i], self.options.shown),
                words=(phrases[i],),
                source=torch.full((min(self.options.shown, len(given.samples)),), -1),
                local=((own[:, i] - centre[i]) / spread[i] * weights[i]).float(),
                evidence={"weight": float(weights[i]), "classes": float((found.weights[i] != 0).sum())},
            )
            for i in range(len(phrases))
            if weights[i] != 0
        ]

    def _directions(self, task: Task, found: Additive, given: Given) -> list[Concept]:
        """The feature directions, turned so that the class gains along them."""
        if not found.rank or given.features is None:
            return []
        scores = (given.features.double() - found.centre) @ found.u
        signs = torch.where(found.v[task.target] < 0, -1.0, 1.0)
        unit = torch.nn.functional.normalize(found.u * signs, dim=0).T.float()
        made = _projected(task, task.layer, unit)
        maps = made.maps(made.mean, _size(task.samples))
        own = (made.values.mean(1).double() - unit.double() @ found.centre) * found.u.norm(dim=0)
        gains = found.v[task.target].abs()
        return [
            Concept(
                name=f"{UNNAMED} {r + 1}",
                importance=float(gains[r] * scores[:, r].std(correction=0)),
                samples=_shown(given.samples, scores[:, r] * signs[r], self.options.shown),
                source=torch.full((min(self.options.shown, len(given.samples)),), -1),
                directions={task.layer: unit[r]},
                maps=None if maps is None else maps[r],
                local=(own[:, r] * gains[r]).float(),
                evidence={ZERO: float(made.mean[r]), "weight": float(gains[r]), "order": float(r + 1)},
            )
            for r in range(found.rank)
        ]

    def _told(self, phrases: Sequence[str], found: Additive, features: Tensor | None) -> list[str]:
        """What the sum gets right, for the reader of an explanation."""
        used = int((found.weights != 0).any(1).sum())
        parts = [f"{share:.0%} with {r}" for r, share in enumerate(found.shares) if r]
        told = [
            f"{used} of {len(phrases)} attributes alone tell {found.shares[0]:.0%} of the predictions of "
            f"{found.reporting} samples that neither fitted nor chose (the commonest one: {found.commonest:.0%}), and "
            f"{found.explained[0]:.0%} of the variance of their logits",
        ]
        if parts:
            told.append(f"together with unnamed directions: {', '.join(parts)}; {found.rank} are kept")
        if features is None:
            told.append("the classifier is a black box, so that attributes alone are fitted")
        if not found.converged:
            told.append("the lasso ended before it converged, so that its weights are approximate")
        return told


def _features(task: Task, samples: Samples) -> Tensor | None:
    """(n, d) activations of the layer, mean over its positions; None if the classifier gives none."""
    if "activations" not in task.classifier.can or not task.layer:
        return None
    probe = task.classifier.open(task.layer)
    a = probe.activations(samples)
    grid = grid_of(a, probe.layout, samples)
    return rows_of(a, probe.layout)[:, 0 if grid is None else grid[0] :].mean(1).cpu()


def _projected(task: Task, layer: str, directions: Tensor) -> Projection:
    """The projections of the activations of the task's samples on directions (k, channels) of unit length."""
    made = project(open_layer(task.classifier, layer), task.samples, directions)
    if made is None:
        raise NotApplicable(
            f"the layer {layer!r} of this classifier has another width than {directions.shape[1]}",
            "apply the explanation to the network that was explained",
        )
    return made


def _size(samples: Samples) -> tuple[int, int]:
    if samples.modality != "image":
        return (0, 0)
    return (samples.images.shape[-2], samples.images.shape[-1])


def _shown(samples: Samples, values: Tensor, n: int) -> Samples:
    chosen = samples.take(highest(values, n))
    return Samples(chosen.modality, chosen.data, chosen.ids)
