"""An explanation as files: plain JSON beside tensors in safetensors, and back. Nothing is ever pickled.

The fields of the dataclasses and their declared types decide what is written, so a new field is kept as soon as it is
declared, and a type that has no rule here is refused. Images are kept with 8 bits per channel and maps as 16-bit
floats; everything else is kept exactly. Scores are always computed from what was read back, so a resumed run equals an
uninterrupted one bit for bit.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from xcore.base.errors import UsageError, XcoreError
from xcore.base.octets import as_floats, as_octets
from xcore.base.shapes import ShapeError, check_shape
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Explanation, Score
from xcore.store.records import Damaged

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2
"""Written into every record. The records of the first format have no number (see `_from_first_format`)."""


def encode(explanation: Explanation, directory: Path, *, copy_files: bool = False) -> dict[str, Any]:
    """Write the tensors and files of an explanation below `directory` and return the rest as plain data.

    Where the explanation has a tensor, the plain data has ``{"tensor": NAME}``: its name in ``tensors.safetensors``.
    The files are moved there, unless `copy_files` leaves them where they are, for an explanation that is still in use.

    Raises
    ------
    XcoreError
        A field holds a value that cannot be kept, or two files have one name, or a name leads out of the directory.
    """
    from safetensors.torch import save_file

    writer = _Writer()
    plain = {"format": FORMAT, **writer.write(explanation, Explanation, "")}
    _check_names(explanation.method, [name for name, _ in writer.files])
    if writer.tensors:
        save_file(writer.tensors, directory / "tensors.safetensors")
    for name, path in writer.files:
        target = directory / "files" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if copy_files:
            shutil.copy2(path, target)
        else:
            shutil.move(str(path), target)
    return plain


def decode(plain: Mapping[str, Any], directory: Path) -> Explanation:
    """The explanation that `encode` wrote, in this format or the first. A field that the record lacks has its default.

    Raises
    ------
    UsageError
        The record was written by a newer version of xcore.
    """
    from safetensors.torch import load_file

    path = directory / "tensors.safetensors"
    tensors = load_file(path) if path.exists() else {}
    number = plain.get("format", 1)
    if number > FORMAT:
        raise UsageError(f"{directory} has format {number}, this xcore reads up to {FORMAT}", "install a newer xcore")
    fields = plain if number == FORMAT else _from_first_format(plain, tensors)
    reader = _Reader(tensors, directory / "files")
    explanation: Explanation = reader.read({k: v for k, v in fields.items() if k != "format"}, Explanation)
    return explanation


def check_plain(plain: Any, path: Path, *, missing: bool = False) -> None:
    """Check the plain part of an explanation, without its tensors.

    Parameters
    ----------
    path
        Its record, for the message.
    missing
        It may be None.

    Raises
    ------
    Damaged
        It is not what `encode` gives, in this format or the first.
    """
    if plain is None and missing:
        return
    try:
        check_shape(plain, {}, "explanation")
        number = plain.get("format", 1)
        check_shape(number, int, "explanation.format")
        if number > FORMAT:
            raise UsageError(f"{path} has format {number}, this xcore reads up to {FORMAT}", "install a newer xcore")
        fields = plain if number == FORMAT else _from_first_format(plain, {})
        check_shape(fields, Explanation, "explanation", {"Tensor": _Tensor})
    except ShapeError as error:
        raise Damaged(path, str(error)) from None
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # of the first format
        raise Damaged(path, f"its explanation is incomplete ({type(error).__name__}: {error})") from None


def encode_score(score: Score) -> dict[str, Any]:
    """A score as plain data."""
    return dataclasses.asdict(score)


def decode_score(plain: Mapping[str, Any]) -> Score:
    """The score that `encode_score` gave.

    A run has thousands, so what the general reader does is written out: a score holds no tensors, and its only
    sequences are tuples.
    """
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
    try:
        return Score(**fields)
    except TypeError as error:
        raise UsageError(f"a score was written by another version of xcore: {error}", "install a newer xcore") from None


# -- the fields that are not kept as they are ------------------------------------------------------------------------
def _without_extras(samples: Samples) -> Samples:
    """Labels and meta are left out: they may be large and of any type, and nothing may require them of a concept."""
    return dataclasses.replace(samples, labels=None, meta={})


def _to_bytes(data: Tensor | Sequence[str]) -> Tensor | Sequence[str]:
    return (data.clamp(0, 1) * 255).round().byte() if _is_tensor(data) else data  # type: ignore[union-attr]


def _from_bytes(data: Tensor | Sequence[str]) -> Tensor | Sequence[str]:
    return data.float() / 255 if _is_tensor(data) else data  # type: ignore[union-attr]


def _with_tuples(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in meta.items()}


_BEFORE_WRITING: Mapping[tuple[type, str], Callable[[Any], Any]] = {
    (Concept, "samples"): _without_extras,
    (Concept, "maps"): lambda maps: maps.half(),
    (Samples, "data"): _to_bytes,
}
_AFTER_READING: Mapping[tuple[type, str], Callable[[Any], Any]] = {
    (Concept, "maps"): lambda maps: maps.float(),
    (Samples, "data"): _from_bytes,
    (Samples, "meta"): _with_tuples,  # JSON has lists only
}


# -- all fields, by their declared types -----------------------------------------------------------------------------
@dataclass
class _Tensor:
    """Stands for `torch.Tensor` in declared types, so that looking them up loads no torch; and for it in plain data."""

    tensor: str


_NUMBERS: Mapping[Any, Callable[[Any], Any]] = {float: float, int: operator.index, bool: bool}
_HINT = "give the declared type; a new type needs a rule in xcore.store.codec"


@cache
def _declared(kind: type) -> dict[str, Any]:
    """Field -> its declared type."""
    hints = get_type_hints(kind, localns={"Tensor": _Tensor})
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach")


@cache
def _alternative(declared: Any, none: bool, tensor: bool) -> tuple[Any, Any, tuple[Any, ...]]:
    """The member of a union that a value is of (None, a tensor, or the only other one), its origin and its parts."""
    members = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    if none and NoneType in members:
        return NoneType, None, ()
    rest = [member for member in members if member is not NoneType]
    if len(rest) > 1:
        rest = [member for member in rest if (member is _Tensor) == tensor]
    return (rest[0], get_origin(rest[0]), get_args(rest[0])) if len(rest) == 1 else (None, None, ())


@dataclass
class _Writer:
    """Turns values into plain data; collects tensors and files on the way."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    files: list[tuple[str, Path]] = field(default_factory=list)

    def write(self, value: Any, declared: Any, at: str) -> Any:
        """The plain form of the value at a place such as ``concepts.0.maps``."""
        kind, origin, parts = _alternative(declared, value is None, _is_tensor(value))
        if kind is NoneType or kind is Any:
            return value  # of any type: writing JSON refuses what is not plain
        if type(value) is kind and dataclasses.is_dataclass(kind):  # no subclass: it may have fields of its own
            return self._write_fields(value, at)
        if kind is _Tensor and _is_tensor(value) and at not in self.tensors:
            self.tensors[at] = value.detach().cpu().contiguous().clone()
            return {"tensor": at}
        if origin is tuple and parts[1:] == (...,):
            return [self.write(entry, parts[0], f"{at}.{i}") for i, entry in enumerate(value)]
        if origin is Mapping and parts[1] is Path:
            self.files += value.items()
            return list(value)
        if origin is Mapping:
            return {key: self.write(entry, parts[1], f"{at}.{key}") for key, entry in value.items()}
        if kind in _NUMBERS:
            return _NUMBERS[kind](value)
        if (kind is str and isinstance(value, str)) or (origin is Literal and value in parts):
            return value
        raise XcoreError(f"{at or 'the explanation'} is a {type(value).__name__}, which no record can keep", _HINT)

    def _write_fields(self, value: Any, at: str) -> dict[str, Any]:
        kind: type = type(value)
        plain = {}
        for name, declared in _declared(kind).items():
            held = getattr(value, name)
            change = _BEFORE_WRITING.get((kind, name))
            held = change(held) if change is not None and held is not None else held
            plain[name] = self.write(held, declared, f"{at}.{name}" if at else name)
        return plain


@dataclass
class _Reader:
    """Turns plain data into the values that `_Writer` was given."""

    tensors: Mapping[str, Tensor]
    files: Path

    def read(self, plain: Any, declared: Any) -> Any:
        """The value of a declared type."""
        tensor = isinstance(plain, dict) and plain.keys() == {"tensor"}
        kind, origin, parts = _alternative(declared, plain is None, tensor)
        if kind is _Tensor:
            return self.tensors[plain["tensor"]]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._read_fields(plain, kind)
        if origin is tuple:
            return tuple(self.read(entry, parts[0]) for entry in plain)
        if origin is Mapping and parts[1] is Path:
            return {name: self.files / name for name in plain}
        if origin is Mapping:
            return {key: self.read(entry, parts[1]) for key, entry in plain.items()}
        return plain

    def _read_fields(self, plain: Mapping[str, Any], kind: type) -> Any:
        declared = _declared(kind)
        if new := sorted(plain.keys() - declared.keys()):
            message = f"the record has the field {new[0]!r} of {kind.__name__}, which this xcore does not know"
            raise UsageError(message, "install a newer xcore")
        given = {}
        for name, entry in plain.items():
            value = self.read(entry, declared[name])
            change = _AFTER_READING.get((kind, name))
            given[name] = change(value) if change is not None and value is not None else value
        return kind(**given)


def _check_names(method: str, names: Sequence[str]) -> None:
    """Refuse a file that would leave the record's folder, and two files of one name: all parts share the folder."""
    for i, name in enumerate(names):
        if any(Path(name) == Path(other) for other in names[:i]):
            raise XcoreError(f"method {method!r} names two files {name!r}", "all parts share one folder: rename one")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise XcoreError(f"method {method!r} names a file outside of its record: {name!r}", "name it without ..")


def _from_first_format(plain: Mapping[str, Any], tensors: Mapping[str, Tensor], at: str = "") -> dict[str, Any]:
    """A record of the first format in the present one. There, the codec knew the name of every tensor."""

    def place(name: str) -> dict[str, str]:
        return {"tensor": at + name}

    concepts = []
    for i, concept in enumerate(plain["concepts"]):
        own = f"concept{i}."
        new = {**concept, "directions": {key: place(f"{own}direction.{key}") for key in concept["directions"]}}
        new |= {key: place(own + key) for key in ("source", "local", "maps") if at + own + key in tensors}
        if concept["samples"] is not None:
            samples = concept["samples"]
            data = place(f"{own}images") if samples["kind"] == "image" else samples["texts"]
            new["samples"] = {"modality": samples["kind"], "data": data, "ids": samples["ids"]}
        concepts.append(new)
    dictionary = plain["dictionary"]
    if dictionary is not None:
        state = {key: place(f"state.{key}") for key in dictionary["state"]}
        dictionary = {**dictionary, "atoms": place("atoms"), "codes": place("codes"), "state": state}
    explained = plain.get("explained")  # the oldest records have no texts
    if explained is not None:
        probability = explained["probability"]
        meta = {} if probability is None else {"probability": probability}
        explained = {"modality": "text", "data": explained["texts"], "ids": explained["ids"], "meta": meta}
    parts = [_from_first_format(part, tensors, f"{at}part{i}.") for i, part in enumerate(plain["parts"])]
    return {**plain, "concepts": concepts, "dictionary": dictionary, "explained": explained, "parts": parts}


# -- pools of samples ------------------------------------------------------------------------------------------------
def save_samples(samples: Samples, directory: Path) -> None:
    """Write the images or texts of samples, without ids, labels and meta.

    Images whose values are whole 255ths, as those from files are, are kept in 8 bits, and all others as they are.
    """
    from safetensors.torch import save_file

    if samples.modality == "image":
        images = samples.images.contiguous()
        octets = as_octets(images)
        save_file({"images": images if octets is None else octets}, directory / "samples.safetensors")
    else:
        (directory / "samples.json").write_text(json.dumps(samples.texts), encoding="utf-8")


def load_samples(directory: Path, name: str) -> Samples:
    """Read what `save_samples` wrote; ids are ``name/i``."""
    from safetensors.torch import load_file

    file = directory / "samples.json"
    if file.is_file():
        texts = tuple(json.loads(file.read_text(encoding="utf-8")))
        return Samples("text", texts, tuple(f"{name}/{i}" for i in range(len(texts))))
    kept = load_file(directory / "samples.safetensors")["images"]
    images = kept if kept.is_floating_point() else as_floats(kept)
    return Samples("image", images, tuple(f"{name}/{i}" for i in range(len(images))))
