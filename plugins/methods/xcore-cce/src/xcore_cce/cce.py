"""CCE (Stein et al., ICML 2024): attributes as subspaces, their values as concepts.

The letters are the paper's:

- z: the embedding of an image, its activations averaged over positions, less the mean over images of all classes.
- c: the concepts, unit vectors; those of one subspace are the values of one attribute.
- lambda: how much of a concept is in an image, by non-negative least squares on the concepts that it has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from xcore_craft.activations import SplitClassifier, split_at, token_note
from xcore_craft.apply import find_atoms
from xcore_craft.every_class import images_of_every_class
from xcore_lens.layer import find_layer, penultimate_layer

from xcore.contract import (
    Classifier,
    Concept,
    Cost,
    Dictionary,
    Explanation,
    NotApplicable,
    Presence,
    Samples,
    Task,
    UsageError,
)
from xcore.models.codes import rows_of
from xcore.models.presence import assembled
from xcore_cce.options import Options
from xcore_cce.subspaces import Subspace, compose, effects, find_subspaces, present, search_of

ARTIFACT, FILE = "cce", "subspaces.safetensors"
PARTS = ("concepts", "filters", "offsets")
"""Tensors of a `Subspace`."""
SHOWN = {"layer", "exemplars", "crop", "stride"}
"""Options that change nothing of the subspaces."""
IMPORTANCE_IS = "mean fall of the class logit over the class images when the concept is taken out of those that have it"
STRENGTH_IS = "mean over positions of the activation along the concept, above that of images of all classes"
ZERO = "zero"
"""Statistic of a concept: the product of its direction and the mean activation of images of all classes."""


@dataclass(frozen=True, eq=False)
class Found:
    """What all classes of a network share."""

    subspaces: list[Subspace]
    mean: Tensor
    """(d,) mean embedding of the images of all classes."""
    residual: float
    """Compositionality score: the mean residual, as a share of the mean length of the embeddings."""
    images: int

    @property
    def concepts(self) -> Tensor:
        """(concepts, d) of all subspaces."""
        return torch.cat([s.concepts for s in self.subspaces])


class Cce:
    """Concepts that compose: the embedding of an image is near a sum of one concept of each attribute.

    In the embeddings of images of all classes, the subspace is searched in which they fall into clusters best; the
    centres of these are concepts. Then all embeddings are projected on the complement of that subspace, and the next
    one is searched. The importance of a concept is what the class logit loses when it is taken out.

    Raises
    ------
    NotApplicable
        The classifier gives no activations, there are images of only one class, or nothing falls into clusters.

    References
    ----------
    Stein et al., Towards Compositionality in Concept Learning, ICML 2024, arXiv:2406.18534. They rank no concepts.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def default_layer(self, classifier: Classifier, samples: Samples) -> str:
        """The layer of the concepts unless the user names another."""
        return self.options.layer or penultimate_layer(classifier, samples.take(range(min(4, len(samples)))))[0]

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task by the attributes of the images of all classes."""
        start, o, images = time.perf_counter(), self.options, task.samples
        if "activations" not in task.classifier.can:
            raise NotApplicable("cce needs activations, and this classifier gives none")
        if o.k == 1:
            raise UsageError("an attribute has two concepts at least", "set cce.k=0 to let the clusters say how many")
        layer, reason = find_layer(task, o.layer)
        split = split_at(task.classifier, layer, images)
        found, shared_seconds = self._shared(task, layer, split)
        task.progress(1, 2, f"found {len(found.subspaces)} attributes at {layer}")
        members, drops = _drops(task, split, found)
        zero = found.concepts.float() @ found.mean
        strength, maps = find_atoms(_dictionary(layer, found.concepts, zero), task.classifier, images, o.crop, o.stride)
        concepts = self._concepts(images, layer, found, members, drops, strength, maps)
        task.progress(2, 2, "done")
        return Explanation(
            method="cce",
            target=task.target_name,
            importance_is=IMPORTANCE_IS,
            concepts=tuple(concepts),
            trace=tuple(
                {"step": "subspace", "number": i, "silhouette": s.silhouette, "concepts": len(s.concepts)}
                for i, s in enumerate(found.subspaces, start=1)
            ),
            notes=tuple(self._notes(layer, reason, split, found)),
            cost=Cost(
                seconds=time.perf_counter() - start - shared_seconds,
                shared_seconds=shared_seconds,
                forwards=len(images) + found.images,
            ),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Find the concepts in other images, by the projection of the activations there."""
        concepts, o = explanation.concepts, self.options
        if not concepts or any(ZERO not in c.evidence or len(c.directions) != 1 for c in concepts):
            raise UsageError("the concepts of this explanation have no directions, so it is none of cce")
        layer = next(iter(concepts[0].directions))
        directions = torch.stack([c.directions[layer] for c in concepts])
        zero = torch.tensor([c.evidence[ZERO] for c in concepts])
        made = _dictionary(layer, directions, zero)
        strength, maps = find_atoms(made, task.classifier, task.samples, o.crop, o.stride)
        return assembled(concepts, strength, STRENGTH_IS, dict(enumerate(maps)), task.samples)

    def _shared(self, task: Task, layer: str, split: SplitClassifier) -> tuple[Found, float]:
        """The subspaces, found once for all classes, and the seconds that it took to find or to read them."""
        start, o = time.perf_counter(), self.options
        samples, _ = images_of_every_class(task.data, o.images, task.seed, "cce")
        rows = rows_of(split.probe.activations(samples), split.probe.layout)
        embedded = split.read(rows).mean(1).cpu()
        key = {
            "layer": layer,
            "embeddings": sha256(embedded.contiguous().numpy().tobytes()).hexdigest(),
            "options": o.model_dump(exclude=SHOWN),
            "seed": task.seed,
        }

        def make(directory: Path) -> None:
            mean = embedded.mean(0)
            z = embedded - mean
            ks = range(o.k, o.k + 1) if o.k else range(2, o.most + 1)
            subspaces = find_subspaces(z, o.subspaces, ks, search_of(o), slack=o.slack, least=o.least, seed=task.seed)
            if not subspaces:
                raise NotApplicable(
                    f"the embeddings of {len(z)} images at layer {layer!r} fall into no clusters whose silhouette is "
                    f"{o.least:g} or more",
                    "lower cce.least, give more images by cce.images, or name another layer by cce.layer",
                )
            if o.concepts == "joint":
                subspaces = effects(z, subspaces)
            concepts = torch.cat([s.concepts for s in subspaces])
            _, residuals = compose(z, concepts, present(subspaces, z))
            kept = {"mean": mean, "residual": residuals.mean()[None] / z.double().norm(dim=1).mean()}
            for i, subspace in enumerate(subspaces):
                kept |= {f"{i}.{part}": getattr(subspace, part).contiguous() for part in PARTS}
                kept[f"{i}.silhouette"] = torch.tensor([subspace.silhouette], dtype=torch.float64)
            save_file(kept, directory / FILE)

        kept = load_file(task.artifact(ARTIFACT, key, make) / FILE)
        subspaces = [
            Subspace(**{part: kept[f"{i}.{part}"] for part in PARTS}, silhouette=float(kept[f"{i}.silhouette"]))
            for i in range(sum(name.endswith(".concepts") for name in kept))
        ]
        return Found(subspaces, kept["mean"], float(kept["residual"]), len(samples)), time.perf_counter() - start

    def _concepts(
        self, images: Samples, layer: str, found: Found, members: Tensor, drops: Tensor, strength: Tensor, maps: Tensor
    ) -> list[Concept]:
        """The concepts, the most important first."""
        importance, concepts = drops.mean(0), found.concepts.float()
        places = [(i, j) for i, s in enumerate(found.subspaces) for j in range(len(s.concepts))]
        made = []
        for c in sorted(range(len(places)), key=lambda c: (-float(importance[c]), c)):
            i, j = places[c]
            own = members[:, c].nonzero().flatten()
            shown = own[strength[own, c].argsort(descending=True, stable=True)][: self.options.exemplars]
            made.append(
                Concept(
                    f"attribute {i + 1} value {j + 1}",
                    float(importance[c]),
                    images.take(shown.tolist()) if len(shown) else None,
                    source=shown if len(shown) else None,
                    directions={layer: concepts[c]},
                    maps=maps[c],
                    local=drops[:, c].contiguous(),
                    evidence={
                        "attribute": float(i + 1),
                        "silhouette": found.subspaces[i].silhouette,
                        "share": float(members[:, c].float().mean()),
                        "strength_mean": float(strength[:, c].mean()),
                        ZERO: float(concepts[c] @ found.mean),
                    },
                )
            )
        return made

    def _notes(self, layer: str, reason: str, split: SplitClassifier, found: Found) -> Sequence[str]:
        o, subspaces = self.options, found.subspaces
        notes = []
        if reason:
            notes.append(f"the concepts are at layer {layer!r}, {reason} (cce.layer can name another)")
        notes.append(
            f"{len(subspaces)} attributes with {', '.join(str(len(s.concepts)) for s in subspaces)} values in the "
            f"embeddings of {found.images} images of all classes; composed of one concept of each, an embedding is "
            f"missed by {found.residual:.2f} of its length; silhouettes "
            f"{', '.join(f'{s.silhouette:.2f}' for s in subspaces)} (1 = the concepts of the attribute are told apart "
            "without fail, .6 to .7 = as in noise)"
        )
        if len(subspaces) < o.subspaces:
            notes.append(
                f"fewer than {o.subspaces} attributes: what is left falls into no clusters whose silhouette is "
                f"{o.least:g} or more"
            )
        if said := token_note(split):
            notes.append(f"{layer}: {said}")
        return notes


@torch.no_grad()
def _drops(task: Task, split: SplitClassifier, found: Found) -> tuple[Tensor, Tensor]:
    """(N, concepts) bool, the concepts of each image; (N, concepts), what its class logit loses without the concept.

    A concept's amount lambda in the mean over positions is taken from every position.
    """
    images = task.samples
    rows = rows_of(split.probe.activations(images), split.probe.layout)
    read = split.read(rows)
    z = read.mean(1).cpu() - found.mean
    members, concepts = present(found.subspaces, z), found.concepts
    amounts = compose(z, concepts, members)[0].float()
    before = split.head(rows, images)[:, task.target].cpu()
    drops = torch.zeros(members.shape)
    for i, concept in enumerate(concepts.to(rows)):
        own = members[:, i].nonzero().flatten()
        if len(own):
            changed = rows[own].clone()
            changed[:, : read.shape[1]] -= amounts[own, i, None, None].to(rows) * concept
            drops[own, i] = before[own] - split.head(changed, images.take(own.tolist()))[:, task.target].cpu()
    return members, drops


def _dictionary(layer: str, concepts: Tensor, zero: Tensor) -> Dictionary:
    """A dictionary by which `find_atoms` gives the product of an activation with each concept, above `zero`."""
    directions = concepts.float()
    state = {"encoder": directions.T.contiguous(), "bias": -zero}
    return Dictionary(layer, directions, torch.zeros(0, 0, 0), "linear", state)
