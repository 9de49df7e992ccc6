"""CAVs as files, and applied to new samples: ``cavs.safetensors`` beside ``cavs.json``, which says what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcore.errors import UsageError, unknown
from xcore.live import as_classifier, as_samples
from xcore.protocols import Task
from xcore.samples import Samples
from xcore.types import Concept
from xcore_tcav.explainer_options import Options
from xcore_tcav.judging import Layer

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Cavs:
    """The CAVs of one explanation."""

    target: str
    """Class that was explained."""
    concepts: tuple[str, ...]
    """k names, most important first."""
    layers: Mapping[str, Tensor]
    """Layer -> (k, d), each the mean of the unit CAVs over random sets; its length, <= 1, says how well they agree."""
    units: Mapping[str, float]
    """Layer -> mean gradient norm of the explained class samples: what sensitivities are measured in."""
    pool: bool
    """Whether d is the number of channels (activations averaged over positions) or all activations, flattened."""
    about: Mapping[str, Any]
    """All that ``cavs.json`` says, e.g. ``about["concepts"][0]["evidence"]``."""


def write(
    directory: Path, task: Task, concepts: Sequence[Concept], layers: Sequence[Layer], o: Options
) -> dict[str, Path]:
    """Write the CAVs; the verdicts of a layer are in the order of the concepts."""
    from safetensors.torch import save_file

    tensors = {f"layer{i}": torch.stack([v.cav for v in layer.verdicts]) for i, layer in enumerate(layers)}
    about = {
        "format": FORMAT,
        "target": task.target_name,
        "classes": list(task.classifier.classes),
        "negatives": o.against or "random sets",
        "pool": o.pool,
        "layers": [{"name": layer.name, "tensor": f"layer{i}", "unit": layer.unit} for i, layer in enumerate(layers)],
        "concepts": [{"name": c.name, "render": c.render, "evidence": dict(c.evidence)} for c in concepts],
    }
    files = {"cavs.safetensors": directory / "cavs.safetensors", "cavs.json": directory / "cavs.json"}
    save_file(tensors, files["cavs.safetensors"])
    files["cavs.json"].write_text(json.dumps(about, indent=1), encoding="utf-8")
    return files


def load(path: str | Path) -> Cavs:
    """Read saved CAVs.

    Parameters
    ----------
    path
        The directory that holds both files: ``files`` of a record, or ``workdir`` of `xcore.explain`.

    Raises
    ------
    UsageError
        The files are not there, or are not what `write` makes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    root = Path(path)
    for name in ("cavs.json", "cavs.safetensors"):
        if not (root / name).is_file():
            raise UsageError(
                f"no saved CAVs in {str(root)!r}: {name} is missing", "name the folder `files` of a record"
            )
    try:
        about = json.loads((root / "cavs.json").read_text(encoding="utf-8"))
        tensors = load_file(root / "cavs.safetensors")
        if about["format"] != FORMAT:
            raise UsageError(f"{root / 'cavs.json'} has format {about['format']}, this version reads {FORMAT}")
        names = tuple(c["name"] for c in about["concepts"])
        layers = {layer["name"]: tensors[layer["tensor"]] for layer in about["layers"]}
        units = {layer["name"]: float(layer["unit"]) for layer in about["layers"]}
        found = Cavs(about["target"], names, layers, units, bool(about["pool"]), about)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(f"{root} holds no saved CAVs: {type(error).__name__}: {error}") from error
    wrong = [name for name, cavs in layers.items() if cavs.ndim != 2 or len(cavs) != len(names)]
    if wrong:
        raise UsageError(f"the CAVs at {wrong[0]!r} in {root} are not one for each of {len(names)} concepts")
    return found


def apply(
    cavs: Cavs | str | Path,
    classifier: Any,
    images: Tensor | Samples,
    *,
    target: str = "",
    class_names: Sequence[str] = (),
) -> dict[str, Tensor]:
    """How sensitive the class logit of each sample is to each concept: g(x) . CAV over the mean gradient norm.

    On the explained samples the mean over them is the effect of the explanation.

    Parameters
    ----------
    cavs
        Loaded CAVs, or the directory to load them from.
    classifier
        A classifier, or a `torch.nn.Module` with `class_names`, as for `xcore.explain`: the one that was explained.
    images
        (n, 3, H, W) in [0, 1], or `Samples` of images or texts.
    target
        Class whose logit is asked; "" = the class that was explained.

    Returns
    -------
    Layer -> (n, k) sensitivities, a column for each of `Cavs.concepts`; > 0 where the logit rises along the concept.

    Raises
    ------
    UsageError
        The class or a layer is not there, or the classifier's activations have another size than the CAVs.
    """
    known = cavs if isinstance(cavs, Cavs) else load(cavs)
    model, samples = as_classifier(classifier, class_names), as_samples(images)
    if "gradients" not in model.can:
        raise UsageError("sensitivities need gradients, and this classifier gives none")
    name = target or known.target
    if name not in model.classes:
        raise unknown("class", name, model.classes)
    found = {}
    for layer, vectors in known.layers.items():
        probe = model.open(layer)
        gradients = probe.gradients(samples, model.classes.index(name))
        if known.pool and probe.layout != "NC":
            gradients = gradients.sum((2, 3) if probe.layout == "NCHW" else (1,))
        flat = gradients.flatten(1)
        if flat.shape[1] != vectors.shape[1]:
            raise UsageError(
                f"the CAVs at {layer!r} have {vectors.shape[1]} entries, the activations of these {samples.kind}s "
                f"{flat.shape[1]}",
                f"use the same classifier, and {samples.kind}s of the same size",
            )
        found[layer] = flat @ vectors.T / known.units[layer]
    return found
