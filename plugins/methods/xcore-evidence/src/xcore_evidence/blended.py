"""Evidence by blending: pictures of concepts are mixed into given pictures, and the margin says what that does.

All concepts change the same pictures, and a concept is compared with all concepts on each picture, so that what any
blend does cancels out. It needs pictures of the concepts and logits, and no generator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import NotApplicable, Samples, Task, UsageError
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.readings import gap_of

IMAGES = 12
"""Pictures of the class that are blended into, if the caller names no number."""
LEAST = 3
"""Pictures without which there is no test."""

SAYS = "effect of blending pictures of the concept into pictures of the class"
SAYS_INTO = "effect of blending pictures of the concept into given pictures"
UNIT = "logits of the margin, above the mean over all phrases"


@dataclass(frozen=True, eq=False)
class Blends:
    """The same pictures, each with pictures of several concepts blended into it."""

    given: Samples
    """n pictures."""
    pictures: Mapping[str, Samples]
    """Concept -> the n blends, in the order of the given pictures."""


def blended(
    given: Samples, materials: Mapping[str, Samples], share: float, *, masks: Tensor | None = None, seed: int = 0
) -> Blends:
    """Pictures with pictures of each concept blended into them.

    Parameters
    ----------
    given
        n pictures.
    materials
        Concept -> pictures that show it, such as a painted texture. Each given picture gets one of them, the same place
        in the order for all concepts, drawn from the seed.
    share
        How much of the material is seen, in (0, 1]: (1 - share) picture + share material.
    masks
        (n, H, W) in [0, 1], where it is blended in; None = everywhere.

    Returns
    -------
    The blends of each concept. Materials of another size are resized until they cover the picture, and cropped to it.

    Raises
    ------
    UsageError
        The share is not in (0, 1], a concept has no pictures, or the masks have another size than the pictures.
    """
    if not 0 < share <= 1:
        raise UsageError(f"the share {share:g} of the blend is not in (0, 1]", "0.5 shows as much of both")
    if without := [name for name, material in materials.items() if not len(material)]:
        raise UsageError(f"there are no pictures of {without[0]!r} to blend", "give at least one of each concept")
    size = tuple(given.images.shape[-2:])
    if masks is not None and tuple(masks.shape) != (len(given), *size):
        raise UsageError(
            f"the masks have shape {tuple(masks.shape)}, and that of the pictures asks for {(len(given), *size)}",
            "give one mask for each picture, as high and as wide as it is",
        )
    amount = share if masks is None else share * masks[:, None].float()
    rng = torch.Generator().manual_seed(seed)
    places = torch.rand(len(given), generator=rng)
    pictures = {}
    for name, material in materials.items():
        which = (places * len(material)).long().clamp(max=len(material) - 1)
        over = _covering(material.images, size)[which]
        mixed = (1 - amount) * given.images + amount * over
        ids = tuple(f"blended/{share:g}/{seed}/{name}/{i}" for i in given.ids)
        pictures[name] = Samples("image", mixed.clamp(0, 1), ids)
    return Blends(given, pictures)


def blended_evidence(
    task: Task,
    materials: Mapping[str, Samples],
    *,
    share: float,
    images: int = IMAGES,
    into: Samples | None = None,
    masks: Tensor | None = None,
    alpha: float = 0.05,
    minimum: float = 0.0,
) -> Evidence:
    """The evidence of pictures with pictures of each concept blended into them (see `blended`).

    The effect of a concept is the mean over the pictures of the margin after its blend, less the mean over all concepts
    on the same picture (see `paired`). Nothing need check whether the pictures show the concept. But a blend also hides
    what was there, and a fine pattern hides more of it than a plain colour. In pictures of other classes what is hidden
    is no part of the explained class.

    Parameters
    ----------
    into
        The pictures that are blended into, such as those of other classes; None = the first `images` of the class.
    masks
        One for each picture (see `blended`).
    """
    given = _own(task, images) if into is None else into
    where = None if masks is None else masks[: len(given)]
    made = blended(given, materials, share, masks=where, seed=task.seed)
    parts = [margin(task.classifier.logits(part), task.target) for part in made.pictures.values()]
    margins = torch.stack(parts, 1)
    unchanged = margin(task.classifier.logits(given), task.target)
    return paired(
        list(materials),
        margins,
        says=SAYS if into is None else SAYS_INTO,
        details={"over_unchanged": (margins - unchanged[:, None]).mean(0)},
        gap=gap_of(task),
        alpha=alpha,
        minimum=minimum,
    )


def paired(
    phrases: Sequence[str],
    margins: Tensor,
    *,
    says: str,
    gap: float,
    details: Mapping[str, Tensor] | None = None,
    alpha: float = 0.05,
    minimum: float = 0.0,
) -> Evidence:
    """The evidence of margins of the same n pictures under k changes, by a paired t test of each against all.

    Parameters
    ----------
    margins
        (n, k) in logits.
    details
        Name -> (k,) further figures of the phrases.

    Raises
    ------
    NotApplicable
        There are fewer than `LEAST` pictures.
    UsageError
        There are fewer than two phrases.
    """
    n, k = margins.shape
    _enough(n, k)
    centred = margins - margins.mean(1, keepdim=True)
    effects, errors = centred.mean(0), centred.std(0) / sqrt(n)
    found = estimates(
        phrases,
        effects.tolist(),
        errors.tolist(),
        degrees=n - 1,
        ranges=[1.0] * k,
        gap=gap,
        alpha=alpha,
        minimum=minimum,
        details=[{name: float(values[i]) for name, values in (details or {}).items()} for i in range(k)],
    )
    return Evidence(kind="edited", says=says, unit=UNIT, estimates=found, n=n, gap=gap)


def _own(task: Task, images: int) -> Samples:
    """The first pictures of the class."""
    if task.samples.modality != "image":
        raise NotApplicable(
            "evidence by blending changes pictures, and these samples are texts",
            "use observed evidence or randomised evidence (factorial), which read texts, too",
        )
    return task.samples.take(slice(images))


def _enough(n: int, k: int) -> None:
    if n < LEAST:
        raise NotApplicable(
            f"evidence by blending needs {LEAST} pictures or more, and there {'is' if n == 1 else 'are'} {n}",
            "give more pictures of the class, or use observed evidence, which takes those of all classes",
        )
    if k < 2:
        raise UsageError(f"evidence by blending compares phrases, and there is {k}", "give two phrases or more")


def _covering(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Pictures resized, without a change of their shape, until they cover a size, and cropped to its middle."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    scale = max(size[0] / height, size[1] / width)
    larger = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    resized = F.interpolate(images, larger, mode="bilinear", antialias=True, align_corners=False)
    top, left = (larger[0] - size[0]) // 2, (larger[1] - size[1]) // 2
    return resized[..., top : top + size[0], left : left + size[1]].clamp(0, 1)
