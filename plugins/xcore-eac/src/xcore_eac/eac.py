"""Explain Any Concept (Sun et al., NeurIPS 2023): segments of an image, ranked by what they are worth for the class."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcore.errors import NotApplicable, UsageError
from xcore.protocols import Task
from xcore.samples import Samples
from xcore.types import Concept, Cost, Explanation
from xcore_eac import features, games, surrogate
from xcore_eac.model import Model
from xcore_eac.options import Options
from xcore_eac.segments import Segments, background, coalition_images, cut

Floats = NDArray[np.float64]
HELD_OUT = 5
"""One in so many coalitions is kept from the fit of the surrogate, to judge it."""
FEWEST = 4
"""Fewer segments than this have so few coalitions that all are evaluated, whatever the budget."""


@dataclass(eq=False)
class Image:
    """One image on its way to its values."""

    index: int
    segments: Segments
    behind: Tensor
    design: games.Design
    """The coalitions that the model saw."""
    values: Floats
    """(m,) the model's, of these coalitions."""
    features: Tensor | None = None
    """(m, F), where a surrogate is to be fitted."""
    worth: Floats = field(default_factory=lambda: np.zeros(0))
    se: Floats = field(default_factory=lambda: np.zeros(0))
    r2: float | None = None
    """Of the surrogate, on coalitions that it was not fitted to."""
    used: str = "all coalitions"
    """Where the values come from: "all coalitions", "PIE" or "sampled coalitions"."""

    @property
    def order(self) -> list[int]:
        """Segments, most valuable first, ties by index."""
        return [int(i) for i in np.argsort(-self.worth, kind="stable")]

    @property
    def top(self) -> int:
        return self.order[0]


class Eac:
    """Segments of each image, ranked by their values for the target class.

    A segmenter cuts each image; a coalition of segments is worth the class probability that the model gives to the
    image restricted to them. Where all coalitions fit the budget they are evaluated. Otherwise the budget goes to the
    coalitions of antithetic permutations; on them a surrogate is fitted (`xcore_eac.surrogate`), whose values are
    exact or cheap, and what it misses on the coalitions that were seen is added, so that the values of an image add up
    to the model's own.

    Raises
    ------
    NotApplicable
        No image has a segment.
    UsageError
        No samples; a layer for the surrogate that is not there or no cut of the graph.
    MissingError
        No segmenter.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task from its samples."""
        begin, o, count = time.perf_counter(), self.options, len(task.samples)
        if task.samples.kind != "image" or not count:
            raise UsageError(f"eac needs images of class {task.target_name!r} to explain")
        segmenter = task.model("segmenter")
        space = None
        if o.surrogate != "none":
            space = features.find(task.classifier, o.layer, task.samples)
            if space is None and o.surrogate == "pie":
                raise NotApplicable(
                    "PIE needs activations and gradients, and this classifier offers no layer to cut at"
                )
        model = Model(task, o.output, space)
        images: list[Image] = []
        empty: list[int] = []
        for i in range(count):
            segments = cut(segmenter, task.samples.images[i], o.max_segments, o.rest)
            if len(segments):
                images.append(self._evaluated(task, model, i, segments))
            else:
                empty.append(i)
            task.progress(i + 1, count + 1, f"image {i + 1} of {count}: {len(segments)} segments")
        if not images:
            raise NotApplicable(
                "the segmenter finds nothing in any image", "set eac.rest, or another segmenter: --model segmenter=REF"
            )
        self._valued(model, images)
        concept = self._class_row(task, model, images)
        importance_is = f"{o.value.title()} value of the image's top segment for the class {o.output}"
        parts = {image.index: self._part(task, image) for image in images}
        parts |= {i: Explanation("eac", task.target_name, importance_is, (), notes=("no segment",)) for i in empty}
        task.progress(count + 1, count + 1, "done")
        return Explanation(
            method="eac",
            target=task.target_name,
            importance_is=importance_is,
            concepts=(concept,),
            parts=tuple(parts[i] for i in range(count)),
            trace=tuple(self._trace(task, image) for image in images),
            notes=tuple(self._notes(model, images, count)),
            cost=Cost(seconds=time.perf_counter() - begin, forwards=model.forwards, backwards=model.backwards),
        )

    # -- values ------------------------------------------------------------------------------------------------------
    def _evaluated(self, task: Task, model: Model, index: int, segments: Segments) -> Image:
        """Ask the model for the coalitions of one image."""
        o, n, picture = self.options, len(segments), task.samples.images[index].detach().cpu().float()
        small = n < FEWEST or (2**n <= o.coalitions and o.surrogate != "pie")
        if small:
            design = games.exact(n, o.value)
        else:
            # Of the image's content, so that neither order nor repetition of images changes anything.
            rng = np.random.default_rng([task.seed, zlib.crc32(picture.contiguous().numpy().tobytes())])
            design = games.sampled(n, o.value, o.coalitions, rng, evaluations=o.coalitions)
        behind = background(picture, o.baseline)
        batches = coalition_images(picture, behind, segments.masks, torch.from_numpy(design.coalitions))
        values, found = model.ask(batches, task.samples.ids[index], with_features=not small)
        return Image(index, segments, behind, design, values, found)

    def _valued(self, model: Model, images: list[Image]) -> None:
        """Give every image its values."""
        o = self.options
        for image in images:
            image.worth, image.se = image.design.worth(image.values)
            if not image.design.exact:
                image.used = "sampled coalitions"
        fitted = [image for image in images if image.features is not None]
        kept = [_kept(len(image.values)) for image in fitted]
        known = [
            surrogate.Evaluated(image.design.coalitions[k], image.features[torch.from_numpy(k)], image.values[k])
            for image, k in zip(fitted, kept, strict=True)
            if image.features is not None
        ]
        weights = surrogate.fit(known, model.output_of_features, o.steps, bounded=model.bounded) if known else []
        model.backwards += o.steps * sum(len(k.values) for k in known) * (not model.affine)
        for image, k, w in zip(fitted, kept, weights, strict=True):
            seen = surrogate.predict(w, image.design.coalitions, model.output_of_features)
            image.r2 = surrogate.r_squared(seen[~k], image.values[~k])
            if image.r2 < o.min_r2 and o.surrogate == "auto":
                continue
            n = len(image.segments)
            large = games.exact(n, o.value) if n <= games.EXACT else games.sampled(n, o.value, o.pairs, _rng(image))
            worth, se = large.worth(surrogate.predict(w, large.coalitions, model.output_of_features))
            if o.correct:
                missed, missed_se = image.design.worth(image.values - seen)
                worth, se = worth + missed, np.hypot(se, missed_se)
            image.worth, image.se, image.used = worth, se, "PIE"

    # -- what is shown -----------------------------------------------------------------------------------------------
    def _class_row(self, task: Task, model: Model, images: list[Image]) -> Concept:
        """The top segments of all images as one concept."""
        o, pictures = self.options, task.samples.images.detach().cpu()
        local, maps = torch.zeros(len(pictures)), torch.zeros(len(pictures), *pictures.shape[-2:])
        for image in images:
            local[image.index] = float(image.worth[image.top])
            if image.worth[image.top] > 0:
                maps[image.index] = image.segments.masks[image.top].float()
        alone, _ = model.ask((_only(pictures, image, image.top) for image in images), "top")
        # An image that is one segment as a whole shows no concept, if another does.
        several = [image for image in images if len(image.segments) > 1] or images
        best = sorted(several, key=lambda image: -float(local[image.index]))[: o.exemplars]
        gain = [float(image.values[-1] - image.values[0]) for image in images]
        tops = local[[image.index for image in images]]
        evidence = {
            "alone": float(alone.mean()),
            "whole": float(np.mean([image.values[-1] for image in images])),
            "empty": float(np.mean([image.values[0] for image in images])),
            "gain": float(np.mean(gain)),
            "value_sd": float(tops.std(correction=0)),
            "se": float(np.mean([image.se[image.top] for image in images])),
            "area": float(np.mean([image.segments.masks[image.top].float().mean() for image in images])),
            "segments": float(np.mean([len(image.segments) for image in images])),
        }
        r2 = [image.r2 for image in images if image.r2 is not None]
        if r2:
            evidence["r2"] = float(np.median(r2))
        ids = tuple(f"{task.samples.ids[image.index]}#{image.segments.names[image.top]}" for image in best)
        return Concept(
            name="top segment",
            importance=float(tops.mean()),
            samples=Samples("image", torch.cat([_only(pictures, image, image.top) for image in best]), ids),
            render=f"segment:{o.baseline}",
            source=torch.tensor([image.index for image in best]),
            maps=maps,
            local=local,
            evidence=evidence,
        )

    def _part(self, task: Task, image: Image) -> Explanation:
        """The segments of one image; their maps are masks on that image alone."""
        o = self.options
        concepts = []
        for i in image.order:
            mask = image.segments.masks[i]
            evidence = {"se": float(image.se[i]), "area": float(mask.float().mean())}
            concepts.append(
                Concept(
                    name=image.segments.names[i],
                    importance=float(image.worth[i]),
                    render=f"segment:{o.baseline}",
                    source=torch.tensor([image.index]),
                    maps=mask[None].float(),
                    local=torch.tensor([float(image.worth[i])]),
                    evidence=evidence,
                )
            )
        unit = f"{o.value.title()} value of the segment for the class {o.output}"
        return Explanation("eac", task.target_name, unit, tuple(concepts), notes=(f"values from {image.used}",))

    @staticmethod
    def _trace(task: Task, image: Image) -> dict[str, object]:
        return {
            "image": task.samples.ids[image.index],
            "segments": len(image.segments),
            "left_out": image.segments.left_out,
            "coalitions": len(image.values),
            "values_from": image.used,
            "r2": image.r2,
            "whole": float(image.values[-1]),
            "empty": float(image.values[0]),
        }

    def _notes(self, model: Model, images: list[Image], count: int) -> list[str]:
        o, notes = self.options, []
        for used in ("all coalitions", "PIE", "sampled coalitions"):
            n = sum(image.used == used for image in images)
            if n:
                notes.append(f"{n} of {count} images: values from {used}")
        r2 = sorted(image.r2 for image in images if image.r2 is not None)
        if r2:
            poor = sum(r < o.min_r2 for r in r2)
            then = (
                "their values come from the sampled coalitions" if o.surrogate == "auto" else "trust their values less"
            )
            doubt = f"; below {o.min_r2:g} in {poor}: {then}" if poor else ""
            notes.append(
                f"PIE at {model.layer}: R^2 on held-out coalitions, median {np.median(r2):.2f}, "
                f"lowest {r2[0]:.2f}{doubt}"
            )
        if o.surrogate == "auto" and model.layer is None and any(not image.design.exact for image in images):
            notes.append("no PIE: the classifier shows no activations and gradients")
        for n, what in ((0, "no segment"), (1, "one segment, the whole of what is explained")):
            alike = count - len(images) if n == 0 else sum(len(image.segments) == 1 for image in images)
            if alike:
                notes.append(f"{alike} of {count} images have {what}")
        against = sum(image.worth[image.top] <= 0 for image in images)
        if against:
            notes.append(f"in {against} of {count} images no segment speaks for the class")
        left = sum(image.segments.left_out > 0 for image in images)
        if left:
            where = "joined in the rest" if o.rest else "left out"
            notes.append(f"{left} of {count} images have more than {o.max_segments} segments: the smallest are {where}")
        return notes


def _kept(m: int) -> NDArray[np.bool_]:
    """Which of m coalitions a surrogate is fitted to: all but every fifth; the empty and the whole one always are."""
    held_out: NDArray[np.bool_] = np.arange(m) % HELD_OUT == HELD_OUT // 2
    held_out[[0, -1]] = False
    return ~held_out


def _rng(image: Image) -> np.random.Generator:
    """For permutations of the surrogate: the same for the same coalitions."""
    return np.random.default_rng(zlib.crc32(np.packbits(image.design.coalitions).tobytes()))


def _only(pictures: Tensor, image: Image, segment: int) -> Tensor:
    """(1, 3, H, W) the picture in one segment, the background elsewhere."""
    return torch.where(image.segments.masks[segment], pictures[image.index].float(), image.behind)[None]
