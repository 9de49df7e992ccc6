"""Options of RLPO, and the preset that follows the authors' released code. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.config import JsonDict

from xcore.contract import Options as Base

PARITY: Mapping[str, Any] = {
    "rank": "tcav",
    "adapters": "one",
    "keep": "all",
    "vqa_images": 1000,
    "n": 10,
    "steps": 500,
    "negatives": 1,
    "contrast": "dataset",
    "reward": "parity",
    "preference": "ts",
    "tie": "g2",
    "update_rule": "best_so_far",
    "alpha_scope": "episode",
    "eta": 0.5,
    "patience": 0,
    "adapt": {"steps": 2, "lr": 1e-5, "beta": 2500.0},
    "exploration": "uniform",
    "exploration_fraction": 0.1,
    "epsilon_end": 0.9,
    "learning_starts": 100,
    "learning_rate": 1e-4,
    "buffer": 100,
    "train_freq": 4,
    "gradient_steps": 1,
    "target_update": 10_000,
    "rank_sets": 5,
}
"""What the released vision code does, as far as options can express it. It asks about all class images, whatever their
number. Its DQN never learned: its library's default of ``learning_starts`` was 50,000, but a run has 500 steps. The 100
here are the library's present default.
"""

RENAMED = {
    "dqn": "search=dqn",
    "random": "search=random",
    "round-robin": "search=brute",
    "ranking": "rank=prior, and steps=0 for no search",
}
"""Value of the former option policy -> what is written now."""

# The groups of options, under which `xcore show rlpo` lists them. Options without a group are those that people set.
SEEDS: JsonDict = {"group": "Seed prompts"}
SCORES: JsonDict = {"group": "TCAV scores"}
SEARCH: JsonDict = {"group": "Search"}
TUNING: JsonDict = {"group": "Preference tuning"}
CONCEPTS: JsonDict = {"group": "Concepts and files"}
RELEASED: JsonDict = {"group": "Parity with the released code"}


class Options(Base):
    """How RLPO looks for concepts. ``preset="parity"`` changes the defaults of the options that are not given."""

    preset: Literal["default", "parity"] = Field(
        "default",
        description="Which defaults to use: default = our recommended ones, parity = those of the authors' released "
        "code. Options that you give yourself win over both.",
    )
    prompts: tuple[str, ...] = Field(
        (), description="Your own seed prompts, in this order. Without any, they are found as the option seeds says."
    )
    seeds: Literal["auto", "vocabulary", "vqa"] = Field(
        "auto",
        description="Where seed prompts come from: vocabulary = the phrases of the data set, or everyday visual "
        "attributes if it has none (of texts, their words); vqa = answers of a model of the role vqa about patches of "
        "the class images; auto = vqa where such a model is given, else vocabulary.",
    )
    questions: tuple[str, ...] = Field(
        (), description="Questions about your task that are asked of every patch after the seven standard ones."
    )
    actions: int = Field(
        20, ge=1, description="How many of the ranked seed prompts to keep, at least 1. Your own prompts are all kept."
    )
    rank: Literal["auto", "context", "factorial", "edited", "tcav", "prior"] = Field(
        "auto",
        description="What the concepts are ranked by: context = their effect on the margin in samples of all classes, "
        "given all other phrases; factorial = the same in drawn scenes of random combinations of phrases; edited = the "
        "same in pictures of the class that the generator changes towards random combinations of phrases; tcav = the "
        "TCAV effect of newly drawn samples; prior = the order of the seed prompts by the image-text model (of texts, "
        "the text embedder), which never asks the classifier; auto = context where there are an image-text model (or "
        "texts) and enough samples of other classes, else factorial where there is an image-text model, else tcav.",
    )
    tune: int = Field(
        5,
        ge=0,
        description="How many prompts are searched and tuned at most: the first ones of the ranking that are marked or "
        "have positive evidence. With rank=tcav, which knows nothing before the search, all are.",
    )
    steps: int = Field(
        100,
        ge=0,
        description="Number of search steps T, at least 0. Each draws 2 n samples. The budget may lower it.",
    )
    n: int = Field(10, ge=2, description="Number of samples in each of the two groups of a step, at least 2.")
    search: Literal["dqn", "greedy", "evolve", "random", "brute"] = Field(
        "dqn",
        description="How the prompt of a step is chosen: dqn = by a DQN that learns from the rewards, greedy = the one "
        "with the best mean reward so far, evolve = as greedy among new prompts, which are made from the best by "
        "replacing, adding and leaving out words and by joining two, random = by chance, brute = each in turn.",
    )
    update: bool = Field(True, description="Whether the generator is tuned; false leaves it as it is.")
    eta: float = Field(
        0.95, ge=0, le=1, description="TCAV score, from 0 to 1, at which a seed prompt counts as explained."
    )
    adapt: dict[str, Any] = Field(
        {"steps": 4, "lr": 1e-3},
        description="Options of the generator's preference update, such as its number of optimiser steps (steps), its "
        "learning rate (lr) and the strength of DPO (beta).",
    )
    contrast: Literal["generated", "dataset"] = Field(
        "generated",
        description="Where the random sets come from that groups are compared with: generated = the generator draws "
        "them, dataset = samples of other classes from the data set.",
    )

    vocabulary: str = Field(
        "",
        description="File with phrases to choose seed prompts from, one on each line (UTF-8; lines that begin with # "
        "are left out). Empty = those that the option seeds names.",
        json_schema_extra=SEEDS,
    )
    vqa_images: int = Field(
        20, ge=1, description="How many class images to ask about, at least 1; the first ones.", json_schema_extra=SEEDS
    )
    vqa_grid: int = Field(
        3,
        ge=1,
        description="Rows and columns of the grid of patches that each of these images is cut into, at least 1.",
        json_schema_extra=SEEDS,
    )
    grid: int = Field(
        1,
        ge=1,
        description="Rank seed prompts on whole images (1), or on the patches of a grid with so many rows and columns. "
        "Texts allow only 1.",
        json_schema_extra=SEEDS,
    )
    dedup: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Cosine similarity of embeddings, above 0 and up to 1, above which two phrases count as one.",
        json_schema_extra=SEEDS,
    )
    logit_scale: float = Field(
        100.0,
        gt=0,
        description="Factor on the cosine similarities before the softmax over phrases that ranks them, above 0.",
        json_schema_extra=SEEDS,
    )

    negatives: int = Field(
        20,
        ge=1,
        description="Number of random sets R that each group is compared with, at least 1; one CAV is fitted for each.",
        json_schema_extra=SCORES,
    )
    pool: bool = Field(
        False,
        description="Whether CAVs are fitted on activations averaged over positions instead of flattened ones.",
        json_schema_extra=SCORES,
    )
    folds: int = Field(
        0,
        ge=0,
        description="Folds of the cross-validation that gives the accuracy of the CAVs, 0 or at least 2; "
        "0 = do not compute it.",
        json_schema_extra=SCORES,
    )

    images: int | None = Field(
        None,
        ge=4,
        description="Number of samples that the search may draw, at least 2 n, instead of steps. Each step draws 2 n, "
        "and judging an update (see keep) 2 n more; no update is made that could not be judged. null = as many as the "
        "steps draw.",
        json_schema_extra=SEARCH,
    )
    length: int = Field(
        1,
        ge=1,
        description="Greatest number of steps in an episode, at least 1; the prompts of an episode are joined.",
        json_schema_extra=SEARCH,
    )
    patience: int = Field(
        16,
        ge=0,
        description="End the search after this many steps without an update, once every prompt was tried; 0 = never.",
        json_schema_extra=SEARCH,
    )
    state: Literal["auto", "embedding", "activations"] = Field(
        "auto",
        description="What the DQN sees of samples: embedding = embeddings of the model of the role image-text (for "
        "texts text-embedder), activations = the classifier's activations; auto = embedding where it ranks the seed "
        "prompts anyway.",
        json_schema_extra=SEARCH,
    )
    epsilon_end: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of random choices of the DQN at the end, from 0 to 1.",
        json_schema_extra=SEARCH,
    )
    exploration_fraction: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Share of the T steps, above 0 and up to 1, over which the share of random choices falls from 1.",
        json_schema_extra=SEARCH,
    )
    learning_starts: int | None = Field(
        None,
        ge=0,
        description="Number of steps with random choices before the DQN learns, below T; "
        "null = the number of seed prompts, but at most T / 4.",
        json_schema_extra=SEARCH,
    )
    learning_rate: float = Field(
        3e-3, gt=0, description="Learning rate of the DQN's optimiser (Adam), above 0.", json_schema_extra=SEARCH
    )
    buffer: int = Field(
        256, ge=1, description="Number of steps that the DQN remembers, at least 1.", json_schema_extra=SEARCH
    )
    batch: int = Field(
        32,
        ge=1,
        description="Number of remembered steps that one update of the DQN learns from, at least 1.",
        json_schema_extra=SEARCH,
    )
    gamma: float = Field(
        0.99,
        ge=0,
        le=1,
        description="Discount of the reward of the next step of an episode, from 0 to 1.",
        json_schema_extra=SEARCH,
    )
    train_freq: int = Field(
        1, ge=1, description="Number of steps between two trainings of the DQN, at least 1.", json_schema_extra=SEARCH
    )
    gradient_steps: int = Field(
        4, ge=1, description="Number of updates of the DQN in one training, at least 1.", json_schema_extra=SEARCH
    )
    target_update: int = Field(
        10,
        ge=1,
        description="Number of steps between two refreshes of the DQN's target network, at least 1.",
        json_schema_extra=SEARCH,
    )

    reward: Literal["gain", "ts", "parity"] = Field(
        "gain",
        description="What a step pays the search: gain = what the last update of the prompt added to the mean effect "
        "of its groups, compared on new noise, and 0 for a rise that is taken back (see keep); ts = the mean effect of "
        "both groups, from -1 to 1; parity = 50 alpha (TS1 + TS2), as in the released code.",
        json_schema_extra=TUNING,
    )
    adapters: Literal["own", "one"] = Field(
        "own",
        description="Which adapter is tuned: own = each prompt has one of its own, so that its updates change nothing "
        "else; one = all share one, as in the released code.",
        json_schema_extra=TUNING,
    )
    keep: Literal["gain", "all"] = Field(
        "gain",
        description="Which updates are kept: gain = when a prompt is drawn again after an update, the generator of "
        "before draws the same noise, and the update is taken back, with the state of its optimiser, unless the mean "
        "effect of its groups is higher and, where there is an image-text model, the mean cosine of its drawings with "
        "the prompt is not below that of all drawings of this prompt by the original generator in the search by more "
        "than their standard deviation; updates that are left at the end are judged by one more pair of groups; all = "
        "every update, as in the released code, and as adapters=one needs it.",
        json_schema_extra=TUNING,
    )
    updates: int | None = Field(
        None,
        ge=0,
        description="Greatest number of updates, kept or not; the steps after the last one still draw and score. "
        "null = no limit.",
        json_schema_extra=TUNING,
    )
    preference: Literal["ts-effect", "ts", "effect"] = Field(
        "ts-effect",
        description="What decides between the two groups: ts = the TCAV score TS, effect = the mean sensitivity, "
        "ts-effect = TS, and the mean sensitivity where TS is equal.",
        json_schema_extra=TUNING,
    )
    tie: Literal["skip", "g2", "random"] = Field(
        "skip",
        description="What happens where both groups are equal: skip = no preference and no update, g2 = the second "
        "group wins, random = one of them at random.",
        json_schema_extra=TUNING,
    )
    update_rule: Literal["always", "best_so_far", "low_gate", "max_below_eta"] = Field(
        "max_below_eta",
        description="When a preference tunes the generator: always; max_below_eta = until one group reaches eta; "
        "low_gate = not while both groups are below eta; best_so_far = where the preferred group equals the prompt's "
        "best TS and not both groups are above eta.",
        json_schema_extra=TUNING,
    )

    rank_sets: int = Field(
        3,
        ge=1,
        description="Number of sets of n newly drawn samples that give the TCAV effect of a concept at the end, at "
        "least 1. Unless concepts are ranked by it, only the first ones get it.",
        json_schema_extra=CONCEPTS,
    )
    shown: int = Field(
        10,
        ge=2,
        description="Number of newly drawn samples that show a concept, at least 2.",
        json_schema_extra=CONCEPTS,
    )
    maps: int = Field(
        3,
        ge=0,
        description="How many of the most important concepts get maps of where they are in the class images; 0 = none.",
        json_schema_extra=CONCEPTS,
    )
    places: Literal["cav", "localiser"] = Field(
        "cav",
        description="How these maps are made: cav = by projecting each position's activation onto the CAV, "
        "localiser = by a model of the role localiser.",
        json_schema_extra=CONCEPTS,
    )
    trajectory: str = Field(
        "",
        description="Prompt whose samples are followed while the generator is tuned; empty = the seed prompt with the "
        "most updates.",
        json_schema_extra=CONCEPTS,
    )
    trajectory_every: int = Field(
        10,
        ge=1,
        description="Number of steps between two snapshots of the generator for that, at least 1.",
        json_schema_extra=CONCEPTS,
    )
    trajectory_samples: int = Field(
        3,
        ge=1,
        description="Number of samples of that prompt drawn from each snapshot, with the same noise, at least 1.",
        json_schema_extra=CONCEPTS,
    )

    alpha_scope: Literal["run", "episode"] = Field(
        "run",
        description="Where to count how often a prompt was chosen, from which alpha grows: in the whole run or in the "
        "present episode.",
        json_schema_extra=RELEASED,
    )
    exploration: Literal["balanced", "uniform"] = Field(
        "balanced",
        description="How the DQN makes random choices: balanced = through all prompts, in random order, before one "
        "comes again; uniform = each independently.",
        json_schema_extra=RELEASED,
    )

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "policy" in given:
            now = RENAMED.get(str(given["policy"]), "search=...")
            raise ValueError(f"the option policy is now called search: write {now}")
        return given

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("preset") == "parity":
            given = {**PARITY, **given}
        if isinstance(given, Mapping) and given.get("adapters") == "one":
            return {"keep": "all", **given}
        return given

    @model_validator(mode="after")
    def _one_source(self) -> Options:
        if self.vocabulary and self.prompts:
            raise ValueError("prompts are your own seed prompts, so no vocabulary is read: leave one of the two out")
        if self.vocabulary and self.seeds == "vqa":
            raise ValueError("seeds=vqa asks about images, so no vocabulary is read: leave one of the two out")
        return self

    @model_validator(mode="after")
    def _can_work(self) -> Options:
        if self.length > 1 and self.adapters == "own":
            raise ValueError("length above 1 joins prompts, and no concept is a joined one: use adapters=one with it")
        if self.keep == "gain" and self.adapters == "one":
            raise ValueError("adapters=one shares one adapter, so no update can be taken back: use keep=all with it")
        if self.images is not None and self.images < 2 * self.n:
            raise ValueError(f"images={self.images} allow no step, since each draws 2 n = {2 * self.n} samples")
        if self.search == "evolve" and self.rank in ("factorial", "edited", "prior"):
            raise ValueError(
                f"search=evolve makes new prompts, which rank={self.rank} cannot judge: use rank=context or rank=tcav"
            )
        if self.search == "evolve" and self.adapters == "one":
            raise ValueError("search=evolve tunes each prompt by itself: use adapters=own with it")
        starts, steps = self.learning_starts, self.search_steps
        if self.search == "dqn" and starts is not None and 0 < steps <= starts:
            raise ValueError(
                f"learning_starts is {starts}, but the run has only {steps} steps, so the search would learn nothing"
            )
        return self

    @field_validator("prompts", "questions")
    @classmethod
    def _each_once(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        given = tuple(text.strip() for text in given)
        if "" in given:
            raise ValueError(f"text {given.index('') + 1} of {len(given)} is empty")
        if twice := [text for i, text in enumerate(given) if text in given[:i]]:
            raise ValueError(f"{twice[0]!r} is given twice")
        return given

    @field_validator("folds")
    @classmethod
    def _none_or_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("must be 0 or at least 2")
        return folds

    @property
    def search_steps(self) -> int:
        """T, the number of steps of the search."""
        if not self.update and self.reward == "gain":
            return 0  # without updates nothing is gained, so there is nothing to search for
        return self.steps if self.images is None else self.images // (2 * self.n)

    @property
    def ranks(self) -> bool:
        """Whether an embedding orders the seed prompts."""
        return not self.prompts or self.rank == "prior"

    @property
    def embeds(self) -> bool:
        """Whether an embedding is needed for anything."""
        return self.ranks or self.state == "embedding"
