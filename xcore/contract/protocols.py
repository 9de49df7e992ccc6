"""The protocols that plugins implement, and the live objects that the core gives them.

The protocols of helper models are in `xcore.contract.roles`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from xcore.base.errors import MissingError
from xcore.contract.samples import Modality, Samples
from xcore.contract.types import Adapter, Budget, Cell, Explanation, Outcome, Score, Split, StartedRun, Truth

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Probe(Protocol):
    """A model opened at one layer, for methods that work with activations, such as CAVs and dictionaries."""

    @property
    def layout(self) -> Literal["NC", "NCHW", "NTC"]:
        """Axes of the activations: N samples, C channels and, where there are any, H x W or T positions."""

    def activations(self, x: Samples) -> Tensor:
        """Activations at the layer: (n, C), (n, C, H, W) or (n, T, C) as `layout` says; no gradient."""

    def gradients(self, x: Samples, target: int) -> Tensor:
        """d logit[target] / d activations, in the shape of the activations."""

    def head(self, a: Tensor, like: Samples | None = None) -> Tensor:
        """Logits (n, classes) from activations; differentiable in `a`.

        Parameters
        ----------
        a
            Activations, as `activations` gives them.
        like
            The samples that `a` belongs to. They are needed where the layer is no cut of the graph, that is, where a
            skip connection goes around it.
        """


@runtime_checkable
class Classifier(Protocol):
    """A model under explanation. It does its own preprocessing.

    A classifier of images may also have an attribute `framing` (`xcore.inputs.images.Framing`): how a picture of any
    size becomes its input, which data sets read their files by. Any classifier may have `aliases`: a mapping from a
    class to its other names, such as synonyms or a synset id (see `xcore.inputs.class_names`), and an attribute
    `batch_size` that can be set: how many samples it sends through the model at once; `notes`: what a reader must know
    of it, one line each; and `scores`, which says what its logits are (see `xcore.models.outputs`).

    Attributes
    ----------
    modality
        Of the samples that it reads.
    classes
        Their names, in the order of the logits.
    can
        What it can give: a subset of {"activations", "gradients"}. A black box can give neither.
    """

    modality: Modality
    classes: tuple[str, ...]
    can: frozenset[str]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be explained, in the order of a forward pass, as in `named_modules()`."""

    @property
    def default_layer(self) -> str:
        """The layer that is explained unless the user names another; "" for a black box."""

    def logits(self, x: Samples) -> Tensor:
        """(n, classes) pre-softmax scores; no gradient."""

    def open(self, layer: str) -> Probe:
        """The probe at a layer; raises `UsageError` with the nearest name if there is no such layer."""


@runtime_checkable
class Generator(Protocol):
    """A model that draws samples from prompts. Some can be fine-tuned on preferences, and some can edit samples.

    A generator that can "edit" has a method ``edit(samples, prompts, seeds, *, strength, masks=None, negatives=None,
    adapter=None) -> Samples``, which gives one edited sample for each of n given ones, of the size of the given ones:

    - ``prompts``, ``seeds``: n each; what sample i is changed towards, and the seed of its noise. Sample i depends on
      the given sample, its prompt, seed, mask, negative prompt, the strength and the adapter, not on its batch.
    - ``strength`` in (0, 1]: how much is changed. Near 0 gives what the generator makes of the sample without a change.
    - ``masks`` (n, H, W): where it is changed (1) and where not (0); None = everywhere.
    - ``negatives``: n prompts that the samples are changed away from, "" for none; None = none of them.

    Its ids say what was edited by what; its meta holds "prompt", "seed" and "edited" (the ids of the given samples).

    A generator may also have a method `probe() -> Probe` that opens it at its latents, for samples that it drew and for
    any others. `gradients` and `head` of that probe raise `NotApplicable` where there are no logits. And it may have a
    method `remarks(prompts) -> list[str]`: what a reader must know of these prompts, e.g. that their end is not read.

    Attributes
    ----------
    modality
        Of the samples that it draws.
    fingerprint
        Digest of the weights and settings. It is part of ``render="generated:<fingerprint>"``.
    can
        What it can do beside drawing: a subset of {"adapt", "edit"}. `xcore.pretrained.drawing.check_can` refuses a
        generator that cannot do what a method needs, before anything is drawn.
    """

    modality: Modality
    fingerprint: str
    can: frozenset[str]

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], adapter: Adapter | None = None) -> Samples:
        """Draw one sample for each prompt.

        Sample i depends only on prompt i, seed i and the adapter, not on the batch that it is drawn in.

        Parameters
        ----------
        prompts, seeds
            n each.
        adapter
            The fine-tuned state to draw from; None = the original model.
        """

    def adapt(
        self, adapter: Adapter | None, preferred: Samples, rejected: Samples, *, seed: int, options: Mapping[str, Any]
    ) -> tuple[Adapter, Mapping[str, float]]:
        """Fine-tune on preferences; raises `NotApplicable` unless "adapt" is among what it can do.

        Parameters
        ----------
        adapter
            Where to start; None = the original model. It is not changed.
        preferred, rejected
            k samples each; the i-th of both make a pair.
        seed
            Of all random draws of the update.
        options
            Settings of the update, such as ``steps`` or ``lr``.

        Returns
        -------
        The new adapter, and figures of the update by name (loss, margin, ...).
        """


class Dataset(Protocol):
    """A source of samples.

    A data set that reads pictures of any size from files may also have a method ``framed(framing) -> Dataset``: the
    same data, with the pictures brought to the input of a classifier as its own pipeline does. Any data set may have
    `aliases`, a mapping from a class to its other names, and `left_out`, from what a user may take for a class to the
    reason why it is none.

    Attributes
    ----------
    modality
        Of its samples.
    classes
        Names of the classes; labels are their indices.
    concepts
        Names of the concepts for which the data set has samples (see `concept`).
    vocabulary
        Phrases that a method may use as seed prompts: names of real concepts, and decoys.
    defaults
        The components to use with this data unless the user names others: "classifier", "generator", "contrast" or a
        role -> reference.
    """

    modality: Modality
    classes: tuple[str, ...]
    concepts: tuple[str, ...]
    vocabulary: tuple[str, ...]
    defaults: Mapping[str, str]

    @property
    def skipped(self) -> tuple[str, ...]:
        """The inputs that could not be read so far, one line each with the reason."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the samples given so far that a reader must see, e.g. that there were fewer than requested."""

    def samples(self, cls: str | None, split: Split, n: int, seed: int) -> Samples:
        """n samples of a class (None = of all classes) from a split. No sample is in two splits."""

    def concept(self, name: str, n: int, seed: int) -> Samples:
        """n samples of a named concept."""

    def truth(self, classifier: str) -> Truth | None:
        """What the classifier of this reference is known to use; None if that is not known."""


Purpose = Literal["negative", "null"]
"""What a random set is used for: as the negative examples of a CAV, or in place of a concept's samples, for a null
distribution."""


class RandomSet(Protocol):
    """Gives random sets: samples of other classes than the explained one."""

    def __call__(self, n: int, index: int, render: str = "as-is", purpose: Purpose = "negative") -> Samples:
        """One random set.

        Parameters
        ----------
        n
            Number of samples.
        index
            Which of the sets; the same index gives the same set. Of drawings there are as many sets for a null as there
            are phrases; a further index gives the first ones again.
        render
            How the samples are rendered: the `Concept.render` of the concept that they are compared with.
        purpose
            Sets for the two purposes never share a sample. Drawings for a null are of one phrase in each set, which
            ``meta["prompt"]`` names, since those of a concept are, too.
        """


class Progress(Protocol):
    def __call__(self, step: int, total: int, note: str = "") -> None:
        """Report that `step` of `total` steps are done."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is to explain, and what it may use. Built from a `Cell` in the process that runs the method.

    Its live objects are never sent to another process.

    Attributes
    ----------
    classifier
        The model under explanation.
    layer
        Name of the layer to open; "" for a black box.
    target
        Index of the class to explain.
    samples
        Samples of the class to explain (split "explain").
    random_set
        Random sets of samples of other classes. All methods get the same sets.
    data
        The data set without its held-out samples and without the truth.
    seed
        The only source of randomness.
    concepts
        Concept -> samples that the user gave for it.
    vocabulary
        Phrases that may be used as seed prompts (see `Dataset.vocabulary`).
    generator
        The generator that the user named; None = none.
    model
        Role -> helper model (see `xcore.contract.roles`). For a role without a model it raises a `MissingError` that
        names the flag to set.
    roles
        The roles for which there is a model.
    artifact
        (name, key, make) -> a directory that all cells share, such as a trained translator or a pool of samples. It is
        found by its name and key; the first cell that asks for it fills it with `make(directory)`.
    workdir
        An empty directory in which the method makes the files of `Explanation.files`.
    budget
        How many samples and steps may be used.
    progress
        To be called with (step, total, note), for the progress bar.
    """

    classifier: Classifier
    layer: str
    target: int
    samples: Samples
    random_set: RandomSet
    data: Dataset
    seed: int
    concepts: Mapping[str, Samples] = field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()
    generator: Generator | None = None
    model: Callable[[str], Any] = lambda role: _no_model(role)
    roles: Collection[str] = ()
    artifact: Callable[[str, Mapping[str, Any], Callable[[Path], None]], Path] = lambda name, key, make: _no_artifact(
        name
    )
    workdir: Path = Path()
    budget: Budget = Budget()  # noqa: RUF009 (frozen)
    progress: Progress = lambda step, total, note="": None

    @property
    def target_name(self) -> str:
        """Name of the target class."""
        return self.classifier.classes[self.target]


def _no_model(role: str) -> Any:
    raise MissingError(f"no model for the role {role!r}", f"name one with --model {role}=REF")


def _no_artifact(name: str) -> Path:
    raise RuntimeError(f"the artifact {name!r} cannot be made: this task was built without an artifact store")


class Explainer(Protocol):
    """A method. It leaves the model, its hooks and modes, and the global random state as it found them.

    A method that opens another layer than `Task.layer` where the user names none may say which one by a method
    ``default_layer(classifier: Classifier, samples: Samples) -> str``, "" for none; `xcore layers` shows it.

    A method may refuse a data set before anything is computed, by a method ``check(data: Dataset) -> None`` that raises
    `UsageError` or `MissingError`, e.g. because nobody names the concepts that it ranks.

    A method may also say where the concepts of its explanation are in other samples, by a method
    ``apply(explanation: Explanation, task: Task) -> Presence``. The samples of the task are then the other ones.
    Without it, the dictionary or the directions of the explanation are used (see `xcore.models.presence`).

    A method whose steps `Budget.steps` bounds may say how many it takes without a bound by a property ``steps: int``,
    and report its progress in these steps: a forecast takes a few of them, instead of all (see `xcore.run.probe`).
    """

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""


@dataclass(frozen=True, eq=False)
class Run:
    """One finished explanation, with all that a metric needs to score it.

    Attributes
    ----------
    cell
        The cell that was run.
    explanation
        What the method found.
    task
        What the method was given.
    heldout
        Samples of the class that no method has seen.
    heldout_random_set
        Like `Task.random_set`, but of held-out samples.
    truth
        What the classifier is known to use; None if that is not known.
    """

    cell: Cell
    explanation: Explanation
    task: Task
    heldout: Samples
    heldout_random_set: RandomSet
    truth: Truth | None = None


class Metric(Protocol):
    """A measure of explanations.

    Attributes
    ----------
    direction
        Which values are better; "none" = neither.
    needs
        What it needs of a concept or explanation: "samples:image", "samples:text", "maps", "dictionary", "directions"
        or "truth". Where something is missing, the core writes n/a with the reason instead of calling the metric.
    """

    direction: Literal["higher", "lower", "none"]
    needs: frozenset[str]

    def score(self, runs: Sequence[Run]) -> list[Score]:
        """Scores of one explanation and its concepts, or of all explanations of a group if the card has ``across``."""


@dataclass(frozen=True)
class Limits:
    """What one cell may take, with its scores; None = as much as it likes.

    Attributes
    ----------
    seconds
        Wall seconds, in which also what the cell needs is loaded, if its process has not loaded it yet.
    memory_mb
        Resident memory of the process that runs it, in MB (2**20 bytes), with all that is loaded there.
    """

    seconds: float | None = None
    memory_mb: int | None = None


class Work(Protocol):
    """What an engine calls with a cell. It is plain data that can be pickled, so any process can call it.

    A process that is not the engine's own makes what it needs from this description when it is first called, and keeps
    it for its next cell. It has to see the run directory.
    """

    @property
    def root(self) -> str:
        """The run directory."""

    @property
    def limits(self) -> Limits:
        """What one cell may take."""

    @property
    def threads(self) -> int:
        """torch threads inside a cell, the same in every engine; 0 = as torch has it in the engine's own process."""

    def __call__(self, cell: Cell) -> Outcome:
        """Explain a cell and score it; what is finished already is left as it is. Raises no error of the cell."""

    def lost(self, cell: Cell, reason: str, seconds: float = 0.0) -> Outcome:
        """Record that a cell ended its process, and why; to be called in the engine's own process.

        If a limit ended it (see `ending_itself`), that is the reason.
        """

    def ending_itself(self) -> Work:
        """The same work, whose process ends itself when a cell breaks a limit; for engines that cannot end it."""


class Engine(Protocol):
    """Runs cells, e.g. in this process or in several.

    It may have ``enforces``, a set of names of `Limits` that it keeps; the user is told of the others. It may have
    ``check(work)``, which raises `UsageError` before anything is written if it cannot run the cells as asked.
    """

    def run(self, cells: Iterable[Cell], work: Work) -> Iterator[Outcome]:
        """Call `work` for every cell and yield the outcomes as they come, in any order.

        Where the caller closes the iterator, or an error such as an interrupt passes through it, the cells that are
        running end at once.
        """


class Tracker(Protocol):
    """Follows a run, e.g. on a dashboard.

    It is called in the process in which the run was started, never two calls at once: `run_started` once; `cell_ended`
    for each cell that was run; `table_ready` if the run comes to its end; and `close` last, whatever happened. What it
    raises is told to the user, and it is not called again but for `close`; the run goes on.
    """

    def run_started(self, run: StartedRun) -> None:
        """A run begins, or goes on: then some cells are finished already, and their ends are not told again."""

    def cell_ended(self, outcome: Outcome) -> None:
        """A cell is done, failed or was skipped. Its scores come with the table."""

    def table_ready(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The run is done. The rows are those of ``xcore bench --json``: one a concept, of all cells of the run."""

    def close(self) -> None:
        """Let go of files and connections."""
