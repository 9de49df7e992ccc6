"""Options of RLPO, and the preset that follows the released code. Light: imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from xcore.options import Options as Base

PARITY: Mapping[str, Any] = {
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
}
"""What the released vision code does, where it can be said by options. Its DQN never learns (``learning_starts`` of its
library was 50,000 for a run of 500 steps); 100 is the default of the present version."""


class Options(Base):
    """How concepts are sought. ``preset="parity"`` changes the defaults of what is not given."""

    preset: Literal["default", "parity"] = Field("default", description="parity: as the released code does")

    prompts: tuple[str, ...] = Field((), description="seed prompts, in this order; empty = see `seeds`")
    seeds: Literal["auto", "vocabulary", "vqa"] = Field(
        "auto",
        description="where seed prompts come from: the data set's vocabulary (of texts, their words), or answers of a "
        "model of the role `vqa` about patches of the class images; auto = such a model where one is given",
    )
    questions: tuple[str, ...] = Field((), description="asked of every patch after the seven usual questions")
    vqa_images: int = Field(20, ge=1, description="class images that are asked about, the first ones")
    vqa_grid: int = Field(3, ge=1, description="ask about grid x grid patches of each of them")
    actions: int = Field(20, ge=1, description="seed prompts that are kept of those that were ranked")
    grid: int = Field(1, ge=1, description="rank on whole images (1) or on grid x grid patches of them; not for texts")
    dedup: float = Field(0.95, gt=0, le=1, description="phrases with a cosine above this are one")
    logit_scale: float = Field(
        100.0, gt=0, description="what cosines are multiplied by before the softmax over phrases"
    )
    state: Literal["auto", "embedding", "activations"] = Field(
        "auto",
        description="what the policy sees: an embedding (role image-text, for text text-embedder) or the classifier's "
        "activations; auto = the embedding where it ranks the seeds anyway",
    )

    policy: Literal["dqn", "random", "round-robin", "ranking"] = Field(
        "dqn", description="who picks; ranking = no steps, concepts in the order of the embedding"
    )
    steps: int = Field(100, ge=0, description="steps T; the budget may lower them")
    length: int = Field(1, ge=1, description="longest episode: prompts that are joined")
    n: int = Field(10, ge=2, description="samples in each of the two groups of a step")

    negatives: int = Field(20, ge=1, description="random sets R that groups are separated from")
    contrast: Literal["generated", "dataset"] = Field("generated", description="who draws the random sets")
    pool: bool = Field(False, description="average activations over positions instead of flattening them")
    folds: int = Field(0, ge=0, description="folds of the cross-validated CAV accuracy of each step; 0 = leave it out")

    reward: Literal["ts", "parity"] = Field(
        "ts", description="ts = mean effect of both groups; parity = 50 alpha (TS1 + TS2)"
    )
    alpha_scope: Literal["run", "episode"] = Field("run", description="where picks are counted for alpha")
    preference: Literal["ts-effect", "ts", "effect"] = Field(
        "ts-effect", description="what decides between the groups; ts-effect = TS, then the mean sensitivity"
    )
    tie: Literal["skip", "g2", "random"] = Field("skip", description="who wins where nothing decides")
    update: bool = Field(True, description="off = the generator stays as it is")
    update_rule: Literal["always", "best_so_far", "low_gate", "max_below_eta"] = Field(
        "max_below_eta", description="when the generator learns from a preference"
    )
    eta: float = Field(0.95, ge=0, le=1, description="TS at which an action counts as explained")
    patience: int = Field(16, ge=0, description="end after so many steps without an update, all tried; 0 = never")
    adapt: dict[str, Any] = Field({"steps": 4, "lr": 1e-3}, description="options of the generator's preference update")

    exploration: Literal["balanced", "uniform"] = Field(
        "balanced", description="balanced = random picks go through all actions before one comes again"
    )
    epsilon_end: float = Field(0.05, ge=0, le=1, description="share of random picks at the end")
    exploration_fraction: float = Field(0.6, gt=0, le=1, description="share of T over which epsilon falls from 1")
    learning_starts: int | None = Field(None, ge=0, description="steps before learning; None = min(actions, T / 4)")
    learning_rate: float = Field(3e-3, gt=0, description="of the DQN (Adam)")
    buffer: int = Field(256, ge=1, description="steps that the DQN remembers")
    batch: int = Field(32, ge=1, description="remembered steps in an update of the DQN")
    gamma: float = Field(0.99, ge=0, le=1, description="discount within an episode")
    train_freq: int = Field(1, ge=1, description="steps between updates of the DQN")
    gradient_steps: int = Field(4, ge=1, description="updates of the DQN at a time")
    target_update: int = Field(10, ge=1, description="steps between refreshes of the target network")

    rank_sets: int = Field(3, ge=1, description="freshly drawn sets of n samples by which each concept is ranked")
    shown: int = Field(10, ge=2, description="samples that each concept is shown by, drawn anew")
    maps: int = Field(3, ge=0, description="most important concepts that get maps")
    places: Literal["cav", "localiser"] = Field(
        "cav", description="maps from the CAV's projection per position, or from a model of the role `localiser`"
    )
    trajectory: str = Field("", description="prompt to follow; empty = that of the action with the most updates")
    trajectory_every: int = Field(10, ge=1, description="steps between snapshots")
    trajectory_samples: int = Field(3, ge=1, description="noises that are followed")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("preset") == "parity":
            return {**PARITY, **given}
        return given

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

    @field_validator("learning_starts")
    @classmethod
    def _can_learn(cls, starts: int | None, others: ValidationInfo) -> int | None:
        steps = others.data.get("steps", 0)  # not there if it was wrong itself
        if others.data.get("policy") == "dqn" and starts is not None and 0 < steps <= starts:
            raise ValueError(f"not below the {steps} steps, so the policy would learn nothing")
        return starts

    @property
    def ranks(self) -> bool:
        """Whether an embedding orders the seed prompts."""
        return not self.prompts or self.policy == "ranking"

    @property
    def embeds(self) -> bool:
        """Whether an embedding is needed for anything."""
        return self.ranks or self.state == "embedding"
