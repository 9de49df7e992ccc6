"""What every explainer must keep."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xcore.base.errors import MissingError, NotApplicable
from xcore.contract.protocols import Task
from xcore.contract.samples import Samples
from xcore.contract.types import Explanation, Presence
from xcore.models.presence import presence
from xcore.run.checks import explanation_faults
from xcore.run.random_sets import BUILT_IN, RandomSets
from xcore.store.codec import decode, encode
from xcore.testing.checklist import Skipped, check, expect
from xcore.testing.planted import (
    permuted,
    planted_network,
    planted_task,
    red_share,
    redness,
    signed,
    with_other_weights,
)
from xcore.testing.watching import Given, Subject, Watched, sets_digest, split_digest, watch
from xcore.testing.world import registered_rendering

if TYPE_CHECKING:
    from xcore.contract.protocols import Explainer


@dataclass
class Explaining(Subject):
    """An explainer with the task that it is checked on."""

    explainer: Explainer
    task: Task
    folder: Path
    """An empty folder for the checks."""
    repeats_maps: bool = True
    """Whether the concepts, looked for in the explained images, have the maps of the explanation."""
    hashed: tuple[str, str] | None = None
    """Digests of the explanation made in two processes with other seeds of Python's hashes; None = not made."""

    def watch(self) -> Watched:
        """See what the explainer does on the task, and beside."""
        task, given = lent(self.task)
        return watch(lambda: self.explainer.explain(task), given)

    def explanation(self) -> Explanation:
        """The explanation of the task; raises what the explainer raised."""
        made = self.watched().result()
        expect(isinstance(made, Explanation), f"explain() gives a {type(made).__name__}, not an Explanation")
        explanation: Explanation = made
        return explanation

    def elsewhere(self, task: Task, name: str) -> Explanation:
        """The explanation of a task whose files lie in a folder of their own."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made: Explanation = self.explainer.explain(replace(task, workdir=folder))
        return made


class _Lending:
    """A data set whose samples are compared after they were used."""

    def __init__(self, data: Any, given: Given) -> None:
        self._data, self._given = data, given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def samples(self, *args: Any, **more: Any) -> Samples:
        return self._given.lent.note("samples of the data set", self._data.samples(*args, **more))

    def concept(self, *args: Any, **more: Any) -> Samples:
        return self._given.lent.note("samples of a concept", self._data.concept(*args, **more))


def lent(task: Task) -> tuple[Task, Given]:
    """The task with everything in it watched, and what is watched."""
    given = Given({"the classifier": ("classifier", task.classifier)})
    components = dict(given.components)
    if task.generator is not None:
        components["the generator"] = ("generator", task.generator)
    for role in task.roles:
        components[f"the model of the role {role}"] = ("model", task.model(role))
    given.components = components
    hidden = getattr(task.data, "_data", task.data)  # what is held out, too
    given.contents = {
        "random sets": lambda: sets_digest(task.random_set),
        "samples of the data set": lambda: split_digest(hidden, ("explain", "train", "heldout")),
        "explained samples": lambda: task.samples.digest,
    }
    given.lent.note("explained samples", task.samples)
    for name, samples in task.concepts.items():
        given.lent.note(f"samples of the concept {name!r}", samples)
    watched = replace(
        task,
        data=_Lending(task.data, given) if task.data is not None else task.data,
        random_set=given.lent.sets("a random set", task.random_set),
    )
    return watched, given


def plain(explanation: Explanation, folder: Path) -> tuple[Mapping[str, Any], bytes]:
    """All of an explanation but its cost, as it is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = encode(replace(explanation, files={}), folder)
    kept["cost"] = None
    kept["files"] = sorted(explanation.files)
    tensors = folder / "tensors.safetensors"
    return kept, tensors.read_bytes() if tensors.exists() else b""


def different(one: Any, two: Any, path: str = "") -> Iterator[str]:
    """Where two kept explanations differ."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in sorted({*one, *two}):
            yield from different(one.get(key), two.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        for i, (first, second) in enumerate(zip(one, two, strict=True)):
            yield from different(first, second, f"{path}[{i}]")
    elif one != two:
        yield path or "its tensors"


@check(
    "explainer",
    why="Tables, metrics and pages read every field; one that is not as the contract says fails the cell.",
    mend="Give the field as `xcore.contract.Explanation` and `xcore.contract.Concept` describe it.",
)
def concepts_are_sorted_and_well_formed(subject: Explaining) -> None:
    """Every field of the explanation is as the contract says, and the concepts are sorted by importance."""
    made = subject.explanation()
    expect(made.concepts, "the explanation has no concepts; raise NotApplicable with the reason where none is found")
    faults = [f"{where}: {fault}" if where else fault for where, fault in explanation_faults(made, subject.task)]
    expect(not faults, "; ".join(faults[:5]))


@check(
    "explainer",
    why="Concepts are compared with random sets that are shown alike; of an unknown rendering there are none.",
    mend="Use as-is, crop:SIZE>SIZE, segment:black, segment:mean or generated:FINGERPRINT, or register a rendering.",
)
def renderings_are_known(subject: Explaining) -> None:
    """Random sets can be rendered as each concept's samples are."""
    renders = [c.render for c in subject.explanation().concepts if c.samples is not None]
    for render in dict.fromkeys(renders):
        name = render.partition(":")[0]
        known = name in BUILT_IN or registered_rendering(name) is not None
        expect(known, f"no plugin registers the rendering {name!r} of {render!r}")
        if name == "generated":
            own = getattr(subject.task.generator, "fingerprint", None)
            named = render.partition(":")[2].partition("+")[0]
            expect(own is None or named == own, f"{render!r} names the generator {named!r}, but the task has {own!r}")
        elif isinstance(subject.task.random_set, RandomSets):
            try:
                subject.task.random_set(2, 0, render)
            except NotApplicable as error:
                expect("segmenter" in error.hint and "segmenter" not in subject.task.roles, str(error))


@check(
    "explainer",
    why="A result that cannot be repeated cannot be checked, and finished cells are never computed again.",
    mend="Take all randomness from task.seed, and sort what has no order of its own.",
)
def same_seed_same_result(subject: Explaining) -> None:
    """The same task gives the same explanation, bit for bit."""
    one = plain(subject.explanation(), subject.folder / "first")
    two = plain(subject.elsewhere(subject.task, "again"), subject.folder / "second")
    expect(one == two, f"the second explanation differs in {', '.join([*different(one, two)][:5])}")


@check(
    "explainer",
    why="Python orders sets of strings by a seed of each process: the next run would give other results.",
    mend="Sort a set before going through it, or use dict.fromkeys.",
)
def order_does_not_depend_on_the_hash_seed(subject: Explaining) -> None:
    """Two processes with other seeds of Python's hashes give the same explanation."""
    same_in_two_processes(subject.hashed)


def same_in_two_processes(hashed: tuple[str, str] | None) -> None:
    """Raise `Fault` if digests of two processes differ, and `Skipped` if there are none."""
    if hashed is None:
        raise Skipped("`xcore check` compares two processes, where both give a result within 10 minutes")
    expect(hashed[0] == hashed[1], "with PYTHONHASHSEED=1 and PYTHONHASHSEED=2, the results differ")


@check(
    "explainer",
    why="Explanations are applied to new samples, and a map that does not come back there misleads.",
    mend="Give the dictionary or the directions of the concepts, or a method `apply` of your own.",
)
def concepts_are_found_again(subject: Explaining) -> None:
    """In the explained samples themselves, the concepts are where the explanation says, and the same every time."""
    explanation, task = subject.explanation(), subject.task
    watched, given = lent(task)
    seen = watch(lambda: find(subject.explainer, explanation, watched), given)
    if isinstance(seen.error, NotApplicable):
        raise Skipped(f"its concepts cannot be found again: {seen.error}") from seen.error
    found: Presence = seen.result()
    harm = [seen.components, *(f"it moved the random state of {name}" for name in seen.randomness), *seen.samples]
    expect(not any(harm), f"looking for the concepts again is not without harm: {'; '.join(h for h in harm if h)}")
    concepts, n = explanation.concepts, len(task.samples)
    expect(found.strength_is, "strength_is is empty; it must name the unit")
    shape = tuple(found.strength.shape)
    expect(shape == (n, len(concepts)), f"strength has shape {shape}; it must have {(n, len(concepts))}")
    one = found.strength.isfinite().all(0).any()
    expect(one, "no concept is found again; raise NotApplicable with the reason")
    expect(found.notes or found.strength.isfinite().all(), "no note names the concepts that are not found")
    twice = find(subject.explainer, explanation, task)
    expect(torch.equal(found.strength.nan_to_num(), twice.strength.nan_to_num()), "the second time, strengths differ")
    rows = [n - 1, 0]
    fewer = find(subject.explainer, explanation, replace(task, samples=task.samples.take(rows)))
    alike = torch.allclose(fewer.strength, found.strength[rows], rtol=1e-3, atol=1e-4, equal_nan=True)
    expect(alike, "the strength in a sample depends on the other samples")
    if found.maps is None:
        expect(not subject.repeats_maps or all(c.maps is None for c in concepts), "concepts have maps only at first")
        return
    shape, wanted = tuple(found.maps.shape), (n, len(concepts), *task.samples.images.shape[-2:])
    expect(shape == wanted, f"maps have shape {shape}; they must have {wanted}")
    expect(float(found.maps.min()) >= 0, "maps hold negative numbers")
    for i, concept in enumerate(concepts):
        if concept.maps is not None and subject.repeats_maps:
            apart = float((found.maps[:, i] - concept.maps).abs().max())
            near = 1e-4 * max(1.0, float(concept.maps.max()))
            expect(apart <= near, f"the maps of {concept.name!r} differ by {apart:.3g} from those of the explanation")


def find(explainer: Explainer, explanation: Explanation, task: Task) -> Presence:
    """What `Explained.apply` gives: by the method's own `apply`, or by its dictionary or directions."""
    own = getattr(explainer, "apply", None)
    made: Presence
    made = own(explanation, task) if own else presence(explanation, task.classifier, task.samples)
    return made


@check(
    "explainer",
    why="Every explanation is kept on disk and read again by metrics, pages and `xcore report`.",
    mend="Give plain strings, numbers and tensors in the fields.",
)
def store_round_trip(subject: Explaining) -> None:
    """What is kept of an explanation and read again is the same."""
    explanation, folder = subject.explanation(), subject.folder / "record"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bare = replace(explanation, files={})
    back = decode(encode(bare, folder), folder)
    expect([c.name for c in back.concepts] == [c.name for c in explanation.concepts], "names differ")
    same = [c.importance for c in back.concepts] == [float(c.importance) for c in explanation.concepts]
    expect(same, "importances differ")
    for one, two in zip(explanation.concepts, back.concepts, strict=True):
        expect(set(one.directions) == set(two.directions), f"directions of {one.name!r} differ")
        expect((one.samples is None) == (two.samples is None), f"samples of {one.name!r} differ")
        if one.samples is not None and two.samples is not None and one.samples.modality == "image":
            near = torch.allclose(one.samples.images, two.samples.images, atol=0.5 / 255 + 1e-6)
            expect(near, f"samples of {one.name!r} differ")


# -- truth -----------------------------------------------------------------------------------------------------------
@check(
    "explainer",
    why="A method that says the same of any network explains the samples, not the network.",
    mend="Ask task.classifier; a control that must not ask it declares `control = True` in its class.",
)
def random_weights_change_the_explanation(subject: Explaining) -> None:
    """The same network with random weights gets another explanation."""
    _is_no_control(subject)
    before = plain(subject.explanation(), subject.folder / "first")
    other = with_other_weights(subject.task.classifier)
    try:
        made = subject.elsewhere(replace(subject.task, classifier=other), "other weights")
    except (NotApplicable, MissingError) as error:
        raise Skipped(f"of the network with random weights, it has nothing to say: {error}") from error
    after = plain(made, subject.folder / "third")
    expect(before != after, "the network with random weights has the same explanation, bit for bit")


@check(
    "explainer",
    why="The most important concept is what readers take away.",
    mend="See that importances are of the explained class, that their sign is right, and that concepts are sorted.",
)
def a_planted_concept_comes_first(subject: Explaining) -> None:
    """Of a network whose class is known to be the red patches, the first concept is red."""
    made = _of_planted(subject)
    found = redness(made)
    expect(found[0] >= max(found) - 0.05 or found[0] > sum(found) / len(found) + 0.1, _shown(made, found))


@check(
    "explainer",
    why="An importance that stays when the network uses something else measures the samples, not the network.",
    mend="See that importances are computed from the logit of task.target.",
)
def permuted_classes_take_the_importance_away(subject: Explaining) -> None:
    """Where the network's classes are permuted, so that it uses green, the importance of red falls."""
    made = _of_planted(subject)
    try:
        other = subject.elsewhere(
            planted_task(subject.task, subject.folder / "permuted", permuted(planted_network())), "p"
        )
    except (NotApplicable, MissingError) as error:
        raise Skipped(f"where the class is green, it has nothing to say: {error}") from error
    before, after = red_share(made), red_share(other)
    expect(after < before, f"red has {before:.2f} of the importance where the class is red, and {after:.2f} where not")


def _is_no_control(subject: Explaining) -> None:
    if getattr(subject.explainer, "control", False):
        raise Skipped("it says that it is a control (control = True), which explains nothing")


def _of_planted(subject: Explaining) -> Explanation:
    """The explanation of the planted network, if it says where its concepts are."""
    _is_no_control(subject)
    if subject.task.samples.modality != "image":
        raise Skipped("the planted network reads images")
    if "planted" not in subject.shared:
        task = planted_task(subject.task, subject.folder / "planted", planted_network())
        try:
            subject.shared["planted"] = subject.elsewhere(task, "planted explanation")
        except Exception as error:
            subject.shared["planted"] = error
    made = subject.shared["planted"]
    if isinstance(made, (NotApplicable, MissingError)):
        raise Skipped(f"the planted network is not for it: {made}")
    if isinstance(made, Exception):
        raise made
    explanation: Explanation = made
    if len(explanation.concepts) < 2 or not redness(explanation):
        raise Skipped("on the planted network, it gives fewer than two concepts that show where they are")
    if signed(explanation):
        raise Skipped("its concepts are directions with negative parts, none of which stands for one colour alone")
    if max(redness(explanation)) - min(redness(explanation)) < 0.2:
        raise Skipped("on the planted network, its concepts are about equally red")
    return explanation


def _shown(made: Explanation, found: list[float]) -> str:
    shown = ", ".join(f"{c.name!r} is {share:.0%} red" for c, share in list(zip(made.concepts, found, strict=True))[:4])
    return f"the class is the red patches, but the first concept is not red: {shown}"
