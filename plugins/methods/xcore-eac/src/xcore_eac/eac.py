"""Explain Any Concept (Sun et al., NeurIPS 2023): segments of an image, ranked by their worth for the class."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from xcore_eac import games, surrogate
from xcore_eac.options import EacOptions
from xcore_eac.segments import Segments, background, coalition_images, segment_image
from xcore_eac.value_function import LOGITS, ValueFunction, find_feature_layer

Floats = NDArray[np.float64]
HELD_OUT = 5
"""One in this many coalitions is held out from the fit of the surrogate, to measure its R^2."""
ALWAYS_EXACT_BELOW = 4
"""Fewer segments than this have so few coalitions that all are evaluated, whatever the budget."""


@dataclass(eq=False)
class SegmentedImage:
    """One image with its segments, the evaluated coalitions and the values of the segments."""

    index: int
    """Index into the samples of the task."""
    segments: Segments
    behind: Tensor
    """(3, H, W) what replaces absent segments."""
    design: games.Design
    """The coalitions that the classifier evaluated."""
    values: Floats
    """(m,) what the classifier gives for these coalitions."""
    features: Tensor | None = None
    """(m, F) features of these coalitions; None if no surrogate is to be fitted."""
    worth: Floats = field(default_factory=lambda: np.zeros(0))
    """(n,) Shapley or Banzhaf value of each segment."""
    se: Floats = field(default_factory=lambda: np.zeros(0))
    """(n,) standard error of `worth`."""
    r2: float | None = None
    """R^2 of the surrogate on held-out coalitions."""
    values_from: str = "all coalitions"
    """How `worth` was computed: "all coalitions", "PIE" or "sampled coalitions"."""

    @property
    def order(self) -> list[int]:
        """Indices of the segments, most valuable first; ties go to the first."""
        return [int(i) for i in np.argsort(-self.worth, kind="stable")]

    @property
    def top(self) -> int:
        """Index of the most valuable segment."""
        return self.order[0]


class Eac:
    """Segments of each image, ranked by their Shapley (or Banzhaf) values for the target class.

    A segmenter divides each image into segments. The value of a coalition of segments is the class probability of the
    image restricted to them. If the budget of coalitions allows it, all coalitions are evaluated. Otherwise the
    coalitions of antithetic permutations are, and a surrogate is fitted to them (`xcore_eac.surrogate`), whose values
    can be computed exactly or cheaply. The values of its errors on the evaluated coalitions are added, so that Shapley
    values of an image add up to the gain of the classifier.

    Raises
    ------
    NotApplicable
        No image has a segment, or the option `surrogate` is "pie" and the classifier gives no gradients.
    UsageError
        There are no images, or the option `layer` names a layer that does not exist or is no cut of the graph.
    MissingError
        There is no segmenter.

    References
    ----------
    Sun et al., Explain Any Concept: Segment Anything Meets Concept-Based Explanation, NeurIPS 2023.
    """

    def __init__(self, options: EacOptions | None = None) -> None:
        self.options = options or EacOptions()

    def default_layer(self, classifier: Classifier, samples: Samples) -> str:
        """The layer of the surrogate unless the user names another; "" if it is fitted to the logits."""
        if self.options.surrogate == "none":
            return ""
        found = find_feature_layer(classifier, self.options.layer, samples)
        return "" if found is None or found.layer == LOGITS else found.layer

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task from its samples."""
        start, o, count = time.perf_counter(), self.options, len(task.samples)
        if task.samples.modality != "image" or not count:
            raise UsageError(f"eac needs images of class {task.target_name!r} to explain, and there are none")
        value_function, images = self._valued(task)
        if not images:
            raise NotApplicable(
                "the segmenter finds no segment in any image",
                "set eac.rest=true, or name another segmenter with --model segmenter=REF",
            )
        empty = sorted(set(range(count)) - {image.index for image in images})
        concept = self._class_concept(task, value_function, images)
        importance_is = f"{o.value.title()} value of the image's top segment for the class {o.output}"
        parts = {image.index: self._part(task, image) for image in images}
        parts |= {
            i: Explanation("eac", task.target_name, importance_is, (), notes=("the image has no segment",))
            for i in empty
        }
        task.progress(count + 1, count + 1, "done")
        return Explanation(
            method="eac",
            target=task.target_name,
            importance_is=importance_is,
            concepts=(concept,),
            parts=tuple(parts[i] for i in range(count)),
            trace=tuple(self._trace(task, image) for image in images),
            notes=tuple(self._notes(value_function, images, count)),
            cost=Cost(
                seconds=time.perf_counter() - start,
                forwards=value_function.forwards,
                backwards=value_function.backwards,
            ),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Find the concept in other images: the segments of each are valued anew, and its top segment is the concept.

        A segment is of one image, so no segment of an explained image is looked for in another one. What the images
        share is the rule: the concept is the segment that raises the class most. Its value is large where the class
        has something to see, and about 0 elsewhere. It costs as many passes as the explanation of these images.

        Parameters
        ----------
        explanation
            An explanation by this method.
        task
            With the other images as its samples, and a segmenter.
        """
        o, count = self.options, len(task.samples)
        if task.samples.modality != "image":
            raise UsageError("eac finds segments in images, and these samples are texts")
        images = self._valued(task)[1]
        local, maps = _top_segments(images, task.samples)
        notes = ["the segments of each image are valued anew; none is compared with those of the explained images"]
        if without := count - len(images):
            notes.append(f"{without} of {count} images have no segment: their strength is 0")
        if against := sum(image.worth[image.top] <= 0 for image in images):
            notes.append(f"in {against} of {count} images no segment raises the class {o.output}: their map is empty")
        is_what = f"{o.value.title()} value of the image's top segment for the class {o.output}"
        return Presence(local[:, None], is_what, maps[:, None], tuple(notes))

    # -- values ------------------------------------------------------------------------------------------------------
    def _valued(self, task: Task) -> tuple[ValueFunction, list[SegmentedImage]]:
        """The value function, and the images that have segments, with their values."""
        o, count = self.options, len(task.samples)
        segmenter = task.model("segmenter")
        feature_layer = None
        if o.surrogate != "none":
            feature_layer = find_feature_layer(task.classifier, o.layer, task.samples)
            if feature_layer is None and o.surrogate == "pie":
                raise NotApplicable(
                    "PIE needs activations and gradients, and this classifier gives none",
                    "set eac.surrogate=auto or eac.surrogate=none",
                )
        value_function = ValueFunction(task, o.output, feature_layer)
        images: list[SegmentedImage] = []
        for i in range(count):
            segments = segment_image(segmenter, task.samples.images[i], o.max_segments, o.rest)
            if len(segments):
                images.append(self._evaluate(task, value_function, i, segments))
            task.progress(i + 1, count + 1, f"image {i + 1} of {count}: {len(segments)} segments")
        self._compute_worth(value_function, images)
        return value_function, images

    def _evaluate(self, task: Task, value_function: ValueFunction, index: int, segments: Segments) -> SegmentedImage:
        """Evaluate coalitions of the segments of one image."""
        o, n, picture = self.options, len(segments), task.samples.images[index].detach().cpu().float()
        small = n < ALWAYS_EXACT_BELOW or (2**n <= o.coalitions and o.surrogate != "pie")
        if small:
            design = games.exact(n, o.value)
        else:
            # Seeded by the content of the image, so that the order and the repetition of images change nothing.
            rng = np.random.default_rng([task.seed, zlib.crc32(picture.contiguous().numpy().tobytes())])
            design = games.sampled(n, o.value, o.coalitions, rng, evaluations=o.coalitions)
        behind = background(picture, o.baseline)
        batches = coalition_images(picture, behind, segments.masks, torch.from_numpy(design.coalitions))
        values, features = value_function.of_images(batches, task.samples.ids[index], with_features=not small)
        return SegmentedImage(index, segments, behind, design, values, features)

    def _compute_worth(self, value_function: ValueFunction, images: list[SegmentedImage]) -> None:
        """Set the worth of the segments of every image, and how it was computed."""
        o = self.options
        for image in images:
            image.worth, image.se = image.design.worth(image.values)
            if not image.design.exact:
                image.values_from = "sampled coalitions"
        fitted = [image for image in images if image.features is not None]
        kept = [_fitted_to(len(image.values)) for image in fitted]
        observations = [
            surrogate.Observations(image.design.coalitions[k], image.features[torch.from_numpy(k)], image.values[k])
            for image, k in zip(fitted, kept, strict=True)
            if image.features is not None
        ]
        output = value_function.of_features
        weights = surrogate.fit(observations, output, o.steps, bounded=value_function.bounded) if observations else []
        if not value_function.affine:
            value_function.backwards += o.steps * sum(len(x.values) for x in observations)
        for image, k, w in zip(fitted, kept, weights, strict=True):
            predicted = surrogate.predict(w, image.design.coalitions, output)
            image.r2 = surrogate.r_squared(predicted[~k], image.values[~k])
            if image.r2 < o.min_r2 and o.surrogate == "auto":
                continue
            n = len(image.segments)
            large = games.exact(n, o.value) if n <= games.EXACT else games.sampled(n, o.value, o.pairs, _rng(image))
            worth, se = large.worth(surrogate.predict(w, large.coalitions, output))
            if o.correct:
                correction, correction_se = image.design.worth(image.values - predicted)
                worth, se = worth + correction, np.hypot(se, correction_se)
            image.worth, image.se, image.values_from = worth, se, "PIE"

    # -- the explanation -----------------------------------------------------------------------------------------------
    def _class_concept(self, task: Task, value_function: ValueFunction, images: list[SegmentedImage]) -> Concept:
        """The top segments of all images as one concept."""
        o, pictures = self.options, task.samples.images.detach().cpu()
        local, maps = _top_segments(images, task.samples)
        alone, _ = value_function.of_images((_restricted_to(pictures, image, image.top) for image in images), "top")
        # An image that is one segment as a whole shows no concept, so it is left out if there are others.
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
            samples=Samples("image", torch.cat([_restricted_to(pictures, image, image.top) for image in best]), ids),
            render=f"segment:{o.baseline}",
            source=torch.tensor([image.index for image in best]),
            maps=maps,
            local=local,
            evidence=evidence,
        )

    def _part(self, task: Task, image: SegmentedImage) -> Explanation:
        """The segments of one image; their maps are masks (1, H, W) on that image."""
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
        return Explanation("eac", task.target_name, unit, tuple(concepts), notes=(f"values from {image.values_from}",))

    @staticmethod
    def _trace(task: Task, image: SegmentedImage) -> dict[str, object]:
        return {
            "image": task.samples.ids[image.index],
            "segments": len(image.segments),
            "left_out": image.segments.left_out,
            "coalitions": len(image.values),
            "values_from": image.values_from,
            "r2": image.r2,
            "whole": float(image.values[-1]),
            "empty": float(image.values[0]),
        }

    def _notes(self, value_function: ValueFunction, images: list[SegmentedImage], count: int) -> list[str]:
        o, notes = self.options, []
        for values_from in ("all coalitions", "PIE", "sampled coalitions"):
            n = sum(image.values_from == values_from for image in images)
            if n:
                notes.append(f"{n} of {count} images: values from {values_from}")
        r2 = sorted(image.r2 for image in images if image.r2 is not None)
        if r2:
            poor = sum(r < o.min_r2 for r in r2)
            then = (
                "their values come from the sampled coalitions"
                if o.surrogate == "auto"
                else "do not rely on their values"
            )
            warning = f"; it is below {o.min_r2:g} for {poor} image(s): {then}" if poor else ""
            notes.append(
                f"PIE at layer {value_function.layer}: R^2 on held-out coalitions has median {np.median(r2):.2f} and "
                f"minimum {r2[0]:.2f}{warning}"
            )
        if o.surrogate == "auto" and value_function.layer is None and any(not image.design.exact for image in images):
            notes.append("PIE is not used, because the classifier gives no activations and gradients")
        without = count - len(images)
        if without:
            notes.append(f"{without} of {count} images have no segment")
        single = sum(len(image.segments) == 1 for image in images)
        if single:
            notes.append(f"{single} of {count} images have only one segment")
        against = sum(image.worth[image.top] <= 0 for image in images)
        if against:
            notes.append(f"in {against} of {count} images no segment raises the class {o.output}")
        too_many = sum(image.segments.left_out > 0 for image in images)
        if too_many:
            where = "joined in `rest`" if o.rest else "left out"
            notes.append(
                f"{too_many} of {count} images have more than {o.max_segments} segments: the smallest are {where}"
            )
        return notes


def _top_segments(images: list[SegmentedImage], samples: Samples) -> tuple[Tensor, Tensor]:
    """The value of the top segment of each image (N,), and its mask (N, H, W); 0 where no segment raises the class."""
    local, maps = torch.zeros(len(samples)), torch.zeros(len(samples), *samples.images.shape[-2:])
    for image in images:
        local[image.index] = float(image.worth[image.top])
        if image.worth[image.top] > 0:
            maps[image.index] = image.segments.masks[image.top].float()
    return local, maps


def _fitted_to(m: int) -> NDArray[np.bool_]:
    """Which of m coalitions a surrogate is fitted to: all but every fifth, and always the empty and the full one."""
    held_out: NDArray[np.bool_] = np.arange(m) % HELD_OUT == HELD_OUT // 2
    held_out[[0, -1]] = False
    return ~held_out


def _rng(image: SegmentedImage) -> np.random.Generator:
    """The generator of the surrogate's permutations, seeded by the coalitions of the image."""
    return np.random.default_rng(zlib.crc32(np.packbits(image.design.coalitions).tobytes()))


def _restricted_to(pictures: Tensor, image: SegmentedImage, segment: int) -> Tensor:
    """(1, 3, H, W) the image inside one segment, the background elsewhere."""
    return torch.where(image.segments.masks[segment], pictures[image.index].float(), image.behind)[None]
