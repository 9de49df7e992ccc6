"""Explanations by sparse autoencoders, on a network of which we know what its logits depend on."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from xcore_lens import sae_source, training
from xcore_lens.plugin import files_fingerprint
from xcore_lens.sae_files import load

from xcore.contract import MissingError, UsageError
from xcore.models.codes import encode, rows_of

KINDS = ["topk", "batch-topk", "jumprelu", "archetypal"]
SMALL = {"sae_atoms": 8, "sae_active": 1, "sae_epochs": 8, "sae_batch": 64, "sae_images": 30}


class Artifacts:
    """Artifacts by their key, as a run directory keeps them."""

    def __init__(self, root):
        self.root, self.kept, self.made = root, {}, 0

    def __call__(self, name, key, make):
        if repr(key) not in self.kept:
            directory = self.root / f"{name}-{len(self.kept)}"
            make(directory)
            self.kept[repr(key)], self.made = directory, self.made + 1
        return self.kept[repr(key)]


@pytest.fixture
def shared(task, paint, tmp_path):
    """Makes tasks that share their artifacts: ``shared(**kwargs)``; `shared.artifacts` counts those that were made."""
    artifacts = Artifacts(tmp_path)
    data = SimpleNamespace(
        classes=("rows", "red", "none"),
        samples=lambda cls, split, n, seed: paint(n, seed=[5, seed, split == "train"])[0],
    )

    def make(**kwargs):
        return replace(task(**kwargs), data=data, artifact=artifacts)

    make.artifacts = artifacts
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_pattern_comes_first(lens, shared, paint, kind):
    samples, places = paint()
    t = shared(samples=samples)
    got = lens(extractor=kind, **SMALL).explain(t)
    d = got.dictionary
    assert (d.encoder, d.atoms.shape, d.codes.shape) == ("sae", (8, 4), (12, 64, 8))
    assert len(got.concepts) == 4
    first = got.concepts[0]
    assert int(first.directions["last"].argmax()) == 0
    assert first.importance > 0
    for m, corners in zip(first.maps, places, strict=True):
        top, left = corners[0]
        assert m[top : top + 16, left : left + 16].sum() > 0.8 * m.sum()
    rows = rows_of(t.classifier.open("last").activations(samples), "NCHW")
    torch.testing.assert_close(encode(d, rows), d.codes, atol=1e-4, rtol=1e-4)
    rebuilt = d.codes @ d.atoms + d.state["centre"]
    assert float((rebuilt - rows).norm() / (rows - d.state["centre"]).norm()) < 0.6


def test_all_atoms_are_counted_and_those_that_matter_are_shown(lens, shared):
    t = shared(target=1)
    few, all_ = (lens(extractor="topk", k=k, **SMALL).explain(t) for k in (3, 8))
    largest = sorted(all_.concepts, key=lambda c: -abs(c.importance))[:3]
    assert {c.atom for c in few.concepts} == {c.atom for c in largest}
    assert [c.importance for c in few.concepts] == sorted((c.importance for c in few.concepts), reverse=True)
    for c in few.concepts:
        same = next(other for other in all_.concepts if other.atom == c.atom)
        assert c.evidence == same.evidence
        assert torch.equal(c.maps, same.maps)
    assert any(note.startswith("red at last: shown are the 3 atoms") for note in few.notes)
    assert not any("shown are" in note for note in all_.notes)


def test_all_classes_and_seeds_share_one_autoencoder(lens, shared):
    explain = lens(extractor="topk", **SMALL).explain
    one, two, three = (explain(shared(**more)) for more in ({}, {"target": 1}, {"seed": 5}))
    assert shared.artifacts.made == 1
    assert torch.equal(one.dictionary.atoms, two.dictionary.atoms)
    assert torch.equal(one.dictionary.codes, three.dictionary.codes)
    assert one.trace[0]["trained"]["images"] == 30
    for more in ({"sae_seed": 1}, {"extractor": "jumprelu"}, {"sae_epochs": 2}):
        made = shared.artifacts.made
        lens(**{"extractor": "topk", **SMALL, **more}).explain(shared())
        assert shared.artifacts.made == made + 1


def test_another_network_has_an_autoencoder_of_its_own(lens, shared, reader):
    explain = lens(extractor="topk", **SMALL).explain
    explain(shared())
    changed = reader()
    with torch.no_grad():
        changed.low.weight.mul_(2)
    explain(shared(module=changed))
    assert shared.artifacts.made == 2


def test_a_folder_takes_the_place_of_the_training(lens, shared):
    trained = lens(extractor="batch-topk", **SMALL).explain(shared())
    (folder,) = shared.artifacts.kept.values()
    again = lens(sae=str(folder)).explain(shared())
    assert shared.artifacts.made == 1
    assert torch.equal(again.dictionary.codes, trained.dictionary.codes)
    assert [c.importance for c in again.concepts] == [c.importance for c in trained.concepts]
    assert load(folder).about["layer"] == "last"
    options = lens(sae=str(folder)).options
    before = files_fingerprint(options)
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert files_fingerprint(options) != before
    assert files_fingerprint(lens().options) == ""


def test_an_autoencoder_that_does_not_fit_is_refused(lens, shared, tmp_path):
    lens(extractor="topk", **SMALL).explain(shared())
    (folder,) = shared.artifacts.kept.values()
    with pytest.raises(UsageError, match="layer 'fc' has 3 channels, but the sparse autoencoder reads 4"):
        lens(sae=str(folder), layer="fc").explain(shared())
    with pytest.raises(UsageError, match=r"of kind topk, but lens\.extractor=jumprelu"):
        lens(sae=str(folder), extractor="jumprelu").explain(shared())
    with pytest.raises(UsageError, match="a mean of its own"):
        lens(extractor="topk", centre=True).explain(shared())
    with pytest.raises(MissingError, match=r"no folder '\./nowhere'"):
        lens(sae="./nowhere").explain(shared())


def test_a_killed_training_goes_on_from_its_checkpoint(lens, shared, tmp_path, monkeypatch):
    whole = lens(extractor="topk", **SMALL).explain(shared())
    shared.artifacts.kept.clear()

    class Killed(Exception):
        pass

    saved = training._Training.save

    def kill(self):
        saved(self)
        if self.epoch == 5:
            raise Killed

    monkeypatch.setattr(training._Training, "save", kill)
    with pytest.raises(Killed):
        lens(extractor="topk", **SMALL).explain(shared())
    (work,) = tmp_path.glob(".lens-sae-*")
    monkeypatch.setattr(training._Training, "save", saved)
    monkeypatch.setattr(sae_source, "rows_of_images", None)  # the rows are not computed again
    again = lens(extractor="topk", **SMALL).explain(shared())
    assert not work.exists()
    assert torch.equal(again.dictionary.atoms, whole.dictionary.atoms)


def test_other_images_are_looked_through_for_the_shown_atoms(lens, shared, paint):
    explainer = lens(extractor="topk", k=3, **SMALL)
    got = explainer.explain(shared())
    other, places = paint(5, seed=9)
    presence = explainer.apply(got, shared(samples=other))
    assert presence.maps.shape == (5, 3, 32, 32)
    m = presence.maps[:, 0]
    for i, corners in enumerate(places):
        top, left = corners[0]
        assert m[i, top : top + 16, left : left + 16].sum() > 0.8 * m[i].sum()


def test_layers_without_positions_are_learned_from_images_and_crops(lens, shared):
    got = lens(extractor="topk", layer="gap.1", **SMALL).explain(shared())
    assert got.dictionary.codes.shape == (12, 1, 8)
    assert got.trace[0]["trained"]["rows"] % 30 == 0
    assert got.trace[0]["trained"]["rows"] > 30
    assert got.concepts[0].maps.shape == (12, 32, 32)
