"""A plugin that was written for the first version of the contract works; newer fields of cards change nothing."""

from __future__ import annotations

import torch

import xcore
from xcore.api import load_registry
from xcore.contract import Samples

OLD = """
from xcore import hookimpl


@hookimpl
def register_explainers(register):
    register("old", Old, summary="knows nothing that came later")


@hookimpl
def register_models(register):
    register("own", lambda options: 1.0, summary="of its own data", role="judge", own_data=True, api=1)


@hookimpl
def register_datasets(register):
    register("sheet", lambda options, argument: None, summary="a sheet", argument="FILE", claims="sheets:reads")


class Old:
    def __init__(self, options):
        pass

    def explain(self, task):
        from xcore.contract import Concept, Explanation

        logits = task.classifier.logits(task.samples)[:, task.target]
        return Explanation("old", task.target_name, "mean logit", (Concept("all of it", float(logits.mean())),))
"""


def test_a_plugin_of_the_oldest_card_explains(tmp_path):
    file = tmp_path / "old.py"
    file.write_text(OLD)
    registry = load_registry([file])
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    images = torch.full((2, 3, 8, 8), 0.25)
    explanation = xcore.explain("old", network, images, target="a", class_names=["a", "b", "c"], registry=registry)
    assert [(c.name, c.importance) for c in explanation.concepts] == [("all of it", 0.25)]


def test_cards_keep_what_they_were_given_and_defaults_mean_no(tmp_path):
    file = tmp_path / "old.py"
    file.write_text(OLD)
    registry = load_registry([file])
    old, own, sheet = ({c.name: c for c in registry.cards()}[name] for name in ("old", "own", "sheet"))
    assert (old.own_data, old.claims, old.default, old.across, old.column) == (False, None, False, (), True)
    assert own.own_data
    assert sheet.claims == "sheets:reads"


def test_blank_texts_are_left_out_and_images_are_kept():
    texts = Samples("text", ("a", " ", "b"), ("1", "2", "3"))
    assert texts.filled().texts == ("a", "b")
    images = Samples("image", torch.zeros(2, 3, 4, 4), ("1", "2"))
    assert images.filled() is images
