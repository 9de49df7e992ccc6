"""How important each concept is for the class logit of each image: attributions of the function codes -> logit.

captum computes gradient, gradient x input, integrated gradients and occlusion, and zennit relevance (lrp). Two
importances are computed here:

- ``sobol``: captum has no Sobol indices.
- ``shapley``: for exact values, `captum.attr.ShapleyValues` goes through all m! orders of m concepts, not through the
  2^m sets of concepts that occur in them. For sampled values, `captum.attr.ShapleyValueSampling` draws its orders from
  torch's global random state, so that they depend on what was drawn before, and evaluates a set that occurs in several
  orders several times. Ours come from a seed and in pairs of an order and its reverse, which are exact if concepts
  interact in pairs only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xcore_craft.activations import SplitClassifier
from xcore_craft.sobol import designs, jansen
from xcore_eac import games

from xcore.contract import Samples, UsageError
from xcore_lens.options import Options
from xcore_lens.relevance import relevance

Array = NDArray[np.float64]
MaskedLogit = Callable[[Array], Array]
"""The class logit of one image, (n,), when its m concepts are multiplied by masks (n, m) in [0, 1]."""

IMAGE_BATCH = 32
"""How many images captum attributes at once."""

MAX_EXACT = 10
"""Up to this many concepts in an image, Shapley values are computed from all sets of concepts."""

MEANING = {
    "gradient": "d class logit / d code, summed over positions",
    "gradient-x-input": "contribution to the class logit (gradient x input)",
    "integrated-gradients": "contribution to the class logit (integrated gradients)",
    "lrp": "relevance for the class logit (LRP)",
    "occlusion": "fall of the class logit without the concept (occlusion)",
    "sobol": "total Sobol index of the class logit",
    "shapley": "contribution to the class logit (Shapley value)",
}
IN_LOGITS = ("gradient-x-input", "integrated-gradients", "lrp", "occlusion", "shapley")
"""Importances in the unit of the logit. If the head is affine, they are equal."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """The importances of k concepts in N images; logits are those of the target class."""

    values: Array
    """(N, k)"""
    full: Array
    """(N,) logit of the classifier itself."""
    coded: Array
    """(N,) logit of codes @ atoms."""
    empty: Array
    """(N,) logit if all codes are zero, which means zero activations, or the mean activation if they are centred."""
    right: NDArray[np.bool_]
    """(N,) whether the classifier's top class is the target."""
    agrees: NDArray[np.bool_]
    """(N,) whether codes @ atoms lead to the same top class as the classifier itself."""
    forwards: int
    """Rows passed through the head, plus one pass of each image through the classifier."""
    backwards: int
    """Rows whose gradient was computed."""


def attribute(
    split: SplitClassifier,
    logits: Tensor,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    options: Options,
    seed: int,
    done: Callable[[int], None],
) -> Attribution:
    """One number for each image and concept: what the concept contributes to the class logit.

    Gradient, gradient x input, integrated gradients (along the straight line from codes of zero) and lrp give a number
    at each of the P positions; an image's number is their sum or, with the option ``abs-max``, the largest absolute
    value.
    Occlusion, Sobol and Shapley multiply the codes of a concept at all positions by one mask and give one number for
    an image; with ``abs-max`` it is its absolute value. A concept whose codes are all zero in an image has the value 0
    there, except for its gradient.

    Parameters
    ----------
    split
        The classifier, split at the layer of the dictionary.
    logits
        (N, classes) of the classifier itself.
    codes, atoms
        (N, P, k) and (k, C).
    samples
        The N images.
    target
        Index of the class.
    options
        ``importance``, ``pool``, and the options of the importance.
    seed
        Seed of the run; Sobol and Shapley combine it with a checksum of the image.
    done
        Called with the number of images that are done.

    Raises
    ------
    UsageError
        If a gradient is asked for and the logits do not depend on this layer.
    """
    o, n = options, len(codes)
    with torch.no_grad():
        rows = codes @ atoms
        coded = split.head(rows, samples).cpu()
        empty = split.head(torch.zeros_like(rows), samples).cpu()
    forwards, backwards = 3 * n, 0  # three: the classifier's own pass and the two passes above
    if o.importance in ("sobol", "shapley"):
        values, evaluations = _of_masks(split, codes, atoms, samples, target, o, seed, done)
        forwards += evaluations
    else:
        parts = []
        for start in range(0, n, IMAGE_BATCH):
            batch = range(start, min(start + IMAGE_BATCH, n))
            u = codes[batch.start : batch.stop].detach().clone()
            parts.append(_with_library(split, u, atoms, samples.take(batch), target, o))
            done(batch.stop)
        by_position = torch.cat(parts)
        if o.importance == "occlusion":
            values = by_position[:, 0].double().numpy()  # the same number at all positions
            forwards += n * (codes.shape[2] + 1)
        else:
            pooled = by_position.abs().amax(1) if o.pool == "abs-max" else by_position.double().sum(1)
            values = pooled.double().numpy()
            backwards = n * (o.steps if o.importance == "integrated-gradients" else 1)
            forwards += backwards
    if o.pool == "abs-max":
        values = np.abs(values)
    top = logits.argmax(1)
    return Attribution(
        values=values,
        full=logits[:, target].double().numpy(),
        coded=coded[:, target].double().numpy(),
        empty=empty[:, target].double().numpy(),
        right=(top == target).numpy(),
        agrees=(top == coded.argmax(1)).numpy(),
        forwards=forwards,
        backwards=backwards,
    )


def _with_library(
    split: SplitClassifier, codes: Tensor, atoms: Tensor, samples: Samples, target: int, o: Options
) -> Tensor:
    """Attributions (n, P, k) of the class logit to codes (n, P, k), computed by captum, or by zennit."""
    if o.importance == "lrp":
        return relevance(split, codes, atoms, samples, target)
    # captum imports matplotlib, which takes more than a second, so it is imported only when it is used.
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency

    def logit_of_rows(rows: Tensor) -> Tensor:
        logit = split.head(rows, samples)[:, target].double()
        if torch.is_grad_enabled() and not logit.requires_grad:
            raise UsageError("the logits do not depend on the activations of this layer", "choose another layer")
        return logit

    def logit_of_codes(u: Tensor) -> Tensor:
        return logit_of_rows(u @ atoms)

    made: Tensor
    if o.importance == "occlusion":
        concept = torch.arange(codes.shape[2]).reshape(1, 1, -1)  # all positions of a concept are removed together
        made = FeatureAblation(logit_of_codes).attribute(codes, feature_mask=concept)
    elif o.importance == "gradient":
        made = Saliency(logit_of_codes).attribute(codes.requires_grad_(), abs=False)
    elif o.importance == "gradient-x-input":
        made = InputXGradient(logit_of_codes).attribute(codes.requires_grad_())
    else:
        # The straight path of the codes is also a straight path of the activations. Integrated along the latter, the
        # product with the atoms is computed once, not at every step. The batch size makes captum take one step a time.
        slopes = IntegratedGradients(logit_of_rows, multiply_by_inputs=False).attribute(
            codes @ atoms, n_steps=o.steps, internal_batch_size=len(codes)
        )
        made = codes * (slopes @ atoms.T)
    return made.detach()


def _of_masks(
    split: SplitClassifier,
    codes: Tensor,
    atoms: Tensor,
    samples: Samples,
    target: int,
    o: Options,
    seed: int,
    done: Callable[[int], None],
) -> tuple[Array, int]:
    """Sobol indices or Shapley values (N, k) of the concepts, and how many masks were evaluated.

    A concept that an image lacks has the value 0 there and is not evaluated.
    """
    estimate = _sobol if o.importance == "sobol" else _shapley
    values, evaluations = np.zeros((len(codes), len(atoms))), 0
    for i in range(len(codes)):
        here = np.flatnonzero(split.read(codes[i : i + 1])[0].ne(0).any(0).numpy())

        def logit(masks: Array, i: int = i, here: NDArray[np.intp] = here) -> Array:
            nonlocal evaluations
            evaluations += len(masks)
            m = torch.from_numpy(masks).float()
            logits = split.logits_of_masked_codes(m, codes[i][:, here], atoms[here], samples.take([i]))
            return np.asarray(logits[:, target].double().cpu().numpy())

        if len(here):
            image = samples.images[i].detach().cpu().contiguous().numpy()
            values[i, here] = estimate(logit, len(here), [seed, zlib.crc32(image.tobytes())], o)
        done(i + 1)
    return values, evaluations


def _sobol(logit: MaskedLogit, m: int, seed: list[int], o: Options) -> Array:
    """Total Sobol indices (m,) of the logit for uniform masks."""
    a, c = designs(m, o.designs, seed)
    y = logit(np.concatenate([a, c.reshape(-1, m)]))
    return jansen(y[: len(a)], y[len(a) :].reshape(m, -1))[0]


def _shapley(logit: MaskedLogit, m: int, seed: list[int], o: Options) -> Array:
    """Shapley values (m,) of the game whose players are the concepts and whose value is the logit."""
    if m <= MAX_EXACT:
        design = games.exact(m, "shapley")
    else:
        design = games.sampled(m, "shapley", o.permutations // 2, np.random.default_rng(seed))
    return design.worth(logit(design.coalitions.astype(np.float64)))[0]
