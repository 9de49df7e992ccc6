"""What `xcore check` does: from a reference or a path to components, and from these to the results of their checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xcore.base.errors import MissingError, UsageError, XcoreError, unknown
from xcore.cards import Card
from xcore.contract.roles import READS
from xcore.contract.types import Ref
from xcore.registry import KINDS, Registry, load_registry, resolve
from xcore.testing.checklist import Result, checks_of, run_check

HASHED = ("explainer", "metric")
"""Kinds whose results are compared between two processes."""
LONGEST = 600
"""Seconds that such a process may take."""


@dataclass(frozen=True)
class Target:
    """A component to be checked."""

    card: Card
    ref: Ref
    modality: str = "image"
    how: str = ""
    """Of a rendering: what follows the colon of its name."""

    @property
    def label(self) -> str:
        """What a reader calls it, e.g. ``explainer craft``."""
        how = f":{self.how}" if self.how else ""
        return f"{self.card.kind} {self.ref}{how}{' on texts' if self.modality == 'text' else ''}"


def check_target(
    text: str, kind: str = "", plugins: Sequence[str] = (), options: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Result]:
    """Check what a reference or a path names; the results come as they are made.

    Parameters
    ----------
    text
        A reference such as ``craft`` or ``xcore-mine/mine``, a plugin file, or the folder of an installed distribution.
    kind
        Check only components of this kind; "" = all of that name.
    plugins
        Plugin files to load.
    options
        Name of a component -> its options.

    Raises
    ------
    UsageError
        Nothing is named so.
    """
    if kind and kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    path = Path(text)
    is_file = path.suffix == ".py"
    files = [str(Path(p).resolve()) for p in (*plugins, *([text] if is_file else []))]
    if is_file:
        if not path.is_file():
            raise UsageError(f"no plugin file {text!r}", "name a Python file, a folder or a component")
        try:
            registry = load_registry(files)
        except UsageError as error:
            yield _not_loaded(f"plugin {text}", str(error), f"Run `python {text}`.")
            return
        cards = [c for c in registry.cards() if c.distribution == path.stem]
    elif path.is_dir() and ("/" in text or text in (".", "..") or (path / "pyproject.toml").is_file()):
        registry = load_registry(files)
        cards, faults = _of_folder(path, registry)
        yield from faults
        if faults and not cards:
            return
    else:
        registry = load_registry(files)
        bare = text.partition(":")[0]
        cards = [c for c in registry.cards() if bare in (c.name, c.full_name)]
        if not cards:
            raise unknown("component", text, {c.name for c in registry.cards()})
    cards = [c for c in cards if not kind or c.kind == kind]
    if not cards:
        raise UsageError(f"{text} offers no {kind or 'component'}", "see `xcore list`")
    argument = text.partition(":")[2] if not is_file and not path.is_dir() else ""
    targets = [t for card in cards for t in _targets(card, argument, options or {})]
    hashed = _in_two_processes([t for t in targets if t.card.kind in HASHED], files)
    for target in targets:
        yield from _results(target, registry, hashed.get(target.label))


def _of_folder(path: Path, registry: Registry) -> tuple[list[Card], list[Result]]:
    """The cards of the distribution whose folder this is; a result for each plugin and card that is left out."""
    try:
        project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"{path} is not the folder of a distribution", "it needs a pyproject.toml with a name"
        ) from error
    name = _normal(str(project["name"]))
    own = [p for p in registry.plugins if _normal(p.distribution) == name]
    if not own:
        raise UsageError(f"{project['name']} is not installed, or offers no plugin", f"pip install -e {path}")
    left_out = [(f"plugin {p.name}", p.reason) for p in own if not p.ok]
    left_out += [(f"{bad.kind} {bad.name}", bad.fault) for p in own if p.ok for bad in p.bad]
    cards = [card for plugin in own for card in plugin.cards]
    return cards, [_not_loaded(label, reason, "See `xcore plugins`.") for label, reason in left_out]


def _not_loaded(label: str, reason: str, mend: str) -> Result:
    return Result(label, "it_loads", "failed", reason, "What does not load offers nothing.", mend)


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _targets(card: Card, argument: str, options: Mapping[str, Mapping[str, Any]]) -> list[Target]:
    if card.kind == "rendering":
        return [Target(card, Ref(card.full_name), how=argument)]
    ref = Ref(f"{card.full_name}:{argument}" if argument else card.full_name, dict(options.get(card.name, {})))
    several = [m for m in ("image", "text") if m in card.modalities] if card.kind in HASHED else ["image"]
    return [Target(card, ref, modality) for modality in several or ["image"]]


# -- one component ---------------------------------------------------------------------------------------------------
def _results(target: Target, registry: Registry, hashed: tuple[str, str] | None) -> Iterator[Result]:
    """The results of all checks of a component and of its options."""
    card, label = target.card, target.label
    if card.argument and not card.argument.startswith("[") and ":" not in str(target.ref):
        reason = f"it needs an argument: xcore check {card.shown}"
        yield Result(label, "it_can_be_made", "skipped", reason)
        return
    if card.options is not None:
        from xcore.testing.options import Choosing

        model = resolve(card.options)
        for one in checks_of("options"):
            yield run_check(one, Choosing(model), label)
    try:
        made = resolve(card.factory) if card.kind == "command" else registry.create(card.kind, target.ref)
    except XcoreError as error:
        if isinstance(error, MissingError) and not _of_its_own(error, card):
            yield Result(label, "it_can_be_made", "skipped", str(error))
            return
        why, mend = "What cannot be made cannot be used.", "Let the factory take the options (and the argument) only."
        yield Result(label, "it_can_be_made", "failed", str(error), why, mend)
        return
    yield Result(label, "it_can_be_made", "passed")
    from xcore.testing.watching import Subject

    for role in card.roles if card.kind == "model" else ("",):
        shared: dict[str, Any] = {}
        for one in checks_of(card.kind):
            with tempfile.TemporaryDirectory(prefix="xcore-check-", ignore_cleanup_errors=True) as folder:
                subject = SUBJECTS[card.kind](target, made, registry, Path(folder).resolve(), role)
                if isinstance(subject, Subject):
                    subject.shared = shared
                if card.kind in HASHED:
                    subject.hashed = hashed
                yield run_check(one, subject, f"{label} as {role}" if role else label)


def _of_its_own(error: XcoreError, card: Card) -> bool:
    """Whether what is missing is in the component's own package, such as a misspelt factory."""
    cause = error.__cause__
    if not isinstance(card.factory, str) or cause is None:
        return False
    package = card.factory.partition(":")[0].partition(".")[0]
    return not isinstance(cause, ModuleNotFoundError) or (cause.name or "").partition(".")[0] == package


def _helpers(target: Target, registry: Registry) -> tuple[dict[str, Any], Any]:
    """The helper models that a component uses, and a generator if it uses one."""
    from xcore.testing.helpers import TinyGenerator, helper_models
    from xcore.testing.texts import TinyWriter

    wanted = registry.uses(target.ref, target.card.kind)
    models = {
        r: m for r, m in helper_models().items() if r in wanted and READS.get(r, target.modality) == target.modality
    }
    draws = "generator" in (*wanted, *target.card.needs)
    generator: Any = TinyWriter() if target.modality == "text" else TinyGenerator()
    return models, generator if draws else None


def _task(target: Target, registry: Registry, folder: Path, seed: int = 3) -> Any:
    from xcore.testing.helpers import COLOURS
    from xcore.testing.texts import text_task
    from xcore.testing.world import blobs, stripes, tiny_task

    models, generator = _helpers(target, registry)
    if target.modality == "text":
        return text_task(folder, generator=generator, models=models, seed=seed)
    named = {"stripes": stripes(20, 31), "blobs": blobs(20, 32)}
    return tiny_task(folder, generator=generator, models=models, vocabulary=[*COLOURS], concepts=named, seed=seed)


def _explaining(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.explainers import Explaining

    repeats = getattr(made, "repeats_maps", True)
    return Explaining(made, _task(target, registry, folder), folder / "checks", repeats)


def _judging(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.metrics import Judging
    from xcore.testing.texts import text_run
    from xcore.testing.world import made_run

    several = 3 if target.card.across else 1
    run = text_run if target.modality == "text" else made_run
    runs = [run(_task(target, registry, folder / str(seed), seed), seed) for seed in range(several)]
    return Judging(made, runs, folder / "checks", target.card.name, target.card.column)


def _drawing(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.generators import Drawing

    return Drawing(made, ("red", "calm", "striped"))


def _classifying(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.contract.samples import Samples
    from xcore.testing.classifiers import Classifying
    from xcore.testing.texts import reviews
    from xcore.testing.world import SIDE, blobs, stripes

    if made.modality == "text":
        return Classifying(made, Samples.concat([reviews("praise", 2, 1), reviews("blame", 2, 1)]))
    size = getattr(getattr(made, "framing", None), "size", None)
    side = size if isinstance(size, int) else size[0] if size else SIDE
    return Classifying(made, Samples.concat([stripes(2, 1, side), blobs(2, 2, side)]))


def _supplying(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.datasets import Supplying

    return Supplying(made)


def _helping(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.roles import Helping
    from xcore.testing.world import stripes

    return Helping(made, role, stripes(4, 1))


def _running(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.engines import Running

    return Running(made, folder)


def _following(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.trackers import Following, started_run, table_rows, tracked_cells

    cells = tracked_cells()
    return Following(made, started_run(cells, folder), cells, table_rows(cells))


def _rendering(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.renderings import Rendering
    from xcore.testing.world import stripes

    return Rendering(made, stripes(4, 1), target.how)


def _commanding(target: Target, made: Any, registry: Registry, folder: Path, role: str) -> Any:
    from xcore.testing.commands import Commanding

    return Commanding(target.card.name, made, resolve(target.card.call) if target.card.call else None)


SUBJECTS: Mapping[str, Callable[[Target, Any, Registry, Path, str], Any]] = {
    "explainer": _explaining,
    "metric": _judging,
    "generator": _drawing,
    "classifier": _classifying,
    "dataset": _supplying,
    "model": _helping,
    "engine": _running,
    "tracker": _following,
    "rendering": _rendering,
    "command": _commanding,
}
"""Kind -> what makes the subject of its checks."""


# -- two processes ---------------------------------------------------------------------------------------------------
def _in_two_processes(targets: Sequence[Target], files: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Label -> digests of its results by two processes whose seeds of Python's hashes differ; of both, or none."""
    if not targets:
        return {}
    asked = [[t.card.kind, t.ref.text, dict(t.ref.options), t.modality] for t in targets]
    order = json.dumps({"files": [*files], "targets": asked})
    made = []
    started = [
        subprocess.Popen(
            [sys.executable, "-c", "from xcore.testing.checking import tell_digests; tell_digests()"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seed in ("1", "2")
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(order)
        process.stdin.close()
        process.stdin = None
    try:
        for process in started:
            told, _ = process.communicate(timeout=LONGEST)
            lines = [line for line in told.splitlines() if line.startswith(MARK)]
            made.append(dict(json.loads(line[len(MARK) :]) for line in lines))
    except subprocess.TimeoutExpired:
        return {}  # nothing can be compared, and the check says so
    finally:
        for process in started:
            process.kill()  # what has ended already is left as it is
    return {label: (digest, made[1][label]) for label, digest in made[0].items() if label in made[1]}


MARK = "xcore-check "
"""What the lines of such a process begin with."""


def tell_digests() -> None:
    """Print a line with the digest of the results of each target that the standard input names, if it has one."""
    from xcore.base.digests import digest
    from xcore.testing.explainers import plain

    order = json.loads(sys.stdin.read())
    registry = load_registry(order["files"])
    for kind, text, options, modality in order["targets"]:
        card, _ = registry.find(kind, text)
        target = Target(card, Ref(text, options), modality)
        with tempfile.TemporaryDirectory(prefix="xcore-check-", ignore_cleanup_errors=True) as folder:
            where = Path(folder).resolve()
            try:
                made = registry.create(kind, target.ref)
                subject = SUBJECTS[kind](target, made, registry, where, "")
                if kind == "explainer":
                    kept, tensors = plain(made.explain(subject.task), where / "kept")
                    found = digest([kept, tensors.hex()])
                else:
                    found = digest([repr(score) for score in made.score(subject.runs)])
            except Exception:  # the checks in the process that asks say what is wrong
                continue
            print(f"\n{MARK}{json.dumps([target.label, found])}", flush=True)


def counted(results: Sequence[Result]) -> dict[str, int]:
    """How many results there are of each status."""
    return {status: sum(r.status == status for r in results) for status in ("passed", "failed", "skipped")}


def sound(results: Sequence[Result]) -> bool:
    """Whether something was checked and nothing failed."""
    counts = counted(results)
    return counts["failed"] == 0 and counts["passed"] > 0


def shortened(result: Result) -> Result:
    """A result whose reason is one line."""
    return replace(result, reason=" ".join(result.reason.split()))
