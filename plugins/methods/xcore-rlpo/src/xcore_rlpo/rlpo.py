"""The explainer: it finds seed prompts, lets the search tune the generator to them, and ranks what they have become."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_tcav.maps import with_projections
from xcore_tcav.scorer import Scorer, SetScore, one_sample_note
from xcore_tcav.sources import most_frequent_words

from xcore.contract import (
    Concept,
    Cost,
    Explanation,
    Generator,
    Localiser,
    MissingError,
    NotApplicable,
    Presence,
    Probe,
    Samples,
    Task,
    XcoreError,
)
from xcore.models.presence import assembled, presence
from xcore.pretrained.adapters import save_adapter
from xcore_rlpo import lists, seed_prompts
from xcore_rlpo.algorithm import ASK, PICK, RANK, SHOW, Encoder, Search, States, anc, entropy, icv, noise, stream
from xcore_rlpo.options import Options
from xcore_rlpo.policy import Dqn, Policy, RandomPolicy, RoundRobin
from xcore_rlpo.seed_prompts import SeedPrompts
from xcore_rlpo.trajectory import follow

IMPORTANCE_IS = "mean TCAV effect of newly drawn samples"
PRIOR_IS = "mean probability by the embedding model over the class samples"

TRIES = 2
"""How often a generator of text is asked about a phrase before the search, to see whether it has words for it."""


@dataclass(frozen=True, eq=False)
class RankedAction:
    """An action with the scores of sets that were drawn for it after the last update."""

    action: int
    scores: tuple[SetScore, ...]
    direction: Tensor
    """(d,) mean CAV over random sets and drawn sets, of unit length."""

    @property
    def effect(self) -> float:
        """Mean effect over the sets, in [-1, 1]."""
        return float(np.mean([s.effect for s in self.scores]))


class Rlpo:
    """Concepts of a class that a generator draws, tuned by preference towards what the class is sensitive to.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients, or the generator draws samples of another modality.
    MissingError
        There is no generator, no seed prompt, or no helper model to find seed prompts with.
    UsageError
        The policy could not learn within the steps.
    XcoreError
        A generator of text gives no lists of words any more after its updates.

    References
    ----------
    Taparia, Sagar, Senanayake: Explainable Concept Generation through Vision-Language Preference Learning,
    arXiv:2408.13438.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    @property
    def steps(self) -> int:
        """The steps of the search, unless the budget allows fewer."""
        return 0 if self.options.policy == "ranking" else self.options.steps

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        generator = _usable_generator(task)
        found = seed_prompts.choose(task, o)
        found = seed_prompts.only_answered(found, generator, noise(TRIES, task.seed, ASK))
        drawn_render = f"generated:{generator.fingerprint}"
        render = drawn_render if o.contrast == "generated" else "as-is"
        before = time.perf_counter()
        task.random_set(o.n, 0, render)  # draws the pool that all methods and seeds share, unless it is there already
        shared = time.perf_counter() - before
        layer = task.layer or task.classifier.default_layer
        probe = task.classifier.open(layer)
        scorer = Scorer(
            probe, task.target, task.samples, task.random_set, negatives=o.negatives, pool=o.pool, folds=o.folds
        )
        steps = min(self.steps, task.budget.steps or self.steps)
        search = Search(generator, scorer, found.phrases, o, steps=steps, seed=task.seed, render=render)
        q_values = _run(task, search, probe) if steps else None

        task.progress(steps, steps + 2, "ranking the concepts by newly drawn samples")
        ranked = _rank(search)
        concepts = _concepts(search, found, ranked, q_values, layer, drawn_render)
        task.progress(steps + 1, steps + 2, "drawing the concepts and the trajectory")
        shown = self._with_samples(search, concepts) if concepts else []
        if not shown:
            raise _no_words_left(sum(search.updates))
        shown, list_notes = _with_lists_checked(task, shown, o.n, o.negatives, render)
        mapped, map_notes = self._with_maps(task, probe, shown)
        files, followed = follow(task, search)
        if search.adapter is not None:
            files["adapter.safetensors"] = task.workdir / "adapter.safetensors"
            save_adapter(replace(search.adapter, optimiser={}), files["adapter.safetensors"])
        task.progress(steps + 2, steps + 2, "done")

        k = len(found.phrases)
        scored = 2 * o.n * len(search.trace) + k * o.rank_sets * o.n
        return Explanation(
            method="rlpo",
            target=task.target_name,
            importance_is=PRIOR_IS if o.policy == "ranking" else IMPORTANCE_IS,
            concepts=mapped,
            trace=tuple(search.trace),
            files=files,
            notes=(
                *one_sample_note(task.samples),
                *_search_notes(search),
                *found.notes,
                *_dropped_note(found, shown),
                *list_notes,
                *map_notes,
            ),
            cost=Cost(
                seconds=time.perf_counter() - start - shared,
                shared_seconds=shared,
                forwards=len(task.samples) + o.negatives * o.n + scored + followed,
                backwards=len(task.samples),
                generated=scored + k * o.shown + followed,
            ),
        )

    def _with_samples(self, search: Search, concepts: list[tuple[int, Concept]]) -> list[Concept]:
        """The concepts with newly drawn samples that nothing was chosen by.

        Concepts for which a generator of text gives fewer than two samples are dropped.
        """
        m = self.options.shown
        seeds = noise(m, search.seed, SHOW)
        prompts = [search.phrases[action] for action, _ in concepts for _ in range(m)]
        drawn = search.generator.generate(prompts, seeds * len(concepts), search.adapter)
        sets = [drawn.take(range(i * m, (i + 1) * m)).filled() for i in range(len(concepts))]
        return [
            replace(
                c,
                samples=replace(own, meta={}),
                source=torch.full((len(own),), -1),
                words=(*c.words, *most_frequent_words(own)),
                local=search.scorer.local(next(iter(c.directions.values()))) if own.modality == "text" else None,
            )
            for (_, c), own in zip(concepts, sets, strict=True)
            if len(own) > 1
        ]

    def _with_maps(
        self, task: Task, probe: Probe, concepts: list[Concept]
    ) -> tuple[tuple[Concept, ...], tuple[str, ...]]:
        """The concepts, the first ones with maps of where they are in the class images; a note if there can be none."""
        o, samples, layer = self.options, task.samples, next(iter(concepts[0].directions))
        located = o.places == "localiser"
        known, mapped = with_projections(probe, samples, concepts, layer, 0 if located else o.maps)
        if located:
            places = _located(task.model("localiser"), samples, known[: o.maps])
            return (*(replace(c, maps=m) for c, m in zip(known, places, strict=False)), *known[len(places) :]), ()
        if mapped or not o.maps or samples.modality != "image":
            return tuple(known), ()
        return tuple(known), ("concepts have no maps, because the layer has no grid of positions",)

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """Find the concepts in other samples: by their directions, and with the localiser where the options name it.

        Parameters
        ----------
        explanation
            An explanation by this method.
        task
            With the other samples; neither its generator nor its random sets are used.
        """
        found = presence(explanation, task.classifier, task.samples)
        o, concepts = self.options, explanation.concepts
        if o.places != "localiser" or task.samples.modality != "image":
            return found
        places = _located(task.model("localiser"), task.samples, concepts[: o.maps])
        return assembled(concepts, found.strength, found.strength_is, dict(enumerate(places)), task.samples)


def _with_lists_checked(
    task: Task, concepts: list[Concept], n: int, negatives: int, render: str
) -> tuple[list[Concept], list[str]]:
    """The concepts, those of texts with whether the words of their lists are near the seed word (`lists.flagged`)."""
    if task.samples.modality != "text":
        return concepts, []
    if "text-embedder" not in task.roles:
        return concepts, ["whether the lists are synonyms was not checked: no text embedder is named"]
    texts = [text for i in range(negatives) for text in task.random_set(n, i, render).texts]
    return lists.flagged(concepts, task.model("text-embedder").embed, texts)


def _located(localiser: Localiser, samples: Samples, concepts: Sequence[Concept]) -> list[Tensor]:
    """For each concept (N, H, W) in [0, 1]: where the localiser finds in the images what its samples show."""
    return [localiser.locate(samples, c.samples) for c in concepts if c.samples is not None]


def _usable_generator(task: Task) -> Generator:
    """The generator, if the task has all that RLPO needs."""
    if task.generator is None:
        raise MissingError("rlpo needs a generator that draws the concepts", "name one with --generator REF")
    if "gradients" not in task.classifier.can:
        raise NotApplicable("rlpo needs the classifier's gradients, and this classifier gives none")
    if task.generator.modality != task.classifier.modality:
        raise NotApplicable(
            f"the generator draws {task.generator.modality}, but the classifier reads {task.classifier.modality}"
        )
    return task.generator


def _run(task: Task, search: Search, probe: Probe) -> list[float] | None:
    """Run the search under the policy that the options name; the Q value that it learned for each action, if any."""
    k, o = len(search.phrases), search.options

    def on_step(row: Mapping[str, Any]) -> None:
        scored = f"TS {max(row['ts']):.2f}, reward {row['reward']:.2f}" if row["ts"] else row["rule"]
        task.progress(row["step"], search.steps + 2, f'"{row["prompt"]}": {scored}')

    if o.policy != "dqn":
        policy: Policy = RoundRobin(k) if o.policy == "round-robin" else RandomPolicy(k, stream(task.seed, PICK))
        search.run(policy, on_step=on_step)
        return None
    states = States(_encoder(task, o, probe), task.samples, o.n, task.seed)
    dqn = Dqn(k, len(states.mean()), o, steps=search.steps, seed=task.seed)
    search.run(dqn, states, on_step)
    return dqn.q_values(states.mean())


def _encoder(task: Task, options: Options, probe: Probe) -> Encoder:
    """How samples become what the policy sees of them."""
    if options.state == "embedding" or (options.state == "auto" and options.ranks):
        return seed_prompts.embedding(task)
    positions = {"NC": (), "NCHW": (2, 3), "NTC": (1,)}[probe.layout]

    def pooled(samples: Samples) -> Tensor:
        a = probe.activations(samples)
        return a.mean(positions) if positions else a

    return pooled


def _rank(search: Search) -> list[RankedAction]:
    """Score every action on newly drawn sets under the final adapter; all actions get the same noise.

    An action for which a generator of text gives fewer than two samples in any set is dropped.
    """
    o, k = search.options, len(search.phrases)
    seeds = noise(o.rank_sets * o.n, search.seed, RANK)
    prompts = [p for p in search.phrases for _ in seeds]
    drawn = search.generator.generate(prompts, seeds * k, search.adapter)
    sets = [drawn.take(range(i * o.n, (i + 1) * o.n)).filled() for i in range(k * o.rank_sets)]
    by_action = [(a, sets[a * o.rank_sets : (a + 1) * o.rank_sets]) for a in range(k)]
    scorable = [(a, own) for a, own in by_action if min(map(len, own)) > 1]
    scores = iter(search.scorer.score_many([s for _, own in scorable for s in own], search.render))
    ranked = []
    for a, own in scorable:
        mean = torch.stack([search.scorer.direction(s, search.render) for s in own]).mean(0)
        ranked.append(RankedAction(a, tuple(next(scores) for _ in own), normalize(mean, dim=0)))
    return ranked


def _concepts(
    search: Search,
    found: SeedPrompts,
    ranked: list[RankedAction],
    q_values: list[float] | None,
    layer: str,
    render: str,
) -> list[tuple[int, Concept]]:
    """(action, concept), most important first, ties by index."""
    made = []
    for one in ranked:
        action, phrase = one.action, found.phrases[one.action]
        rewards = [row["reward"] for row in search.trace if row["action"] == action]
        evidence = {
            "effect": one.effect,
            "ts": float(np.mean([s.ts for s in one.scores])),
            "count": float(search.counts[action]),
            "updates": float(search.updates[action]),
        }
        if len(one.scores) > 1:
            evidence["effect_sd"] = float(np.std([s.effect for s in one.scores], ddof=1))
        if search.options.folds:
            evidence["cav_accuracy"] = float(np.mean([s.accuracy for s in one.scores]))
        if rewards:
            evidence["mean_reward"] = float(np.mean(rewards))
        if q_values is not None:
            evidence["q_value"] = q_values[action]
        if found.prior is not None:
            evidence |= {"rank_prior": float(action + 1), "prior": found.prior[action]}
        by_prior = search.options.policy == "ranking" and found.prior is not None
        concept = Concept(
            name=phrase,
            importance=found.prior[action] if by_prior and found.prior else one.effect,
            words=(phrase,),
            render=render,
            directions={layer: one.direction},
            evidence=evidence,
        )
        made.append((action, concept))
    return sorted(made, key=lambda pair: -pair[1].importance)


def _search_notes(search: Search) -> list[str]:
    """What a reader must know of the search: its steps and updates, how evenly actions were chosen, an early end."""
    taken, updates = len(search.trace), sum(search.updates)
    if not search.steps:
        return ["no search: concepts are ranked without tuning the generator"]
    notes = [f"the search took {taken} of {search.steps} steps and updated the generator in {updates} of them"]
    counts, inverse = search.counts, icv(search.counts)
    shown = "undefined" if inverse is None else f"{inverse:.2f}"
    notes.append(
        f"choices among {len(counts)} seed prompts: entropy {entropy(counts):.2f} nats, "
        f"average normalised count (ANC) {anc(counts):.2f}, inverse coefficient of variation (ICV) {shown}"
    )
    if taken < search.steps:
        notes.append(f"the search ended after step {taken}, because no seed prompt had anything left to gain")
    return notes


def _dropped_note(found: SeedPrompts, shown: Sequence[Concept]) -> list[str]:
    """A note of the seed words for which a tuned generator of text gives too few words, if there are any."""
    dropped = [p for p in found.phrases if p not in {c.name for c in shown}]
    if not dropped:
        return []
    return [f"{seed_prompts.listed(dropped)} left out: the tuned generator gives too few lists of words for them"]


def _no_words_left(updates: int) -> XcoreError:
    """The error where a generator of text gives fewer than two lists for every seed word."""
    if updates:
        after = f"after {updates} update" if updates == 1 else f"after {updates} updates"
        return XcoreError(
            f"{after} the generator gives fewer than two lists of words for every seed word",
            "the updates are too strong: lower lr or raise beta in rlpo.adapt",
        )
    return XcoreError(
        "without any update the generator gives fewer than two lists of words for every seed word",
        "it seldom answers with a list: name another one with --generator REF",
    )
