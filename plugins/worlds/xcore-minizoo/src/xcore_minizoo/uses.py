"""What classifiers use: `python -m xcore_minizoo.uses REFERENCE [REFERENCE ...]`.

Of a planted network (`minizoo/planted:...`) one line is printed: the effect of the planted value on the logit of its
class, the gap, the effect as a share of the gap, and whether the value is used. A planting counts only if it is: if its
effect is at least 10 % of the gap. Networks that are not there yet are trained first. Of every other classifier with a
truth the values that it uses, and those that speak against it, are printed for each class.
"""

from __future__ import annotations

import argparse
import sys

from xcore.contract import Truth, UsageError, XcoreError
from xcore_minizoo.collections import COLLECTIONS
from xcore_minizoo.data import Painted, read_truth, wired
from xcore_minizoo.planted import Planted, truth_file


def planted_line(planted: Planted, truth: Truth) -> str:
    """Effect, interval, gap and share of what was planted, and whether it is used."""
    effect, low, high = truth.effects[planted.cls][planted.factor]
    gap = truth.gaps[planted.cls]
    share = f"{effect / gap:.1%} of it" if gap > 0 else "the class is confused with another one"
    verdict = "used" if planted.factor in truth.used(planted.cls) else "not used"
    return f"{planted}: effect {effect:.2f} [{low:.2f}, {high:.2f}], gap {gap:.2f}, {share}: {verdict}"


def class_lines(reference: str, truth: Truth) -> list[str]:
    """For each class its gap, what it uses, and what speaks against it."""
    lines = [reference]
    for cls, gap in truth.gaps.items():
        used, against = (", ".join(sorted(values)) or "nothing" for values in (truth.used(cls), truth.against(cls)))
        lines.append(f"  {cls}: gap {gap:.2f}; uses {used}; against it: {against}")
    return lines


def lines_of(reference: str) -> list[str]:
    """What is printed of a classifier; raises `UsageError` if its truth is not known."""
    name, _, argument = reference.removeprefix("xcore-minizoo/").partition(":")
    if name == "minizoo/planted":
        planted = Planted.parse(argument)
        return [planted_line(planted, read_truth(truth_file(planted)))]
    data = wired(None, argument) if name == "minizoo/wired" else Painted(COLLECTIONS["minizoo"])
    truth = data.truth(reference)
    if truth is None:
        raise UsageError(
            f"it is not known what {reference!r} uses",
            "name minizoo/clean, minizoo/shortcut, minizoo/vit, minizoo/planted:... or minizoo/wired:...",
        )
    return class_lines(reference, truth)


def main(arguments: list[str] | None = None) -> None:
    """Print what classifiers use; of planted networks, whether the planting counts."""
    parser = argparse.ArgumentParser(prog="python -m xcore_minizoo.uses", description=main.__doc__)
    parser.add_argument(
        "references", nargs="+", metavar="REFERENCE", help="e.g. minizoo/planted:cow:background=grass:1"
    )
    for reference in parser.parse_args(arguments).references:
        print("\n".join(lines_of(reference)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except XcoreError as error:
        sys.exit(f"error: {error}")
