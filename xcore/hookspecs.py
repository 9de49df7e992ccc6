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
"""(options, argument) -> digest of the files and settings behind a component."""


class Register(Protocol):
    def __call__(
        self,
        name: str,
        factory: Any,
        *,
        summary: str,
        options: str | None = None,  # "package.options:Options", a light module with a pydantic model
        fingerprint: str | Fingerprint | None = None,  # function or "package.plugin:function"; loads no model
        needs: tuple[str, ...] = (),  # "gradients", "activations", "generator", "concepts", "vocabulary"
        uses: tuple[str, ...] | str = (),  # roles, or "generator" if one is given; or "package.plugin:uses", a light
        # function options -> these
        kinds: tuple[str, ...] = ("image",),
        role: str | None = None,  # for models: the role that it plays
        default: bool = False,  # for models: plays its role where no flag, suite or data set names one
        argument: str | None = None,  # for providers: what follows the colon, e.g. "MODEL"; "[MODEL]" = may be left out
        paper: str | None = None,
        over: tuple[str, ...] = (),  # for metrics: "seed", "classifier" = reads all explanations that differ in it only
        api: int = 1,
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
def register_engines(register: Register) -> None:
    """Places where cells are run."""


@hookspec
def register_commands(register: Register) -> None:
    """Subcommands of `xcore`: the factory is a typer app."""
