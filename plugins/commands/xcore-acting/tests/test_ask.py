"""`xcore ask`: what each kind of evidence says of named concepts, pairs, what is refused, and the whole command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from xcore_acting.ask import _pair, ask
from xcore_acting.ask_concepts import Asked, context, parsed
from xcore_acting.ask_found import found
from xcore_evidence.options import SurrogateOptions

from xcore.contract import MissingError, NotApplicable, Samples, Task, UsageError
from xcore.session import Findings, Found

OPTIONS = SurrogateOptions(pool=160, samples=120, drawings=120, edits=120, permutations=199)


def asked_about(
    task: Task, concepts: Sequence[str], folder: Path, pairs: Sequence[tuple[str, str]] = (), **given: Any
) -> Found:
    asked, told = parsed(concepts, pairs)
    own: dict[str, Any] = {"evidence": (), "alone": False, "within": 0.1, **given}
    folder.mkdir(parents=True, exist_ok=True)
    return found(task, OPTIONS, asked, pairs=told, folder=folder, **own)


def by_name(made: Found) -> dict[str, Any]:
    return {row["concept"]: row for row in made.rows}


def test_all_kinds_of_evidence_are_beside_one_another(tmp_path: Path, painted: Any) -> None:
    pairs = [("sand", "snow"), ("stripes", "sand")]
    made = asked_about(painted.task(), ["grass", "sand", "stripes"], tmp_path / "f", pairs, within=0.3)
    rows = by_name(made)
    assert [row["concept"] for row in made.rows] == [
        "stripes", *sorted(("sand", "snow"), key=lambda c: -rows[c]["mean"]), "grass", "stripes - sand", "sand - snow",
    ]  # fmt: skip
    assert rows["stripes"]["verdict"] == "raises (3 of 3)"
    assert rows["grass"]["verdict"] == "lowers (3 of 3)"
    assert rows["sand"]["verdict"] == rows["snow"]["verdict"] == "not shown"
    assert rows["stripes - sand"]["verdict"] == "differ (3 of 3)"
    assert rows["sand - snow"]["verdict"] == "equal within 30% (3 of 3)"
    for kind in ("observed", "factorial", "edited"):
        row = rows["stripes"]
        assert row[f"{kind}_lo"] < row[kind] < row[f"{kind}_hi"]
        assert row[f"{kind}_rank"] == 1
        assert row[f"{kind}_of"] == 6
        assert rows["stripes - sand"][kind] == pytest.approx(row[kind] - rows["sand"][kind])
    names = {c.name for c in made.columns}
    assert all(set(row) <= names for row in made.rows), "every figure has a column that says what it is"
    assert (tmp_path / "f" / "ask.png").is_file()
    assert any("jointly with 2 phrases" in note for note in made.notes)


def test_what_cannot_be_asked_is_said_and_what_must_be_is_refused(tmp_path: Path, painted: Any) -> None:
    task = painted.task(generator=None)
    made = asked_about(task, ["stripes", "sand"], tmp_path / "f")
    assert by_name(made)["stripes"]["verdict"] == "raises (1 of 1)"
    assert any(n.startswith("no factorial evidence: ") and "--generator" in n for n in made.notes)
    assert any(n.startswith("no edited evidence: ") for n in made.notes)
    with pytest.raises(MissingError, match="needs a generator"):
        asked_about(task, ["stripes", "sand"], tmp_path / "f", evidence=("observed", "edited"))


def test_what_goes_with_a_used_phrase_has_its_effect_only_if_it_is_asked_about_alone(
    tmp_path: Path, painted: Any
) -> None:
    class Together(painted.zoo):
        """Sand lies where stripes are."""

        def samples(self, cls: str, split: str, n: int, seed: int) -> Samples:
            x = super().samples(cls, split, n, seed)
            columns = x.images.clone()
            columns[..., 0] = 0.4 * columns[..., 2] + 0.6 * columns[..., 0]
            return replace(x, data=columns)

    task = painted.task(data=Together(), generator=None)
    jointly = by_name(asked_about(task, ["sand"], tmp_path / "f"))["sand"]
    alone = asked_about(task, ["sand"], tmp_path / "f", alone=True)
    assert by_name(alone)["sand"]["observed"] > 2 * jointly["observed"] > -0.1
    assert by_name(alone)["sand"]["observed_of"] == 1
    assert any("judged alone" in note for note in alone.notes)


def a_folder(tmp_path: Path, name: str, column: int) -> str:
    folder = tmp_path / name
    folder.mkdir()
    for i in range(6):
        colours = np.random.default_rng(i).integers(0, 160, (1, 6, 1))
        pixels = np.broadcast_to(colours, (4, 6, 3)).astype(np.uint8)
        pixels[:, column] = 250
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return str(folder)


def test_folders_of_pictures_are_read_and_blended(tmp_path: Path, painted: Any) -> None:
    used, unused = a_folder(tmp_path, "bars", 2), a_folder(tmp_path, "dune", 0)
    made = asked_about(painted.task(), [used, unused], tmp_path / "f", [(used, unused)])
    rows = by_name(made)
    assert rows["bars"]["what"] == "folder of pictures"
    assert rows["bars"]["verdict"] == "raises (2 of 2)", "nothing can draw a folder"
    assert rows["dune"]["observed_mark"] <= 0
    assert rows["bars - dune"]["verdict"].startswith("differ (2 of 2)")
    assert any("no factorial evidence" in note and "words" in note for note in made.notes)


def test_a_region_is_judged_by_hiding_it(tmp_path: Path, painted: Any) -> None:
    masks = torch.zeros(20, 4, 6)
    masks[..., 2] = 1
    own = replace(painted.pictures(20, 3, 0.3), meta={"masks": masks})
    made = asked_about(painted.task(samples=own), ["mask:bars", "sand"], tmp_path / "f", evidence=("edited",))
    assert by_name(made)["bars"]["verdict"] == "raises (1 of 1)"
    off = torch.zeros(20, 4, 6)
    off[..., 0] = 1
    task = painted.task(samples=replace(own, meta={"masks": off}))
    assert by_name(asked_about(task, ["mask:dune"], tmp_path / "f", evidence=("edited",)))["dune"]["edited_mark"] <= 0
    with pytest.raises(MissingError, match="the data have no masks, which 'bars' is to be read from"):
        asked_about(painted.task(), ["mask:bars"], tmp_path / "f")
    wrong = replace(own, meta={"masks": torch.zeros(20, 9, 9)})
    with pytest.raises(UsageError, match="the masks have 9 x 9 pixels, the pictures 4 x 6"):
        asked_about(painted.task(samples=wrong), ["mask:bars"], tmp_path / "f")


def test_phrases_that_say_the_same_are_not_beside_the_concept(tmp_path: Path, painted: Any) -> None:
    task = painted.task(vocabulary=("stripes", "black stripes", "spotted", "a thing", "sand"))
    beside, notes = context(task, [Asked("stripe", "phrase")])
    assert beside == ("spotted", "sand"), "stripe is stripes in one; a thing names the class"
    assert any("2 of them say the same" in note for note in notes)


@pytest.mark.parametrize(
    ("concepts", "pairs", "message"),
    [
        ([], [], "no concept is named"),
        (["  "], [], "a concept has no name"),
        (["nowhere/to/be"], [], "no folder of pictures of a concept 'nowhere/to/be'"),
        ([], [("face", "face")], "a pair names 'face' twice"),
        (["mask:face", "face"], [], "two concepts are called 'face'"),
        (["mask:face", "mask:hair"], [], r"2 concepts are masks \(face, hair\), and the data have one mask"),
    ],
)
def test_concepts_that_cannot_be_read_are_refused(concepts: Any, pairs: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(concepts, pairs)


def test_requests_that_make_no_sense_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there are no pictures in the folder"):
        ask([str(tmp_path / "empty")], out=tmp_path)
    with pytest.raises(UsageError, match="unknown kind of evidence 'observd'"):
        ask(["face"], evidence=["observd"], out=tmp_path)
    with pytest.raises(UsageError, match="is not above 0"):
        ask(["face"], within=0, out=tmp_path)
    with pytest.raises(UsageError, match=r"surrogate\.phrases is not used here"):
        ask(["face"], set={"surrogate": {"phrases": ["a"]}}, out=tmp_path)
    for option, value in {"alpha": 0.01, "minimum": 0.1, "shown": 4, "vocabulary": "a.txt"}.items():
        with pytest.raises(UsageError, match=rf"surrogate\.{option} is not used here") as unused:
            ask(["face"], set={"surrogate": {option: value}}, out=tmp_path)
        assert unused.value.hint
    with pytest.raises(UsageError, match="does not name two concepts"):
        _pair("one face")


WORDS = ("fine", "dull", "long", "short")
PLUGIN = """
import torch
from xcore import hookimpl
from xcore.contract import Samples
from xcore.models.classifiers import FunctionClassifier

WORDS = ("fine", "dull", "long", "short")


class Reviews:
    modality, classes, concepts, vocabulary = "text", ("praise", "blame"), (), WORDS
    defaults = {"classifier": "critic"}
    skipped = notes = ()

    def samples(self, cls, split, n, seed):
        rng = torch.Generator().manual_seed({"praise": 1, "blame": 2}[cls] + {"train": 0, "explain": 5}.get(split, 9))
        chances = [0.5, 0.2, 0.3, 0.3] if cls == "praise" else [0.2, 0.5, 0.3, 0.3]
        there = torch.rand(n, 4, generator=rng) < torch.tensor(chances)
        texts = [" ".join(["the film is", *(w for w, t in zip(WORDS, row) if t)]) for row in there.tolist()]
        return Samples("text", tuple(texts), tuple(f"{cls}/{split}/{i}" for i in range(n)))

    def truth(self, classifier):
        return None


def critic(options):
    def logits(texts):
        z = torch.tensor([2.0 * t.split().count("fine") - 2.0 * t.split().count("dull") for t in texts])
        return torch.stack([z, torch.zeros_like(z)], 1)

    return FunctionClassifier(logits, ("praise", "blame"), modality="text")


def reviews(options):
    return Reviews()


@hookimpl
def register_datasets(register):
    register("toy-reviews", __name__ + ":reviews", summary="s", modalities=("text",))


@hookimpl
def register_classifiers(register):
    register("critic", __name__ + ":critic", summary="s", modalities=("text",))
"""


def test_the_command_asks_about_words_of_texts_and_finds_its_answer_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xcore.cli.main import main

    (tmp_path / "toy_reviews.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    flags = (
        "--plugin toy_reviews.py --data toy-reviews --classifier critic --class praise --concept fine --concept long "
        "--pair long,short --set surrogate.drawings=800 --set surrogate.pool=400 --set surrogate.permutations=199 "
        "--dose --dosed 40 --out asked"
    )

    def run(*more: str) -> None:
        monkeypatch.setattr("sys.argv", ["xcore", "ask", *flags.split(), *more])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code

    run()
    shown = capsys.readouterr()
    assert "raises (2 of 2)" in shown.out, shown.err
    assert "no edited evidence" in shown.out
    assert all((tmp_path / "asked" / name).is_file() for name in ("ask.md", "ask-dose.md"))
    first = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("record.json")}
    assert len(first) == 2
    run("--json")
    rows = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("record.json")} == first, "nothing is computed twice"
    verdicts = {row["concept"]: row["verdict"] for row in rows}
    assert verdicts["long - short"].startswith("equal within 10%")
    doses = {row["concept"]: row["verdict"] for row in rows if "slope" in row}
    assert doses == {"fine": "rises", "long": "flat within ±10%", "short": "flat within ±10%"}


def test_too_few_pictures_of_the_class_to_change_are_told(tmp_path: Path, painted: Any) -> None:
    folder = a_folder(tmp_path, "bars", 2)
    task = painted.task(samples=painted.pictures(2, 3, 0.3))
    with pytest.raises(NotApplicable, match="there are 2 pictures of the class in which 'bars' can be tried"):
        asked_about(task, [folder], tmp_path / "f", evidence=("edited",))


def test_phrases_that_drift_are_followed_by_trajectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext
    from types import SimpleNamespace

    import xcore_acting.ask as module
    import xcore_acting.trajectory as other

    called: dict[str, Any] = {}
    session = SimpleNamespace(cells=(), each=lambda *finds: Findings())
    monkeypatch.setattr(module, "open_session", lambda *given, **keys: nullcontext(session))
    monkeypatch.setattr(other, "refuse", lambda about, out, seed: called.update(refused=about["set"]))
    followed = Findings(["f"])
    monkeypatch.setattr(other, "trajectory", lambda prompts, **given: called.update(given, prompts=prompts) or followed)
    folder = a_folder(tmp_path, "bars", 2)
    found = ask(["fur", folder], drift=True, out=tmp_path, classes=["cat"], set={"rlpo": {"n": 4}, "surrogate": {}})
    assert found == ["f"]
    assert called["prompts"] == ["fur"]
    assert called["steps"] == (0, 10, 20)
    assert called["classes"] == ["cat"]
    assert called["set"] == called["refused"] == {"rlpo": {"n": 4}}
    with pytest.raises(UsageError, match="only a phrase can drift"):
        ask([folder], drift=True, out=tmp_path)


def test_what_doses_and_drift_lack_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colours: Path
) -> None:
    import xcore_acting.ask as module

    monkeypatch.setattr(module, "_found", lambda *given: pytest.fail("the table was computed"))
    given: dict[str, Any] = {"data": "fields", "classes": ["red"], "plugins": [colours], "out": tmp_path / "out"}
    with pytest.raises(MissingError, match="rlpo needs a generator"):
        ask(["gray"], drift=True, **given)
    with pytest.raises(MissingError, match="a dose-response of pictures needs a generator that edits"):
        ask(["gray"], dose=True, **given)
    for few in (1, 5, 9):
        with pytest.raises(UsageError, match=f"doses are given to {few} images") as caught:
            ask(["gray"], dose=True, dosed=few, generator="painter", **given)
        assert caught.value.hint == "--dosed takes 10 or more, half of them of the class"
    with pytest.raises(NotApplicable, match="edit"):
        ask(["gray"], dose=True, generator="drawer", **given)
    with pytest.raises(UsageError, match="doses are given to 4 images") as caught:
        ask(["gray"], dose=True, dose_by="adapter", dosed=4, generator="painter", **given)
    assert caught.value.hint == "--dosed takes 5 or more"
    with pytest.raises(MissingError, match="doses by an adapter need a generator"):
        ask(["gray"], dose=True, dose_by="adapter", **given)
    with pytest.raises(UsageError, match="doses by words are not of images"):
        ask(["gray"], dose=True, dose_by="words", generator="painter", **given)
    with pytest.raises(UsageError, match="unknown way to give doses"):
        ask(["gray"], dose=True, dose_by="edits", **given)
    with pytest.raises(UsageError, match="without --dose"):
        ask(["gray"], dose_by="edit", **given)
    a_folder(tmp_path, "bars", 2)
    with pytest.raises(UsageError, match="a dose-response is of phrases"):
        ask([str(tmp_path / "bars")], dose=True, generator="painter", **given)


def test_the_commands_of_the_page_have_flags_that_are_known() -> None:
    import re
    import shlex

    from typer.main import get_command
    from xcore_acting.ask import app

    page = (Path(__file__).parents[4] / "docs" / "ask.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^xcore ask (.*)$", page, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        given = get_command(app).make_context("ask", shlex.split(line)).params
        parsed(
            [text for text in given["concept"] if not text.endswith("/")],
            [_pair(text) for text in given["pair"]],
        )
