"""Which method answers which question about a classifier, with what is there. Nothing is explained for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcore.base.errors import XcoreError
from xcore.cards import Card
from xcore.contract.hooks import QUESTIONS
from xcore.registry import Registry
from xcore.run.plan import Settings

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier, Dataset


@dataclass(frozen=True)
class Choice:
    """A method that answers a question, and whether it can be used here."""

    question: str
    """A key of `xcore.contract.hooks.QUESTIONS`."""
    card: Card
    problem: str = ""
    """What it lacks, with what to do about it; empty if it can be used."""

    @property
    def worth(self) -> float:
        """The share that it finds of what made classifiers use, less what it names falsely; -1 if none was measured."""
        return self.card.measured[0] - self.card.measured[1] if self.card.measured else -1.0


def choices(
    registry: Registry, settings: Settings, classifier: Classifier, data: Dataset, given: Mapping[str, str]
) -> list[Choice]:
    """The methods by the questions that they answer; of one question those that can be used first, the best first.

    Parameters
    ----------
    given
        Role, or ``generator`` -> the model that the user names; those of the data set are added.

    Raises
    ------
    UsageError
        A model that the user names is not there.
    """
    for role, text in given.items():
        if role == "generator":
            settings.ref("generator", text)
        else:
            settings.helper(role, text, ())
    named = {**{k: v for k, v in data.defaults.items() if k not in ("classifier", "contrast")}, **given}
    found = [
        Choice(card.question, card, _problem(card, registry, settings, classifier, data, named))
        for card in registry.cards("explainer")
        if card.question
    ]
    order = list(QUESTIONS)
    return sorted(found, key=lambda c: (order.index(c.question), bool(c.problem), -c.worth, c.card.name))


def _problem(
    card: Card,
    registry: Registry,
    settings: Settings,
    classifier: Classifier,
    data: Dataset,
    named: Mapping[str, str],
) -> str:
    """Why a method cannot explain this classifier with these data; empty if nothing speaks against it."""
    if data.modality not in card.modalities:
        return f"reads {' and '.join(f'{m}s' for m in card.modalities)} only"
    for what in ("activations", "gradients"):
        if what in card.needs and what not in classifier.can:
            return f"needs the {what} of the classifier, which gives none"
    for what, there in (("concepts", data.concepts), ("vocabulary", data.vocabulary)):
        if what in card.needs and not there:
            return f"needs {what}, and the data set has none"
    try:
        ref = settings.ref("explainer", card.full_name)
        unasked = registry.fallbacks((r for r in registry.roles(ref) if r not in named), data.modality)
        if lacking := registry.lacking(ref, [*named, *unasked], data.modality):
            played = registry.played_by(lacking, data.modality)
            flag = f"--generator {played}" if lacking == "generator" else f"--model {lacking}={played}"
            return f"needs a {'generator' if lacking == 'generator' else f'model of the role {lacking}'}: {flag}"
        method: Any = registry.create("explainer", ref)
        if hasattr(method, "check"):
            method.check(data)
    except XcoreError as error:
        return f"{error.message} ({error.hint})" if error.hint else error.message
    return ""


def by_question(found: Sequence[Choice]) -> dict[str, list[Choice]]:
    """The choices of each question, in the order of the questions; those that nothing answers are left out."""
    return {key: own for key in QUESTIONS if (own := [c for c in found if c.question == key])}
