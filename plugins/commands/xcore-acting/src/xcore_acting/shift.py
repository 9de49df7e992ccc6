"""`xcore shift A B`: what changed between two versions of a classifier, concept by concept. Light at import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.contract import UsageError, unknown
from xcore.session import Json, names, open_session, publish, subject, takes

if TYPE_CHECKING:
    from xcore.contract import Cell, Classifier, Task
    from xcore.session import Finding, Findings, Found, Session
    from xcore_acting.shift_rows import Shift

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
SCALES = ("gap", "logits")
METHOD = "surrogate"
"""The method that scores concepts unless another is named."""
NAMED = "tcav"
"""The method that scores the samples of concepts, here those that another method found in A."""


def shift(
    a: str,
    b: str,
    *,
    data: str = "",
    classes: Sequence[str] = (),
    method: str = METHOD,
    evidence: str = "",
    phrases: Sequence[str] = (),
    scale: str = "gap",
    seed: int = 0,
    out: str | Path = "",
    **keys: Any,
) -> Findings:
    """Find out which concepts a classifier uses more or less than another version of it.

    Both are asked about the same samples, phrases and noise, so that the interval and the test of a difference are
    paired. With ``surrogate`` the difference of two effects is the effect on the difference of the margins. With
    ``tcav`` it is the mean difference of the sensitivities of the same samples. Any other method explains A, and
    the samples of the concepts that it finds are scored in A and in B by TCAV.

    Parameters
    ----------
    a, b
        References of the two classifiers, such as ``"timm:resnet50"`` and ``"tuned:finetune"``. They have the same
        classes.
    data
        Reference of the data set; "" = that of the default suite.
    classes
        Names of the classes; ("all",) = all of the data.
    method
        Name of the method that scores concepts.
    evidence
        For ``surrogate``: "observed", "factorial" or "edited"; "" = as its option says.
    phrases
        For ``surrogate``: the concepts; none = the vocabulary of the data.
    scale
        For ``surrogate``: "gap" = effects are shares of the gap of the class in each classifier; "logits" = they are in
        logits, which training makes larger or smaller for all concepts together.
    seed
        Seed of all that is drawn.
    out
        Folder to write to; "" = ``shift``.
    **keys
        Keys of a suite file, such as ``generator``, ``models``, ``set`` and ``budget``.

    Returns
    -------
    One finding for each class. The columns ``difference``, ``difference_lo`` and ``difference_hi`` hold B less A.
    Where one fails the others are found, and ``failed`` says why.

    Raises
    ------
    UsageError
        A and B have other classes, read other samples, or do not differ.
    MissingError, NotApplicable
        What the method needs is not there.
    """
    if a == b:
        raise UsageError(f"A and B are the same classifier: {a}", "name two versions of a classifier")
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    from xcore_acting.options import refuse_unused

    out = Path(out or "shift")
    settings = {name: dict(values) for name, values in keys.pop("set", {}).items()}
    given = {"evidence": evidence, "phrases": list(phrases)}
    refuse_unused(settings.get(METHOD, {}))
    if method == METHOD:
        settings[METHOD] = settings.get(METHOD, {}) | {name: value for name, value in given.items() if value}
    elif wrong := next((name for name, value in given.items() if value), ""):
        raise UsageError(f"{wrong} is for the method {METHOD}, not for {method}", f"leave --{wrong} or --method out")
    methods = [method] if method in (METHOD, NAMED) else [method, NAMED]
    about = {"classifiers": [a, b], "data": data, "classes": list(classes), "set": settings, **keys}
    with open_session(methods, about, out / ".work", seeds=[seed]) as session:
        groups = _by_class(session.cells)
        before, after = groups[0][0], groups[0][len(groups[0]) // 2]
        _refuse_others(session.classifier(before), session.classifier(after))
        return session.each(lambda cells: _found(session, cells, scale, out), groups=groups)


def _by_class(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each class: of A by the method (and by TCAV), then of B."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.cls, []).append(cell)
    return list(found.values())


def _found(session: Session, cells: Sequence[Cell], scale: str, out: Path) -> Finding:
    before, after = cells[0], cells[len(cells) // 2]
    a, b = session.classifier(before), session.classifier(after)
    for cell in cells:
        if cell.method.text == before.method.text:  # TCAV beside it is given the concepts, and needs none of the data
            session.check(cell)
    asked = {"b": after.classifier.text, "method": before.method.text, "options": dict(before.method.options)}
    asked |= {"scale": scale}

    def make(folder: Path) -> Found:
        task = session.task(before, folder)
        if before.method.text == METHOD:
            return _told(
                session, before, a, b, task, folder, _by_evidence(session.explainer(before).options, task, b, scale)
            )
        from xcore_acting.shift_concepts import by_concepts

        scoring = cells[len(cells) // 2 - 1]
        made = by_concepts(
            session.explainer(before), session.explainer(scoring), task, session.task(after, folder), before.method.text
        )
        return _told(session, before, a, b, task, folder, made)

    refs = {"classifier": [after.classifier], "explainer": [cell.method for cell in cells]}
    return session.finding("shift", asked, before, make, refs=refs, out=out)


def _refuse_others(a: Classifier, b: Classifier) -> None:
    """Raise `UsageError` unless both have the same classes and read the same samples."""
    if a.modality != b.modality:
        raise UsageError(f"A reads {a.modality}s, and B reads {b.modality}s", "name two versions of a classifier")
    only = [[c for c in one.classes if c not in other.classes] for one, other in ((a, b), (b, a))]
    if only[0] or only[1]:
        which = [f"{len(o)} only in {x}, such as {o[0]!r}" for o, x in zip(only, "AB", strict=True) if o]
        raise UsageError(f"A and B have other classes: {', and '.join(which)}", "name two versions of a classifier")


def _by_evidence(options: Any, task: Task, b: Classifier, scale: str) -> Shift:
    """The shift by the evidence of phrases."""
    from xcore_acting.shift_evidence import compare, p_value
    from xcore_acting.shift_rows import Change, Shift

    found = compare(task, b, options, scale)
    scored = [
        [(e.effect * s, e.lo * s, e.hi * s) for e, s in zip(one.estimates, scales, strict=True)]
        for one, scales in zip((found.a, found.b, found.difference), found.scales, strict=True)
    ]
    changes = tuple(
        Change(e.phrase, a, b, d, p_value(e)) for e, a, b, d in zip(found.difference.estimates, *scored, strict=True)
    )
    gaps = (
        f"the gap of the class (mean margin of its samples less that of others) is {found.a.gap:.2f} logits in A and "
    )
    return Shift(
        changes=changes,
        unit=found.unit,
        test=f"the test of {found.a.kind} evidence, of the effect on the margin of B less that of A",
        n=found.difference.n,
        of="samples",
        shown=found.shown,
        notes=(f"effects are evidence of one kind: {found.a.says}", f"{gaps}{found.b.gap:.2f} in B", *found.notes),
    )


def _told(session: Session, cell: Cell, a: Classifier, b: Classifier, task: Task, folder: Path, made: Shift) -> Found:
    """The table, the picture and the accuracy of both."""
    from xcore.session import Found
    from xcore_acting.shift_accuracy import accuracies, held_out, plain

    rows = made.rows(task.target_name)
    gained, lost = (sum(row["changed"] == what for row in rows) for what in ("gained", "lost"))
    notes = [f"of {len(rows)} concepts {gained} gained and {lost} lost (Holm at 0.05)", *made.notes]
    figures: dict[str, Any] = {}
    samples = held_out(session.dataset(cell), a.classes, cell.budget.heldout, cell.data_seed)
    if samples is None:
        notes.append("accuracy was not measured: the data hold out no samples")
    else:
        accuracy = accuracies(a, b, samples)
        figures["accuracy"] = plain(accuracy)
        every, own = accuracy[("all", "all samples")], accuracy.get(("class", task.target_name))
        notes.append(f"accuracy on {every.n} held-out samples: {every.said} (95 % interval, paired)")
        if own is not None:
            notes.append(f"of them {own.n} are of {task.target_name}: {own.said}")
    title = f"{task.target_name}: from A = {cell.classifier} to B"
    picture = _pictured(folder, title, made, rows, a, b, task, notes)
    return Found(
        title=title,
        columns=made.columns(),
        rows=tuple(rows),
        notes=tuple(notes),
        pictures={
            picture: f"what gained and what lost for {task.target_name}: a bar with its interval for each concept"
        },
        figures=figures,
    )


def _pictured(
    folder: Path,
    title: str,
    made: Shift,
    rows: list[dict[str, Any]],
    a: Classifier,
    b: Classifier,
    task: Task,
    notes: list[str],
) -> str:
    """Draw the picture and give the name of its file; adds a note if there are no maps."""
    from xcore.contract import NotApplicable
    from xcore_acting import shift_chart
    from xcore_acting.shift_maps import class_maps, overlaid
    from xcore_acting.shift_rows import top

    strips = []
    for row in [*top(rows, "gained", 2), *top(rows, "lost", 2)][: 4 if task.samples.modality == "image" else 0]:
        if (samples := made.shown(row["concept"])) is None:
            continue
        maps = None
        try:
            targets = ((task.classifier, task.target), (b, b.classes.index(task.target_name)))
            first, second = (overlaid(samples.images, class_maps(c, samples, t)) for c, t in targets)
            maps = (first, second)
        except NotApplicable as error:
            if (note := f"there are no maps: {error.message}") not in notes:
                notes.append(note)
        strips.append(shift_chart.Strip(row["concept"], row["changed"], samples.images, maps))
    shift_chart.draw(folder / "shift.png", title, made.unit, rows, strips)
    return "shift.png"


@app.command()
@takes(subject)
def command(
    about: dict[str, Any],
    a: Annotated[str, typer.Argument(metavar="A", help="The classifier, e.g. timm:resnet50.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another version of it, e.g. tuned:finetune.")],
    method: Annotated[str, typer.Option(metavar="NAME", help="Method that scores concepts.")] = METHOD,
    evidence: Annotated[
        str, typer.Option(metavar="KIND", help="Of surrogate: observed, factorial or edited; default: observed.")
    ] = "",
    phrases: Annotated[
        str, typer.Option(metavar="A,B", help="Concepts of surrogate; default: the vocabulary of the data.")
    ] = "",
    scale: Annotated[
        str, typer.Option(metavar="HOW", help="Of surrogate: gap = shares of the gap of the class, or logits.")
    ] = "gap",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Compare two versions of a classifier, concept by concept.

    Both are asked about the same samples, phrases and noise. The table says for each concept how strongly A and B use
    it, and the difference with its interval and test; the picture shows what gained and what lost. A and B must have
    the same classes.

    Example: xcore shift minizoo/clean minizoo/shortcut --data minizoo --class cow
    """
    if about.pop("classifiers"):
        raise UsageError("--classifier is not used here", "name both classifiers: xcore shift A B")
    out = Path(about.pop("out") or "shift")
    found = shift(
        a, b, method=method, evidence=evidence, phrases=names(phrases), scale=scale, seed=seed, out=out, **about
    )
    publish(found, out, as_json)
