"""Training of the translator: only it learns; encoder and decoder stay as they are."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from xcore.errors import UsageError
from xcore.protocols import Probe, Progress
from xcore.roles import TextDecoder
from xcore.store import read_json, write_json
from xcore_texplain.features import BATCH, features
from xcore_texplain.options import TranslatorOptions
from xcore_texplain.pairs import Pairs
from xcore_texplain.translator import Translator

WARMUP = 50
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, eq=False)
class Gathered:
    """Features of all pairs that could be read, on the disk, with their captions."""

    z: NDArray[np.float32]
    """(n, P, D)"""
    texts: tuple[str, ...]
    notes: tuple[str, ...]

    def rows(self, index: NDArray[np.intp]) -> tuple[Tensor, list[str]]:
        """Features and captions of these pairs, in the order of the file."""
        rows = np.sort(index)
        return torch.from_numpy(self.z[rows]), [self.texts[i] for i in rows]


def gather(probe: Probe, load: Callable[[], Pairs], folder: Path, progress: Progress) -> Gathered:
    """Features of every pair, computed once; what an interrupted run has computed is read back."""
    folder.mkdir(parents=True, exist_ok=True)
    file, index = folder / "features.npy", folder / "features.json"
    if not index.is_file():
        pairs = load()
        texts: list[str] = []
        unreadable, z = 0, None
        for start in range(0, len(pairs), BATCH):
            rows = list(range(start, min(start + BATCH, len(pairs))))
            images, kept = pairs.read(rows)
            unreadable += len(rows) - len(kept)
            if kept:
                a = features(probe, images)
                if z is None:
                    shape = (len(pairs), *a.shape[1:])
                    z = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
                z[len(texts) : len(texts) + len(kept)] = a.numpy()
                texts += [pairs.texts[i] for i in kept]
            progress(rows[-1] + 1, len(pairs), "features of the pairs")
        if z is None or len(texts) < 2:
            why = "".join(f"; {note}" for note in pairs.notes)
            raise UsageError(
                f"{len(texts)} of {len(pairs)} images of the pairs can be read{why}", "it needs two at least"
            )
        z.flush()
        unread = (f"{unreadable} images of pairs cannot be read and were left out",) if unreadable else ()
        write_json(index, {"texts": texts, "notes": [*pairs.notes, *unread]})
    known = read_json(index, ("texts", "notes"))
    mapped: NDArray[np.float32] = np.load(file, mmap_mode="r", allow_pickle=False)[: len(known["texts"])]
    return Gathered(mapped, tuple(known["texts"]), tuple(known["notes"]))


def train(
    gathered: Gathered, decoder: TextDecoder, o: TranslatorOptions, folder: Path, progress: Progress
) -> tuple[Translator, dict[str, Any]]:
    """The translator with the least validation loss, and the figures of its training.

    Parameters
    ----------
    folder
        Where the checkpoint is kept: called again after an interruption, training goes on from there and ends the same.
    """
    n, begun = len(gathered.texts), time.perf_counter()
    order = np.random.default_rng([o.seed, 1]).permutation(n)
    held = order[: max(1, min(o.validation, n // 5))]
    learned = order[len(held) :]
    _, positions, width = gathered.z.shape
    made = Translator(o.mode, positions, width, decoder.tokens, decoder.width, o.hidden, o.seed)
    some = torch.from_numpy(np.array(gathered.z[: 4 * BATCH])).flatten(0, 1)
    spread = some.std(0, unbiased=False)
    made.mean.copy_(some.mean(0))
    made.scale.copy_(spread.clamp_min(0.01 * float(spread.mean()) + 1e-6))  # a channel that is always off stays finite
    state = _State(made, o, folder / CHECKPOINT, begun)
    while state.step < o.steps and state.since < o.patience:
        z, texts = gathered.rows(_batch(learned, o, state.step))
        loss = decoder.loss(made(z), texts).mean()
        if not bool(loss.isfinite()):
            raise UsageError(f"the loss is {loss.item()} at step {state.step}", "lower texplain.lr")
        state.take(loss)
        if state.step % o.every == 0 or state.step == o.steps:
            state.look(loss.item(), _validate(gathered, held, decoder, made, o.batch))
        best = f", validation {state.best:.3f}" if math.isfinite(state.best) else ""  # not looked yet
        progress(state.step, o.steps, f"translator, loss {loss.item():.3f}{best}")
    made.load_state_dict(state.kept)
    figures = {
        "steps": state.step,
        "validation_loss": round(state.best, 4),
        "pairs": len(learned),
        "validation_pairs": len(held),
        "seconds": round(state.seconds, 1),
        "log": state.log,
        "notes": [*gathered.notes, *decoder.remarks(gathered.texts, made.tokens)],
    }
    return made.eval().requires_grad_(False), figures


def clear(folder: Path) -> None:
    """Remove what a finished training leaves behind."""
    shutil.rmtree(folder, ignore_errors=True)


def _batch(learned: NDArray[np.intp], o: TranslatorOptions, step: int) -> NDArray[np.intp]:
    """The pairs of a step: each at most once an epoch, since a last batch that is not full is left out."""
    size = min(o.batch, len(learned))
    per_epoch = len(learned) // size
    epoch, place = divmod(step, per_epoch)
    shuffled = np.random.default_rng([o.seed, 2, epoch]).permutation(learned)
    return np.asarray(shuffled[place * size : (place + 1) * size])


@torch.no_grad()
def _validate(gathered: Gathered, held: NDArray[np.intp], decoder: TextDecoder, made: Translator, batch: int) -> float:
    total = 0.0
    for start in range(0, len(held), batch):
        z, texts = gathered.rows(held[start : start + batch])
        total += float(decoder.loss(made(z), texts).sum())
    return total / len(held)


class _State:
    """Everything that the next step depends on."""

    def __init__(self, made: Translator, o: TranslatorOptions, file: Path, begun: float) -> None:
        self._made, self._options, self._file = made, o, file
        self._begun, self._before = begun, 0.0
        self._weights = list(made.maps.parameters())
        self._optimiser = torch.optim.AdamW(self._weights, lr=o.lr, weight_decay=0.01)
        self.step = self.since = 0
        self.best = float("inf")
        self.log: list[list[float]] = []
        self.kept = {k: v.clone() for k, v in made.state_dict().items()}
        if file.is_file():
            self._restore()

    @property
    def seconds(self) -> float:
        """Time of the training, with that of interrupted runs up to the checkpoint that was gone on from."""
        return self._before + time.perf_counter() - self._begun

    def take(self, loss: Tensor) -> None:
        """One step of AdamW: linear warm-up, then half a cosine."""
        o, warmup = self._options, min(WARMUP, self._options.steps // 10 + 1)
        rate = (self.step + 1) / warmup if self.step < warmup else 0.5 * (1 + math.cos(math.pi * self.step / o.steps))
        for group in self._optimiser.param_groups:
            group["lr"] = o.lr * rate
        grads = torch.autograd.grad(loss, self._weights)
        for weight, grad in zip(self._weights, grads, strict=True):
            weight.grad = grad
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.step += 1

    def look(self, loss: float, validation: float) -> None:
        """Note the validation loss, keep the best weights, write the checkpoint."""
        self.log.append([self.step, round(loss, 4), round(validation, 4)])
        if validation < self.best:
            self.best, self.since = validation, 0
            self.kept = {k: v.clone() for k, v in self._made.state_dict().items()}
        else:
            self.since += 1
        tensors = {f"now.{k}": v for k, v in self._made.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.kept.items()}
        for i, weight in enumerate(self._weights):
            for name, value in self._optimiser.state[weight].items():
                tensors[f"adam.{i}.{name}"] = torch.as_tensor(value)
        plain = {"step": self.step, "since": self.since, "best": self.best, "log": self.log}
        plain["seconds"] = self.seconds
        partial = self._file.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"state": json.dumps(plain)})
        partial.replace(self._file)

    def _restore(self) -> None:
        with safe_open(self._file, "pt") as file:
            plain = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        self._made.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now.")})
        self.kept = {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}
        for i, weight in enumerate(self._weights):
            own = {k.rsplit(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"adam.{i}.")}
            self._optimiser.state[weight] = own
        self.step, self.since, self.best, self.log = plain["step"], plain["since"], plain["best"], plain["log"]
        self._before = plain.get("seconds", 0.0)  # checkpoints did not always hold it
