"""The CAVs of an explanation as files, and applied to new samples.

``cavs.safetensors`` holds the vectors; ``cavs.json`` beside it says which concept and layer each of them belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from xcore.contract import Concept, Samples, Task, UsageError, unknown
from xcore.inputs.arrays import as_samples
from xcore.models.classifiers import as_classifier

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Cavs:
    """The CAVs of one explanation."""

    target: str
    """The class that was explained."""
    concepts: tuple[str, ...]
    """k names, most important first."""
    layers: Mapping[str, Tensor]
    """Layer -> (k, d); each row is the mean of the unit CAVs over random sets. Its length, at most 1, shows how
    well they agree."""
    units: Mapping[str, float]
    """Layer -> mean gradient norm of the explained class samples, the unit of sensitivities."""
    pool: bool
    """Whether d is the number of channels (activations averaged over positions) or the number of all activations."""
    about: Mapping[str, Any]
    """The content of ``cavs.json``, such as ``about["concepts"][0]["evidence"]``."""


def write(
    directory: Path,
    task: Task,
    concepts: Sequence[Concept],
    layers: Mapping[str, Tensor],
    units: Mapping[str, float],
    negatives: str,
    pool: bool,
) -> dict[str, Path]:
    """Write both files and return their paths by name.

    Parameters
    ----------
    layers, units, pool
        See `Cavs`; the rows are in the order of the concepts.
    negatives
        What the CAVs were learned against.
    """
    from safetensors.torch import save_file

    tensors = {f"layer{i}": vectors.contiguous() for i, vectors in enumerate(layers.values())}
    about = {
        "format": FORMAT,
        "target": task.target_name,
        "classes": list(task.classifier.classes),
        "negatives": negatives,
        "pool": pool,
        "layers": [{"name": name, "tensor": f"layer{i}", "unit": units[name]} for i, name in enumerate(layers)],
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
        The directory with both files: ``files`` of a record, or the ``workdir`` of `xcore.explain`.

    Raises
    ------
    UsageError
        A file is missing, or was not made by `write`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    root = Path(path)
    for name in ("cavs.json", "cavs.safetensors"):
        if not (root / name).is_file():
            raise UsageError(
                f"no saved CAVs in {str(root)!r}: {name} is missing", "give the folder `files` of a record of tcav"
            )
    try:
        about = json.loads((root / "cavs.json").read_text(encoding="utf-8"))
        tensors = load_file(root / "cavs.safetensors")
        if about["format"] != FORMAT:
            raise UsageError(
                f"{root / 'cavs.json'} has format {about['format']}, and this version of xcore-tcav reads {FORMAT}",
                "explain the class again, or install the version that wrote the file",
            )
        names = tuple(c["name"] for c in about["concepts"])
        layers = {layer["name"]: tensors[layer["tensor"]] for layer in about["layers"]}
        units = {layer["name"]: float(layer["unit"]) for layer in about["layers"]}
        found = Cavs(about["target"], names, layers, units, bool(about["pool"]), about)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(
            f"the CAVs in {root} cannot be read: {type(error).__name__}: {error}", "explain the class again"
        ) from error
    wrong = [name for name, cavs in layers.items() if cavs.ndim != 2 or len(cavs) != len(names)]
    if wrong:
        raise UsageError(
            f"the CAVs at {wrong[0]!r} in {root} are not one for each of the {len(names)} concepts",
            "explain the class again",
        )
    return found


def apply(
    cavs: Cavs | str | Path,
    classifier: Any,
    images: Tensor | Samples,
    *,
    target: str = "",
    class_names: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Sensitivity of the class logit of each sample to each concept: g(x) . CAV over the mean gradient norm.

    The mean over the explained samples is the effect in the explanation.

    Parameters
    ----------
    cavs
        Loaded CAVs, or the directory from which to load them.
    classifier
        The classifier that was explained, or its `torch.nn.Module` with `class_names`, as for `xcore.explain`.
    images
        (n, 3, H, W) in [0, 1], or `Samples` of images or texts.
    target
        The class of the logit; "" = the class that was explained.

    Returns
    -------
    Layer -> (n, k) sensitivities, one column for each of `Cavs.concepts`; > 0 where the logit rises along the concept.

    Raises
    ------
    UsageError
        The classifier has no such class or layer or no gradients, or its activations have another size than the CAVs.
    """
    known = cavs if isinstance(cavs, Cavs) else load(cavs)
    model, samples = as_classifier(classifier, class_names), as_samples(images)
    if "gradients" not in model.can:
        raise UsageError(
            "sensitivities need gradients, and this classifier gives none", "give the classifier that was explained"
        )
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
                f"the CAVs at {layer!r} have {vectors.shape[1]} entries, but the activations of these "
                f"{samples.modality}s have {flat.shape[1]}",
                f"give the classifier that was explained, and {samples.modality}s of the same size",
            )
        found[layer] = flat @ vectors.T / known.units[layer]
    return found
