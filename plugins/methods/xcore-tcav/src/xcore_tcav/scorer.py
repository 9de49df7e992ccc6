"""TCAV scores of concept sets against shared random sets; what does not depend on the concept is computed once."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from xcore.contract import NotApplicable, Probe, Purpose, RandomSet, Samples, UsageError, XcoreError
from xcore.models import device
from xcore.models.probes import activations_each
from xcore_tcav.inference import Floats, interval, rank_p, welch_p
from xcore_tcav.negatives import NegativeSets
from xcore_tcav.options import Counterparts

Scale = Literal["gradient", "unit", "raw"]
_BATCH = 20  # sets that are fitted together

_INDEPENDENT = frozenset({"noise"})  # renderings whose samples have nothing in common, neither a concept's nor others

_GATHERED = 200  # random sets whose samples are the pool of coherent ones; 200 sets of 10 hold all of 240 samples

_SAME = 1e-5  # activations that differ by less than this share of the largest one differ by rounding only

_COMPARED = 10  # random samples whose gradients are compared with that of a class sample that is alone

_CACHE_BYTES = 256_000_000  # activations of random samples that are kept while sets are drawn


def recording(random_set: RandomSet, ids: set[str]) -> RandomSet:
    """The random sets; the ids of their samples are added to `ids`, since each sample costs one forward pass."""

    def draw(n: int, index: int, render: str = "as-is", purpose: Purpose = "negative") -> Samples:
        drawn = random_set(n, index, render, purpose)
        ids.update(f"{purpose}/{i}" for i in drawn.ids)
        return drawn

    return draw


@dataclass(frozen=True, eq=False)
class SetScore:
    """How sensitive a class is to one concept set, over R random sets and m class samples."""

    ts: float
    """Mean over random sets of the share of class samples with positive sensitivity, in [0, 1]."""
    ts_std: float
    """Standard deviation of that share over random sets (ddof 1; nan if R = 1)."""
    effect: float
    """Mean sensitivity, in units of the scorer's `scale`; in [-1, 1] for "gradient"."""
    effect_lo: float
    effect_hi: float
    """95 % interval of the effect over random sets and class samples (nan if R = 1), see `inference.interval`."""
    accuracy: float
    """Cross-validated accuracy of the CAVs in [0, 1], mean over random sets; 0.5 is chance (nan if not asked for)."""
    ts_each: Floats
    """(R,) share of class samples with positive sensitivity, per random set."""
    shares: Floats
    """(m,) share of random sets with positive sensitivity, per class sample."""
    n: int
    """Number of samples of the concept set, and of each random set."""
    render: str
    """How the samples of all sets were made, see `xcore.contract.Concept.render`."""
    sensitivity: Floats
    """(R, m) sensitivity of each class sample to the CAV against each random set, from which the others follow."""
    alpha: Tensor
    """(R, 2n) coefficients of the samples of the set and of each random set, of which the CAVs are made."""


@dataclass(frozen=True, eq=False)
class NullDistribution:
    """Scores of J random sets of the size and rendering of a concept set: what a set scores by chance."""

    ts: Floats
    """(J,) TCAV scores, each in [0, 1]."""
    effect: Floats
    """(J,) effects, in the unit of the scorer's `scale`."""
    phrases: tuple[str, ...]
    """(J,) the phrase that a set was drawn of; "" for sets that were not drawn."""
    sensitivity: Floats
    """(J, R, m) sensitivity of each class sample to each set against each random set, from which both follow."""

    def without(self, phrase: str) -> NullDistribution:
        """The sets of other phrases, since a phrase is no counterpart of itself.

        Raises
        ------
        NotApplicable
            There are none.
        """
        kept = np.array([p != phrase or not p for p in self.phrases], dtype=bool)
        if not kept.any():
            raise NotApplicable(
                f"{phrase!r} is the only phrase that random sets can be drawn of",
                "give the data set a vocabulary of more phrases",
            )
        others = tuple(p for p, keep in zip(self.phrases, kept, strict=True) if keep)
        return NullDistribution(self.ts[kept], self.effect[kept], others, self.sensitivity[kept])


class Scorer:
    """TCAV scores of concept sets for one class at one layer.

    Parameters
    ----------
    probe
        The model opened at the layer.
    target
        Index of the class.
    samples
        The m >= 1 class samples whose gradients are taken (those of the logit, not of a loss). Of one alone, every CAV
        has a TS of 0 or 1, and intervals are those over random sets.
    random_set
        The random sets, such as `Task.random_set`. CAVs separate a concept from the first `negatives` sets with the
        purpose "negative"; the sets with the purpose "null" take the place of the concept in its null distribution.
    negatives
        R, the number of random sets that CAVs are fitted against.
    pool
        Fit on activations averaged over positions, so that CAVs have one entry per channel; the sensitivity to a
        direction that all positions share is the sum of the gradients over positions. Otherwise activations and
        gradients are both flattened, positions included.
    folds
        Folds of the cross-validated accuracy; 0 = do not compute it.
    scale
        Unit of effects: "gradient" = mean g.v / mean |g| with |v| = 1, comparable over layers and classes; "unit" =
        mean g.v with |v| = 1; "raw" = mean g.w with the coefficients as fitted (captum's ``magnitude``).
    c
        Inverse strength of the L2 regularisation of the CAVs, as in scikit-learn.
    affine
        Score even if the gradient is the same for all samples. TS is then 0 or 1 for every CAV, so by default this is
        refused.

    Raises
    ------
    NotApplicable
        There is no class sample, all gradients are zero, or the gradient is the same for all samples. When a set is
        scored: the model cannot tell the random samples from one another, or it gives all of them the gradient of the
        only class sample.
    XcoreError
        Activations or gradients are not finite.

    References
    ----------
    Kim et al., TCAV, ICML 2018, section 3: conceptual sensitivity and TCAV score.
    """

    def __init__(
        self,
        probe: Probe,
        target: int,
        samples: Samples,
        random_set: RandomSet,
        *,
        negatives: int = 20,
        pool: bool = False,
        folds: int = 5,
        scale: Scale = "gradient",
        c: float = 1.0,
        affine: bool = False,
    ) -> None:
        if not len(samples):
            raise NotApplicable("TCAV needs a sample of the class, and there is none")
        if negatives < 1 or folds < 0 or folds == 1:
            raise UsageError(f"negatives must be >= 1 and folds 0 or >= 2, got {negatives} and {folds}")
        self.probe, self.target, self.random_set = probe, target, random_set
        self.negatives, self.pool, self.folds, self.scale, self.c = negatives, pool, folds, scale, c
        self.gradients = self._flat(probe.gradients(samples, target), "gradients")
        """(m, d) gradients of the class logit."""
        norms = self.gradients.norm(dim=1)
        if not norms.any():
            raise NotApplicable(
                "undefined at this layer: the class logit does not depend on it (all gradients are 0)",
                "choose another layer",
            )
        # One sample has nothing to be compared with yet; it is compared with random ones when the first set is scored.
        self._compared = affine or len(samples) > 1
        if not affine and len(samples) > 1 and _alike(self.gradients):
            activations = self.activations(samples)
            if torch.allclose(activations, activations[:1].expand_as(activations), rtol=_SAME):
                raise NotApplicable(
                    "undefined at this layer: the classifier sees no difference between the class samples",
                    "give it samples that differ; texts of words that it does not know look alike to it",
                )
            raise _affine("all class samples")
        self.units: Floats = (norms if scale == "gradient" else torch.ones_like(norms)).double().cpu().numpy()
        """(m,) the unit of the sensitivity of each class sample: its gradient norm, or 1."""
        # All three by size and rendering (n, render); the activations of random samples also by their digest.
        self._negative_sets: dict[tuple[int, str], NegativeSets] = {}
        self._nulls: dict[tuple[int, str, Counterparts], tuple[int, NullDistribution]] = {}
        self._activations: dict[tuple[int, str], dict[str, Tensor]] = {}

    def score(self, samples: Samples, render: str = "as-is") -> SetScore:
        """Score one concept set; see `score_many`."""
        return self.score_many([samples], render)[0]

    def score_many(self, sets: Sequence[Samples], render: str = "as-is") -> list[SetScore]:
        """Score concept sets, each against the R shared random sets of its own size, rendered alike.

        Raises
        ------
        NotApplicable
            For a set of fewer than two samples.
        """
        scores: dict[int, SetScore] = {}
        for n in dict.fromkeys(len(s) for s in sets):
            negatives, rows = self._negatives_of(n, render), [i for i, s in enumerate(sets) if len(s) == n]
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                found = activations_each(self.probe, [sets[i] for i in batch])
                fitted = negatives.fitted([self._flat(a, "activations") for a in found])
                sensitivity = negatives.sensitivity(fitted, unit=self.scale != "raw").cpu().numpy()
                accuracy = negatives.accuracy(fitted, self.folds).tolist() if self.folds else [nan] * len(batch)
                alpha = fitted.fit.alpha.cpu().split(self.negatives)
                for i, s, a, own in zip(batch, sensitivity, accuracy, alpha, strict=True):
                    scores[i] = self._set_score(s, a, own, n, render)
        return [scores[i] for i in range(len(sets))]

    def null(self, j: int, n: int, render: str = "as-is", counterparts: Counterparts = "coherent") -> NullDistribution:
        """Scores of up to `j` random sets that take the place of a concept set of this size and rendering.

        What is exchangeable with what decides what a p-value means:

        - Drawn sets (``generated:...``) are n drawings of one random phrase each, as a drawn concept is, by the same
          adapter if there is one. They say whether the phrase differs from random phrases in what the class responds
          to. They are not tuned as a tuned concept is, so that is no test of the tuning. The unit is the phrase: there
          are as many sets as phrases.
        - "coherent" sets are a random sample and its n - 1 nearest neighbours among the random samples, by the distance
          of the activations at this layer: a concept's samples are alike, and so are these. Hardly any sets are more
          alike to this layer, and the distance needs no further model. The unit is the first sample: there are as many
          sets as random samples.
        - "mixed" sets are n random samples: counterparts of concepts that are no more alike than these. Images of noise
          always have such ones: they are independent, and the nearest ones of each are the same few.

        Raises
        ------
        NotApplicable
            There are no random sets of this rendering, or the model cannot tell the samples of negatives apart.
        """
        key = (n, render, counterparts)
        asked, found = self._nulls.get(key, (0, None))
        if found is None or asked < j:
            negatives, each, phrases = self._negatives_of(n, render), list[Floats](), list[str]()
            for batch, drawn_of in self._counterparts(j, n, render, counterparts):
                each.append(negatives.sensitivity(negatives.fitted(batch), unit=self.scale != "raw").cpu().numpy())
                phrases += drawn_of
            s = np.concatenate(each)
            effect = s.mean((1, 2)) / self.units.mean()
            found = NullDistribution((s > 0).mean((1, 2)), effect, tuple(phrases), s)
            self._nulls[key] = (j, found)
        return NullDistribution(found.ts[:j], found.effect[:j], found.phrases[:j], found.sensitivity[:j])

    def p_values(
        self, score: SetScore, j: int = 199, counterparts: Counterparts = "coherent", phrase: str = ""
    ) -> tuple[float, float]:
        """One-sided rank p-values of a set's effect among `j` random sets (`inference.rank_p`), without correction.

        Parameters
        ----------
        phrase
            What the set was drawn of, if it was drawn: random sets of the same phrase are left out.
        """
        return rank_p(score.effect, self.null(j, score.n, score.render, counterparts).without(phrase).effect)

    def welch_p_values(self, score: SetScore) -> tuple[float, float]:
        """One-sided p-values of the published t-test of TS over random sets, **not calibrated** (`inference.welch_p`).

        Its null scores are those of the negative sets against one another.

        Raises
        ------
        UsageError
            If there are fewer than three negative sets.
        """
        if self.negatives < 3:
            raise UsageError(
                f"the t-test needs at least 3 random sets, got {self.negatives}", "raise the option `negatives`"
            )
        return welch_p(score.ts_each, self._negatives_of(score.n, score.render).pair_scores.cpu().numpy())

    def forget(self, render: str) -> None:
        """Free what is kept of the random sets of a rendering; their samples' activations stay in their cache."""
        self._negative_sets = {key: kept for key, kept in self._negative_sets.items() if key[1] != render}
        self._nulls = {key: kept for key, kept in self._nulls.items() if key[1] != render}

    def cavs(self, samples: Samples, render: str = "as-is", score: SetScore | None = None) -> Tensor:
        """The R unit CAVs of a concept set, (R, d) float32 on the CPU, pointing to the concept.

        Parameters
        ----------
        score
            The score of these samples, whose fits are taken; None = they are fitted.
        """
        negatives, x = self._negatives_of(len(samples), render), self.activations(samples)
        alpha = negatives.fitted([x]).fit.alpha if score is None else score.alpha
        return normalize(negatives.cavs(x, alpha), dim=1).cpu()

    def direction(self, samples: Samples, render: str = "as-is", score: SetScore | None = None) -> Tensor:
        """The mean of the R unit CAVs, normalised: (d,), for `Concept.directions`; see `cavs`."""
        return normalize(self.cavs(samples, render, score).mean(0), dim=0)

    def local(self, direction: Tensor) -> Tensor:
        """(m,) sensitivity of each class sample along a direction (d,), over the mean of `units`; on the CPU."""
        return (self.gradients @ direction.to(self.gradients)).cpu() / float(self.units.mean())

    def sign_and_magnitude(self, cavs: Tensor) -> tuple[Tensor, Tensor]:
        """captum's ``sign_count`` and ``magnitude`` of given CAVs (k, d): share of g.v > 0 and mean g.v, each (k,)."""
        sensitivity = self.gradients @ cavs.to(self.gradients).T
        return (sensitivity > 0).float().mean(0).cpu(), sensitivity.mean(0).cpu()

    def activations(self, samples: Samples) -> Tensor:
        """(n, d) activations as CAVs see them: flattened, or averaged over positions; where CAVs are fitted."""
        return self._flat(self.probe.activations(samples), "activations")

    def _flat(self, a: Tensor, what: Literal["activations", "gradients"]) -> Tensor:
        if not a.isfinite().all():
            raise XcoreError(
                f"the {what} at this layer are not finite", "look for overflow in the model, or choose another layer"
            )
        if self.pool and self.probe.layout != "NC":
            positions = (2, 3) if self.probe.layout == "NCHW" else (1,)
            a = a.mean(positions) if what == "activations" else a.sum(positions)
        return a.detach().flatten(1).float().to(_fitted_on())

    def _random_activations(self, n: int, indices: Sequence[int], render: str, purpose: Purpose) -> list[Tensor]:
        """Activations (n, d) of random sets. The sets come from a pool, so each sample of it is run only once."""
        drawn: list[tuple[str, ...]] = []

        def sets() -> Iterator[Samples]:
            """One after the other: of all that are drawn only the digests are kept, and each sample once."""
            for i in indices:
                samples = self.random_set(n, i, render, purpose)
                if len(samples) != n:
                    raise XcoreError(f"random set {i} (rendered {render!r}) has {len(samples)} samples instead of {n}")
                drawn.append(samples.digests)
                yield samples

        # One cache for each size and medium, so that batches, and with them rounding, are the same in every run.
        known = self._activations.setdefault((n, render.partition(":")[0]), {})
        keys, new = _new_samples(sets(), lambda _: drawn[-1], known)
        if new is not None:
            known.update(zip(keys, self.activations(new), strict=True))
        rows = torch.stack([known[key] for digests in drawn for key in digests])
        if len(known) * rows[0].nbytes > _CACHE_BYTES:
            known.clear()
        return list(rows.view(len(drawn), n, -1))

    def _counterparts(
        self, j: int, n: int, render: str, counterparts: Counterparts
    ) -> Iterator[tuple[list[Tensor], list[str]]]:
        """Batches of the activations (n, d) of up to j random sets, each with the phrases that they were drawn of."""
        medium = render.partition(":")[0]
        drawn = medium == "generated"
        if drawn or medium in _INDEPENDENT or counterparts == "mixed":
            phrases: dict[str, str] = {}
            for i in range(j):
                samples = self.random_set(n, i, render, "null")
                if drawn and samples.ids[0] in phrases:
                    break  # the phrases begin anew
                phrases[samples.ids[0] if drawn else str(i)] = (samples.meta.get("prompt") or ("",))[0]
            known = list(phrases.values())
            for start in range(0, len(known), _BATCH):
                rows = range(start, min(start + _BATCH, len(known)))
                yield self._random_activations(n, rows, render, "null"), known[start : start + _BATCH]
            return
        activations = self.activations(self._gathered(n, render))
        sets = nearest(activations, n)[:j]
        for start in range(0, len(sets), _BATCH):
            batch = sets[start : start + _BATCH]
            yield [activations[rows] for rows in batch], [""] * len(batch)

    def _gathered(self, n: int, render: str) -> Samples:
        """The samples of random sets for the null, each id once, in the order in which they were first drawn.

        Of several crops of one picture only the first is taken: crops of one picture are alike, but a concept's are
        those of several.
        """
        sets = (self.random_set(n, i, render, "null") for i in range(_GATHERED))
        _, found = _new_samples(sets, lambda s: s.ids)
        assert found is not None
        return found

    def _negatives_of(self, n: int, render: str) -> NegativeSets:
        """The R negative sets of this size and rendering, which no adapter drew."""
        render = render.partition("+")[0] if render.startswith("generated:") else render
        if n < 2:
            raise NotApplicable(f"TCAV needs at least 2 samples of a concept, got {n}")
        if (n, render) not in self._negative_sets:
            sets = self._random_activations(n, range(self.negatives), render, "negative")
            rounding = _SAME * max(float(s.abs().max()) for s in sets)
            if all(float((s - sets[0][0]).abs().max()) <= rounding for s in sets):
                raise NotApplicable(
                    f"all {self.negatives * n} random samples have the same activations at this layer",
                    "texts of words that the model does not know look alike to it; name other random samples with "
                    "--contrast REF",
                )
            if not self._compared:
                self._compare_with(self.random_set(n, 0, render).take(slice(_COMPARED)))
            self._negative_sets[n, render] = NegativeSets(torch.stack(sets), self.gradients, self.c)
        return self._negative_sets[n, render]

    def _compare_with(self, others: Samples) -> None:
        """Raise `NotApplicable` if the gradient of the only class sample is that of all the others, too."""
        if _alike(torch.cat([self.gradients, self._flat(self.probe.gradients(others, self.target), "gradients")])):
            raise _affine("the class sample and for random ones")
        self._compared = True

    def _set_score(self, s: Floats, accuracy: float, alpha: Tensor, n: int, render: str) -> SetScore:
        """The score from the sensitivities (R, m) and the coefficients (R, 2n)."""
        each = (s > 0).mean(1)
        several = len(s) > 1
        lo, hi = interval(s, self.units) if several else (nan, nan)
        return SetScore(
            ts=float(each.mean()),
            ts_std=float(each.std(ddof=1)) if several else nan,
            effect=float(s.mean() / self.units.mean()),
            effect_lo=lo,
            effect_hi=hi,
            accuracy=accuracy,
            ts_each=each,
            shares=(s > 0).mean(0),
            n=n,
            render=render,
            sensitivity=s,
            alpha=alpha,
        )


def _fitted_on() -> str:
    """Where CAVs are fitted: where classifiers are, but for GPUs of Apple, which have no double precision."""
    name = device.current()
    return "cpu" if name.startswith("mps") else name


def _new_samples(
    sets: Iterable[Samples], names: Callable[[Samples], Sequence[str]], known: Container[str] = ()
) -> tuple[list[str], Samples | None]:
    """The samples of sets whose names are not known, each once, in the order in which they first come: names, samples.

    None instead of no samples.
    """
    found, parts = dict[str, None](), list[Samples]()
    for samples in sets:
        rows = []
        for row, name in enumerate(names(samples)):
            if name not in known and name not in found:
                found[name] = None
                rows.append(row)
        if rows:
            parts.append(samples.take(rows))
    return list(found), Samples.concat(parts) if parts else None


def nearest(activations: Tensor, n: int) -> list[list[int]]:
    """For each of N rows (N, d): itself and the n - 1 rows nearest to it by the Euclidean distance, nearest first."""
    centred = activations - activations.mean(0)
    distance = torch.cdist(centred, centred)
    distance.fill_diagonal_(-1.0)
    rows: list[list[int]] = torch.topk(distance, min(n, len(activations)), largest=False).indices.tolist()
    return rows


def _alike(gradients: Tensor) -> bool:
    """Whether gradients (m, d) are the same for all samples, but for rounding."""
    return bool((gradients - gradients.mean(0)).norm(dim=1).max() <= 1e-5 * gradients.norm(dim=1).max())


def _affine(whom: str) -> NotApplicable:
    return NotApplicable(
        f"undefined at this layer: the gradient is the same for {whom} (an affine head)",
        "TS would be 0 or 1 for every concept: choose an earlier layer",
    )


def one_sample_note(samples: Samples) -> list[str]:
    """What cannot be told from one sample of the class, for the reader of an explanation; nothing for several."""
    if len(samples) != 1:
        return []
    return [
        f"one {samples.modality} is explained: for it each CAV has a TS of 0 or 1, so that TS is the share of random "
        f"sets, and intervals are over random sets only; whether other {samples.modality}s of the class are like it "
        "cannot be told from it"
    ]
