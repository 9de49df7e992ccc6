"""What a reader must know of a search, and the error where it left no words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from xcore.contract import Concept, XcoreError
from xcore_rlpo.algorithm import Search, anc, entropy, icv
from xcore_rlpo.options import Options
from xcore_rlpo.ranking import Kind
from xcore_rlpo.seed_prompts import SeedPrompts, listed


def search_notes(search: Search, options: Options, wanted: Sequence[str], kind: Kind) -> list[str]:
    """What a reader must know of the search: its steps and updates, how evenly actions were chosen, an early end."""
    taken, updates = len(search.trace), sum(search.updates)
    if not search.steps:
        why = "" if wanted else ", since none has positive evidence"
        return [f"no search: the generator draws the concepts as it is, without tuning{why}"]
    notes = [f"the search took {taken} of {search.steps} steps and updated the generator in {updates} of them"]
    if updates and options.keep == "gain":
        notes.append(kept_note(search))
    if kind != "tcav":
        first = ", ".join(f'"{phrase}"' for phrase in wanted)
        notes.append(
            f"searched and tuned were the first {len(wanted)} prompts of the ranking: {first}; the TCAV effect of new "
            f"drawings is given for the first {max(options.tune, options.maps, 1)} concepts alone"
        )
    if options.search == "evolve":
        notes.append("new prompts were made by changing and joining words, not by a language model")
    counts, inverse = search.counts, icv(search.counts)
    shown = "undefined" if inverse is None else f"{inverse:.2f}"
    notes.append(
        f"choices among {len(counts)} seed prompts: entropy {entropy(counts):.2f} nats, "
        f"average normalised count (ANC) {anc(counts):.2f}, inverse coefficient of variation (ICV) {shown}"
    )
    if search.finished and taken < search.steps:
        notes.append(f"the search ended after step {taken}, because no prompt had anything left to gain")
    return notes


def kept_note(search: Search) -> str:
    """How many updates were kept, and why the others were taken back."""
    why = Counter(row["why"] for row in search.trace if row["updated"] and not row["kept"])
    reasons = ", ".join(f"{n} because {reason}" for reason, n in sorted(why.items()))
    first = f"{sum(search.kept)} of {sum(search.updates)} updates were kept"
    return f"{first}; taken back: {reasons}" if reasons else first


def dropped_note(found: SeedPrompts, shown: Sequence[Concept]) -> list[str]:
    """A note of the seed words for which a tuned generator of text gives too few words, if there are any."""
    dropped = [p for p in found.phrases if p not in {c.name for c in shown}]
    if not dropped:
        return []
    return [f"{listed(dropped)} left out: the tuned generator gives too few lists of words for them"]


def no_words_left(updates: int) -> XcoreError:
    """The error where a generator of text gives fewer than two lists for every seed word."""
    if updates:
        after = f"after {updates} update" if updates == 1 else f"after {updates} updates"
        return XcoreError(
            f"{after} the generator gives fewer than two lists of words for every seed word",
            "the updates are too strong: lower lr or raise beta in rlpo.adapt",
        )
    return XcoreError(
        "without any update the generator gives fewer than two lists of words for every seed word",
        "it seldom answers with a list: name another one with --generator REF",
    )
