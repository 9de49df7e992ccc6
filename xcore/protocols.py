"""The protocols that plugins fulfil, and the live objects that they are given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from xcore.errors import MissingError
from xcore.types import Adapter, Budget, Cell, Explanation, Kind, Outcome, Samples, Score, Split, Truth

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Probe(Protocol):
    """A model opened at one layer: all that CAVs, dictionaries and translators need."""

    @property
    def layout(self) -> Literal["NC", "NCHW", "NTC"]:
        """Axes of the activations: samples, channels and, where there are any, positions."""

    def activations(self, x: Samples) -> Tensor:
        """Activations at the layer: (n, C), (n, C, H, W) or (n, T, C) as `layout` says; no gradient."""

    def gradients(self, x: Samples, target: int) -> Tensor:
        """d logit[target] / d activations, in the shape of the activations."""

    def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
        """Logits (n, classes) from activations; differentiable in `a`.

        `like` are the samples that `a` belongs to, needed where the layer is no cut of the graph (a skip connection
        goes around it).
        """


@runtime_checkable
class Classifier(Protocol):
    """A model under explanation. It owns its preprocessing."""

    kind: Kind
    classes: tuple[str, ...]
    can: frozenset[str]
    """Subset of {"activations", "gradients"}; a black box has neither."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the useful layers, in forward order, as in `named_modules()`."""

    @property
    def default_layer(self) -> str:
        """The layer that is explained unless another is asked for; "" for a black box."""

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) pre-softmax scores; no gradient."""

    def open(self, layer: str) -> Probe:
        """The probe at a layer; raises `UsageError` with the nearest name for a layer that is not there."""


@runtime_checkable
class Generator(Protocol):
    """A model that draws samples from prompts and can be adapted by preference.

    A generator may offer `probe() -> Probe`: itself opened at its latents, for samples that it drew and for any others.
    Where latents lead to no logits, `gradients` and `head` of that probe raise `NotApplicable`.
    """

    kind: Kind
    fingerprint: str
    """Digest of the weights and settings; appears in ``render="generated:<fingerprint>"``."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        """One sample per prompt. Sample i depends on (prompt_i, seed_i, adapter) only, whatever the batch."""

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        """A new adapter that prefers `preferred` over `rejected`, and figures of the update (loss, margin, ...)."""


class Dataset(Protocol):
    """Where samples come from."""

    kind: Kind
    classes: tuple[str, ...]
    concepts: tuple[str, ...]
    """Names of concepts with samples of their own (see `concept`)."""
    vocabulary: tuple[str, ...]
    """Phrases, true and decoy, that may be offered to a policy as seed prompts."""
    defaults: Mapping[str, str]
    """What goes with this data if nothing else is asked for: "classifier", "generator", "contrast", and roles."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Inputs that could not be read so far, one line each with the reason."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the samples given so far, e.g. that there were fewer than asked for."""

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n samples of a class (None = of all classes) from a split; splits never share a sample."""

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n samples of a named concept."""

    def truth(self, classifier: str) -> Truth | None:
        """What the classifier of this reference is known to use, or None."""


class Progress(Protocol):
    def __call__(self, step: int, total: int, note: str = "") -> None:
        """Tell that `step` of `total` steps are done."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is asked to do. Live objects, built in the worker from a `Cell`, never sent anywhere."""

    classifier: Classifier
    layer: str
    target: int
    samples: Samples
    """Samples of the class to explain (split "explain")."""
    contrast: Callable[[int, int, str], Samples]
    """(n, index, render) -> the index-th random set, rendered alike; the same for all methods. Sets with index below
    `xcore.contrast.NULL` are negatives, those from there on counterparts for a null; the two never share a sample."""
    data: Dataset
    """Shows its training split only."""
    seed: int
    concepts: Mapping[str, Samples] = field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()
    generator: Generator | None = None
    model: Callable[[str], Any] = lambda role: _no_model(role)
    """Role -> helper model (see `xcore.roles`); a missing role raises `MissingError` that names the flag."""
    roles: Collection[str] = ()
    """The roles for which there is a model."""
    artifact: Callable[[str, Mapping[str, Any], Callable[[Path], None]], Path] = lambda name, key, make: _no_artifact(
        name
    )
    """(name, key, make) -> a directory shared between cells, made once by `make(directory)`: translators, pools."""
    workdir: Path = Path()
    """An empty directory for `Explanation.files`."""
    budget: Budget = Budget()  # noqa: RUF009 (frozen)
    progress: Progress = lambda step, total, note="": None

    @property
    def target_name(self) -> str:
        """Name of the target class."""
        return self.classifier.classes[self.target]


def _no_model(role: str) -> Any:
    raise MissingError(f"no model for the role {role!r}", f"name one with --model {role}=REF")


def _no_artifact(name: str) -> Path:
    raise RuntimeError(f"this task was made without an artifact store, needed for {name!r}")


class Explainer(Protocol):
    """A method. It leaves model, hooks, modes and random state as it found them."""

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""


@dataclass(frozen=True, eq=False)
class Run:
    """One finished explanation with what a metric needs to judge it."""

    cell: Cell
    explanation: Explanation
    task: Task
    heldout: Samples
    """Samples of the class that no method has seen."""
    heldout_contrast: Callable[[int, int, str], Samples]
    """Like `Task.contrast`, from held-out samples."""
    truth: Truth | None = None


class Metric(Protocol):
    """A measure over explanations."""

    direction: Literal["higher", "lower", "none"]
    needs: frozenset[str]
    """What a concept must have, else the core writes n/a with the reason: "samples:image", "samples:text", "maps",
    "dictionary", "directions", "truth"."""

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """Scores of the explanation, or of the group where the card says ``over``; sees all concepts at once."""


class Engine(Protocol):
    """Where cells are run."""

    def run(self, cells: Iterable[Cell], work: Callable[[Cell], Outcome]) -> Iterator[Outcome]:
        """Run the work for every cell and yield outcomes as they come."""
