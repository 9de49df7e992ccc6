"""What the importances of CRAFT should be: heads whose total Sobol indices are known (see craft.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.decomposition import NMF
from torch import Tensor, nn
from xcore_craft.activations import SplitClassifier
from xcore_craft.factorise import nnls
from xcore_craft.importance import Estimator, sobol_importance

from xcore.contract import Samples
from xcore.models.classifiers import TorchClassifier
from xcore.models.codes import rows_of

BATCH = 64
Array = NDArray[np.float64]


def importances(
    samples: Samples,
    kept: dict[str, Any],
    atoms: Array,
    target: int,
    n: int,
    seed: int = 0,
    estimator: Estimator = "regression",
) -> Array:
    """(k,) as `craft` makes them: exact codes, then the indices, averaged over images."""
    split, full = kept["split"], kept["full"]
    codes = nnls(full.reshape(-1, full.shape[2]).double().numpy(), atoms).reshape(*full.shape[:2], -1)
    u, w = torch.from_numpy(codes).float(), torch.from_numpy(atoms).float()
    made = sobol_importance(
        split, full, u, w, samples, target, n=n, seed=seed, sampler="sobol", estimator=estimator, done=lambda i: None
    )
    kept["codes"], kept["rows"] = codes, made.evaluations
    return np.asarray(made.total.mean(axis=0))


def rank(a: Array, b: Array) -> float:
    """Rank correlation; 0 if the entries of `a` differ by rounding alone."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 1e-5 * np.abs(a).max() else 0.0


def truth(codes: Array, weights: Array) -> Array:
    """(k,) total indices of sum_k w_k m_k mean_p(u_pk), uniform masks m; the mean over images of codes (N, P, k)."""
    share = (codes.mean(axis=1) * weights) ** 2
    return np.asarray((share / share.sum(axis=1, keepdims=True)).mean(axis=0))


class Codes(nn.Module):
    """The first k pixels of an image are its codes; each class is a sum of them with weights of its own."""

    def __init__(self, weights: Array) -> None:
        super().__init__()
        self.latent, self.k = nn.Identity(), weights.shape[1]
        self.head = nn.Linear(self.k, len(weights), bias=False)
        self.head.weight.data = torch.from_numpy(weights).float()

    def forward(self, images: Tensor) -> Any:
        return self.head(self.latent(images.flatten(1)[:, : self.k]))


def of_a_head(craft: Any, weights: Array, images: int, designs: int) -> tuple[list[Array], list[Array]]:
    """Importances of theirs and ours for each row of weights (draws, k), all codes 1; ours with the row as seed."""
    k = weights.shape[1]
    module = Codes(weights).eval()
    given = torch.rand(images, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    given.flatten(1)[:, :k] = 1
    samples = Samples("image", given, tuple(map(str, range(images))))
    probe = TorchClassifier(module, [str(i) for i in range(len(weights))], input_size=16).open("latent")
    kept = {"split": SplitClassifier(probe, (k,)), "full": rows_of(probe.activations(samples), probe.layout)}
    made = craft(lambda x: x, module.head, k, BATCH, device="cpu")
    made.reducer, made.W = NMF(k), np.eye(k, dtype=np.float32)
    made.reducer.components_, made.reducer.n_components_, made.reducer.n_features_in_ = made.W, k, k
    theirs = [made.estimate_importance(np.ones((images, k), np.float32), i, designs) for i in range(len(weights))]
    return theirs, [importances(samples, kept, np.eye(k), i, designs, i) for i in range(len(weights))]


class Readout(nn.Module):
    """A network whose classes are sums of the pooled codes of a dictionary, each with weights of its own."""

    def __init__(self, net: Any, atoms: Array, weights: Array) -> None:
        super().__init__()
        self.net, self.num_classes = net, len(weights)
        self.matrix = nn.Buffer(torch.from_numpy(np.linalg.pinv(atoms) @ weights.T).float())

    def forward_features(self, x: Tensor) -> Any:
        return self.net.forward_features(x)

    def forward_head(self, a: Tensor) -> Tensor:
        return a.mean((2, 3)) @ self.matrix

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def of_a_readout(side: Any, draws: int) -> tuple[float, float]:
    """Mean rank correlation with the truth, of theirs and of ours, each with a dictionary and codes of its own."""
    o, kept, made = side.o, side.found, side.found["craft"]
    inputs, rng = side.inputs, np.random.default_rng(1)
    drawn = np.stack([rng.permutation(np.linspace(0.7, 1.3, o.k)) for _ in range(draws)])

    def weighted(codes: Array) -> tuple[Array, list[Array]]:
        """Weights in units of the codes' means, so that no concept matters for its size alone; and the truth."""
        weights = drawn / np.maximum(codes.mean(axis=(0, 1)), 1e-12)
        return weights, [truth(codes, row) for row in weights]

    weights, true = weighted(made.transform(inputs).reshape(len(inputs), -1, o.k).astype(np.float64))
    made.latent_to_logit = Readout(side.net, made.W.astype(np.float64), weights).forward_head
    theirs = [rank(made.estimate_importance(inputs, i, o.designs), true[i]) for i in range(draws)]
    made.latent_to_logit = side.net.forward_head

    atoms = kept["factors"].atoms
    weights, true = weighted(nnls(kept["full"].flatten(0, 1).double().numpy(), atoms).reshape(len(inputs), -1, o.k))
    module = Readout(side.net, atoms, weights).eval()
    known = TorchClassifier(
        module, [str(i) for i in range(draws)], preprocess=side.preprocess, input_size=side.images.shape[-1]
    )
    behind = {**kept, "split": replace(kept["split"], probe=known.open(f"net.{side.layer}"))}
    ours = [rank(importances(side.samples, behind, atoms, i, o.designs), true[i]) for i in range(draws)]
    return float(np.mean(theirs)), float(np.mean(ours))
