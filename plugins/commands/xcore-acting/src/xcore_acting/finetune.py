"""`xcore finetune`: train a classifier further on images of chosen concepts. Light at import."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.contract import UsageError, digest
from xcore.session import Json, open_session, subject, takes

if TYPE_CHECKING:
    from xcore.contract import Classifier
    from xcore.session import Finding, Found
    from xcore_acting.finetune_samples import Sets
    from xcore_acting.finetune_training import Optimiser, Trained

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
MODEL = "model"
"""Folder of the fine-tuned classifier in that of the finding."""


def finetune(
    classifier: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    generated: Sequence[str] = (),
    drawings: int = 100,
    masked: str = "",
    fill: str = "swap",
    augment: Sequence[str] = (),
    concepts: Sequence[str] = (),
    share: float = 0.5,
    each: int = 100,
    replace: bool = False,
    validation: float = 0.2,
    frozen: Sequence[str] = (),
    batch_norm: str = "keep",
    optimiser: Optimiser = "adamw",
    lr: float = 3e-4,
    weight_decay: float = 0.01,
    epochs: int = 20,
    patience: int = 4,
    batch: int = 32,
    seed: int = 0,
    out: str | Path = "",
    **keys: Any,
) -> Finding:
    """Train a classifier further on drawn, masked or augmented images of chosen classes and concepts.

    It is trained on unchanged samples of every class of the data's training part, so that it does not forget, and on
    the new ones. The epoch with the lowest loss on a validation part is kept; an interrupted training goes on. The
    reference ``tuned:OUT`` opens what comes out.

    Parameters
    ----------
    classifier
        Reference of a network of torch; "" = that of the data.
    data
        Reference of the data set; "" = that of the default suite.
    classes
        The classes whose images are changed or drawn; ("all",) = all of the data, for masks and augmentations.
    generated, drawings
        Prompts, and how many images of all of them together are drawn. They are of the one class that is named.
    masked
        "background", "foreground" (by the masks of the data), "map" (where the classifier looks), or, of texts,
        "words" (the concepts are taken out).
    fill
        What masked parts are replaced by: "swap" (the same part of images of other classes), "mean" or "noise".
    augment
        Random changes: "flip", "crop", "colour", "grey", "blur".
    concepts, share
        Phrases: only the samples in which one is most present are masked or augmented, this share of each class.
    each
        Unchanged samples of each class.
    replace
        Leave out the unchanged samples of which changed ones are made.
    validation
        Share of the samples by whose loss the training is stopped.
    frozen
        Patterns of parameters that keep their values, such as ``"layer1.*"``.
    batch_norm
        "keep" the running statistics of batch norms, or "update" them.
    optimiser, lr, weight_decay, epochs, patience, batch, seed
        Settings of the training: "adamw" or "sgd" (momentum 0.9), at most so many epochs, and epochs without a lower
        validation loss after which it stops.
    out
        Folder to write to; "" = ``finetune``.
    **keys
        Keys of a suite file, such as ``generator``, ``models``, ``set`` and ``budget``.

    Returns
    -------
    The accuracy before and after on held-out samples: of all, of each class and of each group.

    Raises
    ------
    UsageError
        What is asked for does not go together, or a name is wrong.
    MissingError
        The data have no masks, or there is no generator.
    NotApplicable
        The classifier is no network of torch that gives logits.
    """
    from xcore_acting.finetune_samples import Changes
    from xcore_acting.finetune_training import Recipe, as_plain
    from xcore_acting.finetune_tuned import copy_to, save

    out = Path(out or "finetune")
    changes = Changes(
        tuple(generated), drawings, masked, fill, tuple(augment), tuple(concepts), share
    )  # fmt: skip
    recipe = Recipe(lr, epochs, patience, batch, optimiser, weight_decay, tuple(frozen), batch_norm, seed)
    changes.check()
    recipe.check()
    if not 0 < validation < 1:
        raise UsageError(f"validation is {validation:g}", "--validation takes a share above 0 and below 1")
    if each < 2:
        raise UsageError(f"each is {each}", "--each takes a whole number from 2")
    # The method is only asked for its cells. With drawn scenes it needs no helper model, and may use a generator.
    settings = {**keys.pop("set", {})}
    if wrong := sorted(settings.get("surrogate", {})):
        raise UsageError(f"surrogate.{wrong[0]} is not used here", "finetune computes no evidence: leave it out")
    settings["surrogate"] = {"evidence": "factorial"}
    about = {"classifiers": [classifier] if classifier else [], "data": data, "classes": list(classes), "set": settings}
    asked = {
        "changes": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(changes).items()},
        "recipe": as_plain(recipe),
        "each": each,
        "replace": replace,
        "validation": validation,
    }
    with open_session(["surrogate"], {**about, **keys}, out / ".work", seeds=[seed]) as session:
        cell = session.cells[0]
        named = list(dict.fromkeys(c.cls for c in session.cells))
        if not classes and generated:
            raise UsageError("drawings are of one class, and none is named", "name it with --class")
        for each_cell in session.cells:
            session.check(each_cell)
        work = out / ".work" / f"training.{digest([cell.classifier.text, cell.data.text, named, seed, asked])[:16]}"

        def make(folder: Path) -> Found:
            from xcore_acting.finetune_samples import sets
            from xcore_acting.finetune_training import check_trainable, train
            from xcore_acting.shift_accuracy import held_out

            task = session.task(cell, folder)
            before = check_trainable(task.classifier)
            given = sets(task, _known(before, named), changes, each, validation, replace)
            trained = train(before, given.training, given.validation, recipe, work, task.progress)
            save(folder / MODEL, trained.state, cell.classifier, before.classes, asked)
            samples = held_out(session.dataset(cell), before.classes, cell.budget.heldout, cell.data_seed)
            return _told(folder, cell.classifier.text, named, before, trained, given, samples)

        found = session.finding("finetune", {"classes": named, **asked}, cell, make, out=out)
        copy_to(found.folder / MODEL, out)
        shutil.rmtree(work, ignore_errors=True)
        return found


def _known(classifier: Classifier, names: Sequence[str]) -> list[str]:
    """The classes by the names that the classifier has for them."""
    from xcore.inputs.class_names import ClassNames

    known = ClassNames(classifier.classes, getattr(classifier, "aliases", None))
    return [known.match(name, ()) or name for name in names]


def _told(
    folder: Path, ref: str, named: Sequence[str], before: Classifier, trained: Trained, given: Sets, samples: Any
) -> Found:
    """The table of accuracies, the picture, and how the training went."""
    from xcore.session import Column, Found
    from xcore_acting.finetune_chart import draw
    from xcore_acting.shift_accuracy import accuracies

    draw(folder / "finetune.png", trained, given)
    rows = []
    if samples is not None:
        for (kind, name), part in accuracies(before, trained.classifier(before), samples).items():
            figures = {"before": part.before, "after": part.after, "difference": part.difference}
            rows.append({"of": kind, "name": name, "n": part.n, **figures, "lo": part.lo, "hi": part.hi, "p": part.p})
    last = len(trained.history) - 1
    notes = [
        f"of {last} epochs the {_ordinal(trained.best)} has the lowest validation loss and is kept: "
        f"{trained.history[trained.best]['validation_loss']:.3f}, before the training "
        f"{trained.history[0]['validation_loss']:.3f} nats",
        *trained.notes,
        *given.notes,
    ]
    if trained.best == 0:
        notes.insert(0, "no epoch lowered the validation loss, so that the classifier is as it was: try another --lr")
    if samples is None:
        notes.append("accuracy was not measured: the data hold out no samples")
    return Found(
        title=f"{ref} fine-tuned on {', '.join(named)}",
        columns=(
            Column("of", "Of", ""),
            Column("name", "Name", ""),
            Column("n", "n", "held-out samples"),
            Column("before", "Before", "share of them that the classifier gets right", 2),
            Column("after", "After", "the same after the training", 2),
            Column("difference", "Difference", "after less before, of the same samples", 2),
            Column("lo", "from", "95 % interval of the difference (Agresti and Min)", 2),
            Column("hi", "to", "", 2),
            Column("p", "p", "exact McNemar test, not corrected", 4),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
        pictures={"finetune.png": "losses by epoch, and some of the new samples beside what they were made of"},
        figures={"history": list(trained.history), "best": trained.best},
    )


def _ordinal(n: int) -> str:
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


@app.command()
@takes(subject)
def command(
    about: dict[str, Any],
    generated: Annotated[
        list[str], typer.Option(metavar="PROMPT", help="Draw images of the class from this prompt; may be repeated.")
    ] = [],  # noqa: B006 (typer reads the default)
    drawings: Annotated[int, typer.Option(metavar="N", help="Drawings of all prompts together.")] = 100,
    masked: Annotated[
        str, typer.Option(metavar="PART", help="Mask the background, the foreground, a map, or, of texts, words.")
    ] = "",
    fill: Annotated[str, typer.Option(metavar="HOW", help="Fill masked parts: swap, mean or noise.")] = "swap",
    augment: Annotated[str, typer.Option(metavar="A,B", help="Augment: flip, crop, colour, grey, blur.")] = "",
    concept: Annotated[
        list[str],
        typer.Option(metavar="PHRASE", help="Mask or augment samples with this concept only; may be repeated."),
    ] = [],  # noqa: B006
    share: Annotated[float, typer.Option(help="Share of a class in which a concept is most present.")] = 0.5,
    each: Annotated[int, typer.Option(metavar="N", help="Unchanged samples of each class.")] = 100,
    replace: Annotated[bool, typer.Option("--replace", help="Leave out the originals of changed samples.")] = False,
    validation: Annotated[float, typer.Option(help="Share of the samples that stop the training.")] = 0.2,
    frozen: Annotated[str, typer.Option(metavar="A,B", help="Parameters to freeze, e.g. 'conv1.*,layer1.*'.")] = "",
    batch_norm: Annotated[str, typer.Option(metavar="HOW", help="Statistics of batch norms: keep or update.")] = "keep",
    optimiser: Annotated[str, typer.Option(metavar="NAME", help="adamw or sgd.")] = "adamw",
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 3e-4,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.01,
    epochs: Annotated[int, typer.Option(help="Most epochs.")] = 20,
    patience: Annotated[int, typer.Option(help="Epochs without a lower validation loss before it stops.")] = 4,
    batch: Annotated[int, typer.Option(help="Samples in each step.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a classifier further on drawn, masked or augmented images of a class.

    The fine-tuned classifier is written to --out (default: finetune), and the reference tuned:OUT opens it, for
    instance in `xcore shift A tuned:OUT`. Unchanged samples of every class are trained on, too. The same command
    continues an interrupted training.

    Example: xcore finetune --classifier timm:resnet50 --data folder:DIR --class zebra --masked background --out swapped

    Example: xcore finetune --data minizoo --class zebra --generated 'a zebra, striped' --drawings 100
    """
    from xcore.session import names, publish

    classifiers = about.pop("classifiers")
    if len(classifiers) > 1:
        raise UsageError("one classifier is fine-tuned at a time", "name one with --classifier")
    out = Path(about.pop("out") or "finetune")
    found = finetune(
        *classifiers,
        generated=generated,
        drawings=drawings,
        masked=masked,
        fill=fill,
        augment=names(augment),
        concepts=concept,
        share=share,
        each=each,
        replace=replace,
        validation=validation,
        frozen=names(frozen),
        batch_norm=batch_norm,
        optimiser=optimiser,  # type: ignore[arg-type]
        lr=lr,
        weight_decay=weight_decay,
        epochs=epochs,
        patience=patience,
        batch=batch,
        seed=seed,
        out=out,
        **about,
    )
    publish([found], out, as_json)
    typer.echo(f"next: xcore shift {found.about['classifier']} tuned:{out} ...", err=as_json)
