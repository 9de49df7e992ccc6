"""ConceptSHAP (Yeh et al., NeurIPS 2020): learn concepts that suffice for the decisions, and share out how far they do.

The letters are the paper's, with the classifier split at a layer into f = h(phi(x)):

- c: the concepts, (k, C): one direction of length 1 in the layer for each.
- v(x): the scores of the concepts at each position of an image, (P, k).
- g: recovers activations from the scores, so that h(g(v(x))) decides like f.
- eta: the completeness of a set of concepts: the accuracy of h(g(v(x))) between that without concepts and that of f.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor
from xcore_craft.activations import SplitClassifier, read_activations, split_at, token_note
from xcore_craft.crops import crop_grid, exemplar_samples, top_crops
from xcore_lens.layer import find_layer, maps_and_crop_codes, penultimate_layer

from xcore.contract import (
    Classifier,
    Concept,
    Cost,
    Explanation,
    NotApplicable,
    Presence,
    Samples,
    Task,
    UsageError,
)
from xcore.models.presence import assembled, read_layer
from xcore_conceptshap.options import Options
from xcore_conceptshap.scores import kept_products
from xcore_conceptshap.shared import Setting, Valued, setting, shared

MEANING = {
    "class": "the variance of the probability of the class that is recovered from concepts",
    "recall": "the images of the class that are recognised from concepts, in units of the accuracy over all classes",
    "all": "the accuracy over all classes that is recovered from concepts",
}
SAME = 1e-12
"""Variance of a probability below which it is the same for all images."""
STRENGTH_IS = "mean over positions of the activation along the concept, where it is near enough to it"


class ConceptShap:
    """Concepts from which all decisions of a network can be recovered, ranked by their shares in that.

    Directions in a layer are learned so that the network above it, given nothing but the scores of these concepts at
    each position, decides as it did. How far it does is the completeness of the concepts, and the Shapley value of a
    concept is its share. The concepts are learned once for all classes.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients or activations, there are images of only one class, or the network says the
        same of all of them.

    References
    ----------
    Yeh et al., On Completeness-aware Concept-Based Explanations in Deep Neural Networks, NeurIPS 2020,
    arXiv:1910.07969.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def default_layer(self, classifier: Classifier, samples: Samples) -> str:
        """The layer of the concepts unless the user names another."""
        return self.options.layer or penultimate_layer(classifier, samples.take(range(min(4, len(samples)))))[0]

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task by the concepts of the network."""
        start, o, images = time.perf_counter(), self.options, task.samples
        if missing := {"activations", "gradients"} - task.classifier.can:
            raise NotApplicable(f"conceptshap needs {' and '.join(sorted(missing))}, and this classifier gives none")
        layer, reason = find_layer(task, o.layer)
        given = setting(task, layer, o)
        check(given, task, o)
        valued, shared_seconds = shared(task, layer, o, given)
        concepts, crops, split = self._concepts(task, layer, valued, given)
        return Explanation(
            method="conceptshap",
            target=task.target_name,
            importance_is=f"Shapley value: share of the concept in {MEANING[o.importance]}",
            concepts=tuple(concepts),
            notes=tuple(self._notes(task, layer, reason, split, valued, given)),
            cost=Cost(
                seconds=time.perf_counter() - start - shared_seconds,
                shared_seconds=shared_seconds,
                forwards=len(images) + crops + len(given.train) + len(given.measured),
            ),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Find the concepts in other images, by their products with the activations there."""
        concepts = explanation.concepts
        if not concepts or any(len(c.directions) != 1 for c in concepts):
            raise UsageError("the concepts of this explanation have no directions, so it is none of conceptshap")
        layer = next(iter(concepts[0].directions))
        directions = torch.stack([c.directions[layer] for c in concepts])
        read_layer(task.classifier, layer, directions.shape[1], task.samples)
        strength, maps, *_ = self._found(task, layer, directions)
        return assembled(concepts, strength, STRENGTH_IS, dict(enumerate(maps)), task.samples)

    def _found(self, task: Task, layer: str, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, SplitClassifier]:
        """Strengths (N, k), maps (k, N, H, W), strengths in crops (N, crops, k), and the classifier split there."""
        o, images = self.options, task.samples
        grid = crop_grid((images.images.shape[-2], images.images.shape[-1]), o.crop, o.stride)
        split = split_at(task.classifier, layer, images)
        corners = [] if split.positions(grid.size) else grid.all_crops(len(images))
        split, rows, crops = read_activations(task.classifier, split, layer, images, grid, corners, "semi-nmf")
        of_images = kept_products(rows, directions, o.beta)
        of_crops = kept_products(crops.reshape(len(images), -1, rows.shape[2]), directions, o.beta) if corners else None
        maps, crop_codes = maps_and_crop_codes(split, of_images, of_crops, grid)
        return split.read(of_images).mean(1), maps, crop_codes, split

    def _concepts(
        self, task: Task, layer: str, valued: Valued, given: Setting
    ) -> tuple[list[Concept], int, SplitClassifier]:
        """The concepts, the most important first; and how many crops passed through the network."""
        o, images = self.options, task.samples
        grid = crop_grid((images.images.shape[-2], images.images.shape[-1]), o.crop, o.stride)
        strength, maps, crop_codes, split = self._found(task, layer, valued.concepts)
        corners = grid.all_crops(len(images))
        game = valued.game(o.importance, task.target, given.own)
        shares = valued.coalitions.shapley(game.numpy())
        of_all = valued.game("all", task.target, given.own)
        over_all = valued.coalitions.shapley(of_all.numpy()) if of_all.isfinite().all() else None
        made = []
        for i in sorted(range(len(shares)), key=lambda i: (-shares[i], i)):
            exemplars = top_crops(crop_codes[:, :, i].flatten().numpy(), corners, o.exemplars, o.per_image)
            evidence = {
                **({} if over_all is None else {"shap_all": float(over_all[i])}),
                "coherence": float(valued.coherence[i]),
                "strength_mean": float(strength[:, i].mean()),
                **_beside(valued, game, i),
            }
            made.append(
                Concept(
                    f"concept {i + 1}",
                    float(shares[i]),
                    exemplar_samples(images, grid, exemplars),
                    render=grid.render,
                    source=torch.tensor([image for image, _ in exemplars]) if exemplars else None,
                    directions={layer: valued.concepts[i]},
                    maps=maps[i],
                    evidence=evidence,
                )
            )
        return made, 0 if split.positions(grid.size) else len(corners), split

    def _notes(
        self, task: Task, layer: str, reason: str, split: SplitClassifier, valued: Valued, given: Setting
    ) -> Sequence[str]:
        o, k, n = self.options, len(valued.concepts), len(given.measured)
        what = "the network's decisions" if o.judge == "predictions" else "the labels"
        none, whole = float(valued.values[0, 0]), float(valued.values[-1, 0])
        etas = [float(valued.game(kind, task.target, given.own)[-1]) for kind in ("class", "all")]
        chosen = f"the concepts are at layer {layer!r}, {reason} (conceptshap.layer can name another)"
        notes = [chosen] if reason else []
        notes.append(
            f"from the {k} concepts {whole:.0%} of {what} about {n} images of all classes are recovered, from none "
            f"{none:.0%}, and the network itself has {float(given.own[0]):.0%}"
            + (f": completeness {etas[1]:.2f}" if isfinite(etas[1]) else "")
            + f"; of the variance of the probability of {task.target_name} they recover {etas[0]:.0%}"
        )
        if any(isfinite(eta) and not 0 <= eta <= 1 for eta in etas):
            notes.append(
                "a completeness below 0 or above 1 is no error: the recovery was learned on other images than those "
                "that it is measured on, and it may meet labels that the network misses"
            )
        if valued.left_out:
            notes.append(
                f"{valued.left_out} of {o.k} concepts came out like another one (cosine above {o.duplicate:g}) and are "
                "left out"
            )
        if valued.coalitions.weights is not None:
            notes.append(
                f"the Shapley values are estimated from {len(valued.values)} of {2**k} sets of concepts; up to 10 "
                "concepts they are exact"
            )
        if said := token_note(split):
            notes.append(f"{layer}: {said}")
        return notes


def check(given: Setting, task: Task, o: Options) -> None:
    """Refuse images about which the network says the same, as nothing can be recovered from them.

    Raises
    ------
    NotApplicable
        The network does no better on the images than without looking at them.
    """
    none = given.head.knows_nothing(given.train, given.measured)
    of_class = 1 + (len(none) - 1) // 2 + task.target
    hint = "raise conceptshap.images, or give data with more classes by --data"
    if not float(none[of_class] - given.own[of_class]) > SAME:
        raise NotApplicable(
            f"the probability of {task.target_name} is the same for all {len(given.measured)} images on which "
            "completeness is measured"
            if o.judge == "predictions"
            else f"the network tells {task.target_name} from other labels no better than by chance",
            hint,
        )
    if o.importance != "class" and not (
        float(given.own[0] - none[0]) > 0 and bool(given.own[1 + task.target].isfinite())
    ):
        raise NotApplicable(
            f"the network decides alike about all images on which completeness is measured, or for {task.target_name} "
            "about none",
            f"set conceptshap.importance=class, or {hint}",
        )


def _beside(valued: Valued, game: Tensor, i: int) -> dict[str, float]:
    """What the concept is worth alone, and what is lost without it, where these sets are valued."""
    members = valued.coalitions.members
    alone = valued.coalitions.row(members[-1] & (torch.arange(members.shape[1]) == i).numpy())
    others = valued.coalitions.row(members[-1] & (torch.arange(members.shape[1]) != i).numpy())
    found = {} if alone is None else {"alone": float(game[alone])}
    return found if others is None else {**found, "lost_without": float(game[-1] - game[others])}
