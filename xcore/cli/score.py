"""`xcore score`: what its flags say, and the call that adds metrics to a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.cli.flags import (
    BatchSize,
    Device,
    Judging,
    Models,
    Plugin,
    Set,
    names,
    parse_settings,
    roles,
    use_batch_size,
    use_device,
)

if TYPE_CHECKING:
    from xcore.api import BenchResult


@dataclass(frozen=True)
class Scoring:
    """A run, the metrics that are added to it, and how they are computed."""

    run: str
    metrics: Sequence[str]
    settings: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, str]
    plugins: Sequence[str]

    def add(self, asked: Judging) -> BenchResult:
        """Add the metrics; the table is judged as asked."""
        from xcore.api import score
        from xcore.run.progress import for_stderr

        return score(
            self.run,
            self.metrics,
            for_stderr(phases=True),
            plugins=self.plugins,
            settings=self.settings,
            models=self.models,
            gates=asked.gates,
            compare=asked.compare,
        )


def scoring(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory.")],
    metrics: Annotated[str, typer.Option(metavar="A,B", help="Metrics to add, comma-separated.")],
    set_: Set = [],  # noqa: B006 (typer reads the default)
    model: Models = [],  # noqa: B006
    plugin: Plugin = [],  # noqa: B006
    device: Device = "",
    batch_size: BatchSize = None,
) -> Scoring:
    """The flags that say which metrics are added to which run."""
    use_device(device)
    use_batch_size(batch_size)
    return Scoring(run, names(metrics), parse_settings(set_), roles(model), plugin)


def remedy(result: BenchResult, command: str) -> str:
    """How to try again what failed: explanations by a bench that adds nothing, scores by the same command."""
    return add_nothing(result) if result.result.count("failed") else command


def add_nothing(result: BenchResult) -> str:
    """The command that makes what a run lacks, as it was asked for."""
    from xcore.report.picture_paths import shown

    return f"xcore bench --add-to {shlex.quote(shown(result.path))}"
