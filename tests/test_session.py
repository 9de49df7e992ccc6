"""What command plugins build on: cells from flags, components made once, a work folder for one process at a time."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xcore.contract import Ref, UsageError
from xcore.registry import load_registry
from xcore.session import cached_artifact, fingerprints, make, offered, open_session, read_json, write_json

TOY = Path(__file__).parent / "plugins" / "toy_plugin.py"
ABOUT = {"plugins": [TOY], "data": "toy", "classes": ["red"], "set": {}, "out": "elsewhere"}


def test_the_flags_become_cells_and_tasks(tmp_path):
    with open_session(["toy"], ABOUT, tmp_path / "work", seeds=[0, 1]) as session:
        assert [(c.label, c.cls, c.seed) for c in session.cells] == [("toy", "red", 0), ("toy", "red", 1)]
        first, second = session.cells
        assert session.classifier(first) is session.classifier(second)
        assert session.explainer(first) is session.explainer(second)
        assert session.layer(first) == session.classifier(first).default_layer
        task = session.task(first, tmp_path)
        assert (task.target_name, task.workdir) == ("red", tmp_path)
        made = session.explainer(first).explain(task)
        assert [c.name for c in made.concepts] == ["part 0", "part 1", "part 2"]
        assert len(session.dataset(first).samples("red", "heldout", 2, 0)) == 2
        with pytest.raises(UsageError, match="methods do not see held-out samples"):
            session.training_data(first).samples("red", "heldout", 2, 0)


def test_what_is_wrong_with_the_flags_is_found_before_the_folder_is_made(tmp_path):
    with (
        pytest.raises(UsageError, match="did you mean 'red'"),
        open_session(["toy"], {**ABOUT, "classes": ["rad"]}, tmp_path / "work"),
    ):
        pass
    assert not (tmp_path / "work").exists()


def test_one_process_at_a_time_works_in_the_folder(tmp_path):
    code = (
        f"from pathlib import Path\nfrom xcore.session import open_session\nabout = {{**{ABOUT!r}}}\n"
        f"with open_session(['toy'], about, Path({str(tmp_path / 'work')!r})):\n    pass\n"
    ).replace(repr(TOY), repr(str(TOY)))
    with open_session(["toy"], ABOUT, tmp_path / "work"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"another process works in {tmp_path / 'work'}" in done.stderr


def test_references_are_made_and_identified_without_a_session():
    assert "minizoo" in offered("dataset")
    assert make("dataset", Ref("minizoo")).classes[0] == "zebra"
    clean, shortcut = fingerprints("classifier", [Ref("minizoo/clean"), Ref("minizoo/shortcut")])
    assert clean != shortcut
    with pytest.raises(UsageError, match="did you mean 'minizoo'"):
        make("dataset", Ref("minizo"))


def test_what_a_component_draws_while_it_is_made_moves_no_global_state(tmp_path, monkeypatch):
    (tmp_path / "drawing_plugin.py").write_text(
        "import random\nimport torch\nfrom xcore import hookimpl\n\n"
        "def make(options):\n    return random.random(), float(torch.rand(()))\n\n"
        "@hookimpl\ndef register_models(register):\n"
        "    register('drawn', make, role='segmenter', summary='draws while it is made')\n"
    )
    plugins = load_registry([tmp_path / "drawing_plugin.py"])
    monkeypatch.setattr("xcore.registry.load_registry", lambda: plugins)
    before = random.getstate(), torch.get_rng_state()
    first = make("model", Ref("drawn"))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert make("model", Ref("drawn")) == first


def test_an_artifact_is_made_once_for_each_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path))
    made = []

    def train(folder: Path) -> None:
        made.append(folder)
        write_json(folder / "model.json", {"weights": 1})

    one = cached_artifact("model", {"seed": 0}, train)
    assert cached_artifact("model", {"seed": 0}, train) == one
    assert cached_artifact("model", {"seed": 1}, train) != one
    assert len(made) == 2
    assert read_json(one / "model.json") == {"weights": 1}
    assert json.loads((one / "key.json").read_text()) == {"name": "model", "seed": 0}


def test_an_artifact_whose_making_failed_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XCORE_CACHE", str(tmp_path))

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no power")

    with pytest.raises(RuntimeError, match="no power"):
        cached_artifact("model", {}, fail)
    assert not list((tmp_path / "artifacts").glob("model.*[!k]/half"))
    assert cached_artifact("model", {}, lambda folder: (folder / "whole").touch()).is_dir()
