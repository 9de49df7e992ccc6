"""What command plugins build on: references, the cells that flags ask for, work folders that resume, flags and JSON.

A command of a plugin shares the flags, the defaults and the messages of `xcore bench`::

    from xcore.session import open_session, subject, takes

    @app.command()
    @takes(subject)
    def mine(about: dict[str, Any]) -> None:
        with open_session(["craft"], about, Path("mine/.work")) as session:
            for cell in session.cells:
                task = session.task(cell, folder)

What a command finds it keeps with `Session.finding`, so that it is never computed twice; see `xcore.findings`.
`Session.each` finds something of each class: where one fails the others go on, and `publish` tells the reasons.

`write_json` and `write_text` write a file whole or not at all; `read_json` says in one line what is wrong with a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.lazy import lazy_exports

if TYPE_CHECKING:
    from xcore.base.files import read_json as read_json
    from xcore.base.files import slug as slug
    from xcore.base.files import write_json as write_json
    from xcore.base.files import write_text as write_text
    from xcore.cli.flags import Json as Json
    from xcore.cli.flags import names as names
    from xcore.cli.flags import subject as subject
    from xcore.cli.flags import takes as takes
    from xcore.cli.listing import print_line as print_line
    from xcore.contract.protocols import Classifier, Dataset, Task
    from xcore.contract.types import Cell, Ref
    from xcore.findings import Column as Column
    from xcore.findings import Finding as Finding
    from xcore.findings import Findings as Findings
    from xcore.findings import Found as Found
    from xcore.findings import publish as publish
    from xcore.findings import tell_failures as tell_failures
    from xcore.findings import write_tables as write_tables
    from xcore.run.data import chosen as chosen
    from xcore.run.data import groups_of as groups_of
    from xcore.run.progress import Reporter as Reporter
    from xcore.run.workbench import Workbench

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "xcore.base.files": ("read_json", "slug", "write_json", "write_text"),
        "xcore.cli.flags": ("Json", "names", "subject", "takes"),
        "xcore.cli.listing": ("print_line",),
        "xcore.findings": ("Column", "Finding", "Findings", "Found", "publish", "tell_failures", "write_tables"),
        "xcore.run.data": ("chosen", "groups_of"),
        "xcore.run.progress": ("Reporter",),
    },
)


@dataclass(frozen=True, eq=False)
class Session:
    """The cells that a command's flags ask for, and the components behind them. Components are made once.

    Parameters
    ----------
    cells
        One for each method, classifier, class and seed.
    reporter
        Shows progress on stderr.
    """

    cells: tuple[Cell, ...]
    reporter: Reporter
    _workbench: Workbench

    def component(self, kind: str, ref: Ref) -> Any:
        """The component of a reference; `kind` is "classifier", "generator", "model", ..."""
        return self._workbench.component(kind, ref)

    def explainer(self, cell: Cell) -> Any:
        """The method of a cell with the options of the flags."""
        return self._workbench.component("explainer", cell.method)

    def classifier(self, cell: Cell) -> Classifier:
        """The classifier of a cell."""
        return self._workbench.classifier(cell)

    def dataset(self, cell: Cell) -> Dataset:
        """The data set of a cell, held-out samples included; its classes are named as by the classifier."""
        return self._workbench.data(cell)

    def training_data(self, cell: Cell) -> Dataset:
        """The data set of a cell as methods see it: without held-out samples and without the truth.

        Its pictures are framed, and its classes named, as by the classifier.
        """
        from xcore.run.data import TrainingData

        return TrainingData(self._workbench.data(cell))

    def layer(self, cell: Cell) -> str:
        """The layer of a cell: its own, or the classifier's default."""
        return self._workbench.layer(cell)

    def check(self, cell: Cell) -> None:
        """Raise `UsageError` if the class or the layer of a cell is not there."""
        self._workbench.check(cell)

    def task(self, cell: Cell, workdir: Path) -> Task:
        """What the method of a cell is asked to do; its files go to `workdir`."""
        return self._workbench.task(cell, workdir, self.reporter.step)

    def artifact(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """A directory that all cells share, such as a trained network: made once by ``make(directory)``, found by key.

        It is in the work folder of the session. What `make` keeps of an interrupted training it may put beside the
        directory that it is given.
        """
        return self._workbench.store.artifact(name, key, make)

    def finding(
        self,
        command: str,
        about: Mapping[str, Any],
        cell: Cell,
        make: Callable[[Path], Found],
        *,
        refs: Mapping[str, Sequence[Ref]] | None = None,
        out: Path,
    ) -> Finding:
        """What a command found of a cell: kept below `out`, and found again there instead of computed twice.

        Parameters
        ----------
        command
            Name of the command, as on its card, such as "shift", or "texplain repair" for one of several commands of a
            card. The code of its plugin is part of what the finding is known by.
        about
            What was asked beside the cell, as plain data.
        make
            Folder, for pictures and files -> what is found. It runs with the seed of the cell.
        refs
            Further components that it depends on: kind -> references, such as a second classifier.
        """
        from xcore.base.seeding import seeded
        from xcore.findings import keep

        def seeded_make(folder: Path) -> Found:
            with seeded(cell.seed):
                return make(folder)

        asked = {"classifier": cell.classifier.text, "data": cell.data.text, "class": cell.cls, "seed": cell.seed}
        return keep(out, command, {**asked, **about}, self._workbench.depends(command, cell, refs or {}), seeded_make)

    def each(
        self, *finds: Callable[[Sequence[Cell]], Finding], groups: Iterable[Sequence[Cell]] | None = None
    ) -> Findings:
        """What is found of each cell. One that fails is told, the others go on, and `Findings.failed` says why.

        Parameters
        ----------
        *finds
            Each: cells that belong together -> what is found of them.
        groups
            These cells; None = each cell by itself.

        Raises
        ------
        Exception
            That of the first cell, if nothing is found of any.
        """
        from xcore.findings import each

        several = len({c.classifier.text for c in self.cells}) > 1

        def name(cell: Cell) -> str:
            return f"{cell.cls} of {cell.classifier}" if groups is None and several else cell.cls

        asked = [
            (name(cells[0]), partial(find, cells)) for cells in groups or [[c] for c in self.cells] for find in finds
        ]
        return each(asked, self.reporter.warn)


@contextmanager
def open_session(methods: Sequence[str], about: Mapping[str, Any], work: Path, **keys: Any) -> Iterator[Session]:
    """Open what the flags ask for, as `xcore bench` would.

    Parameters
    ----------
    methods
        Names of explainers.
    about
        What the flags of `subject` gave. Without a data set among them, the default suite says what they leave open.
    work
        Folder of what is shared between calls, such as trained artifacts. It is locked: one process at a time.
    **keys
        Keys of a suite that win over it, such as ``seeds=[0]``.

    Raises
    ------
    UsageError, MissingError
        For the first thing that is wrong with the request, before anything is loaded; or another process works in the
        folder.
    """
    from xcore.api import request
    from xcore.registry import load_registry
    from xcore.run.plan import make_plan
    from xcore.run.progress import for_stderr
    from xcore.run.workbench import Workbench
    from xcore.store.run_directory import Store

    registry = load_registry(about.get("plugins", ()))
    given = {key: value for key, value in about.items() if key not in ("plugins", "out")}
    suite = request(methods, "" if about.get("data") else "default", {**given, "controls": [], **keys}, registry)
    plan = make_plan(suite, registry)
    store = Store(work)
    with store.locked(), for_stderr() as reporter:
        reporter.begin(0, 0)
        yield Session(plan.cells, reporter, Workbench(registry, store))


def offered(kind: str) -> tuple[str, ...]:
    """Names of the components of a kind that the installed plugins offer."""
    from xcore.registry import load_registry

    return tuple(card.name for card in load_registry().cards(kind))


def make(kind: str, ref: Ref) -> Any:
    """The component of a reference, from the installed plugins.

    What it imports and builds may draw random numbers: the global random states are left as found.

    Raises
    ------
    XcoreError
        Says what is wrong with the reference or the plugin.
    """
    from xcore.base.seeding import seeded
    from xcore.registry import load_registry

    registry = load_registry()
    with seeded(0):
        return registry.create(kind, ref)


def fingerprints(kind: str, refs: Iterable[Ref]) -> list[str]:
    """What identifies the component of each reference: its files, options and code. Loads no model."""
    from xcore.registry import load_registry
    from xcore.store.identity import Identity

    identity = Identity(load_registry())
    return [identity.component(kind, ref) for ref in refs]


def cached_artifact(name: str, key: Mapping[str, Any], make: Any) -> Path:
    """A directory in the user's cache, found by the content of its key and made once by ``make(directory)``.

    For what every run on this machine may share, such as a model that is trained on the spot.
    """
    from xcore.base.files import cache_directory
    from xcore.store.run_directory import Artifacts

    return Artifacts(cache_directory() / "artifacts").get(name, key, make)
