"""The ranking by evidence: what could not be tested comes last, and what was drawn for it is counted."""

from __future__ import annotations

from math import nan
from types import SimpleNamespace
from typing import Any

import torch
from xcore_evidence.estimates import Estimate, Evidence
from xcore_rlpo.algorithm import Search
from xcore_rlpo.notes import kept_note
from xcore_rlpo.options import Options
from xcore_rlpo.ranking import of_evidence
from xcore_rlpo.rlpo import Drawings, _concepts
from xcore_rlpo.seed_prompts import SeedPrompts
from xcore_rlpo.testing import Painter

from xcore.contract import Adapter

PHRASES = ("raises", "unknown", "lowers", "never seen", "lowers more")


def evidence(effects: tuple[float | None, ...]) -> Evidence:
    made = [
        Estimate(p, e or 0.0, nan if e is None else 0.1, nan, nan, 0.5, 0.5, 1.0, 0, 0.0)
        for p, e in zip(PHRASES, effects, strict=True)
    ]
    return Evidence("factorial", "an effect", "a unit", tuple(made), n=40, gap=1.0)


def test_phrases_that_were_not_tested_come_last() -> None:
    for effects, order, untested in (
        ((0.5, None, -0.2, None, -0.4), ("raises", "lowers", "lowers more", "unknown", "never seen"), -0.4),
        ((0.5, None, 0.2, None, 0.1), ("raises", "lowers", "lowers more", "unknown", "never seen"), 0),
    ):
        ranked = of_evidence("factorial", evidence(effects), PHRASES)
        assert tuple(ranked.ordered()) == order
        search = Search(Painter(), None, (), Options(), steps=0, seed=0, render="")  # type: ignore[arg-type]
        made = _concepts(search, SeedPrompts(PHRASES), ranked, {}, None, "generated:painter")
        assert tuple(c.name for c in made) == order
        assert [c.importance for c in made] == sorted((c.importance for c in made), reverse=True)
        assert made[-1].importance == untested
        assert "2 phrases (unknown, never seen) could not be tested and come last" in ranked.notes
        assert not {"unknown", "never seen"} & set(ranked.worth_it(5))


def test_scenes_that_a_ranking_draws_are_counted() -> None:
    drawn = of_evidence("factorial", evidence((0.5, 0.1, -0.2, 0, -0.4)), PHRASES)
    assert (drawn.generated, drawn.asked) == (40, 40)
    given = of_evidence("context", evidence((0.5, 0.1, -0.2, 0, -0.4)), PHRASES)
    assert (given.generated, given.asked) == (0, 40), "the data set's pictures are there"


def test_tuned_drawings_have_8_bits_like_untuned_ones() -> None:
    search: Any = Search(Painter(), None, ("red",), Options(), steps=0, seed=0, render="")  # type: ignore[arg-type]
    search.adapters["red"] = Adapter({"red": torch.zeros(3)}, {}, "tuned")
    (drawn,) = Drawings(SimpleNamespace(), search).of(["red"], [1, 2, 3])  # type: ignore[arg-type]
    levels = drawn.images * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert len(levels.round().unique()) > 20


def test_the_note_counts_what_was_kept_and_why_the_rest_was_not() -> None:
    search = Search(Painter(), None, ("red", "blue"), Options(), steps=0, seed=0, render="")  # type: ignore[arg-type]
    search.updates, search.kept = [2, 2], [1, 0]
    search.trace = [
        {"updated": True, "kept": True, "why": "effect rose"},
        {"updated": False},
        *[{"updated": True, "kept": False, "why": why} for why in ("b", "a", "b")],
    ]
    assert kept_note(search) == "1 of 4 updates were kept; taken back: 1 because a, 2 because b"
