"""Classifiers that learn a shortcut of the user's choice: `minizoo/planted:CLASS:FACTOR=VALUE:RHO[:SEED]`.

By names, in any order: `minizoo/planted:class=CLASS,factor=FACTOR=VALUE,rho=RHO,seed=SEED`; without rho it is 1.

The first use of a reference trains the classifier on this machine, by the recipe of the shipped `minizoo/shortcut`; the
truth table is measured when it is first asked for. Both are kept in the user's cache, where later runs find them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xcore.contract import UsageError, digest, seeded, unknown
from xcore.session import cached_artifact
from xcore_minizoo.collections import Collection, plant
from xcore_minizoo.sources import code_digest

STEPS = 971
"""Training steps of the shipped `minizoo/shortcut`. A fixed number makes the outcome depend on the seed alone."""
RECIPE: Mapping[str, Any] = {"lr": 3e-3, "batch": 64, "ema": 0.995}
"""The other settings of the training (`xcore_minizoo.training.Recipe`)."""
SEED = 32
"""The seed if a reference names none: that of the shipped `minizoo/shortcut`."""
PAIRS = 200
"""Scenes of each class in a truth table, as in those of the shipped classifiers."""
ARTIFACT = "minizoo-planted"
NAMES = ("class", "factor", "rho", "seed")
"""The parts of a reference."""
FORM = "minizoo/planted:CLASS:FACTOR=VALUE:RHO[:SEED], e.g. minizoo/planted:cow:background=grass:1.0"
FORM_BY_NAME = "minizoo/planted:class=cow,factor=background=grass,rho=1.0,seed=32"


@dataclass(frozen=True)
class Planted:
    """A shortcut, and the seed of the classifier that learns it.

    Parameters
    ----------
    cls, factor, rho
        See `xcore_minizoo.collections.plant`.
    seed
        Seed of the initial weights and of the training pictures.
    """

    cls: str
    factor: str
    rho: float
    seed: int = SEED

    @classmethod
    def parse(cls, argument: str) -> Planted:
        """Read what follows ``minizoo/planted:`` in a reference.

        Raises
        ------
        UsageError
            The argument has another form, or names a class, a factor value or a strength that does not exist.
        """
        named = "=" in argument.partition(":")[0]
        parts = _by_name(argument) if named else _by_place(argument)
        try:
            rho, seed = float(parts["rho"]), int(parts["seed"])
        except ValueError:
            raise UsageError(f"rho and seed of the shortcut {argument!r} must be numbers", f"write {FORM}") from None
        if seed < 0:
            raise UsageError(f"the seed of the shortcut {argument!r} must be 0 or more")
        made = cls(parts["class"], parts["factor"], rho, seed)
        plant(made.cls, made.factor, made.rho)  # refuses what is not there
        return made

    def __str__(self) -> str:
        """The reference of the classifier."""
        seed = f":{self.seed}" if self.seed != SEED else ""
        return f"minizoo/planted:{self.cls}:{self.factor}:{self.rho}{seed}"

    @property
    def collection(self) -> Collection:
        """The pictures that the classifier is trained on."""
        return plant(self.cls, self.factor, self.rho)

    def key(self, steps: int = STEPS) -> Mapping[str, Any]:
        """All that the weights depend on: the shortcut, seed and recipe, and the code that paints and trains."""
        return {
            "class": self.cls,
            "factor": self.factor,
            "rho": self.rho,
            "seed": self.seed,
            "recipe": {**RECIPE, "steps": steps},
            "code": code_digest("training"),
            "versions": {name: version(name) for name in ("numpy", "torch")},
        }


def _by_place(argument: str) -> Mapping[str, str]:
    """The parts of ``CLASS:FACTOR=VALUE:RHO[:SEED]``."""
    parts = argument.split(":")
    if len(parts) not in (3, 4):
        raise UsageError(f"cannot read the shortcut {argument!r} of minizoo/planted", f"write {FORM}")
    return {"seed": str(SEED), **dict(zip(NAMES, parts, strict=False))}


def _by_name(argument: str) -> Mapping[str, str]:
    """The parts of ``class=CLASS,factor=FACTOR=VALUE,rho=RHO,seed=SEED``."""
    parts: dict[str, str] = {}
    for pair in argument.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if name not in NAMES:
            raise unknown(f"part of the shortcut {argument!r}:", name, NAMES)
        if not equals or not value:
            raise UsageError(f"the shortcut {argument!r} gives no value to {name!r}", f"write {name}=VALUE")
        if name in parts:
            raise UsageError(f"the shortcut {argument!r} names {name!r} twice")
        parts[name] = value
    for name in NAMES[:2]:
        if name not in parts:
            raise UsageError(f"the shortcut {argument!r} names no {name}", f"write {FORM_BY_NAME}")
    return {"rho": "1", "seed": str(SEED), **parts}


def trained(planted: Planted, steps: int = STEPS) -> Path:
    """The folder of the classifier (config.json, model.safetensors, figures.json); trains it the first time.

    An interrupted training continues from its last checkpoint, which is kept beside the folder until it is finished.
    """
    from xcore_minizoo.training import Recipe, train_classifier

    key = planted.key(steps)

    def checkpoints(artifacts: Path) -> Path:
        return artifacts / f".training-{ARTIFACT}.{digest(key)}"

    def make(folder: Path) -> None:
        _say(f"training {planted}: {steps} steps, about {_minutes(steps, 4)}; this is done once on this machine")
        recipe = Recipe(minutes=0, seed=planted.seed, steps=steps, **RECIPE)
        # one thread: with another number of threads sums are added up in another order, and the weights differ
        with seeded(planted.seed, threads=1):
            shortcut = (planted.cls, planted.factor, planted.rho)
            train_classifier(checkpoints(folder.parent), folder, planted.collection, recipe, shortcut)

    made = cached_artifact(ARTIFACT, key, make)
    shutil.rmtree(checkpoints(made.parent), ignore_errors=True)
    return made


def truth_file(planted: Planted, steps: int = STEPS, pairs: int = PAIRS) -> Path:
    """The truth table ``truth.json`` of the classifier; trains and measures it the first time."""
    from xcore_minizoo.nets import load_classifier
    from xcore_minizoo.truth import table_of

    def make(folder: Path) -> None:
        weights = trained(planted, steps)
        _say(f"measuring what {planted} uses: about {_minutes(pairs, 3, PAIRS)}; this is done once on this machine")
        with seeded(0, threads=1):  # building a network draws random weights, which must not change the global state
            table = table_of(load_classifier(weights)[0], planted.collection, pairs)
        (folder / "truth.json").write_text(json.dumps(table, indent=1))

    key = {"classifier": planted.key(steps), "pairs": pairs, "code": code_digest("truth", "nets")}
    return cached_artifact(f"{ARTIFACT}-truth", key, make) / "truth.json"


def fingerprint(options: Any, argument: str) -> str:
    """What identifies the weights of a reference before they are trained: all that they depend on."""
    return digest(Planted.parse(argument).key())


def _minutes(n: int, minutes: float, of: int = STEPS) -> str:
    """How long n of `of` steps take if all take so many minutes."""
    found = max(1, round(minutes * n / of))
    return "a minute" if found == 1 else f"{found} minutes"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
