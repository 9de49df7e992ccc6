"""`explain`, `open`, `data`, `load` and `apply`, as a notebook calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xcore
from xcore import hookimpl
from xcore.contract import Concept, Explanation, MissingError, NotApplicable, Options, Presence, Samples, UsageError
from xcore.registry import Registry

PICTURES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class ToyOptions(Options):
    times: float = 1.0


class Brightness:
    """One concept, brightness, which it finds again in any image."""

    def __init__(self, options: ToyOptions) -> None:
        self.options = options

    def explain(self, task) -> Explanation:
        light = task.samples.images.mean(1)
        (task.workdir / "note.txt").write_text("kept")
        concept = Concept("light", float(light.mean()), task.samples.take([0]), maps=light, local=light.mean((1, 2)))
        files = {"note.txt": task.workdir / "note.txt"}
        return Explanation("light", task.target_name, "mean brightness", (concept,), files=files)

    def apply(self, explanation: Explanation, task) -> Presence:
        light = task.samples.images.mean(1, keepdim=True) * self.options.times
        return Presence(light.mean((2, 3)), "mean brightness", light)


class Asks(Brightness):
    """Names the helper that it asks for only when it explains."""

    def explain(self, task) -> Explanation:
        task.model("vqa")
        return super().explain(task)


class Toys:
    @hookimpl
    def register_explainers(self, register):
        register("light", Brightness, summary="", options=f"{__name__}:ToyOptions")
        register("asks", Asks, summary="", options=f"{__name__}:ToyOptions", uses=("vqa",))


def registry() -> Registry:
    made = Registry().load_installed()
    made.add(Toys(), "toys", "1")
    return made


def net(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs),
    ).eval()  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path / "cache"))


def explained(**keys) -> xcore.Explained:
    given = {"method": "light", "classifier": net(), "samples": PICTURES, "target": 0, "registry": registry(), **keys}
    return xcore.explain(**given)


def test_names_and_target_may_be_left_out() -> None:
    made = explained(target=None)
    model, index = net(), int(net()(PICTURES).argmax(1).bincount().argmax())
    assert made.target == f"class {index}"
    n = int((model(PICTURES).argmax(1) == index).sum())
    assert made.notes[0].startswith(f"no target was named: the class 'class {index}' is explained")
    assert made.notes[0].endswith(f"gives {n} of 4 sample(s)")
    named = net()
    named.config = type("Config", (), {"id2label": {0: "cat", 1: "dog", 2: "cow"}})()  # as transformers has it
    assert explained(classifier=named, target="dog").target == "dog"


def test_it_reads_short_and_knows_how_it_was_made() -> None:
    made = explained(options={"times": 2.0}, seed=3)
    assert len(repr(made)) < 200
    assert "light" in repr(made)
    assert "tensor" not in repr(made)
    assert made.recipe["method"] == {"text": "light", "options": {"times": 2.0}}
    assert (made.recipe["seed"], made.recipe["target"], made.recipe["classifier"]) == (3, 0, {"type": "Sequential"})
    assert made.samples is not None
    assert torch.equal(made.samples.images, PICTURES)
    assert made.cost.seconds > 0


def test_what_is_kept_is_loaded_again(tmp_path) -> None:
    made = explained(samples=(PICTURES * 255).byte())
    folder = made.save(tmp_path / "deep" / "kept")
    again = xcore.load(folder)
    assert again.samples is not None
    assert made.samples is not None
    assert torch.equal(again.samples.images, made.samples.images)  # of 8 bits: exactly
    assert again.samples.ids == made.samples.ids
    assert again.recipe == made.recipe
    assert (again.concepts[0].name, again.concepts[0].importance) == ("light", made.concepts[0].importance)
    assert again.files["note.txt"].read_text() == "kept"
    assert (folder / "concepts.png").is_file()
    assert (folder / "maps.png").is_file()
    folder_again = again.save(folder)  # an explanation is replaced
    assert xcore.load(folder_again).files["note.txt"].read_text() == "kept"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["kept"]


def test_an_explanation_can_be_kept_in_several_places(tmp_path) -> None:
    made = explained()
    first = xcore.load(made.save(tmp_path / "first"))
    second = xcore.load(made.save(tmp_path / "second"))
    first.save(tmp_path / "third")
    for one in (made, first, second):
        assert one.files["note.txt"].read_text() == "kept"
    (tmp_path / "link").symlink_to(tmp_path / "third")
    xcore.load(second.save(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert xcore.load(tmp_path / "third").files["note.txt"].read_text() == "kept"


def test_images_that_are_no_bytes_are_kept_exactly_too(tmp_path) -> None:
    folder = explained().save(tmp_path / "kept")
    again = xcore.load(folder).samples
    assert again is not None
    assert torch.equal(again.images, PICTURES)


def test_other_folders_are_left_alone(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else than an explanation"):
        explained().save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    for path, said in (("nowhere", "there is no folder"), (".", "holds no explanation")):
        with pytest.raises(UsageError, match=said):
            xcore.load(tmp_path / path)
    folder = explained().save(tmp_path / "kept")
    (folder / "record.json").write_text(json.dumps({"explanation": {"method": "x"}, "recipe": {}}))
    with pytest.raises(UsageError):
        xcore.load(folder)
    tensors = explained().save(tmp_path / "cut") / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:50])
    with pytest.raises(UsageError, match="is damaged"):
        xcore.load(tmp_path / "cut")


def test_the_record_of_a_run_is_loaded(tmp_path) -> None:
    run = tmp_path / "run"
    xcore.bench(["noise"], data="minizoo", classes=["zebra"], seeds=[0, 1], metrics=["cost"], controls=[], out=run)
    with pytest.raises(UsageError, match="holds 2 explanations"):
        xcore.load(run)
    made = xcore.load(next((run / "explanations").iterdir()))
    assert (made.method, made.target, made.samples) == ("noise", "zebra", None)
    assert made.recipe["classifier"]["text"] == "minizoo/clean"


def test_concepts_are_found_in_other_pictures_by_the_method_and_its_options(tmp_path) -> None:
    made = explained(options={"times": 2.0})
    new = np.full((12, 10, 3), 51, dtype=np.uint8)
    found = made.apply(net(), [Image.fromarray(new)], registry=registry())
    assert found.names == ("light",)
    assert found.strength.item() == pytest.approx(0.4)
    assert found.maps is not None
    assert tuple(found.maps.shape) == (1, 1, 12, 10)
    kept = xcore.load(made.save(tmp_path / "kept"))
    assert torch.equal(kept.apply(net(), new, registry=registry()).strength, found.strength)
    assert len(repr(found)) < 100


def test_helpers_that_only_explaining_needs_are_not_asked_for_again() -> None:
    made = explained(method="asks", models={"vqa": object()})
    assert made.apply(net(), PICTURES[:1], registry=registry()).strength.shape == (1, 1)
    with pytest.raises(MissingError, match="needs a model of the role 'vqa'"):
        explained(method="asks")


def test_another_network_is_refused_by_the_class_that_it_lacks() -> None:
    made = explained(class_names=["a", "b", "c"])
    other = xcore.open(net(), class_names=["x", "y", "z"])
    with pytest.raises(UsageError, match="is of the class 'a', which this network does not have"):
        made.apply(other, PICTURES, registry=registry())


def test_a_data_set_gives_the_class_and_what_it_is_compared_with(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for cls in ("class 0", "class 1"):
        (tmp_path / cls).mkdir()
        for i in range(9):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / cls / f"{i}.png")
    model = xcore.open(net(), size=16)
    data = xcore.data(f"folder:{tmp_path}")
    made = xcore.explain("light", model, data, target="Class_1", registry=registry())
    assert made.target == "class 1"
    assert made.samples is not None
    assert all("class 1" in name for name in made.samples.ids)
    again = xcore.explain("light", model, f"folder:{tmp_path}", target="class 1", n=2, registry=registry())
    assert again.samples is not None
    assert len(again.samples) == 2
    with pytest.raises(UsageError, match="the target is missing"):
        xcore.explain("light", model, data, registry=registry())
    with pytest.raises(UsageError, match="unknown class of the data set: 'class 2'"):
        xcore.explain("light", model, data, target="class 2", registry=registry())


def test_a_module_is_opened_with_its_own_size_and_preprocessing(tmp_path) -> None:
    Image.fromarray(np.zeros((40, 60, 3), dtype=np.uint8)).save(tmp_path / "black.png")
    model = xcore.open(net(), class_names=["a", "b", "c"], size=16, preprocess=lambda x: x + 1)
    made = xcore.explain("light", model, tmp_path / "black.png", target="a", registry=registry())
    assert made.samples is not None
    assert made.samples.images.shape == (1, 3, 16, 16)
    white = Samples("image", torch.ones(1, 3, 16, 16), ("w",))
    assert torch.allclose(model.logits(made.samples), xcore.open(net(), class_names=["a", "b", "c"]).logits(white))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: xcore.open("minizoo/clean", size=3), "has its own class names, size and preprocessing"),
        (lambda: xcore.open("minizoo/clen"), "did you mean"),
        (lambda: xcore.open(net(), batch=3), "there is no option 'batch' for a module"),
        (lambda: xcore.open(3), "int is no classifier"),
        (lambda: xcore.data("folders:x"), "unknown data set 'folders'"),
        (lambda: xcore.data(3), "int is no reference of a data set"),
        (lambda: xcore.open("minizoo/clean", nonsense=1), "nonsense"),
    ],
)
def test_what_is_wrong_is_one_line(call, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()


def test_nothing_is_left_behind_by_a_request_that_is_refused(tmp_path) -> None:
    code = (
        "import torch, xcore\n"
        "for samples in (torch.rand(2, 3, 8, 8) * 9, 'nowhere.png'):\n"
        "    try: xcore.explain('craft', torch.nn.Conv2d(3, 2, 8), samples, target=0)\n"
        "    except xcore.contract.UsageError as error: print('refused')\n"
    )
    environment = {"TMPDIR": str(tmp_path), "PATH": "", "XCORE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout == "refused\nrefused\n", done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_without_a_way_to_find_concepts_again_it_says_so() -> None:
    made = explained()
    without = xcore.Explained.of(made.plain, made.samples, {**made.recipe, "method": {"text": "noise", "options": {}}})
    with pytest.raises(NotApplicable):
        without.apply(net(), PICTURES)


def test_a_seed_may_be_a_number_of_numpy() -> None:
    assert explained(seed=np.int64(3)).recipe["seed"] == 3
    for seed in (-1, 2**32, 0.5, "1"):
        with pytest.raises(UsageError, match="the seed is"):
            explained(seed=seed)


@pytest.mark.parametrize("size", [0, -5, 2.5, "224", (224,), (32, 0)])
def test_a_size_that_is_none_is_refused(size) -> None:
    with pytest.raises(UsageError, match="pass the side in pixels"):
        xcore.open(net(), size=size)


def test_no_pictures_and_no_such_device_are_named() -> None:
    with pytest.raises(UsageError, match="samples is an empty list"):
        explained(samples=PICTURES[:0])
    with pytest.raises(UsageError, match="torch knows no device 'gpu'"):
        xcore.open(net(), device="gpu")


def test_names_are_found_again_though_a_module_has_an_attribute_classes() -> None:
    model = net()
    model.classes = 3
    made = explained(classifier=model, class_names=["cat", "dog", "cow"], target="dog")
    assert made.apply(model, PICTURES, registry=registry()).strength.shape == (4, 1)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (net().state_dict(), "model.load_state_dict"),
        (nn.Sequential, "Sequential is a class"),
        (lambda images: images, "FunctionClassifier"),
        (Path("model.pth"), "'file:model.pth'"),
    ],
    ids=["weights", "class", "function", "path"],
)
def test_what_is_no_network_says_what_to_pass_instead(given, hint: str) -> None:
    with pytest.raises(UsageError, match="is no classifier") as caught:
        explained(classifier=given)
    assert hint in str(caught.value)


def test_a_class_of_a_network_without_names_is_looked_for_with_the_way_to_name_it() -> None:
    with pytest.raises(UsageError, match=r"class_names=\[\.\.\.\]"):
        explained(target="zebra")


def test_a_module_without_the_preprocessing_of_the_explained_one_is_told_of() -> None:
    opened = xcore.open(net(), class_names=["a", "b", "c"], preprocess=lambda x: 2 * x - 1)
    made = explained(classifier=opened)
    (note,) = made.apply(net(), PICTURES, registry=registry()).notes
    assert "had preprocessing of its own" in note
    assert made.apply(opened, PICTURES, registry=registry()).notes == ()
