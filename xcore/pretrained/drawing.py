"""Helpers for generators of any modality, and for methods that use them.

Checks of what a generator can do and of its arguments, and the ids of the samples that it draws and edits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from xcore.base.errors import NotApplicable, UsageError
from xcore.contract.samples import Samples
from xcore.contract.types import Adapter

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.contract.protocols import Generator

ABILITIES = {"adapt": "be adapted by preference", "edit": "edit samples"}
"""What generators can do beside drawing -> how a message says it."""


def check_can(generator: Generator, ability: Literal["adapt", "edit"], who: str, instead: str) -> None:
    """Refuse a generator that cannot do what is needed, before anything is drawn.

    Parameters
    ----------
    generator
        The generator.
    ability
        What it must be able to do.
    who
        What needs it, as the message begins: "rlpo with updates".
    instead
        The next step, as the hint says it: "set rlpo.update=false, or name another generator".

    Raises
    ------
    NotApplicable
        The generator cannot do it.
    """
    if ability not in generator.can:
        name = getattr(generator, "name", "") or "this generator"
        raise NotApplicable(f"{who} needs a generator that can {ABILITIES[ability]}, and {name} cannot", instead)


def check_edit(
    name: str,
    samples: Samples,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    strength: float,
    masks: Tensor | None = None,
    negatives: Sequence[str] | None = None,
) -> None:
    """Check the arguments of `Generator.edit`.

    Parameters
    ----------
    name
        The name of the generator in messages.
    samples, prompts, seeds, strength, masks, negatives
        See `Generator`.

    Raises
    ------
    UsageError
        There is not one prompt, seed, mask and negative prompt for each sample, the strength is not in (0, 1], or the
        masks have another size than the pictures.
    """
    n = len(samples)
    counts = {"prompts": prompts, "seeds": seeds, "masks": masks, "negative prompts": negatives}
    for what, given in counts.items():
        if given is not None and len(given) != n:
            raise UsageError(
                f"{name} was given {n} samples to edit and {len(given)} {what}", "give one for each sample"
            )
    if not n:
        raise UsageError(f"{name} was given no samples to edit", "give at least one")
    if not 0 < strength <= 1:
        raise UsageError(f"the strength {strength} of the edit is not in (0, 1]", "1 redraws all, .5 about a half")
    if masks is not None and tuple(masks.shape[1:]) != tuple(samples.images.shape[-2:]):
        size, wanted = tuple(masks.shape[1:]), tuple(samples.images.shape[-2:])
        raise UsageError(f"the masks have the size {size}, but the pictures have {wanted}", "give masks (n, H, W)")


def check_seeds(name: str, prompts: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise a `UsageError` that names the generator unless there are prompts, and one seed for each of them."""
    if len(prompts) != len(seeds) or not prompts:
        hint = "give at least one prompt, and one seed for each"
        raise UsageError(f"{name} was given {len(prompts)} prompts and {len(seeds)} seeds", hint)


def drawn_ids(
    fingerprint: str, adapter: Adapter | None, prompts: Sequence[str], seeds: Sequence[int]
) -> tuple[str, ...]:
    """The ids of drawn samples, each a digest of all that the sample depends on.

    Parameters
    ----------
    fingerprint
        Of the generator.
    adapter
        The adapter with which the samples are drawn, if any.
    prompts, seeds
        n each.
    """
    key = f"{fingerprint}\0{adapter.digest if adapter else ''}"
    return tuple(
        "generated/" + hashlib.sha256(f"{key}\0{prompt}\0{int(seed)}".encode()).hexdigest()[:24]
        for prompt, seed in zip(prompts, seeds, strict=True)
    )


def edited_ids(
    fingerprint: str,
    adapter: Adapter | None,
    samples: Samples,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    strength: float,
    masks: Tensor | None = None,
    negatives: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The ids of edited samples: "edited/", a digest of all that the sample depends on, and the id of the given one.

    Parameters
    ----------
    fingerprint, adapter
        Of the generator.
    samples, prompts, seeds, strength, masks, negatives
        See `Generator`.
    """
    key = f"{fingerprint}\0{adapter.digest if adapter else ''}\0{float(strength)}"
    ids = []
    for i, (name, prompt, seed) in enumerate(zip(samples.ids, prompts, seeds, strict=True)):
        what = f"{samples.take([i]).digest}\0{prompt}\0{negatives[i] if negatives else ''}\0{int(seed)}"
        where = b"" if masks is None else masks[i].float().cpu().contiguous().numpy().tobytes()
        digest = hashlib.sha256(f"{key}\0{what}\0".encode() + where).hexdigest()[:24]
        ids.append(f"edited/{digest}/{name}")
    return tuple(ids)


def paired_prompts(preferred: Samples, rejected: Samples) -> tuple[str, ...]:
    """The prompts of preference pairs (k,), from ``meta["prompt"]`` of the preferred samples.

    Raises
    ------
    UsageError
        There are not as many preferred as rejected samples, or none, or they have no prompts.
    """
    if len(preferred) != len(rejected) or not len(preferred):
        message = f"{len(preferred)} preferred and {len(rejected)} rejected samples do not make pairs"
        raise UsageError(message, "give as many of both, and at least one")
    prompts = preferred.meta.get("prompt")
    if prompts is None:
        raise UsageError("the preferred samples have no prompts", "give them in meta['prompt']")
    return tuple(prompts)
