"""CRAFT (Fel et al., CVPR 2023): crops -> non-negative dictionary of activations -> importance, maps, exemplars."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.errors import NotApplicable, UsageError
from xcore.protocols import Task
from xcore.samples import Samples
from xcore.types import Concept, Cost, Dictionary, Explanation
from xcore_craft import maps
from xcore_craft.crops import Grid, cut, grid
from xcore_craft.factorise import factorise, nnls
from xcore_craft.importance import Importance, assess
from xcore_craft.options import Options
from xcore_craft.sobol import designs
from xcore_craft.space import measure, peek

IMPORTANCE_IS = "total Sobol index of the class logit"
QUANTILE = 0.9
"""Sub-concepts come from the crops whose code of the concept reaches this quantile."""

Picks = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Level:
    """One dictionary: of the class, or of the crops of one concept at an earlier layer."""

    picks: Picks
    """(image, crop of the grid) of each of the n crops."""
    crop_codes: NDArray[np.float64]
    """(n, k)"""
    dictionary: Dictionary
    maps: Tensor | None
    """(k, N, H, W)"""
    importance: Importance

    @property
    def mean(self) -> NDArray[np.float64]:
        """(k,) importance: the plain mean over images."""
        return np.asarray(self.importance.total.mean(axis=0))

    @property
    def order(self) -> list[int]:
        """Atoms, most important first, ties by index."""
        return [int(i) for i in np.argsort(-self.mean, kind="stable")]


@dataclass
class Log:
    """What a run adds up: notes, trace, cost, progress."""

    task: Task
    total: int
    done: int = 0
    forwards: int = 0
    notes: list[str] = field(default_factory=list)
    trace: list[Mapping[str, Any]] = field(default_factory=list)

    def tick(self, note: str) -> None:
        self.done += 1
        self.task.progress(self.done, self.total, note)


class Craft:
    """Concepts of a class from the crops of its images.

    The activations of all crops are factorised into non-negative codes and atoms; the images themselves are coded at
    each position by non-negative least squares, and a concept's importance is the total Sobol index of the class
    logit when all its codes in an image are scaled by one uniform mask, averaged over images.

    Raises
    ------
    UsageError
        Negative activations without an option that allows them, more concepts than crops or channels, crops larger
        than the image, a layer that is not there.
    NotApplicable
        The classifier shows no activations.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task from its samples."""
        start, o = time.perf_counter(), self.options
        if "activations" not in task.classifier.can:
            raise NotApplicable("craft reads activations, and this classifier shows none")
        if not len(task.samples):
            raise UsageError(f"no samples of class {task.target_name!r} to explain")
        designs(1, o.designs, task.seed, o.sampler)  # refuses a wrong number of points before any work
        height, width = task.samples.images.shape[-2:]
        cells = grid((height, width), o.crop, o.stride)
        picks = [(i, box) for i in range(len(task.samples)) for box in range(len(cells.corners))]
        levels = sum(o.refine**depth for depth in range(o.recurse + 1))
        log = Log(task, total=levels * (len(task.samples) + 1))
        layer = task.layer or task.classifier.default_layer
        level = self._decompose(task, layer, cells, picks, o.k, "", log)
        concepts = list(self._concepts(task, level, cells, ""))
        concepts += self._refine(task, level, cells, "", o.recurse, log)
        task.progress(log.total, log.total, "done")
        return Explanation(
            method="craft",
            target=task.target_name,
            importance_is=IMPORTANCE_IS,
            concepts=_ranked(concepts),
            dictionary=level.dictionary,
            trace=tuple(log.trace),
            notes=tuple(log.notes),
            cost=Cost(seconds=time.perf_counter() - start, forwards=log.forwards),
        )

    def _decompose(self, task: Task, layer: str, cells: Grid, picks: Picks, k: int, of: str, log: Log) -> Level:
        o, n = self.options, len(task.samples)
        name = f"{of or task.target_name} at {layer}"
        space, full, means = measure(task.classifier, layer, task.samples, cells, picks, o.negative)
        log.forwards += n + len(picks)
        factors = factorise(means.double().numpy(), k, task.seed, o.max_iter, o.tol)
        log.tick(f"{name}: {k} concepts from {len(picks)} crops")
        atoms = torch.from_numpy(factors.atoms).float()
        flat = full.reshape(-1, full.shape[2])
        solved = nnls(flat.double().numpy(), atoms.double().numpy())
        codes = torch.from_numpy(solved).float().reshape(n, full.shape[1], k)
        imp = assess(
            space,
            full,
            codes,
            atoms,
            task.samples,
            task.target,
            n=o.designs,
            seed=task.seed,
            sampler=o.sampler,
            tick=lambda i: log.tick(f"{name}: importance, image {i + 1} of {n}"),
        )
        residual = float(torch.linalg.norm(flat - codes.reshape(-1, k) @ atoms) / torch.linalg.norm(flat))
        figures = {
            "crops_error": factors.error,
            "images_error": residual,
            "top1_agreement": float(imp.agrees.mean()),
            "explained_logit": imp.explained,
        }
        log.trace.append(
            {
                "step": "decompose",
                "of": of or task.target_name,
                "layer": layer,
                "k": k,
                "crops": len(picks),
                "iterations": factors.iterations,
                "converged": factors.converged,
                "head_rows": imp.evaluations,
                **{key: value if np.isfinite(value) else None for key, value in figures.items()},
            }
        )
        share = f"{imp.explained:.0%}" if np.isfinite(imp.explained) else "no part"
        log.notes.append(
            f"{name}: {k} concepts keep the top class of {imp.agrees.mean():.0%} of the images and {share} "
            f"of the class logit; relative error {factors.error:.2f} on crops, {residual:.2f} on images"
        )
        flatline = int((imp.variance == 0).sum())
        if flatline:
            log.notes.append(f"{name}: the logit of {flatline} of {n} images varies with no concept: index 0 there")
        dead = int((factors.codes.max(axis=0) == 0).sum())
        if dead:
            log.notes.append(f"{name}: {dead} of {k} concepts are in no crop (a smaller craft.k would do)")
        if not factors.converged:
            log.notes.append(f"{name}: the factorisation had not converged after {factors.iterations} sweeps")
        dictionary = Dictionary(layer, atoms, codes, "nnls", space.state)
        crop_codes = factors.codes
        drawn = self._maps(space.probe.layout, space.shape, codes, crop_codes, cells, picks, n)
        if drawn is None:
            log.notes.append(f"{name}: its {full.shape[1]} tokens form no grid of the image's shape: no maps")
        return Level(picks, crop_codes, dictionary, drawn, imp)

    @staticmethod
    def _maps(
        layout: str,
        shape: tuple[int, ...],
        codes: Tensor,
        crop_codes: NDArray[np.float64],
        cells: Grid,
        picks: Picks,
        n: int,
    ) -> Tensor | None:
        """(k, N, H, W), or None where the layer's positions are no grid."""
        if layout == "NCHW":
            return maps.upsample(codes, (shape[1], shape[2]), cells.size)
        if layout == "NTC":
            found = maps.token_grid(shape[0], cells.size)
            return maps.upsample(codes[:, found[0] :], found[1:], cells.size) if found else None
        laid = torch.zeros(n, len(cells.corners), crop_codes.shape[1])
        for (image, box), code in zip(picks, torch.from_numpy(crop_codes).float(), strict=True):
            laid[image, box] = code
        return maps.from_crops(laid, cells)

    def _refine(self, task: Task, level: Level, cells: Grid, prefix: str, depth: int, log: Log) -> list[Named]:
        """Sub-concepts of the most important concepts, from an earlier layer."""
        o, found = self.options, list[Named]()
        if not depth:
            return found
        layer = o.sub_layer if o.sub_layer and not prefix else self._before(task, level.dictionary.layer)
        if layer is None:
            log.notes.append(
                f"no sub-concepts: no usable layer before {level.dictionary.layer!r} (see craft.sub_layer)"
            )
            return found
        for rank, atom in enumerate(level.order[: o.refine], start=1):
            name, code = f"{prefix or 'C'}{rank}", level.crop_codes[:, atom]
            picks = [level.picks[j] for j in np.flatnonzero((code >= np.quantile(code, QUANTILE)) & (code > 0))]
            k = min(o.sub_k, len(picks) // 2)
            if k < 2:
                log.notes.append(f"{name}: {len(picks)} crops from the 90th percentile on are too few for sub-concepts")
                continue
            sub = self._decompose(task, layer, cells, picks, k, name, log)
            found += self._concepts(task, sub, cells, f"{name}.")
            found += self._refine(task, sub, cells, f"{name}.", depth - 1, log)
        return found

    def _before(self, task: Task, layer: str) -> str | None:
        """The last layer before this one, as deep in the module tree, with other and with allowed activations."""
        layers = list(task.classifier.layers)
        few = task.samples.take(range(min(4, len(task.samples))))
        here = task.classifier.open(layer).activations(few)
        for name in reversed(layers[: layers.index(layer)] if layer in layers else []):
            if name.count(".") == layer.count("."):
                a = peek(task.classifier, name, few)
                if a is None or (a.shape == here.shape and torch.equal(a, here)):
                    continue
                if self.options.negative != "error" or float(a.min()) >= 0:
                    return name
        return None

    def _concepts(self, task: Task, level: Level, cells: Grid, prefix: str) -> Iterator[Named]:
        """The concepts of one dictionary, most important first: C1, C2, ... or, below C1, C1.1, C1.2, ..."""
        imp, dictionary, top = level.importance, level.dictionary, not prefix
        mean, weighted = level.mean, imp.weighted
        explained = float(np.mean(imp.coded - imp.empty))
        vary = imp.variance > 0
        first = imp.total[vary].argmax(axis=1)
        for rank, atom in enumerate(level.order, start=1):
            best = self._exemplars(level, atom)
            evidence = {
                "importance_weighted": float(weighted[atom]),
                "importance_sd": float(imp.total[:, atom].std()),
                "logit_drop": float(imp.drop[:, atom].mean()),
                "code_mean": float(dictionary.codes[:, :, atom].mean()),
                "prevalence": float((first == atom).mean()) if vary.any() else 0.0,
            }
            if explained:
                evidence["logit_share"] = float(imp.drop[:, atom].mean()) / explained
            shown = None
            if best:
                ids = tuple("{}#crop{},{}".format(task.samples.ids[i], *cells.corners[box]) for i, box in best)
                shown = Samples("image", cut(task.samples.images, cells, best).cpu(), ids)
            concept = Concept(
                name=f"{prefix or 'C'}{rank}",
                importance=float(mean[atom]),
                samples=shown,
                render=cells.render,
                source=torch.tensor([i for i, _ in best]) if best else None,
                directions={dictionary.layer: dictionary.atoms[atom]},
                atom=atom if top else None,
                maps=None if level.maps is None else level.maps[atom],
                local=torch.from_numpy(imp.total[:, atom]).float(),
                evidence=evidence,
            )
            yield concept, prefix.rstrip(".")

    def _exemplars(self, level: Level, atom: int) -> Picks:
        """The crops with the largest codes, a limited number from one image, none with a code of zero."""
        code, taken, best = level.crop_codes[:, atom], dict[int, int](), Picks()
        for j in np.argsort(-code, kind="stable"):
            pick = level.picks[j]
            if code[j] <= 0 or len(best) == self.options.exemplars:
                break
            if taken.get(pick[0], 0) < self.options.per_image:
                taken[pick[0]] = taken.get(pick[0], 0) + 1
                best.append(pick)
        return best


Named = tuple[Concept, str]
"""A concept and the name of its parent, empty for the top level."""


def _ranked(concepts: list[Named]) -> tuple[Concept, ...]:
    """All levels together, most important first, ties in the order given; parents by index."""
    ordered = sorted(concepts, key=lambda named: -named[0].importance)
    index = {concept.name: i for i, (concept, _) in enumerate(ordered)}
    return tuple(replace(c, parent=index[parent]) if parent else c for c, parent in ordered)
