"""An explanation as files: plain JSON beside tensors in safetensors, and back. Nothing is ever pickled.

Images are kept with 8 bits a channel and maps with 16-bit floats; everything else exactly. Scores are always computed
from what was read back, so a resumed run equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.errors import XcoreError
from xcore.types import Concept, Cost, Dictionary, Explanation, Samples, Score

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


def encode(explanation: Explanation, directory: Path) -> dict[str, Any]:
    """Write tensors and files of an explanation below `directory` and return the rest as plain data."""
    from safetensors.torch import save_file

    tensors: Tensors = {}
    plain = _encode_explanation(explanation, tensors, "")
    if tensors:
        save_file(tensors, directory / "tensors.safetensors")
    for name, path in _all_files(explanation):
        target = directory / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(path), target)
    return plain


def decode(plain: Mapping[str, Any], directory: Path) -> Explanation:
    """The explanation that `encode` wrote."""
    from safetensors.torch import load_file

    path = directory / "tensors.safetensors"
    tensors = load_file(path) if path.exists() else {}
    return _decode_explanation(plain, tensors, "", directory / "files")


def _encode_explanation(e: Explanation, tensors: Tensors, at: str) -> dict[str, Any]:
    dictionary = None
    if e.dictionary is not None:
        d = e.dictionary
        _put(tensors, f"{at}atoms", d.atoms)
        _put(tensors, f"{at}codes", d.codes)
        for key, value in d.state.items():
            _put(tensors, f"{at}state.{key}", value)
        dictionary = {"layer": d.layer, "encoder": d.encoder, "state": list(d.state)}
    return {
        "method": e.method,
        "target": e.target,
        "importance_is": e.importance_is,
        "concepts": [_encode_concept(c, tensors, f"{at}concept{i}.") for i, c in enumerate(e.concepts)],
        "dictionary": dictionary,
        "parts": [_encode_explanation(p, tensors, f"{at}part{i}.") for i, p in enumerate(e.parts)],
        "trace": [dict(step) for step in e.trace],
        "files": list(e.files),
        "cost": dataclasses.asdict(e.cost),
        "notes": list(e.notes),
        "explained": None if e.explained is None else _encode_texts(e.explained),
    }


def _decode_explanation(p: Mapping[str, Any], tensors: Tensors, at: str, files: Path) -> Explanation:
    dictionary = None
    if p["dictionary"] is not None:
        d = p["dictionary"]
        state = {key: tensors[f"{at}state.{key}"] for key in d["state"]}
        dictionary = Dictionary(d["layer"], tensors[f"{at}atoms"], tensors[f"{at}codes"], d["encoder"], state)
    return Explanation(
        method=p["method"],
        target=p["target"],
        importance_is=p["importance_is"],
        concepts=tuple(_decode_concept(c, tensors, f"{at}concept{i}.") for i, c in enumerate(p["concepts"])),
        dictionary=dictionary,
        parts=tuple(_decode_explanation(q, tensors, f"{at}part{i}.", files) for i, q in enumerate(p["parts"])),
        trace=tuple(p["trace"]),
        files={name: files / name for name in p["files"]},
        cost=Cost(**p["cost"]),
        notes=tuple(p["notes"]),
        explained=_decode_texts(p["explained"]) if p.get("explained") else None,  # older records have no texts
    )


def _encode_concept(c: Concept, tensors: Tensors, at: str) -> dict[str, Any]:
    samples = None
    if c.samples is not None:
        samples = {"kind": c.samples.kind, "ids": list(c.samples.ids)}
        if c.samples.kind == "image":
            _put(tensors, f"{at}images", _to_bytes(c.samples.images))
        else:
            samples["texts"] = list(c.samples.texts)
    for key, value in c.directions.items():
        _put(tensors, f"{at}direction.{key}", value)
    for key in ("source", "local"):
        if getattr(c, key) is not None:
            _put(tensors, at + key, getattr(c, key))
    if c.maps is not None:
        _put(tensors, f"{at}maps", c.maps.half())
    return {
        "name": c.name,
        "importance": float(c.importance),
        "samples": samples,
        "words": list(c.words),
        "render": c.render,
        "directions": list(c.directions),
        "atom": c.atom,
        "parent": c.parent,
        "evidence": {k: float(v) for k, v in c.evidence.items()},
    }


def _decode_concept(p: Mapping[str, Any], tensors: Tensors, at: str) -> Concept:
    samples = None
    if p["samples"] is not None:
        s = p["samples"]
        data = tensors[f"{at}images"].float() / 255 if s["kind"] == "image" else tuple(s["texts"])
        samples = Samples(s["kind"], data, tuple(s["ids"]))
    maps = tensors.get(f"{at}maps")
    return Concept(
        name=p["name"],
        importance=p["importance"],
        samples=samples,
        words=tuple(p["words"]),
        render=p["render"],
        source=tensors.get(f"{at}source"),
        directions={key: tensors[f"{at}direction.{key}"] for key in p["directions"]},
        atom=p["atom"],
        parent=p["parent"],
        maps=None if maps is None else maps.float(),
        local=tensors.get(f"{at}local"),
        evidence=p["evidence"],
    )


def _encode_texts(texts: Samples) -> dict[str, Any]:
    probability = texts.meta.get("probability")
    return {
        "ids": list(texts.ids),
        "texts": list(texts.texts),
        "probability": None if probability is None else list(probability),
    }


def _decode_texts(p: Mapping[str, Any]) -> Samples:
    meta = {} if p["probability"] is None else {"probability": tuple(p["probability"])}
    return Samples("text", tuple(p["texts"]), tuple(p["ids"]), meta=meta)


def encode_score(score: Score) -> dict[str, Any]:
    """A score as plain data."""
    return dataclasses.asdict(score)


def decode_score(plain: Mapping[str, Any]) -> Score:
    """The score that `encode_score` gave."""
    return Score(**{**plain, "samples": tuple(plain["samples"])})


def _to_bytes(images: Tensor) -> Tensor:
    import torch

    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def _put(tensors: Tensors, key: str, value: Tensor) -> None:
    tensors[key] = value.detach().cpu().contiguous().clone()


def _all_files(explanation: Explanation) -> list[tuple[str, Path]]:
    """Names and paths of all files, of parts too; a name that leaves the record's folder or comes twice is refused."""
    files = [*explanation.files.items(), *(f for p in explanation.parts for f in p.files.items())]
    for i, (name, _) in enumerate(files):
        if any(Path(name) == Path(other) for other, _ in files[:i]):
            raise XcoreError(f"method {explanation.method!r} names two files {name!r}", "parts share a folder")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise XcoreError(f"method {explanation.method!r} names a file outside of its record: {name!r}")
    return files
