"""The explainer: it finds seed prompts, lets the search tune the generator to them, and ranks what they have become."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_evidence import kept
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
)
from xcore.inputs.words import content_words
from xcore.models.presence import assembled, presence
from xcore.pretrained.adapters import adapter, save_adapter
from xcore.pretrained.drawing import check_can
from xcore_rlpo import lists, seed_prompts
from xcore_rlpo.algorithm import (
    ASK,
    MUTATE,
    PICK,
    RANK,
    SHOW,
    Encoder,
    Search,
    States,
    noise,
    stream,
)
from xcore_rlpo.keeping import reading_of
from xcore_rlpo.notes import dropped_note, no_words_left, search_notes
from xcore_rlpo.options import Options
from xcore_rlpo.policy import Dqn, Evolve, Greedy, Policy, RandomPolicy, RoundRobin
from xcore_rlpo.ranking import IMPORTANCE_IS, Kind, Ranking, ranking
from xcore_rlpo.seed_prompts import SeedPrompts
from xcore_rlpo.trajectory import follow

TRIES = 2
"""How often a generator of text is asked about a phrase before the search, to see whether it has words for it."""


@dataclass(frozen=True, eq=False)
class ScoredPrompt:
    """The scores of sets that were drawn for a prompt after the last update."""

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

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        generator = usable_generator(task, o)
        found = seed_prompts.choose(task, o)
        found = seed_prompts.only_answered(found, generator, noise(TRIES, task.seed, ASK))
        ranked = ranking(task, o, found)
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
        wanted = found.phrases if ranked.kind == "tcav" else tuple(ranked.worth_it(o.tune))
        steps = min(o.search_steps, task.budget.steps or o.search_steps) if wanted else 0
        read = reading_of(task, o)
        search = Search(generator, scorer, wanted, o, steps=steps, seed=task.seed, render=render, read=read)
        q_values = _run(task, search, probe, found) if steps else None
        if new := _worth_keeping(search, found.phrases, o):
            found = replace(found, phrases=(*found.phrases, *new), prior=None)
            if ranked.kind != "tcav":
                earlier, ranked = ranked, ranking(task, _with_rank(o, ranked.kind), found)
                ranked = replace(ranked, asked=earlier.asked + ranked.asked)

        drawings = Drawings(task, search)
        task.progress(steps, steps + 2, "scoring newly drawn samples of the concepts")
        first = found.phrases if ranked.kind == "tcav" else tuple(ranked.ordered()[: max(o.tune, o.maps, 1)])
        scored = _scored(search, drawings, first)
        task.progress(steps + 1, steps + 2, "drawing the concepts and the trajectory")
        concepts = _concepts(search, found, ranked, scored, q_values, drawn_render)
        shown = self._with_samples(search, drawings, concepts, scored, layer)
        if not shown:
            raise no_words_left(sum(search.updates))
        shown, list_notes = _with_lists_checked(task, shown, o.n, o.negatives, render)
        mapped, map_notes = self._with_maps(task, probe, shown)
        files, followed = follow(task, search)
        files |= drawings.save_adapters([c.name for c in mapped])
        task.progress(steps + 2, steps + 2, "done")

        asked = search.drawn + len(first) * o.rank_sets * o.n
        return Explanation(
            method="rlpo",
            target=task.target_name,
            importance_is=IMPORTANCE_IS[ranked.kind],
            concepts=mapped,
            trace=tuple(search.trace),
            files=files,
            notes=(
                *one_sample_note(task.samples),
                *search_notes(search, o, wanted, ranked.kind),
                *found.notes,
                *ranked.notes,
                *dropped_note(found, shown),
                *list_notes,
                *map_notes,
            ),
            cost=Cost(
                seconds=time.perf_counter() - start - shared - drawings.shared_seconds,
                shared_seconds=shared + drawings.shared_seconds,
                forwards=len(task.samples) + o.negatives * o.n + ranked.asked + asked + followed,
                backwards=len(task.samples),
                generated=ranked.generated + asked + len(found.phrases) * o.shown + followed,
            ),
        )

    def _with_samples(
        self,
        search: Search,
        drawings: Drawings,
        concepts: list[Concept],
        scored: Mapping[str, ScoredPrompt],
        layer: str,
    ) -> list[Concept]:
        """The concepts with newly drawn samples that nothing was chosen by.

        The direction of a concept without a TCAV effect is learned from these samples. Concepts for which a generator
        of text gives fewer than two samples are dropped.
        """
        sets = drawings.of([c.name for c in concepts], noise(self.options.shown, search.seed, SHOW))
        made = []
        for c, drawn in zip(concepts, sets, strict=True):
            own = drawn.filled()
            if len(own) < 2:
                continue
            known = scored.get(c.name)
            direction = known.direction if known else search.scorer.direction(own, search.render)
            made.append(
                replace(
                    c,
                    samples=replace(own, meta={}),
                    source=torch.full((len(own),), -1),
                    words=(*c.words, *most_frequent_words(own)),
                    render=c.render + drawings.tuned_by(c.name),
                    directions={layer: direction},
                    local=search.scorer.local(direction) if own.modality == "text" else None,
                )
            )
        return made

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


def usable_generator(task: Task, options: Options) -> Generator:
    """The generator, if the task has all that RLPO needs; told before anything is drawn."""
    if task.generator is None:
        raise MissingError("rlpo needs a generator that draws the concepts", "name one with --generator REF")
    if "gradients" not in task.classifier.can:
        raise NotApplicable(
            "rlpo needs the classifier's gradients, and this classifier gives none",
            "explain it by surrogate, which asks for logits alone, or open the network itself, such as file:PATH",
        )
    if task.generator.modality != task.classifier.modality:
        raise NotApplicable(
            f"the generator draws {task.generator.modality}, but the classifier reads {task.classifier.modality}",
            f"name a generator of {task.classifier.modality}s with --generator REF; `xcore list generators` has them",
        )
    if options.update and options.search_steps and options.updates != 0:
        instead = "leave it as it is with --set rlpo.update=false, or name another one with --generator REF"
        check_can(task.generator, "adapt", "rlpo", instead)
    return task.generator


def _with_rank(options: Options, kind: Kind) -> Options:
    """The options with the ranking that rank=auto chose."""
    return options.model_copy(update={"rank": kind})


def _run(task: Task, search: Search, probe: Probe, found: SeedPrompts) -> list[float] | None:
    """Run the search that the options name; the Q value that it learned for each action, if any."""
    k, o = len(search.phrases), search.options

    def on_step(row: Mapping[str, Any]) -> None:
        scored = f"TS {max(row['ts']):.2f}, reward {row['reward']:.2f}" if row["ts"] else row["rule"]
        task.progress(row["step"], search.steps + 2, f'"{row["prompt"]}": {scored}')

    if o.search != "dqn":
        search.run(policy_of(o, search.phrases, found.beside, task), on_step=on_step)
        return None
    states = States(encoder(task, o, probe), task.samples, o.n, task.seed)
    dqn = Dqn(k, len(states.mean()), o, steps=search.steps, seed=task.seed)
    search.run(dqn, states, on_step)
    return dqn.q_values(states.mean())


def policy_of(options: Options, phrases: Sequence[str], beside: Sequence[str], task: Task) -> Policy:
    """The policy of a search that looks at no state.

    Parameters
    ----------
    beside
        The vocabulary, whose words new prompts are made of.
    """
    k = len(phrases)
    if options.search == "brute":
        return RoundRobin(k)
    if options.search == "greedy":
        return Greedy(k)
    if options.search == "evolve":
        known = content_words([*phrases, *beside])
        single = task.samples.modality == "text"
        return Evolve(phrases, known, stream(task.seed, MUTATE), single=single, name=task.target_name)
    return RandomPolicy(k, stream(task.seed, PICK))


def _worth_keeping(search: Search, seeds: Sequence[str], options: Options) -> list[str]:
    """The prompts that the search has made and that scored above all seeds that it was given, at most `tune`."""
    best: dict[str, float] = {}
    for row in search.trace:
        if row["effect"]:
            best[row["phrase"]] = sum(row["effect"]) / 2  # its last one, which nothing was chosen by
    bar = max((e for p, e in best.items() if p in set(seeds)), default=0.0)
    new = [p for p in best if p not in set(seeds) and best[p] > bar]
    return sorted(new, key=lambda p: -best[p])[: options.tune]


class Drawings:
    """What prompts have become: new drawings of each, by its own adapter if it has one.

    Drawings by the original generator do not depend on the class: they are drawn once and shared
    (`xcore_evidence.kept`), with 8 bits. So tuned ones get 8 bits, too. Where one adapter draws all, none is rounded.
    """

    def __init__(self, task: Task, search: Search) -> None:
        self._task, self._search = task, search
        self._own = {p: adapter(a.state, {}) for p, a in search.adapters.items() if p}
        self.shared_seconds = 0.0

    def of(self, phrases: Sequence[str], seeds: Sequence[int]) -> list[Samples]:
        """For each phrase the samples of all seeds."""
        generator, m = self._search.generator, len(seeds)
        if self._search.options.adapters == "one":
            prompts = [p for p in phrases for _ in seeds]
            drawn = generator.generate(prompts, [*seeds] * len(phrases), self._search.adapters.get(""))
            return [drawn.take(range(i * m, (i + 1) * m)) for i in range(len(phrases))]
        return [
            _in_8_bits(generator.generate([p] * m, seeds, self._own[p])) if p in self._own else self._shared(p, seeds)
            for p in phrases
        ]

    def _shared(self, phrase: str, seeds: Sequence[int]) -> Samples:
        before = time.perf_counter()
        found = kept.drawn(self._task, self._search.generator, [phrase] * len(seeds), seeds)
        self.shared_seconds += time.perf_counter() - before
        return found

    def tuned_by(self, phrase: str) -> str:
        """What `Concept.render` ends with: the digest of the adapter that drew the phrase; "" for none."""
        return f"+{self._own[phrase].digest}" if phrase in self._own else ""

    def save_adapters(self, phrases: Sequence[str]) -> dict[str, Path]:
        """Write the adapters, without the state of their optimisers: one file, or one for each tuned concept.

        The file of the n-th concept is named adapter-n.safetensors.
        """
        workdir, made = self._task.workdir, dict[str, Path]()
        if shared := self._search.adapters.get(""):
            made["adapter.safetensors"] = workdir / "adapter.safetensors"
            save_adapter(replace(shared, optimiser={}), made["adapter.safetensors"])
        for n, phrase in enumerate(phrases, 1):
            if phrase in self._own:
                name = f"adapter-{n}.safetensors"
                made[name] = workdir / name
                save_adapter(self._own[phrase], made[name])
        return made


def _in_8_bits(drawn: Samples) -> Samples:
    """Pictures as a file would give them back; texts as they are."""
    if drawn.modality != "image":
        return drawn
    return replace(drawn, data=(drawn.images.clamp(0, 1) * 255).round() / 255)


def encoder(task: Task, options: Options, probe: Probe) -> Encoder:
    """How samples become what the policy sees of them."""
    if options.state == "embedding" or (options.state == "auto" and options.ranks):
        return seed_prompts.embedding(task)
    positions = {"NC": (), "NCHW": (2, 3), "NTC": (1,)}[probe.layout]

    def pooled(samples: Samples) -> Tensor:
        a = probe.activations(samples)
        return a.mean(positions) if positions else a

    return pooled


def _scored(search: Search, drawings: Drawings, phrases: Sequence[str]) -> dict[str, ScoredPrompt]:
    """Score phrases on newly drawn sets, after all updates; all get the same noise.

    A phrase for which a generator of text gives fewer than two samples in any set is left out.
    """
    o = search.options
    seeds = noise(o.rank_sets * o.n, search.seed, RANK)
    sets = {
        phrase: [drawn.take(range(i * o.n, (i + 1) * o.n)).filled() for i in range(o.rank_sets)]
        for phrase, drawn in zip(phrases, drawings.of(phrases, seeds), strict=True)
    }
    scorable = {phrase: own for phrase, own in sets.items() if min(map(len, own)) > 1}
    scores = iter(search.scorer.score_many([s for own in scorable.values() for s in own], search.render))
    scored = {}
    for phrase, own in scorable.items():
        mean = torch.stack([search.scorer.direction(s, search.render) for s in own]).mean(0)
        scored[phrase] = ScoredPrompt(tuple(next(scores) for _ in own), normalize(mean, dim=0))
    return scored


def _concepts(
    search: Search,
    found: SeedPrompts,
    ranked: Ranking,
    scored: Mapping[str, ScoredPrompt],
    q_values: list[float] | None,
    render: str,
) -> list[Concept]:
    """A concept for each phrase that has an importance, most important first, ties in the order of the phrases."""
    by_effect = ranked.kind == "tcav"
    prefix = "" if by_effect else "tcav_"
    actions = {phrase: action for action, phrase in enumerate(search.phrases)}
    made = []
    for i, phrase in enumerate(found.phrases):
        one, action = scored.get(phrase), actions.get(phrase)
        if one is None and by_effect:
            continue
        evidence = dict(ranked.evidence.get(phrase, {}))
        if one is not None:
            evidence |= {f"{prefix}effect": one.effect, "ts": float(np.mean([s.ts for s in one.scores]))}
        evidence["count"] = float(search.counts[action]) if action is not None else 0.0
        evidence["updates"] = float(search.updates[action]) if action is not None else 0.0
        evidence["updates_kept"] = float(search.kept[action]) if action is not None else 0.0
        if one is not None and len(one.scores) > 1:
            evidence[f"{prefix}effect_sd"] = float(np.std([s.effect for s in one.scores], ddof=1))
        if one is not None and search.options.folds:
            evidence["cav_accuracy"] = float(np.mean([s.accuracy for s in one.scores]))
        if rewards := [row["reward"] for row in search.trace if row["action"] == action]:
            evidence["mean_reward"] = float(np.mean(rewards))
        if q_values is not None and action is not None:
            evidence["q_value"] = q_values[action]
        if found.prior is not None:
            evidence |= {"rank_prior": float(i + 1), "prior": found.prior[i]}
        importance = one.effect if by_effect and one is not None else ranked.importance[phrase]
        made.append(Concept(name=phrase, importance=importance, words=(phrase,), render=render, evidence=evidence))
    return sorted(made, key=lambda concept: ranked.place(concept.name, concept.importance))
