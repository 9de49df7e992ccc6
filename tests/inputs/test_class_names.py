"""A class is found by whatever a user, a data set or a classifier calls it."""

from __future__ import annotations

import pytest

from xcore.contract import UsageError
from xcore.inputs.class_names import ClassNames, class_list, find_class

CLASSES = ("zebra", "tabby", "crane (0)", "crane (1)", "Cardigan", "cardigan", "jack-o'-lantern", "7")
ALIASES = {
    "zebra": ("n02391049", "Equus zebra"),
    "tabby": ("n02123045", "tabby cat"),
    "crane (0)": ("n02012849", "crane"),
    "crane (1)": ("n03126707", "crane"),
}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("zebra", "zebra"),
        ("Zebra", "zebra"),
        ("n02391049", "zebra"),
        ("n02391049_zebra", "zebra"),
        ("n02391049-whatever it is", "zebra"),
        ("equus_zebra", "zebra"),
        ("Tabby-Cat", "tabby"),
        ("001.tabby_cat", "tabby"),
        ("cardigan", "cardigan"),
        ("Cardigan", "Cardigan"),
        ("jack_o_lantern", "jack-o'-lantern"),
        ("n03126707", "crane (1)"),
        ("1", "tabby"),
        ("7", "7"),
        ("LABEL_1", "tabby"),
        ("label 1", "tabby"),
        ("1.0", "tabby"),
    ],
)
def test_a_class_is_found_however_it_is_said(said: str, meant: str) -> None:
    assert find_class(said, CLASSES, ALIASES) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("NEGATIVE", "negative"),
        (" Negative ", "negative"),
        ("LABEL_1", "positive"),
        ("0", "negative"),
        ("True", "positive"),
    ],
)
def test_labels_of_two_classes_are_matched_as_tables_write_them(said: str, meant: str) -> None:
    assert ClassNames(("negative", "positive")).match(said) == meant


def test_true_and_false_are_no_indices_of_three_classes() -> None:
    assert ClassNames(("a", "b", "c")).match("True") == ""


def test_what_may_mean_several_lists_them() -> None:
    with pytest.raises(UsageError, match=r"'crane' may be any of 2 classes .*'crane \(0\)' \(n02012849.*'crane \(1\)'"):
        find_class("crane", CLASSES, ALIASES)
    with pytest.raises(UsageError, match="'CARDIGAN' may be any of 2"):
        find_class("CARDIGAN", CLASSES, ALIASES)


@pytest.mark.parametrize("said", ["zebre", "equus zebro", "99", "-1", "", "²"])
def test_what_means_none_is_refused_with_the_nearest(said: str) -> None:
    with pytest.raises(UsageError, match="unknown class"):
        find_class(said, CLASSES, ALIASES)
    with pytest.raises(UsageError, match="did you mean 'zebra'"):
        find_class("zebre", CLASSES, ALIASES)


def test_the_data_sets_other_names_say_which_class_is_meant() -> None:
    known = ClassNames(CLASSES, ALIASES)
    assert known.match("crane", ("n03126707",)) == "crane (1)"
    assert known.match("animal 5", ("zebra",)) == "zebra"
    assert known.match("zebroid") == ""
    with pytest.raises(UsageError, match="may be any of 2"):
        known.match("crane")


def test_a_mapping_of_names_is_put_in_the_order_of_its_indices() -> None:
    assert class_list({1: "dog", 0: "cat"}) == ("cat", "dog")
    assert class_list({"10": "k", **{str(i): f"c{i}" for i in range(10)}})[-1] == "k"
    assert class_list({"dog": 1, "cat": 0}) == ("cat", "dog")
    assert class_list(["b", "a"]) == ("b", "a")
    for wrong in ({0: "cat", 2: "dog"}, {"a": "b"}):
        with pytest.raises(UsageError, match="other indices than 0, 1, 2"):
            class_list(wrong)


def test_a_name_that_is_like_none_gets_no_suggestion() -> None:
    with pytest.raises(UsageError, match=r"unknown class 'Hund' \(known: breastplate, sundial"):
        find_class("Hund", ["sundial", "breastplate", "zebra"])
    with pytest.raises(UsageError, match="did you mean 'sundial'"):
        find_class("SUNDAIL", ["sundial", "breastplate", "zebra"])
