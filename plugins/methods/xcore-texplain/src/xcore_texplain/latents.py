"""`xcore texplain latents`: words about a generator's latents beside a captioner's. Light at import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xcore.session import Column, Finding, Found, Session
    from xcore_texplain.words import WordCounts

RESAMPLES, SHUFFLES = 1000, 5000
SHOWN = 12
"""Categories in the picture."""


@dataclass(frozen=True)
class LatentsOptions:
    """Settings of `latents`."""

    categories: tuple[str, ...] = ()
    """What is drawn; () = the classes that are named, or all of the data."""
    drawings: int = 30
    """Images of each category (100 in the paper)."""
    captions_each: int = 10
    """Captions of each image."""
    captions: str = ""
    """Data set whose captions the translator learns from; "" = those of the data, or of ``texplain.pairs``."""


def latents(
    generator: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    out: str | Path = "latents",
    options: LatentsOptions | None = None,
    **keys: Any,
) -> Finding:
    """Compare words about a generator's latents with the words of a captioner about the images that they become.

    The generator draws ``texplain.prompt`` ("a {class}") for each category. Distance is the Jensen-Shannon distance
    (base 2) of the two distributions of words, agreement the cosine of their frequencies. Both are compared with those
    to the captions of the other categories, which is what shuffled categories give.

    Parameters
    ----------
    generator
        Reference of the generator, which must offer a probe of its latents; "" = the default one.
    data
        Reference of the data set, whose captions the translator learns from; "" = the default.
    classes
        Names of the classes; none = all of the data.
    out
        Folder to write to.
    options
        Settings; None = the defaults.
    **keys
        Keys of a suite file, such as ``models`` with a model for the role ``captioner``.

    Returns
    -------
    One finding with a row for each category, and a picture.

    Raises
    ------
    UsageError
        There are fewer than two categories, or a setting is wrong.
    MissingError
        There is no generator, no captioner, no language model, or there are no captions.
    NotApplicable
        The generator offers no probe.
    """
    about: dict[str, Any] = {"data": data, "classes": list(classes), **keys}
    if generator:
        about["generator"] = generator
    return found_latents(about, options or LatentsOptions(), Path(out))


def found_latents(about: dict[str, Any], options: LatentsOptions, out: Path) -> Finding:
    """The finding of what the shared flags and the settings ask for."""
    from xcore.contract import Ref
    from xcore_texplain.session import open_command

    for name, value in (("drawings", options.drawings), ("captions_each", options.captions_each)):
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, got {value}")
    about["classes"] = about.get("classes") or (["all"] if about.get("data") else [])
    given = about.setdefault("set", {}).setdefault("texplain", {})
    given["features"] = "generator"
    given.setdefault("mode", "flatten_bottleneck")
    refs = {"dataset": [Ref(options.captions)]} if options.captions else {}
    with open_command({**about, "seeds": about.get("seeds", [0])[:1]}, {}, out / ".work") as session:
        named = options.categories or tuple(dict.fromkeys(cell.cls for cell in session.cells))
        if len(named) < 2:
            raise UsageError(
                f"only {named[0]!r} is to be drawn, and words are compared with those of other categories",
                "name several with --categories A,B or --class A,B",
            )
        if "captioner" not in session.cells[0].models:
            raise MissingError(
                "no model is named for the role 'captioner'",
                "name one with --model captioner=REF, such as captioner=blip:Salesforce/blip-image-captioning-base",
            )
        asked = {**asdict(options), "categories": list(named)}

        def make(folder: Path) -> Found:
            return beside_captions(session, named, options, folder)

        return session.finding("texplain latents", asked, session.cells[0], make, refs=refs, out=out)


def beside_captions(session: Session, named: Sequence[str], options: LatentsOptions, folder: Path) -> Found:
    """The agreement of both for each category, and their picture."""
    import numpy as np

    from xcore.contract import Samples
    from xcore.session import Found
    from xcore_texplain.cloud import cloud_of
    from xcore_texplain.features import EXPLAINED, draw_pictures
    from xcore_texplain.figure_pictures import Row, draw_rows
    from xcore_texplain.reading import open_reader
    from xcore_texplain.sentences import combined_seed
    from xcore_texplain.words import count_words, joined, lemmas_of

    cell = session.cells[0]
    reader = open_reader(session, options.captions)
    o = reader.options
    generator = session.component("generator", cell.generator) if cell.generator else None
    captioner = session.component("model", cell.models["captioner"])
    n, seed = options.drawings, combined_seed(o.seed, 12)
    drawn: list[Samples] = []
    ours: list[WordCounts] = []
    theirs: list[WordCounts] = []
    for i, name in enumerate(named):
        drawn.append(draw_pictures(generator, o.prompt, [name], n, cell.seed, EXPLAINED))
        ours.append(reader.said(drawn[-1], seed))
        seeds = [[combined_seed(seed, i, j, k) for j in range(n)] for k in range(options.captions_each)]
        each = [captioner.caption(drawn[-1], row) for row in seeds]
        theirs.append(count_words([list(texts) for texts in zip(*each, strict=True)], lemmas_of(o.drop)))
        session.reporter.step(i + 1, len(named), "categories drawn, read and captioned")
    words = sorted({w for told in (*ours, *theirs) for w in told.words})
    a, b = ([told.shares_of(words) for told in side] for side in (ours, theirs))
    rows, p = agreement_rows(named, a, b, cell.seed)
    means = [joined(side) for side in (ours, theirs)]
    shown = []
    for name, samples, own, other in list(zip(named, drawn, ours, theirs, strict=True))[:SHOWN]:
        clouds = []
        for what, count, prior in (("latents", own, means[0]), ("captions", other, means[1])):
            figures, _ = reader.words(count, prior, prior, cell.seed, lambda word: False)
            clouds.append((f"{name}: {what}", cloud_of(figures, [name], o.least)))
        shown.append(Row("", samples, [], clouds))
    draw_rows(folder / "latents.png", shown)
    mean = [float(np.mean([row[key] for row in rows])) for key in ("distance", "distance_others")]
    notes = [
        f"{n} drawings of each category, {o.sentences} sentences about each latent, {options.captions_each} captions "
        f"of each image; {reader.about}",
        f"mean distance {mean[0]:.3f} to the captions of the same category and {mean[1]:.3f} to those of others; "
        f"p = {p:.4f} by {SHUFFLES} permutations of the categories, one-sided, of the mean distance",
        *(["intervals over fewer than 10 drawings are too narrow"] if n < 10 else []),
    ]
    if len(named) > SHOWN:
        notes.append(f"the picture shows the first {SHOWN} of {len(named)} categories")
    return Found(
        title=f"{cell.generator}: words about latents beside captions of the images",
        columns=_columns(),
        rows=tuple(rows),
        notes=tuple(notes),
        pictures={"latents.png": "Drawings of each category, words about their latents, and words of their captions"},
        figures={
            "words": words,
            "latents": [x.mean(0).tolist() for x in a],
            "captions": [x.mean(0).tolist() for x in b],
        },
    )


def agreement_rows(
    named: Sequence[str], a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]], seed: int
) -> tuple[list[dict[str, Any]], float]:
    """The rows of the table, and the p-value of the mean distance over permutations of the categories.

    Parameters
    ----------
    named
        C categories.
    a, b
        C arrays (n, W): shares of the sentences about each latent, and of the captions of each image.
    seed
        Seed of the resamples and permutations. The same drawings are resampled on both sides.
    """
    import numpy as np

    rng, count, n = np.random.default_rng([seed, 13]), len(named), len(a[0])
    apart = distances([x.mean(0) for x in a], [x.mean(0) for x in b])
    alike = cosines([x.mean(0) for x in a], [x.mean(0) for x in b])
    ratios = np.empty((RESAMPLES, count))
    for r in range(RESAMPLES):
        index = rng.integers(n, size=n)
        again = distances([x[index].mean(0) for x in a], [x[index].mean(0) for x in b])
        ratios[r] = np.diagonal(again) / np.maximum(others(again), 1e-12)
    low, high = np.quantile(ratios, (0.025, 0.975), axis=0)
    own, rest = np.diagonal(apart), others(apart)
    rows = [
        {
            "category": name,
            "nearest": named[int(apart[i].argmin())],
            "distance": float(own[i]),
            "distance_others": float(rest[i]),
            "ratio": float(own[i] / max(rest[i], 1e-12)),
            "ratio_lo": float(low[i]) if n > 1 else None,
            "ratio_hi": float(high[i]) if n > 1 else None,
            "cosine": float(alike[i, i]),
            "cosine_others": float(others(alike)[i]),
        }
        for i, name in enumerate(named)
    ]
    shuffled = [apart[np.arange(count), rng.permutation(count)].mean() for _ in range(SHUFFLES)]
    return rows, (1 + sum(value <= own.mean() + 1e-12 for value in shuffled)) / (1 + SHUFFLES)


def distances(one: Sequence[NDArray[Any]], two: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(C, C) Jensen-Shannon distances, base 2, of distributions of words: frequencies scaled to sum 1."""
    import numpy as np
    from scipy.spatial.distance import jensenshannon

    p, q = (np.stack([x / max(float(x.sum()), 1e-12) for x in side]) for side in (one, two))
    return np.asarray(jensenshannon(p[:, None], q[None], base=2, axis=2))


def cosines(one: Sequence[NDArray[Any]], two: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(C, C) cosines of the frequencies of words."""
    import numpy as np

    p, q = (np.stack([x / max(float(np.linalg.norm(x)), 1e-12) for x in side]) for side in (one, two))
    return np.asarray(p @ q.T)


def others(found: NDArray[Any]) -> NDArray[Any]:
    """(C,) mean of each row without its diagonal: what a shuffled category gives."""
    import numpy as np

    return np.asarray((found.sum(1) - np.diagonal(found)) / (len(found) - 1))


def _columns() -> tuple[Column, ...]:
    from xcore.session import Column

    return (
        Column("category", "category", ""),
        Column("nearest", "nearest captions", "category whose captions have the nearest words"),
        Column("distance", "distance", "Jensen-Shannon, base 2, in [0, 1], of words about latents and captions", 3),
        Column("distance_others", "to others", "mean distance to the captions of the other categories", 3),
        Column(
            "ratio", "ratio", "distance as a share of that to others, with a 95 % bootstrap interval over drawings", 2
        ),
        Column("ratio_lo", "from", "", 2),
        Column("ratio_hi", "to", "", 2),
        Column("cosine", "cosine", "of the frequencies of words", 2),
        Column("cosine_others", "to others", "mean cosine to the captions of the other categories", 2),
    )
