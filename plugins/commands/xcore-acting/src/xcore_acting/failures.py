"""`xcore failures`: the combinations of tags under which a classifier fails most. Light; it computes in other modules.

After Rezaei et al., PRIME: Prioritizing Interpretability in Failure Mode Extraction, ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.contract import UsageError, unknown
from xcore.session import Json, names, open_session, subject, takes

if TYPE_CHECKING:
    from xcore.session import Findings

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
NAME = "failures"
"""Default of --out."""
KINDS = ("missed", "mistaken")
"""What is asked of a class: which of its samples are not taken for it, and which others are."""
SAMPLES = 600
"""Samples of the class, and as many of all others together."""


def failures(
    classifier: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    out: str | Path = "",
    split: Sequence[str] = ("heldout",),
    kinds: Sequence[str] = KINDS,
    tags: Sequence[str] = (),
    phrases: Sequence[str] = (),
    vocabulary: str = "",
    questions: Sequence[str] = (),
    samples: int = SAMPLES,
    clusters: int = 5,
    seed: int = 0,
    rules: Mapping[str, Any] | None = None,
    **keys: Any,
) -> Findings:
    """Name the combinations of tags under which a classifier fails most, for each class.

    Parameters
    ----------
    classifier, data, classes
        References and names, as on the command line; empty = those of the default suite.
    out
        Folder of what is found; empty = ``failures``.
    split
        Where samples come from: some of "heldout", "explain" and "train".
    kinds
        "missed" (samples of the class that are not taken for it), "mistaken" (others that are), or both.
    tags
        Where tags come from, see `failures_tags.SOURCES`; empty = what there is.
    phrases, vocabulary
        Phrases of your own, or a file with one on each line; empty = those of the data set.
    questions
        Questions whose answers become tags, by the model of the role vqa.
    samples
        Most samples of the class, and of the others together.
    clusters
        Number of clusters of the baseline.
    rules
        Fields of `failures_search.Rules`, such as ``{"depth": 2}``.
    **keys
        Further keys of a suite, such as ``models={"image-text": "clip:ID"}``.

    Returns
    -------
    One finding for each class and classifier. Where one fails the others are found, and ``failed`` says why.

    Raises
    ------
    UsageError, MissingError
        The request cannot be right, or nothing says anything of the samples.
    """
    from xcore_acting.failures_found import Asked, find
    from xcore_acting.failures_search import Rules

    for name, given, known in (("split", split, ("heldout", "explain", "train")), ("kind", kinds, KINDS)):
        if wrong := [item for item in given if item not in known]:
            raise unknown(f"{name} of failures:", wrong[0], known)
    from xcore_acting.failures_tags import SOURCES

    if wrong := [item for item in tags if item not in SOURCES]:
        raise unknown("source of tags:", wrong[0], SOURCES)
    if keys.get("budget"):
        raise UsageError("failures takes no budget", "samples=N says how many samples of the class are looked at")
    if wrong := sorted((keys.get("set") or {}).get("surrogate", {})):
        raise UsageError(f"surrogate.{wrong[0]} is not used here", "failures computes no evidence: leave it out")
    if keys.get("heldout") or keys.get("contrast"):
        raise UsageError("failures are looked for in one data set", "name it with --data, and its splits with --split")
    if wrong := [key for key in rules or {} if key not in Rules.__dataclass_fields__]:
        raise unknown("rule of failures:", wrong[0], Rules.__dataclass_fields__)
    asked = Asked(
        split=tuple(split) or ("heldout",),
        kinds=tuple(kinds) or KINDS,
        tags=tuple(tags),
        phrases=tuple(phrases),
        vocabulary=vocabulary,
        questions=tuple(questions),
        samples=samples,
        clusters=clusters,
        rules=Rules(**(rules or {})),
    )
    about: dict[str, Any] = {**keys, "data": data, "classes": list(classes), "budget": None}
    about["classifiers"] = [classifier] if classifier else keys.get("classifiers", [])
    # evidence that needs no model, so that samples with metadata can do without one; it is not computed
    options = about.get("set") or {}
    about["set"] = {**options, "surrogate": {"evidence": "factorial"}}
    folder = Path(out or NAME)
    with open_session(["surrogate"], about, folder / ".work", seeds=[seed]) as session:
        return session.each(lambda cells: find(session, cells[0], asked, folder))


@app.command()
@takes(subject)
def command(
    about: dict[str, Any],
    split: Annotated[
        str, typer.Option(metavar="A,B", help="Splits whose samples are looked at: heldout, explain, train.")
    ] = "heldout",
    kind: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="missed: samples of the class that are not taken for it; mistaken: others that are."
        ),
    ] = "missed,mistaken",
    tags: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Where tags come from: metadata, phrases, captions, answers; of texts words. Default: what there is.",
        ),
    ] = "",
    phrase: Annotated[list[str], typer.Option(metavar="TEXT", help="A phrase of your own; may be repeated.")] = [],  # noqa: B006
    vocabulary: Annotated[str, typer.Option(metavar="FILE", help="File with a phrase on each line.")] = "",
    question: Annotated[
        list[str], typer.Option(metavar="TEXT", help="A question whose answers become tags; may be repeated.")
    ] = [],  # noqa: B006
    depth: Annotated[int, typer.Option(min=1, max=4, help="Most tags in a combination.")] = 3,
    support: Annotated[int, typer.Option(min=2, help="Least number of samples of a combination.")] = 10,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="How far the accuracy must lie below that of all samples.")
    ] = 0.05,
    clusters: Annotated[int, typer.Option(min=2, help="Number of clusters of the baseline.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed by which the samples are halved.")] = 0,
    as_json: Json = False,
) -> None:
    """Name the combinations of tags under which a classifier fails most.

    Tags come from the columns of metadata.csv, from the phrases of a vocabulary as an image-text model reads them, from
    captions or from answers to questions; those of texts are their words. Combinations are chosen on one half of the
    samples and tested on the other. Clusters of the classifier's features are the baseline. --samples says how many
    samples of the class are looked at, and of the others together (default: 600).

    Example: xcore failures --class zebra

    Example: xcore failures --classifier timm:resnet50 --data folder:photos --class all
    --model image-text=clip:openai/clip-vit-base-patch32
    """
    from xcore.session import publish

    budget = about.pop("budget") or {}
    out = Path(about.pop("out") or NAME)
    found = failures(
        out=out,
        split=names(split),
        kinds=names(kind),
        tags=names(tags),
        phrases=phrase,
        vocabulary=vocabulary,
        questions=question,
        samples=budget.get("samples", SAMPLES),
        clusters=clusters,
        seed=seed,
        rules={"depth": depth, "support": support, "margin": margin},
        **about,
    )
    publish(found, out, as_json)
