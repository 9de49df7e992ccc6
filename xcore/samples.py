"""The one container of data: images or texts with ids, labels and what a data set offers beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from xcore.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["image", "text"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Images or texts: the one container that tasks, concepts, generators and data sets all speak.

    Parameters
    ----------
    kind
        The modality.
    data
        Images: float32 tensor (n, 3, H, W) in [0, 1]. Text: a tuple of n strings.
    ids
        n names, stable over runs: a content digest or a path such as ``minizoo/test/zebra/17``.
    labels
        (n,) class indices, or None.
    meta
        What a data set or generator offers and nobody may require: factors, masks, captions, group, prompt, latents.
        Values that are tensors, arrays or sequences of length n are per sample and follow `take`.
    """

    kind: Kind
    data: Tensor | tuple[str, ...]
    ids: tuple[str, ...]
    labels: Tensor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "image":
            shape = tuple(getattr(self.data, "shape", ()))
            if len(shape) != 4 or shape[1] != 3:
                raise UsageError(f"images must have shape (n, 3, H, W), got {shape}")
        if self.kind == "text":
            for i, text in enumerate(self.data):
                if not isinstance(text, str):
                    raise UsageError(f"text {i} is of type {type(text).__name__}", "each text must be a string")
                if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                    raise UsageError(f"text {i} holds lone surrogates, which are no characters", "decode it as UTF-8")
        if len(self.data) != len(self.ids):
            raise UsageError(f"{len(self.data)} samples but {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> Tensor:
        """The image tensor (n, 3, H, W); raises `UsageError` for another kind."""
        if self.kind != "image":
            raise UsageError(f"these samples are of kind {self.kind!r}, not images")
        return self.data  # type: ignore[return-value]

    @property
    def texts(self) -> tuple[str, ...]:
        """The strings; raises `UsageError` for another kind."""
        if self.kind != "text":
            raise UsageError(f"these samples are of kind {self.kind!r}, not text")
        return self.data  # type: ignore[return-value]

    @cached_property
    def digest(self) -> str:
        """Hex digest of the content (not of the ids): the key under which activations are memoised."""
        h = hashlib.sha256(self.kind.encode())
        if self.kind == "image":
            h.update(repr(tuple(self.images.shape)).encode())
            h.update(self.images.detach().cpu().contiguous().numpy().tobytes())
        else:
            for text in self.texts:
                content = text.encode()
                h.update(f"{len(content)}:".encode() + content)  # a text may hold any character, NUL too
        return h.hexdigest()[:24]

    def take(self, index: Sequence[int] | slice) -> Samples:
        """The samples at these positions, in this order, with their ids, labels and per-sample meta."""
        rows = list(range(len(self)))[index] if isinstance(index, slice) else [int(i) for i in index]

        def pick(value: Any) -> Any:
            if value is None or isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
                return value
            if getattr(value, "ndim", 1) == 0 or len(value) != len(self):
                return value
            return value[rows] if hasattr(value, "shape") else type(value)(value[i] for i in rows)

        data = pick(self.data)
        ids = tuple(self.ids[i] for i in rows)
        return replace(
            self, data=data, ids=ids, labels=pick(self.labels), meta={k: pick(v) for k, v in self.meta.items()}
        )

    def filled(self) -> Samples:
        """The samples that say anything: a generator of text may have found no words. Images are all kept."""
        if self.kind == "image":
            return self
        return self.take([i for i, text in enumerate(self.texts) if text.strip()])

    @staticmethod
    def concat(parts: Sequence[Samples]) -> Samples:
        """All samples of the parts, in order. Labels are kept if every part has them; meta is dropped."""
        import torch

        if not parts:
            raise UsageError("no samples to join")
        ids = tuple(i for p in parts for i in p.ids)
        labels = [p.labels for p in parts if p.labels is not None]
        joined = torch.cat(labels) if len(labels) == len(parts) else None
        data = (
            torch.cat([p.images for p in parts])
            if parts[0].kind == "image"
            else tuple(t for p in parts for t in p.texts)
        )
        return Samples(parts[0].kind, data, ids, joined)
