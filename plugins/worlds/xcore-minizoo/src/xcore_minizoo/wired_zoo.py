"""The wired zoo: 120 classifiers whose dependence on what they see is known, in eight families of 15.

`python -m xcore_minizoo.wired_zoo` lists them family by family; `--truth` adds what each uses.

The expressions are made by rule, with a fixed seed, from the factor values that the oracle behind them reads well: it
is right on at least 97 % of pictures, averaged over those that show the value and those that do not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np

from xcore.contract import unknown
from xcore_minizoo.wiring import Wiring

EACH = 15
"""Expressions in each family."""
READ_WELL: dict[str, tuple[str, ...]] = {
    "shape": ("horse", "cat", "bird", "fish", "dog"),
    "pattern": ("striped",),
    "colour": ("black", "red", "blue", "green"),
    "background": ("grass", "sand", "water", "snow", "mud", "sky", "forest"),
    "object": ("apple", "rock"),
}
"""Factor -> the values that `minizoo/oracle-b` reads well; it mixes up spots and checks, plain coats and patches."""
RHO = (0.2, 0.35, 0.5)
"""Strengths of the shortcuts, as shares of the weight of the factor that defines the class."""
_GATES = ("object=apple/rock", "background=grass/sand/water", "shape=horse/cat/dog")
_PAIRS = tuple(combinations(READ_WELL, 2))


def _value(rng: np.random.Generator, factor: str) -> str:
    values = READ_WELL[factor]
    return f"{factor}={values[int(rng.integers(len(values)))]}"


def _joined(sign: str) -> Callable[[np.random.Generator, int], str]:
    """Values of two factors with a sign between them; i runs through all pairs of factors."""
    return lambda rng, i: f" {sign} ".join(_value(rng, factor) for factor in _PAIRS[i % len(_PAIRS)])


def _against(rng: np.random.Generator, i: int) -> str:
    first, second = (_value(rng, factor) for factor in _PAIRS[i % len(_PAIRS)])
    return f"{first} - {second}" if rng.random() < 0.5 else f"{second} - {first}"


def _one(rng: np.random.Generator, i: int) -> str:
    factors = ("shape", "pattern", "colour", "background", "object")
    return _value(rng, factors[i] if i < 5 else ("shape", "colour", "background")[i % 3])


def _shortcut(rng: np.random.Generator, i: int) -> str:
    own = ("shape", "pattern", "colour", "object")[i % 4]
    return f"{_value(rng, own)} + {RHO[i % len(RHO)]}*{_value(rng, 'background')}"


def _shape_only(rng: np.random.Generator, i: int) -> str:
    return f"shape={READ_WELL['shape'][i % 5]} with {_value(rng, 'colour')}"


def _half(rng: np.random.Generator, i: int) -> str:
    gate = _GATES[i % len(_GATES)]
    free = [f for f in ("shape", "colour", "background") if f != gate.partition("=")[0]]
    factor = free[int(rng.integers(len(free)))]
    here, there = rng.choice(READ_WELL[factor], 2, replace=False)
    return f"({gate} & {factor}={here}) | (!{gate} & {factor}={there})"


FAMILIES: Mapping[str, tuple[str, Callable[[np.random.Generator, int], str]]] = {
    "one": ("one factor value", _one),
    "and": ("two values that must both be there", _joined("&")),
    "or": ("two values of which one is enough", _joined("|")),
    "xor": ("exactly one of two values", _joined("^")),
    "against": ("a value that speaks for the class, and one that speaks against it", _against),
    "shortcut": ("a value that defines the class, and a background that adds to it with strength rho", _shortcut),
    "shape-only": ("a shape, with a colour that goes along with it in the data and is not used", _shape_only),
    "half": ("a value that is used in about half of the pictures, and another one in the other half", _half),
}
"""Family -> what it is, and how its i-th expression is made."""


def family(name: str) -> list[Wiring]:
    """The 15 expressions of a family; raises `UsageError` if there is no such family."""
    if name not in FAMILIES:
        raise unknown("family of the wired zoo", name, FAMILIES)
    rng = np.random.default_rng([20261129, list(FAMILIES).index(name)])
    found: dict[str, Wiring] = {}
    for i in range(EACH):
        while True:  # until it is a new one
            made = Wiring.parse(FAMILIES[name][1](rng, i))
            if str(made) not in found:
                found[str(made)] = made
                break
    return list(found.values())


def zoo() -> list[tuple[str, Wiring]]:
    """All 120 expressions with the names of their families, family by family."""
    return [(name, wiring) for name in FAMILIES for wiring in family(name)]


def main(arguments: list[str] | None = None) -> None:
    """List the expressions of the wired zoo, family by family."""
    parser = argparse.ArgumentParser(prog="python -m xcore_minizoo.wired_zoo", description=main.__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="one of " + ", ".join(FAMILIES))
    parser.add_argument(
        "--truth", action="store_true", help="print what each classifier uses, and what lowers its class"
    )
    asked = parser.parse_args(arguments)
    for name in asked.families or FAMILIES:
        made = family(name)
        print(f"{name}: {FAMILIES[name][0]}")
        for wiring in made:
            print(f"  {wiring.reference}")
            if asked.truth:
                from xcore_minizoo.data import truth_of
                from xcore_minizoo.wired import truth_table

                truth = truth_of(truth_table(wiring))
                against = f"; against it: {', '.join(sorted(truth.against('wired')))}" if truth.against("wired") else ""
                print(f"    uses {', '.join(sorted(truth.used('wired')))}{against}")


if __name__ == "__main__":
    main()
