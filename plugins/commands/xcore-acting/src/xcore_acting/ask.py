"""`xcore ask --concept "long gray hair" --concept DIR`: does a classifier use concepts that one names?

Light at import.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.contract import UsageError, unknown
from xcore.session import Json, names, open_session, subject, takes

if TYPE_CHECKING:
    from xcore.contract import Cell
    from xcore.session import Finding, Findings, Found, Session
    from xcore_acting.ask_concepts import Asked

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
METHOD = "surrogate"
"""The method whose options say how evidence is asked for."""
KINDS = ("observed", "factorial", "edited")
UNUSED = {"evidence": "use --evidence", "phrases": "use --concept", "vocabulary": "use --concept and --alone"}
"""Options of the method that flags of the command take the place of -> the flags."""
DRIFT = (0, 10, 20)
"""Steps of tuning after which a phrase is drawn."""
WAYS = ("edit", "adapter", "words")
"""How doses of a phrase are given."""
WITHIN = 0.1
"""Share of the gap of the class within which the effects of a pair count as equal."""


def ask(
    concepts: Sequence[str] = (),
    *,
    pairs: Sequence[tuple[str, str]] = (),
    data: str = "",
    classes: Sequence[str] = (),
    evidence: Sequence[str] = (),
    alone: bool = False,
    within: float = WITHIN,
    dose: bool = False,
    dosed: int | None = None,
    dose_by: str = "",
    drift: bool = False,
    seed: int = 0,
    out: str | Path = "",
    **keys: Any,
) -> Findings:
    """Find out whether a classifier uses concepts that one names, by all kinds of evidence that the inputs allow.

    Parameters
    ----------
    concepts
        Each a phrase ("long gray hair"), a folder of pictures that show it, or ``"mask:NAME"`` for the region that the
        masks of the data cover.
    pairs
        Two concepts each that should not differ, such as ("female face", "male face"). The difference of their effects
        is tested, and whether it is within a bound.
    data
        Reference of the data set; "" = that of the default suite.
    classes
        Names of the classes; none = all of the data.
    evidence
        Kinds that must be asked, of "observed", "factorial" and "edited"; none = all that the inputs allow.
    alone
        Whether the concepts are judged without the vocabulary of the data (or everyday attributes) beside them.
    within
        Bound of equality for pairs, and of flat curves, as a share of the gap of the class, above 0.
    dose
        Whether to find out how the class answers to the phrases at strengths from -2 to +2, too.
    dosed
        Pictures or texts that doses are given to, from 10 pictures or 5 texts; None = 160 edited pictures, half of them
        of the class, 40 drawings, or 100 texts of the class.
    dose_by
        "edit" = pictures of the data are edited, "adapter" = pictures are drawn by a slider, a change of the generator
        that is tuned towards the phrase and scaled (options of its updates: those of ``rlpo.adapt``), "words" = words
        are put into texts and taken out; "" = edit or words.
    drift
        Whether to find out, too, what the phrases draw while the generator is tuned to them by rlpo, after 0, 10 and 20
        steps (see `xcore_acting.trajectory.trajectory`).
    seed
        Seed of all that is drawn.
    out
        Folder to write to; "" = ``ask``.
    **keys
        Keys of a suite file, such as ``generator``, ``models``, ``set`` and ``budget``; options of the method
        ``surrogate`` say how many samples, drawings and edits are used.

    Returns
    -------
    One finding for each class; with `dose` a second one with the curves, and with `drift` those of ``trajectory``, too.
    Where one fails the others are found, and ``failed`` says why.

    Raises
    ------
    UsageError
        No concept is named, a folder is not there or holds no pictures, or a kind of evidence is unknown.
    MissingError, NotApplicable
        No kind of evidence can be asked, or one that must be, or masks are missing.
    """
    from xcore_acting.ask_concepts import parsed
    from xcore_acting.options import refuse_unused
    from xcore_acting.trajectory import refuse, trajectory

    for kind in evidence:
        if kind not in KINDS:
            raise unknown("kind of evidence", kind, KINDS)
    if not within > 0:
        raise UsageError(f"the bound {within:g} within which pairs are equal is not above 0", "0.1 is 10 % of the gap")
    if dose_by and dose_by not in WAYS:
        raise unknown("way to give doses:", dose_by, WAYS)
    if dose_by and not dose:
        raise UsageError(f"--dose-by {dose_by} without --dose", "add --dose")
    asked, told = parsed(concepts, pairs)
    phrases = [a.name for a in asked if a.kind == "phrase"]
    if drift and not phrases:
        raise UsageError("only a phrase can drift, and none is asked about", "name one with --concept TEXT")
    settings = {name: dict(values) for name, values in keys.pop("set", {}).items()}
    own = settings.setdefault(METHOD, {})
    refuse_unused(own, UNUSED)
    own["evidence"] = "factorial"  # whose cells have a generator and a model image-text where there are any
    out = Path(out or "ask")
    about = {"data": data, "classes": list(classes), "set": settings, **keys}
    question = {"pairs": told, "evidence": list(evidence), "alone": alone, "within": within}
    drifting = {**about, "set": {name: values for name, values in settings.items() if name != METHOD}}
    if drift:
        refuse(drifting, out, seed)
    with open_session([METHOD], about, out / ".work", seeds=[seed]) as session:
        if dose:
            _refuse_doses(session, phrases, dosed, dose_by)
        finds = [lambda cells: _found(session, cells[0], asked, question, out)]
        if dose:
            given: dict[str, Any] = {"within": within, "samples": dosed}
            if dose_by == "adapter":
                given |= {"by": dose_by, "adapt": settings.get("rlpo", {}).get("adapt", {})}
            finds.append(lambda cells: _dosed(session, cells[0], asked, given, out))
        found = session.each(*finds)
    if drift:
        found.add(trajectory(phrases, steps=DRIFT, out=out, seed=seed, **drifting))
    return found


def _refuse_doses(session: Session, phrases: Sequence[str], dosed: int | None, by: str) -> None:
    """Raise what keeps doses from being given, before anything is computed."""
    from xcore_acting import dose_adapter
    from xcore_acting.dose import LEAST, check_generator, least

    if not phrases:
        raise UsageError("a dose-response is of phrases, and none is asked about", "name one with --concept TEXT")
    cell = session.cells[0]
    modality = session.dataset(cell).modality
    if by and (modality == "text") != (by == "words"):
        fitting = "words are put into texts: leave --dose-by out" if modality == "text" else "use edit or adapter"
        raise UsageError(f"doses by {by} are not of {modality}s", fitting)
    fewest = LEAST if by == "adapter" else least(modality)
    if dosed is not None and dosed < fewest:
        half = ", half of them of the class" if fewest > LEAST else ""
        raise UsageError(f"doses are given to {dosed} {modality}s", f"--dosed takes {fewest} or more{half}")
    if modality == "image":
        check = dose_adapter.check_generator if by == "adapter" else check_generator
        check(session.component("generator", cell.generator) if cell.generator else None)


def _found(session: Session, cell: Cell, asked: Sequence[Asked], question: dict[str, Any], out: Path) -> Finding:
    session.check(cell)
    about = {
        "concepts": [a.identity() for a in asked],
        **question,
        "options": {name: value for name, value in cell.method.options.items() if name != "evidence"},
    }

    def make(folder: Path) -> Found:
        from xcore_acting.ask_found import found

        return found(session.task(cell, folder), session.explainer(cell).options, asked, folder=folder, **question)

    return session.finding("ask", about, cell, make, out=out)


def _dosed(session: Session, cell: Cell, asked: Sequence[Asked], given: dict[str, Any], out: Path) -> Finding:
    about = {"concepts": [a.identity() for a in asked], **given, "strength": cell.method.options.get("strength")}

    def make(folder: Path) -> Found:
        from xcore_acting.dose_found import found

        return found(session.task(cell, folder), session.explainer(cell).options, asked, folder=folder, **given)

    return session.finding("ask dose", about, cell, make, out=out)


@app.command()
@takes(subject)
def command(
    about: dict[str, Any],
    concept: Annotated[
        list[str],
        typer.Option(
            metavar="TEXT|DIR|mask:NAME",
            help="A phrase, a folder of pictures, or the region that the masks of the data cover; may be repeated.",
        ),
    ] = [],  # noqa: B006 (typer reads the default)
    pair: Annotated[
        list[str],
        typer.Option(metavar="A,B", help="Two concepts that should not differ; may be repeated."),
    ] = [],  # noqa: B006
    evidence: Annotated[
        str,
        typer.Option(metavar="A,B", help="observed, factorial, edited; default: all that the inputs allow."),
    ] = "",
    alone: Annotated[
        bool, typer.Option("--alone", help="Judge the concepts without the vocabulary of the data beside them.")
    ] = False,
    within: Annotated[
        float,
        typer.Option(help="Share of the gap of the class within which a pair counts as equal, and a curve as flat."),
    ] = WITHIN,
    dose: Annotated[
        bool, typer.Option("--dose", help="Show how the class answers to the phrases at strengths from -2 to +2.")
    ] = False,
    dosed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="With --dose: number of pictures (at least 10) or of texts (at least 5). If it is not given, 160 "
            "pictures are edited, 40 are drawn with --dose-by adapter, or 100 texts are changed.",
        ),
    ] = None,
    dose_by: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="With --dose, of pictures: edit, or adapter (a slider of the generator's weights); of texts words.",
        ),
    ] = "",
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Show what the phrases draw while the generator is tuned to them, as trajectory."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Ask whether a classifier uses concepts that you name, and whether two that should not differ do.

    The table says for each concept how it moves the class by each kind of evidence that the inputs allow: in samples
    of the data (observed), in scenes that are drawn or texts that are changed at random (factorial), and in pictures
    of the class that are edited (edited). The concepts are judged jointly with the vocabulary of the data, or everyday
    attributes.

    Example: xcore ask --class zebra --concept stripes --concept sand --pair grass,snow
    """
    from xcore.session import publish, tell_failures

    out = Path(about.pop("out") or "ask")
    found = ask(
        concept, pairs=[_pair(text) for text in pair], evidence=names(evidence), alone=alone, within=within, dose=dose,
        dosed=dosed, dose_by=dose_by, drift=drift, seed=seed, out=out, **about,
    )  # fmt: skip
    for name in dict.fromkeys(finding.command for finding in found):
        publish([finding for finding in found if finding.command == name], out, as_json)
    tell_failures(found)


def _pair(text: str) -> tuple[str, str]:
    parts = names(text)
    if len(parts) != 2:
        raise UsageError(f"--pair {text!r} does not name two concepts", 'write --pair "female face,male face"')
    return parts[0], parts[1]
