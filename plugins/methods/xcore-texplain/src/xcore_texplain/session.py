"""What the commands work on, and the folders that they write to.

The commands open the same session as `xcore bench`. In folders they remove only files of their own, and they leave no
empty folder where they have written nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import Cell, Classifier, MissingError, Progress, Ref, Split, Task, UsageError, XcoreError
from xcore.session import Session, chosen, open_session, slug
from xcore_texplain import sentences
from xcore_texplain.features import open_probe
from xcore_texplain.options import Options
from xcore_texplain.texplain import TExplain
from xcore_texplain.training import Recipe
from xcore_texplain.translator import load_translator

if TYPE_CHECKING:
    from xcore.session import Reporter

ROLE = "text-decoder"
TRAINING = ".texplain-training"
"""Folder below --out in which `train` works until it is done."""
WORK = ".texplain-work"
"""Folder below --out in which `explain` keeps the prior, and the translator if it trains one."""
RESULTS = ("sentences.jsonl", "words.csv", "cloud.png", "cloud.svg", "groups.png", "groups.csv")
"""The files that `explain` writes. The sentences come first because they say which class the others belong to."""


@contextmanager
def open_command(about: dict[str, Any], options: dict[str, Any], work: Path) -> Iterator[Session]:
    """Open what the flags of a command ask for.

    Parameters
    ----------
    about
        What the shared flags gave, see `xcore.session.subject`.
    options
        Options of texplain that the command's own flags gave.
    work
        Work folder, which keeps what later calls share. It is locked against other processes. It is removed afterwards
        if nothing in it is worth keeping, and so are its parents if they are new and empty.

    Raises
    ------
    UsageError, MissingError
        The request cannot be right, or another process works in the folder.
    """
    about["set"].setdefault("texplain", {}).update(options)
    with (
        _without_new_empty_folders(work.parent),
        open_session(["texplain"], about, work) as session,
        _without_leftovers(work),
    ):
        if len({str(cell.classifier) for cell in session.cells}) > 1:
            raise UsageError(
                "several classifiers are named, and this command takes one",
                "name one with --classifier; xcore bench compares several",
            )
        yield session


def translator_recipe(session: Session) -> Recipe:
    """How to make the translator that the flags ask for.

    It involves no class, so data set and classifier need not have any class in common.

    Raises
    ------
    MissingError
        There is no model for the role ``text-decoder``.
    """
    cell = session.cells[0]
    o = _explainer(session, cell).options
    if ROLE not in cell.models:
        raise MissingError(f"no model is named for the role {ROLE!r}", f"name one with --model {ROLE}=REF")
    reads_latents = o.features == "generator"
    generator = session.component("generator", cell.generator) if reads_latents and cell.generator else None
    probe, layer = open_probe(o, session.classifier(cell), session.layer(cell), generator)
    data = session.training_data(cell)
    height, width = data.samples(None, "train", 1, o.seed).images.shape[-2:]
    on_step = _TrainingProgress(session.reporter, f"training at {layer}", o.every)
    decoder = session.component("model", cell.models[ROLE])
    framing = getattr(session.classifier(cell), "framing", None)
    return Recipe(data, (height, width), probe, layer, decoder, o, on_step, framing)


def trained_translator(
    session: Session, cell: Cell, classifier: Classifier, size: tuple[int, int], captions: str, progress: Progress
) -> tuple[Path, Recipe]:
    """The folder of the translator for a classifier, trained if it does not exist yet, and its recipe.

    Parameters
    ----------
    classifier
        The classifier of the cell, or a network that was trained from it.
    size
        Height and width of its pictures in pixels.
    captions
        Reference of a data set whose captions are learned from; "" = the data set of the cell.

    Raises
    ------
    MissingError
        There is no model for the role ``text-decoder``, or there are no captions.
    """
    if ROLE not in cell.models:
        raise MissingError(f"no model is named for the role {ROLE!r}", f"name one with --model {ROLE}=REF")
    o: Options = session.explainer(cell).options
    layer, framing = cell.layer or classifier.default_layer, getattr(classifier, "framing", None)
    source: Any = session.component("dataset", Ref(captions)) if captions else session.training_data(cell)
    if captions and framing is not None and hasattr(source, "framed"):
        source = source.framed(framing)
    probe, decoder = classifier.open(layer), session.component("model", cell.models[ROLE])
    recipe = Recipe(source, size, probe, layer, decoder, o, progress, framing)
    return recipe.folder(o.translator, session.artifact), recipe


def task_of(session: Session, cell: Cell, out: Path, split: Split, group: str) -> tuple[Path, Task, TExplain]:
    """The folder for the words of a class, the task, and the method. With several classes, each has a folder.

    Parameters
    ----------
    split, group
        Which images are described; see `xcore.session.chosen`.
    """
    explainer = _explainer(session, cell)
    session.check(cell)
    session.reporter.begin_cell(cell)
    folder = out / slug(cell.cls) if len(session.cells) > 1 else out
    task = session.task(cell, folder)
    if (split, group) != ("explain", ""):
        n = cell.budget.samples
        samples = chosen(session.dataset(cell), task.target_name, split, group, n, cell.data_seed)
        task = replace(task, samples=samples)
    return folder, task, explainer


def check_words_folder(folder: Path, cls: str) -> None:
    """Raise `UsageError` if writing the words of this class to the folder would replace anything else."""
    hint = "name another folder with --out"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder", hint)
    existing = [name for name in RESULTS if (folder / name).exists()]
    if existing and (classes := _classes_in(folder)) != {cls}:
        what = f"words of {', '.join(map(repr, sorted(classes)))}" if classes else f"{existing[0]} of something else"
        raise UsageError(f"{folder} holds {what}, which would be replaced", hint)


def replace_words(files: Mapping[str, Path], folder: Path) -> None:
    """Move these files to the folder; they replace all that an earlier `explain` has written there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, path in files.items():
        path.replace(folder / name)


def translator_damage(folder: Path) -> str:
    """Why the translator in this folder cannot be loaded; empty if it can."""
    try:
        load_translator(folder)
    except XcoreError as error:
        return str(error)
    return ""


def _explainer(session: Session, cell: Cell) -> TExplain:
    if (modality := session.dataset(cell).modality) != "image":
        hint = "name a data set of images with --data"
        raise UsageError(f"texplain reads images, but the samples of data set {cell.data} are {modality}", hint)
    if (modality := session.classifier(cell).modality) != "image":
        hint = "name a classifier of images with --classifier"
        raise UsageError(f"texplain reads images, but classifier {cell.classifier} reads {modality}", hint)
    made: TExplain = session.explainer(cell)
    return made


def _classes_in(folder: Path) -> set[str]:
    """The classes that the sentences in the folder are about."""
    if not (folder / sentences.FILE).is_file():
        return set()
    try:
        return {row.cls for row in sentences.read(folder / sentences.FILE) if row.of == "class"}
    except XcoreError:  # another program's file of the same name
        return set()


@contextmanager
def _without_leftovers(work: Path) -> Iterator[None]:
    """Remove a work folder afterwards if it holds nothing that a later command reads. The caller holds its lock."""
    try:
        yield
    finally:
        if not any(_is_worth_keeping(path) for path in work.rglob("*")):
            shutil.rmtree(work, ignore_errors=True)


def _is_worth_keeping(path: Path) -> bool:
    """Whether a later command reads this file: it is no lock, and no features whose list is not written yet."""
    unfinished = path.name == "features.npy" and not path.with_suffix(".json").is_file()
    return path.is_file() and path.suffix != ".lock" and path.name != ".lock" and not unfinished


@contextmanager
def _without_new_empty_folders(folder: Path) -> Iterator[None]:
    """Remove this folder and its parents afterwards if they did not exist before and are empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


class _TrainingProgress:
    """Shows the progress of a training.

    A terminal shows a bar. Elsewhere a line is printed at the start, at every checkpoint and at the end.
    """

    def __init__(self, reporter: Reporter, what: str, every: int) -> None:
        self._reporter, self._what, self._every = reporter, what, every
        self._begun = False
        reporter.note(what)  # models and pairs are read before the first step

    def __call__(self, step: int, total: int, note: str = "") -> None:
        self._reporter.step(step, total, note)
        if self._reporter.live:
            return
        if not self._begun or step % self._every == 0 or step == total:
            self._reporter.warn(f"{self._what}: step {step}/{total}  {note}")
        self._begun = True
