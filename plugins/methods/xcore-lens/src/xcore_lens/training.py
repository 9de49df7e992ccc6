"""The training of a sparse autoencoder, which survives interruptions: it continues from the last whole epoch."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from xcore.contract import Progress, UsageError
from xcore_lens.options import SaeOptions, Trained
from xcore_lens.saes import FreeAtoms, MixedAtoms, Sae, Settings

CHECKPOINT = "checkpoint.safetensors"
MOST_ATOMS = 1024
"""Unless the options say how many atoms there are."""
CLUSTERED = 50_000
"""Of how many rows, drawn at random, the points of archetypal are made."""
CLIP = 1.0
"""Length to which the gradient is clipped."""
PENALTY = 0.1
"""Where the penalty of jumprelu begins, if it follows the number of active atoms."""
PENALTY_RATE = 0.02
"""How fast it follows: the largest change of its logarithm in one step."""
THETA_RATE = 10.0
"""How much faster the thresholds of jumprelu learn than the weights: they have to move by factors."""


def sizes(o: SaeOptions, channels: int) -> tuple[int, int]:
    """The number of atoms and how many of them are active at a position.

    Raises
    ------
    UsageError
        More are to be active than there are.
    """
    atoms = o.sae_atoms or min(4 * channels, MOST_ATOMS)
    active = o.sae_active or max(1, min(atoms // 10, channels // 8))
    if active > atoms:
        raise UsageError(f"{active} of {atoms} atoms cannot be active", "lower lens.sae_active")
    return atoms, active


@dataclass(frozen=True)
class Figures:
    """How well a sparse autoencoder does on the rows that it was trained on."""

    r2: float
    """1 - squared error / squared distance from the mean over all rows and channels."""
    l0: float
    """Mean number of active atoms of a row."""
    dead: float
    """Share of atoms that are active in no row."""


def untrained(kind: Trained, x: Tensor, o: SaeOptions) -> Sae:
    """A sparse autoencoder of centred rows x (n, C) whose atoms are rows, or for archetypal, means of clusters.

    Raises
    ------
    UsageError
        There are fewer rows or points than atoms.
    """
    k, active = sizes(o, x.shape[1])
    if len(x) < k:
        raise UsageError(
            f"{len(x)} positions are too few for {k} atoms", "raise lens.sae_images or lower lens.sae_atoms"
        )
    settings = Settings(kind, active, o.sae_aux, o.sae_bandwidth, o.sae_parity)
    rng = np.random.default_rng([o.sae_seed, 1])
    if kind != "archetypal":
        return Sae(settings, FreeAtoms(x[torch.from_numpy(rng.choice(len(x), k, replace=False))]))
    points = min(o.sae_points or 2 * k, len(x))
    if points < k:
        raise UsageError(f"{points} points are too few for {k} atoms", "raise lens.sae_points or lower lens.sae_atoms")
    drawn = x[torch.from_numpy(np.sort(rng.choice(len(x), min(len(x), CLUSTERED), replace=False)))]
    fit = MiniBatchKMeans(points, n_init=1, batch_size=4096, max_iter=20, random_state=o.sae_seed % 2**32)
    means = torch.from_numpy(fit.fit(drawn.double().numpy()).cluster_centers_).float()
    return Sae(settings, MixedAtoms(means, torch.from_numpy(rng.choice(points, k, replace=False)), o.sae_delta))


def train(kind: Trained, x: Tensor, o: SaeOptions, work: Path, progress: Progress) -> tuple[Sae, Figures]:
    """Train a sparse autoencoder on centred rows x (n, C).

    The same rows and options give the same bits, also after an interruption.

    Parameters
    ----------
    work
        Where the checkpoint is kept.
    progress
        Told after each step.

    Raises
    ------
    UsageError
        The loss is infinite or not a number, or there are too few rows.
    """
    made = _Training(untrained(kind, x, o), x, o, work / CHECKPOINT)
    while made.epoch < o.sae_epochs:
        made.run_epoch(progress)
        made.save()
    sae = made.sae
    if kind == "batch-topk":
        sae.threshold.fill_(_smallest_kept(sae, x, o.sae_batch))
    return sae.eval().requires_grad_(False), figures(sae, x)


@torch.no_grad()
def _smallest_kept(sae: Sae, x: Tensor, batch: int) -> float:
    """The mean over batches of the smallest code that is kept, by which batch-topk goes when it is not trained."""
    sae.train()
    kept = [sae(part)[1] for part in x.split(batch) if len(part) == min(batch, len(x))]
    return float(
        torch.stack([codes[codes > 0].min() for codes in kept if bool((codes > 0).any())] or [x.new_zeros(())]).mean()
    )


@torch.no_grad()
def figures(sae: Sae, x: Tensor) -> Figures:
    """How well a trained autoencoder does on centred rows x (n, C)."""
    error, count, seen = 0.0, 0.0, torch.zeros(len(sae.bias), dtype=torch.bool)
    for part in x.split(4096):
        _, codes, rebuilt = sae(part)
        error += float((part - rebuilt).double().square().sum())
        count += float((codes > 0).sum())
        seen |= (codes > 0).any(0)
    total = float((x.double() - x.double().mean()).square().sum())
    return Figures(1 - error / total if total else 0.0, count / len(x), float((~seen).double().mean()))


class _Training:
    """All that the next epoch depends on, read from the checkpoint if there is one."""

    def __init__(self, sae: Sae, x: Tensor, o: SaeOptions, file: Path) -> None:
        self.sae, self.epoch = sae, 0
        self._x, self._o, self._file = x, o, file
        self._penalty = o.sae_penalty or PENALTY
        self._named = dict(sae.named_parameters())
        rates = [{"params": [p], "rate": THETA_RATE if name == "log_theta" else 1.0} for name, p in self._named.items()]
        self._optimiser = torch.optim.Adam(rates, lr=o.sae_lr)
        self._total = o.sae_epochs * self._steps
        if file.is_file():
            self._restore()

    @property
    def _steps(self) -> int:
        """Steps in an epoch; a last batch that is not full is left out, unless it is the only one."""
        return max(1, len(self._x) // self._o.sae_batch)

    def run_epoch(self, progress: Progress) -> None:
        """Go through all rows once, and revive atoms that were never active meanwhile."""
        o = self._o
        order = torch.from_numpy(np.random.default_rng([o.sae_seed, 2, self.epoch]).permutation(len(self._x)))
        seen = torch.zeros(len(self.sae.bias), dtype=torch.bool)
        begun = time.monotonic()
        for i in range(self._steps):
            batch = self._x[order[i * o.sae_batch : (i + 1) * o.sae_batch]]
            at = self.epoch * self._steps + i
            loss, codes = self._step(batch, at)
            seen |= (codes > 0).any(0)
            if time.monotonic() - begun > 0.2 or i + 1 == self._steps:
                begun = time.monotonic()
                active = float((codes > 0).sum()) / len(codes)
                progress(at + 1, self._total, f"sparse autoencoder, loss {loss:.3f}, {active:.1f} atoms active")
        self.epoch += 1
        dead = (~seen).nonzero().flatten()
        if o.sae_revive and len(dead) and self.epoch <= 0.75 * o.sae_epochs:
            self._revive(dead)

    def _step(self, batch: Tensor, at: int) -> tuple[float, Tensor]:
        """One step of Adam; the learning rate falls along half a cosine."""
        sae, o = self.sae.train(), self._o
        for group in self._optimiser.param_groups:
            group["lr"] = o.sae_lr * group["rate"] * 0.5 * (1 + math.cos(math.pi * at / self._total))
        loss, codes = sae.loss(batch, self._penalty)
        if not bool(loss.isfinite()):
            raise UsageError(f"the loss is {loss.item()} at step {at} of the training", "lower lens.sae_lr")
        for parameter, grad in zip(
            self._named.values(), torch.autograd.grad(loss, [*self._named.values()]), strict=True
        ):
            parameter.grad = grad
        torch.nn.utils.clip_grad_norm_(self._named.values(), CLIP)
        self._optimiser.step()
        self._optimiser.zero_grad()
        sae.atoms.project()
        if sae.settings.kind == "jumprelu" and o.sae_penalty is None:
            more = float((codes > 0).sum()) / len(codes) / sae.settings.active - 1
            self._penalty *= math.exp(PENALTY_RATE * max(-1.0, min(1.0, more)))
        return loss.item(), codes.detach()

    @torch.no_grad()
    def _revive(self, dead: Tensor) -> None:
        """Point dead atoms to what is left of badly explained rows (Bricken et al. 2023), and let them be active there.

        Their bias becomes 0, their threshold what most others have, and their part of Adam's memory is cleared.
        """
        sae, rng = self.sae.train(), np.random.default_rng([self._o.sae_seed, 3, self.epoch])
        rows = self._x[torch.from_numpy(rng.choice(len(self._x), min(len(self._x), 8192), replace=False))]
        left = rows - sae(rows)[2]
        badness = left.double().square().sum(1).numpy()
        if not badness.sum() > 0:
            return
        dead = dead[: int((badness > 0).sum())]
        targets = left[torch.from_numpy(rng.choice(len(rows), len(dead), replace=False, p=badness / badness.sum()))]
        sae.atoms.point_to(dead, targets)
        sae.encoder[:, dead] = sae.atoms()[dead].T * sae.encoder.norm(dim=0).mean()
        sae.bias[dead] = 0
        if sae.settings.kind == "jumprelu":
            sae.log_theta[dead] = sae.log_theta.median()
        for name, parameter in self._named.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                value = self._optimiser.state[parameter][moment]
                if value.ndim:
                    value[(slice(None), dead) if name == "encoder" else dead] = 0

    def save(self) -> None:
        """Write the checkpoint; it exists whole or not at all."""
        tensors = {f"sae.{name}": value for name, value in self.sae.state_dict().items()}
        for name, parameter in self._named.items():
            for key, value in self._optimiser.state[parameter].items():
                tensors[f"adam.{name}.{key}"] = torch.as_tensor(value)
        state = json.dumps({"epoch": self.epoch, "penalty": self._penalty})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"state": state})
        partial.replace(self._file)

    def _restore(self) -> None:
        with safe_open(self._file, "pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        self.sae.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("sae.")})
        for name, parameter in self._named.items():
            start = f"adam.{name}."
            self._optimiser.state[parameter] = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
        self.epoch, self._penalty = state["epoch"], state["penalty"]
