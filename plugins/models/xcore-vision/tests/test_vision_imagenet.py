"""ImageNet's classes by index, synset id and synonym."""

from __future__ import annotations

import pytest
from xcore_vision import imagenet

from xcore.contract import UsageError
from xcore.inputs.class_names import find_class


def test_the_order_of_the_logits_is_that_of_torchvision() -> None:
    categories = pytest.importorskip("torchvision.models._meta")._IMAGENET_CATEGORIES
    differ = [i for i, (ours, theirs) in enumerate(zip(imagenet.classes(), categories, strict=True)) if ours != theirs]
    assert differ == [134, 517, 638, 639], "only the two cranes and the two maillots are named otherwise"
    assert imagenet.synsets()[340] == "n02391049"


@pytest.mark.parametrize("wanted", ["zebra", "Zebra", "n02391049", "340", "n02391049_zebra"])
def test_a_class_is_found_by_each_of_its_names(wanted: str) -> None:
    classes = imagenet.classes()
    assert find_class(wanted, classes, imagenet.aliases(classes)) == "zebra"


def test_a_synonym_finds_its_class_and_an_ambiguous_one_lists_the_candidates() -> None:
    classes = imagenet.classes()
    others = imagenet.aliases(classes)
    assert find_class("panthera_tigris", classes, others) == "tiger"
    with pytest.raises(UsageError, match="may be any of 2 classes") as caught:
        find_class("crane", classes, others)
    assert "'crane (134)' (n02012849" in caught.value.hint
    assert "'crane (517)' (n03126707" in caught.value.hint


def test_some_classes_have_aliases_by_their_synset_id_or_by_a_name_of_one_class_only() -> None:
    found = imagenet.aliases(["n02391049", "tench", "crane", "no such thing", "tree frog, tree-frog"])
    assert found["n02391049"] == ("zebra",)
    assert found["tench"] == ("n01440764", "Tinca tinca")
    assert "crane" not in found, "which of the two is not known"
    assert "no such thing" not in found
    assert found["tree frog, tree-frog"][0] == "n01644373"


def test_the_full_names_of_all_classes_are_recognised_by_their_order() -> None:
    full = [
        ", ".join(imagenet.names_of(i)) + f" #{i}" if i in (134, 517) else ", ".join(imagenet.names_of(i))
        for i in range(1000)
    ]
    others = imagenet.aliases(full)
    assert others["crane #517"] == ("n03126707", "crane")
    assert len(others) == 1000
