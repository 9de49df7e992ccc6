"""The frozen data that travels between the core and its plugins.

The protocols that plugins implement are in `xcore.contract.protocols`. torch is named in annotations only, so importing
this module is cheap. The record of an explanation has every field of `Explanation` and of the classes inside it:
`xcore.store.codec` follows the declared types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xcore.contract.samples import Samples

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Adapter",
    "Budget",
    "Cell",
    "Concept",
    "Cost",
    "Dictionary",
    "Explanation",
    "Outcome",
    "Presence",
    "Ref",
    "Score",
    "Split",
    "StartedRun",
    "Status",
    "Truth",
]

Split = Literal["train", "explain", "heldout"]
"""A part of a data set: "train" for what a method trains and compares with, "explain" for the samples that it explains,
"heldout" for metrics only."""
Status = Literal["ok", "failed", "skipped", "pending"]
"""How a cell ended; "pending" = it is not done yet."""


@dataclass(frozen=True, eq=False)
class Concept:
    """One concept of an explanation."""

    name: str
    """As tables and pictures show it."""
    importance: float
    """In the unit that `Explanation.importance_is` names."""
    samples: Samples | None = None
    """Images or texts that show the concept. Their labels and meta are not kept in the record."""
    words: tuple[str, ...] = ()
    """Words for the concept: its seed prompt and synonyms, or the word that a method for texts found."""
    render: str = "as-is"
    """How the samples were made, so that random sets can be rendered in the same way: ``as-is``, ``crop:32>64``,
    ``segment:black``, ``generated:<fingerprint>`` or, of drawings by an adapter that is among `Explanation.files`,
    ``generated:<fingerprint>+<digest of the adapter>`` (see `xcore.run.random_sets`)."""
    source: Tensor | None = None
    """(n,) int: for each sample, the index of the task's sample that it was made from; -1 = generated."""
    directions: Mapping[str, Tensor] = field(default_factory=dict)
    """Layer -> (d,) direction in that layer's activations (a CAV or an atom). d is the flattened size, or the number of
    channels for a direction that is shared by all positions."""
    atom: int | None = None
    """Row of `Dictionary.atoms` in `Explanation.dictionary`."""
    parent: int | None = None
    """Index in `Explanation.concepts` of the concept that this one refines."""
    maps: Tensor | None = None
    """(N, H, W) >= 0: where the concept is in each of the task's N images. A mask is a map of zeros and ones."""
    local: Tensor | None = None
    """(N,) importance or frequency of the concept in each of the task's samples."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """Statistics of the concept by name: p, effect, lo, hi, null_mean, cav_accuracy, lift, q_value, ...;
    projection_mean is where the strength of a direction is measured from (see `xcore.models.presence`)."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A dictionary of the activations of one layer: activations (N, P, C) ~ codes (N, P, k) @ atoms (k, C).

    N samples with P positions each, C channels and k atoms.
    """

    layer: str
    """Whose activations these are."""
    atoms: Tensor
    """(k, C)."""
    codes: Tensor
    """(N, P, k)."""
    encoder: Literal["nnls", "linear", "onehot", "sae"]
    """How codes are found for new activations."""
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """The tensors that the encoder needs besides the atoms: centre, scale, shift, encoder weights, thresholds."""


@dataclass(frozen=True)
class Cost:
    """What an explanation cost."""

    seconds: float = 0.0
    """Wall-clock time of the method, without `shared_seconds`."""
    shared_seconds: float = 0.0
    """Wall-clock time for artifacts that other cells use too."""
    forwards: int = 0
    """Samples that passed forward through the classifier."""
    backwards: int = 0
    """Samples for which gradients of the classifier were computed."""
    generated: int = 0
    """Samples that were made: what the generator drew or edited, and texts that the method wrote."""
    peak_mb: float = 0.0
    """Largest memory of the process so far, in MB."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The explanation that a method gives of one class, or, as an entry of `parts`, of one sample or group."""

    method: str
    """Name of the method."""
    target: str
    """Name of the explained class."""
    importance_is: str
    """The unit of `Concept.importance`, e.g. "total Sobol index of the class logit"."""
    concepts: tuple[Concept, ...]
    """Most important first, ties by index."""
    dictionary: Dictionary | None = None
    """The dictionary whose atoms the concepts are, for methods that learn one."""
    parts: tuple[Explanation, ...] = ()
    """Explanations of single samples or of groups of them."""
    trace: tuple[Mapping[str, Any], ...] = ()
    """One entry for each step of an iterative method, of what JSON can hold."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Name -> a file such as an adapter, a picture or sentences. The core moves it into the record."""
    cost: Cost = Cost()
    """What it cost; the core fills in what the method does not."""
    notes: tuple[str, ...] = ()
    """Warnings that a reader of the explanation must see, one line each."""
    explained: Samples | None = None
    """The explained texts, in the order of `Concept.local`, which the core adds; None for images."""

    def __repr__(self) -> str:
        """One line: an explanation may hold megabytes of tensors, which nobody wants to see printed."""
        top = [f"{c.name!r} {c.importance:.3g}" for c in self.concepts[:3]]
        more = f", and {len(self.concepts) - 3} more" if len(self.concepts) > 3 else ""
        shown = f": {', '.join(top)}{more} (importance: {self.importance_is})" if top else ""
        n = f"{len(self.concepts)} concept{'' if len(self.concepts) == 1 else 's'}"
        return f"<explanation of {self.target!r} by {self.method}, {n}{shown}>"


@dataclass(frozen=True, eq=False)
class Presence:
    """Where, and how strongly, the concepts of an explanation are in samples, such as new ones.

    N samples, k concepts in the order of `Explanation.concepts`.
    """

    strength: Tensor
    """(N, k) float32, in the unit that `strength_is` names. A concept that the method cannot find again is NaN."""
    strength_is: str
    """What the strength is, e.g. "mean coefficient of the atom over positions"."""
    maps: Tensor | None = None
    """(N, k, H, W) >= 0: where each concept is in each image; None if the method cannot say."""
    notes: tuple[str, ...] = ()
    """What a reader must know, one line each."""


@dataclass(frozen=True)
class Score:
    """One value of one metric, for one concept or for a whole explanation, or the reason why there is none.

    Raises
    ------
    ValueError
        Both of `value` and `reason` are given, or neither.
    """

    metric: str
    """Name of the metric."""
    concept: int | None = None
    """Index into `Explanation.concepts`; None = the whole explanation."""
    value: float | None = None
    reason: str | None = None
    """Why there is no value."""
    variant: str = ""
    """Embedder, layer or experiment. Scores of different variants are never ranked against one another."""
    spread: float | None = None
    """Standard deviation of the value over what `over` names."""
    over: str = ""
    """What the spread is over: "pairs", "concept samples", "random sets", "seeds"."""
    n: int = 0
    """Number of observations behind the value."""
    samples: tuple[float, ...] = ()
    """The single observations, where the metric keeps them."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Further numbers by name, such as counts or the value by chance."""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a score has either a value or a reason, got {self.value!r} and {self.reason!r}")


@dataclass(frozen=True)
class Truth:
    """What a classifier is known to use, found by intervening on the factors of a synthetic data set.

    Factor values are named ``factor=value``, e.g. ``pattern=striped``.
    """

    effects: Mapping[str, Mapping[str, tuple[float, float, float]]]
    """Class -> factor value -> (mean change of the class logit when the value is swapped away, low, high)."""
    gaps: Mapping[str, float]
    """Class -> mean difference between its logit and the second largest one."""
    phrases: Mapping[str, frozenset[str]]
    """Phrase of the vocabulary -> the factor values that it names."""
    share: float = 0.1
    """A factor value counts as used if its effect is at least this share of the gap."""

    def used(self, cls: str) -> frozenset[str]:
        """The factor values that the classifier uses for this class; none if it confuses the class with another one."""
        least = self.share * self.gaps[cls]
        return frozenset(v for v, (effect, _, _) in self.effects[cls].items() if effect >= least > 0)

    def against(self, cls: str) -> frozenset[str]:
        """The factor values that speak against this class: they lower its logit by at least the same share of the gap.

        They are not used *for* the class, so that a concept that names one is no reason for it. In a table whose
        effects are taken against the value that defines the class, these are also the values that take its place.
        """
        least = self.share * self.gaps[cls]
        return frozenset(v for v, (effect, _, _) in self.effects[cls].items() if -effect >= least > 0)


@dataclass(frozen=True, eq=False)
class Adapter:
    """A fine-tuned state of a generator, as a value that never changes.

    An earlier state is there as long as its value is kept, and no result depends on the order of calls. See
    `xcore.pretrained.adapters` for making, saving and loading one.
    """

    state: Mapping[str, Tensor]
    """Name -> weights."""
    optimiser: Mapping[str, Tensor]
    """Name -> state of the optimiser, so that training can go on from here."""
    digest: str
    """Of the content of both."""


@dataclass(frozen=True)
class Budget:
    """How much an explanation may use. It counts samples and steps, never seconds, which would change results."""

    samples: int = 60
    """How many samples of the class the method sees."""
    heldout: int = 60
    """How many held-out samples of the class the metrics see."""
    steps: int | None = None
    """Upper bound on the steps of an iterative method; None = as the method's own option says."""


@dataclass(frozen=True)
class Ref:
    """A reference to a component: ``name``, ``distribution/name`` or ``provider:argument``, with its options."""

    text: str
    """As it is written on the command line."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Option -> value, of the component that the text names."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Cell:
    """One explanation to make. It is plain data, so any process can build the task from it."""

    label: str
    """Name of the method in tables. A suite may give one method under several labels, with other options each."""
    method: Ref
    """The explainer, with its options."""
    classifier: Ref
    """The model under explanation."""
    data: Ref
    """The data set."""
    cls: str
    """Name of the explained class."""
    seed: int
    """Of the method, and of the samples unless `data_seed` says otherwise."""
    data_seed: int = 0
    """Seed by which samples are drawn from the data."""
    layer: str = ""
    """Empty = the classifier's default layer."""
    generator: Ref | None = None
    """The generator that the method may use; None = none."""
    contrast: Ref | None = None
    """Data set of the random sets; None = `data`."""
    heldout: Ref | None = None
    """Data set of the held-out samples; None = those that `data` holds out."""
    models: Mapping[str, Ref] = field(default_factory=dict)
    """Role -> helper model."""
    budget: Budget = Budget()
    """How many samples and steps it may use."""
    split: Split = "explain"
    """Part of the data whose samples are explained."""
    group: str = ""
    """Only samples of this group of the class are explained, as ``Samples.meta["group"]`` names it; "" = all."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. Plain data."""

    cell: Cell
    """The cell that ended."""
    status: Status
    """How it ended."""
    record: str
    """Name of the record's directory in the run."""
    reason: str = ""
    """Why it failed or was skipped."""
    seconds: float = 0.0
    """Wall-clock time that it took."""
    cached: bool = False
    """Whether the record was there before."""
    unscored: tuple[str, ...] = ()
    """The metrics that failed on the explanation, and why, one line each."""
    notes: tuple[str, ...] = ()
    """Lines that the user must see, from a process elsewhere."""


@dataclass(frozen=True)
class StartedRun:
    """What a tracker is told of a run. Plain data."""

    name: str
    """Name of the suite."""
    folder: Path
    """The run directory, which also tells two runs of one suite apart."""
    plan: Mapping[str, Any]
    """The plan as ``run.json`` has it: ``cells``, ``metrics``, ``suite``, ..."""
    cells: int
    """How many cells the run has."""
    finished: int
    """How many of them were finished before."""
