"""What every explainer must keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from xcore.base.errors import NotApplicable
from xcore.contract.protocols import Task
from xcore.contract.types import Explanation, Presence
from xcore.models.presence import presence
from xcore.run.checks import explanation_faults
from xcore.store.codec import decode, encode
from xcore.testing.world import World, global_state, model_state

if TYPE_CHECKING:
    from xcore.contract.protocols import Explainer


class ExplainerTests(World):
    """What every explainer must keep. Subclasses give the fixture ``explainer``."""

    repeats_maps = True
    """Whether the concepts, looked for in the explained images, have the maps of the explanation. A method whose maps
    depend on all of these images, or on more than the concepts, sets it to False."""

    @pytest.fixture
    def explainer(self) -> Explainer:
        raise NotImplementedError("subclasses of ExplainerTests give the fixture `explainer`")

    @pytest.fixture
    def explanation(self, explainer: Explainer, task: Task) -> Explanation:
        return explainer.explain(task)

    def test_concepts_are_sorted_and_well_formed(self, explanation: Explanation, task: Task) -> None:
        assert explanation.concepts, "an explanation has at least one concept"
        faults = [f"{where}: {fault}" if where else fault for where, fault in explanation_faults(explanation, task)]
        assert not faults, "\n".join(faults)

    def test_model_is_left_as_found(self, explainer: Explainer, task: Task, module: torch.nn.Module) -> None:
        before = model_state(module)
        explainer.explain(task)
        assert model_state(module) == before

    def test_random_state_is_left_as_found(self, explainer: Explainer, task: Task) -> None:
        before = global_state()
        explainer.explain(task)
        assert global_state() == before

    def test_same_seed_same_result(self, explainer: Explainer, task: Task, tmp_path: Path) -> None:
        made = []
        for name in ("one", "two"):
            (tmp_path / name / "work").mkdir(parents=True)
            explanation = explainer.explain(replace(task, workdir=tmp_path / name / "work"))
            plain = encode(explanation, tmp_path / name)
            plain["cost"] = None
            tensors = tmp_path / name / "tensors.safetensors"
            made.append((plain, tensors.read_bytes() if tensors.exists() else b""))
        assert made[0] == made[1]

    def test_concepts_are_found_again(
        self, explainer: Explainer, explanation: Explanation, task: Task, module: torch.nn.Module
    ) -> None:
        """In the explained samples themselves, the concepts are where the explanation says, and the same every time."""
        before = model_state(module), global_state()
        try:
            found = self.find(explainer, explanation, task)
        except NotApplicable:  # the method says that its concepts cannot be found
            return
        assert (model_state(module), global_state()) == before
        concepts, n = explanation.concepts, len(task.samples)
        assert found.strength_is, "strength_is names the unit"
        assert found.strength.shape == (n, len(concepts))
        assert found.strength.isfinite().all(0).any(), "at least one concept is found, or NotApplicable says why not"
        assert found.notes or found.strength.isfinite().all(), "a note names the concepts that are not found"
        twice = self.find(explainer, explanation, task)
        assert torch.equal(found.strength.nan_to_num(), twice.strength.nan_to_num())
        rows = [n - 1, 0]
        fewer = self.find(explainer, explanation, replace(task, samples=task.samples.take(rows)))
        assert torch.allclose(fewer.strength, found.strength[rows], rtol=1e-3, atol=1e-4, equal_nan=True)
        if found.maps is None:
            assert not self.repeats_maps or all(c.maps is None for c in concepts)
            return
        assert found.maps.shape == (n, len(concepts), *task.samples.images.shape[-2:])
        assert float(found.maps.min()) >= 0
        for i, concept in enumerate(concepts):
            if concept.maps is not None and self.repeats_maps:
                apart = (found.maps[:, i] - concept.maps).abs().max()
                assert float(apart) <= 1e-4 * max(1.0, float(concept.maps.max())), concept.name

    @staticmethod
    def find(explainer: Explainer, explanation: Explanation, task: Task) -> Presence:
        """What `Explained.apply` gives: by the method's own `apply`, or by its dictionary or directions."""
        own = getattr(explainer, "apply", None)
        made: Presence
        made = own(explanation, task) if own else presence(explanation, task.classifier, task.samples)
        return made

    def test_store_round_trip(self, explanation: Explanation, tmp_path: Path) -> None:
        folder = tmp_path / "record"
        folder.mkdir()
        back = decode(encode(explanation, folder), folder)
        assert [c.name for c in back.concepts] == [c.name for c in explanation.concepts]
        assert [c.importance for c in back.concepts] == [float(c.importance) for c in explanation.concepts]
        for one, two in zip(explanation.concepts, back.concepts, strict=True):
            assert set(one.directions) == set(two.directions)
            assert (one.samples is None) == (two.samples is None)
            if one.samples is not None and two.samples is not None and one.samples.modality == "image":
                assert torch.allclose(one.samples.images, two.samples.images, atol=0.5 / 255 + 1e-6)
