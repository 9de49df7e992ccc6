"""ACE (Ghorbani et al., NeurIPS 2019): segment, cluster, and measure the sensitivity of the class to each cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from xcore_evidence.statistics import signed_marks
from xcore_tcav.maps import with_projections
from xcore_tcav.scorer import Scorer, SetScore, recording

from xcore.contract import Concept, Cost, Explanation, NotApplicable, Samples, Task
from xcore_ace.clusters import Cluster, clusters
from xcore_ace.options import Options
from xcore_ace.patches import how_of, patch, segments

IMPORTANCE_IS = "TCAV score: share of class images whose logit rises along the CAV of the segments, mean over CAVs"

OTHERS = 10
"""Images beside those of the discovery that are enough to measure sensitivity in."""


@dataclass(frozen=True, eq=False)
class Found:
    """All segments of the images in which concepts are looked for."""

    masks: Tensor
    """(n, H, W) bool."""
    source: Tensor
    """(n,) index of the image of each."""
    activations: Tensor
    """(n, C), averaged over positions."""

    def shown(self, images: Samples, rows: Sequence[int], render: str) -> Samples:
        """The segments of these rows as pictures."""
        source = self.source[list(rows)].tolist()
        pictures = [patch(images.images[i], self.masks[row]) for i, row in zip(source, rows, strict=True)]
        ids = tuple(f"{images.ids[i]}#{render}:{row}" for i, row in zip(source, rows, strict=True))
        return Samples("image", torch.stack(pictures), ids)


class Ace:
    """Concepts of a class: clusters of segments of its images that a layer sees alike, ranked by TCAV.

    Each image is cut into superpixels at several resolutions. Every segment is enlarged to the size of an image, on
    grey, and the activations of all segments are clustered. Clusters that are common among the images are concepts.
    Their importance is the TCAV score, beside random segments of images of other classes.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients or activations, the head is affine at the layer, or no cluster is common.

    References
    ----------
    Ghorbani et al., Towards Automatic Concept-based Explanations, NeurIPS 2019, arXiv:1902.03129. The test differs from
    theirs (`xcore_tcav.inference.rank_p`); ``test=ttest`` is like theirs.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task by clusters of segments of its images."""
        start, o, images = time.perf_counter(), self.options, task.samples
        if missing := {"activations", "gradients"} - task.classifier.can:
            raise NotApplicable(f"ace needs {' and '.join(sorted(missing))}, and this classifier gives none")
        layer = task.layer or task.classifier.default_layer
        discovery = images.take(slice(o.discovery))
        others = images.take(slice(o.discovery, None))
        measured = others if len(others) >= OTHERS else images
        drawn: set[str] = set()
        random_set, probe = recording(task.random_set, drawn), task.classifier.open(layer)
        scorer = Scorer(probe, task.target, measured, random_set, negatives=o.negatives, pool=True)
        found = self._segments(task, scorer, discovery)
        common = clusters(found.activations, found.source, o.clusters, o.least, task.seed)
        if not common:
            raise NotApplicable(
                f"none of {o.clusters} clusters of {len(found.source)} segments has {o.least} of them and is in enough "
                "of the images",
                "give more images with --samples, or lower ace.least",
            )
        task.progress(len(discovery), len(discovery) + 1, f"sensitivity to {len(common)} clusters at {layer}")
        concepts = self._concepts(found, common, scorer, images, layer)
        concepts, mapped = with_projections(probe, images, concepts, layer, len(concepts))
        task.progress(len(discovery) + 1, len(discovery) + 1, "done")
        return Explanation(
            method="ace",
            target=task.target_name,
            importance_is=IMPORTANCE_IS,
            concepts=tuple(concepts),
            notes=self._notes(found, common, concepts, len(discovery), len(measured), mapped),
            cost=Cost(
                seconds=time.perf_counter() - start,
                forwards=len(found.source) + len(measured) + len(images) + len(drawn),
                backwards=len(measured),
            ),
        )

    @property
    def render(self) -> str:
        """How the pictures of concepts are made, and those of random sets."""
        o = self.options
        return f"patch:{how_of(o.resolutions, o.min_share, o.overlap)}"

    def _segments(self, task: Task, scorer: Scorer, discovery: Samples) -> Found:
        """The segments of all these images, and their activations; image by image, to hold few pictures at a time."""
        o = self.options
        masks: list[Tensor] = []
        activations: list[Tensor] = []
        for i, image in enumerate(discovery.images):
            task.progress(i, len(discovery) + 1, "segments")
            own = segments(image, o.resolutions, o.min_share, o.overlap)
            if not len(own):
                raise NotApplicable(
                    f"no segment of {discovery.ids[i]} has more than {o.min_share:g} of the image",
                    "lower ace.min_share, or ace.resolutions",
                )
            pictures = torch.stack([patch(image, mask) for mask in own])
            ids = tuple(f"{discovery.ids[i]}#{self.render}:{k}" for k in range(len(own)))
            masks.append(own)
            activations.append(scorer.activations(Samples("image", pictures, ids)).cpu())
        source = torch.arange(len(discovery)).repeat_interleave(torch.tensor([len(own) for own in masks]))
        return Found(torch.cat(masks), source, torch.cat(activations))

    def _concepts(
        self, found: Found, common: Sequence[Cluster], scorer: Scorer, images: Samples, layer: str
    ) -> list[Concept]:
        """The clusters with their TCAV scores and tests, the largest score first; of equal ones the larger effect."""
        o = self.options
        sets = [found.shown(images, cluster.members[: o.patches], self.render) for cluster in common]
        scores = scorer.score_many(sets, self.render)
        both = [self._p_values(scorer, score) for score in scores]
        marks, adjusted = signed_marks([p for p, _ in both], [p for _, p in both], o.alpha)
        concepts = []
        for cluster, shown, score, p, mark, holm in zip(common, sets, scores, both, marks, adjusted, strict=True):
            rows = list(cluster.members)
            evidence = {
                "ts": score.ts,
                "ts_std": score.ts_std,
                "effect": score.effect,
                "lo": score.effect_lo,
                "hi": score.effect_hi,
                "cav_accuracy": score.accuracy,
                "p": p[0],
                "p_against": p[1],
                "p_holm": float(holm),
                "mark": float(mark),
                "outside": abs(float(mark)),
                "segments": float(len(rows)),
                "images": float(len(found.source[rows].unique())),
                "calibrated": float(o.test == "rank"),
            }
            concept = Concept(
                f"cluster {cluster.number + 1}",
                score.ts,
                shown,
                render=self.render,
                source=found.source[rows[: o.patches]],
                directions={layer: scorer.direction(shown, self.render).cpu()},
                evidence=evidence,
            )
            concepts.append(concept)
        kept = [c for c in concepts if o.keep == "all" or c.evidence["mark"]]
        if not kept:
            raise NotApplicable(
                f"the test marks none of {len(concepts)} clusters", "keep all of them with --set ace.keep=all"
            )
        return sorted(kept, key=lambda c: (-c.importance, -c.evidence["effect"]))

    def _p_values(self, scorer: Scorer, score: SetScore) -> tuple[float, float]:
        o = self.options
        return scorer.p_values(score, o.null) if o.test == "rank" else scorer.welch_p_values(score)

    def _notes(
        self,
        found: Found,
        common: Sequence[Cluster],
        concepts: Sequence[Concept],
        discovery: int,
        measured: int,
        mapped: bool,
    ) -> tuple[str, ...]:
        o, n = self.options, len(found.source)
        held = sum(len(cluster.members) for cluster in common)
        marks = [c.evidence["mark"] for c in concepts]
        notes = [
            f"{n} segments of {discovery} images in {min(o.clusters, n)} clusters, of which {len(common)} are common "
            f"enough to be concepts and hold {held / n:.0%} of the segments; sensitivity in {measured} images",
            f"of {len(concepts)} concepts {marks.count(1)} raise the class and {marks.count(-1)} lower it (one-sided "
            f"tests against random segments, Holm at {o.alpha:g} on each side)",
        ]
        if o.test == "ttest":
            notes.append("p comes from the t-test over random sets, which is not calibrated")
        if not mapped:
            notes.append("there are no maps, because the layer has no grid of positions")
        return tuple(notes)
