"""One command explains a TextCNN on a table, and reports what was left out of it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from xcore_text.textcnn import TextCNN, save
from xcore_text.train import fit
from xcore_text.vocabulary import Vocabulary

from xcore.api import bench
from xcore.cli.main import main

WORDS = {
    "positive": ("good", "great", "superb", "fine", "lovely"),
    "negative": ("bad", "dull", "bland", "awful", "boring"),
    "neutral": ("movie", "plot", "actor", "scene", "music", "camera", "story", "screen"),
}


def sentence(rng: np.random.Generator, cls: str) -> str:
    words = [*rng.choice(WORDS["neutral"], rng.integers(4, 9)), *rng.choice(WORDS[cls], 2)]
    return " ".join(rng.permutation(words))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [(sentence(rng, cls), cls) for _ in range(120) for cls in ("positive", "negative")]
    texts, labels = [text for text, _ in rows], [int(cls == "positive") for _, cls in rows]
    vocabulary = Vocabulary.build(texts)
    model = TextCNN(len(vocabulary), 2, embedding=8, channels=8, kernels=(1, 2), max_length=12)
    fit(model, vocabulary, texts, labels, epochs=15, lr=1e-2, batch_size=16)
    save(model, vocabulary, ("negative", "positive"), tmp_path / "model")
    odd = [("good movie " * 20 + str(i), "positive") for i in range(9)]
    odd += [("", "positive"), ("unknown words altogether", "positive"), ("text without a label", "")]
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("review", "sentiment"), *rows, *odd])
    (tmp_path / "concepts").mkdir()
    for name in ("positive", "negative"):
        lines = [", ".join(rng.choice(WORDS[name], 3)) for _ in range(30)]
        (tmp_path / "concepts" / f"{name} words.txt").write_text("\n".join(lines))
    return tmp_path


def test_tcav_explains_a_textcnn_on_a_table(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", "tcav", "--classifier", f"textcnn:{root / 'model'}", "--data", f"table:{root}/reviews.csv"]
    arguments += ["--set", f"table.concepts={root / 'concepts'}", "--class", "positive", "--samples", "30"]
    monkeypatch.setattr(sys, "argv", ["xcore", *arguments, "--out", str(root / "out")])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    said = "".join(capsys.readouterr())
    assert "longer than the 12 words" in said
    assert "2 input(s)" in said
    records = [json.loads(p.read_text()) for p in (root / "out").rglob("*.json") if "data_notes" in p.read_text()]
    assert len(records) == 1
    assert any("longer than the 12 words" in note for note in records[0]["data_notes"])
    assert [line.rpartition(": ")[2] for line in records[0]["skipped_inputs"]] == [
        "empty text",
        "no label in column 'sentiment'",
    ]
    table = next((root / "out").glob("table.md")).read_text()
    first, second = table.index("positive words"), table.index("negative words")
    assert first < second, "words of the class come first"


def test_pictures_are_no_contrast_of_texts(root: Path) -> None:
    made = bench(
        ["tcav"],
        data=f"table:{root}/reviews.csv",
        classifiers=[f"textcnn:{root / 'model'}"],
        classes=["positive"],
        contrast="minizoo",
        metrics=["cost"],
        controls=[],
        set={"table": {"concepts": str(root / "concepts")}},
        out=root / "out",
    )
    assert made.result.count("failed") == 1
    assert "the random sets of minizoo hold images, but " in (root / "out" / "table.md").read_text()
