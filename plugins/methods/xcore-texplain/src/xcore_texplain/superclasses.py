"""`xcore texplain classes`: word clouds of classes or super-classes side by side. Light at import."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, UsageError, unknown

if TYPE_CHECKING:
    from xcore.contract import Dataset, Samples, Split
    from xcore.session import Column, Finding, Found, Session
    from xcore_texplain.lexicon import Lexicon
    from xcore_texplain.words import Word

EXAMPLE = 'a mapping reads {"dog": ["beagle", "husky"], "wheeled vehicle": ["car"]}'
MOST = 24
"""Most clouds in a picture."""


@dataclass(frozen=True)
class ClassesOptions:
    """Settings of `classes`."""

    superclasses: str = ""
    """JSON file: super-class -> its classes; or a column of the metadata; "" = each class by itself."""
    split: str = "explain"
    """Which images are described: "train", "explain" or "heldout"."""
    lexicon: str = ""
    """JSON file with the words of each class or super-class, red in the cloud."""
    captions: str = ""
    """Data set whose captions the translator learns from; "" = those of the data, or of ``texplain.pairs``."""
    words: int = 12
    """Words of each class in the table."""


def classes(
    classifier: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    out: str | Path = "classes",
    options: ClassesOptions | None = None,
    **keys: Any,
) -> Finding:
    """Describe the features of classes, or of super-classes that join several of them, side by side.

    The words of a class are compared with those about images of all classes, the same number of each. The classes need
    not be those of the classifier, since its features are read and not its decision.

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
        Keys of a suite file, such as ``models``, ``set`` and ``budget``, whose ``samples`` are images of each
        super-class.

    Returns
    -------
    One finding with a row for each word of each class, and a picture of the clouds.

    Raises
    ------
    UsageError
        A class, the mapping or the lexicon is wrong, or there is only one class to describe.
    MissingError
        There is no language model, there are no captions, or the data have no such column.
    NotApplicable
        The classifier gives no activations.
    """
    about = {"classifiers": [classifier] if classifier else [], "data": data, "classes": list(classes), **keys}
    return found_classes(about, options or ClassesOptions(), Path(out))


def found_classes(about: dict[str, Any], options: ClassesOptions, out: Path) -> Finding:
    """The finding of what the shared flags and the settings ask for."""
    from xcore.contract import Ref, file_digest
    from xcore.inputs.splits import split_of
    from xcore_texplain.chosen import no_other_data
    from xcore_texplain.session import open_command

    of = split_of(options.split)
    about["classes"] = about.get("classes") or (["all"] if about.get("data") else [])
    about.setdefault("set", {})
    refs = {"dataset": [Ref(options.captions)]} if options.captions else {}
    with open_command({**about, "seeds": about.get("seeds", [0])[:1]}, {}, out / ".work") as session:
        no_other_data(session, of)
        asked = {**asdict(options), "split": of, "classes": [cell.cls for cell in session.cells]}
        for name in ("superclasses", "lexicon"):
            file = Path(asked[name]).expanduser()
            if asked[name] and file.is_file():
                asked[name] = file_digest(file)

        def make(folder: Path) -> Found:
            return described(session, replace(options, split=of), folder)

        return session.finding("texplain classes", asked, session.cells[0], make, refs=refs, out=out)


def described(session: Session, options: ClassesOptions, folder: Path) -> Found:
    """The words of each class, and the picture of their clouds."""
    from xcore.contract import Samples
    from xcore.session import Found
    from xcore_texplain.cloud import cloud_of
    from xcore_texplain.figure_pictures import draw_grid
    from xcore_texplain.habits import habits_note
    from xcore_texplain.reading import open_reader, shown_words
    from xcore_texplain.sentences import combined_seed
    from xcore_texplain.words import joined

    cell, names = session.cells[0], [cell.cls for cell in session.cells]
    data = session.dataset(cell)
    parts, members = images_of(data, names, options, cell.budget.samples, cell.data_seed)
    if len(parts) < 2:
        raise UsageError(
            f"there is only {next(iter(parts))!r} to describe, and a class is compared with images of all classes",
            "name several with --class A,B, or all",
        )
    lexicon = lexicon_of_groups(options.lexicon, members, session.classifier(cell), data)
    reader = open_reader(session, options.captions)
    o, seed = reader.options, combined_seed(reader.options.seed, 8)
    counts = {name: reader.said(images, seed) for name, images in parts.items()}
    few = min(len(images) for images in parts.values())
    shuffled = joined([count.take(range(few)) for count in counts.values()])
    mean = reader.said_of_mean(Samples.concat([images.take(range(few)) for images in parts.values()]))
    rows: list[dict[str, Any]] = []
    clouds: list[tuple[str, Any]] = []
    left: dict[str, Word] = {}
    for name, count in counts.items():

        def is_own(word: str, own: Sequence[str] = (name, *members[name])) -> bool:
            return any(lexicon.is_own(word, cls) for cls in own)

        words, habits = reader.words(count, shuffled, mean, cell.seed, is_own)
        left |= {w.word: w for w in habits}
        clouds.append(
            (f"{name} ({len(parts[name])} images)", cloud_of(words, [name, *members[name]], o.least, lexicon))
        )
        rows += [word_row(name, w, is_own(w.word)) for w in shown_words(words, o.least, options.words)]
    draw_grid(folder / "clouds.png", clouds[:MOST])
    n = ", ".join(f"{name} {len(images)}" for name, images in parts.items())
    notes = [f"images described: {n}; {o.sentences} sentences about each", reader.about]
    notes += [f"{note}; each only in the clouds where this is so" for note in habits_note(list(left.values()), o.least)]
    if few < 10:
        notes.append(f"one class has only {few} images: intervals over so few are too narrow")
    if len(clouds) > MOST:
        notes.append(f"the picture shows the first {MOST} of {len(clouds)} classes; the table has all of them")
    return Found(
        title=f"{cell.classifier}: words about the features of {len(parts)} classes of {cell.data}",
        columns=columns("class"),
        rows=tuple(rows),
        notes=tuple(notes),
        pictures={"clouds.png": "Word clouds of the classes: of the class red, over the prior blue, as the prior grey"},
    )


def images_of(
    data: Dataset, names: Sequence[str], options: ClassesOptions, n: int, seed: int
) -> tuple[dict[str, Samples], dict[str, list[str]]]:
    """Up to n images of each super-class, evenly of its classes, and the classes of each.

    Raises
    ------
    UsageError, MissingError
        As `classes` does.
    """
    from xcore.contract import Samples
    from xcore.inputs.splits import split_of

    split: Split = split_of(options.split)
    mapping = read_mapping(options.superclasses, data.classes) if options.superclasses else {c: [c] for c in names}
    if mapping is None:
        return _by_column(data, names, options.superclasses, split, n, seed)
    parts, members = {}, {}
    for name, own in mapping.items():
        some = [data.samples(cls, split, -(-n // len(own)), seed) for cls in own]
        found = [part for part in some if len(part)]
        if not found:
            raise UsageError(f"the split {split!r} has no images of {name!r}", "name another one with --split")
        parts[name], members[name] = Samples.concat(found).take(slice(n)), list(own)
    return parts, members


def _by_column(
    data: Dataset, names: Sequence[str], column: str, split: Split, n: int, seed: int
) -> tuple[dict[str, Samples], dict[str, list[str]]]:
    """Images by the cell of a column of the metadata."""
    from xcore.contract import Samples

    found: dict[str, list[Samples]] = {}
    members: dict[str, list[str]] = {}
    for cls in names:
        samples = data.samples(cls, split, n, seed)
        cells = samples.meta.get("attributes") or ()
        known = sorted({str(key) for cell in cells if isinstance(cell, Mapping) for key in cell})
        if column not in known:
            raise unknown(
                "file or column of the metadata with super-classes:", column, known, more=f"{EXAMPLE}, in a .json file"
            )
        values = [str(cell.get(column) or "") for cell in cells]
        for value in dict.fromkeys(values):
            if value:
                found.setdefault(value, []).append(samples.take([i for i, v in enumerate(values) if v == value]))
                members.setdefault(value, []).append(cls)
    if not found:
        raise MissingError(f"the column {column!r} is empty for all images", "name another column, or a .json file")
    parts = {}
    for value, some in sorted(found.items()):
        share = -(-n // len(some))
        parts[value] = Samples.concat([part.take(slice(share)) for part in some]).take(slice(n))
    return parts, {value: members[value] for value in parts}


def read_mapping(text: str, known: Sequence[str]) -> dict[str, list[str]] | None:
    """The mapping of a JSON file, super-class -> classes; None if the text names no file.

    Raises
    ------
    UsageError
        The file holds something else, or names a class that is not there, or one twice.
    """
    file = Path(text).expanduser()
    if not file.is_file() and file.suffix != ".json":
        return None
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the super-classes {text!r}: {error.strerror}", EXAMPLE) from error
    except ValueError as error:
        raise UsageError(f"the super-classes {text!r} are no JSON: {error}", EXAMPLE) from error
    if not isinstance(given, dict) or not all(
        isinstance(row, list) and row and all(isinstance(cls, str) for cls in row) for row in given.values()
    ):
        raise UsageError(f"the super-classes {text!r} do not map names to lists of classes", EXAMPLE)
    seen: dict[str, str] = {}
    for name, own in given.items():
        for cls in own:
            if cls not in known:
                raise unknown(f"class in the super-classes {text}:", cls, known)
            if cls in seen:
                raise UsageError(f"{cls!r} is in the super-classes {seen[cls]!r} and {name!r}", "leave it in one")
            seen[cls] = name
    return given


def lexicon_of_groups(file: str, members: Mapping[str, Sequence[str]], classifier: Any, data: Dataset) -> Lexicon:
    """The lexicon of a file, which may name classes and super-classes."""
    from xcore_texplain.lexicon import read_lexicon

    known = [*dict.fromkeys([*members, *(cls for own in members.values() for cls in own), *data.classes])]
    return read_lexicon(file, known, getattr(classifier, "aliases", None))


def word_row(name: str, w: Word, own: bool) -> dict[str, Any]:
    """The figures of one word of a class."""
    figures = {key: getattr(w, key) for key in ("freq", "lo", "hi", "shuffled", "over", "over_lo", "over_hi")}
    return {"class": name, "word": w.word, "own": own, **figures}


def columns(first: str) -> tuple[Column, ...]:
    """The columns of a table of words."""
    from xcore.session import Column

    return (
        Column("class", first, ""),
        Column("word", "word", "lemma"),
        Column("own", "of the class", "by the lexicon"),
        Column("freq", "share", "mean share of the sentences about an image that contain the word", 2),
        Column("lo", "from", "95 % bootstrap interval over images", 2),
        Column("hi", "to", "", 2),
        Column("shuffled", "prior", "the share for images of all classes", 2),
        Column("over", "over prior", "the difference, with its 95 % bootstrap interval", 2),
        Column("over_lo", "from", "", 2),
        Column("over_hi", "to", "", 2),
    )
