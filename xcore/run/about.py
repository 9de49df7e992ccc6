"""``run.json``: what a run was asked, and with which versions, code and files it was made."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import MissingError, UsageError, XcoreError
from xcore.contract.types import Ref
from xcore.registry import TITLES, Registry
from xcore.run.plan import Plan
from xcore.run.progress import Reporter
from xcore.store.environment import differences, record
from xcore.store.identity import codes
from xcore.store.records import read_record, write_record
from xcore.store.run_directory import RunShape

if TYPE_CHECKING:
    from xcore.run.loop import Bench


def read_about(path: Path) -> dict[str, Any]:
    """What run.json says."""
    if not (path / "run.json").is_file():
        raise UsageError(f"{path} is not a run directory: it has no run.json", "name a folder that `xcore bench` wrote")
    return read_record(path / "run.json", RunShape)


def load_files(files: Sequence[str], registry: Registry, reporter: Reporter) -> None:
    """Load the plugin files of a run; one that is gone is told, and the run is shown all the same."""
    for file in files:
        try:
            registry.load_file(Path(file))
        except UsageError as error:
            reporter.warn(str(error))


@contextlib.contextmanager
def from_folder(about: Mapping[str, Any]) -> Iterator[None]:
    """Say where a run was started if something is not found from here: its paths may be relative."""
    try:
        yield
    except (UsageError, MissingError) as error:
        if error.hint or not (began := about.get("folder")) or Path(began) == Path.cwd():
            raise
        raise type(error)(error.message, f"run it in {began}, where the run was started") from error


def open_run(loop: Bench) -> None:
    """Write run.json."""
    plan, registry = loop.plan, loop.workbench.registry
    about: dict[str, Any] = {"plan": plan.as_plain(), "plugins": registry.files, "folder": str(Path.cwd())}
    about |= {"command": _command()}
    about |= {"written": time.time(), **environment(plan, registry), "files": files_of(loop)}
    write_record(loop.store.root / "run.json", about)


def _command() -> str:
    """The command line that started this process; empty if it was no command of ours, such as in a notebook."""
    program = Path(sys.argv[0]) if sys.argv else Path()
    ours = program.stem == "xcore" or program.parts[-2:] == ("xcore", "__main__.py")
    return shlex.join(["xcore", *sys.argv[1:]]) if ours else ""


def amend(loop: Bench, about: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Write run.json anew with the plan of a loop; what its explanations were made with stays."""
    new = {"plan": loop.plan.as_plain(), "amended": time.time()}
    files = list(dict.fromkeys([*about["plugins"], *loop.workbench.registry.files]))
    for part in ("distributions", "code", "files"):
        if part in about:
            new[part] = {**now[part], **about[part]}
    write_record(loop.store.root / "run.json", {**about, **new, "plugins": files})


def refuse_other_files(about: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Raise `UsageError` if the files behind a component, such as pictures or weights, are others than they were."""
    for name, files in about.get("files", {}).items():  # older runs do not say
        if now["files"].get(name, files) != files:
            raise UsageError(
                f"the files of the {name} have changed since {path} was made, so that its explanations are of others",
                f"make them again with `xcore bench --add-to {path}`, and name the metrics there",
            )


def environment(plan: Plan, registry: Registry) -> dict[str, Any]:
    """Versions, machine and code that a plan is run with now."""
    distributions = [card.distribution for card in registry.cards()]
    made_by = {registry.find(kind, ref)[0].distribution for kind, ref in used(plan, registry)}
    return {**record(plan.threads, distributions), "code": codes(registry, made_by)}


def files_of(loop: Bench) -> dict[str, str]:
    """Component of a plan -> digest of the files behind it, such as pictures or weights."""
    found = {}
    for kind, ref in used(loop.plan, loop.workbench.registry):
        options = "".join(f" {name}={value}" for name, value in ref.options.items())
        found[f"{TITLES.get(kind, kind)} {ref}{options}"] = loop.workbench.identity.files(kind, ref)
    return found


def used(plan: Plan, registry: Registry) -> list[tuple[str, Ref]]:
    """The components of a plan, as far as they are installed."""
    refs = {("metric", id(metric)): metric for metric in plan.metrics}  # a run has thousands of cells, which share them
    for cell in plan.cells:
        own = (("generator", cell.generator), ("dataset", cell.contrast), ("dataset", cell.heldout))
        for kind, ref in (("explainer", cell.method), ("classifier", cell.classifier), ("dataset", cell.data), *own):
            if ref:
                refs[kind, id(ref)] = ref
        for ref in cell.models.values():
            refs["model", id(ref)] = ref
    found = {}
    for (kind, _), ref in refs.items():
        with contextlib.suppress(XcoreError):  # gone since
            registry.find(kind, ref)
            found[kind, ref.text, str(ref.options)] = kind, ref
    return list(found.values())


def changes(about: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what the versions and the code that made a run differ from those of now."""
    then = {"versions": about.get("numerics", {}).get("versions", {})}
    changed = differences(then, {"versions": now["numerics"]["versions"]})
    old, new = about.get("distributions", {}), now["distributions"]
    for name, code in about.get("code", {}).items():  # of what the run used; older runs do not say
        if name not in now["code"]:
            changed.append(f"{name}, which is not installed now")
        elif name in old and old[name] != new.get(name):  # older runs do not tell the version of the core
            changed.append(f"{name} {old[name]} instead of {new[name]}")
        elif code != now["code"][name]:
            changed.append(f"other code of {name}")
    return changed
