"""Lens (Fel et al., NeurIPS 2023): read activations, extract a dictionary, code, and measure importance.

The letters are the paper's, with the classifier split at a layer into f = h(g(x)):

- A: activations g(x) of the images at all positions, (N, P, C).
- V: the dictionary, (k, C): one atom (direction in the layer) for each concept.
- U: the codes, A ~ U V: how much of each concept is at each position of an image, (N, P, k).
- phi: the importances, (N, k): an attribution of the class logit of h(U V) to the codes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.activations import SplitClassifier, token_note, treatment_note
from xcore_craft.apply import find_atoms
from xcore_craft.crops import CropGrid, crop_grid, exemplar_samples, top_crops
from xcore_craft.sobol import designs

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
from xcore.models.presence import CODE_IS, assembled, check_activations
from xcore.models.probes import read_once
from xcore_lens.attribution import IN_LOGITS, MEANING, Attribution, attribute
from xcore_lens.extract import error
from xcore_lens.found import Found, find_dictionary
from xcore_lens.layer import find_layer, maps_and_crop_codes, penultimate_layer, read_activations
from xcore_lens.options import Options
from xcore_lens.sae_source import is_sae

Array = NDArray[np.float64]


class Lens:
    """Concepts of a class: a dictionary of the activations of its images at one layer.

    The activations at all positions of the images are factorised together, A ~ U V; or V is the dictionary of a sparse
    autoencoder, which all classes share. Each image is then coded at each position by the extractor's encoder. An
    attribution of the function from codes to class logit gives each concept one number in each image, and the
    importance of the concept is the mean of these numbers over the images.

    Raises
    ------
    UsageError
        If activations are negative, the extractor is ``nmf`` and the options refuse them, if more concepts are asked
        for than the activations allow, or if the classifier has no such layer.
    NotApplicable
        If the classifier gives no access to its activations, or to gradients that the importance needs.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def default_layer(self, classifier: Classifier, samples: Samples) -> str:
        """The layer of the dictionary unless the user names another."""
        return self.options.layer or penultimate_layer(classifier, samples.take(range(min(4, len(samples)))))[0]

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task by a dictionary of its samples' activations."""
        start, o, images, n = time.perf_counter(), self.options, task.samples, len(task.samples)
        self._check(task)
        grid = crop_grid((images.images.shape[-2], images.images.shape[-1]), o.crop, o.stride)

        # Activations: A at the layer.
        layer, reason = find_layer(task, o.layer)
        read_once(task.classifier, layer, images)
        split, A, A_crops = read_activations(task.classifier, layer, images, grid, o)

        # Dictionary: V of all positions, or of images and crops if there are no positions, or of an autoencoder.
        found, split, A, A_crops = find_dictionary(task, layer, split, A, A_crops, grid, o)
        V = found.atoms
        task.progress(2, n + 2, "dictionary done")

        # Codes: U of each image at each position.
        U = found.code(A)

        # Importance: phi of each concept in each image.
        phi = attribute(
            split,
            task.classifier.logits(images),
            U,
            V,
            images,
            task.target,
            o,
            task.seed,
            lambda done: task.progress(2 + done, n + 2, f"importance in image {done} of {n}"),
        )

        # A large dictionary has a few atoms that matter for a class, and too many for a map of each.
        shown = _shown(phi, o.k if found.trained is not None else None)
        U_crops = None if A_crops is None else found.code(A_crops)[:, :, shown]
        maps, crop_codes = maps_and_crop_codes(split, U[:, :, shown], U_crops, grid)
        dictionary = Dictionary(layer, V, U, found.encoder, found.state)
        quality = self._quality(split, A, dictionary, phi, found)
        notes = [
            f"{task.target_name}: the dictionary is made at layer {layer!r}, {reason} (lens.layer can name another)"
        ]
        crop_passes = 0 if A_crops is None else n * len(grid.corners)
        return Explanation(
            method="lens",
            target=task.target_name,
            importance_is=self.importance_is,
            concepts=tuple(self._concepts(task, dictionary, split.read(U), phi, shown, maps, crop_codes, grid)),
            dictionary=dictionary,
            trace=(self._trace_entry(found, dictionary, quality),),
            notes=(
                *(notes if reason else ()),
                *(
                    f"{task.target_name} at {layer}: {note}"
                    for note in self._notes(found, split, dictionary, phi, shown, quality)
                ),
            ),
            cost=Cost(
                seconds=time.perf_counter() - start - found.shared_seconds,
                shared_seconds=found.shared_seconds,
                forwards=n + crop_passes + phi.forwards,
                backwards=phi.backwards,
            ),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Find the concepts in other images, by their codes for the same dictionary.

        Parameters
        ----------
        explanation
            An explanation by this method.
        task
            With the other images as its samples.
        """
        check_activations(task.classifier)
        dictionary, concepts = explanation.dictionary, explanation.concepts
        if dictionary is None:
            raise UsageError("this explanation has no dictionary, so it is none of lens")
        atoms = [c.atom for c in concepts if c.atom is not None]
        o = self.options
        strength, maps = find_atoms(dictionary, task.classifier, task.samples, o.crop, o.stride, atoms)
        return assembled(concepts, strength, CODE_IS, dict(enumerate(maps)), task.samples)

    @property
    def importance_is(self) -> str:
        """What an importance is, and its unit."""
        meaning = MEANING[self.options.importance]
        if self.options.pool == "sum":
            return f"mean over images of: {meaning}"
        by_position = "gradient" in self.options.importance or self.options.importance == "lrp"
        where = "at one position" if by_position else "of an image"
        return f"mean over images of the largest absolute value {where} of: {meaning}"

    def _check(self, task: Task) -> None:
        """Refuse, before any work is done, what cannot be explained."""
        o = self.options
        if "activations" not in task.classifier.can:
            raise NotApplicable("lens needs activations, and this classifier gives no access to them")
        if ("gradient" in o.importance or o.importance == "lrp") and "gradients" not in task.classifier.can:
            raise NotApplicable(
                f"{o.importance} needs gradients, and this classifier does not give them",
                "set lens.importance to occlusion, sobol or shapley",
            )
        if not len(task.samples):
            raise UsageError(f"there are no images of class {task.target_name!r} to explain")
        if is_sae(o) and o.centre:
            raise UsageError(
                "a sparse autoencoder subtracts a mean of its own, that of all classes", "leave lens.centre out"
            )
        if o.importance == "sobol":
            designs(1, o.designs)  # refuses a wrong number of points

    def _quality(
        self, split: SplitClassifier, a: Tensor, dictionary: Dictionary, phi: Attribution, found: Found
    ) -> dict[str, float | None]:
        """How well the dictionary fits, and how much of the logit it explains; None for what is not defined."""
        o, u = self.options, _rows(split.read(dictionary.codes))
        explained, whole = float(np.mean(phi.coded - phi.empty)), float(np.mean(phi.full - phi.empty))
        in_logits = o.importance in IN_LOGITS and o.pool == "sum"
        return {
            "error": error(_rows(split.read(a)), u, dictionary.atoms.double().numpy()),
            "sparsity": float((u == 0).mean()),
            "active": float((u != 0).sum(1).mean()),
            "stability": found.stability,
            "top1_agreement": float(phi.agrees.mean()),
            "explained_logit": explained / whole if whole else None,
            "accounted": float(phi.values.mean(0).sum()) / explained if in_logits and explained else None,
        }

    @staticmethod
    def _trace_entry(found: Found, dictionary: Dictionary, quality: dict[str, float | None]) -> dict[str, object]:
        """The entry of `Explanation.trace`."""
        return {
            "step": "extract",
            "extractor": found.extractor,
            "layer": dictionary.layer,
            "k": len(dictionary.atoms),
            "positions": dictionary.codes.shape[0] * dictionary.codes.shape[1],
            "iterations": found.iterations,
            "converged": found.converged,
            **quality,
            **({"trained": dict(found.trained)} if found.trained is not None else {}),
        }

    def _notes(
        self,
        found: Found,
        split: SplitClassifier,
        dictionary: Dictionary,
        phi: Attribution,
        shown: list[int],
        quality: dict[str, float | None],
    ) -> Iterator[str]:
        """What a reader must know about the quality of the explanation."""
        o, u, total = self.options, _rows(split.read(dictionary.codes)), float(phi.values.mean(0).sum())
        k = len(dictionary.atoms)
        treated = treatment_note(split, o.negative, "lens") if o.extractor == "nmf" else ""
        yield from (note for note in (treated, token_note(split)) if note)
        if k < o.k and found.trained is None:
            yield (
                f"{k} concepts instead of {o.k} are looked for, because there are only {found.rows[0]} rows of "
                f"{found.rows[1]} channels (lens.k sets the number)"
            )
        explained, accounted, stability = quality["explained_logit"], quality["accounted"], quality["stability"]
        of_logit = "" if explained is None else f" and {explained:.0%} of the class logit"
        yield (
            f"activations rebuilt from the {k} concepts ({found.extractor}) give the same top class in "
            f"{quality['top1_agreement']:.0%} of the images{of_logit}; their relative error is {quality['error']:.2f}, "
            f"and {quality['sparsity']:.0%} of the codes are zero"
        )
        if stability is not None:
            yield f"the atoms of dictionaries made from two halves of the images have a mean cosine of {stability:.2f}"
        if accounted is not None and abs(accounted - 1) > 0.05:
            yield (
                f"the contributions add up to {accounted:.0%} of the logit that the codes give, because the head above "
                "this layer is not affine"
            )
        if total <= 0:
            yield f"the importances add up to {total:.3g}, so shares of the class logit are not defined"
        unused = int((np.abs(u).max(axis=0) == 0).sum())
        if found.trained is not None:
            yield from _notes_of_autoencoder(found, phi, shown, k - unused, quality["active"] or 0.0)
            return
        if unused:
            yield f"{unused} of the {k} concepts occur in no image (a smaller lens.k is enough)"
        if o.stability and stability is None:
            yield "stability is unknown, because half of the images are too few for a dictionary"
        if not found.converged:
            yield (
                f"{found.extractor} had not converged after {found.iterations} iterations "
                "(lens.max_iter sets the limit)"
            )
        if o.extractor == "pca" and o.centre:
            yield "the codes of centred pca average to zero, and under an affine head so do all importances"

    def _concepts(
        self,
        task: Task,
        dictionary: Dictionary,
        codes: Tensor,
        phi: Attribution,
        shown: list[int],
        maps: Tensor,
        crop_codes: Tensor,
        grid: CropGrid,
    ) -> Iterator[Concept]:
        """The concepts, the most important first; of equally important ones the first.

        The `codes` (N, P, k) are those at the positions on which the logits depend. Maps and codes of crops are of the
        atoms that are shown.
        """
        o, crops = self.options, grid.all_crops(len(task.samples))
        for i, atom in enumerate(shown):
            exemplars = top_crops(crop_codes[:, :, i].flatten().numpy(), crops, o.exemplars, o.per_image)
            direction = dictionary.atoms[atom]
            yield Concept(
                name=f"C{i + 1}",
                importance=float(phi.values[:, atom].mean()),
                samples=exemplar_samples(task.samples, grid, exemplars),
                render=grid.render,
                source=torch.tensor([image for image, _ in exemplars]) if exemplars else None,
                directions={dictionary.layer: direction} if direction.any() else {},
                atom=atom,
                maps=maps[i],
                local=torch.from_numpy(phi.values[:, atom]).float(),
                evidence={**dict(_evidence(phi, atom)), "code_mean": float(codes[:, :, atom].mean())},
            )


def _shown(phi: Attribution, most: int | None) -> list[int]:
    """The atoms that are shown, the most important first, of equally important ones the first; None = all.

    Of a large dictionary these are the `most` that matter most, for the class or against it.
    """
    importance = phi.values.mean(0)
    largest = np.argsort(-np.abs(importance), kind="stable")[:most]
    chosen = np.sort(largest)
    return [int(atom) for atom in chosen[np.argsort(-importance[chosen], kind="stable")]]


def _notes_of_autoencoder(
    found: Found, phi: Attribution, shown: list[int], occurring: int, active: float
) -> Iterator[str]:
    """What a reader must know of a dictionary that was not made of the explained images.

    Parameters
    ----------
    shown
        The atoms that are shown.
    occurring
        How many atoms occur in the explained images.
    active
        Mean number of active atoms at a position of these images.
    """
    importance = np.abs(phi.values.mean(0))
    about, of = found.trained or {}, ""
    if "images" in about:
        of = (
            f" was trained on {about['rows']} positions of {about['images']} images of all classes: it explains "
            f"{about['r2']:.0%} of their variance with {about['l0']:.1f} active atoms at a position, and "
            f"{about['dead']:.0%} of its atoms are never active. It"
        )
    yield (
        f"the sparse autoencoder ({found.extractor}, {len(found.atoms)} atoms){of} has {active:.1f} active "
        f"atoms at a position of these images, in which {occurring} atoms occur"
    )
    if len(shown) < len(found.atoms) and importance.sum() > 0:
        share = float(importance[shown].sum() / importance.sum())
        yield (
            f"shown are the {len(shown)} atoms with the largest absolute importance, which have {share:.0%} of "
            "the sum of all absolute importances (lens.k sets the number)"
        )


def _rows(a: Tensor) -> Array:
    """(N * P, C) from (N, P, C)."""
    return np.asarray(a.reshape(-1, a.shape[2]).double().numpy())


def _evidence(phi: Attribution, atom: int) -> Iterator[tuple[str, float]]:
    """Signed share, prevalence and reliability of one concept, and the spread of its importance over images."""
    values = phi.values
    total = float(values.mean(0).sum())
    if total > 0:
        yield "share", float(values[:, atom].mean()) / total
    moved = values.any(axis=1)
    leads = moved & (values.argmax(axis=1) == atom)
    yield "prevalence", float(leads.sum() / moved.sum()) if moved.any() else 0.0
    yield "reliability", float(phi.right[leads].mean()) if leads.any() else 0.0
    yield "importance_sd", float(values[:, atom].std())
