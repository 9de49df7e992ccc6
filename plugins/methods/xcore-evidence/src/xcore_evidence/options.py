"""Options of the method `surrogate`, and those that it shares with others. This module imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from xcore.contract import Options

# The groups of options, under which `xcore show surrogate` lists them.
OBSERVED: JsonDict = {"group": "Observed evidence"}
FACTORIAL: JsonDict = {"group": "Factorial evidence"}
EDITED: JsonDict = {"group": "Edited evidence"}


class PhraseOptions(Options):
    """The options of methods that explain by named phrases."""

    phrases: tuple[str, ...] = Field(
        (), description="your own candidate phrases; empty: those of the vocabulary without the class name"
    )
    vocabulary: str = Field(
        "",
        description="file with candidate phrases, one on each line (UTF-8); empty: the vocabulary of the data set, or "
        "everyday visual attributes for pictures if it has none",
    )

    @field_validator("phrases")
    @classmethod
    def _each_once(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        given = tuple(" ".join(text.split()) for text in given)
        if "" in given:
            raise ValueError(f"phrase {given.index('') + 1} of {len(given)} is empty")
        if twice := [text for i, text in enumerate(given) if text in given[:i]]:
            raise ValueError(f"{twice[0]!r} is given twice")
        return given


class SurrogateOptions(PhraseOptions):
    """Which phrases explain the class, in which samples, and how they are tested."""

    evidence: Literal["observed", "factorial", "edited"] = Field(
        "observed",
        description="observed = samples of the data set, in which phrases are present to different degrees; "
        "factorial = scenes that a generator draws from random combinations of phrases, or texts with words put in and "
        "taken out by a coin; edited = pictures of the class that a generator changes towards random "
        "combinations of phrases",
    )
    pool: int = Field(
        2000,
        ge=20,
        description="number of samples that the data set is asked for, as many of each other class",
        json_schema_extra=OBSERVED,
    )
    samples: int = Field(
        400,
        ge=20,
        description="of pictures, how many of the pool are used: those that differ most from one another, three in "
        "five of them of the class",
        json_schema_extra=OBSERVED,
    )
    penalty: float | Literal["cv"] = Field(
        0.3, description="strength of the ridge for each sample, above 0; cv: the one that predicts best"
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="family-wise error rate of the marks on each side")
    minimum: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="least effect that a mark must exceed, as a share of the gap of the class; 0 = any effect",
    )
    at_once: int | None = Field(
        None,
        ge=1,
        description="of factorial and edited evidence: number of phrases in a prompt, or put into each version of a "
        "text; at most half of them are; none: 3, of edits 2",
    )
    permutations: int = Field(
        9999,
        ge=99,
        description="of factorial and edited evidence: random assignments of the prompts to the pictures, or of the "
        "versions of texts, behind the p-values of prompts and words",
    )
    drawings: int | None = Field(
        None,
        ge=20,
        description="number of scenes that are drawn, or of texts that are written; none: 400 scenes, 4000 texts",
        json_schema_extra=FACTORIAL,
    )
    edits: int = Field(
        400,
        ge=20,
        description="number of edited pictures: each picture of the class once, or in turn if there are fewer",
        json_schema_extra=EDITED,
    )
    strength: float = Field(
        0.6, gt=0, le=1, description="how much the edits change, above 0 and at most 1", json_schema_extra=EDITED
    )
    shown: int = Field(10, ge=2, description="number of samples that show a phrase, those in which it is most present")

    @field_validator("penalty")
    @classmethod
    def _positive(cls, penalty: float | str) -> float | str:
        if not isinstance(penalty, str) and penalty <= 0:
            raise ValueError("must be above 0, or cv")
        return penalty
