"""`xcore texplain train | explain | cloud`. Light: every body imports late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.errors import UsageError
from xcore.flags import Json, names, subject, takes

if TYPE_CHECKING:
    from xcore_texplain.counts import Change, Word
    from xcore_texplain.opened import Opened

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
SHOWN = 12


@app.command()
@takes(subject)
def train(
    about: dict[str, Any],
    pairs: Annotated[
        str, typer.Option(metavar="FILE", help="JSONL or CSV of image and caption; default: the data set's captions.")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training, at most; default: 2000.")] = None,
    as_json: Json = False,
) -> None:
    """Train a translator from a classifier's layer to a language model. The same command goes on after a stop.

    Pictures and captions are all that is read of the data set: its classes need not be the classifier's, and --class,
    --samples and --contrast change nothing. Default of --out: translator.

    Example: xcore texplain train --data folder:DIR --classifier timm:vit_base_patch16_384
    --model text-decoder=blip-decoder:Salesforce/blip-image-captioning-base --pairs captions.jsonl --out translator
    """
    from xcore.identity import digest
    from xcore.store import read_json
    from xcore_texplain.folders import TRAINING, damage
    from xcore_texplain.train import clear
    from xcore_texplain.translator import CONFIG

    out = Path(about["out"] or "translator")
    given = {"pairs": pairs} if pairs else {}
    given |= {"steps": steps} if steps else {}  # type: ignore[dict-item]
    about["classes"] = about["classes"] or (["all"] if about["data"] else [])  # any will do
    with _opened(about, given, out / TRAINING) as opened:
        recipe = opened.recipe()
        key, file = recipe.key, out / CONFIG
        known = read_json(file) if file.is_file() else {}
        if file.is_file() and known.get("key") != key:
            raise UsageError(f"{out} holds a translator of something else", "name another folder with --out")
        fault = damage(out) if known else ""
        if done := bool(known) and not fault:
            figures = known
            typer.echo(f"{out} is trained already, nothing was done; its training:", err=True)
        else:
            if fault:
                typer.echo(f"{fault}; it is trained again", err=True)
            figures = recipe.make(out, out / TRAINING / digest(key))
        clear(out / TRAINING)
    if as_json:
        from xcore.listing import print_line

        print_line({"translator": str(out), **figures})
        return
    for note in figures["notes"]:
        typer.echo(note, err=True)
    typer.echo(
        f"{figures['pairs']} pairs, {figures['steps']} steps in {figures['seconds']:.0f} s, "
        f"validation loss {figures['validation_loss']:.3f}"
    )
    typer.echo(f"{'found' if done else 'saved'} {out}  xcore texplain explain --translator {out} ...")


@app.command()
@takes(subject)
def explain(
    about: dict[str, Any],
    translator: Annotated[
        str, typer.Option(metavar="DIR", help="What `train` wrote; default: train one, kept below --out.")
    ] = "",
    sentences: Annotated[int | None, typer.Option(min=1, help="Sentences for an image; default: 100.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    as_json: Json = False,
) -> None:
    """Say what is in the features of a class: its words, sentences and word cloud. No metrics; see xcore explain.

    Default of --out: texplain; several classes get a folder each.

    Example: xcore texplain explain --class zebra --out words
    """
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from xcore.guard import seeded
    from xcore_texplain.counts import read_table
    from xcore_texplain.folders import WORK, put, refuse

    out = Path(about["out"] or "texplain")
    given = {"translator": translator} if translator else {}
    given |= {"sentences": sentences} if sentences else {}  # type: ignore[dict-item]
    with _opened({**about, "seeds": [seed]}, given, out / WORK) as opened:
        for folder, task, explainer in opened.tasks(out):
            refuse(folder, task.target_name)
            with TemporaryDirectory(prefix=".writing-", dir=out / WORK) as made_in, seeded(seed):
                made = explainer.explain(replace(task, workdir=Path(made_in)))
                put(made.files, folder)
            words = read_table(folder / "words.csv")
            if as_json:
                from xcore.listing import print_line

                typer.echo("\n".join(made.notes), err=True)
                for word in words:
                    print_line({"class": task.target_name, **vars(word)})
                continue
            typer.echo(f"{task.target_name}: {'; '.join(made.notes)}")
            _show_words(words, explainer.options.least)
            _saved(folder, sorted(made.files), as_json)


@app.command()
def cloud(
    sentences: Annotated[str, typer.Argument(metavar="SENTENCES", help="sentences.jsonl, or a folder that holds one.")],
    against: Annotated[
        str, typer.Option(metavar="SENTENCES", help="A second group: words that it gains and loses.")
    ] = "",
    group: Annotated[str, typer.Option(metavar="A[,B]", help="Only this group of images, or A against B.")] = "",
    drop: Annotated[str, typer.Option(metavar="A,B", help="Words that are no concepts.")] = "",
    least: Annotated[float, typer.Option(min=0, max=1, help="Leave out words in a smaller share of sentences.")] = 0.02,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where to write; default: here.")] = ".",
    as_json: Json = False,
) -> None:
    """Draw the word cloud of kept sentences again, or compare two groups.

    Example: xcore texplain cloud words/zebra --drop animal --out zebra

    Example: xcore texplain cloud train/waterbird --against test/waterbird --out change
    """
    from xcore_texplain import cloud as draw
    from xcore_texplain.said import read

    parts = names(group)
    if len(parts) > 2 or (against and len(parts) > 1):
        raise UsageError(f"--group {group!r} names too many groups", "one, or two without --against")
    first = _part(read(Path(sentences)), parts[0] if parts else "")
    if against or len(parts) == 2:
        other = read(Path(against)) if against else read(Path(sentences))
        second = _part(other, parts[-1] if parts else "")
        labels = (parts[0], parts[1]) if len(parts) == 2 else (sentences, against)
        changed = _compare(first, second, drop, least)
        folder = _folder(out, changed, least)
        draw.table(changed, folder / "changes.csv")
        draw.changes(changed, labels, folder / "changes.png")
        _show_changes(changed, as_json)
        return _saved(folder, ["changes.png", "changes.csv"], as_json)
    words = _weigh(first, drop)
    folder = _folder(out, [w for w in words if w.freq >= least], least)
    draw.table(words, folder / "words.csv")
    files = draw.cloud(words, next((r.cls for r in first if r.of == "class"), ""), folder, least)
    if as_json:
        from xcore.listing import print_line

        for word in words:
            print_line(vars(word))
    else:
        _show_words(words, least)
    return _saved(folder, [*files, "words.csv"], as_json)


@contextmanager
def _opened(about: dict[str, Any], given: dict[str, Any], work: Path) -> Iterator[Opened]:
    """What the flags ask for; folder `work` keeps what is shared, and other processes away."""
    from xcore.api import request
    from xcore.plan import make_plan
    from xcore.progress import for_stderr
    from xcore.registry import load_registry
    from xcore.store import Store
    from xcore.task import Workbench
    from xcore_texplain.folders import leaving_none, tidied
    from xcore_texplain.opened import Opened

    registry = load_registry(about["plugins"])
    about["set"].setdefault("texplain", {}).update(given)
    keys = {key: value for key, value in about.items() if key not in ("plugins", "out")}
    plan = make_plan(request(["texplain"], "" if about["data"] else "default", {**keys, "baselines": []}), registry)
    if len({str(cell.classifier) for cell in plan.cells}) > 1:
        raise UsageError("several classifiers are named", "name one with --classifier; for more: xcore bench")
    with leaving_none(work.parent):
        store = Store(work)
        with store.locked(), tidied(work), for_stderr() as reporter:
            reporter.begin(0, 0)
            yield Opened(plan.cells, Workbench(registry, store), reporter)


def _folder(out: str, words: Sequence[Any], least: float) -> Path:
    """The folder that pictures go to, if there are words for them."""
    if not words:
        raise UsageError(f"no word that is kept is in {least:.0%} of the sentences", "lower --least, or --drop fewer")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}", "choose another folder with --out") from error
    return folder


def _part(rows: list[Any], group: str) -> list[Any]:
    """Rows of a group; those of the prior stay."""
    known = {row.group for row in rows if row.of == "class"}
    if not known:
        raise UsageError("there are no sentences about images of a class", "name what texplain wrote")
    if group and known == {""}:
        raise UsageError("these sentences name no groups", "the data set they were made from has none")
    if group and group not in known:
        from xcore.errors import unknown

        raise unknown("group", group, known)
    return [row for row in rows if row.of != "class" or not group or row.group == group]


def _weigh(rows: list[Any], drop: str) -> list[Word]:
    from xcore_texplain.counts import count, weigh
    from xcore_texplain.words import dropped

    counted = {
        of: count([row.sentences for row in rows if row.of == of], dropped([drop]))
        for of in ("class", "shuffled", "mean")
    }
    if lacking := [of for of, found in counted.items() if not len(found.sentences)]:
        raise UsageError(f"there are no sentences of {lacking[0]!r} to compare with", "name what texplain wrote")
    return weigh(counted["class"], counted["shuffled"], counted["mean"], 1000, 0)


def _compare(one: list[Any], two: list[Any], drop: str, least: float) -> list[Change]:
    from xcore_texplain.counts import compare, count
    from xcore_texplain.words import dropped

    before, after = (
        count([row.sentences for row in rows if row.of == "class"], dropped([drop])) for rows in (one, two)
    )
    return [change for change in compare(before, after) if max(change.before, change.after) >= least]


def _show_words(words: list[Word], least: float) -> None:
    """The first words of those in this share of sentences at least; all are in words.csv."""
    typer.echo(f"{'word':<20} share of sentences    over prior            lift over shuffled, mean feature")
    for w in [w for w in words if w.freq >= least][:SHOWN]:
        freq = f"{w.freq:.2f} {_interval(w.lo, w.hi, '.2f')}"
        over = f"{w.over:+.2f} {_interval(w.over_lo, w.over_hi)}"
        lifts = f"{_lift(w.lift_shuffled)} {_lift(w.lift_mean)}"
        typer.echo(f"{w.word:<20} {freq:<21} {over:<21} {lifts}{_mark(w.over_lo, w.over_hi)}")


def _show_changes(changed: list[Change], as_json: bool) -> None:
    if as_json:
        from xcore.listing import print_line

        for row in changed:
            print_line({**vars(row), "sure": row.sure})
        return
    for title, rows in (("gained", changed), ("lost", changed[::-1])):
        sign = 1 if title == "gained" else -1
        typer.echo(f"{title:<20} before  after  change")
        for row in [r for r in rows if sign * r.change > 0][:SHOWN]:
            bounds = _interval(row.lo, row.hi) + _mark(row.lo, row.hi)
            typer.echo(f"{row.word:<20} {row.before:.2f}    {row.after:.2f}   {row.change:+.2f} {bounds}")


def _lift(lift: float) -> str:
    """A ratio to one decimal; how far beyond 99 depends on the number of sentences more than on the word."""
    return f"{'>99' if lift > 99 else f'{lift:.1f}':>6}"


def _interval(lo: float | None, hi: float | None, spec: str = "+.2f") -> str:
    return "no interval" if lo is None or hi is None else f"[{lo:{spec}}, {hi:{spec}}]"


def _mark(lo: float | None, hi: float | None) -> str:
    return "" if lo is None or hi is None or lo > 0 or hi < 0 else "  (interval holds 0)"


def _saved(folder: Path, files: list[str], as_json: bool) -> None:
    if not as_json:
        typer.echo(f"saved {', '.join(str(folder / name) for name in files)}")
