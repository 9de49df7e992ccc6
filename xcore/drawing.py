"""What generators of any kind of samples share: the checks of what they are given, and the ids of what they draw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from xcore.errors import UsageError
from xcore.types import Adapter, Samples


def check_seeds(name: str, prompts: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise `UsageError`, in the name of a generator, unless there is a seed for every prompt, and a prompt."""
    if len(prompts) != len(seeds) or not prompts:
        raise UsageError(f"{name} was given {len(prompts)} prompts and {len(seeds)} seeds", "one seed a prompt")


def drawn_ids(
    fingerprint: str, adapter: Adapter | None, prompts: Sequence[str], seeds: Sequence[int]
) -> tuple[str, ...]:
    """Names of drawn samples, each a digest of all that the sample depends on."""
    key = f"{fingerprint}\0{adapter.digest if adapter else ''}"
    return tuple(
        "generated/" + hashlib.sha256(f"{key}\0{prompt}\0{int(seed)}".encode()).hexdigest()[:24]
        for prompt, seed in zip(prompts, seeds, strict=True)
    )


def paired_prompts(preferred: Samples, rejected: Samples) -> tuple[str, ...]:
    """The prompts of preference pairs; raises `UsageError` if the samples make none, or tell no prompts."""
    if len(preferred) != len(rejected) or not len(preferred):
        raise UsageError(f"{len(preferred)} preferred and {len(rejected)} rejected samples do not make pairs")
    prompts = preferred.meta.get("prompt")
    if prompts is None:
        raise UsageError("the preferred samples have no prompts", "give them in meta['prompt']")
    return tuple(prompts)
