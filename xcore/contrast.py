"""Random sets that are rendered like a concept's samples.

A contrast of crisp data-set images lets a CAV separate a concept by blur, scale or black pixels, and the score then
speaks of the medium, equally for every concept. So contrast images are cropped or generated as the concept's were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xcore.errors import MissingError, NotApplicable, UsageError
from xcore.types import Samples, Split

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.protocols import Dataset, Generator
    from xcore.roles import Segmenter

NULL = 1000
"""Sets with an index below are negatives; from here on they are counterparts of a concept, for a null."""

POOL = 240
"""Samples in each of the two pools (negatives, counterparts) from which the sets are drawn."""

DRAWN_POOL = 120
"""The same for pools that a generator draws, where every sample costs a whole denoising run."""

Pool = Callable[[int, int], Samples]


class Contrast:
    """The random sets of one class: negatives and counterparts come from two pools that share no sample.

    Parameters
    ----------
    data
        Where the samples come from: every class but `exclude`, in equal parts.
    split
        "train" for methods, "heldout" for metrics.
    generator, vocabulary
        For the rendering ``generated:...``: unrelated prompts of the same generator, without adapter.
    pool
        Maker of generated pools ``(start_seed, n)``; None = drawn here each time. The core passes one that keeps them.
    segmenter
        For the rendering ``segment:black`` or ``segment:mean``: gives the model of that role. An image is then seen
        through one of its segments, drawn in proportion to its area, since top segments are rarely specks.
    pool_size
        Samples in each pool; None = `POOL`, or `DRAWN_POOL` where a generator draws them.
    """

    def __init__(
        self,
        data: Dataset,
        exclude: str,
        split: Split,
        *,
        seed: int,
        generator: Generator | None = None,
        vocabulary: tuple[str, ...] = (),
        pool: Pool | None = None,
        segmenter: Callable[[], Segmenter] | None = None,
        pool_size: int | None = None,
    ) -> None:
        self._data, self._exclude, self._split, self._seed = data, exclude, split, seed
        self._generator, self._vocabulary = generator, vocabulary
        self._make_pool = pool or self._draw_pool
        self._segmenter = segmenter
        self._size, self._drawn_size = pool_size or POOL, pool_size or DRAWN_POOL
        self._pools: dict[tuple[str, bool], Samples] = {}

    def __call__(self, n: int, index: int, render: str) -> Samples:
        """The index-th random set of n samples, rendered like ``render``.

        Raises
        ------
        NotApplicable
            If the rendering is not known, or the pool is smaller than n, or no larger for more than one set.
        MissingError
            If there is no other class to draw from, or no generator for a generated rendering.
        """
        import numpy as np

        medium, _, how = render.partition(":")
        if medium not in ("as-is", "crop", "generated", "segment"):
            raise NotApplicable(f"no contrast can be rendered as {render!r}")
        kept = {"generated": "generated", "segment": render}.get(medium, "data")
        pool = self._pool(kept, null=index >= NULL)
        if n > len(pool) or (n == len(pool) and index not in (0, NULL)):
            said = f"a random set of {n} samples is larger than its pool of {len(pool)}"
            if n == len(pool):
                said = f"random sets of {n} samples are all the same, since their pool has no more"
            most = len(pool) - 1
            hint = f"ask for sets of {most} or fewer, by the option n" if most > 1 else "more samples are needed"
            raise NotApplicable(said, hint)
        rng = np.random.default_rng([self._seed, index, n])
        chosen = pool.take(sorted(rng.choice(len(pool), size=n, replace=False).tolist()))
        return crops(chosen, how, rng) if medium == "crop" else chosen

    def _pool(self, medium: str, *, null: bool) -> Samples:
        key = (medium, null)
        if key not in self._pools:
            if medium == "generated":
                offset = (0 if self._split == "train" else 2) + int(null)
                self._pools[key] = self._make_pool(1_000_000 * (1 + offset) + self._seed, self._drawn_size)
            elif medium.startswith("segment:"):
                self._pools[key] = self._segmented(self._pool("data", null=null), medium.partition(":")[2])
            else:
                both = self._from_data()
                half = len(both) // 2
                self._pools["data", False] = both.take(range(half))
                self._pools["data", True] = both.take(range(half, len(both)))
        return self._pools[key]

    def _from_data(self) -> Samples:
        import numpy as np

        others = [c for c in self._data.classes if c != self._exclude]
        if not others:
            raise MissingError("random sets need samples of other classes", "name a data set with --contrast REF")
        share = -(-2 * self._size // len(others))
        parts = [self._data.samples(c, self._split, share, self._seed) for c in others]
        joined = Samples.concat([p for p in parts if len(p)])
        order = np.random.default_rng([self._seed, 7]).permutation(len(joined))
        return joined.take(order.tolist())

    def _segmented(self, pool: Samples, fill: str) -> Samples:
        import numpy as np

        if self._segmenter is None:
            raise NotApplicable("contrast rendered as segments needs a segmenter", "name one: --model segmenter=REF")
        if fill not in ("black", "mean"):
            raise NotApplicable(
                f"no contrast can be rendered as 'segment:{fill}'", "with segment:black or segment:mean"
            )
        segmenter, rng = self._segmenter(), np.random.default_rng([self._seed, 8])
        return segments(pool, [segmenter.segment(image) for image in pool.images], fill, rng)

    def _draw_pool(self, start_seed: int, n: int) -> Samples:
        if self._generator is None:
            raise MissingError(
                "generated contrast needs the generator that drew the concepts", "name it: --generator REF"
            )
        return generate_pool(self._generator, self._vocabulary, start_seed, n)


def generate_pool(generator: Generator, vocabulary: tuple[str, ...], start_seed: int, n: int) -> Samples:
    """Draw n samples of random phrases of the vocabulary with the generator's base weights.

    Fewer if it has no words for some of them.
    """
    import numpy as np

    if not vocabulary:
        raise MissingError("generated contrast needs phrases to draw", "the data set has no vocabulary")
    rng = np.random.default_rng(start_seed)
    prompts = [vocabulary[i] for i in rng.integers(len(vocabulary), size=n)]
    drawn = generator.generate(prompts, [start_seed + i for i in range(n)])
    filled = replace(drawn, meta={}).filled()
    if not len(filled):
        raise MissingError(
            f"the generator has no words for any of {n} phrases of the vocabulary, such as {prompts[0]!r}",
            "name another generator or another question for it",
        )
    return filled


def segments(samples: Samples, masks: Sequence[Tensor], fill: str, rng: object) -> Samples:
    """Each image within one of its masks (n, H, W), drawn in proportion to their area, on black or the image's mean.

    Images without a segment are left out.
    """
    import torch

    choose: Callable[..., int] = rng.choice  # type: ignore[attr-defined]
    kept: list[int] = []
    shown: list[Tensor] = []
    for i, (image, own) in enumerate(zip(samples.images, masks, strict=True)):
        area = own.flatten(1).double().sum(1)
        if not area.sum():
            continue
        mask = own[int(choose(len(own), p=(area / area.sum()).numpy()))]
        around = image.mean((1, 2), keepdim=True) if fill == "mean" else torch.zeros_like(image)
        kept.append(i)
        shown.append(torch.where(mask, image, around))
    if not shown:
        raise NotApplicable("no contrast image has a segment", "name another segmenter: --model segmenter=REF")
    ids = tuple(f"{samples.ids[i]}#segment:{fill}" for i in kept)
    return replace(samples.take(kept), data=torch.stack(shown), ids=ids)


def parse_crop(how: str) -> tuple[int, tuple[int, int]]:
    """Short side of the crop and output size of ``32>64`` or ``32>64x96`` (height x width), in pixels."""
    match = re.fullmatch(r"(\d+)>(\d+)(?:x(\d+))?", how)
    if match is None:
        raise UsageError(f"rendering 'crop:{how}' is not of the form crop:SIDE>SIZE or crop:SIDE>HEIGHTxWIDTH")
    side, height = int(match[1]), int(match[2])
    return side, (height, int(match[3] or height))


def crops(samples: Samples, how: str, rng: object) -> Samples:
    """One random crop of each image, of the output's aspect ratio, resized as ``how`` says (see `parse_crop`)."""
    import torch
    from torch.nn.functional import interpolate

    side, size = parse_crop(how)
    tall, wide = (round(length * side / min(size)) for length in size)
    height, width = samples.images.shape[-2:]
    if tall > height or wide > width:
        raise NotApplicable(f"a crop of {tall}x{wide} pixels does not fit images of {height}x{width}")
    draw: Callable[[int], int] = rng.integers  # type: ignore[attr-defined]
    cut: list[Tensor] = []
    for image in samples.images:
        top, left = int(draw(height - tall + 1)), int(draw(width - wide + 1))
        cut.append(image[:, top : top + tall, left : left + wide])
    data = interpolate(torch.stack(cut), size=size, mode="bilinear", align_corners=False)
    ids = tuple(f"{i}#crop{how}" for i in samples.ids)
    return Samples("image", data.clamp(0, 1), ids, samples.labels)
