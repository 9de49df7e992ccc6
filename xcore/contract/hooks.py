"""Where to plug in: the whole contract on one screen.

A plugin is a module, named by one entry-point line (group ``xcore``), that implements some of these hooks::

    from xcore import hookimpl

    @hookimpl
    def register_explainers(register):
        register("mine", "my_package.method:Mine", summary="what it does, in one line")

`register` takes a card: what `xcore list` prints without importing anything heavy. The factory is a dotted string or a
function; it is called when a cell runs, as ``factory(options)``, or as ``factory(options, argument)`` if the card names
an ``argument`` (references then read ``name:ARGUMENT``). `options` is an instance of the card's pydantic model or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pluggy

GROUP = "xcore"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


Fingerprint = Callable[[Any, str | None], str]
"""(options, argument) -> digest of the files behind a component, such as weights. Its code is added by the core."""


QUESTIONS = {
    "named": "Which things that I can name does it use?",
    "parts": "Which parts of its pictures does it use, whatever they are called?",
    "single": "What decides a single sample?",
    "drawn": "What would it respond to most, also beyond my data?",
    "words": "Which words describe what it sees?",
}
"""What a person wants to know of a classifier, in the order in which `xcore advise` answers."""


class Register(Protocol):
    def __call__(
        self,
        name: str,
        factory: Any,
        *,
        summary: str,
        options: str | None = None,  # "package.options:Options", a light module with a pydantic model
        files: tuple[str, ...] = (),  # files and folders inside your package that it reads, such as its weights
        fingerprint: str | Fingerprint | None = None,  # for files elsewhere: a function, or "package.plugin:function"
        needs: tuple[str, ...] = (),  # "gradients", "activations", "generator", "concepts", "vocabulary"
        uses: tuple[str, ...] | str = (),  # roles, or "generator"; "vqa?" = it does without where none is named; or
        # "package.plugin:uses", a light function options -> these
        modalities: tuple[str, ...] = ("image",),  # of the samples that it reads
        role: str | tuple[str, ...] | None = None,  # for models: the role that it plays, or several; any name
        own_data: bool = False,  # for models, generators: made for the data sets of its distribution; on other data the
        # table warns
        default: bool = False,  # for models: plays its role where no flag, suite or data set names one
        argument: str | None = None,  # for providers: what follows the colon, e.g. "MODEL"; "[MODEL]" = may be left out
        claims: str | None = None,  # "package.module:function", a light function argument -> whether it reads this one:
        # asked where another plugin offers the same name, as of tables of texts and of pictures
        paper: str | None = None,
        # for explainers, what `xcore advise` tells:
        question: str | None = None,  # which of QUESTIONS it answers; without one it is not advised
        limits: str = "",  # what it gets wrong, or cannot see: continues "It gets wrong" in plain words
        covers: tuple[str, ...] = (),  # kinds of dependence, by the names of the wired zoo, that it claims to find
        measured: tuple[float, float] | None = None,  # shares, found and falsely named, of what such classifiers use
        # for metrics:
        across: tuple[str, ...] = (),  # "seed", "classifier": judges together all explanations that differ in it only
        caveat: str = "",  # what a reader must know; continues the name: "never asks the model under explanation"
        column: bool = True,  # whether tables for people have a column of it; files always do
        details: tuple[str, ...] = (),  # details of its scores that gates may name as if they were metrics
        # for commands:
        call: str | None = None,  # "package.module:function": what `xcore.NAME` calls in Python
        api: int | tuple[int, int] = 1,
    ) -> None: ...


@hookspec
def register_explainers(register: Register) -> None:
    """Methods that explain a class of a classifier."""


@hookspec
def register_generators(register: Register) -> None:
    """Models that draw samples from prompts."""


@hookspec
def register_classifiers(register: Register) -> None:
    """Models under explanation, and loaders of such models."""


@hookspec
def register_metrics(register: Register) -> None:
    """Measures over explanations."""


@hookspec
def register_datasets(register: Register) -> None:
    """Sources of samples."""


@hookspec
def register_models(register: Register) -> None:
    """Helper models, each with a role."""


@hookspec
def register_renderings(register: Register) -> None:
    """Ways in which random sets are shown as a concept's samples are shown: ``Concept.render = "name:how"``.

    The factory gives a function ``(samples, how, rng) -> Samples``, where `rng` is a `numpy.random.Generator`. A method
    whose concepts are rendered by another plugin requires that plugin's distribution: then its code identifies results.
    """


@hookspec
def register_engines(register: Register) -> None:
    """Places where cells are run."""


@hookspec
def register_trackers(register: Register) -> None:
    """What follows a run as it goes on, such as a dashboard; see `xcore.contract.Tracker`."""


@hookspec
def register_commands(register: Register) -> None:
    """Subcommands of `xcore`: the factory is a typer app. One with a single command is that command."""
