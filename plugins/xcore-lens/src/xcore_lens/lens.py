"""Lens (Fel et al., NeurIPS 2023): activations -> dictionary -> attribution of the class logit to its atoms."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.crops import grid

from xcore.errors import NotApplicable, UsageError
from xcore.protocols import Task
from xcore.types import Concept, Cost, Dictionary, Explanation
from xcore_lens.attribution import IN_LOGITS, MEANING, Attribution, attribute
from xcore_lens.exemplars import from_crops, from_positions, shown, strongest
from xcore_lens.extract import ENCODERS, Atoms, agreement, encode, error, extract
from xcore_lens.options import Options
from xcore_lens.site import chosen_rows, find_layer, open_space, positions

Array = NDArray[np.float64]


class Lens:
    """Concepts of a class as a dictionary of the activations of its images at one layer.

    All positions of the images are factorised at once, each image is coded at each position by the extractor's encoder,
    and a concept's importance is the mean over images of what the attribution gives it: one number an image, for the
    function from codes to class logit.

    Raises
    ------
    UsageError
        Negative activations and ``nmf`` without an option that allows them, more concepts than the positions can tell,
        a layer that is not there.
    NotApplicable
        The classifier shows no activations, or no gradients where the importance needs them.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task from its samples."""
        start, o, n = time.perf_counter(), self.options, len(task.samples)
        self._check(task)
        cells = grid((task.samples.images.shape[-2], task.samples.images.shape[-1]), o.crop, o.stride)
        layer, why = find_layer(task, o.layer)
        space, full = open_space(task.classifier, layer, task.samples, o)
        notes = [f"{task.target_name}: dictionary at {layer!r}, {why} (another: lens.layer)"] if why else []

        atoms = self._fit(full, range(n), task.seed)
        unit = torch.from_numpy(atoms.values).float()
        encoder = ENCODERS[o.extractor]

        def code(rows: Tensor) -> Tensor:
            flat = rows.reshape(-1, rows.shape[-1]).double().numpy()
            return torch.from_numpy(encode(encoder, flat, unit.double().numpy())).float().reshape(*rows.shape[:2], -1)

        codes = code(full)
        task.progress(1, n + 2, f"{o.k} concepts at {layer} by {o.extractor}")
        stability = self._stability(full, task.seed) if o.stability else None
        task.progress(2, n + 2, "fitted")
        found = attribute(
            space,
            task.classifier.logits(task.samples),
            codes,
            unit,
            task.samples,
            task.target,
            o,
            task.seed,
            lambda done: task.progress(2 + done, n + 2, f"importance, {done} of {n} images"),
        )
        place = positions(space.probe.layout, space.shape, task.samples)
        if place is not None:
            maps, strength = from_positions(codes, place, cells)
        else:
            maps, strength = from_crops(space, code, task.samples, cells)

        step, more = self._quality(full, codes, unit, atoms, found, stability, layer)
        state = {"centre": space.shift} if o.centre and space.shift is not None else space.state
        dictionary = Dictionary(layer, unit, codes, encoder, state)
        concepts = []
        for rank, atom in enumerate(np.argsort(-found.values.mean(0), kind="stable").tolist(), start=1):
            picks = strongest(strength[:, :, atom], o.exemplars, o.per_image)
            concepts.append(
                Concept(
                    name=f"C{rank}",
                    importance=float(found.values[:, atom].mean()),
                    samples=shown(task.samples, cells, picks),
                    render=cells.render,
                    source=torch.tensor([i for i, _ in picks]) if picks else None,
                    directions={layer: unit[atom]} if unit[atom].any() else {},
                    atom=atom,
                    maps=maps[atom],
                    local=torch.from_numpy(found.values[:, atom]).float(),
                    evidence=dict(_evidence(found, atom)) | {"code_mean": float(codes[:, :, atom].mean())},
                )
            )
        crops = 0 if place is not None else n * len(cells.corners)
        return Explanation(
            method="lens",
            target=task.target_name,
            importance_is=self.importance_is,
            concepts=tuple(concepts),
            dictionary=dictionary,
            trace=(step,),
            notes=(*notes, *(f"{task.target_name} at {layer}: {note}" for note in more)),
            cost=Cost(
                seconds=time.perf_counter() - start, forwards=n + crops + found.forwards, backwards=found.backwards
            ),
        )

    @property
    def importance_is(self) -> str:
        """The unit of an importance."""
        meaning = MEANING[self.options.importance]
        if self.options.pool == "sum":
            return f"mean over images of: {meaning}"
        where = "at one position" if "gradient" in self.options.importance else "of an image"
        return f"mean over images of the largest absolute value {where} of: {meaning}"

    def _check(self, task: Task) -> None:
        if "activations" not in task.classifier.can:
            raise NotApplicable("lens reads activations, and this classifier shows none")
        if "gradient" in self.options.importance and "gradients" not in task.classifier.can:
            raise NotApplicable(
                f"{self.options.importance} needs gradients, and this classifier gives none",
                "set lens.importance to occlusion, sobol or shapley",
            )
        if not len(task.samples):
            raise UsageError(f"no samples of class {task.target_name!r} to explain")

    def _fit(self, full: Tensor, images: range | list[int], seed: int) -> Atoms:
        o = self.options
        rows = chosen_rows(full, list(images), o.rows, seed)
        return extract(o.extractor, rows, o.k, seed, o.max_iter, o.tol)

    def _stability(self, full: Tensor, seed: int) -> float | None:
        """Mean cosine of the matched atoms of two halves of the images; None if a half is too small to be fitted."""
        order = np.random.default_rng([seed, 1]).permutation(len(full)).tolist()
        half = len(order) // 2
        try:
            one, two = self._fit(full, order[:half], seed), self._fit(full, order[half:], seed)
        except UsageError:  # fewer positions than concepts, or none that is active
            return None
        return agreement(one.values, two.values)

    def _quality(
        self,
        full: Tensor,
        codes: Tensor,
        unit: Tensor,
        atoms: Atoms,
        found: Attribution,
        stability: float | None,
        layer: str,
    ) -> tuple[dict[str, object], list[str]]:
        """The entry of the trace, and what a reader must know of it."""
        o = self.options
        flat, u = full.reshape(-1, full.shape[2]).double().numpy(), codes.reshape(-1, codes.shape[2]).double().numpy()
        residual = error(flat, u, unit.double().numpy())
        given, whole = float(np.mean(found.coded - found.empty)), float(np.mean(found.full - found.empty))
        total = float(found.values.mean(0).sum())
        figures: dict[str, float | None] = {
            "error": residual,
            "sparsity": float((u == 0).mean()),
            "stability": stability,
            "top1_agreement": float(found.agrees.mean()),
            "explained_logit": given / whole if whole else None,
            "accounted": total / given if o.importance in IN_LOGITS and o.pool == "sum" and given else None,
        }
        step: dict[str, object] = {"step": "extract", "extractor": o.extractor, "layer": layer, "k": o.k}
        step |= {"positions": len(flat), "iterations": atoms.iterations, "converged": atoms.converged, **figures}
        kept = (
            f", {figures['explained_logit']:.0%} of the class logit" if figures["explained_logit"] is not None else ""
        )
        matched = (
            "" if stability is None else f"; atoms of two halves of the images agree to a cosine of {stability:.2f}"
        )
        notes = [
            f"{o.k} concepts by {o.extractor} keep the top class of {figures['top1_agreement']:.0%} of the images{kept}"
            f"; relative error {residual:.2f}, {figures['sparsity']:.0%} of the codes are zero{matched}"
        ]
        if figures["accounted"] is not None and abs(figures["accounted"] - 1) > 0.05:
            notes.append(
                f"the contributions add up to {figures['accounted']:.0%} of the logit that the codes give: "
                "the head is not affine here"
            )
        if total <= 0:
            notes.append(f"the importances add up to {total:.3g}: no shares of the class logit")
        dead = int((np.abs(u).max(axis=0) == 0).sum())
        if dead:
            notes.append(f"{dead} of {o.k} concepts are in no image (a smaller lens.k would do)")
        if o.stability and stability is None:
            notes.append("no stability: half of the images do not make a dictionary of their own")
        if not atoms.converged:
            notes.append(f"{o.extractor} had not converged after {atoms.iterations} sweeps (see lens.max_iter)")
        if o.extractor == "pca" and o.centre:
            notes.append("the codes of centred pca average zero, so under an affine head all importances do")
        return step, notes


def _evidence(found: Attribution, atom: int) -> Iterator[tuple[str, float]]:
    """Signed share, prevalence, reliability of one concept."""
    values = found.values
    total = float(values.mean(0).sum())
    if total > 0:
        yield "share", float(values[:, atom].mean()) / total
    moved = values.any(axis=1)
    leads = moved & (values.argmax(axis=1) == atom)
    yield "prevalence", float(leads.sum() / moved.sum()) if moved.any() else 0.0
    yield "reliability", float(found.right[leads].mean()) if leads.any() else 0.0
    yield "importance_sd", float(values[:, atom].std())
