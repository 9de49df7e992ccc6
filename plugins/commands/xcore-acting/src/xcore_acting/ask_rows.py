"""The table of `xcore ask`: a row for each concept and pair, the kinds of evidence beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

from xcore_evidence.statistics import holm, signed_marks

from xcore.session import Column
from xcore_acting.ask_evidence import KINDS, Answer, Effect, Question

ALPHA = 0.05
"""Family-wise error rate of marks, for each kind of evidence and side, over the concepts or pairs of a call."""
WHAT = {"phrase": "phrase", "pictures": "folder of pictures", "mask": "region of masks"}
PAIR = "pair"


def rows(question: Question, answers: Sequence[Answer], cls: str) -> list[dict[str, Any]]:
    """The rows: concepts, the most raising by the mean over the kinds first, then pairs, the most different first."""
    concepts: list[dict[str, Any]] = [{"concept": a.name, "class": cls, "what": WHAT[a.kind]} for a in question.asked]
    pairs: list[dict[str, Any]] = [{"concept": f"{a} - {b}", "class": cls, "what": PAIR} for a, b in question.pairs]
    for answer in answers:
        of_concepts = [answer.effects.get(a.name) for a in question.asked]
        _add(concepts, answer.kind, of_concepts, *_marks(of_concepts))
        of_pairs = [answer.pairs.get(pair) for pair in question.pairs]
        _add(pairs, answer.kind, of_pairs, *_differ(of_pairs))
    for row in [*concepts, *pairs]:
        shares = [row[kind] for kind in KINDS if isfinite(row.get(kind, nan))]
        row["mean"] = sum(shares) / len(shares) if shares else nan
        row["verdict"] = _verdict(row, question.within)
    concepts.sort(key=lambda row: -row["mean"] if isfinite(row["mean"]) else float("inf"))
    pairs.sort(key=lambda row: -abs(row["mean"]) if isfinite(row["mean"]) else float("inf"))
    return [*concepts, *pairs]


def columns(question: Question, answers: Sequence[Answer]) -> tuple[Column, ...]:
    """The columns of the table."""
    made = [Column("concept", "Concept", ""), Column("class", "Class", ""), Column("what", "What", "")]
    for answer in answers:
        kind, head = answer.kind, answer.kind.capitalize()
        made += [
            Column(f"{kind}_told", f"{head} (% of the gap)", answer.says),
            Column(kind, head, "the same as a share of the gap", shown=False),
            Column(f"{kind}_lo", f"{head} from", "", shown=False),
            Column(f"{kind}_hi", f"{head} to", "", shown=False),
            Column(f"{kind}_p", f"{head} p", "one-sided, of the nearer side; of a pair two-sided", shown=False),
            Column(f"{kind}_p_holm", f"{head} p (Holm)", "corrected over the concepts or pairs", shown=False),
            Column(f"{kind}_mark", f"{head} mark", "1 raises, -1 lowers; of a pair 1 = they differ", shown=False),
            Column(f"{kind}_p_equal", f"{head} p of equality", "of a pair: two one-sided tests", shown=False),
            Column(f"{kind}_bound", f"{head} bound", "of a pair: the smallest bound of equality, 5 %", shown=False),
            Column(f"{kind}_rank", f"{head} rank", "among all phrases that were judged jointly", shown=False),
            Column(f"{kind}_of", f"{head} of", "number of these phrases", shown=False),
            Column(f"{kind}_n", f"{head} n", "number of samples", shown=False),
        ]
    within = f"; a pair is equal if its difference is shown to be within ±{question.within:.0%} of the gap"
    many = len(question.pairs) > 0
    return (
        *made,
        Column("mean", "Mean", "over the kinds, by which the rows are ranked", shown=False),
        Column(
            "verdict",
            "Verdict",
            f"by how many kinds of evidence, where p (Holm) is at most {ALPHA:g}{within if many else ''}",
        ),
    )


def _add(
    rows: Sequence[dict[str, Any]],
    kind: str,
    effects: Sequence[Effect | None],
    marks: Sequence[int],
    adjusted: Sequence[float],
) -> None:
    for row, e, mark, q in zip(rows, effects, marks, adjusted, strict=True):
        if e is None:
            row[f"{kind}_told"] = "n/a"
            continue
        pair = row["what"] == PAIR
        row |= {kind: e.share, f"{kind}_lo": e.lo, f"{kind}_hi": e.hi, f"{kind}_n": e.n, f"{kind}_mark": mark}
        row |= {f"{kind}_p": e.p if pair else min(e.p, e.p_against), f"{kind}_p_holm": q}
        row |= {f"{kind}_p_equal": e.p_against, f"{kind}_bound": e.bound} if pair else {}
        row |= {f"{kind}_rank": e.rank, f"{kind}_of": e.of} if e.rank else {}
        sign = {1: " *" if pair else " +", -1: " -", 0: ""}[mark]
        row[f"{kind}_told"] = (
            f"{100 * e.share:.0f} [{100 * e.lo:.0f}, {100 * e.hi:.0f}]{sign}" if isfinite(e.lo) else "not tested"
        )


def _marks(effects: Sequence[Effect | None]) -> tuple[list[int], list[float]]:
    """Marks and adjusted p-values over the concepts that were judged."""
    known = [i for i, e in enumerate(effects) if e is not None]
    judged = [e for e in effects if e is not None]
    marks, adjusted = signed_marks([e.p for e in judged], [e.p_against for e in judged], ALPHA)
    return _spread(known, marks, len(effects), 0), _spread(known, adjusted, len(effects), 1.0)


def _differ(effects: Sequence[Effect | None]) -> tuple[list[int], list[float]]:
    """Whether pairs differ, and adjusted p-values."""
    known = [i for i, e in enumerate(effects) if e is not None]
    adjusted = holm([e.p for e in effects if e is not None])
    marks = [int(q <= ALPHA) for q in adjusted]
    return _spread(known, marks, len(effects), 0), _spread(known, adjusted, len(effects), 1.0)


def _spread(places: Sequence[int], values: Sequence[Any], n: int, empty: Any) -> list[Any]:
    found = [empty] * n
    for place, value in zip(places, values, strict=True):
        found[place] = value
    return found


def _verdict(row: Mapping[str, Any], within: float) -> str:
    judged = [kind for kind in KINDS if isfinite(row.get(kind, nan))]
    if not judged:
        return "not judged"
    of = f"of {len(judged)}"
    if row["what"] == PAIR:
        differ = [kind for kind in judged if row[f"{kind}_mark"]]
        equal = [kind for kind in judged if row[f"{kind}_p_equal"] <= ALPHA]
        said = [f"differ ({len(differ)} {of})"] if differ else []
        said += [f"equal within {within:.0%} ({len(equal)} {of})"] if equal else []
        return ", ".join(said) or "neither shown"
    up, down = (sum(row[f"{kind}_mark"] == side for kind in judged) for side in (1, -1))
    said = [f"{what} ({count} {of})" for what, count in (("raises", up), ("lowers", down)) if count]
    return ", ".join(said) or "not shown"
