"""Trajectories in a world of colours, where a search takes milliseconds."""

from __future__ import annotations

import json
import sys
from itertools import pairwise, product

import numpy as np
import pytest
from xcore_acting import trajectory_found
from xcore_acting.trajectory_found import Point, sign_flips, t_interval, turned_at, updates_in

import xcore
from xcore.cli.main import main
from xcore.contract import MissingError, NotApplicable, Samples, UsageError

PLUGIN = """
import torch
from xcore import hookimpl
from xcore.contract import Samples
from xcore.models.classifiers import TorchClassifier
from xcore_rlpo.testing import COLOURS, Colours, Painter, Reader


class Data:
    modality = "image"
    classes = ("red", "green")
    concepts = ()
    vocabulary = ("blue", "gray", "pale green")
    defaults = {"classifier": "reader", "generator": "painter", "image-text": "colours"}
    skipped = ()
    notes = ()

    def samples(self, cls, split, n, seed):
        kinds = self.classes if cls is None else (cls,)
        names = [kinds[i % len(kinds)] for i in range(n)]
        drawn = Painter().generate(names, [seed * 1000 + i for i in range(n)])
        labels = torch.tensor([self.classes.index(name) for name in names])
        return Samples("image", drawn.images, tuple(f"{split}/{cls}/{i}" for i in range(n)), labels)

    def truth(self, classifier):
        return None


class Fixed(Painter):
    can = frozenset()


@hookimpl
def register_datasets(register):
    register("fields", lambda options: Data(), summary="x")


@hookimpl
def register_classifiers(register):
    register("reader", lambda options: TorchClassifier(Reader(), ("red", "green")), summary="x")


@hookimpl
def register_generators(register):
    register("painter", lambda options: Painter(), summary="x")
    register("fixed", lambda options: Fixed(), summary="x")


@hookimpl
def register_models(register):
    register("colours", lambda options: Colours(), role="image-text", summary="x")
"""
OPTIONS = {"n": 4, "negatives": 2, "adapt": {"lr": 2.0}, "keep": "all", "update_rule": "always"}


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "fields_plugin.py"
    file.write_text(PLUGIN)
    return file


def follow(plugin, tmp_path, prompts=("gray", "blue"), **given):
    given = {"data": "fields", "classes": ["green"], "out": tmp_path / "out", "plugins": [plugin], **given}
    given = {"steps": (0, 3, 6), "noises": 5, "set": {"rlpo": OPTIONS}, **given}
    return xcore.trajectory(prompts, **given)


def test_prompts_are_followed_from_the_same_noise_and_kept_each_by_itself(plugin, tmp_path, monkeypatch):
    tuned = []
    real = trajectory_found.tune_one

    def once(task, prompt, *rest):
        if prompt == "blue" and tuned == ["gray"]:
            tuned.append("interrupted")
            raise KeyboardInterrupt
        tuned.append(prompt)
        return real(task, prompt, *rest)

    monkeypatch.setattr(trajectory_found, "tune_one", once)
    with pytest.raises(KeyboardInterrupt):
        follow(plugin, tmp_path)
    (found,) = follow(plugin, tmp_path)
    assert tuned == ["gray", "interrupted", "blue"]  # gray was not tuned again
    assert [(r["prompt"], r["step"]) for r in found.rows] == [(p, t) for p in ("gray", "blue") for t in (0, 3, 6)]
    gray = found.found.figures["gray"]
    assert len(gray["noises"]) == len(set(gray["noises"])) == 5
    first, last = (np.array(gray["probability"][t]) for t in ("0", "6"))
    assert found.rows[2]["change"] == pytest.approx((last - first).mean())
    assert found.rows[2]["change"] > 0  # tuning moves gray towards green
    assert found.rows[2]["updates"] > 0
    assert found.rows[5]["p_holm"] >= found.rows[5]["p"]
    assert "p" not in found.rows[0]
    assert found.rows[3]["nearest"].startswith("blue")
    assert set(gray["nearness"]["6"]) == {"blue", "gray"}  # "pale green" names the class
    assert [p.name for p in found.pictures] == [
        f"{p}-{what}.png" for p in ("1-gray", "2-blue") for what in ("strip", "chart")
    ]
    assert sum(note.startswith("gray: ") for note in found.found.notes) == 2  # how predictions turned, and updates
    assert follow(plugin, tmp_path)[0].cached


def test_the_command_prints_a_row_for_each_prompt_and_step(plugin, tmp_path, monkeypatch, capsys):
    words = ["xcore", "trajectory", "--data", "fields", "--class", "green", "--prompt", "gray", "--steps", "0,2"]
    words += ["--set", "rlpo.n=4", "--set", "rlpo.negatives=2", "--noises", "3", "--json"]
    monkeypatch.setattr(sys, "argv", [*words, "--plugin", str(plugin), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["step"] for row in rows] == [0, 2]
    assert (tmp_path / "out" / "trajectory.md").is_file()


def test_what_cannot_be_is_told_in_one_line(plugin, tmp_path):
    with pytest.raises(UsageError, match="no prompt is named"):
        follow(plugin, tmp_path, prompts=())
    for steps in ((0,), (5, 10), (0, 10, 5), ()):
        with pytest.raises(UsageError, match="no trajectory"):
            follow(plugin, tmp_path, steps=steps)
    with pytest.raises(NotApplicable, match="adapt"):
        follow(plugin, tmp_path, generator="fixed")
    with pytest.raises(UsageError, match="purple"):
        follow(plugin, tmp_path, classes=["purple"])
    with pytest.raises(MissingError, match="vocabulary file"):
        follow(plugin, tmp_path, vocabulary=str(tmp_path / "none.txt"))


def points(*predicted):
    none = Samples("text", (), ())
    return [Point(10 * i, 0, none, said, np.zeros(len(said)), {}) for i, said in enumerate(predicted)]


def test_a_prediction_turned_at_the_step_from_which_on_it_stayed():
    followed = points(("a", "a", "c", "a"), ("c", "c", "c", "a"), ("a", "c", "c", "a"), ("c", "c", "c", "a"))
    assert turned_at(followed, "c") == [30, 10]


def test_an_update_counts_from_the_step_on_in_which_the_adapter_has_it():
    trace = [{"step": 1, "updated": True, "kept": True}, {"step": 2, "updated": False}]
    trace += [{"step": 3, "updated": True, "kept": False}, {"step": 4, "updated": True, "kept": True}]
    trace += [{"step": 5, "updated": True, "kept": True}]
    assert [updates_in(trace, at, judged=True) for at in range(6)] == [0, 0, 1, 1, 1, 3]
    assert [updates_in(trace, at, judged=False) for at in range(6)] == [0, 1, 1, 1, 2, 3]


@pytest.mark.parametrize("keep", ["gain", "all"])
def test_drawings_differ_where_and_only_where_updates_are_counted(plugin, tmp_path, keep):
    options = {**OPTIONS, "keep": keep, "adapt": {"lr": 0.5}}
    (found,) = follow(plugin, tmp_path, prompts=["gray"], steps=tuple(range(7)), set={"rlpo": options})
    counts = [row["updates"] for row in found.rows]
    drawn = [found.found.figures["gray"]["probability"][str(t)] for t in range(7)]
    assert [a == b for a, b in pairwise(drawn)] == [a == b for a, b in pairwise(counts)]
    assert counts[-1] > 0


def test_sign_flips_are_all_tried_and_intervals_are_those_of_t():
    changes = np.array([0.5, 0.2, -0.1, 0.4])
    sums = [abs(np.dot(signs, changes)) for signs in product((1, -1), repeat=4)]
    assert sign_flips(changes) == np.mean([s >= changes.sum() - 1e-9 for s in sums])
    assert sign_flips(np.zeros(5)) == 1.0
    assert sign_flips(np.full(20, 1.0)) == pytest.approx(1e-4)
    lo, hi = t_interval(np.array([1.0, 2.0, 3.0]))
    assert (lo, hi) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
