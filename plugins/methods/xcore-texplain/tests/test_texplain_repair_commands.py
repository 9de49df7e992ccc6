"""`xcore texplain shortcuts | repair` and their Python functions, on a small world; what they refuse."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from xcore_texplain import cures, repaired
from xcore_texplain.repair import repair
from xcore_texplain.repair_options import CURES, RepairOptions
from xcore_texplain.shortcuts import ShortcutOptions, shortcuts
from xcore_texplain.testing import SMALL

from xcore.contract import MissingError, UsageError
from xcore.models import TorchClassifier
from xcore.testing import tiny_network

Run = Callable[..., Any]
WORLD = """

import torch
from xcore import hookimpl
from xcore.contract import Samples

@hookimpl
def register_datasets(register):
    register("dots", lambda o: Dots(True), summary="stripes or blobs, some of them with a corner")
    register("plain", lambda o: Dots(False), summary="the same without groups and concepts")
    register("lonely", lambda o: Dots(True, lonely=True), summary="with a group that has one image")

@hookimpl
def register_classifiers(register):
    register("tiny", lambda o: tiny(("stripe", "blob")), summary="tiny")
    register("three", lambda o: tiny(("x", "y", "z")), summary="tiny, of other classes")

@hookimpl
def register_models(register):
    register("reads", lambda o: Reads(), role="image-text", summary="reads colours")

def tiny(classes):
    from xcore.models.classifiers import TorchClassifier
    from xcore.testing import tiny_network
    return TorchClassifier(tiny_network(len(classes)), classes, default_layer="4")

class Reads:
    name = "reads"
    def embed_images(self, images):
        return images.images.flatten(2).std(2) + images.images.mean((2, 3)) ** 2 + 0.01
    def embed_texts(self, texts):
        return torch.stack([torch.rand(3, generator=torch.Generator().manual_seed(len(t) + ord(t[0]))) for t in texts])

class Dots:
    modality, classes, skipped, notes, defaults = "image", ("stripe", "blob"), (), (), {}
    vocabulary = ()
    def __init__(self, grouped, lonely=False):
        self.lonely = lonely
        self.grouped, self.concepts = grouped, ("corner", "gray") if grouped else ()
    def truth(self, classifier):
        return None
    def concept(self, name, n, seed):
        from xcore.testing import blobs
        return blobs(n, 900 + len(name))
    def samples(self, cls, split, n, seed):
        from xcore.testing import blobs, stripes
        if cls is None:
            parts = [self.samples(c, split, -(-n // 2), seed) for c in self.classes]
            whole = Samples.concat(parts)
            meta = {"caption": tuple(text for part in parts for text in part.meta["caption"])}
            return Samples("image", whole.images, whole.ids, meta=meta)
        drawn = (stripes if cls == "stripe" else blobs)(n, seed + len(split) + 50 * (cls == "blob"))
        images, corner = drawn.images.clone(), torch.arange(n) % 2 == (cls == "blob") * (split == "heldout")
        images[corner, 2, :10, :10] = 1
        meta = {"caption": tuple("red line" if c else f"{cls} line" for c in corner.tolist())}
        if self.grouped:
            meta["group"] = tuple(f"{cls} {'with' if c else 'without'} corner" for c in corner.tolist())
        if self.lonely and cls == "blob":
            meta["group"] = ("blob alone", *meta["group"][1:])
        return Samples("image", images, drawn.ids, meta=meta)
"""
FLAGS = {"seeds": 2, "images": 8, "validation_images": 6, "test_images": 6, "sentences": 6, "epochs": 1}


@pytest.fixture
def world(decoder_and_pairs: Path, tmp_path: Path) -> list[str]:
    file = tmp_path / "world.py"
    file.write_text(WORLD)
    settings = [f"--set=texplain.{k}={v}" for k, v in SMALL.items()]
    decoder = f"text-decoder=blip-decoder:{decoder_and_pairs / 'blip'}"
    return ["--plugin", str(file), "--data", "dots", "--classifier", "tiny", "--model", decoder, *settings]


def sizes(**given: Any) -> list[str]:
    return [f"--{k.replace('_', '-')}={v}" for k, v in {**FLAGS, **given}.items()]


def test_a_repair_is_kept_shown_and_found_again(run: Run, world: list[str], tmp_path: Path) -> None:
    out = tmp_path / "repair"
    asked = ["repair", *world, *sizes(), "--train", "--start-epochs", "2", "--out", str(out)]
    done = run(*asked)
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    rows = list(csv.DictReader((out / "texplain-repair.csv").open()))
    assert [row["cure"] for row in rows] == [
        "ERM (the start)", "Random images masked (map of the word)", "Random images masked (map of the class)",
        "TExplain (map of the word)", "TExplain (map of the class)",
        "Groups equally often", "GroupDRO", "Last layer, even groups (DFR)", "DISC",
    ]  # fmt: skip
    (folder,) = (out / "findings").glob("texplain-repair.*[!k]")
    record = json.loads((folder / "record.json").read_text())
    described = sum(bool(f["share"]) for f in record["figures"]["flagged"])  # seeds in which an image was flagged
    assert described
    assert [row["n"] for row in rows if "map" in row["cure"]] == [str(described)] * 4
    assert [row["n"] for row in rows if "map" not in row["cure"]] == ["2"] * 5
    for row in rows:
        groups = [float(v) for k, v in row.items() if k.endswith(" corner")]
        assert float(row["worst"]) <= min(groups)  # the mean of the least is at most the least of the means
        assert len(groups) == 4
    assert "unstable concepts of DISC" in (out / "texplain-repair.md").read_text()
    kept = sorted(p.parent.name for p in (out / "models" / "seed-0").rglob("model.safetensors"))
    assert kept == sorted(CURES)
    masks = load_file(folder / "masks" / "seed-0.safetensors")
    assert masks["word"].shape == masks["class"].shape == (len(masks["flagged"]), 32, 32)
    assert masks["random"].shape == masks["random-class"].shape == (len(masks["random images"]), 32, 32)
    assert sorted(p.parent.name for p in (folder / "models" / "seed-0").rglob("model.safetensors")) == sorted(CURES)
    assert {p.name for p in folder.glob("*.png")} == {"masked.png", "table.png"}
    again = run(*asked, "--json")
    assert [json.loads(line)["cure"] for line in again.stdout.splitlines()] == [row["cure"] for row in rows]
    assert len(list((out / "findings").glob("texplain-repair.*[!k]"))) == 1
    seed = record["figures"]["seeds"][0]
    assert seed["erm"]["worst"] == min(v for k, v in seed["erm"].items() if k.endswith("corner"))
    for name, tensor in (("flagged", "flagged"), ("random", "random images")):
        counts = [c[name] for c in record["figures"]["flagged"][0]["classes"].values()]
        assert counts == [int((masks[tensor] < 8).sum()), int((masks[tensor] >= 8).sum())]
    text = (out / "texplain-repair.md").read_text()
    assert "images of each class, flagged and random, by seed: stripe " in text
    assert "share one start" not in text

    # the folder of networks belongs to the last call, also where its finding was there already
    done = run(*asked, "--cures", "last-layer")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    left = {p.parent.name for p in (out / "models").rglob("model.safetensors")}
    assert left == {"erm", "last-layer"}
    run(*asked)
    assert {p.parent.name for p in (out / "models").rglob("model.safetensors")} == set(CURES)


def test_images_whose_mask_covers_nothing_are_left_out_and_counted(
    run: Run, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xcore_texplain import repairing

    real, trained = repairing.word_maps, dict[str, int]()

    def with_an_empty_one(*given: Any) -> torch.Tensor:
        maps = real(*given).clone()
        maps[0] = 0
        maps[1:, 0, 0] = 9
        return maps

    def spied(start: Any, images: Any, setting: Any, cure: str) -> Any:
        trained.setdefault(cure, len(images))
        return cures.on_images(start, images, setting, cure)

    monkeypatch.setattr(repairing, "word_maps", with_an_empty_one)
    monkeypatch.setattr(repairing, "cures", SimpleNamespace(**{**vars(cures), "on_images": spied}))
    out = tmp_path / "repair"
    done = run("repair", *world, *sizes(), "--cures", "random,texplain-word", "--out", str(out))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    record = json.loads(next((out / "findings").glob("texplain-repair.*[!k]/record.json")).read_text())
    flagged = record["figures"]["flagged"]
    n = sum(c["flagged"] for c in flagged[0]["classes"].values())
    assert trained == {"random": n - 1, "texplain-word": n - 1}
    assert flagged[0]["empty"]["word"] == flagged[0]["empty"]["random"] == 1
    text = (out / "texplain-repair.md").read_text()
    left = sum(f["empty"].get("random", 0) for f in flagged)
    assert f"whose images are left out of the training, over seeds: {left} of random" in text
    assert "all 2 seeds share one start, the classifier as it is" in text


def test_a_network_of_a_repair_is_a_classifier(
    run: Run, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "repair"
    asked = [*sizes(seeds=1), "--cures", "last-layer", "--classifier", "three", "--train", "--start-epochs", "1"]
    done = run("repair", *world, *asked, "--out", str(out))
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    base = TorchClassifier(tiny_network(3), ("x", "y", "z"), default_layer="4")
    monkeypatch.setattr(repaired, "make", lambda kind, ref: base)
    monkeypatch.setattr(repaired, "fingerprints", lambda kind, refs: [str(ref) for ref in refs])
    folder = out / "models" / "seed-0" / "last-layer"
    made = repaired.repaired(None, str(folder))
    assert made.classes == ("stripe", "blob")
    assert torch.equal(made.model.module[9].weight, load_file(folder / "model.safetensors")["9.weight"])
    assert made.notes[0] == "trained from three by xcore texplain repair: last-layer"
    first, second = (repaired.fingerprint(None, str(out / "models" / "seed-0" / c)) for c in ("erm", "last-layer"))
    assert first != second
    other = TorchClassifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 3)), ("x", "y", "z"))
    monkeypatch.setattr(repaired, "make", lambda kind, ref: other)
    with pytest.raises(UsageError, match="do not fit three"):
        repaired.repaired(None, str(folder))
    with pytest.raises(MissingError, match="holds no network of a repair"):
        repaired.repaired(None, str(out))


def test_an_interrupted_repair_goes_on(
    run: Run, world: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any) -> None:
        raise KeyboardInterrupt

    asked = ["repair", *world, *sizes(seeds=1), "--cures", "random,last-layer", "--out", str(tmp_path / "repair")]
    with monkeypatch.context() as patch:
        patch.setattr(cures, "last_layer", stopped)
        run(*asked)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "repair" / ".work").rglob("model.safetensors")}
    assert len(made) == 2  # the start and the control
    monkeypatch.setattr(cures, "on_images", stopped)  # not called again
    done = run(*asked)
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    assert all(p.stat().st_mtime_ns == then for p, then in made.items())


def test_without_groups_and_concepts_the_table_says_what_could_not_be_tried(
    run: Run, world: list[str], tmp_path: Path
) -> None:
    asked = ["--data", "plain", *sizes(seeds=1), "--words", "zebra", "--out", str(tmp_path / "repair")]
    done = run("repair", *world, *asked, "--cures", "group-dro,disc,texplain-word")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    rows = {r["cure"]: r for r in csv.DictReader((tmp_path / "repair" / "texplain-repair.csv").open())}
    assert "the data names no groups; name their column" in rows["GroupDRO"]["uses"]
    assert "no pictures of concepts" in rows["DISC"]["uses"]
    assert "the groups are the classes" in (tmp_path / "repair" / "texplain-repair.md").read_text()
    assert rows["ERM (the start)"]["stripe"]


def test_a_group_of_one_image_is_no_group_to_train_a_head_on(run: Run, world: list[str], tmp_path: Path) -> None:
    asked = ["--data", "lonely", *sizes(seeds=1), "--out", str(tmp_path / "repair")]
    done = run("repair", *world, *asked, "--cures", "last-layer,reweighted,group-dro")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    rows = {r["cure"]: r for r in csv.DictReader((tmp_path / "repair" / "texplain-repair.csv").open())}
    told = "not tried: the group 'blob alone' has 1 validation image, and 2 are needed"
    assert rows["Last layer, even groups (DFR)"]["uses"] == told
    assert float(rows["GroupDRO"]["blob alone"]) in (0.0, 100.0)
    assert rows["Groups equally often"]["worst"]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["--cures", "erm,dfr"], UsageError, "unknown cure 'dfr'"),
        (["--lr", "fast"], UsageError, "--lr 'fast' is no list of numbers"),
        (["--lr", "0"], UsageError, "learning rates must be above 0"),
        (["--classifier", "three"], UsageError, "classifier three has no class 'stripe'"),
        (["--lexicon", "none.json"], UsageError, "cannot read the lexicon 'none.json'"),
        (["--concepts", "sun"], UsageError, "unknown concept of data set dots: 'sun'"),
        (["--train", "--set=texplain.translator=t"], UsageError, "each seed has features of its own"),
    ],
)
def test_what_a_repair_refuses(
    run: Run, world: list[str], tmp_path: Path, words: list[str], error: Any, says: str
) -> None:
    done = run("repair", *world, *sizes(seeds=1, images=4), "--out", str(tmp_path / "repair"), *words)
    assert isinstance(done.exception, error), f"{done.output} {done.exception!r}"
    assert says in str(done.exception)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(UsageError, match="epochs must be 1 or more, got 0"):
        RepairOptions(epochs=0).check()


def test_a_repair_in_python_needs_a_language_model(world: list[str], tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="text-decoder"):
        repair("tiny", data="dots", out=tmp_path, plugins=[world[1]], options=RepairOptions(seeds=1, images=4))


def test_shortcuts_are_kept_and_ordered(run: Run, world: list[str], tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps({"stripe": ["line"]}))
    out = tmp_path / "shortcuts"
    more = ["--class", "stripe", "--lexicon", str(tmp_path / "own.json"), "--out", str(out), "--samples", "8"]
    done = run("shortcuts", *world, "--model", "image-text=reads", *more, "--set", "texplain.k=6")
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"
    rows = list(csv.DictReader((out / "texplain-shortcuts.csv").open()))
    own = [row["own"] for row in rows]
    assert own == sorted(own)  # False before True: words that are not of the class come first
    assert {row["word"] for row in rows if row["own"] == "True"} <= {"line", "stripe"}
    used = [row["used"] for row in rows if row["own"] == "False"]
    assert used == sorted(used, reverse=True)
    assert {"observed_p_holm", "observed_lo", "over_lo", "verdict"} <= set(rows[0])
    assert "shortcuts of 'stripe'" in (out / "texplain-shortcuts.md").read_text()
    assert list((out / "findings").rglob("words.png"))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (ShortcutOptions(evidence=("seen",)), UsageError, "unknown kind of evidence 'seen'"),
        (ShortcutOptions(evidence=()), UsageError, "no kind of evidence is named"),
        (ShortcutOptions(split="test"), UsageError, "unknown split to describe 'test'"),
        (ShortcutOptions(minimum=-1), UsageError, "minimum must be 0 or more"),
        (ShortcutOptions(), MissingError, "text-decoder"),
    ],
)
def test_what_shortcuts_refuse(
    options: ShortcutOptions, error: Any, says: str, world: list[str], tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        shortcuts("tiny", data="dots", classes=["stripe"], out=tmp_path, plugins=[world[1]], options=options)


def test_the_page_names_flags_and_cures_that_there_are() -> None:
    from typer.main import get_command
    from xcore_texplain.commands import app

    page = (Path(__file__).parents[4] / "docs" / "repair.md").read_text(encoding="utf-8")
    known: Any = get_command(app)
    lines = page.replace("\\\n", " ").splitlines()
    asked = [line.split() for line in lines if line.startswith("xcore texplain ")]
    assert len(asked) >= 5
    for _, _, name, *words in asked:
        flags = {flag for param in known.commands[name].params for flag in param.opts}
        assert {word for word in words if word.startswith("--")} <= flags
    assert all(f"`{cure}`" in page for cure in CURES)
