"""`xcore trajectory`: what a prompt draws while the generator is tuned to it, and what the classifier makes of that.

After Taparia et al., arXiv:2408.13438 (levels of abstraction). Light; it computes in another module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcore.contract import UsageError
from xcore.session import Json, open_session, subject, takes

if TYPE_CHECKING:
    from xcore.session import Findings

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
NAME = "trajectory"
"""Default of --out."""
STEPS = (0, 10, 20, 30)
NOISES = 8


def trajectory(
    prompts: Sequence[str] | str,
    classifier: str = "",
    *,
    data: str = "",
    classes: Sequence[str] = (),
    out: str | Path = "",
    steps: Sequence[int] = STEPS,
    noises: int = NOISES,
    phrases: Sequence[str] = (),
    vocabulary: str = "",
    seed: int = 0,
    **keys: Any,
) -> Findings:
    """Follow what prompts draw while the generator is tuned to each of them, for each class.

    Parameters
    ----------
    prompts
        One or more. Each is tuned by itself, by the search of rlpo and its options.
    classifier, data, classes
        References and names, as on the command line; empty = those of the default suite.
    out
        Folder of what is found; empty = ``trajectory``.
    steps
        Steps of the search after which the prompt is drawn; the first must be 0.
    noises
        Number of drawings at each step, always from the same noise.
    phrases, vocabulary
        Phrases that drawings are compared with, or a file with one on each line; empty = those of the data set.
    **keys
        Further keys of a suite, such as ``generator="hf:ORG/MODEL"``.

    Returns
    -------
    One finding for each class and classifier, with all prompts. Where one fails the others are found, and ``failed``
    says why.

    Raises
    ------
    UsageError, MissingError
        The request cannot be right, or a generator is missing.
    NotApplicable
        The classifier gives no gradients, or the generator cannot be tuned.
    """
    from xcore_acting.trajectory_found import Asked, find

    given = tuple(dict.fromkeys([prompts] if isinstance(prompts, str) else prompts))
    if not given or not all(p.strip() for p in given):
        raise UsageError("no prompt is named", 'name one or more with --prompt, e.g. --prompt "striped texture"')
    if len(steps) < 2 or list(steps) != sorted(set(steps)) or steps[0] != 0:
        raise UsageError(
            f"steps {', '.join(map(str, steps)) or '(none)'} make no trajectory",
            "begin with 0 and let them rise, e.g. --steps 0,10,20,30",
        )
    if noises < 2:
        raise UsageError(f"noises is {noises}", "an interval needs two drawings or more at each step")
    asked = Asked(given, tuple(steps), noises, tuple(phrases), vocabulary)
    about: dict[str, Any] = {**keys, "data": data, "classes": list(classes)}
    about["classifiers"] = [classifier] if classifier else keys.get("classifiers", [])
    folder = Path(out or NAME)
    with open_session(["rlpo"], about, folder / ".work", seeds=[seed]) as session:
        return session.each(lambda cells: find(session, cells[0], asked, folder))


def refuse(about: Mapping[str, Any], out: Path, seed: int) -> None:
    """Raise what keeps prompts from being followed, such as a lacking generator, before other work is done.

    Parameters
    ----------
    about
        Keys of a suite, as `trajectory` takes them.
    """
    from xcore_rlpo.rlpo import usable_generator

    with open_session(["rlpo"], about, out / ".work", seeds=[seed]) as session:
        cell = session.cells[0]
        usable_generator(session.task(cell, out), session.explainer(cell).options)


@app.command()
@takes(subject)
def command(
    about: dict[str, Any],
    prompt: Annotated[list[str], typer.Option(metavar="TEXT", help="A prompt to follow; may be repeated.")] = [],  # noqa: B006
    steps: Annotated[
        str, typer.Option(metavar="A,B", help="Steps of the search after which the prompt is drawn.")
    ] = "0,10,20,30",
    noises: Annotated[int, typer.Option(min=2, help="Drawings at each step, always from the same noise.")] = NOISES,
    phrase: Annotated[
        list[str], typer.Option(metavar="TEXT", help="A phrase that drawings are compared with; may be repeated.")
    ] = [],  # noqa: B006
    vocabulary: Annotated[str, typer.Option(metavar="FILE", help="File with such a phrase on each line.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and of the noise.")] = 0,
    as_json: Json = False,
) -> None:
    """Follow what a prompt draws while the generator is tuned to it.

    The generator is tuned to each prompt by itself, by the search of rlpo (--set rlpo.OPTION=VALUE). After some steps
    the prompt is drawn from always the same noise: the classifier's predictions are written under the drawings, and the
    table says how probable the class is, at which step the predictions turned to it, and which phrases are nearest.

    Example: xcore trajectory --class zebra --prompt "striped texture" --prompt grass

    Example: xcore trajectory --classifier timm:resnet50 --data folder:photos --class tiger --prompt "orange fur"
    --generator hf:stable-diffusion-v1-5/stable-diffusion-v1-5 --model image-text=clip:openai/clip-vit-base-patch32
    """
    from xcore.session import publish

    out = Path(about.pop("out") or NAME)
    found = trajectory(
        prompt,
        out=out,
        steps=_numbers(steps),
        noises=noises,
        phrases=phrase,
        vocabulary=vocabulary,
        seed=seed,
        **about,
    )
    publish(found, out, as_json)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"--steps {text!r} is no list of numbers", "e.g. --steps 0,10,20,30") from None
