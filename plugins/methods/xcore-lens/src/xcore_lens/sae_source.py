"""The sparse autoencoder of a task: one that was trained before, or one that all classes and seeds of a run share."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from xcore_craft.activations import SplitClassifier
from xcore_craft.crops import CropGrid

from xcore.contract import Dictionary, Samples, Task, UsageError, XcoreError, digest
from xcore.models.codes import encode
from xcore_lens import sae_files
from xcore_lens.layer import rows_of_images
from xcore_lens.options import Options, SaeOptions, Trained
from xcore_lens.sae_files import Weights
from xcore_lens.sae_folder import find_folder
from xcore_lens.saes import Spread
from xcore_lens.training import train

ARTIFACT = "lens-sae"
VERSION = 1
"""To be raised when the training changes what it gives for the same options."""
FEW = 8
"""Training images whose content identifies the data; reading all of them only to find an artifact would take long."""
BATCH = 64
"""Images whose activations are computed at once."""
ROWS = "rows.safetensors"


def is_sae(o: Options) -> bool:
    """Whether the options ask for a sparse autoencoder."""
    return bool(o.sae) or o.extractor in get_args(Trained)


def sae_of_task(task: Task, layer: str, split: SplitClassifier, grid: CropGrid, o: Options, channels: int) -> Weights:
    """The sparse autoencoder that the options name, or the one of the layer, trained if there is none yet.

    Parameters
    ----------
    split
        The classifier, split at the layer.
    channels
        How wide the layer is.

    Raises
    ------
    UsageError, MissingError
        The named one cannot be read or is of another width, or there are too few training images.
    """
    if o.sae:
        weights = sae_files.load(find_folder(o.sae))
        if "extractor" in o.model_fields_set and o.extractor != weights.kind:
            raise UsageError(
                f"lens.sae names a sparse autoencoder of kind {weights.kind}, but lens.extractor={o.extractor}",
                "leave lens.extractor out",
            )
    else:
        weights = sae_files.load(Recipe(task, layer, split, grid, o).folder())
    if channels != len(weights.centre):
        raise UsageError(
            f"layer {layer!r} has {channels} channels, but the sparse autoencoder reads {len(weights.centre)}",
            "name its layer with --set lens.layer=NAME, or another autoencoder with lens.sae",
        )
    return weights


def codes_of(weights: Weights, layer: str, a: Tensor) -> Tensor:
    """Codes (n, P, K) of activations (n, P, C) less the centre, exactly as metrics find those of other images."""
    state = {name: value for name, value in weights.state.items() if name != "centre"}
    return encode(Dictionary(layer, weights.atoms, torch.zeros(0, 1, len(weights.atoms)), "sae", state), a)


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a sparse autoencoder is made of, and how to make it. No class and no seed of the task is part of it."""

    task: Task
    layer: str
    split: SplitClassifier
    grid: CropGrid
    options: Options

    @cached_property
    def key(self) -> dict[str, Any]:
        """All that decides what is learned."""
        o, task = self.options, self.task
        kept = {name: getattr(o, name) for name in SaeOptions.model_fields}
        return {
            "version": VERSION,
            "kind": o.extractor,
            "layer": self.layer,
            "classifier": self._classifier,
            "data": digest([list(task.data.classes), self._images(min(FEW, o.sae_images)).digest]),
            # the crops are read only where a layer has no positions, but then they are what is learned
            "crops": [list(self.grid.size), list(self.grid.window), len(self.grid.corners)],
            **kept,
        }

    @property
    def _classifier(self) -> str:
        """Digest of the activations of two synthetic pictures; other weights or another layer give another one."""
        size = self.task.samples.images.shape[-2:]
        ramp = torch.linspace(0, 1, 2 * 3 * size[0] * size[1]).reshape(2, 3, *size)
        pictures = Samples("image", torch.stack([ramp[0], (ramp[1] * 37).frac()]), ("ramp", "saw"))
        a = self.split.probe.activations(pictures)
        return hashlib.sha256(a.float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]

    def _images(self, n: int) -> Samples:
        return self.task.data.samples(None, "train", n, self.options.sae_seed)

    def folder(self) -> Path:
        """The folder of the trained autoencoder, which is made by the first cell that asks for it."""
        key = self.key

        def make(directory: Path) -> None:
            # Beside the artifact and named by its key, so that an interrupted training is found again.
            work = directory.parent / f".{ARTIFACT}-{digest(key)}"
            sae_files.save(self._train(work), directory)
            shutil.rmtree(work, ignore_errors=True)

        return self.task.artifact(ARTIFACT, key, make)

    def _train(self, work: Path) -> Weights:
        kind = self.options.extractor
        assert kind in get_args(Trained)
        rows, images = self._rows(work)
        spread = Spread.of(rows)
        sae, figures = train(kind, spread(rows), self.options, work, self.task.progress)  # type: ignore[arg-type]
        about = {
            "layer": self.layer,
            "images": images,
            "rows": len(rows),
            "r2": round(figures.r2, 4),
            "l0": round(figures.l0, 2),
            "dead": round(figures.dead, 4),
            "options": {name: getattr(self.options, name) for name in SaeOptions.model_fields},
        }
        return sae_files.weights_of(sae, spread, about)

    def _rows(self, work: Path) -> tuple[Tensor, int]:
        """The rows (n, C) that are learned from and the number of their images, computed once for a training."""
        o, file = self.options, work / ROWS
        if not file.is_file():
            images = self._images(o.sae_images)
            each = max(1, -(-o.sae_rows // max(1, len(images))))
            parts = []
            for start in range(0, len(images), BATCH):
                batch = images.take(range(start, min(start + BATCH, len(images))))
                rows = rows_of_images(self.split, batch, self.grid)
                parts.append(_draw(rows, each * len(batch), [o.sae_seed, 4, start]))
                self.task.progress(start + len(batch), len(images), "activations of training images")
            rows = torch.cat(parts) if parts else torch.zeros(0, 1)
            if not bool(rows.isfinite().all()):
                raise XcoreError(
                    f"layer {self.layer!r} gives activations that are infinite or not a number",
                    "check the classifier's weights",
                )
            work.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            drawn = _draw(rows, o.sae_rows, [o.sae_seed, 5]).contiguous()
            save_file({"rows": drawn, "images": torch.tensor(len(images))}, partial)
            partial.replace(file)
        kept = load_file(file)
        return kept["rows"], int(kept["images"])


def _draw(rows: Tensor, most: int, seed: list[int]) -> Tensor:
    """At most so many of the rows (n, C), in their order."""
    if len(rows) <= most:
        return rows
    return rows[torch.from_numpy(np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False)))]
