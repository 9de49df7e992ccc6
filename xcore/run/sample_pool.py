"""Many samples of which a few are taken at a time: each is held once, and pictures in 8 bits where no bit is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from xcore.base.octets import as_floats, as_octets
from xcore.contract.samples import Samples

if TYPE_CHECKING:
    from typing import Self


class SamplePool:
    """Samples in an order of their own, which are given bit for bit as they came, with their ids, labels and digests.

    Parameters
    ----------
    kept
        The samples, their pictures perhaps in 8 bits.
    rows
        Which of them are in this pool, in order: pools may share what is kept.
    """

    def __init__(self, kept: Samples, rows: Sequence[int]) -> None:
        self._kept, self._rows = kept, list(rows)

    @classmethod
    def of(cls, samples: Samples) -> Self:
        """A pool of samples that nobody else changes."""
        return cls(_packed(samples), range(len(samples)))

    @classmethod
    def joined(cls, parts: Iterable[Samples]) -> Self:
        """A pool of copies of the samples of at least one part, without their `meta`.

        The parts may come one after the other: of pictures from files no more than one part is held in full.

        Raises
        ------
        UsageError
            There are no parts.
        """
        kept = [_packed(part) for part in parts]
        if len({part.data.dtype for part in kept if part.modality == "image"}) > 1:  # type: ignore[union-attr]
            kept = [_unpacked(part) for part in kept]
        made = Samples.concat(kept)
        return cls(made, range(len(made)))

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, index: Sequence[int]) -> SamplePool:
        """A pool of the samples at these positions, which holds no copies."""
        return SamplePool(self._kept, [self._rows[i] for i in index])

    def take(self, index: Sequence[int]) -> Samples:
        """The samples at these positions, in this order."""
        return _unpacked(self._kept.take([self._rows[i] for i in index]))

    def all(self) -> Samples:
        """All samples of the pool."""
        return self.take(range(len(self)))


def _packed(part: Samples) -> Samples:
    """The samples with their digests, which go with all that is taken of them; pictures in 8 bits where it can be."""
    _ = part.digests
    octets = as_octets(part.images) if part.modality == "image" else None
    return part if octets is None else part.recast(octets)


def _unpacked(samples: Samples) -> Samples:
    if samples.modality != "image" or samples.images.is_floating_point():
        return samples
    return samples.recast(as_floats(samples.images))
