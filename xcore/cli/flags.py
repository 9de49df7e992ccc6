"""Flags that several commands share, declared once, and their texts as the arguments that `xcore.api` takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.base.errors import UsageError

if TYPE_CHECKING:
    from xcore.api import BenchResult
    from xcore.ci.baseline import Comparison

Classifier = Annotated[str, typer.Option(metavar="REF", help="Classifier(s), e.g. timm:resnet50; comma-separated.")]
Data = Annotated[str, typer.Option(metavar="REF", help="Data set, e.g. folder:DIR.")]
Class = Annotated[str, typer.Option("--class", metavar="NAME", help="Class(es), comma-separated, or all.")]
Layer = Annotated[str, typer.Option(metavar="L", help="Layer as in named_modules(); default: the classifier's own.")]
Generator = Annotated[str, typer.Option(metavar="REF", help="Generator, e.g. hf:ORG/MODEL.")]
Contrast = Annotated[str, typer.Option(metavar="REF", help="Data set of the random sets; default: the same data.")]
Heldout = Annotated[
    str, typer.Option(metavar="REF", help="Data set of the held-out samples; default: what the data holds out.")
]
Models = Annotated[list[str], typer.Option("--model", metavar="ROLE=REF", help="Helper model; may be repeated.")]
Set = Annotated[list[str], typer.Option("--set", metavar="NAME.OPTION=VALUE", help="Option; may be repeated.")]
Samples = Annotated[int | None, typer.Option(min=1, help="How many samples of the class a method sees.")]
DataSeed = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Seed by which samples are drawn from the data; default: the seed of each explanation.",
    ),
]
SplitName = Annotated[
    str, typer.Option("--split", metavar="NAME", help="Part of the data to explain: train, explain (default) or test.")
]
Group = Annotated[
    str, typer.Option(metavar="NAME", help="Explain samples of this group only, as the column group names it.")
]
Out = Annotated[str, typer.Option(metavar="DIR", help="Folder to write to.")]
Plugin = Annotated[list[str], typer.Option(metavar="FILE", help="Python file with a plugin; may be repeated.")]
Device = Annotated[str, typer.Option(metavar="D", help="torch device of the models.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Samples in each forward pass of the classifier; fewer need less memory. A generator and helper models "
        "have an option batch_size of their own.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Measure a small probe and say what the run would take, without running it or writing anything.",
    ),
]
AddTo = Annotated[
    str,
    typer.Option(
        metavar="RUN",
        help="Add the methods, classes, seeds and metrics to this run; without any, do what is not done of it.",
    ),
]
Trackers = Annotated[
    list[str],
    typer.Option("--tracker", metavar="REF", help="What follows the run, e.g. trackio; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")]

Gates = Annotated[
    list[str],
    typer.Option(
        "--gate",
        metavar="GATE",
        help="A bound such as 'craft.TS>=0.9'; if it is missed, the exit code is 1. May be repeated.",
    ),
]
BaselineFile = Annotated[
    str, typer.Option(metavar="FILE", help="Compare the table with this baseline file and report what changed.")
]
Fail = Annotated[
    bool, typer.Option("--fail-on-regression", help="Leave with exit code 1 if a value is worse than in the baseline.")
]
Update = Annotated[bool, typer.Option("--update-baseline", help="Write the baseline file from this run.")]
ToleranceOption = Annotated[
    list[str],
    typer.Option(
        metavar="[METRIC=]T",
        help="Allowed drop before a regression: 0.05, 5%, 2se (standard errors), or several. May be repeated.",
    ),
]
Junit = Annotated[str, typer.Option(metavar="FILE", help="Write the results as JUnit XML to this file.")]
Summary = Annotated[
    str, typer.Option(metavar="FILE", help="Append a summary in Markdown to this file, e.g. $GITHUB_STEP_SUMMARY.")
]
Trends = Annotated[
    str, typer.Option(metavar="DIR", help="Write the values for github-action-benchmark into this folder.")
]
Badge = Annotated[
    str, typer.Option(metavar="FILE", help="Write a badge: .svg, or .json for an endpoint of shields.io.")
]


def takes(*groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these functions; the values that they return are its first arguments."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = [inspect.signature(group, eval_str=True).parameters for group in groups]
        own = list(inspect.signature(command, eval_str=True).parameters.values())[len(groups) :]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            made = [group(**{k: given.pop(k) for k in flags}) for group, flags in zip(groups, shared, strict=True)]
            command(*made, **given)

        every = [*own, *(p for flags in shared for p in flags.values())]
        every = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in every]
        run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in every}
        return run

    return wrap


def subject(
    classifier: Classifier = "",
    data: Data = "",
    cls: Class = "",
    layer: Layer = "",
    generator: Generator = "",
    contrast: Contrast = "",
    heldout: Heldout = "",
    model: Models = [],  # noqa: B006 (typer reads the default)
    set_: Set = [],  # noqa: B006
    samples: Samples = None,
    data_seed: DataSeed = None,
    out: Out = "",
    plugin: Plugin = [],  # noqa: B006
    device: Device = "",
    batch_size: BatchSize = None,
) -> dict[str, Any]:
    """The flags that say what is explained, and with what, as arguments of `xcore.api.bench`."""
    use_device(device)
    use_batch_size(batch_size)
    return {
        "classifiers": references(classifier),
        "data": data,
        "classes": [cls] if cls else [],
        "layer": layer,
        "generator": generator,
        "contrast": contrast,
        "heldout": heldout,
        "models": roles(model),
        "set": parse_settings(set_),
        "budget": {"samples": samples} if samples else None,
        "data_seed": data_seed,
        "out": out,
        "plugins": plugin,
    }


def running(
    engine: Annotated[
        str,
        typer.Option(
            metavar="REF",
            help="Engine that runs the cells, e.g. processes; default: local, one after another in this process.",
        ),
    ] = "",
    cell_timeout: Annotated[
        float | None, typer.Option(min=0.001, metavar="S", help="Seconds that a cell may take; then it fails.")
    ] = None,
    cell_memory: Annotated[
        int | None, typer.Option(min=1, metavar="MB", help="Memory that the process of a cell may hold; then it fails.")
    ] = None,
    retries: Annotated[
        int | None, typer.Option(min=0, max=100, metavar="N", help="How often a cell that failed is tried again.")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first cell that failed.")] = False,
) -> dict[str, Any]:
    """The flags that say where cells run and what they may take, as keys of a suite."""
    return {
        "engine": engine,
        "cell_timeout": cell_timeout,
        "cell_memory": cell_memory,
        "retries": retries,
        "fail_fast": fail_fast or None,
    }


def use_device(name: str) -> None:
    """Put models that are made from now on on this device; "" leaves it as it is."""
    if name:
        from xcore.models.device import use

        use(name)


def use_batch_size(size: int | None) -> None:
    """Let this many samples pass at once through classifiers that are made from now on; None = as each has it."""
    from xcore.models.batches import use

    use(size)


@dataclass(frozen=True)
class Judging:
    """The gates and the baseline that results are judged by, and the files for CI servers."""

    gates: Sequence[str] = ()
    compare: Comparison | None = None
    junit: str = ""
    summary: str = ""
    trends: str = ""
    badge: str = ""

    def write(self, result: BenchResult) -> None:
        """Write the files for a CI server."""
        from xcore.base.files import write_text

        for path in (self.junit, self.summary, self.badge):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.junit:
            from xcore.ci.junit import junit

            done = result.result
            write_text(Path(self.junit), junit(result.suite, done.outcomes, done.score_failures, result.verdicts))
        if self.summary:
            from xcore.ci.summary import summary

            with open(self.summary, "a", encoding="utf-8") as file:
                file.write(summary(result.suite, result.table, result.verdicts, result.broken) + "\n")
        if self.trends:
            from xcore.ci.trends import write_trends

            write_trends(result.table, Path(self.trends))
        if self.badge:
            from xcore.ci.badge import badge

            made = result.result.count("ok")
            write_text(Path(self.badge), badge(self.badge, result.verdicts, made, result.broken))


def judging(
    gate: Gates = [],  # noqa: B006
    baseline: BaselineFile = "",
    fail_on_regression: Fail = False,
    update_baseline: Update = False,
    tolerance: ToleranceOption = [],  # noqa: B006
    junit: Junit = "",
    summary: Summary = "",
    trends: Trends = "",
    badge: Badge = "",
) -> Judging:
    """The flags that say how results are judged."""
    files = (("--baseline", baseline), ("--junit", junit), ("--summary", summary), ("--badge", badge))
    for flag, path in files:
        if path and Path(path).is_dir():
            raise UsageError(f"{flag} {path!r} is a folder", "name a file")
    if trends and Path(trends).exists() and not Path(trends).is_dir():
        raise UsageError(f"--trends {trends!r} is a file", "name a folder")
    if badge:
        from xcore.ci.badge import check_badge

        check_badge(badge)
    if not baseline and (fail_on_regression or update_baseline or tolerance):
        flag = (
            "--update-baseline" if update_baseline else "--fail-on-regression" if fail_on_regression else "--tolerance"
        )
        raise UsageError(f"{flag} without a baseline", "name one with --baseline FILE")
    if not baseline:
        return Judging(gate, None, junit, summary, trends, badge)
    from xcore.ci.baseline import Comparison

    comparison = Comparison(Path(baseline), update_baseline, fail_on_regression, tolerance)
    return Judging(gate, comparison, junit, summary, trends, badge)


def names(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def references(text: str) -> list[str]:
    """The references of a comma-separated list. A part ``NAME=VALUE`` belongs to the reference before it."""
    found: list[str] = []
    for part in names(text):
        if found and ":" in found[-1] and part.partition("=")[0].isidentifier() and "=" in part:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def roles(pairs: list[str]) -> dict[str, str]:
    """``["vqa=blip"]`` -> {"vqa": "blip"}."""
    found = {}
    for pair in pairs:
        role, equals, ref = pair.partition("=")
        if not equals or not role or not ref:
            raise UsageError(f"--model {pair!r} is not of the form ROLE=REF", "e.g. --model image-text=minizoo/clip")
        found[role] = ref
    return found


MANY_SEEDS = 1000


def parse_settings(pairs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``["craft.k=10"]`` -> ``{"craft": {"k": 10}}``; values are TOML or null where they can be, else strings."""
    import tomllib  # late: it compiles patterns, and most commands set nothing

    settings: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        component, dot, option = name.rpartition(".")
        if not equals or not dot:
            raise UsageError(f"--set {pair!r} is not of the form NAME.OPTION=VALUE", "e.g. --set craft.k=10")
        try:
            parsed = tomllib.loads(f"v = {value}")["v"] if value != "null" else None
        except tomllib.TOMLDecodeError:
            parsed = value
        settings.setdefault(component, {})[option] = parsed
    return settings


def parse_seeds(text: str) -> list[int]:
    """``3`` -> [0, 1, 2] (a number of seeds); ``0,1,5`` -> [0, 1, 5]; ``5,`` -> [5]."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(
            f"--seeds {text!r} is neither a number of seeds nor a list of seeds", "e.g. 3 or 0,1,2"
        ) from None
    if numbers == [0] and "," not in text:
        raise UsageError(
            "--seeds 0 asks for no seed at all",
            "give a number of seeds, such as 3; for the one seed 0 write --seeds 0,",
        )
    if not numbers:
        raise UsageError(f"--seeds {text!r} does not name a seed", "e.g. 3 or 0,1,2")
    if min(numbers) < 0:
        raise UsageError(f"--seeds {text}: {min(numbers)} is no seed", "seeds are 0 or more, e.g. 3 or 0,1,2")
    if "," not in text and numbers[0] > MANY_SEEDS:
        raise UsageError(
            f"--seeds {text} asks for {numbers[0]} different seeds",
            f"for the one seed {numbers[0]} write --seeds {numbers[0]},",
        )
    return list(range(numbers[0])) if "," not in text else numbers
