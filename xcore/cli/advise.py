"""`xcore advise`: which method answers which question about a classifier, with what is there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from xcore.base.errors import UsageError
from xcore.cli.listing import print_line
from xcore.contract.hooks import QUESTIONS
from xcore.run.advice import Choice, by_question, choices

if TYPE_CHECKING:
    from xcore.contract.protocols import Classifier, Dataset


def show_advice(
    classifier: str,
    data: str,
    generator: str,
    models: Mapping[str, str],
    settings: Mapping[str, Mapping[str, Any]],
    files: Sequence[str],
    as_json: bool,
) -> None:
    """Print one line a question: the method that answers it best with what is there, and what it gets wrong.

    Parameters
    ----------
    classifier, data, generator
        References; the data set may name the classifier and the generator.
    models
        Role -> reference of a helper model.
    settings
        Name of a component -> option -> value.

    Raises
    ------
    UsageError
        No classifier is named, and the data set has no default one; or the two are of different modalities.
    """
    from xcore.registry import load_registry
    from xcore.run.data import framed_by
    from xcore.run.plan import Settings

    registry = load_registry(files)
    options = Settings(settings, registry)
    source: Dataset = registry.create("dataset", options.ref("dataset", data))
    if not (named := classifier or source.defaults.get("classifier", "")):
        raise UsageError(f"no classifier is named, and data set {data} has no default one", "add --classifier REF")
    model: Classifier = registry.create("classifier", options.ref("classifier", named))
    if source.modality != model.modality:
        raise UsageError(f"{data} holds {source.modality}s, but the classifier reads {model.modality}s")
    given = {**models, **({"generator": generator} if generator else {})}
    found = choices(registry, options, model, framed_by(source, model), given)
    if as_json:
        for choice in found:
            print_line(_plain(choice))
        return
    command = ["--classifier", named, "--data", data]
    command += ["--generator", generator] if generator else []
    command += [word for role, ref in models.items() for word in ("--model", f"{role}={ref}")]
    asked = by_question(found)
    typer.echo("\n".join([_there(named, data, model, source), "", *_lines(asked), "", *_after(asked, command)]))


def _plain(choice: Choice) -> dict[str, Any]:
    """A choice as one line of JSON."""
    card = choice.card
    return {
        "question": choice.question,
        "asks": QUESTIONS[choice.question],
        "method": card.name,
        "distribution": card.distribution,
        "can": not choice.problem,
        "problem": choice.problem,
        "found": card.measured[0] if card.measured else None,
        "false": card.measured[1] if card.measured else None,
        "covers": list(card.covers),
        "limits": card.limits,
    }


def _there(named: str, data: str, model: Classifier, source: Dataset) -> str:
    """What is there to explain with, in one line."""
    can = " and ".join(what for what in ("activations", "gradients") if what in model.can)
    facts = [
        f"{len(source.classes)} classes of {source.modality}s",
        f"the classifier gives {can}" if can else "the classifier is a black box: it gives logits only",
        f"{len(source.vocabulary)} phrases" if source.vocabulary else "no phrases",
        f"{len(source.concepts)} concepts with samples" if source.concepts else "no concepts with samples",
    ]
    return f"{named} on {data}: {', '.join(facts)}."


def _lines(asked: Mapping[str, Sequence[Choice]]) -> list[str]:
    """One line a question: the best method that can be used here, and its limits."""
    lines = []
    for key, own in asked.items():
        best = own[0]
        if best.problem:
            lines.append(f"{QUESTIONS[key]} {best.card.name} would tell, but not here: {best.problem}.")
            continue
        said = f" It gets wrong: {best.card.limits}." if best.card.limits else ""
        others = [c.card.name for c in own[1:] if not c.problem]
        beside = f" Beside it: {', '.join(others)}." if others else ""
        lines.append(f"{QUESTIONS[key]} {best.card.name}{_measured(best)}.{said}{beside}")
    return lines


def _measured(choice: Choice) -> str:
    """What was measured of a method, in a few words."""
    if not choice.card.measured:
        return ""
    (found, false), covers = choice.card.measured, choice.card.covers
    made = f"made classifiers of the kinds that it claims ({', '.join(covers)})" if covers else "made classifiers"
    return f", which names {found:.0%} of what {made} use and {false:.0%} of what they do not use"


def _after(asked: Mapping[str, Sequence[Choice]], command: Sequence[str]) -> list[str]:
    """How to ask one of them, how to compare several, and what those lack that no line above speaks of."""
    usable = [own[0].card.name for own in asked.values() if not own[0].problem]
    shown = shlex.join(command)
    lines = [f"Ask one:       xcore explain {usable[0]} {shown} --class NAME"] if usable else []
    if len(usable) > 1:
        lines.append(f"Compare them:  xcore bench --methods {','.join(usable)} {shown} --class NAME")
    missing = [f"{c.card.name}: {c.problem}" for own in asked.values() for c in own[1:] if c.problem]
    return [*lines, *([f"Not here:      {'; '.join(missing)}."] if missing else [])]
