"""The explainer `skit`: named concepts, each tested by betting against its independence of the model's output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from xcore.contract import Concept, Cost, Explanation, Presence, Samples, Task
from xcore_evidence import ridge
from xcore_evidence.margins import margin
from xcore_evidence.observed import PENALTY, reading_notes
from xcore_evidence.phrases import candidates
from xcore_evidence.readings import enough_words, phrases_again, pool_of, presence
from xcore_evidence.showing import highest, pictured
from xcore_evidence.skit import betting
from xcore_evidence.skit.chart import wealths
from xcore_evidence.skit.options import SkitOptions
from xcore_evidence.skit.samplers import Kind, Sampler

IMPORTANCE_IS = {
    True: "share of the budget that is left when the test rejects, mean over orders; negative: the output falls",
    False: "share of the budget that is left when the test rejects, mean over orders; 0 = it never rejects",
}
DEPENDS = {
    "conditional": "depends on the phrase given the presence of all others",
    "marginal": "depends on the phrase, directly or through others that go along with it",
}


@dataclass(frozen=True, eq=False)
class Tested:
    """What the bets on k phrases made, in R orders of n samples."""

    wealth: Tensor
    """(k, R, n) log of the wealth after each sample."""
    times: Tensor
    """(k, R) number of samples at which a test rejects; n if it never does."""
    rejected: Tensor
    """(k, R) whether it rejects."""
    e: list[float]
    """The e-value of each phrase: its mean wealth at the end."""
    signs: list[int]
    """1 where the output rises with the phrase, -1 where it falls."""
    marks: list[int]
    """The sign where e-BH rejects, 0 elsewhere."""

    @property
    def speeds(self) -> list[float]:
        """Share of the samples that are left when the test rejects, mean over orders."""
        found: list[float] = (1 - self.times.double().mean(1) / self.wealth.shape[-1]).tolist()
        return found


class Skit:
    """Sequential tests by betting of which named concepts a model's output depends on.

    The hypothesis of each phrase is that the output is independent of its presence, or, with ``test=conditional``, that
    it is so given the presence of all others. Bets against it are placed on one sample after the other, and the
    phrases are ranked by how soon the wealth is 1 / alpha. The classifier is asked for logits only.

    Raises
    ------
    MissingError
        There are no phrases, or no model of the role image-text.
    NotApplicable
        There are too few samples for so many phrases, no samples of other classes, or the output is constant.

    References
    ----------
    After Teneggi and Sulam, arXiv:2405.19146; see `xcore_evidence.skit.betting`.
    """

    def __init__(self, options: SkitOptions | None = None) -> None:
        self.options = options or SkitOptions()

    def explain(self, task: Task) -> Explanation:
        """Explain the target class of the task."""
        start, o = time.perf_counter(), self.options
        how = "--set skit.phrases=a,b,c"
        phrases, notes = candidates(task, o.phrases, o.vocabulary, "skit.vocabulary", how)
        pool = pool_of(task, o.pool, o.samples)
        read = presence(task, pool.samples, phrases)
        if task.samples.modality == "text" and not o.phrases:
            phrases, read, few = enough_words(phrases, read, how)
            notes = (*notes, few)
        logits = task.classifier.logits(pool.samples)
        y = margin(logits, task.target)
        if o.output == "logit":
            y = logits[:, task.target].double()
        task.progress(0, len(phrases) + 1, f"betting on {len(phrases)} phrases")
        fit = ridge.fit(read, y, penalty=PENALTY, seed=task.seed)
        sampler = self.sampler(read, task)
        tested = self.tested(task, y, sampler, fit.coefficients)
        chance, order = self.shuffled(task, y, sampler), self._ranked(tested)
        concepts = [self._concept(phrases, i, tested, pool.samples, read) for i in order]
        files = {
            "wealth.png": wealths(
                task.workdir / "wealth.png", task.target_name, phrases, order, tested.wealth, tested.marks, o.alpha
            )
        }
        if pool.samples.modality == "image":
            files["high-low.png"] = pictured(task.workdir / "high-low.png", phrases, order, pool.samples, read)
        task.progress(len(phrases) + 1, len(phrases) + 1, "done")
        same = tuple((phrases[i], phrases[j]) for i, j in ridge.alike(read))
        explained = reading_notes(phrases, read, same, fit.explained, pool.samples.modality)
        return Explanation(
            method="skit",
            target=task.target_name,
            importance_is=IMPORTANCE_IS[o.signed],
            concepts=tuple(concepts),
            files=files,
            notes=(
                *self._summary(phrases, tested, sampler, chance),
                *self._rare(task, read),
                *pool.notes,
                *explained,
                *notes,
            ),
            cost=Cost(seconds=time.perf_counter() - start, forwards=len(pool.samples)),
        )

    def apply(self, explanation: Explanation, task: Task) -> Presence:
        """How strongly the phrases are present in other samples."""
        return phrases_again(explanation, task)

    def sampler(self, read: Tensor, task: Task) -> Sampler:
        """What draws counterfeit presence from (n, k) what was read; checks that there is enough of it."""
        ridge.degrees_left(len(read), read.shape[1])
        usual: Kind = "neighbours" if task.samples.modality == "text" else "regression"
        return Sampler(ridge.standardised(read), self.options.sampler or usual, self.options.neighbours)

    def shuffled(self, task: Task, y: Tensor, sampler: Sampler) -> float:
        """Share of the tests that reject where nothing depends on anything: one order, with the outputs shuffled."""
        turned = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(task.seed))]
        tested = self.tested(task, turned, sampler, torch.zeros(sampler.read.shape[1]), orders=1)
        return float(tested.rejected.double().mean())

    def tested(self, task: Task, y: Tensor, sampler: Sampler, coefficients: Tensor, orders: int = 0) -> Tested:
        """The bets on all phrases.

        Parameters
        ----------
        y
            (n,) output.
        coefficients
            (k,) say whether the output rises with a phrase.
        orders
            Number of orders; 0 = as the options say.
        """
        o, k = self.options, sampler.read.shape[1]
        generator = torch.Generator().manual_seed(task.seed)
        rows = [torch.randperm(len(y), generator=generator)[: o.tau] for _ in range(orders or o.orders)]
        wealth = []
        for i in range(k):
            payoffs = self._payoffs(i, y, sampler, rows, generator)
            wealth.append(betting.log_wealth(payoffs, o.step))
            task.progress(i + 1, k + 1, "betting on the phrases")
        grown = torch.stack(wealth)
        times, rejected = betting.rejection_times(grown, o.alpha)
        e = betting.e_values(grown[..., -1])
        slopes = coefficients if o.test == "conditional" else sampler.read.T @ (y - y.mean())
        signs = [1 if slope >= 0 else -1 for slope in slopes.tolist()]
        marks = [s if d else 0 for s, d in zip(signs, betting.discoveries(e, o.alpha), strict=True)]
        return Tested(grown, times, rejected, e, signs, marks)

    def _payoffs(
        self, i: int, y: Tensor, sampler: Sampler, orders: Sequence[Tensor], generator: torch.Generator
    ) -> Tensor:
        """(R, n) payoffs of the bets on a phrase in each order."""
        o, own = self.options, sampler.read[:, i]
        rows = torch.stack(list(orders))
        if o.test == "marginal":
            return betting.marginal_payoffs(y[rows], own[rows], warmup=o.warmup, bandwidth=o.bandwidth, scale=o.scale)
        others = sampler.others(i)
        made = [
            betting.conditional_payoffs(
                y[order],
                own[order],
                sampler.draw(i, generator)[order],
                others[order][:, order],
                warmup=o.warmup,
                bandwidth=o.bandwidth,
                scale=o.scale,
            )
            for order in orders
        ]
        return torch.stack(made)

    def _ranked(self, tested: Tested) -> list[int]:
        """Indices of the phrases, the most important first; of equally important ones that with more wealth."""
        signs = tested.signs if self.options.signed else [1] * len(tested.signs)

        def key(i: int) -> tuple[float, float]:
            return -signs[i] * tested.speeds[i], -signs[i] * log(max(tested.e[i], 1e-300))

        return sorted(range(len(signs)), key=key)

    def _concept(self, phrases: Sequence[str], i: int, tested: Tested, samples: Samples, read: Tensor) -> Concept:
        """The concept of a phrase: the samples in which it is most present, and what the bets on it made."""
        high = highest(read[:, i], self.options.shown)
        sign = tested.signs[i] if self.options.signed else 1
        chosen = samples.take(high)
        return Concept(
            name=phrases[i],
            importance=sign * tested.speeds[i] + 0.0,  # no -0.0
            samples=Samples(chosen.modality, chosen.data, chosen.ids),
            words=(phrases[i],),
            source=torch.full((len(high),), -1),
            evidence={
                "wealth": float(tested.wealth[i, :, -1].median().exp()),
                "rejection_time": float(tested.times[i].double().mean()),
                "rejected": float(tested.rejected[i].double().mean()),
                "e_value": tested.e[i],
                "p": min(1.0, 1 / max(tested.e[i], 1e-300)),
                "sign": float(tested.signs[i]),
                "mark": float(tested.marks[i]),
            },
        )

    def _rare(self, task: Task, read: Tensor) -> list[str]:
        """In how many of the texts that are bet on a phrase occurs, where fewer are bet on than there are."""
        o, n = self.options, len(read)
        if task.samples.modality != "text" or n <= o.tau:
            return []
        half = float(read.sum(0).median()) * o.tau / n
        return [
            f"half of the phrases occur in {half:.0f} or fewer of the {o.tau} texts that an order bets on, and so few "
            f"gain little (skit.tau={n} bets on all {n} texts, and takes up to {(n / o.tau) ** 2:.0f} times as long)"
        ]

    def _summary(self, phrases: Sequence[str], tested: Tested, sampler: Sampler, chance: float) -> list[str]:
        """What was tested, and how many phrases are marked, for the reader of an explanation."""
        o, (_, orders, n) = self.options, tested.wealth.shape
        raised, lowered = tested.marks.count(1), tested.marks.count(-1)
        drawn = f"; presence given the others is drawn by {sampler.kind}" if o.test == "conditional" else ""
        return [
            f"each test asks whether the {o.output} of the class {DEPENDS[o.test]} "
            f"({n} samples in {orders} orders{drawn})",
            f"of {len(phrases)} phrases {raised} are marked with a rising output and {lowered} with a falling one "
            f"(e-BH at {o.alpha:g}; the direction itself is not tested)",
            f"with the outputs shuffled, {chance:.0%} of the tests reject (right: at most {o.alpha:.0%})"
            + ("; do not believe the marks" if chance > 2 * o.alpha else ""),
        ]
