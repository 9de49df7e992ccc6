"""CRAFT (Fel et al., CVPR 2023): crop, factorise, code, and measure importance.

The letters are the paper's, with the classifier split at a layer into f = h(g(x)):

- A: activations g(x) of the crops, averaged over positions, (n, C); of the images at all positions, (N, P, C).
- W: the concept bank, (k, C): one atom (direction in the layer) for each concept.
- U: the codes, A ~ U W: how much of each concept is in a crop, (n, k), or at each position of an image, (N, P, k).
- I: the importances, (k,): total Sobol indices of the class logit, when the codes of a concept are masked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_evidence.naming import names
from xcore_evidence.phrases import candidates

from xcore.contract import Concept, Cost, Dictionary, Explanation, NotApplicable, Presence, Task, UsageError
from xcore.models.presence import CODE_IS, assembled, check_activations
from xcore_craft.activations import (
    SplitClassifier,
    read_activations,
    split_at,
    token_note,
    treatment_note,
    usable_activations,
)
from xcore_craft.apply import find_atoms
from xcore_craft.crops import (
    Crop,
    CropGrid,
    crop_grid,
    exemplar_samples,
    maps_from_crops,
    maps_from_positions,
    top_crops,
)
from xcore_craft.factorise import Factors, factorise, factorise_signed, most_concepts, nnls
from xcore_craft.importance import Importance, sobol_importance
from xcore_craft.options import Options
from xcore_craft.sobol import designs

IMPORTANCE_IS = "total Sobol index of the class logit"
QUANTILE = 0.9
"""Sub-concepts are found in the crops whose code of the concept is at or above this quantile."""


@dataclass(frozen=True)
class CropSet:
    """Crops that are factorised together: all crops of the class, or those that show one concept."""

    concept: str
    """Name of the concept that is split into sub-concepts; "" for all crops of the class."""
    layer: str
    crops: list[Crop]
    k: int
    """Number of concepts to find."""
    levels_left: int
    """How many times the concepts found here are split again."""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The concepts found in a set of crops."""

    crop_set: CropSet
    split: SplitClassifier
    factors: Factors
    dictionary: Dictionary
    maps: Tensor
    """(k, N, H, W)"""
    importance: Importance

    @property
    def mean_importance(self) -> NDArray[np.float64]:
        """I, (k,): the plain mean over images."""
        return np.asarray(self.importance.total.mean(axis=0))

    @property
    def order(self) -> list[int]:
        """Indices of the atoms, the most important first; of equal ones the first."""
        return [int(i) for i in np.argsort(-self.mean_importance, kind="stable")]


class Craft:
    """Concepts of a class, found in crops of its images.

    The activations of all crops are factorised into non-negative codes and atoms, A ~ U W. Where some activations are
    negative, the atoms may be negative too (semi-NMF). Then the images are coded at each position by non-negative least
    squares for the same W. The importance of a concept is the total Sobol index of the class logit when its codes in an
    image are multiplied by one uniform mask, averaged over images.

    Raises
    ------
    UsageError
        If activations are negative and the options refuse them, if more concepts are asked for than there are crops or
        channels, if crops are larger than the image, or if the classifier has no such layer.
    NotApplicable
        If the classifier gives no access to its activations.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task by concepts found in its samples."""
        start, o, images = time.perf_counter(), self.options, task.samples
        self._check(task)
        grid = crop_grid((images.images.shape[-2], images.images.shape[-1]), o.crop, o.stride)
        progress = _Progress(task, sum(o.refine**level for level in range(o.recurse + 1)) * (len(images) + 1))
        layer = task.layer or task.classifier.default_layer
        pending = [CropSet("", layer, grid.all_crops(len(images)), o.k, o.recurse)]
        dictionaries, concepts, trace, notes, forwards = list[Dictionary](), list[Named](), [], list[str](), 0
        while pending:
            crop_set = pending.pop(0)
            name = f"{crop_set.concept or task.target_name} at {crop_set.layer}"

            # Crop: A of the images, and of the crops.
            split, A, A_crops = read_activations(
                task.classifier,
                split_at(task.classifier, crop_set.layer, images),
                crop_set.layer,
                images,
                grid,
                crop_set.crops,
                o.negative,
            )
            forwards += len(images) + len(crop_set.crops)

            # Factorise: A ~ U W of the crops.
            rows = A_crops if crop_set.concept else with_images(split, A, A_crops, grid)
            crop_set = replace(crop_set, k=self._number_of_concepts(crop_set.k, rows))
            find = factorise_signed if split.signed else factorise
            factors = find(rows.double().numpy(), crop_set.k, task.seed, o.max_iter, o.tol)
            factors = replace(factors, codes=factors.codes[: len(A_crops)])
            progress.step(f"{name}: found {crop_set.k} concepts in {len(crop_set.crops)} crops")

            # Code: U of the images at each position, for the same W.
            W = torch.from_numpy(factors.atoms).float()
            U = code(A, W)

            # Importance: I of each concept.
            importance = sobol_importance(
                split,
                A,
                U,
                W,
                images,
                task.target,
                n=o.designs,
                seed=task.seed,
                sampler=o.sampler,
                estimator=o.estimator,
                done=partial(progress.image, name),
            )

            dictionaries.append(Dictionary(crop_set.layer, W, U, "nnls", split.state))
            maps = concept_maps(split, U, code(A_crops[:, None], W)[:, 0], grid, crop_set.crops)
            found = Decomposition(crop_set, split, factors, dictionaries[-1], maps, importance)
            error = relative_error(split.read(A), split.read(U), W)
            trace.append(_trace_entry(task, found, error))
            notes += self._notes(name, split, found, error)
            concepts += self._concepts(task, found, grid)

            # Recursion: the most important concepts are split next, at an earlier layer.
            pending[:0] = self._sub_concept_sets(task, found, notes)
        progress.finish()
        explanation = Explanation(
            method="craft",
            target=task.target_name,
            importance_is=IMPORTANCE_IS,
            concepts=_ranked(concepts),
            dictionary=dictionaries[0],
            trace=tuple(trace),
            notes=tuple(notes),
            cost=Cost(seconds=time.perf_counter() - start, forwards=forwards),
        )
        if o.names:
            explanation = self._named(explanation, task)
        return replace(explanation, cost=replace(explanation.cost, seconds=time.perf_counter() - start))

    def _named(self, explanation: Explanation, task: Task) -> Explanation:
        """The explanation with words for each concept, by regression in context, and a note of what they are."""
        o = self.options
        phrases, notes = candidates(task, (), o.vocabulary, "craft.vocabulary", "--set craft.vocabulary=FILE")
        found = names(task, lambda x: self.apply(explanation, replace(task, samples=x)).strength, phrases, most=o.names)
        concepts = tuple(
            replace(
                c,
                words=tuple(e.phrase for e in name.phrases),
                evidence={**c.evidence, "named_share": name.explained}
                | ({"name_t": name.phrases[0].t, "name_effect": name.phrases[0].effect} if name.phrases else {}),
            )
            for c, name in zip(explanation.concepts, found, strict=True)
        )
        without = [c.name for c in concepts if not c.words]
        said = (
            f"the words of a concept are phrases whose presence goes with its strength in images of all classes, given "
            f"the other {len(phrases) - 1} phrases"
        )
        missing = (f"no phrase goes with {', '.join(without)}",) if without else ()
        return replace(explanation, concepts=concepts, notes=(*explanation.notes, said, *missing, *notes))

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Find the concepts in other images, by their codes for the same concept bank.

        Sub-concepts are coded together with those that the same concept is split into, at their own layer.

        Parameters
        ----------
        explanation
            An explanation by this method.
        task
            With the other images as its samples.
        """
        check_activations(task.classifier)
        concepts, o = explanation.concepts, self.options
        strength, maps = torch.full((len(task.samples), len(concepts)), torch.nan), dict[int, Tensor]()
        for own, dictionary in _concept_banks(explanation, o.negative == "relu"):
            found, places = find_atoms(dictionary, task.classifier, task.samples, o.crop, o.stride)
            for column, i in enumerate(own):
                strength[:, i], maps[i] = found[:, column], places[column]
        return assembled(concepts, strength, CODE_IS, maps, task.samples)

    def _check(self, task: Task) -> None:
        """Refuse, before any work is done, what cannot be explained."""
        if "activations" not in task.classifier.can:
            raise NotApplicable("craft needs activations, and this classifier gives no access to them")
        if not len(task.samples):
            raise UsageError(f"there are no images of class {task.target_name!r} to explain")
        designs(1, self.options.designs, task.seed, self.options.sampler)  # refuses a wrong number of points

    def _number_of_concepts(self, wanted: int, rows: Tensor) -> int:
        """The number of concepts; the default is lowered where the rows or the channels are too few for it."""
        return wanted if "k" in self.options.model_fields_set else min(wanted, most_concepts(*rows.shape))

    def _sub_concept_sets(self, task: Task, found: Decomposition, notes: list[str]) -> list[CropSet]:
        """The crops of the most important concepts, to be factorised at an earlier layer; notes say what is left out.

        Source: Fel et al. 2023 (CRAFT).
        """
        o, crop_set, sets = self.options, found.crop_set, list[CropSet]()
        if not crop_set.levels_left:
            return sets
        top = not crop_set.concept
        layer = o.sub_layer if o.sub_layer and top else self._earlier_layer(task, crop_set.layer)
        if layer is None:
            notes.append(
                f"found no sub-concepts, because no layer before {crop_set.layer!r} is suitable "
                "(craft.sub_layer can name one)"
            )
            return sets
        for rank, atom in enumerate(found.order[: o.refine], start=1):
            name, codes = concept_name(crop_set.concept, rank), found.factors.codes[:, atom]
            strong = np.flatnonzero((codes >= np.quantile(codes, QUANTILE)) & (codes > 0))
            k = min(o.sub_k, len(strong) // 2)
            if k < 2:
                notes.append(
                    f"{name} has no sub-concepts: its code is at or above the 90th percentile in {len(strong)} crops, "
                    "which are too few to factorise"
                )
                continue
            crops = [crop_set.crops[i] for i in strong]
            sets.append(CropSet(name, layer, crops, k, crop_set.levels_left - 1))
        return sets

    def _earlier_layer(self, task: Task, layer: str) -> str | None:
        """The last suitable layer before this one that is equally deep in the module tree; None if there is none.

        Suitable are layers with other activations than this one, and without negative ones if the options refuse them
        or this layer has none.
        """
        layers = list(task.classifier.layers)
        few = task.samples.take(range(min(4, len(task.samples))))
        here = task.classifier.open(layer).activations(few)
        for name in reversed(layers[: layers.index(layer)] if layer in layers else []):
            if name.count(".") == layer.count("."):
                a = usable_activations(task.classifier, name, few)
                if a is None or (a.shape == here.shape and torch.equal(a, here)):
                    continue
                if float(a.min()) >= 0 or (self.options.negative != "error" and float(here.min()) < 0):
                    return name
        return None

    def _notes(self, name: str, split: SplitClassifier, found: Decomposition, images_error: float) -> Iterator[str]:
        """What a reader must know about the quality of one decomposition."""
        importance, factors, k = found.importance, found.factors, found.crop_set.k
        general = (treatment_note(split, self.options.negative, "craft"), token_note(split))
        yield from (f"{name}: {note}" for note in general if note)
        if not found.crop_set.concept and k < self.options.k:
            yield (
                f"{name}: {k} concepts instead of {self.options.k} are looked for, because there are only "
                f"{len(found.crop_set.crops)} crops with {factors.atoms.shape[1]} channels (craft.k sets the number)"
            )
        share = f"{importance.explained:.0%}" if np.isfinite(importance.explained) else "nothing"
        yield (
            f"{name}: activations rebuilt from the {k} concepts give the same top class in "
            f"{importance.agrees.mean():.0%} of the images, and {share} of the class logit; the relative error is "
            f"{factors.error:.2f} on crops and {images_error:.2f} on images"
        )
        constant = int((importance.variance == 0).sum())
        if constant:
            yield (
                f"{name}: in {constant} of {len(importance.variance)} images no concept changes the class logit, so "
                "all concepts have importance 0 there"
            )
        unused = int((factors.codes.max(axis=0) == 0).sum())
        if unused:
            yield f"{name}: {unused} of the {k} concepts occur in no crop (a smaller craft.k is enough)"
        if not factors.converged:
            yield (
                f"{name}: the factorisation had not converged after {factors.iterations} iterations "
                "(craft.max_iter sets the limit)"
            )

    def _concepts(self, task: Task, found: Decomposition, grid: CropGrid) -> Iterator[Named]:
        """The concepts of one decomposition, the most important first."""
        o, importance, dictionary, crop_set = self.options, found.importance, found.dictionary, found.crop_set
        mean, weighted = found.mean_importance, importance.weighted
        explained = float(np.mean(importance.coded - importance.empty))
        varies = importance.variance > 0
        leading = importance.total[varies].argmax(axis=1)
        for rank, atom in enumerate(found.order, start=1):
            exemplars = top_crops(found.factors.codes[:, atom], crop_set.crops, o.exemplars, o.per_image)
            evidence = {
                "importance_weighted": float(weighted[atom]),
                "importance_sd": float(importance.total[:, atom].std()),
                "logit_drop": float(importance.drop[:, atom].mean()),
                "code_mean": float(found.split.read(dictionary.codes)[:, :, atom].mean()),
                "prevalence": float((leading == atom).mean()) if varies.any() else 0.0,
            }
            if explained:
                evidence["logit_share"] = float(importance.drop[:, atom].mean()) / explained
            concept = Concept(
                name=concept_name(crop_set.concept, rank),
                importance=float(mean[atom]),
                samples=exemplar_samples(task.samples, grid, exemplars),
                render=grid.render,
                source=torch.tensor([image for image, _ in exemplars]) if exemplars else None,
                directions={dictionary.layer: dictionary.atoms[atom]},
                atom=None if crop_set.concept else atom,
                maps=found.maps[atom],
                local=torch.from_numpy(importance.total[:, atom]).float(),
                evidence=evidence,
            )
            yield concept, crop_set.concept


Named = tuple[Concept, str]
"""A concept, and the name of the concept that it is a part of ("" if of none)."""


class _Progress:
    """Counts the steps of an explanation and reports them."""

    def __init__(self, task: Task, total: int) -> None:
        self.task, self.total, self.done = task, total, 0

    def step(self, note: str) -> None:
        self.done += 1
        self.task.progress(self.done, self.total, note)

    def image(self, name: str, i: int) -> None:
        self.step(f"{name}: importance in image {i + 1} of {len(self.task.samples)}")

    def finish(self) -> None:
        self.task.progress(self.total, self.total, "done")


def concept_name(parent: str, rank: int) -> str:
    """C1, C2, ... for concepts of the class; C1.1, C1.2, ... for those that C1 is split into."""
    return f"{parent}.{rank}" if parent else f"C{rank}"


def with_images(split: SplitClassifier, a: Tensor, of_crops: Tensor, grid: CropGrid) -> Tensor:
    """The rows that are factorised: those of the crops and, where the layer has no positions, of the whole images.

    At a position, an image and its crops are alike: both show a part of it. Without positions they are not, and the
    atoms of crops alone do not fit the images whose logits they are to explain.
    """
    return of_crops if split.positions(grid.size) else torch.cat([of_crops, split.read(a).mean(1)])


def code(a: Tensor, atoms: Tensor) -> Tensor:
    """U, (N, P, k): the codes of activations A (N, P, C) for a fixed concept bank W (k, C)."""
    rows = a.reshape(-1, a.shape[2]).double().numpy()
    return torch.from_numpy(nnls(rows, atoms.double().numpy())).float().reshape(*a.shape[:2], len(atoms))


def relative_error(a: Tensor, codes: Tensor, atoms: Tensor) -> float:
    """||A - U W|| / ||A|| (Frobenius norms) of activations (N, P, C), codes (N, P, k) and atoms (k, C)."""
    rows = a.reshape(-1, a.shape[2])
    return float(torch.linalg.norm(rows - codes.reshape(-1, len(atoms)) @ atoms) / torch.linalg.norm(rows))


def concept_maps(
    split: SplitClassifier, codes: Tensor, crop_codes: Tensor, grid: CropGrid, crops: list[Crop]
) -> Tensor:
    """Where each concept is in each image, (k, N, H, W).

    Parameters
    ----------
    codes
        (N, P, k) of the images at each position of the layer.
    crop_codes
        (n, k) of the crops, from which the maps are made if the layer has no positions that the logits depend on.
    crops
        The n crops.
    """
    if positions := split.positions(grid.size):
        extra, rows, columns = positions
        return maps_from_positions(codes[:, extra:], (rows, columns), grid.size)
    by_image = torch.zeros(len(codes), len(grid.corners), crop_codes.shape[1])
    for (image, corner), u in zip(crops, crop_codes, strict=True):
        by_image[image, corner] = u
    return maps_from_crops(by_image, grid)


def _concept_banks(explanation: Explanation, relu: bool) -> Iterator[tuple[list[int], Dictionary]]:
    """The concepts that were found together, as indices, and their concept bank with an atom for each, in that order.

    The banks of sub-concepts are not kept as dictionaries; they are made again from the directions and the trace.
    """
    concepts, nothing = explanation.concepts, torch.zeros(0, 0, 0)
    if explanation.dictionary is not None:
        at = {c.atom: i for i, c in enumerate(concepts) if c.atom is not None}
        yield [at[atom] for atom in range(len(at))], replace(explanation.dictionary, codes=nothing)
    for parent in sorted({c.parent for c in concepts if c.parent is not None}):
        own = [i for i, c in enumerate(concepts) if c.parent == parent]
        layer = next(iter(concepts[own[0]].directions))
        atoms = torch.stack([concepts[i].directions[layer] for i in own])
        name = concepts[parent].name
        state = {"floor": torch.zeros(atoms.shape[1])} if relu else {}
        for step in explanation.trace:
            if step.get("of") == name and "shift" in step:
                state["shift"] = torch.tensor(step["shift"])
        yield own, Dictionary(layer, atoms, nothing, "nnls", state)


def _trace_entry(task: Task, found: Decomposition, images_error: float) -> dict[str, Any]:
    """The entry of `Explanation.trace` for one decomposition; a figure that is not defined is None."""
    crop_set, importance = found.crop_set, found.importance
    figures = {
        "crops_error": found.factors.error,
        "images_error": images_error,
        "top1_agreement": float(importance.agrees.mean()),
        "explained_logit": importance.explained,
    }
    return {
        "step": "decompose",
        "of": crop_set.concept or task.target_name,
        "layer": crop_set.layer,
        "k": crop_set.k,
        "crops": len(crop_set.crops),
        "iterations": found.factors.iterations,
        "converged": found.factors.converged,
        "head_rows": importance.evaluations,
        **({} if found.split.shift is None else {"shift": found.split.shift.tolist()}),
        **{key: value if np.isfinite(value) else None for key, value in figures.items()},
    }


def _ranked(concepts: list[Named]) -> tuple[Concept, ...]:
    """The concepts of all levels, the most important first (of equal ones the first), each with its parent's index."""
    ordered = sorted(concepts, key=lambda named: -named[0].importance)
    index = {concept.name: i for i, (concept, _) in enumerate(ordered)}
    return tuple(replace(concept, parent=index[parent]) if parent else concept for concept, parent in ordered)
