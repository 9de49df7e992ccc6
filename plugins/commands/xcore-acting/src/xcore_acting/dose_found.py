"""What `xcore ask --dose` found for one class: a row and a curve for each phrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from pathlib import Path
from typing import Any

import numpy as np
from xcore_evidence.options import SurrogateOptions
from xcore_evidence.statistics import holm

from xcore.contract import Task, UsageError
from xcore.session import Column, Found, slug
from xcore_acting import dose_chart
from xcore_acting.ask_concepts import Asked, context
from xcore_acting.dose import Dosed, dosing
from xcore_acting.dose_curve import Curve, curve

ADAPTER = "adapter"
ALPHA = 0.05
UNKNOWN = "not shown"


def found(
    task: Task,
    options: SurrogateOptions,
    asked: Sequence[Asked],
    *,
    within: float,
    samples: int | None,
    folder: Path,
    by: str = "",
    adapt: Mapping[str, Any] | None = None,
) -> Found:
    """Give doses of each phrase, and draw its curve into a folder.

    Parameters
    ----------
    within
        A curve is flat if its whole band is within ± this share of the gap of the class.
    samples
        Pictures or texts of the class; None = the number that is usual for them.
    by, adapt
        "adapter" = pictures are drawn by a slider, which is tuned with these options; "" = they are edited.

    Raises
    ------
    UsageError
        No phrase is among the concepts.
    """
    phrases = [a.name for a in asked if a.kind == "phrase"]
    if not phrases:
        raise UsageError("a dose-response is of phrases, and none is asked about", "name one with --concept TEXT")
    if by == ADAPTER:
        from xcore_acting.dose_adapter import sliding

        give = sliding(task, samples, adapt)
    else:
        give = dosing(task, phrases, context(task, asked)[0], options.strength, samples)
    answered = {phrase: give(phrase) for phrase in phrases}
    curves = {phrase: curve(d.doses, d.response, task.seed) for phrase, d in answered.items()}
    likely = {phrase: curve(d.doses, d.probability, task.seed) for phrase, d in answered.items()}
    adjusted = holm([curves[phrase].p for phrase in phrases])
    rows = [
        _row(task.target_name, answered[phrase], phrase, curves[phrase], q, within)
        for phrase, q in zip(phrases, adjusted, strict=True)
    ]
    pictures = {}
    for i, (phrase, row) in enumerate(zip(phrases, rows, strict=True), 1):
        name = f"dose-{i}-{slug(phrase)}.png"
        title = f"{phrase!r} in {task.target_name}: {row['verdict']}"
        dose_chart.draw(folder / name, title, answered[phrase], curves[phrase], likely[phrase], within)
        pictures[name] = f"the class {task.target_name} at doses of {phrase!r} from -2 to 2, with samples"
    first = answered[phrases[0]]
    left_out = [a.name for a in asked if a.kind != "phrase"]
    notes = [
        f"response: {first.says}",
        "p: the larger one of Page's test of a trend within each sample and of the t test of the slope, two-sided, "
        f"Holm over the {len(phrases)} phrases of this class; rises or falls: p is at most {ALPHA:g}, and a monotone "
        f"curve fits into the band; flat: the whole band is within ±{within:.0%} of the gap; the band holds the whole "
        "curve with 95 % (bootstrap of samples, max t)",
        *dict.fromkeys(note for d in answered.values() for note in d.notes),
        *_too_few(task.samples.modality, rows, curves, within),
        *([f"doses are given of phrases only, not of {', '.join(map(repr, left_out))}"] if left_out else []),
    ]
    figures = {phrase: _points(answered[phrase], curves[phrase], likely[phrase]) for phrase in phrases}
    order = sorted(range(len(rows)), key=lambda i: -rows[i]["slope"] if isfinite(rows[i]["slope"]) else float("inf"))
    return Found(
        title=f"{task.target_name}: how the class answers to more or less of a concept",
        columns=COLUMNS,
        rows=tuple(rows[i] for i in order),
        notes=tuple(notes),
        pictures=pictures,
        figures={"curves": figures},
    )


COLUMNS = (
    Column("concept", "Concept", ""),
    Column("class", "Class", ""),
    Column(
        "probability_low",
        "P at -2",
        "mean probability of the class at the least dose of the curve; the three P are of the same samples, those that "
        "were given every dose",
        3,
    ),
    Column("probability_zero", "P at 0", "without a change", 3),
    Column("probability_high", "P at +2", "at the greatest dose", 3),
    Column("probability_n", "n of P", "these samples"),
    Column("slope", "Slope", "of the response, as a share of the gap of the class for one unit of dose", 3),
    Column("slope_lo", "from", "95 % interval of the slope", 3),
    Column("slope_hi", "to", "", 3),
    Column("p", "p", "of no trend", 4, shown=False),
    Column("p_holm", "p (Holm)", "of no trend", 4),
    Column("band_lo", "Band from", "least and greatest end of the band of the curve, as shares of the gap", 3),
    Column("band_hi", "to", "", 3),
    Column("reversal", "Reversal", "greatest distance of the curve from a monotone one", 3, shown=False),
    Column("verdict", "Verdict", ""),
    Column("n", "n", "samples"),
)


def _row(cls: str, given: Dosed, phrase: str, response: Curve, p_holm: float, within: float) -> dict[str, Any]:
    known = [i for i, mean in enumerate(response.mean) if isfinite(mean)]
    every = given.probability[~np.isnan(given.probability[:, known]).any(1)]  # a text may lack what would be taken out
    low, zero, high = (float(every[:, i].mean()) for i in (known[0], response.doses.index(0), known[-1]))
    return {
        "concept": phrase,
        "class": cls,
        "probability_low": low,
        "probability_zero": zero,
        "probability_high": high,
        "probability_n": len(every),
        "slope": response.slope,
        "slope_lo": response.slope_lo,
        "slope_hi": response.slope_hi,
        "p": response.p,
        "p_holm": p_holm,
        "band_lo": min(float(response.lo[i]) for i in known),
        "band_hi": max(float(response.hi[i]) for i in known),
        "reversal": response.reversal,
        "verdict": verdict(response, p_holm, within),
        "n": max(response.counts),
    }


def _too_few(modality: str, rows: Sequence[Mapping[str, Any]], curves: Mapping[str, Curve], within: float) -> list[str]:
    """For each phrase of which nothing is shown, how many samples would make its band narrow enough to call it flat."""
    notes = []
    for row in rows:
        if row["verdict"] != UNKNOWN:
            continue
        n, c = row["n"], curves[row["concept"]]
        needed = n * float(np.nanmax((c.hi - c.lo) / 2 / within)) ** 2
        if isfinite(needed) and needed > n:
            notes.append(
                f"{row['concept']!r}: the band of {n} {modality}s is too wide to say anything; that of about "
                f"{ceil(needed / 10) * 10} would be no wider than ±{within:.0%} (--dosed)"
            )
    return notes


def verdict(response: Curve, p_holm: float, within: float) -> str:
    """Whether the curve rises, falls, is flat, or none of it is shown."""
    flat = response.within(within)
    if p_holm <= ALPHA and response.monotone_fits:
        way = "rises" if response.slope > 0 else "falls"
        return f"{way}, within ±{within:.0%}" if flat else way
    if p_holm <= ALPHA:
        return "changes, not monotonely"
    return f"flat within ±{within:.0%}" if flat else UNKNOWN


def _points(d: Dosed, response: Curve, likely: Curve) -> list[dict[str, Any]]:
    rows = []
    for i, dose in enumerate(d.doses):
        row: dict[str, Any] = {"dose": dose, "n": response.counts[i]}
        for name, c in (("response", response), ("probability", likely)):
            row |= {name: float(c.mean[i]), f"{name}_lo": float(c.lo[i]), f"{name}_hi": float(c.hi[i])}
        rows.append(row)
    return rows
