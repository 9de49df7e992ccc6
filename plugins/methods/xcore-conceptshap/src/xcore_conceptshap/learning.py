"""Learning the concepts, and learning the recovery anew for a set of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from xcore_conceptshap.network import Head, Part
from xcore_conceptshap.options import Options
from xcore_conceptshap.scores import Distinct, Recovery, concept_scores, kept_products, new_recovery

CHECKPOINT = "learning.safetensors"
EVERY = 100
"""Steps after which a checkpoint is written."""


@dataclass(frozen=True, eq=False)
class Learned:
    """Concepts, and the recovery that was learned with them."""

    concepts: Tensor
    """(k, C), each of length 1."""
    recovery: Recovery
    left_out: int = 0
    """Concepts that came out like another one."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Images, and how much of each of some concepts is in them, which stay as they are."""

    part: Part
    kept: Tensor
    """(n, P, k) of `kept_products`."""

    @classmethod
    def of(cls, head: Head, part: Part, concepts: Tensor, o: Options) -> Scored:
        """By the products with the concepts, which are computed once for all sets of them."""
        return cls(part, kept_products(head.read(part.rows), concepts, o.beta))

    def by(self, members: Tensor, o: Options) -> Distinct:
        """The scores v(x) of these of the concepts alone."""
        return Distinct.of(concept_scores(self.kept, o.scale, members))


def coherence(rows: Tensor, concepts: Tensor, nearest: int) -> Tensor:
    """Mean cosine of each concept with its nearest positions, over the concepts."""
    cosines = normalize(rows, dim=2).flatten(0, 1) @ normalize(concepts, dim=1).T
    return cosines.topk(min(nearest, len(cosines)), 0).values.mean()


def similarity(concepts: Tensor, signed: bool) -> Tensor:
    """How alike the concepts are: the mean squared cosine of two of them, or the mean cosine; 0 of one concept."""
    unit, k = normalize(concepts, dim=1), len(concepts)
    cosines = (unit @ unit.T)[~torch.eye(k, dtype=torch.bool)]
    if not len(cosines):
        return concepts.sum() * 0
    return cosines.mean() if signed else cosines.square().mean()


def first_concepts(rows: Tensor, k: int, rng: torch.Generator) -> Tensor:
    """(k, C) directions to begin with: activations at random positions, unlike one another.

    Each is drawn with a probability that grows with the squared cosine distance from those drawn before (k-means++).
    Where there are too few different positions, the others are random.
    """
    unit = normalize(rows.flatten(0, 1), dim=1)
    far = torch.ones(len(unit), dtype=torch.float64)
    far[unit.norm(dim=1) == 0] = 0
    drawn: list[Tensor] = []
    while len(drawn) < k and float(far.sum()) > 0:
        row = unit[int(torch.multinomial(far, 1, generator=rng))]
        drawn.append(row)
        far = torch.minimum(far, (1 - (unit @ row).double()).clamp_min(0).square())
        far[far < 1e-12] = 0
    while len(drawn) < k:
        drawn.append(normalize(torch.randn(rows.shape[2], generator=rng), dim=0))
    return torch.stack(drawn)


def screened(head: Head, part: Part, o: Options, rng: torch.Generator, seed: int) -> Tensor:
    """(k, C) directions to begin with: of more than k, those without which the decisions suffer most.

    A recovery is learned from all of them, which stay as they are; then each is left out in turn. Concepts that begin
    at something that the network does not look at stay there, since they are drawn to their nearest positions.
    """
    rows = head.read(part.rows)
    many = first_concepts(rows, o.candidates * o.k, rng)
    kept = unlike(many, o.duplicate)
    if len(kept) <= o.k:
        return many[: o.k].clone()
    tried = many[kept]
    scored = Scored.of(head, part, tried, o)
    everyone = torch.ones(len(kept), dtype=torch.bool)
    longer = o.model_copy(update={"tuning": max(1, o.steps // 2)})
    recovery = tuned(head, scored, new_recovery(rows, len(kept), o.hidden, rng), everyone, longer, seed)
    losses = []
    for i in range(len(kept)):
        others = everyone.clone()
        others[i] = False
        losses.append(float(head.loss(_recovered(head, scored, others, recovery, o), part.truth)))
    best = sorted(range(len(kept)), key=lambda i: (-losses[i], i))[: o.k]
    return tried[sorted(best)].clone()


def learn(head: Head, part: Part, o: Options, seed: int, work: Path, progress: Callable[[int], None]) -> Learned:
    """Learn concepts from which the probabilities of the classes can be recovered.

    The loss is the cross-entropy of h(g(v(x))), less the coherence of the concepts, plus their
    similarity, with the weights of the options.

    Parameters
    ----------
    work
        A folder for checkpoints; learning that was interrupted goes on from there.
    progress
        Told the number of steps that are done.

    References
    ----------
    Yeh et al., NeurIPS 2020, section 4.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = head.read(part.rows)
    resumed = (work / CHECKPOINT).exists()
    begin = torch.zeros(o.k, rows.shape[2]) if resumed else screened(head, part, o, rng, seed)
    concepts = begin.requires_grad_()
    recovery = new_recovery(rows, o.k, o.hidden, rng).copy()
    parameters = [concepts, *recovery.weights]
    adam = torch.optim.Adam(parameters, lr=o.rate)
    start = _resume(work / CHECKPOINT, parameters, adam)
    with torch.enable_grad():
        for step, batch in enumerate(part.batches(o.batch, o.steps, seed, start), start + 1):
            read = rows[batch]
            scores = concept_scores(kept_products(read, concepts, o.beta), o.scale)
            loss = head.loss(head.logits(recovery(scores), part, batch), part.truth[batch])
            loss = loss - o.coherence * coherence(read, concepts, o.nearest)
            loss = loss + o.orthogonality * similarity(concepts, o.similarity == "signed")
            _descend(adam, parameters, loss)
            if step % EVERY == 0 and step < o.steps:
                _save(work / CHECKPOINT, parameters, adam, step)
                progress(step)
    kept = unlike(concepts.detach(), o.duplicate)
    found = normalize(concepts.detach(), dim=1)[kept]
    return Learned(found, recovery.without(kept), o.k - len(kept))


def unlike(concepts: Tensor, most: float) -> list[int]:
    """The concepts whose cosine with those kept before is at most so large."""
    unit, kept = normalize(concepts, dim=1), list[int]()
    for i, row in enumerate(unit):
        if not kept or float((unit[kept] @ row).max()) <= most:
            kept.append(i)
    return kept


def tuned(head: Head, scored: Scored, start: Recovery, members: Tensor, o: Options, seed: int) -> Recovery:
    """The recovery from these of the concepts alone, learned on from the one of all concepts.

    Every set gets the same batches, so that a concept that is nowhere changes nothing.
    """
    recovery, part = start.copy(), scored.part
    adam = torch.optim.Adam(recovery.weights, lr=o.rate)
    scores = scored.by(members, o)
    with torch.enable_grad():
        for batch in part.batches(o.batch, o.tuning, seed + 1):
            logits = head.logits(scores.recovered(recovery, batch), part, batch)
            _descend(adam, recovery.weights, head.loss(logits, part.truth[batch]))
    return recovery


@torch.no_grad()
def value(
    head: Head, train: Scored, measured: Scored, start: Recovery, members: Tensor, o: Options, seed: int
) -> Tensor:
    """What `Head.measure` says of probabilities that are recovered from these of the concepts alone.

    The completeness is that of the best recovery, and one that ignores the concepts is among them: where the learned
    one is worse on the images that it was learned from, that one is taken.
    """
    if bool(members.any()):
        recovery = tuned(head, train, start, members, o, seed)
        found = _recovered(head, train, members, recovery, o)
        if float(head.loss(found, train.part.truth)) < float(head.constant_loss(train.part.truth)):
            logits = _recovered(head, measured, members, recovery, o)
            return head.measure(head.probabilities(logits), measured.part.truth)
    return head.knows_nothing(train.part, measured.part)


@torch.no_grad()
def _recovered(head: Head, scored: Scored, members: Tensor, recovery: Recovery, o: Options) -> Tensor:
    """Logits of all images, recovered from these of the concepts, a batch at a time."""
    scores = scored.by(members, o)
    batches = torch.arange(len(scored.part)).split(o.batch)
    return torch.cat([head.logits(scores.recovered(recovery, batch), scored.part, batch) for batch in batches])


def _descend(adam: torch.optim.Adam, parameters: Sequence[Tensor], loss: Tensor) -> None:
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters)), strict=True):
        parameter.grad = gradient
    adam.step()


def _save(path: Path, parameters: Sequence[Tensor], adam: torch.optim.Adam, step: int) -> None:
    """Write a checkpoint, whole or not at all."""
    kept = {"step": torch.tensor(step)}
    for i, parameter in enumerate(parameters):
        state = adam.state[parameter]
        kept |= {f"{i}.value": parameter.detach(), f"{i}.first": state["exp_avg"], f"{i}.second": state["exp_avg_sq"]}
    unfinished = path.with_suffix(".unfinished")
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, unfinished)
    unfinished.replace(path)


def _resume(path: Path, parameters: Sequence[Tensor], adam: torch.optim.Adam) -> int:
    """Read a checkpoint, if there is one, and give the number of steps that are done."""
    if not path.exists():
        return 0
    kept = load_file(path)
    step = int(kept["step"])
    for i, parameter in enumerate(parameters):
        with torch.no_grad():
            parameter.copy_(kept[f"{i}.value"])
        adam.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": kept[f"{i}.first"],
            "exp_avg_sq": kept[f"{i}.second"],
        }
    return step
