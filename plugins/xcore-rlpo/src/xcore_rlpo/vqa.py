"""What a model says that is asked what is to be seen in patches of the class images: phrases, often said ones first.

After the seed prompts of Taparia et al., arXiv:2408.13438, and their released code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from xcore.errors import UsageError
from xcore.roles import VisualQuestionAnswering
from xcore.samples import Samples
from xcore.words import lemma, words
from xcore_rlpo.patches import patches

QUESTIONS = (
    "what is the pattern in the image?",
    "what are the colors in the image?",
    "what is the background color of the image?",
    "what is in the background of the image?",
    "what is the primary texture in the image?",
    "what is the secondary texture in the image?",
    "what is the shape in the image?",
)
"""What every patch is asked; task questions ("what is the gender?") come after these."""

NOTHING = frozenset({"", "none", "nothing"})
"""Answers that name nothing, as words in lower case."""


def ask(
    model: VisualQuestionAnswering,
    images: Samples,
    questions: Sequence[str],
    grid: int,
    told: Callable[[int], None] = lambda done: None,
) -> Counter[str]:
    """How often each answer was given, over images x patches x questions.

    Parameters
    ----------
    grid
        Each image is cut into grid x grid patches, asked column by column.
    told
        Called with the number of images that were asked.

    Returns
    -------
    Answers as the model gave them, in the order in which they were first given.

    Raises
    ------
    UsageError
        The model does not give one answer to each question.
    """
    counts: Counter[str] = Counter()
    for i in range(len(images)):
        cut = patches(images.take([i]), grid)
        rows = [p for p in range(len(cut)) for _ in questions]
        said = model.answer(cut.take(rows), [*questions] * len(cut))
        if len(said) != len(rows):
            raise UsageError(f"the model of the role 'vqa' gave {len(said)} answers to {len(rows)} questions")
        counts.update(" ".join(text.split()) for text in said)
        told(i + 1)
    return counts


def merged(counts: Mapping[str, int]) -> dict[str, int]:
    """Answers with the same lemmas as one, under the form that was given most often; most frequent first.

    Ties are decided by the order of `counts`.
    """
    groups: dict[str, list[str]] = {}
    for text in _falling(counts):
        groups.setdefault(lemmas(text), []).append(text)
    return _falling({forms[0]: sum(counts[f] for f in forms) for forms in groups.values()})


def says_something(text: str) -> bool:
    """Whether an answer has words, and more than that there is nothing."""
    return " ".join(words(text)) not in NOTHING


def lemmas(text: str) -> str:
    """The English lemmas of a phrase's words, in lower case: zebras' stripes -> zebra stripe."""
    return " ".join(lemma(word) for word in words(text))


def _falling(counts: Mapping[str, int]) -> dict[str, int]:
    """The same counts, large ones first; ties as they were."""
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
