"""Evidence by editing: pictures of the class are changed towards each phrase, and the margin says what that does.

All phrases change the same pictures with the same noise, and a phrase is compared with all phrases on each picture, so
that what any edit does cancels out. It needs a generator that can edit (or pictures of the concepts, see `blended`)
and logits. It is an effect of the edit: what the generator changes beside the phrase is part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import MissingError, NotApplicable, Samples, Task, UsageError
from xcore.pretrained.drawing import check_can
from xcore_evidence.estimates import Evidence, estimates
from xcore_evidence.margins import margin
from xcore_evidence.readings import gap_of, presence
from xcore_evidence.statistics import one_sided

IMAGES, STRENGTH = 12, 0.6
"""Pictures of the class that are edited towards each phrase, and how much is changed. These, and that pictures are
edited both ways, were chosen on two classes of minizoo/clean (see the page of `surrogate`)."""
LEAST = 3
"""Pictures without which there is no test."""
AT_ONCE = 128
"""Edited pictures that are held at once before they are kept with 8 bits."""
SHOWN = 0.05
"""Level of the test, for each phrase, of whether its edits show it."""

SAYS = "effect of the edit towards the phrase on pictures of the class"
SAYS_BOTH_WAYS = "effect of the edit towards the phrase, less that of the edit away from it, on pictures of the class"
SAYS_BLENDED = "effect of blending pictures of the concept into pictures of the class"
SAYS_BLENDED_INTO = "effect of blending pictures of the concept into given pictures"
UNIT = "logits of the margin, above the mean over all phrases"


@dataclass(frozen=True, eq=False)
class Edits:
    """The same pictures, changed in several ways."""

    given: Samples
    """n pictures."""
    pictures: Mapping[str, Samples]
    """Way -> the n pictures changed in this way, in the order of the given ones."""


def edited(
    task: Task,
    phrases: Sequence[str],
    *,
    images: int = IMAGES,
    others: int = 0,
    strength: float = STRENGTH,
    away: bool = True,
    alpha: float = 0.05,
    minimum: float = 0.0,
) -> Evidence:
    """The evidence of pictures that a generator changes towards each phrase, and away from it.

    The effect of a phrase is the mean, over the pictures, of the margin of the picture edited towards it less that of
    the picture edited away from it, less the mean of the same difference over all phrases. Its interval and test are
    those of a paired t test over the pictures. Where there is a model of the role image-text, a phrase that the edits
    towards it do not show more than those towards all phrases counts as untested. (An edit towards nothing would be no
    measure: where the pictures show a phrase already, it shows it, too.)

    Parameters
    ----------
    task
        Its classifier need only give logits.
    phrases
        k candidate phrases, at least two.
    images
        Number of pictures of the class, the first of `Task.samples`.
    others
        Number of pictures of other classes that are edited, too, and asked for their margin of the explained class.
    strength
        How much the edits change, in (0, 1] (see `xcore.contract.Generator`).
    away
        Also edit away from each phrase (as negative prompt). If not, the effect is that of the edit towards it alone.
    alpha
        Family-wise error rate of the marks of each side.
    minimum
        Least effect of a mark, as a share of the class's gap.

    Raises
    ------
    MissingError
        The task has no generator.
    NotApplicable
        The generator cannot edit, the samples are texts, or there are fewer than `LEAST` pictures.
    UsageError
        There are fewer than two phrases.
    """
    given = _given(task, phrases, images, others)
    made = edits_of(task, given, phrases, strength=strength, away=away)
    empty = made.pictures[""]
    margins = _margins(task, made, phrases)
    if away:
        margins = margins - _margins(task, made, [_away(p) for p in phrases])
    notes = []
    if len(given) < images + others:
        notes.append(f"only {len(given)} pictures could be edited, of {images + others} that were asked for")
    if others:
        notes.append(f"{others} of the {len(given)} pictures that were edited are of other classes")
    shown, details = None, dict[str, Tensor]()
    if not away:
        unedited = margin(task.classifier.logits(empty), task.target)
        details["over_empty"] = (margins - unedited[:, None]).mean(0)
    if "image-text" in task.roles:
        read = torch.stack([presence(task, made.pictures[p], phrases) for p in phrases], 1)  # pictures, edits, phrases
        own = read.diagonal(dim1=1, dim2=2)
        shown = own - read.mean(1)
        details["shown_over_empty"] = (own - presence(task, empty, phrases)).mean(0)
    else:
        notes.append("whether the edits show their phrases was not checked: no model of the role image-text is named")
    return paired(
        phrases,
        margins,
        says=SAYS_BOTH_WAYS if away else SAYS,
        shown=shown,
        details=details,
        gap=gap_of(task),
        alpha=alpha,
        minimum=minimum,
        notes=notes,
    )


def edits_of(
    task: Task, given: Samples, phrases: Sequence[str], *, strength: float = STRENGTH, away: bool = False
) -> Edits:
    """Pictures edited towards each phrase and towards nothing (the way ""), and away from each phrase if wanted.

    All edits of a picture share the seed of their noise. The pictures are kept with 8 bits as an artifact that every
    classifier, method and run with the same pictures, phrases and generator finds again.

    Raises
    ------
    MissingError, NotApplicable
        The task has no generator, or it cannot edit.
    """
    generator = _generator(task)
    ways = [("", ""), *((p, "") for p in phrases), *((("", p) for p in phrases) if away else ())]
    seeds = [_seed(task.seed, i) for i in range(len(given))]
    key = {
        "generator": generator.fingerprint,
        "pictures": [given.take([i]).digest for i in range(len(given))],
        "ways": [list(way) for way in ways],
        "seeds": seeds,
        "strength": strength,
    }

    def make(directory: Path) -> None:
        from safetensors.torch import save_file

        rows = [(way, i) for way in ways for i in range(len(given))]
        parts = []
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            drawn = generator.edit(
                given.take([i for _, i in part]),
                [towards for (towards, _), _ in part],
                [seeds[i] for _, i in part],
                strength=strength,
                negatives=[other for (_, other), _ in part] if away else None,
            )
            parts.append((drawn.images.clamp(0, 1) * 255).round().byte().cpu())
        save_file({"pictures": torch.cat(parts).contiguous()}, directory / "edits.safetensors")

    from safetensors.torch import load_file

    kept = load_file(task.artifact("edits", key, make) / "edits.safetensors")["pictures"]
    pictures = {}
    for (towards, other), part in zip(ways, kept.view(len(ways), len(given), *kept.shape[1:]), strict=True):
        way = _away(other) if other else towards
        ids = tuple(f"edited/{generator.fingerprint}/{strength:g}/{task.seed}/{way}/{name}" for name in given.ids)
        pictures[way] = Samples("image", part.float() / 255, ids)
    return Edits(given, pictures)


def blended(
    given: Samples, materials: Mapping[str, Samples], share: float, *, masks: Tensor | None = None, seed: int = 0
) -> Edits:
    """Pictures with pictures of each concept blended into them: an edit that needs no generator.

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
    One way for each concept. Materials of another size are resized until they cover the picture, and cropped to it.

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
    return Edits(given, pictures)


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

    The effects, intervals and tests are those of `edited`. Nothing need check whether the pictures show the concept.
    But a blend also hides what was there, and a fine pattern hides more of it than a plain colour. In pictures of other
    classes what is hidden is no part of the explained class.

    Parameters
    ----------
    into
        The pictures that are blended into, such as those of other classes; None = the first `images` of the class.
    masks
        One for each picture (see `blended`).
    """
    given = _given(task, list(materials), images, 0) if into is None else into
    where = None if masks is None else masks[: len(given)]
    made = blended(given, materials, share, masks=where, seed=task.seed)
    margins = _margins(task, made, list(materials))
    unchanged = margin(task.classifier.logits(given), task.target)
    return paired(
        list(materials),
        margins,
        says=SAYS_BLENDED if into is None else SAYS_BLENDED_INTO,
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
    shown: Tensor | None = None,
    details: Mapping[str, Tensor] | None = None,
    alpha: float = 0.05,
    minimum: float = 0.0,
    notes: Sequence[str] = (),
) -> Evidence:
    """The evidence of margins of n pictures after k edits.

    Parameters
    ----------
    margins
        (n, k) in logits.
    shown
        (n, k) how much more the edit towards a phrase shows it than the edits towards all phrases do, in hundredths of
        the cosine. The mean is the detail ``shown``. A phrase whose mean is not above 0 by a one-sided t test counts as
        untested.
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
    figures, told = dict(details or {}), list(notes)
    if shown is not None:
        figures["shown"] = shown.mean(0)
        p, _ = one_sided((shown.mean(0) / (shown.std(0) / sqrt(n))).tolist(), n - 1)
        unseen = [i for i in range(k) if p[i] > SHOWN]
        if unseen:
            errors[unseen] = nan
            names = ", ".join(phrases[i] for i in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
            told.append(
                f"{len(unseen)} of {k} phrases are untested, because the pictures edited towards them do not show them "
                f"more than those edited towards the others: {names}"
            )
    found = estimates(
        phrases,
        effects.tolist(),
        errors.tolist(),
        degrees=n - 1,
        ranges=[1.0] * k,
        gap=gap,
        alpha=alpha,
        minimum=minimum,
        details=[{name: float(values[i]) for name, values in figures.items()} for i in range(k)],
    )
    return Evidence(kind="edited", says=says, unit=UNIT, estimates=found, n=n, gap=gap, notes=tuple(told))


def _given(task: Task, phrases: Sequence[str], images: int, others: int) -> Samples:
    """The pictures that are edited: those of the class, then those of other classes."""
    if task.samples.modality != "image":
        raise NotApplicable(
            "evidence by editing changes pictures, and these samples are texts",
            "use observed evidence or randomised evidence (factorial), which read texts, too",
        )
    own = task.samples.take(slice(images))
    given = Samples.concat([own, task.random_set(others, 0)]) if others else own
    _enough(len(given), len(phrases))
    return given


def _enough(n: int, k: int) -> None:
    if n < LEAST:
        raise NotApplicable(
            f"evidence by editing needs {LEAST} pictures or more, and there {'is' if n == 1 else 'are'} {n}",
            "give more pictures of the class, or use observed evidence, which takes those of all classes",
        )
    if k < 2:
        raise UsageError(f"evidence by editing compares phrases, and there is {k}", "give two phrases or more")


def _generator(task: Task) -> Any:
    """The generator of the task, if it can edit."""
    if task.generator is None:
        raise MissingError(
            "evidence by editing needs a generator that can edit pictures",
            "name a diffusion pipeline with --generator REF, or use observed evidence, which needs none",
        )
    check_can(
        task.generator,
        "edit",
        "evidence by editing",
        "name a diffusion pipeline with --generator REF, or use observed evidence, which needs none",
    )
    return task.generator


def _margins(task: Task, made: Edits, ways: Sequence[str]) -> Tensor:
    """(n, ways) margins of the pictures after each edit."""
    return torch.stack([margin(task.classifier.logits(made.pictures[way]), task.target) for way in ways], 1)


def _away(phrase: str) -> str:
    return f"away from {phrase}"


def _seed(seed: int, i: int) -> int:
    """The seed of the noise of picture i; the same for all phrases."""
    return int.from_bytes(hashlib.sha256(f"edited {seed} {i}".encode()).digest()[:6], "big")


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
