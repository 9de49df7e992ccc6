"""`xcore texplain shortcuts`: words of a class that are not of it, and whether they are used. Light at import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import UsageError, unknown

if TYPE_CHECKING:
    from xcore_evidence.estimates import Evidence

    from xcore.contract import Cell, Concept, Explanation, Task
    from xcore.session import Column, Finding, Findings, Found, Session
    from xcore_texplain.lexicon import Lexicon

KINDS = ("observed", "factorial", "edited")
"""The kinds of evidence that can say whether a word is used."""
VERDICTS = ("in the features and used", "used", "in the features", "neither")
WORDS, SENTENCES = 30, 30
"""Most words that are judged, and sentences about each image, unless options of texplain say otherwise."""
SHOWN, IMAGES = 5, 6
"""Words in the picture, and images of each."""
ALPHA = 0.05


@dataclass(frozen=True)
class ShortcutOptions:
    """Settings of `shortcuts`."""

    lexicon: str = ""
    """JSON file with the words of each class."""
    captions: str = ""
    """Data set whose captions the translator learns from; "" = those of the data, or of ``texplain.pairs``."""
    evidence: tuple[str, ...] = ("observed",)
    """Kinds of evidence; a word is used if one of them marks it, at the level .05 divided by their number."""
    split: str = "train"
    """Which images are described: "train", since a classifier learns shortcuts there, or "explain"."""
    minimum: float = 0.0
    """Least effect of a word that is used, as a share of the gap between the class and the others, from 0."""


def shortcuts(
    classifier: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    out: str | Path = "shortcuts",
    options: ShortcutOptions | None = None,
    **keys: Any,
) -> Findings:
    """Find the words that dominate the features of a class and are not of it, and judge whether it uses them.

    A word is in the features if the sentences about images of the class contain it more often than those about images
    of all classes, with a 95 % interval above 0. It is used if evidence in context says that it raises the class (see
    `xcore_evidence`), which all words are tested for together. Words that are used and not of the class come first.

    Parameters
    ----------
    classifier
        Reference of the classifier, which must give activations; "" = the default one.
    data
        Reference of the data set; "" = the default.
    classes
        Names of the classes; none = all of the data.
    out
        Folder to write to.
    options
        Settings; None = the defaults.
    **keys
        Keys of a suite file, such as ``models``, ``set``, ``budget`` and ``generator``.

    Returns
    -------
    One finding for each class, with one row for each word.

    Raises
    ------
    UsageError
        A setting, the lexicon or a class is wrong.
    MissingError
        There is no language model, no image-text model, no generator for the evidence, or no captions.
    NotApplicable
        The classifier gives no activations, or the evidence cannot be had of these samples.
    """
    about = {"classifiers": [classifier] if classifier else [], "data": data, "classes": list(classes), **keys}
    return found_shortcuts(about, options or ShortcutOptions(), Path(out))


def found_shortcuts(about: dict[str, Any], options: ShortcutOptions, out: Path) -> Findings:
    """The findings of what the shared flags and the settings ask for: one for each class and classifier, by seed 0.

    Other seeds may be named in `about`; then there is one for each of them.
    """
    from xcore.contract import Ref, file_digest
    from xcore.session import open_session
    from xcore_texplain.lexicon import lexicon_of

    for kind in options.evidence:
        if kind not in KINDS:
            raise unknown("kind of evidence", kind, KINDS)
    if not options.evidence:
        raise UsageError("no kind of evidence is named", "name one, such as --evidence observed")
    if options.minimum < 0:
        raise UsageError(f"minimum must be 0 or more, got {options.minimum:g}")
    if options.split not in ("train", "explain"):
        raise unknown("split to describe", options.split, ("train", "explain"))
    about["classes"] = about.get("classes") or (["all"] if about.get("data") else [])
    given = about.setdefault("set", {}).setdefault("texplain", {})
    for name, value in {"sentences": SENTENCES, "k": WORDS, "context": True}.items():
        given.setdefault(name, value)  # with context=true the plan asks for an image-text model
    refs = {"dataset": [Ref(options.captions)]} if options.captions else {}
    about.setdefault("seeds", [0])
    with open_session(["texplain"], about, out / ".work") as session:

        def found(cells: Sequence[Cell]) -> Finding:
            cell = cells[0]
            session.check(cell)
            session.reporter.begin_cell(cell)
            lexicon = lexicon_of(options.lexicon, session.classifier(cell), session.dataset(cell))
            asked = asdict(options)
            if options.lexicon:
                asked["lexicon"] = file_digest(Path(options.lexicon).expanduser())

            def make(folder: Path) -> Found:
                return judged(session, cell, options, lexicon, folder)

            return session.finding("texplain shortcuts", asked, cell, make, refs=refs, out=out)

        return session.each(found)


def judged(session: Session, cell: Cell, options: ShortcutOptions, lexicon: Lexicon, folder: Path) -> Found:
    """The words of one class with what is said of them, and a picture."""
    from xcore.contract import NotApplicable
    from xcore.session import Found
    from xcore_texplain import sentences as sentence_file
    from xcore_texplain.session import trained_translator
    from xcore_texplain.texplain import TExplain
    from xcore_texplain.words import most_frequent_forms

    classifier, o = session.classifier(cell), session.explainer(cell).options
    task = replace(session.task(cell, folder), vocabulary=())
    if cell.generator is not None:
        task = replace(task, generator=session.component("generator", cell.generator))
    if options.split == "train":
        drawn = task.data.samples(task.target_name, "train", cell.budget.samples, cell.data_seed)
        if not len(drawn):
            raise UsageError(
                f"class {task.target_name!r} has no training images to describe", "describe others with --split explain"
            )
        task = replace(task, samples=drawn)
    if "activations" not in classifier.can:
        raise NotApplicable("texplain reads activations, and this classifier gives none: it is a black box")
    height, width = task.samples.images.shape[-2:]
    translator, _ = trained_translator(session, cell, classifier, (height, width), options.captions, task.progress)
    method = TExplain(
        o.model_copy(update={"context": False, "translator": str(translator), "lexicon": options.lexicon})
    )
    explanation = method.explain(task)
    rows_said = sentence_file.read(explanation.files[sentence_file.FILE])
    concepts = explanation.concepts
    if len(concepts) < 2:
        raise NotApplicable(
            f"the sentences about {task.target_name!r} hold fewer than two words that tell images apart",
            "train the translator longer (texplain.steps), or on more captions",
        )
    is_own = {c.name: lexicon.is_own(c.name, task.target_name) for c in concepts}
    forms = most_frequent_forms(text for row in rows_said if row.of == "class" for text in row.sentences)
    phrases = [forms.get(c.name, c.name) for c in concepts]
    evidence = [_evidence(kind, task, phrases, options) for kind in options.evidence]
    rows = [_row(concept, i, evidence, is_own[concept.name]) for i, concept in enumerate(concepts)]
    order = sorted(range(len(rows)), key=lambda i: _rank(rows[i]))
    pictures = (
        {"cloud.png": f"Words about the features of {task.target_name}"} if "cloud.png" in explanation.files else {}
    )
    shown = [i for i in order if not rows[i]["own"]][:SHOWN]
    if shown:
        from xcore_texplain.shortcut_pictures import draw_words

        draw_words(folder / "words.png", [(concepts[i], rows[i]["verdict"]) for i in shown], task.samples, IMAGES)
        pictures = {"words.png": "Images about which the words that are not of the class are said most", **pictures}
    return Found(
        title=f"{cell.classifier}, class {task.target_name}: words that are not of the class",
        columns=_columns(options.evidence),
        rows=tuple(rows[i] for i in order),
        notes=_notes(rows, order, evidence, explanation, task),
        pictures=pictures,
    )


def _evidence(kind: str, task: Task, phrases: Sequence[str], options: ShortcutOptions) -> Evidence:
    from xcore_evidence.edited import edited
    from xcore_evidence.factorial import factorial
    from xcore_evidence.observed import observed

    ways: dict[str, Any] = {"observed": observed, "factorial": factorial, "edited": edited}
    alpha = ALPHA / len(options.evidence)
    found: Evidence = ways[kind](task, phrases, alpha=alpha, minimum=options.minimum)
    return found


def _row(concept: Concept, i: int, evidence: Sequence[Evidence], own: bool) -> dict[str, Any]:
    """The figures of one word."""
    figures = concept.evidence
    row: dict[str, Any] = {"word": concept.name, "own": own}
    row |= {name: figures.get(name) for name in ("freq", "shuffled", "over", "over_lo", "over_hi")}
    low = figures.get("over_lo")
    inside = low is not None and low > 0
    used = False
    for one in evidence:
        e = one.estimates[i]
        row |= {f"{one.kind}_{name}": value for name, value in e.as_evidence().items()}
        row[f"{one.kind}_shown"] = f"{e.effect:+.2f} [{e.lo:+.2f}, {e.hi:+.2f}]" if e.tested else "not tested"
        used |= e.mark > 0
    best = max((one.estimates[i].t for one in evidence), default=0.0)
    verdict = VERDICTS[0 if inside and used else 1 if used else 2 if inside else 3]
    return {**row, "in_features": inside, "used": used, "t": best, "verdict": verdict}


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    """Words that are not of the class first, of these the used ones, of these those with the surest effect."""
    return (
        row["own"],
        not row["used"],
        not row["in_features"],
        -row["t"] if row["used"] else -(row["over"] or 0),
        row["word"],
    )


def _columns(kinds: Sequence[str]) -> tuple[Column, ...]:
    from xcore.session import Column

    made = [
        Column("word", "word", "lemma"),
        Column("verdict", "verdict", "in the features: over the prior, interval above 0; used: marked by evidence"),
        Column("own", "of the class", "by the lexicon"),
        Column("freq", "share", "mean share of the sentences about an image of the class that contain the word", 2),
        Column("shuffled", "prior", "the same for images of all classes", 2),
        Column("over", "over prior", "the difference", 2),
        Column("over_lo", "from", "95 % bootstrap interval over images", 2),
        Column("over_hi", "to", "", 2),
        Column("in_features", "in the features", "", shown=False),
        Column("used", "used", "", shown=False),
    ]
    for kind in kinds:
        made += [
            Column(f"{kind}_shown", f"effect ({kind})", "on the margin of the class in logits, with its 95 % interval"),
            Column(f"{kind}_effect", "effect", "", shown=False),
            Column(f"{kind}_lo", "from", "", shown=False),
            Column(f"{kind}_hi", "to", "", shown=False),
            Column(f"{kind}_p_holm", f"p ({kind})", "one-sided, Holm over all words", 3),
            Column(f"{kind}_share", "of the gap", "from rarely to often present, as a share of the gap", 2),
            Column(f"{kind}_mark", "mark", "+1 raises the class, -1 lowers it", shown=False),
        ]
    return tuple(made)


def _notes(
    rows: Sequence[dict[str, Any]],
    order: Sequence[int],
    evidence: Sequence[Evidence],
    explanation: Explanation,
    task: Task,
) -> tuple[str, ...]:
    foreign = [rows[i] for i in order if not rows[i]["own"]]
    both = [row["word"] for row in foreign if row["used"] and row["in_features"]]
    used = [row["word"] for row in foreign if row["used"] and not row["in_features"]]
    found = f"shortcuts of {task.target_name!r}, in the features and used: {', '.join(both) or 'none'}"
    more = f"; used, but no more frequent than in the prior: {', '.join(used)}" if used else ""
    said = tuple(f"{e.kind}: {e.says}, n = {e.n}, in {e.unit}" for e in evidence)
    return (found + more, *said, *(note for e in evidence for note in e.notes), *explanation.notes)
