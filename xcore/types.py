"""What travels between the core and its plugins: frozen data (the protocols that plugins fulfil: `xcore.protocols`).

torch is named in annotations only, so importing this module is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xcore.samples import Kind, Samples

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
    "Kind",
    "Outcome",
    "Ref",
    "Samples",
    "Score",
    "Split",
    "Status",
    "Truth",
]

Split = Literal["train", "explain", "heldout"]
Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, eq=False)
class Concept:
    """One concept of an explanation."""

    name: str
    importance: float
    """In the unit that `Explanation.importance_is` names."""
    samples: Samples | None = None
    """What it looks like or says."""
    words: tuple[str, ...] = ()
    """Seed prompt, synonyms, a described word."""
    render: str = "as-is"
    """How the samples were made, so that contrast can be rendered alike: ``as-is``, ``crop:32>64``, ``segment:black``,
    ``generated:<fingerprint>`` (see `xcore.contrast`)."""
    source: Tensor | None = None
    """(n,) index of each sample's origin in the task's samples; -1 = generated."""
    directions: Mapping[str, Tensor] = field(default_factory=dict)
    """Layer -> (d,) direction in that layer's activations (a CAV or an atom). d is the flattened size, or the number of
    channels for a direction that is shared by all positions."""
    atom: int | None = None
    """Row of `Explanation.dictionary`."""
    parent: int | None = None
    """Index of the concept that this one refines."""
    maps: Tensor | None = None
    """(N, H, W) >= 0: where the concept is, in the task's samples. A mask is a 0/1 map."""
    local: Tensor | None = None
    """(N,) importance or frequency per sample of the task."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """p, effect, lo, hi, null_mean, cav_accuracy, lift, q_value, ..."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A dictionary over the activations of one layer: activations (N, P, C) ~ codes (N, P, k) @ atoms (k, C)."""

    layer: str
    atoms: Tensor
    codes: Tensor
    encoder: Literal["nnls", "linear", "onehot", "sae"]
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """What the encoder needs besides the atoms: centre, scale, shift, encoder weights, thresholds."""


@dataclass(frozen=True)
class Cost:
    """What an explanation cost. Shared seconds (artifacts that other cells use too) are counted apart."""

    seconds: float = 0.0
    shared_seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    generated: int = 0
    peak_mb: float = 0.0


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a method says about one class (or about one sample or group: see `parts`)."""

    method: str
    target: str
    importance_is: str
    """The unit of `Concept.importance`, e.g. "total Sobol index of the class logit"."""
    concepts: tuple[Concept, ...]
    """Most important first, ties by index."""
    dictionary: Dictionary | None = None
    parts: tuple[Explanation, ...] = ()
    trace: tuple[Mapping[str, Any], ...] = ()
    """One JSON-able entry per step of an iterative method."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Adapters, pictures, sentences: name -> file, moved into the record."""
    cost: Cost = Cost()
    notes: tuple[str, ...] = ()
    """Warnings about the fit that a reader must see (one line each)."""
    explained: Samples | None = None
    """The explained texts, in the order of `Concept.local`. The core keeps them; None for images."""

    def _repr_png_(self) -> bytes | None:
        """The gallery of the top concepts, shown by notebooks."""
        from xcore.pictures import gallery

        return gallery(self)


@dataclass(frozen=True)
class Score:
    """One value of one metric, for one concept or for a whole explanation. Exactly one of value and reason is None."""

    metric: str
    concept: int | None = None
    """Index into `Explanation.concepts`; None = the whole explanation."""
    value: float | None = None
    reason: str | None = None
    variant: str = ""
    """Embedder, layer, experiment: scores of different variants are never ranked against one another."""
    spread: float | None = None
    over: str = ""
    """What the spread is over: "pairs", "concept samples", "random sets", "seeds"."""
    n: int = 0
    samples: tuple[float, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.value is None) == (self.reason is None):
            raise ValueError(f"a score has either a value or a reason, got {self.value!r} and {self.reason!r}")


@dataclass(frozen=True)
class Truth:
    """What a classifier is known to use, by intervention on the factors of a made world.

    Factor values are named ``factor=value``, e.g. ``pattern=striped``.
    """

    effects: Mapping[str, Mapping[str, tuple[float, float, float]]]
    """Class -> factor value -> (mean change of the class logit when the value is swapped away, low, high)."""
    gaps: Mapping[str, float]
    """Class -> mean gap of its logit to the runner-up's."""
    phrases: Mapping[str, frozenset[str]]
    """Phrase of the vocabulary -> the factor values that it names."""
    share: float = 0.1
    """A factor value is used if its effect is at least this share of the gap."""

    def used(self, cls: str) -> frozenset[str]:
        """The factor values that the classifier uses for this class; none if it takes the class for another one."""
        least = self.share * self.gaps[cls]
        return frozenset(v for v, (effect, _, _) in self.effects[cls].items() if effect >= least > 0)


@dataclass(frozen=True, eq=False)
class Adapter:
    """A fine-tuned state of a generator, as a value: snapshots, undo and independence of order for free."""

    state: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    digest: str


@dataclass(frozen=True)
class Budget:
    """How much an explanation may use. It counts samples and steps, never seconds, which would change results."""

    samples: int = 60
    """Samples of the class that the method sees."""
    heldout: int = 60
    """Held-out samples of the class that metrics see."""
    steps: int | None = None
    """Upper bound on the steps of an iterative method; None = the method's own option."""


@dataclass(frozen=True)
class Ref:
    """A reference to a component: ``name``, ``distribution/name`` or ``provider:argument``, with its options."""

    text: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Cell:
    """One explanation to make. Plain data: any process can build its task."""

    label: str
    method: Ref
    classifier: Ref
    data: Ref
    cls: str
    seed: int
    data_seed: int = 0
    layer: str = ""
    """Empty = the classifier's default layer."""
    generator: Ref | None = None
    contrast: Ref | None = None
    """Data set of the random sets; None = `data`."""
    models: Mapping[str, Ref] = field(default_factory=dict)
    budget: Budget = Budget()


@dataclass(frozen=True)
class Outcome:
    """What became of a cell. Plain data."""

    cell: Cell
    status: Status
    record: str
    """Name of the record's directory in the run."""
    reason: str = ""
    seconds: float = 0.0
    cached: bool = False
