"""The codec keeps every field of what it is given, or refuses it; records of the first format stay readable."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from xcore.contract import Concept, Cost, Dictionary, Explanation, Samples, Score, UsageError, XcoreError
from xcore.store import codec
from xcore.store.codec import decode, decode_score, encode, encode_score


class Maker:
    """Makes values of dataclasses in which no field has its default, from nothing but the declared types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = itertools.count(1)

    def fields(self, cls: type, **given: Any) -> Any:
        """A value of a dataclass; `given` are the fields that its declared types do not determine."""
        hints = get_type_hints(cls, localns={"Tensor": Tensor})
        made = {f.name: given.get(f.name) if f.name in given else self.value(hints[f.name]) for f in self.of(cls)}
        value = cls(**made)
        for f in self.of(cls):
            default = f.default_factory() if callable(f.default_factory) else f.default
            assert f.name in given or getattr(value, f.name) is not default, f"{cls.__name__}.{f.name} has its default"
        return value

    @staticmethod
    def of(cls: type) -> tuple[dataclasses.Field[Any], ...]:
        return dataclasses.fields(cls)

    def value(self, kind: Any) -> Any:
        i = next(self.count)
        origin, parts = get_origin(kind), get_args(kind)
        if origin in (Union, UnionType):
            return self.value(next(part for part in parts if part is not NoneType))
        if kind is Samples:  # of texts: images and the rounding of their values have a test of their own
            return self.fields(Samples, modality="text", data=(f"text {i}", "ü"), ids=("a", "b"))
        if kind is Concept:
            shown = self.fields(Samples, modality="text", data=(f"text {i}",), ids=("a",), labels=None, meta={})
            return self.fields(Concept, samples=shown)
        if kind is Explanation:
            return self.fields(Explanation, parts=())
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.fields(kind)
        if kind is Tensor:
            return torch.arange(i, i + 24).reshape(2, 3, 4) / 8  # exact in 16 bits
        if kind is Path:
            path = self.folder / f"made {i}.txt"
            path.write_text(f"content {i}")
            return path
        if origin is tuple and parts[1:] == (...,):
            return self.value(parts[0]), self.value(parts[0])
        if origin is Mapping:
            return {f"key.{i}": self.value(parts[1]), f"other {i}": self.value(parts[1])}
        if origin is Literal:
            return parts[-1]
        simple: dict[Any, Any] = {str: f"text {i}", float: i + 0.1, int: i, bool: True, Any: [i, None, "x"]}
        assert kind in simple, f"say here how a value of the type {kind} is made"
        return simple[kind]


def difference(one: Any, two: Any, at: str = "") -> str:
    """The first place where two values differ, or an empty string. Types must be the same, and floats equal."""
    if type(one) is not type(two):
        return f"{at}: {type(one).__name__} became {type(two).__name__}"
    if isinstance(one, Tensor):
        return "" if one.dtype == two.dtype and torch.equal(one, two) else at
    if isinstance(one, Path):
        return "" if two.is_file() and two.read_text() == f"content {one.stem.rpartition(' ')[2]}" else at
    if dataclasses.is_dataclass(one):
        names = [f.name for f in dataclasses.fields(one)]
        pairs = [(name, getattr(one, name), getattr(two, name)) for name in names]
    elif isinstance(one, dict):
        if list(one) != list(two):
            return f"{at}: {list(one)} became {list(two)}"
        pairs = [(key, one[key], two[key]) for key in one]
    elif isinstance(one, (tuple, list)):
        if len(one) != len(two):
            return f"{at}: {len(one)} entries became {len(two)}"
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(one, two, strict=True))]
    else:
        return "" if one == two else f"{at}: {one!r} became {two!r}"
    return next((found for name, a, b in pairs if (found := difference(a, b, f"{at}.{name}"))), "")


def through_files(explanation: Explanation, folder: Path) -> Explanation:
    folder.mkdir()
    plain = json.dumps(encode(explanation, folder))
    return decode(json.loads(plain), folder)


# -- every field -----------------------------------------------------------------------------------------------------
def test_every_field_of_an_explanation_and_of_all_in_it_comes_back(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    explanation: Explanation = maker.fields(Explanation, parts=(maker.value(Explanation), maker.value(Explanation)))
    explanation = replace(
        explanation,
        parts=(replace(explanation.parts[0], parts=(maker.value(Explanation),)), explanation.parts[1]),
        explained=replace(explanation.explained, meta={"probability": (0.1, None), "name": "x"}),
    )
    inside = [type(e) for e in (*explanation.concepts, explanation.dictionary, explanation.cost)]
    assert inside == [Concept, Concept, Dictionary, Cost]
    files = {
        name: path.read_text()
        for e in (explanation, *explanation.parts, *explanation.parts[0].parts)
        for name, path in e.files.items()
    }
    back = through_files(explanation, tmp_path / "record")
    # Nested meta of texts comes back with tuples, as JSON has only lists; that of the parts was made with lists.
    assert difference(with_tuples(explanation), back) == ""
    kept = {path.name: path.read_text() for path in (tmp_path / "record" / "files").iterdir()}
    assert kept == files


def with_tuples(e: Explanation) -> Explanation:
    assert e.explained is not None
    meta = {key: tuple(value) if isinstance(value, list) else value for key, value in e.explained.meta.items()}
    return replace(e, explained=replace(e.explained, meta=meta), parts=tuple(with_tuples(p) for p in e.parts))


@pytest.mark.parametrize("given", [{"reason": None}, {"value": None}])  # a score has one of them
def test_every_field_of_a_score_comes_back(tmp_path: Path, given: dict[str, Any]) -> None:
    score = Maker(tmp_path).fields(Score, **given)
    assert difference(score, decode_score(json.loads(json.dumps(encode_score(score))))) == ""


def test_whole_numbers_among_the_details_of_a_score_stay_whole() -> None:
    back = decode_score(json.loads(json.dumps(encode_score(Score("m", value=0.5, details={"pairs": 21})))))
    assert back.details == {"pairs": 21}
    assert type(back.details["pairs"]) is int


@dataclass(frozen=True)
class Inner:
    where: Tensor
    text: str = ""


@dataclass(frozen=True)
class Outer:
    """As a class of the contract may look once it has more fields."""

    inner: Inner | None
    several: tuple[Inner, ...]
    table: Mapping[str, Tensor] = field(default_factory=dict)
    switch: bool = False
    bad: set[str] | None = None


def test_fields_that_are_new_are_kept_or_refused() -> None:
    outer = Outer(
        Inner(torch.eye(2), "a"), (Inner(torch.zeros(1)), Inner(torch.ones(1), "b")), {"x.y": torch.ones(3)}, True
    )
    writer = codec._Writer()
    plain = json.loads(json.dumps(writer.write(outer, Outer, "")))
    assert set(writer.tensors) == {"inner.where", "several.0.where", "several.1.where", "table.x.y"}
    assert difference(outer, codec._Reader(writer.tensors, Path()).read(plain, Outer)) == ""
    with pytest.raises(XcoreError, match=r"^bad is a set, which no record can keep \(give the declared type; a new"):
        codec._Writer().write(replace(outer, bad={"x"}), Outer, "")


def test_a_subclass_is_refused_since_its_own_fields_would_be_lost(tmp_path: Path) -> None:
    @dataclass(frozen=True, eq=False)
    class More(Concept):
        extra: int = 0

    with pytest.raises(XcoreError, match=r"concepts\.0 is a More, which no record can keep"):
        encode(Explanation("m", "t", "u", (More("a", 1.0),)), tmp_path)


@pytest.mark.parametrize(
    ("concept", "place"),
    [
        (Concept("a", 1.0, source=[0]), "source is a list"),  # type: ignore[arg-type]
        (Concept("a", 1.0, words=("a", 5)), r"words\.1 is a int"),  # type: ignore[arg-type]
        (Concept(None, 1.0), "name is a NoneType"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_another_type_than_declared_is_named(tmp_path: Path, concept: Concept, place: str) -> None:
    with pytest.raises(XcoreError, match=rf"concepts\.0\.{place}"):
        encode(Explanation("m", "t", "u", (concept,)), tmp_path)


def test_an_encoder_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    dictionary = Dictionary("l", torch.ones(1, 1), torch.ones(1, 1, 1), "other")  # type: ignore[arg-type]
    with pytest.raises(XcoreError, match=r"dictionary\.encoder"):
        encode(Explanation("m", "t", "u", (), dictionary), tmp_path)


# -- what is not kept as it is ---------------------------------------------------------------------------------------
def test_images_have_8_bits_and_maps_16_and_all_else_is_exact(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images, maps = torch.rand(2, 3, 4, 5, generator=generator), torch.rand(3, 4, 5, generator=generator)
    local = torch.rand(3, generator=generator, dtype=torch.float64)
    samples = Samples("image", images, ("a", "b"), torch.tensor([0, 1]), {"latents": object()})
    concept = Concept("a", 1 / 3, samples, maps=maps, local=local, directions={"l": images.mT})
    found = through_files(Explanation("m", "t", "u", (concept,)), tmp_path / "record").concepts[0]
    assert found.samples is not None
    assert torch.equal(found.samples.images, (images * 255).round() / 255)
    assert not torch.equal(found.samples.images, images)
    assert torch.equal(found.maps, maps.half().float())
    assert torch.equal(found.directions["l"], images.mT)
    assert torch.equal(found.local, local)
    assert (found.importance, found.samples.ids) == (1 / 3, ("a", "b"))
    assert (found.samples.labels, found.samples.meta) == (None, {})  # large, and of any type
    stored = {t.dtype for t in codec_tensors(tmp_path / "record").values()}
    assert stored == {torch.uint8, torch.float16, torch.float32, torch.float64}


def codec_tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "tensors.safetensors")


def test_numbers_of_other_libraries_become_plain(tmp_path: Path) -> None:
    import numpy as np

    concept = Concept("a", torch.tensor(0.5), atom=np.int64(3), evidence={"p": np.float32(0.25), "n": 2})  # type: ignore[arg-type]
    plain = encode(Explanation("m", "t", "u", (concept,)), tmp_path)["concepts"][0]
    assert (plain["importance"], plain["atom"], plain["evidence"]) == (0.5, 3, {"p": 0.25, "n": 2.0})
    assert [type(v) for v in (plain["importance"], plain["atom"], plain["evidence"]["n"])] == [float, int, float]


# -- other versions --------------------------------------------------------------------------------------------------
def first_format(folder: Path) -> dict[str, Any]:
    """A record as the first format had it, with its tensors in a folder."""
    tensors = {
        "concept0.images": torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1),
        "concept0.maps": torch.tensor([[[0.1]]]).half(),
        "concept0.source": torch.tensor([-1]),
        "concept0.local": torch.tensor([0.3]),
        "concept0.direction.layer.1": torch.tensor([1.0, 2.0]),
        "atoms": torch.eye(2),
        "codes": torch.ones(1, 1, 2),
        "state.shift": torch.tensor([0.5]),
        "part0.concept0.local": torch.tensor([0.7]),
        "part0.atoms": torch.ones(1, 1),
        "part0.codes": torch.zeros(1, 1, 1),
    }
    save_file(tensors, folder / "tensors.safetensors")
    (folder / "files").mkdir()
    (folder / "files" / "note.txt").write_text("hello")
    shown = {
        "name": "striped",
        "importance": 0.25,
        "samples": {"kind": "image", "ids": ["a"]},
        "words": ["stripes"],
        "render": "crop:4>6",
        "directions": ["layer.1"],
        "atom": 1,
        "parent": None,
        "evidence": {"p": 0.5},
    }
    text = {**shown, "samples": {"kind": "text", "ids": ["0", "1"], "texts": ["one", "zwei"]}, "directions": []}
    bare = {**text, "samples": None, "words": [], "atom": None, "evidence": {}}
    part = {
        **{"method": "m", "target": "part", "importance_is": "u", "concepts": [bare], "parts": [], "trace": []},
        **{"dictionary": {"layer": "l", "encoder": "sae", "state": []}, "files": [], "notes": [], "cost": {}},
    }
    return {
        "method": "m",
        "target": "t",
        "importance_is": "u",
        "concepts": [shown, text],
        "dictionary": {"layer": "layer.1", "encoder": "nnls", "state": ["shift"]},
        "parts": [part],
        "trace": [{"step": [1, 2]}],
        "files": ["note.txt"],
        "cost": {"seconds": 1.5, "shared_seconds": 0.0, "forwards": 3, "backwards": 0, "generated": 0, "peak_mb": 9.5},
        "notes": ["careful"],
        "explained": {"ids": ["x", "y"], "texts": ["good", "bad"], "probability": [0.9, None]},
    }


def test_a_record_of_the_first_format_is_read(tmp_path: Path) -> None:
    back = decode(json.loads(json.dumps(first_format(tmp_path))), tmp_path)
    image = Samples("image", torch.tensor([0, 0.2, 1]).reshape(1, 3, 1, 1), ("a",))
    words = Samples("text", ("one", "zwei"), ("0", "1"))
    text = Concept("striped", 0.25, words, ("stripes",), "crop:4>6", atom=1, evidence={"p": 0.5})
    shown = replace(
        text,
        samples=image,
        source=torch.tensor([-1]),
        directions={"layer.1": torch.tensor([1.0, 2.0])},
        maps=torch.tensor([[[0.1]]]).half().float(),
        local=torch.tensor([0.3]),
    )
    bare = Concept("striped", 0.25, render="crop:4>6", local=torch.tensor([0.7]))
    part = Explanation("m", "part", "u", (bare,), Dictionary("l", torch.ones(1, 1), torch.zeros(1, 1, 1), "sae"))
    expected = Explanation(
        "m",
        "t",
        "u",
        (shown, text),
        Dictionary("layer.1", torch.eye(2), torch.ones(1, 1, 2), "nnls", {"shift": torch.tensor([0.5])}),
        (part,),
        ({"step": [1, 2]},),
        {},
        Cost(1.5, 0.0, 3, 0, 0, 9.5),
        ("careful",),
        Samples("text", ("good", "bad"), ("x", "y"), meta={"probability": (0.9, None)}),
    )
    assert back.files == {"note.txt": tmp_path / "files" / "note.txt"}
    assert difference(expected, replace(back, files={})) == ""


@pytest.mark.parametrize("explained", [None, {"ids": ["x"], "texts": ["good"], "probability": None}])
def test_texts_of_the_first_format_may_be_missing_or_without_probability(tmp_path: Path, explained: Any) -> None:
    old = {**first_format(tmp_path), "explained": explained}
    found = decode(old, tmp_path).explained
    assert (found is None) == (explained is None)
    assert found is None or (found.texts, found.meta) == (("good",), {})
    del old["explained"]  # the very first records
    assert decode(old, tmp_path).explained is None


def test_a_field_that_a_record_lacks_has_its_default(tmp_path: Path) -> None:
    plain = encode(Explanation("m", "t", "u", (Concept("a", 1.0),), notes=("x",)), tmp_path)
    del plain["notes"], plain["concepts"][0]["evidence"]
    back = decode(plain, tmp_path)
    assert (back.notes, back.concepts[0].evidence) == ((), {})


def test_a_record_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    plain = encode(Explanation("m", "t", "u", (Concept("a", 1.0),)), tmp_path)
    with pytest.raises(UsageError, match=r"has format 3, this xcore reads up to 2 \(install a newer xcore\)"):
        decode({**plain, "format": 3}, tmp_path)
    plain["concepts"][0]["later"] = 1
    with pytest.raises(UsageError, match="the record has the field 'later' of Concept, which this xcore does not know"):
        decode(plain, tmp_path)
