"""Evidence by editing: pictures of the class are changed towards random combinations of phrases.

It needs a generator that can edit, and logits. The rest of a picture stays much as it is, so that a phrase is tried in
the context of the class: a shortcut that only matters together with the class is found. `xcore_evidence.randomised`
says how the edited pictures are judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from xcore.contract import MissingError, NotApplicable, Samples, Task
from xcore.pretrained.drawing import check_can
from xcore_evidence import kept, ridge
from xcore_evidence.estimates import Evidence
from xcore_evidence.randomised import BLOCK, PERMUTATIONS, Made, Wording, combined, evidence_of, two_or_more
from xcore_evidence.readings import of_the_class, presence

EDITS, AT_ONCE, STRENGTH = 400, 2, 0.6
"""Edited pictures, phrases that each is changed towards, and how much is changed. Chosen on minizoo/clean and shortcut
and five planted networks (docs/methods/surrogate.md)."""
PENALTY = 0.3
"""As in `xcore_evidence.observed`. On the networks above, 1 ranks alike."""
LEAST = 10
"""Pictures of the class without which nothing is edited: as many as the regression needs groups."""

EDITED = Wording(
    kind="edited",
    made="edited pictures",
    says_shown="association of the margin with what edited pictures of the class show, of edits assigned at random",
    says_prompt="effect of the edit on the margin of pictures of the class, of edits that were assigned at random",
    unit_shown="logits of the margin for one standard deviation of a phrase's presence in the edited pictures",
    unit_prompt="logits of the margin, after edits towards the phrase less before, above the mean over all phrases",
)


def edited(
    task: Task,
    phrases: Sequence[str],
    *,
    edits: int = EDITS,
    at_once: int = AT_ONCE,
    strength: float = STRENGTH,
    permutations: int = PERMUTATIONS,
    penalty: float | None = PENALTY,
    alpha: float = 0.05,
    minimum: float = 0.0,
    made: Made | None = None,
) -> Evidence:
    """The evidence of pictures of the class that are changed towards random combinations of phrases.

    The margin is regressed on what the edited pictures show, read by the model of the role image-text, as
    `xcore_evidence.factorial` does with drawn scenes. The effect of the edit towards a phrase, whether it is seen or
    not, on the margin after less that before, is in the details (``prompt_effect``); without a model of the role
    image-text it is the estimate. Both are effects of what the generator does, including what it changes beside the
    phrase.

    The pictures are those of the class that the data set offers, each once, or in turn where there are fewer than
    edits. In that case the rows are not independent, and the errors are clustered by picture (see
    `xcore_evidence.ridge.fit`).

    Parameters
    ----------
    task
        Its classifier need only give logits.
    phrases
        k candidate phrases, at least two.
    edits
        Number of edited pictures.
    at_once
        Phrases that a picture is changed towards, at least 1; at most half of the phrases are.
    strength
        How much the edits change, in (0, 1] (see `xcore.contract.Generator`).
    permutations, penalty, alpha, minimum
        See `xcore_evidence.factorial.factorial`.
    made
        What `edits_read` gave for the same task, phrases and numbers; None = edited and read here.

    Raises
    ------
    MissingError
        The task has no generator.
    NotApplicable
        The generator cannot edit, the samples are texts, there are fewer than `LEAST` pictures of the class or fewer
        than two phrases, too few edits for so many phrases, or the margin is the same for all edited pictures.
    """
    made = made or edits_read(task, phrases, edits, at_once, strength)
    return evidence_of(
        task,
        phrases,
        made,
        EDITED,
        permutations=permutations,
        penalty=penalty,
        alpha=alpha,
        minimum=minimum,
        notes=_of_pictures(made),
    )


def edits_read(task: Task, phrases: Sequence[str], edits: int, at_once: int, strength: float) -> Made:
    """Pictures of the class, changed towards random combinations of phrases, and what they show then.

    Each edit has noise of its own. The edits depend on the pictures, the phrases, the generator and the seed of the
    task, not on the classifier, and are shared by all (see `xcore_evidence.kept`).

    Raises
    ------
    MissingError, NotApplicable
        See `edited`: known before anything is edited.
    """
    two_or_more(phrases)
    ridge.degrees_left(edits, len(phrases), "edits")
    if task.samples.modality != "image":
        raise NotApplicable(
            "evidence by editing changes pictures, and these samples are texts",
            "use observed evidence or randomised evidence (factorial), which read texts, too",
        )
    if task.generator is None:
        raise MissingError(
            "evidence by editing needs a generator that can edit pictures",
            "name a diffusion pipeline with --generator REF, or use observed evidence, which needs none",
        )
    check_can(
        task.generator,
        "edit",
        "evidence by editing",
        "name a diffusion pipeline with --generator REF, or use observed evidence, which needs none",
    )
    given = of_the_class(task, edits)
    if len(given) < LEAST:
        raise NotApplicable(
            f"evidence by editing needs {LEAST} pictures of the class, and there {_are(len(given))}",
            "give more pictures of the class, or use observed evidence, which takes those of all classes",
        )
    given = given.take(slice(edits))
    source = tuple(i % len(given) for i in range(edits))
    prompts, seeds, asked = combined(phrases, edits, at_once, task.seed, "edited")
    blocks = [range(start, min(start + BLOCK, edits)) for start in range(0, edits, BLOCK)]
    samples = Samples.concat(
        [
            kept.edited(
                task,
                task.generator,
                given.take([source[i] for i in rows]),
                prompts[rows.start : rows.stop],
                seeds[rows.start : rows.stop],
                strength,
            )
            for rows in blocks
        ]
    )
    read = presence(task, samples, phrases) if "image-text" in task.roles else None
    return Made(samples, asked, read, given, source)


def _of_pictures(made: Made) -> list[str]:
    """How many pictures were edited, and what follows if each was edited more than once."""
    assert made.given is not None
    n, edits = len(made.given), len(made.samples)
    if n == edits:
        return [f"{n} pictures of the class were edited, each once"]
    return [
        f"{n} pictures of the class were edited, {edits} times in all, so that errors are clustered by picture; more "
        "pictures of the class would say more of it"
    ]


def _are(n: int) -> str:
    return f"{'is' if n == 1 else 'are'} {n}"
