"""Which classes a plan explains, and which it leaves out for which classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from xcore.base.errors import MissingError, UsageError, listed
from xcore.contract.types import Ref
from xcore.inputs.class_names import ClassNames
from xcore.registry import Registry


def to_explain(
    names: list[str],
    facts: Mapping[str, Any],
    data: Callable[[], Any],
    classifier: Callable[[], Any],
    hint: Callable[[], str],
) -> list[str]:
    """The classes to explain, as the data set calls them.

    The data set is made only to say why it lacks a class, and the classifier only for a name that the data set does not
    know, since the classifier may.
    """
    known = ClassNames(facts["classes"], facts.get("aliases", {}), indexed=False)
    if len(names) == 1 and not known.candidates(names[0]):  # names of classes may hold commas
        names = [part.strip() for part in names[0].split(",") if part.strip()]
    if not names:
        shown = listed(known.classes)
        raise UsageError("no class to explain", f"name one with --class, or --class all; known: {shown}")
    if names == ["all"]:
        return list(known.classes)
    found = []
    for name in names:
        if not known.candidates(name):
            if reason := getattr(data(), "left_out", {}).get(name):
                raise UsageError(f"class {name!r} cannot be explained: {reason}")
            found.append(_by_classifier(name, known, classifier, hint))
        else:
            found.append(known.find(name))
    refuse_doubles("class", found)
    return found


def left_out(
    named: Mapping[str, Iterable[str]], classifiers: Sequence[Ref], facts: Mapping[str, Any], registry: Registry
) -> tuple[dict[str, set[str]], tuple[str, ...]]:
    """The classes that are left out for each classifier of a plan, and notes of what is named for none of them.

    A reference means the same classifier however it is written: with its distribution before its name, or without.
    What follows the name is compared as it is written, since only the plugin can tell what it means. So there is a note
    where nothing but that differs.

    Parameters
    ----------
    named
        Reference of a classifier -> names of classes (`Suite.leave_out`). It need not be one of the plan.

    Raises
    ------
    UsageError
        A class or a classifier does not exist.
    """
    known = ClassNames(facts["classes"], facts.get("aliases", {}), indexed=False)
    cards = {c.text: registry.find("classifier", c) for c in classifiers}
    found: dict[str, set[str]] = {}
    notes = []
    for reference, names in named.items():
        card, argument = registry.find("classifier", reference)
        classes = {known.find(name) for name in names}
        alike = [text for text, (other, _) in cards.items() if other.full_name == card.full_name]
        same = [text for text in alike if cards[text][1] == argument]
        for text in same:
            found.setdefault(text, set()).update(classes)
        if alike and not same:
            notes.append(
                f"no class is left out for {' and '.join(alike)}: [leave_out] names {reference}; if that is the same "
                "classifier, write both alike"
            )
    return found, tuple(notes)


def renaming(registry: Registry, data: Ref) -> str:
    """How a user can say what a class of a data set is called in the classifier."""
    if hasattr(registry.options("dataset", data), "names"):
        provider = data.text.partition(":")[0]
        return f"say what the classes of the data are called in the classifier with --set {provider}.names=FILE"
    return "the data and the classifier must have a name, an index or a synset id of the class in common"


def _by_classifier(name: str, known: ClassNames, classifier: Callable[[], Any], hint: Callable[[], str]) -> str:
    """The class of the data set that the classifier calls so, e.g. by its index."""
    try:
        made = classifier()
    except (UsageError, MissingError):  # it will be told when the classifier is needed; the name is wrong all the same
        return known.find(name)
    of_classifier = ClassNames(made.classes, getattr(made, "aliases", None))
    if not of_classifier.candidates(name):
        return known.find(name)
    wanted = of_classifier.find(name)
    for c in known.classes:
        if any(of_classifier.candidates(one) == (wanted,) for one in (c, *known.aliases.get(c, ()))):
            return c
    for c in known.classes:
        if wanted in (several := of_classifier.candidates(c)):  # the data's name is that of several classes
            clear = [n for n in of_classifier.aliases.get(wanted, ()) if of_classifier.candidates(n) == (wanted,)]
            raise UsageError(
                f"the data set's class {c!r} may be {' or '.join(map(repr, several))}",
                f"call it {' or '.join(map(repr, [wanted, *clear][:2]))} in the data set",
            )
    raise UsageError(
        f"the classifier knows the class {wanted!r}, but the data set has no samples of it",
        f"it has {listed(known.classes)}; {hint()}",
    )


def refuse_doubles(what: str, names: Iterable[str]) -> None:
    """Raise `UsageError` for what is named twice."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise UsageError(f"{what} {name!r} is named twice")
        seen.add(name)
