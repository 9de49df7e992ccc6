"""RLPO: seed prompts are picked by a policy, drawn, scored and tuned; what they become are the concepts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_tcav.maps import projections
from xcore_tcav.scorer import Scorer, SetScore
from xcore_tcav.sources import most_said

from xcore.errors import MissingError, NotApplicable, XcoreError
from xcore.protocols import Generator, Probe, Task
from xcore.roles import Localiser
from xcore.samples import Samples
from xcore.types import Concept, Cost, Explanation
from xcore_rlpo import counts, draws, seeds
from xcore_rlpo.env import Encoder, PromptEnv
from xcore_rlpo.loop import Loop
from xcore_rlpo.options import Options
from xcore_rlpo.policy import play
from xcore_rlpo.trajectory import follow

IMPORTANCE_IS = "mean TCAV effect of fresh drawings"
PRIOR_IS = "mean probability by the embedding over the class samples"


@dataclass(frozen=True, eq=False)
class Judged:
    """One action, judged on sets that were drawn for it after the last update."""

    action: int

    scores: tuple[SetScore, ...]
    direction: Tensor
    """(d,) mean CAV over random sets and drawn sets."""

    @property
    def effect(self) -> float:
        return float(np.mean([s.effect for s in self.scores]))


class Rlpo:
    """Concepts of a class that a generator draws, tuned by preference towards what the class is sensitive to.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients, or the generator draws another kind of samples.
    MissingError
        There is no generator, no seed prompt, or no helper model for the seeds.
    UsageError
        The policy could not learn within the steps.

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
        generator = _usable(task)
        chosen = seeds.answered(seeds.choose(task, o), generator, draws.seeds(seeds.ASKED, task.seed, draws.ASK))
        medium = f"generated:{generator.fingerprint}"
        render = medium if o.contrast == "generated" else "as-is"
        before = time.perf_counter()
        task.contrast(o.n, 0, render)  # draws the pool that all methods and seeds share, unless it is there already
        shared = time.perf_counter() - before
        probe = task.classifier.open(task.layer or task.classifier.default_layer)
        scorer = Scorer(
            probe, task.target, task.samples, task.contrast, negatives=o.negatives, pool=o.pool, folds=o.folds
        )
        steps = 0 if o.policy == "ranking" else min(o.steps, task.budget.steps or o.steps)
        loop = Loop(generator, scorer, chosen.phrases, o, steps=steps, seed=task.seed, render=render)
        q_values = _run(task, loop, _encoder(task, o, probe)) if steps else None

        task.progress(steps, steps + 2, "ranking by fresh drawings")
        judged = _judge(loop)
        concepts = _concepts(loop, chosen, judged, q_values, task.layer or task.classifier.default_layer, medium)
        task.progress(steps + 1, steps + 2, "concepts and trajectory")
        shown = self._shown(loop, concepts) if concepts else []
        if not shown:
            raise _silent(sum(loop.updates))
        mapped, no_maps = self._mapped(task, probe, shown)
        files, followed = follow(task, loop)
        if loop.adapter is not None:
            files["adapter.safetensors"] = _save(loop.adapter.state, task.workdir / "adapter.safetensors")
        task.progress(steps + 2, steps + 2, "done")

        k, taken = len(chosen.phrases), len(loop.trace)
        ranked = k * o.rank_sets * o.n
        scored = 2 * o.n * taken + ranked
        return Explanation(
            method="rlpo",
            target=task.target_name,
            importance_is=PRIOR_IS if o.policy == "ranking" else IMPORTANCE_IS,
            concepts=mapped,
            trace=tuple(loop.trace),
            files=files,
            notes=(*_notes(loop), *chosen.notes, *_left_out(chosen, shown), *no_maps),
            cost=Cost(
                seconds=time.perf_counter() - start - shared,
                shared_seconds=shared,
                forwards=len(task.samples) + o.negatives * o.n + scored + followed,
                backwards=len(task.samples),
                generated=scored + k * o.shown + followed,
            ),
        )

    def _shown(self, loop: Loop, concepts: list[tuple[int, Concept]]) -> list[Concept]:
        """The concepts with samples that nothing was chosen by; without those that a generator of text has none for."""
        m = self.options.shown
        noise = draws.seeds(m, loop.seed, draws.SHOW)
        prompts = [loop.phrases[action] for action, _ in concepts for _ in range(m)]
        drawn = loop.generator.generate(prompts, noise * len(concepts), loop.adapter)
        sets = [drawn.take(range(i * m, (i + 1) * m)).filled() for i in range(len(concepts))]
        return [
            replace(
                c,
                samples=replace(own, meta={}),
                source=torch.full((len(own),), -1),
                words=(*c.words, *most_said(own)),
                local=loop.scorer.local(next(iter(c.directions.values()))) if own.kind == "text" else None,
            )
            for (_, c), own in zip(concepts, sets, strict=True)
            if len(own) > 1
        ]

    def _mapped(self, task: Task, probe: Probe, concepts: list[Concept]) -> tuple[tuple[Concept, ...], tuple[str, ...]]:
        """The concepts, the first ones with their places in the explained images."""
        top, samples = concepts[: self.options.maps], task.samples
        if not top:
            return tuple(concepts), ()
        places: Tensor | None
        if self.options.places == "localiser":
            localiser: Localiser = task.model("localiser")
            places = torch.stack([localiser.locate(samples, c.samples) for c in top if c.samples is not None])
        else:
            places = projections(probe, samples, torch.stack([next(iter(c.directions.values())) for c in top]))
        if places is None:
            return tuple(concepts), ("the layer has no grid of positions: no maps",) if samples.kind == "image" else ()
        with_maps = [replace(c, maps=m) for c, m in zip(top, places, strict=True)]
        return (*with_maps, *concepts[len(top) :]), ()


def _silent(updates: int) -> XcoreError:
    """The error where no seed word has two drawn lists."""
    what = f"after {updates} updates the generator has no list of words for any of the seed words, or a single one"
    strong = "the updates are too strong: lower lr or raise beta in rlpo.adapt"
    return XcoreError(what, strong if updates else "it seldom answers with a list: name another generator")


def _usable(task: Task) -> Generator:
    """The generator, if the task has all that is needed."""
    if task.generator is None:
        raise MissingError("rlpo needs a generator that draws the concepts", "name one with --generator REF")
    if "gradients" not in task.classifier.can:
        raise NotApplicable("rlpo scores by gradients, and this classifier gives none")
    if task.generator.kind != task.classifier.kind:
        raise NotApplicable(f"the generator draws {task.generator.kind}, the classifier reads {task.classifier.kind}")
    return task.generator


def _encoder(task: Task, options: Options, probe: Probe) -> Encoder:
    """What the policy sees of samples."""
    if options.state == "embedding" or (options.state == "auto" and options.ranks):
        return seeds.embedding(task)
    axes = {"NC": (), "NCHW": (2, 3), "NTC": (1,)}[probe.layout]

    def pooled(samples: Samples) -> Tensor:
        a = probe.activations(samples)
        return a.mean(axes) if axes else a

    return pooled


def _run(task: Task, loop: Loop, encode: Encoder) -> list[float] | None:
    """Let the policy play; what it learned of the actions."""
    o = loop.options
    start = encode(task.samples)
    env = PromptEnv(
        loop.phrases,
        loop.take,
        encode,
        start,
        n=o.n,
        length=o.length,
        balanced=o.exploration == "balanced",
        seed=task.seed,
    )

    def told(knew: dict[str, float]) -> bool:
        row = loop.trace[-1]
        row.update(knew)
        scored = f"TS {max(row['ts']):.2f} reward {row['reward']:.2f}" if row["ts"] else row["rule"]
        task.progress(row["step"], loop.steps + 2, f'"{row["prompt"]}" {scored}')
        return not loop.settled

    return play(env, o, loop.steps, task.seed, told)


def _judge(loop: Loop) -> list[Judged]:
    """Score every action on fresh sets under the final adapter; all actions get the same noise.

    An action for which a generator of text has fewer than two samples in any set is left out.
    """
    o, k = loop.options, len(loop.phrases)
    noise = draws.seeds(o.rank_sets * o.n, loop.seed, draws.RANK)
    prompts = [p for p in loop.phrases for _ in noise]
    drawn = loop.generator.generate(prompts, noise * k, loop.adapter)
    sets = [drawn.take(range(i * o.n, (i + 1) * o.n)).filled() for i in range(k * o.rank_sets)]
    by_action = [(a, sets[a * o.rank_sets : (a + 1) * o.rank_sets]) for a in range(k)]
    told = [(a, own) for a, own in by_action if min(map(len, own)) > 1]
    scores = iter(loop.scorer.score_many([s for _, own in told for s in own], loop.render))
    judged = []
    for a, own in told:
        mean = torch.stack([loop.scorer.direction(s, loop.render) for s in own]).mean(0)
        judged.append(Judged(a, tuple(next(scores) for _ in own), normalize(mean, dim=0)))
    return judged


def _left_out(chosen: seeds.Seeds, shown: Sequence[Concept]) -> list[str]:
    """The note that tells which seed words a tuned generator of text has no words for any more."""
    silent = [p for p in chosen.phrases if p not in {c.name for c in shown}]
    if not silent:
        return []
    return [f"{seeds.some(silent)} left out: the generator gives too few lists after its updates"]


def _concepts(
    loop: Loop,
    chosen: seeds.Seeds,
    judged: list[Judged],
    q_values: list[float] | None,
    layer: str,
    medium: str,
) -> list[tuple[int, Concept]]:
    """(action, concept), most important first, ties by index."""
    made = []
    for judge in judged:
        action, phrase = judge.action, chosen.phrases[judge.action]
        paid = [row["reward"] for row in loop.trace if row["action"] == action]
        evidence = {
            "effect": judge.effect,
            "ts": float(np.mean([s.ts for s in judge.scores])),
            "count": float(loop.counts[action]),
            "updates": float(loop.updates[action]),
        }
        if len(judge.scores) > 1:
            evidence["effect_sd"] = float(np.std([s.effect for s in judge.scores], ddof=1))
        if loop.options.folds:
            evidence["cav_accuracy"] = float(np.mean([s.accuracy for s in judge.scores]))
        if paid:
            evidence["mean_reward"] = float(np.mean(paid))
        if q_values is not None:
            evidence["q_value"] = q_values[action]
        if chosen.prior is not None:
            evidence |= {"rank_prior": float(action + 1), "prior": chosen.prior[action]}
        by_prior = loop.options.policy == "ranking" and chosen.prior is not None
        concept = Concept(
            name=phrase,
            importance=chosen.prior[action] if by_prior and chosen.prior else judge.effect,
            words=(phrase,),
            render=medium,
            directions={layer: judge.direction},
            evidence=evidence,
        )
        made.append((action, concept))
    return sorted(made, key=lambda pair: -pair[1].importance)


def _notes(loop: Loop) -> list[str]:
    taken, updates = len(loop.trace), sum(loop.updates)
    notes = [f"{taken} of {loop.steps} steps, {updates} updates of the generator"]
    if taken:
        notes.append(counts.line(loop.counts))
    if taken < loop.steps:
        notes.append(f"ended after step {taken}: nothing was left to change")
    return notes


def _save(state: Mapping[str, Tensor], path: Path) -> Path:
    """Write the adapter's tensors, under the names that the generator gave them."""
    from safetensors.torch import save_file

    plain = {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}
    save_file(plain, path, metadata={"format": "pt"})
    return path
