"""The commands `xcore texplain train`, `explain` and `cloud`. Their bodies import late, so this module is light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.contract import UsageError
from xcore.session import Json, names, subject, takes
from xcore_texplain.figure_commands import add_to

if TYPE_CHECKING:
    from xcore_texplain.sentences import SentenceRow
    from xcore_texplain.words import Change, Word

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
ROWS = 12
"""Words in a table on the terminal; all of them are in the CSV file."""


@app.command()
@takes(subject)
def train(
    about: dict[str, Any],
    pairs: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="JSONL or CSV file with the columns image and caption; default: the data set's captions.",
        ),
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Most steps of training; default: 2000.")] = None,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Schedule of training: paper. --pairs then names a TOML file of sets.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Train a translator.

    It takes the features of a classifier's layer to a language model. If the training is interrupted, the same command
    continues it. Of the data set only pictures and captions are used, so its classes need not be those of the
    classifier, and --class, --samples and --contrast change nothing. The translator is written to --out (default:
    translator).

    Example: xcore texplain train --data folder:DIR --classifier timm:vit_base_patch16_384
    --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base --pairs captions.jsonl --out translator

    With --preset paper, it learns 20 epochs from Visual Genome, Conceptual Captions, CC12M and SBU, and 5 from COCO,
    512 pairs in each step. The TOML file that --pairs names says where the pairs of each set are.
    """
    from xcore.contract import digest
    from xcore.session import read_json
    from xcore_texplain.presets import PresetRecipe
    from xcore_texplain.session import TRAINING, open_command, translator_damage, translator_recipe
    from xcore_texplain.training import Recipe, remove_work_folder
    from xcore_texplain.translator import CONFIG

    out = Path(about["out"] or "translator")
    if preset and steps:
        raise UsageError("--preset says how long is trained, and so does --steps", "leave one of them out")
    given = {"pairs": pairs} if pairs and not preset else {}
    given |= {"steps": steps} if steps else {}  # type: ignore[dict-item]
    about["classes"] = about["classes"] or (["all"] if about["data"] else [])  # the class does not matter
    with open_command(about, given, out / TRAINING) as session:
        base = translator_recipe(session)
        recipe: Recipe | PresetRecipe = PresetRecipe(base, preset, pairs) if preset else base
        key, file = recipe.key, out / CONFIG
        known = read_json(file) if file.is_file() else {}
        if file.is_file() and known.get("key") != key:
            raise UsageError(
                f"{out} holds a translator that was trained on something else or with other settings",
                "name another folder with --out",
            )
        damage = translator_damage(out) if known else ""
        if finished := bool(known) and not damage:
            figures = known
            typer.echo(f"the translator in {out} is already trained, so nothing was done; its training:", err=True)
        else:
            if damage:
                typer.echo(f"{damage}; it is trained again", err=True)
            figures = recipe.make(out, out / TRAINING / digest(key))
        remove_work_folder(out / TRAINING)
    if as_json:
        from xcore.session import print_line

        print_line({"translator": str(out), **figures})
        return
    for note in figures["notes"]:
        typer.echo(note, err=True)
    typer.echo(
        f"{figures['pairs']} pairs, {figures['steps']} steps in {figures['seconds']:.0f} s, "
        f"validation loss {figures['validation_loss']:.3f}"
    )
    typer.echo(f"{'found' if finished else 'saved'} {out}")
    typer.echo(f"next: xcore texplain explain --translator {out} ...")


@app.command()
@takes(subject)
def explain(
    about: dict[str, Any],
    translator: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Folder that `train` wrote; default: a translator is trained and kept below --out."
        ),
    ] = "",
    sentences: Annotated[int | None, typer.Option(min=1, help="Sentences about each image; default: 100.")] = None,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="Which images are described: train, explain or heldout (test).")
    ] = "explain",
    group: Annotated[
        str, typer.Option(metavar="NAME", help="Describe only the images of this group; default: all of them.")
    ] = "",
    lexicon: Annotated[
        str, typer.Option(metavar="FILE", help="JSON file: class -> words that are of it, red in the cloud.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the explanation.")] = 0,
    as_json: Json = False,
) -> None:
    """Describe the features of a class in words.

    The command writes the sentences about the class, the figures of its words and a word cloud to --out (default:
    texplain); if several classes are named, each gets a folder of its own in it. No metrics are computed;
    `xcore explain texplain` does that.

    Example: xcore texplain explain --class zebra --out words

    Example: xcore texplain explain --class waterbird --split train --group "waterbird on water" --out words
    """
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from xcore.contract import seeded
    from xcore.inputs.splits import split_of
    from xcore.session import Findings, tell_failures
    from xcore_texplain.chosen import no_other_data
    from xcore_texplain.session import WORK, check_words_folder, open_command, replace_words, task_of
    from xcore_texplain.words import read_table

    out = Path(about["out"] or "texplain")
    given = {"translator": translator} if translator else {}
    given |= {"sentences": sentences} if sentences else {}  # type: ignore[dict-item]
    given |= {"lexicon": lexicon} if lexicon else {}
    of, failures = split_of(split), Findings()
    with open_command({**about, "seeds": [seed]}, given, out / WORK) as session:
        no_other_data(session, of)
        for cell in session.cells:
            try:
                folder, task, explainer = task_of(session, cell, out, of, group)
                check_words_folder(folder, task.target_name)
                with TemporaryDirectory(prefix=".writing-", dir=out / WORK) as made_in, seeded(seed):
                    explanation = explainer.explain(replace(task, workdir=Path(made_in)))
                    replace_words(explanation.files, folder)
                words = read_table(folder / "words.csv")
            except Exception as error:  # of one class, which must not lose the others
                if len(session.cells) == 1:
                    raise
                session.reporter.warn(str(failures.fail(cell.cls, error)))
                continue
            if as_json:
                from xcore.session import print_line

                typer.echo("\n".join(explanation.notes), err=True)
                for word in words:
                    print_line({"class": task.target_name, **vars(word)})
                continue
            typer.echo(f"{task.target_name}: {'; '.join(explanation.notes)}")
            _print_words(words, explainer.options.least)
            _print_saved(folder, sorted(explanation.files), as_json)
    tell_failures(failures)


@app.command()
def cloud(
    sentences: Annotated[
        str, typer.Argument(metavar="SENTENCES", help="A file sentences.jsonl, or a folder that contains one.")
    ],
    against: Annotated[
        str,
        typer.Option(metavar="SENTENCES", help="A second such file: show the words that it gains and loses."),
    ] = "",
    group: Annotated[
        str, typer.Option(metavar="A[,B]", help="Use only this group of images, or compare group A with group B.")
    ] = "",
    drop: Annotated[str, typer.Option(metavar="A,B", help="Words to leave out, comma-separated.")] = "",
    least: Annotated[
        float,
        typer.Option(min=0, max=1, help="Leave out words that are in a smaller share of the sentences than this."),
    ] = 0.02,
    lexicon: Annotated[
        str, typer.Option(metavar="FILE", help="JSON file: class -> words that are of it, red in the cloud.")
    ] = "",
    out: Annotated[str, typer.Option(metavar="DIR", help="Where to write; default: the current folder.")] = ".",
    as_json: Json = False,
) -> None:
    """Draw saved words again, or compare two groups.

    SENTENCES is a file sentences.jsonl that `explain` wrote, or a folder that contains one. Without --against and with
    at most one --group, its word cloud is drawn again; otherwise the words of two groups of images are compared.

    Example: xcore texplain cloud words/zebra --drop animal --out zebra

    Example: xcore texplain cloud train/waterbird --against test/waterbird --out change
    """
    from xcore_texplain.cloud import draw_changes, draw_cloud
    from xcore_texplain.habits import habits_note
    from xcore_texplain.lexicon import read_lexicon
    from xcore_texplain.sentences import read
    from xcore_texplain.words import write_table

    groups = names(group)
    if len(groups) > 2 or (against and len(groups) > 1):
        raise UsageError(f"--group {group!r} names too many groups", "name one, or two without --against")
    first = _rows_of_group(read(Path(sentences)), groups[0] if groups else "")
    if against or len(groups) == 2:
        other = read(Path(against)) if against else read(Path(sentences))
        second = _rows_of_group(other, groups[-1] if groups else "")
        labels = (groups[0], groups[1]) if len(groups) == 2 else (sentences, against)
        changes = _changes(first, second, drop, least)
        folder = _output_folder(out, changes, least)
        write_table(changes, folder / "changes.csv")
        draw_changes(changes, labels, folder / "changes.png")
        _print_changes(changes, as_json)
        return _print_saved(folder, ["changes.png", "changes.csv"], as_json)
    cls = next((r.cls for r in first if r.of == "class"), "")
    known = read_lexicon(lexicon, [*dict.fromkeys(r.cls for r in first if r.of == "class")])
    words, habits = _words(first, drop, lambda word: known.is_own(word, cls))
    folder = _output_folder(out, [w for w in words if w.freq >= least], least)
    write_table(words, folder / "words.csv")
    files = draw_cloud(words, cls, folder, least, lexicon=known)
    for note in habits_note(habits, least):
        typer.echo(note, err=True)
    if as_json:
        from xcore.session import print_line

        for word in words:
            print_line(vars(word))
    else:
        _print_words(words, least)
    return _print_saved(folder, [*files, "words.csv"], as_json)


@app.command()
@takes(subject)
def shortcuts(
    about: dict[str, Any],
    lexicon: Annotated[
        str, typer.Option(metavar="FILE", help="JSON file: class -> words that are of it; * = of every class.")
    ] = "",
    captions: Annotated[
        str, typer.Option(metavar="REF", help="Data set whose captions the translator learns from; default: the same.")
    ] = "",
    evidence: Annotated[
        str, typer.Option(metavar="A,B", help="What says that a word is used: observed, factorial, edited.")
    ] = "observed",
    split: Annotated[str, typer.Option(metavar="SPLIT", help="Images to describe: train or explain.")] = "train",
    minimum: Annotated[
        float, typer.Option(help="Least effect of a word that is used, as a share of the gap of the class.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Name the words that dominate a class and are not of it.

    A word is in the features if it is said more often about the class than about all classes, and used if evidence in
    context marks it. Words that are used and not of the class come first. Tables and pictures are written to --out
    (default: shortcuts).

    Example: xcore texplain shortcuts --data folder:waterbirds --classifier file:model.safetensors
    --captions table:captions.csv --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base
    --model image-text=clip:openai/clip-vit-base-patch32
    """
    from xcore.session import publish
    from xcore_texplain.shortcuts import ShortcutOptions, found_shortcuts

    out = Path(about["out"] or "shortcuts")
    options = ShortcutOptions(lexicon, captions, tuple(names(evidence)), split, minimum)
    findings = found_shortcuts(about, options, out)
    publish(findings, out, as_json)


@app.command()
@takes(subject)
def repair(
    about: dict[str, Any],
    train: Annotated[
        bool, typer.Option("--train", help="Train a start for each seed, with a new head; else the classifier is it.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds; the cures of a seed share its start.")] = 5,
    cures: Annotated[str, typer.Option(metavar="A,B", help="Cures to compare; default: all.")] = "",
    captions: Annotated[
        str, typer.Option(metavar="REF", help="Data set whose captions the translator learns from; default: the same.")
    ] = "",
    lexicon: Annotated[
        str, typer.Option(metavar="FILE", help="JSON file: class -> words that are of it; * = of every class.")
    ] = "",
    words: Annotated[
        str, typer.Option(metavar="A,B", help="Take only these words for shortcuts; default: all not of the class.")
    ] = "",
    concepts: Annotated[
        str, typer.Option(metavar="A,B", help="Concepts of the bank of DISC; default: those of the data.")
    ] = "",
    images: Annotated[int, typer.Option(min=2, help="Most training images of each class.")] = 1000,
    validation_images: Annotated[int, typer.Option(min=2, help="Most validation images of each class.")] = 1000,
    test_images: Annotated[int, typer.Option(min=2, help="Most test images of each class.")] = 1000,
    sentences: Annotated[int, typer.Option(min=2, help="Sentences about each training image.")] = 30,
    deviations: Annotated[
        float, typer.Option(help="Mask where a map is above its mean by so many standard deviations.")
    ] = 2.0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each cure.")] = 3,
    lr: Annotated[str, typer.Option(metavar="A,B", help="Learning rates, of which the validation chooses.")] = "",
    start_epochs: Annotated[int, typer.Option(min=1, help="With --train: epochs of the start.")] = 10,
    start_lr: Annotated[float, typer.Option(help="With --train: learning rate of the start.")] = 1e-3,
    batch: Annotated[int, typer.Option(min=2, help="Images in a step of training.")] = 32,
    as_json: Json = False,
) -> None:
    """Repair a classifier that has learned a shortcut.

    Training images whose most frequent word is not of their class are flagged, what the word comes from is masked, and
    the classifier is fine-tuned on the masked images. The table compares the accuracy of each group of the test images
    with that of other cures from the same start: random images masked, groups equally often, group DRO, a new last
    layer, and DISC. Networks, masks and pictures are kept in --out (default: repair), and an interrupted command goes
    on.

    Example: xcore texplain repair --data folder:waterbirds --classifier timm:vit_base_patch16_384 --train
    --captions table:captions.csv --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base
    """
    from dataclasses import replace

    from xcore.session import publish
    from xcore_texplain.repair import found_repair
    from xcore_texplain.repair_options import RepairOptions

    options = RepairOptions(
        train=train, seeds=seeds, captions=captions, lexicon=lexicon, images=images,
        validation_images=validation_images, test_images=test_images, sentences=sentences, deviations=deviations,
        epochs=epochs, start_epochs=start_epochs, start_lr=start_lr, batch=batch,
        words=tuple(names(words)), concepts=tuple(names(concepts)),
    )  # fmt: skip
    if cures:
        options = replace(options, cures=tuple(names(cures)))
    if lr:
        options = replace(options, lrs=_rates(lr))
    out = Path(about["out"] or "repair")
    finding = found_repair(about, options, out)
    publish([finding], out, as_json)


def _rows_of_group(rows: list[SentenceRow], group: str) -> list[SentenceRow]:
    """The rows about images of a group, and those of the prior."""
    known = {row.group for row in rows if row.of == "class"}
    if not known:
        raise UsageError(
            "the file has no sentences about images of a class", "name a file that `xcore texplain explain` wrote"
        )
    if group and known == {""}:
        raise UsageError(
            f"--group {group!r}: the images of these sentences have no groups",
            "leave --group out, or make the sentences from a data set that names groups",
        )
    if group and group not in known:
        from xcore.contract import unknown

        raise unknown("group", group, known)
    return [row for row in rows if row.of != "class" or not group or row.group == group]


def _words(rows: list[SentenceRow], drop: str, is_own: Callable[[str], bool]) -> tuple[list[Word], list[Word]]:
    """The words about a class, and the habits of the language model that are left out."""
    from xcore_texplain.habits import without_habits
    from xcore_texplain.words import compare_with_prior, count_words, lemmas_of

    counts = {
        of: count_words([row.sentences for row in rows if row.of == of], lemmas_of([drop]))
        for of in ("class", "shuffled", "mean")
    }
    if lacking := [of for of, found in counts.items() if not len(found.sentences)]:
        raise UsageError(
            f"the file has no sentences of the prior {lacking[0]!r} to compare with",
            "name a file that `xcore texplain explain` wrote",
        )
    words = compare_with_prior(counts["class"], counts["shuffled"], counts["mean"], 1000, 0)
    return without_habits(words, counts["shuffled"], is_own)


def _changes(first: list[SentenceRow], second: list[SentenceRow], drop: str, least: float) -> list[Change]:
    from xcore_texplain.words import compare_groups, count_words, lemmas_of

    before, after = (
        count_words([row.sentences for row in rows if row.of == "class"], lemmas_of([drop])) for rows in (first, second)
    )
    return [change for change in compare_groups(before, after) if max(change.before, change.after) >= least]


def _output_folder(out: str, words: Sequence[Word] | Sequence[Change], least: float) -> Path:
    """Make the folder that pictures go to; raise `UsageError` if there are no words to draw."""
    if not words:
        raise UsageError(
            f"no word is left: none is in {least:.0%} of the sentences",
            "lower --least, or name fewer words with --drop",
        )
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}", "name another folder with --out") from error
    return folder


def _print_words(words: list[Word], least: float) -> None:
    """Print the first words of those that are in at least this share of the sentences."""
    typer.echo(f"{'word':<20} share of sentences    over prior            lift over shuffled, mean feature")
    for w in [w for w in words if w.freq >= least][:ROWS]:
        freq = f"{w.freq:.2f} {_interval(w.lo, w.hi, '.2f')}"
        over = f"{w.over:+.2f} {_interval(w.over_lo, w.over_hi)}"
        lifts = f"{_lift(w.lift_shuffled)} {_lift(w.lift_mean)}"
        typer.echo(f"{w.word:<20} {freq:<21} {over:<21} {lifts}{_mark(w.over_lo, w.over_hi)}")


def _print_changes(changes: list[Change], as_json: bool) -> None:
    if as_json:
        from xcore.session import print_line

        for row in changes:
            print_line({**vars(row), "sure": row.sure})
        return
    for title, rows in (("gained", changes), ("lost", changes[::-1])):
        sign = 1 if title == "gained" else -1
        typer.echo(f"{title:<20} before  after  change")
        for row in [r for r in rows if sign * r.change > 0][:ROWS]:
            bounds = _interval(row.lo, row.hi) + _mark(row.lo, row.hi)
            typer.echo(f"{row.word:<20} {row.before:.2f}    {row.after:.2f}   {row.change:+.2f} {bounds}")


def _rates(text: str) -> tuple[float, ...]:
    """Learning rates from a text such as 1e-5,1e-4."""
    try:
        return tuple(float(part) for part in names(text))
    except ValueError as error:
        raise UsageError(f"--lr {text!r} is no list of numbers", "write --lr 1e-5,1e-4") from error


def _print_saved(folder: Path, files: list[str], as_json: bool) -> None:
    if not as_json:
        typer.echo(f"saved {', '.join(str(folder / name) for name in files)}")


def _lift(lift: float) -> str:
    """A ratio to one decimal. How far it exceeds 99 depends on the number of sentences more than on the word."""
    return f"{'>99' if lift > 99 else f'{lift:.1f}':>6}"


def _interval(lo: float | None, hi: float | None, spec: str = "+.2f") -> str:
    return "no interval" if lo is None or hi is None else f"[{lo:{spec}}, {hi:{spec}}]"


def _mark(lo: float | None, hi: float | None) -> str:
    return "" if lo is None or hi is None or lo > 0 or hi < 0 else "  (interval includes 0)"


add_to(app)
