"""`xcore texplain versions`: words and predictions with and without the background, by masks. Light at import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xcore.contract import Cell, Dataset, Samples, Split
    from xcore.session import Column, Finding, Findings, Found, Session
    from xcore_texplain.reading import Reader
    from xcore_texplain.words import Word, WordCounts

WHOLE, FOREGROUND, BACKGROUND, MIXED = "whole", "only foreground", "only background", "mixed"
FIRST = 10
"""Predictions and words of each version in the table."""
BARS = 10


@dataclass(frozen=True)
class VersionsOptions:
    """Settings of `versions`."""

    split: str = "explain"
    """Which images are described: "train", "explain" or "heldout"."""
    group: str = ""
    """Only the images of this group; "" = all."""
    lexicon: str = ""
    """JSON file with the words of each class, red in the clouds."""
    captions: str = ""
    """Data set whose captions the translator learns from; "" = those of the data, or of ``texplain.pairs``."""


def versions(
    classifier: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    out: str | Path = "versions",
    options: VersionsOptions | None = None,
    **keys: Any,
) -> Findings:
    """Describe images of a class, what the masks cover of them, and the rest, and say what each is classified as.

    Only foreground: the rest is grey. Only background: the box around the object is tiled with what is
    beside it. Mixed: the object before the background of an image of another class.

    Parameters
    ----------
    classifier
        Reference of the classifier, which must give activations; "" = the default one.
    data
        Reference of the data set, whose images have masks; "" = the default.
    classes
        Names of the classes; none = all of the data.
    out
        Folder to write to.
    options
        Settings; None = the defaults.
    **keys
        Keys of a suite file, such as ``models``, ``set`` and ``budget``.

    Returns
    -------
    One finding for each class, with rows for the predictions and the words of each version, and a picture.

    Raises
    ------
    UsageError
        A class, a group or the lexicon is wrong, or masks have another size than the images.
    MissingError
        The images have no masks, there is no language model, or there are no captions.
    NotApplicable
        The classifier gives no activations.
    """
    about = {"classifiers": [classifier] if classifier else [], "data": data, "classes": list(classes), **keys}
    return found_versions(about, options or VersionsOptions(), Path(out))


def found_versions(about: dict[str, Any], options: VersionsOptions, out: Path) -> Findings:
    """The findings of what the shared flags and the settings ask for, one for each class."""
    from xcore.contract import Ref, file_digest
    from xcore.inputs.splits import split_of
    from xcore_texplain.chosen import no_other_data
    from xcore_texplain.session import open_command

    of = split_of(options.split)
    about["classes"] = about.get("classes") or (["all"] if about.get("data") else [])
    about.setdefault("set", {})
    refs = {"dataset": [Ref(options.captions)]} if options.captions else {}
    asked = {**asdict(options), "split": of}
    if options.lexicon and Path(options.lexicon).expanduser().is_file():
        asked["lexicon"] = file_digest(Path(options.lexicon).expanduser())
    with open_command({**about, "seeds": about.get("seeds", [0])[:1]}, {}, out / ".work") as session:
        no_other_data(session, of)

        def found(cells: Sequence[Cell]) -> Finding:
            cell = cells[0]
            session.check(cell)
            session.reporter.begin_cell(cell)

            def make(folder: Path) -> Found:
                return compared(session, cell, options, of, folder)

            return session.finding("texplain versions", asked, cell, make, refs=refs, out=out)

        return session.each(found)


def compared(session: Session, cell: Cell, options: VersionsOptions, split: Split, folder: Path) -> Found:
    """Predictions and words of each version of the images of one class, and their picture."""
    from xcore.session import Found
    from xcore_texplain.cloud import cloud_of
    from xcore_texplain.figure_pictures import Row, draw_rows
    from xcore_texplain.habits import habits_note
    from xcore_texplain.lexicon import lexicon_of
    from xcore_texplain.reading import open_reader, shown_words
    from xcore_texplain.sentences import combined_seed

    classifier, data = session.classifier(cell), session.dataset(cell)
    cls = session.task(cell, folder).target_name
    made, notes = versions_of(data, cls, split, options.group, cell.budget.samples, cell.data_seed)
    lexicon = lexicon_of(options.lexicon, classifier, data)
    reader = open_reader(session, options.captions)
    o, seed = reader.options, combined_seed(reader.options.seed, 9)
    prior = _prior(reader, data, cell, seed)
    rows: list[dict[str, Any]] = []
    shown: list[Row] = []
    left: dict[str, Word] = {}
    whole_said = reader.said(made[WHOLE], seed)
    whole_is = predictions(classifier, made[WHOLE])
    for version, images in made.items():
        found = whole_is if version == WHOLE else predictions(classifier, images)
        said = whole_said if version == WHOLE else reader.said(images, seed)
        words, habits = reader.words(said, *prior, cell.seed, lambda word: lexicon.is_own(word, cls))
        left |= {w.word: w for w in habits}
        top = prediction_rows(version, found, whole_is, classifier.classes, o.bootstrap, cell.seed)
        rows += top
        for w in shown_words(words, o.least, FIRST):
            change = _difference(said.shares_of([w.word]), whole_said.shares_of([w.word]), o.bootstrap, cell.seed)[0]
            own = lexicon.is_own(w.word, cls)
            row = {"version": version, "what": "word", "name": w.word, "own": own, "share": w.freq, "lo": w.lo}
            rows.append({**row, "hi": w.hi, "over": w.over, "over_lo": w.over_lo, "over_hi": w.over_hi, **change})
        bars = [(row["name"], row["probability"]) for row in top[:BARS]]
        shown.append(Row(version, images, bars, [("words", cloud_of(words, [cls], o.least, lexicon))]))
    draw_rows(folder / "versions.png", shown)
    return Found(
        title=f"{cell.classifier}, class {cls}: {len(made[WHOLE])} images with and without their background",
        columns=_columns(),
        rows=tuple(rows),
        notes=(
            *notes,
            reader.about,
            *(
                f"{note}; each only in the clouds where this is so"
                for note in habits_note(list(left.values()), o.least)
            ),
        ),
        pictures={"versions.png": f"Versions of images of {cls}: images, the classifier's probabilities, words"},
    )


def versions_of(
    data: Dataset, cls: str, split: Split, group: str, n: int, seed: int
) -> tuple[dict[str, Samples], list[str]]:
    """The versions of up to n images of a class, the same images in the same order, and notes."""
    from dataclasses import replace

    import numpy as np
    import torch

    from xcore.contract import XcoreError
    from xcore.session import chosen
    from xcore_texplain import masked

    images, masks, without = masked.covered(chosen(data, cls, split, group, n, seed), cls)
    notes = [f"left out, since no mask covers a part of them: {without} images"] if without else []
    made = {
        WHOLE: images,
        FOREGROUND: replace(images, data=masked.only_foreground(images.images, masks)),
        BACKGROUND: replace(images, data=masked.only_background(images.images, masks)),
    }
    others, reason = [], "the data have no other class"
    for other in data.classes:
        if other == cls:
            continue
        try:
            found, theirs, _ = masked.covered(chosen(data, other, split, "", -(-n // len(data.classes)), seed), other)
        except XcoreError as error:
            reason = str(error)
            continue
        others.append(masked.only_background(found.images, theirs))
    if not others:
        return made, [*notes, f"not mixed: {reason}"]
    rng = np.random.default_rng([seed, 10])
    made[MIXED] = replace(images, data=masked.mixed(images.images, masks, torch.cat(others), rng))
    return made, notes


def predictions(classifier: Any, images: Samples) -> NDArray[np.float64]:
    """(n, C) probabilities of the classes for each image."""
    from xcore.models.outputs import probabilities, scores_of

    found: NDArray[np.float64] = probabilities(classifier.logits(images).double(), scores_of(classifier)).cpu().numpy()
    return found


def prediction_rows(
    version: str,
    found: NDArray[np.float64],
    whole: NDArray[np.float64],
    classes: Sequence[str],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The ten classes of the highest mean probability, with the share of the images that are predicted as each."""
    import numpy as np
    from xcore_evidence.statistics import wilson

    order = sorted(range(len(classes)), key=lambda c: (-found[:, c].mean(), c))[:FIRST]
    is_first = (found.argmax(1)[:, None] == np.arange(len(classes))).astype(float)
    was_first = (whole.argmax(1)[:, None] == np.arange(len(classes))).astype(float)
    changes = _difference(is_first[:, order], was_first[:, order], resamples, seed)
    rows = []
    for c, change in zip(order, changes, strict=True):
        lo, hi = wilson(int(is_first[:, c].sum()), len(found))
        row = {"version": version, "what": "prediction", "name": classes[c], "own": None, "lo": lo, "hi": hi}
        rows.append({**row, "share": float(is_first[:, c].mean()), "probability": float(found[:, c].mean()), **change})
    return rows


def _difference(
    now: NDArray[np.float64], before: NDArray[np.float64], resamples: int, seed: int
) -> list[dict[str, float | None]]:
    """Mean differences of the columns over the same n images, with 95 % bootstrap intervals; none over one image."""
    import numpy as np

    each = now - before
    n = len(each)
    weights = np.random.default_rng([seed, 11]).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    low, high = np.quantile(weights @ each, (0.025, 0.975), axis=0)
    return [
        {"change": float(m), "change_lo": float(a) if n > 1 else None, "change_hi": float(b) if n > 1 else None}
        for m, a, b in zip(each.mean(0), low, high, strict=True)
    ]


def _prior(reader: Reader, data: Dataset, cell: Cell, seed: int) -> tuple[WordCounts, WordCounts]:
    """Words about whole images of all classes, and about their mean feature."""
    from xcore.contract import NotApplicable, Samples

    share = -(-reader.options.prior_images // len(data.classes))
    found = [part for cls in data.classes if len(part := data.samples(cls, "train", share, cell.data_seed))]
    if len(found) < 2:
        raise NotApplicable(
            "words are compared with those about training images of all classes, and at most one class has any",
            "add training images of other classes to the data set",
        )
    images = Samples.concat(found)
    return reader.said(images, seed), reader.said_of_mean(images)


def _columns() -> tuple[Column, ...]:
    from xcore.session import Column

    return (
        Column("version", "version", ""),
        Column("what", "what", "prediction: a class of the classifier; word: a lemma over the prior"),
        Column("name", "name", ""),
        Column("own", "of the class", "by the lexicon"),
        Column("share", "share", "of the images with this prediction, or mean share of the sentences with the word", 2),
        Column("lo", "from", "95 % interval: Wilson's for images, bootstrap over images for words", 2),
        Column("hi", "to", "", 2),
        Column("probability", "probability", "mean probability of the class", 2),
        Column("over", "over prior", "share less that for whole images of all classes, with its 95 % interval", 2),
        Column("over_lo", "from", "", 2),
        Column("over_hi", "to", "", 2),
        Column("change", "change", "share less that of the whole images, with its paired 95 % bootstrap interval", 2),
        Column("change_lo", "from", "", 2),
        Column("change_hi", "to", "", 2),
    )
