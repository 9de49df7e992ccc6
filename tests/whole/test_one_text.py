"""One review is explained from Python and from a table of one row, with the models of the reviews."""

from __future__ import annotations

from pathlib import Path

import xcore

REVIEW = "the movie was lackluster and the actors were dull. we regretted the plot."
OPTIONS = {"steps": 4, "n": 4, "negatives": 6, "shown": 5, "rank_sets": 1, "search": "random"}


def test_one_review_in_its_own_world_and_the_words_that_are_not_of_it(tmp_path: Path) -> None:
    found = xcore.explain(
        "rlpo",
        "reviews/textcnn",
        [REVIEW],
        target="NEGATIVE ",
        generator="reviews/mistral",
        models={"text-embedder": "reviews/embedder"},
        vocabulary=xcore.data("reviews").vocabulary,
        options=OPTIONS,
        workdir=tmp_path,
    )
    assert found.target == "negative"
    by_name = {c.name: c for c in found.concepts}
    assert set(by_name) <= {"movie", "lackluster", "actors", "dull", "regretted", "plot"}
    assert found.concepts[0].name in {"lackluster", "dull", "regretted"}
    assert not by_name["lackluster"].evidence["weak_list"]
    assert by_name["actors"].evidence["weak_list"], "the language model knows no synonyms of it"
    assert any(note.startswith("one text is explained") for note in found.notes)
    assert any(note.startswith("the seeds are words of the texts; random lists") for note in found.notes)


def test_a_table_of_one_row_beside_a_contrast(tmp_path: Path) -> None:
    others = xcore.data("reviews").samples("positive", "train", 40, 0).texts
    (tmp_path / "one.csv").write_text(f"text,label\n{REVIEW},Negative\n")
    (tmp_path / "others.csv").write_text("text,label\n" + "".join(f'"{text}",1\n' for text in others))
    made = xcore.bench(
        ["rlpo"],
        data=f"table:{tmp_path / 'one.csv'}",
        contrast=f"table:{tmp_path / 'others.csv'}",
        classifiers=["reviews/textcnn"],
        classes=["negative"],
        generator="reviews/mistral",
        models={"text-embedder": "reviews/embedder"},
        seeds=[0],
        metrics=[],
        controls=[],
        set={"rlpo": OPTIONS},
        out=tmp_path / "run",
    )
    assert not made.broken
    notes = " ".join(line for row in made.rows for line in [row.get("note") or ""])
    assert "one text is explained" in notes
