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
from xcore_craft.factorise import most_concepts
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
from xcore_lens.attribution import IN_LOGITS, MEANING, Attribution, attribute
from xcore_lens.extract import ENCODERS, Atoms, agreement, encode, error, extract
from xcore_lens.layer import find_layer, maps_and_crop_codes, penultimate_layer, read_activations, training_rows
from xcore_lens.options import Extractor, Options

Array = NDArray[np.float64]


class Lens:
    """Concepts of a class: a dictionary of the activations of its images at one layer.

    The activations at all positions of the images are factorised together, A ~ U V. Each image is then coded at each
    position by the extractor's encoder. An attribution of the function from codes to class logit gives each concept one
    number in each image, and the importance of the concept is the mean of these numbers over the images.

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
        split, A, A_crops = read_activations(task.classifier, layer, images, grid, o)

        # Dictionary: V of all positions, or of images and crops if there are no positions.
        read = split.read(A)
        rows = read if A_crops is None else torch.cat([read, A_crops], dim=1)
        extractor: Extractor = "semi-nmf" if split.signed and o.extractor == "nmf" else o.extractor
        k = self._number_of_concepts(rows)
        atoms = self._extract(extractor, rows, k, task.seed)
        V = torch.from_numpy(atoms.values).float()
        task.progress(1, n + 2, f"found {k} concepts at {layer} with {extractor}")
        stability = self._stability(extractor, rows, k, task.seed) if o.stability else None
        task.progress(2, n + 2, "dictionary done")

        # Codes: U of each image at each position.
        U = self._code(extractor, A, V)

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

        U_crops = None if A_crops is None else self._code(extractor, A_crops, V)
        maps, crop_codes = maps_and_crop_codes(split, U, U_crops, grid)
        state = {"centre": split.shift} if o.centre and split.shift is not None else split.state
        dictionary = Dictionary(layer, V, U, ENCODERS[extractor], state)
        quality = self._quality(split, A, dictionary, phi, stability)
        notes = [
            f"{task.target_name}: the dictionary is made at layer {layer!r}, {reason} (lens.layer can name another)"
        ]
        crop_passes = 0 if A_crops is None else n * len(grid.corners)
        return Explanation(
            method="lens",
            target=task.target_name,
            importance_is=self.importance_is,
            concepts=tuple(self._concepts(task, dictionary, split.read(U), phi, maps, crop_codes, grid)),
            dictionary=dictionary,
            trace=(self._trace_entry(extractor, dictionary, atoms, quality),),
            notes=(
                *(notes if reason else ()),
                *(
                    f"{task.target_name} at {layer}: {note}"
                    for note in self._notes(extractor, split, rows, dictionary, atoms, phi, quality)
                ),
            ),
            cost=Cost(
                seconds=time.perf_counter() - start, forwards=n + crop_passes + phi.forwards, backwards=phi.backwards
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
        strength, maps = find_atoms(dictionary, task.classifier, task.samples, self.options.crop, self.options.stride)
        atoms = [c.atom for c in concepts if c.atom is not None]
        return assembled(concepts, strength[:, atoms], CODE_IS, dict(enumerate(maps[atoms])), task.samples)

    @property
    def importance_is(self) -> str:
        """What an importance is, and its unit."""
        meaning = MEANING[self.options.importance]
        if self.options.pool == "sum":
            return f"mean over images of: {meaning}"
        where = "at one position" if "gradient" in self.options.importance else "of an image"
        return f"mean over images of the largest absolute value {where} of: {meaning}"

    def _check(self, task: Task) -> None:
        """Refuse, before any work is done, what cannot be explained."""
        o = self.options
        if "activations" not in task.classifier.can:
            raise NotApplicable("lens needs activations, and this classifier gives no access to them")
        if "gradient" in o.importance and "gradients" not in task.classifier.can:
            raise NotApplicable(
                f"{o.importance} needs gradients, and this classifier does not give them",
                "set lens.importance to occlusion, sobol or shapley",
            )
        if not len(task.samples):
            raise UsageError(f"there are no images of class {task.target_name!r} to explain")
        if o.importance == "sobol":
            designs(1, o.designs)  # refuses a wrong number of points

    def _number_of_concepts(self, rows: Tensor) -> int:
        """The number of concepts; the default is lowered where there are too few rows (N, R, C) or channels for it."""
        o, (images, of_each, channels) = self.options, rows.shape
        return o.k if "k" in o.model_fields_set else min(o.k, most_concepts(images * of_each, channels))

    def _extract(self, extractor: Extractor, rows: Tensor, k: int, seed: int) -> Atoms:
        """The dictionary of the rows (n, R, C) of n images."""
        o = self.options
        return extract(extractor, training_rows(rows.flatten(0, 1), o.rows, seed), k, seed, o.max_iter, o.tol)

    @staticmethod
    def _code(extractor: Extractor, a: Tensor, atoms: Tensor) -> Tensor:
        """U, (n, P, k): the codes of activations (n, P, C) for a fixed dictionary (k, C)."""
        rows = a.reshape(-1, a.shape[-1]).double().numpy()
        codes = encode(ENCODERS[extractor], rows, atoms.double().numpy())
        return torch.from_numpy(codes).float().reshape(*a.shape[:2], -1)

    def _stability(self, extractor: Extractor, rows: Tensor, k: int, seed: int) -> float | None:
        """Mean cosine of the matched atoms of two halves of the images; None if a half is too small for a dictionary.

        Source: Fel et al. 2023 (holistic).
        """
        order = np.random.default_rng([seed, 1]).permutation(len(rows)).tolist()
        half = len(order) // 2
        try:
            one, two = (self._extract(extractor, rows[part], k, seed) for part in (order[:half], order[half:]))
        except UsageError:  # fewer positions than concepts, or only zero activations
            return None
        return agreement(one.values, two.values)

    def _quality(
        self, split: SplitClassifier, a: Tensor, dictionary: Dictionary, phi: Attribution, stability: float | None
    ) -> dict[str, float | None]:
        """How well the dictionary fits, and how much of the logit it explains; None for what is not defined."""
        o, u = self.options, _rows(split.read(dictionary.codes))
        explained, whole = float(np.mean(phi.coded - phi.empty)), float(np.mean(phi.full - phi.empty))
        in_logits = o.importance in IN_LOGITS and o.pool == "sum"
        return {
            "error": error(_rows(split.read(a)), u, dictionary.atoms.double().numpy()),
            "sparsity": float((u == 0).mean()),
            "stability": stability,
            "top1_agreement": float(phi.agrees.mean()),
            "explained_logit": explained / whole if whole else None,
            "accounted": float(phi.values.mean(0).sum()) / explained if in_logits and explained else None,
        }

    @staticmethod
    def _trace_entry(
        extractor: Extractor, dictionary: Dictionary, atoms: Atoms, quality: dict[str, float | None]
    ) -> dict[str, object]:
        """The entry of `Explanation.trace`."""
        return {
            "step": "extract",
            "extractor": extractor,
            "layer": dictionary.layer,
            "k": len(dictionary.atoms),
            "positions": dictionary.codes.shape[0] * dictionary.codes.shape[1],
            "iterations": atoms.iterations,
            "converged": atoms.converged,
            **quality,
        }

    def _notes(
        self,
        extractor: Extractor,
        split: SplitClassifier,
        rows: Tensor,
        dictionary: Dictionary,
        atoms: Atoms,
        phi: Attribution,
        quality: dict[str, float | None],
    ) -> Iterator[str]:
        """What a reader must know about the quality of the explanation."""
        o, u, total = self.options, _rows(split.read(dictionary.codes)), float(phi.values.mean(0).sum())
        k = len(dictionary.atoms)
        treated = treatment_note(split, o.negative, "lens") if o.extractor == "nmf" else ""
        yield from (note for note in (treated, token_note(split)) if note)
        if k < o.k:
            yield (
                f"{k} concepts instead of {o.k} are looked for, because there are only {rows.shape[0] * rows.shape[1]} "
                f"rows of {rows.shape[2]} channels (lens.k sets the number)"
            )
        explained, accounted, stability = quality["explained_logit"], quality["accounted"], quality["stability"]
        of_logit = "" if explained is None else f" and {explained:.0%} of the class logit"
        yield (
            f"activations rebuilt from the {k} concepts ({extractor}) give the same top class in "
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
        if unused:
            yield f"{unused} of the {k} concepts occur in no image (a smaller lens.k is enough)"
        if o.stability and stability is None:
            yield "stability is unknown, because half of the images are too few for a dictionary"
        if not atoms.converged:
            yield f"{extractor} had not converged after {atoms.iterations} iterations (lens.max_iter sets the limit)"
        if o.extractor == "pca" and o.centre:
            yield "the codes of centred pca average to zero, and under an affine head so do all importances"

    def _concepts(
        self,
        task: Task,
        dictionary: Dictionary,
        codes: Tensor,
        phi: Attribution,
        maps: Tensor,
        crop_codes: Tensor,
        grid: CropGrid,
    ) -> Iterator[Concept]:
        """The concepts, the most important first; of equally important ones the first.

        The `codes` (N, P, k) are those at the positions on which the logits depend.
        """
        o, crops = self.options, grid.all_crops(len(task.samples))
        for rank, atom in enumerate(np.argsort(-phi.values.mean(0), kind="stable").tolist(), start=1):
            exemplars = top_crops(crop_codes[:, :, atom].flatten().numpy(), crops, o.exemplars, o.per_image)
            direction = dictionary.atoms[atom]
            yield Concept(
                name=f"C{rank}",
                importance=float(phi.values[:, atom].mean()),
                samples=exemplar_samples(task.samples, grid, exemplars),
                render=grid.render,
                source=torch.tensor([image for image, _ in exemplars]) if exemplars else None,
                directions={dictionary.layer: direction} if direction.any() else {},
                atom=atom,
                maps=maps[atom],
                local=torch.from_numpy(phi.values[:, atom]).float(),
                evidence={**dict(_evidence(phi, atom)), "code_mean": float(codes[:, :, atom].mean())},
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
