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
    """One concept of an explanation.

    Attributes
    ----------
    name
        As tables and pictures show it.
    importance
        In the unit that `Explanation.importance_is` names.
    samples
        Images or texts that show the concept. Their labels and meta are not kept in the record.
    words
        Words for the concept: its seed prompt and synonyms, or the word that a method for texts found.
    render
        How the samples were made, so that random sets can be rendered in the same way: ``as-is``, ``crop:32>64``,
        ``segment:black``, ``generated:<fingerprint>`` or, of drawings by an adapter that is among `Explanation.files`,
        ``generated:<fingerprint>+<digest of the adapter>`` (see `xcore.run.random_sets`).
    source
        (n,) int: for each sample, the index of the task's sample that it was made from; -1 = generated.
    directions
        Layer -> (d,) direction in that layer's activations (a CAV or an atom). d is the flattened size, or the number
        of channels for a direction that is shared by all positions.
    atom
        Row of `Dictionary.atoms` in `Explanation.dictionary`.
    parent
        Index in `Explanation.concepts` of the concept that this one refines.
    maps
        (N, H, W) >= 0: where the concept is in each of the task's N images. A mask is a map of zeros and ones.
    local
        (N,) importance or frequency of the concept in each of the task's samples.
    evidence
        Statistics of the concept by name: p, effect, lo, hi, null_mean, cav_accuracy, lift, q_value, ...;
        projection_mean is where the strength of a direction is measured from (see `xcore.models.presence`).
    """

    name: str
    importance: float
    samples: Samples | None = None
    words: tuple[str, ...] = ()
    render: str = "as-is"
    source: Tensor | None = None
    directions: Mapping[str, Tensor] = field(default_factory=dict)
    atom: int | None = None
    parent: int | None = None
    maps: Tensor | None = None
    local: Tensor | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A dictionary of the activations of one layer: activations (N, P, C) ~ codes (N, P, k) @ atoms (k, C).

    N samples with P positions each, C channels and k atoms.

    Attributes
    ----------
    layer
        Whose activations these are.
    atoms
        (k, C).
    codes
        (N, P, k).
    encoder
        How codes are found for new activations.
    state
        The tensors that the encoder needs besides the atoms: centre, scale, shift, encoder weights, thresholds.
    """

    layer: str
    atoms: Tensor
    codes: Tensor
    encoder: Literal["nnls", "linear", "onehot", "sae"]
    state: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What an explanation cost.

    Attributes
    ----------
    seconds
        Wall-clock time of the method, without `shared_seconds`.
    shared_seconds
        Wall-clock time for artifacts that other cells use too.
    forwards
        Samples that passed forward through the classifier.
    backwards
        Samples for which gradients of the classifier were computed.
    generated
        Samples that were made: what the generator drew or edited, and texts that the method wrote.
    peak_mb
        Largest memory of the process so far, in MB.
    """

    seconds: float = 0.0
    shared_seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    generated: int = 0
    peak_mb: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The explanation that a method gives of one class, or, as an entry of `parts`, of one sample or group.

    Attributes
    ----------
    method
        Name of the method.
    target
        Name of the explained class.
    importance_is
        The unit of `Concept.importance`, e.g. "total Sobol index of the class logit".
    concepts
        Most important first, ties by index.
    dictionary
        The dictionary whose atoms the concepts are, for methods that learn one.
    parts
        Explanations of single samples or of groups of them.
    trace
        One entry for each step of an iterative method, of what JSON can hold.
    files
        Name -> a file such as an adapter, a picture or sentences. The core moves it into the record.
    cost
        What it cost; the core fills in what the method does not.
    notes
        Warnings that a reader of the explanation must see, one line each.
    explained
        The explained texts, in the order of `Concept.local`, which the core adds; None for images.
    """

    method: str
    target: str
    importance_is: str
    concepts: tuple[Concept, ...]
    dictionary: Dictionary | None = None
    parts: tuple[Explanation, ...] = ()
    trace: tuple[Mapping[str, Any], ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()
    explained: Samples | None = None

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

    Attributes
    ----------
    strength
        (N, k) float32, in the unit that `strength_is` names. A concept that the method cannot find again is NaN.
    strength_is
        What the strength is, e.g. "mean coefficient of the atom over positions".
    maps
        (N, k, H, W) >= 0: where each concept is in each image; None if the method cannot say.
    notes
        What a reader must know, one line each.
    """

    strength: Tensor
    strength_is: str
    maps: Tensor | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """One value of one metric, for one concept or for a whole explanation, or the reason why there is none.

    Raises
    ------
    ValueError
        Both of `value` and `reason` are given, or neither.

    Attributes
    ----------
    metric
        Name of the metric.
    concept
        Index into `Explanation.concepts`; None = the whole explanation.
    value
        The value; None if there is a reason instead.
    reason
        Why there is no value.
    variant
        Embedder, layer or experiment. Scores of different variants are never ranked against one another.
    spread
        Standard deviation of the value over what `over` names.
    over
        What the spread is over: "pairs", "concept samples", "random sets", "seeds".
    n
        Number of observations behind the value.
    samples
        The single observations, where the metric keeps them.
    details
        Further numbers by name, such as counts or the value by chance.
    """

    metric: str
    concept: int | None = None
    value: float | None = None
    reason: str | None = None
    variant: str = ""
    spread: float | None = None
    over: str = ""
    n: int = 0
    samples: tuple[float, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a score has either a value or a reason, got {self.value!r} and {self.reason!r}")


@dataclass(frozen=True)
class Truth:
    """What a classifier is known to use, found by intervening on the factors of a synthetic data set.

    Factor values are named ``factor=value``, e.g. ``pattern=striped``.

    Attributes
    ----------
    effects
        Class -> factor value -> (mean change of the class logit when the value is swapped away, low, high).
    gaps
        Class -> mean difference between its logit and the second largest one.
    phrases
        Phrase of the vocabulary -> the factor values that it names.
    share
        A factor value counts as used if its effect is at least this share of the gap.
    """

    effects: Mapping[str, Mapping[str, tuple[float, float, float]]]
    gaps: Mapping[str, float]
    phrases: Mapping[str, frozenset[str]]
    share: float = 0.1

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

    Attributes
    ----------
    state
        Name -> weights.
    optimiser
        Name -> state of the optimiser, so that training can go on from here.
    digest
        Of the content of both.
    """

    state: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    digest: str


@dataclass(frozen=True)
class Budget:
    """How much an explanation may use. It counts samples and steps, never seconds, which would change results.

    Attributes
    ----------
    samples
        How many samples of the class the method sees.
    heldout
        How many held-out samples of the class the metrics see.
    steps
        Upper bound on the steps of an iterative method; None = as the method's own option says.
    """

    samples: int = 60
    heldout: int = 60
    steps: int | None = None


@dataclass(frozen=True)
class Ref:
    """A reference to a component: ``name``, ``distribution/name`` or ``provider:argument``, with its options.

    Attributes
    ----------
    text
        As it is written on the command line.
    options
        Option -> value, of the component that the text names.
    """

    text: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Cell:
    """One explanation to make. It is plain data, so any process can build the task from it.

    Attributes
    ----------
    label
        Name of the method in tables. A suite may give one method under several labels, with other options each.
    method
        The explainer, with its options.
    classifier
        The model under explanation.
    data
        The data set.
    cls
        Name of the explained class.
    seed
        Of the method, and of the samples unless `data_seed` says otherwise.
    data_seed
        Seed by which samples are drawn from the data.
    layer
        Empty = the classifier's default layer.
    generator
        The generator that the method may use; None = none.
    contrast
        Data set of the random sets; None = `data`.
    heldout
        Data set of the held-out samples; None = those that `data` holds out.
    models
        Role -> helper model.
    budget
        How many samples and steps it may use.
    split
        Part of the data whose samples are explained.
    group
        Only samples of this group of the class are explained, as ``Samples.meta["group"]`` names it; "" = all.
    """

    label: str
    method: Ref
    classifier: Ref
    data: Ref
    cls: str
    seed: int
    data_seed: int = 0
    layer: str = ""
    generator: Ref | None = None
    contrast: Ref | None = None
    heldout: Ref | None = None
    models: Mapping[str, Ref] = field(default_factory=dict)
    budget: Budget = Budget()
    split: Split = "explain"
    group: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. Plain data.

    Attributes
    ----------
    cell
        The cell that ended.
    status
        How it ended.
    record
        Name of the record's directory in the run.
    reason
        Why it failed or was skipped.
    seconds
        Wall-clock time that it took.
    cached
        Whether the record was there before.
    unscored
        The metrics that failed on the explanation, and why, one line each.
    notes
        Lines that the user must see, from a process elsewhere.
    """

    cell: Cell
    status: Status
    record: str
    reason: str = ""
    seconds: float = 0.0
    cached: bool = False
    unscored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StartedRun:
    """What a tracker is told of a run. Plain data.

    Attributes
    ----------
    name
        Name of the suite.
    folder
        The run directory, which also tells two runs of one suite apart.
    plan
        The plan as ``run.json`` has it: ``cells``, ``metrics``, ``suite``, ...
    cells
        How many cells the run has.
    finished
        How many of them were finished before.
    """

    name: str
    folder: Path
    plan: Mapping[str, Any]
    cells: int
    finished: int
