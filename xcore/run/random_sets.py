"""Random sets of samples of other classes, rendered like a concept's samples.

Against crisp images of the data set, a CAV separates a concept's crops or drawings by their blur, scale or black
pixels: the score then measures how the samples were made, and is alike for every concept. So the images of random sets
are cropped, segmented or generated as the concept's samples were.

A concept that a generator draws is n drawings of *one* phrase. Negatives are drawings of many phrases; what takes the
concept's place in a null distribution is a set of n drawings of one random phrase, by the same adapter if the concept's
drawings were tuned. So the unit is the phrase: with P phrases, no rank can give a p-value below 1 / (P + 1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from xcore.base.errors import MissingError, NotApplicable
from xcore.contract.samples import Samples
from xcore.contract.types import Split
from xcore.inputs.renderings import crops, segments
from xcore.loading.rules import RENDERINGS
from xcore.run.data import further_samples
from xcore.run.drawing import drawn_phrases, generate_pool, generate_sets
from xcore.run.sample_pool import SamplePool

if TYPE_CHECKING:
    import numpy as np

    from xcore.contract.protocols import Dataset, Generator, Purpose
    from xcore.contract.roles import Segmenter
    from xcore.contract.types import Adapter

NULL_OFFSET = 1000
"""Added to the index of a set for a null in the seed of its draw, so that the two purposes draw differently."""

POOL = 240
"""Samples in each of the two pools (negatives, counterparts) from which the sets are drawn."""

DRAWN_POOL = 120
"""The same for pools that a generator draws, where every sample costs a whole denoising run."""

PHRASES, TUNED_PHRASES = 60, 20
"""Random phrases that are drawn for a null distribution, and how many of them by each adapter.

Every adapter needs drawings of its own. By its rank a p-value is then at least 1 / 61 or 1 / 21.
"""

SET = 10
"""Samples drawn of each phrase, or as many as the largest set needs."""


class Pool(Protocol):
    """Draws what random sets are taken from."""

    def __call__(self, start_seed: int, n: int, each: int = 0, adapter: Adapter | None = None) -> Samples:
        """Draw n samples of random phrases; with `each` > 0, so many samples of each of n phrases.

        See `xcore.run.drawing.generate_pool` and `generate_sets`.
        """


Rendering = Callable[[Samples, str, "np.random.Generator"], Samples]
"""(samples, how, rng) -> the samples as a concept's are shown; `how` is what follows the colon of `Concept.render`."""


def _as_they_are(samples: Samples, how: str, rng: np.random.Generator) -> Samples:
    """Segments and generated samples are rendered when their pool is made."""
    return samples


BUILT_IN: dict[str, Rendering] = {**dict.fromkeys(RENDERINGS, _as_they_are), "crop": crops}


class RandomSets:
    """The random sets of one class: negatives and counterparts come from two pools that share no sample.

    Parameters
    ----------
    data
        Where the samples come from: every class but `exclude`, in equal parts.
    split
        "train" for methods, "heldout" for metrics. Where other classes have too few samples for training, methods get
        those that are there to explain them, too.
    generator, vocabulary
        For the rendering ``generated:<fingerprint>``: unrelated prompts of the same generator, without adapter. Sets of
        a null for ``generated:<fingerprint>+<digest>`` are drawn by the adapter of this digest (`know_adapters`).
    pool
        Maker of generated pools; None = drawn here each time. The core passes one that keeps them.
    segmenter
        For the rendering ``segment:black`` or ``segment:mean``: gives the model of that role. An image is then seen
        through one of its segments, drawn in proportion to its area, since top segments are rarely specks.
    renderings
        Name of a rendering -> what a plugin registered for it, or None.
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
        renderings: Callable[[str], Rendering | None] = lambda name: None,
        pool_size: int | None = None,
    ) -> None:
        self._data, self._exclude, self._split, self._seed = data, exclude, split, seed
        self._generator, self._vocabulary = generator, vocabulary
        self._make_pool = pool or self._draw_pool
        self._segmenter = segmenter
        self._renderings = renderings
        self._made: dict[str, Rendering | None] = {}
        self._size, self._drawn_size = pool_size or POOL, pool_size or DRAWN_POOL
        self._pools: dict[tuple[str, Purpose], SamplePool] = {}
        self._adapters: dict[str, Path] = {}  # digest -> its file; a run over many cells would fill the memory else

    def __call__(self, n: int, index: int, render: str = "as-is", purpose: Purpose = "negative") -> Samples:
        """The index-th random set of n samples, rendered like ``render``.

        There are as many drawn sets for a null as there are phrases; a further index gives the first ones again.

        Raises
        ------
        NotApplicable
            If the rendering is not known, or the pool is smaller than n, or no larger for more than one set.
        MissingError
            If there is no other class to draw from, or no generator for a generated rendering.
        """
        import numpy as np

        medium, _, how = render.partition(":")
        apply = self._rendering(render)
        if medium == "generated" and purpose == "null":
            return self._of_one_phrase(n, index, how)
        kept = {"generated": "generated", "segment": render}.get(medium, "data")
        pool = self._pool(kept, purpose)
        if n > len(pool) or (n == len(pool) and index != 0):
            reason = f"a random set of {n} samples is larger than its pool of {len(pool)}"
            if n == len(pool):
                reason = f"random sets of {n} samples are all the same, since their pool has no more"
            most = len(pool) - 1
            hint = f"ask for sets of {most} or fewer, by the option n" if most > 1 else "more samples are needed"
            raise NotApplicable(reason, hint)
        rng = np.random.default_rng([self._seed, index + (NULL_OFFSET if purpose == "null" else 0), n])
        chosen = pool.take(sorted(rng.choice(len(pool), size=n, replace=False).tolist()))
        return apply(chosen, how, rng)

    def know_adapters(self, wanted: Collection[str], files: Mapping[str, Path]) -> None:
        """Find the adapters of these digests among the files of an explanation, which are read where they draw.

        A digest is that of the file as `xcore.pretrained.adapters.load_adapter` reads it.
        """
        from xcore.pretrained.adapters import load_adapter

        missing = set(wanted) - set(self._adapters)
        for name, path in files.items():
            if missing and name.startswith("adapter") and name.endswith(".safetensors"):
                digest = load_adapter(path).digest
                if digest in missing:
                    self._adapters[digest] = path
                    missing.remove(digest)

    def _of_one_phrase(self, n: int, index: int, how: str) -> Samples:
        """n drawings of the index-th random phrase."""
        each, digest = max(n, SET), how.partition("+")[2]
        pool = self._pool(f"generated:{each}+{digest}", "null")
        first = index % (len(pool) // each) * each
        return pool.take(range(first, first + n))

    def _rendering(self, render: str) -> Rendering:
        """What is done with the samples of a set after they are drawn."""
        name = render.partition(":")[0]
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name not in self._made:
            self._made[name] = self._renderings(name)
        made = self._made[name]
        if made is None:
            raise NotApplicable(
                f"no random set can be rendered as {render!r}: no plugin registers the rendering {name!r}",
                f"known: {', '.join(BUILT_IN)}, and those on `xcore list renderings`",
            )
        return made

    def _pool(self, medium: str, purpose: Purpose) -> SamplePool:
        key = (medium, purpose)
        if key not in self._pools:
            if medium.startswith("generated"):
                self._pools[key] = SamplePool.of(self._generated(medium, purpose))
            elif medium.startswith("segment:"):
                how = medium.partition(":")[2]
                self._pools[key] = SamplePool.of(self._segmented(self._pool("data", purpose).all(), how))
            else:
                both = self._from_data()
                half = len(both) // 2
                self._pools["data", "negative"] = both.part(range(half))
                self._pools["data", "null"] = both.part(range(half, len(both)))
        return self._pools[key]

    def _generated(self, medium: str, purpose: Purpose) -> Samples:
        """Drawings of random phrases; for a null, as ``generated:EACH+DIGEST`` says, sets of one phrase each.

        All seeds share these drawings, since hundreds for each seed would take longer than the explanations. Of those
        for negatives each seed takes other sets; the sets of one phrase are the same for all.
        """
        offset = (0 if self._split == "train" else 2) + int(purpose == "null")
        start_seed = 1_000_000 * (1 + offset)
        if purpose != "null":
            return self._make_pool(start_seed, self._drawn_size)
        each, _, digest = medium.partition(":")[2].partition("+")
        if digest and digest not in self._adapters:
            raise NotApplicable(
                f"there is no adapter file with the digest {digest!r}, by which the concept was drawn",
                "a method keeps it in the files of its explanation, under a name adapter*.safetensors",
            )
        if not digest:
            return self._make_pool(start_seed, PHRASES, int(each))
        from xcore.pretrained.adapters import load_adapter

        return self._make_pool(start_seed, TUNED_PHRASES, int(each), load_adapter(self._adapters[digest]))

    def _from_data(self) -> SamplePool:
        import numpy as np

        others = [c for c in self._data.classes if c != self._exclude]
        if not others:
            raise MissingError("random sets need samples of other classes", "name a data set with --contrast REF")
        share = -(-2 * self._size // len(others))
        parts = (part for part in self._parts(others, share) if len(part))
        first = next(parts, None)
        if first is None:
            what = "for training" if self._split == "train" else "held out"
            raise MissingError(f"the other classes have no samples {what}", "name a data set with --contrast REF")
        pool = SamplePool.joined(chain([first], parts))
        return pool.part(np.random.default_rng([self._seed, 7]).permutation(len(pool)).tolist())

    def _parts(self, classes: Sequence[str], share: int) -> Iterator[Samples]:
        """Up to `share` samples of each class, one class after the other."""
        short: list[tuple[str, Samples]] = []
        for c in classes:
            part = self._data.samples(c, self._split, share, self._seed)
            if len(part) < share:
                short.append((c, part))
            yield part
        if self._split == "train":
            # A small class has few or none for training, and nobody explains it here.
            for c, part in short:
                yield further_samples(part, self._data, c, "explain", share, self._seed)

    def _segmented(self, pool: Samples, fill: str) -> Samples:
        import numpy as np

        if self._segmenter is None:
            raise NotApplicable(
                "random sets rendered as segments need a segmenter", "name one with --model segmenter=REF"
            )
        if fill not in ("black", "mean"):
            raise NotApplicable(f"no random set can be rendered as 'segment:{fill}'", "the fill is black or mean")
        segmenter, rng = self._segmenter(), np.random.default_rng([self._seed, 8])
        return segments(pool, [segmenter.segment(image) for image in pool.images], fill, rng)

    def _draw_pool(self, start_seed: int, n: int, each: int = 0, adapter: Adapter | None = None) -> Samples:
        if self._generator is None:
            raise MissingError(
                "random sets of generated samples need the generator that drew the concepts",
                "name it with --generator REF",
            )
        phrases = drawn_phrases(self._vocabulary, self._generator.modality)
        if each:
            return generate_sets(self._generator, phrases, start_seed, n, each, adapter)
        return generate_pool(self._generator, phrases, start_seed, n)
