"""Tolerances: how far a value may drop below the baseline before it counts as a regression."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from xcore.base.errors import UsageError, unknown

DEFAULT = "0.02,2%,2se"


@dataclass(frozen=True)
class Tolerance:
    """The allowed drop before a regression: the largest of three amounts.

    `errors` counts standard errors of the difference of two means over n seeds, ``s * sqrt(2 / n)``, with the spread s
    of the baseline alone: code that became noisier cannot widen its own tolerance.
    """

    absolute: float = 0.0
    relative: float = 0.0
    errors: float = 0.0

    def amount(self, value: float, spread: float | None, over: str, n: int) -> tuple[float, str]:
        """The tolerance of a value of the baseline, and which of the three it is."""
        noise = 0.0
        if over == "seeds" and spread is not None and n > 1:
            noise = self.errors * spread * math.sqrt(2 / n)
        amounts = {
            "absolute": self.absolute,
            f"{100 * self.relative:g} %": self.relative * abs(value),
            f"{self.errors:g} standard errors over {n} seeds": noise,
        }
        why = max(amounts, key=lambda k: amounts[k])
        return amounts[why], why


def tolerances(texts: Iterable[str], metrics: Sequence[str]) -> dict[str, Tolerance]:
    """Metric -> tolerance; "" is for all others. Raises `UsageError` for a wrong metric or amount."""
    stated: dict[str, list[str]] = {}
    for text in texts:
        name, equals, amount = text.rpartition("=")
        if equals and name not in metrics:
            raise unknown(f"metric in tolerance {text!r}:", name, metrics)
        stated.setdefault(name, []).append(amount)
    return {name: _tolerance(",".join(amounts)) for name, amounts in ({"": [DEFAULT]} | stated).items()}


def _tolerance(text: str) -> Tolerance:
    made = Tolerance()
    for part in text.split(","):
        form = re.fullmatch(r"\s*(\d+\.?\d*(?:e-?\d+)?|\.\d+)\s*(%|se)?\s*", part)
        if not form:
            raise UsageError(
                f"tolerance {text!r} is not an amount", "e.g. 0.05, 5%, 2se (standard errors), or TS=0.05,2se"
            )
        field, unit = {None: ("absolute", 1), "%": ("relative", 100), "se": ("errors", 1)}[form[2]]
        made = replace(made, **{field: max(getattr(made, field), float(form[1]) / unit)})
    return made
