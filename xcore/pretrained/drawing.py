"""Helpers for generators of any modality: checks of their arguments, and the ids of the samples that they draw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from xcore.base.errors import UsageError
from xcore.contract.samples import Samples
from xcore.contract.types import Adapter


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
