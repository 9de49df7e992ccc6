"""Drawings for random sets, kept in the run directory: drawing them costs more than anything else that cells share.

A pool is drawn and kept in parts. So a run that is ended while it draws goes on where it was, and processes that need
the same pool at the same time draw it together, each another part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract.samples import Modality, Samples
from xcore.run.drawing import generate_pool, generate_sets
from xcore.store.codec import load_samples, save_samples

if TYPE_CHECKING:
    from xcore.contract.protocols import Generator
    from xcore.contract.types import Adapter
    from xcore.run.random_sets import Pool

PART = 60
"""Pictures of a part: a multiple of usual batch sizes, and some minutes of a large generator."""
POOL, SETS = "contrast-samples", "contrast-sets"
"""Names of the artifacts."""

Make = Callable[[Path], None]
Kept = Callable[[str, Mapping[str, Any], Make], Path]
"""Artifact by name, key, and what fills the directory of a new one."""
Busy = Callable[[str, Mapping[str, Any]], bool]
"""Whether some process is making the artifact of a name and a key at the moment."""


def kept_pool(
    kept: Kept,
    busy: Busy,
    about: Callable[[], Mapping[str, Any]],
    generator: Callable[[], Generator],
    phrases: Sequence[str],
    modality: Modality,
) -> Pool:
    """A maker of pools that keeps what it draws.

    Parameters
    ----------
    about
        Tells what the drawings depend on beside the arguments of the pool, which is part of the keys of the artifacts.
    generator
        Loads the generator; called only if something has to be drawn.
    phrases
        What random drawings are of.
    modality
        Pictures are drawn in parts. Texts are not, since a pool of them is filled up from answers that hold words.
    """

    def pool(start_seed: int, n: int, each: int = 0, adapter: Adapter | None = None) -> Samples:
        name = SETS if each else POOL
        count = min(n, len(dict.fromkeys(phrases))) if each else n
        rows = max(1, PART // max(each, 1)) if modality == "image" else max(count, 1)
        parts = [range(first, min(first + rows, count)) for first in range(0, max(count, 1), rows)]
        sets = {"each": each, "adapter": adapter.digest if adapter else ""} if each else {}

        whole = {**about(), "start_seed": start_seed, "n": n, **sets}

        def key(part: range) -> dict[str, Any]:
            return {**whole, "rows": [part.start, part.stop]}

        def make(directory: Path, part: range) -> None:
            if not each:
                save_samples(generate_pool(generator(), phrases, start_seed, n, part), directory)
                return
            drawn = generate_sets(generator(), phrases, start_seed, n, each, adapter, part)
            save_samples(drawn, directory)
            prompts = json.dumps(list(drawn.meta["prompt"]))
            (directory / "prompts.json").write_text(prompts, encoding="utf-8")

        found = {}
        for part in _idle_first(parts, lambda part: busy(name, key(part))):
            found[part] = kept(name, key(part), lambda directory, part=part: make(directory, part))  # type: ignore[misc]
        folders = [found[part] for part in parts]
        joined = Samples.concat([load_samples(folder, "") for folder in folders])
        called = ("sets" if each else "pool") + f"/{start_seed}" + (f"/{adapter.digest}" if adapter else "")
        named = replace(joined, ids=tuple(f"{called}/{i}" for i in range(len(joined))))
        if not each:
            return named
        prompts = [json.loads((folder / "prompts.json").read_text(encoding="utf-8")) for folder in folders]
        return replace(named, meta={"prompt": tuple(prompt for part in prompts for prompt in part)})

    return pool


def _idle_first(parts: Sequence[range], busy: Callable[[range], bool]) -> Iterator[range]:
    """The parts, each once; those that another process is making come when nothing else is left."""
    left = list(parts)
    while left:
        part = next((part for part in left if not busy(part)), left[0])
        left.remove(part)
        yield part
