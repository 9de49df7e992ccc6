"""What several tests of RLPO need: a task that only seed prompts are chosen for, and the check of refused options."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from xcore_rlpo.options import Options

from xcore.contract import Explanation, MissingError, Samples, Task, UsageError, digest, validate
from xcore.models.classifiers import FunctionClassifier


@pytest.fixture
def seed_task() -> Callable[..., Task]:
    """Makes a task with class samples, helper models and a vocabulary, but without a generator or random sets."""

    def make(
        samples: Samples, models: Mapping[str, Any], cls: str, vocabulary: Sequence[str] = (), **more: Any
    ) -> Task:
        def model(role: str) -> Any:
            if role not in models:
                raise MissingError(f"no model for the role {role!r}", f"name one with --model {role}=REF")
            return models[role]

        return Task(
            FunctionClassifier(lambda x: x.mean((2, 3)), [cls, "g", "b"]),
            "",
            0,
            samples,
            random_set=None,  # type: ignore[arg-type]
            data=None,  # type: ignore[arg-type]
            seed=0,
            vocabulary=tuple(vocabulary),
            model=model,
            roles=tuple(models),
            **more,
        )

    return make


@pytest.fixture
def refused() -> Callable[[Mapping[str, Any], str], None]:
    """Asserts that options are refused as the command line would refuse them, with a message that matches."""

    def check(options: Mapping[str, Any], match: str) -> None:
        with pytest.raises(UsageError, match=match):
            validate(Options, options, "method 'rlpo'")

    return check


@pytest.fixture
def as_before() -> Iterator[Callable[[str, Explanation], None]]:
    """Asserts that an explanation is the one that the version before the option `rank` gave.

    On the kind of machine that it was recorded on, in one thread, every number must be the same to the last bit; on
    others the arithmetic may differ by rounding. Digests of adapters are left out.
    """
    recorded = json.loads((Path(__file__).parent / "as-before.json").read_text(encoding="utf-8"))

    def near(found: Any, wanted: Any, where: str) -> None:
        if isinstance(wanted, dict):
            for key, value in wanted.items():
                near(found[key], value, f"{where}.{key}")
        elif isinstance(wanted, list):
            assert len(found) == len(wanted), where
            for i, value in enumerate(wanted):
                near(found[i], value, f"{where}[{i}]")
        elif isinstance(wanted, float):
            assert found == (wanted if same_machine else pytest.approx(wanted, abs=1e-5)), where
        else:
            assert found == wanted, where

    def check(name: str, explanation: Explanation) -> None:
        concepts = []
        for c in explanation.concepts:
            assert c.samples is not None
            images = c.samples.modality == "image"
            seen = c.samples.images.mean((1, 2, 3)).tolist() if images else list(c.samples.texts)
            direction = next(iter(c.directions.values()))[:8].tolist()
            figures = {"importance": c.importance, "evidence": dict(c.evidence), "direction": direction}
            concepts.append({"name": c.name, "words": list(c.words), "samples": seen, "render": c.render, **figures})
        found = {"concepts": concepts, "trace": explanation.trace, "files": sorted(explanation.files)}
        near({**found, "importance_is": explanation.importance_is}, recorded[name], name)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    same_machine = recorded["machine"] == machine()
    yield check
    torch.set_num_threads(threads)


def machine() -> str:
    """What the last bits of arithmetic depend on: the version of torch and the processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    about = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags")))
    named = digest([platform.machine(), *about])
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {named}"
