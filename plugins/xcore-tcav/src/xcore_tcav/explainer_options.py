"""Options of the explainer `tcav`. Light: imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xcore.options import Options as Base


class Options(Base):
    """Where concepts come from, what they are compared with, and how they are tested."""

    source: Literal["auto", "data", "folders", "prompts"] = Field(
        "auto", description="where concepts come from; auto = `folders` or `prompts` if given, else the data set"
    )
    concepts: tuple[str, ...] = Field((), description="names of the concepts to score; empty = all of the source")
    folders: tuple[str, ...] = Field(
        (), description="DIR with a sub-folder of images a concept, or NAME=DIR for one concept"
    )
    prompts: tuple[str, ...] = Field(
        (), description="prompts that the generator draws or answers, a concept each; empty = see `first`"
    )
    first: int = Field(20, ge=1, description="how many phrases of the vocabulary are drawn if no prompt is named")

    layers: tuple[str, ...] = Field((), description="layers to score at; empty = the layer of the task")
    against: str = Field(
        "", description="relative TCAV: a concept's name, or 'others' = all other concepts; empty = random sets"
    )
    n: int = Field(10, ge=2, description="samples of a concept that CAVs are fitted on, and samples of each random set")
    negatives: int = Field(20, ge=3, description="random sets R that every concept is separated from")
    null: int = Field(199, ge=19, description="least number of counterpart sets; grows to concepts x layers / alpha")
    alpha: float = Field(0.05, gt=0, lt=1, description="level at which a concept counts as outside its null")
    test: Literal["rank", "ttest"] = Field(
        "rank", description="ttest is the published test over random sets; it is not calibrated"
    )
    learnable: float = Field(
        0.7, ge=0.5, le=1, description="held-out accuracy below which a CAV is marked as not learnable"
    )
    folds: int = Field(5, ge=2, description="folds of the held-out accuracy")
    pool: bool = Field(False, description="average activations over positions instead of flattening them")

    shown: int = Field(10, ge=2, description="samples that a concept shows, of those that no CAV was fitted on")
    maps: int = Field(10, ge=0, description="concepts, from the top, whose places in the class images are mapped")
