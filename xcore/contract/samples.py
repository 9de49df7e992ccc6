"""The one container of data: images or texts with ids, labels and further data about each of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from xcore.base.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Modality = Literal["image", "text"]


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Images or texts: the one container that tasks, concepts, generators and data sets all use.

    Parameters
    ----------
    modality
        "image" or "text".
    data
        Images: float32 tensor (n, 3, H, W) in [0, 1]. Text: a tuple of n strings.
    ids
        n names that are the same in every run: a digest of the content or a path such as ``minizoo/test/zebra/17``.
    labels
        (n,) class indices, or None.
    meta
        Further data by name, such as factors, masks, captions, group, prompt or latents. A data set or generator may
        offer it; no method may require it. Tensors, arrays and sequences of length n hold one entry for each sample,
        and `take` picks from them, too.

    Raises
    ------
    UsageError
        Images have another shape, a text is no string or holds lone surrogates, or there is not one id for each sample.
    """

    modality: Modality
    data: Tensor | tuple[str, ...]
    ids: tuple[str, ...]
    labels: Tensor | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.modality == "image":
            shape = tuple(getattr(self.data, "shape", ()))
            if len(shape) != 4 or shape[1] != 3:
                raise UsageError(f"images must have shape (n, 3, H, W), got {shape}", _reshaped(shape))
        if self.modality == "text":
            for i, text in enumerate(self.data):
                if not isinstance(text, str):
                    raise UsageError(f"text {i} is of type {type(text).__name__}", "each text must be a string")
                if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                    raise UsageError(f"text {i} holds lone surrogates, which are not characters", "decode it as UTF-8")
        if len(self.data) != len(self.ids):
            raise UsageError(f"{len(self.data)} samples but {len(self.ids)} ids", "give one id for each sample")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        """One line: the content of many images is no reading matter."""
        size = f" of {self.images.shape[3]}x{self.images.shape[2]} pixels" if self.modality == "image" else ""
        first = f": {', '.join(map(repr, self.ids[:3]))}{', ...' if len(self) > 3 else ''}" if len(self) else ""
        return f"<{len(self)} {self.modality}s{size}{first}>"

    @property
    def images(self) -> Tensor:
        """The images, float32 (n, 3, H, W) in [0, 1]; raises `UsageError` for another modality."""
        if self.modality != "image":
            raise UsageError(f"these samples are {self.modality}, not images")
        return self.data  # type: ignore[return-value]

    @property
    def texts(self) -> tuple[str, ...]:
        """The n strings; raises `UsageError` for another modality."""
        if self.modality != "text":
            raise UsageError(f"these samples are {self.modality}s, not text")
        return self.data  # type: ignore[return-value]

    @property
    def digest(self) -> str:
        """Hex digest of the content (not of the ids). Activations are cached under it.

        It is kept as long as the content is the same: images that somebody changed in place have another digest.
        """
        from xcore.base.contents import content

        if len(self) == 1:
            return self.digests[0]
        state = content(self.images) if self.modality == "image" else 0
        known = self.__dict__.get("_digest")
        if known is None or known[0] != state:
            known = state, _digest(self.modality, self.data)
            self.__dict__["_digest"] = known
        made: str = known[1]
        return made

    @property
    def digests(self) -> tuple[str, ...]:
        """Hex digest of each sample, in order: that of `take([i])`.

        What `take` and `concat` make of samples whose digests are known has them too, so that the random sets of a pool
        are not hashed one by one. As with `digest`, what somebody changed in place is hashed anew.
        """
        from xcore.base.contents import content

        kept: list[tuple[int, str] | None] = self.__dict__.setdefault("_each", [None] * len(self))
        found = []
        for i, known in enumerate(kept):
            row = self.data[i : i + 1]
            state = content(self.images[i : i + 1]) if self.modality == "image" else 0
            if known is None or known[0] != state:
                known = kept[i] = state, _digest(self.modality, row)
            found.append(known[1])
        return tuple(found)

    def take(self, index: Sequence[int] | slice) -> Samples:
        """The samples at these positions, in this order, with their ids, labels and entries of `meta`."""
        rows = list(range(len(self)))[index] if isinstance(index, slice) else [int(i) for i in index]

        def pick(value: Any) -> Any:
            if value is None or isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__len__"):
                return value
            if getattr(value, "ndim", 1) == 0 or len(value) != len(self):
                return value
            return value[rows] if hasattr(value, "shape") else type(value)(value[i] for i in rows)

        data = pick(self.data)
        ids = tuple(self.ids[i] for i in rows)
        made = replace(
            self, data=data, ids=ids, labels=pick(self.labels), meta={k: pick(v) for k, v in self.meta.items()}
        )
        if each := self.__dict__.get("_each"):
            made.__dict__["_each"] = [each[i] for i in rows]
        return made

    def recast(self, images: Tensor) -> Samples:
        """The samples with their images in another tensor, such as one of another type; known digests go with them.

        As always, `digest` and `digests` look whether a digest is that of the content: other images get others.
        """
        made = replace(self, data=images)
        if each := self.__dict__.get("_each"):
            made.__dict__["_each"] = list(each)
        return made

    def filled(self) -> Samples:
        """The samples without blank texts, which a generator that found no words gives. All images are kept."""
        if self.modality == "image":
            return self
        return self.take([i for i, text in enumerate(self.texts) if text.strip()])

    @staticmethod
    def concat(parts: Sequence[Samples]) -> Samples:
        """All samples of the parts, in order. Labels are kept if every part has them; `meta` is not.

        Raises
        ------
        UsageError
            There are no parts.
        """
        import torch

        if not parts:
            raise UsageError("no samples to join")
        ids = tuple(i for p in parts for i in p.ids)
        labels = [p.labels for p in parts if p.labels is not None]
        joined = torch.cat(labels) if len(labels) == len(parts) else None
        data = (
            torch.cat([p.images for p in parts])
            if parts[0].modality == "image"
            else tuple(t for p in parts for t in p.texts)
        )
        made = Samples(parts[0].modality, data, ids, joined)
        if any("_each" in p.__dict__ for p in parts):
            made.__dict__["_each"] = [each for p in parts for each in p.__dict__.get("_each", [None] * len(p))]
        return made


def _digest(modality: Modality, data: Tensor | tuple[str, ...]) -> str:
    """Hex digest of images (n, 3, H, W) or texts."""
    h = hashlib.sha256(modality.encode())
    if isinstance(data, tuple):
        for text in data:
            content = text.encode()
            h.update(f"{len(content)}:".encode() + content)  # a text may hold any character, NUL too
    else:
        h.update(repr(tuple(data.shape)).encode())
        h.update(data.detach().cpu().contiguous().numpy().reshape(-1).data)
    return h.hexdigest()[:24]


def _reshaped(shape: tuple[int, ...]) -> str:
    """How to make images (n, 3, H, W) of a tensor of another shape."""
    if len(shape) == 3:
        return "one image is images[None]"
    if len(shape) == 4 and shape[3] == 3:
        return "pass images.permute(0, 3, 1, 2)"
    if len(shape) == 4 and shape[1] == 1:
        return "grey ones are images.expand(-1, 3, -1, -1)"
    return "pass red, green and blue"
