"""Which updates are kept: those after which a prompt scores higher on new noise, and still shows what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from torch.nn.functional import normalize

from xcore.contract import Adapter, ImageText, Samples, Task
from xcore_rlpo.options import Options

Reading = Callable[[str, Samples], list[float]]
"""Prompt, its n drawings -> how much each shows the prompt."""

ROSE, NOT_RISEN, NOT_SHOWN, TOO_FEW, ALL = (
    "the effect rose",
    "the effect did not rise",
    "the drawings no longer show the prompt",
    "there are too few words to score",
    "keep=all",
)
"""Why an update was kept or taken back."""


class Trial(NamedTuple):
    """An update that was made and is not judged yet."""

    step: int
    """Index of its row in the trace."""
    action: int
    before: Adapter | None
    """The adapter that it started from, with the state of its optimiser; None = the original generator."""


class Verdict(NamedTuple):
    """What an update has brought, on noise that had no part in it."""

    kept: bool
    why: str
    gain: float | None
    """Mean effect of the groups that the adapter draws less that of those by the adapter of before, with the same
    noise; None where one of the two gave too few words to score."""
    figures: dict[str, float]
    """Where drawings are read: `reading`, their mean; `reading_before` and `reading_sd`, mean and standard deviation
    of those by the original generator."""

    @property
    def paid(self) -> float:
        """The reward "gain": the gain, but nothing for a rise that was taken back."""
        gain = self.gain or 0.0
        return gain if self.kept else min(gain, 0.0)

    def as_row(self) -> dict[str, Any]:
        """What the trace keeps of it, in the row of the step that made the update."""
        return {"kept": self.kept, "why": self.why, "gain": self.gain, **self.figures}


def judge(
    effects: tuple[float | None, float | None], readings: Sequence[float], original: Sequence[float], options: Options
) -> Verdict:
    """Whether an update is kept.

    Parameters
    ----------
    effects
        Mean effects of the groups that were drawn by the adapter of before and by the updated one, with the same
        noise; None = too few words to score.
    readings
        How much each drawing by the updated adapter shows the prompt; empty where nothing reads drawings.
    original
        The same of the drawings of this prompt by the original generator.
    """
    before, after = effects
    gain = None if before is None or after is None else after - before
    figures = {}
    if readings and original:
        figures = {"reading": fmean(readings), "reading_before": fmean(original), "reading_sd": pstdev(original)}
    if options.keep == "all":
        return Verdict(True, ALL, gain, figures)
    if gain is None:
        return Verdict(False, TOO_FEW, gain, figures)
    if gain <= 0:
        return Verdict(False, NOT_RISEN, gain, figures)
    if figures and figures["reading"] < figures["reading_before"] - figures["reading_sd"]:
        return Verdict(False, NOT_SHOWN, gain, figures)
    return Verdict(True, ROSE, gain, figures)


def reading_of(task: Task, options: Options) -> Reading | None:
    """Cosines of prompt and drawings by the model of the role image-text; None where there is none, or no need."""
    if options.keep == "all" or task.samples.modality != "image" or "image-text" not in task.roles:
        return None
    model: ImageText = task.model("image-text")

    def read(prompt: str, drawn: Samples) -> list[float]:
        text = normalize(model.embed_texts([prompt]).float(), dim=1)[0]
        found: list[float] = (normalize(model.embed_images(drawn).float(), dim=1) @ text).tolist()
        return found

    return read
