"""What a notebook has at hand as `Samples`: tensors, arrays, pictures, files, lists of these, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.base.errors import UsageError
from xcore.contract.samples import Modality, Samples

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from xcore.inputs.images import Framing, Picture

    One = Tensor | np.ndarray | Image.Image | Path | str
    Data = One | Samples | Sequence[One]

CHANNELS = {"first": (1, 3), "last": (1, 3, 4)}
"""How many channels a picture may have where they are its first axis, and where they are its last (4: alpha)."""


def as_samples(data: Data, modality: Modality | None = None, framing: Framing | None = None) -> Samples:
    """Images or texts as `Samples`.

    Parameters
    ----------
    data
        Images: a tensor or an array, one picture or several, with the channels first, (n, 3, H, W), or last,
        (n, H, W, 3); whole numbers from 0 to 255 or floats in [0, 1]; grey or with alpha, which becomes white. Or a PIL
        picture, the path of a picture or of a folder of pictures, or a list of any of these. Texts: a string or a list
        of strings. `Samples` are returned as they are.
    modality
        What the classifier reads, which tells paths from texts; None = strings are texts.
    framing
        How a classifier frames its input. Files, PIL pictures and arrays with the channels last, as libraries read them
        from files, are framed so; tensors and arrays with the channels first are taken as they are.

    Returns
    -------
    Samples
        Their ids are the paths of files, else ``image/0`` or ``text/0`` and so on.

    Raises
    ------
    UsageError
        It is none of these, has no pixels, holds NaN or values outside of [0, 1], has axes that may be read in two
        ways, a file or an opened picture cannot be read, or pictures differ in size and there is no framing.
    """
    if isinstance(data, Samples):
        return data
    if _are_texts(data, modality):
        texts: tuple[Any, ...] = (data,) if isinstance(data, str) else tuple(data)  # type: ignore[arg-type]
        if len(texts) == 1 and _is_file(texts[0]):
            hint = "pass what it holds: pathlib.Path(...).read_text(), or xcore.data('table:FILE')"
            raise UsageError(f"{texts[0]!r} is the name of a file, and this classifier reads texts", hint)
        return Samples("text", texts, tuple(f"text/{i}" for i in range(len(texts))))
    import torch

    names, parts = [], []
    for name, one in _named(data):
        part = _pictures(one, name, framing)
        parts.append(part)
        names += [name] if len(part) == 1 else [f"{name}/{i}" for i in range(len(part))]
    if not parts:
        return Samples("image", torch.zeros(0, 3, 1, 1), ())
    sizes = dict.fromkeys(tuple(part.shape[2:]) for part in parts)
    if len(sizes) > 1:
        shown = ", ".join(f"{h} x {w}" for h, w in [*sizes][:3])
        raise UsageError(
            f"the pictures have {len(sizes)} sizes: {shown}",
            "say which one the network takes: xcore.open(model, class_names=..., size=224)",
        )
    if len(parts) == 1 and len(names) > 1:
        names = [f"image/{i}" for i in range(len(names))]
    return Samples("image", torch.cat(parts), tuple(names))


def _are_texts(data: Any, modality: Modality | None) -> bool:
    if modality == "image":
        return False
    first = data if isinstance(data, str) else next(iter(data), None) if isinstance(data, Sequence) else None
    return isinstance(first, str) or (modality == "text" and isinstance(data, Sequence))


def _is_file(text: object) -> bool:
    try:
        return isinstance(text, str) and Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with characters that no path has
        return False


def _named(data: Any) -> list[tuple[str, Any]]:
    """The entries of a list, or one thing alone, each with a name."""
    if isinstance(data, (str, Path)):
        if data == "":
            raise UsageError("the path of the images is empty", "name a file or a folder; the one you are in is '.'")
        path = Path(data).expanduser()
        if path.is_dir():
            return [(str(file), file) for file in _picture_files(path)]
        return [(str(path), path)]
    if isinstance(data, Sequence):
        entries = [(f"image/{i}", one) for i, one in enumerate(data)]
        return [(str(one), Path(one).expanduser()) if isinstance(one, (str, Path)) else (n, one) for n, one in entries]
    return [("image/0", data)]


def _picture_files(folder: Path) -> list[Path]:
    """The files of a folder whose names end as those of pictures do; raises `UsageError` if there are none."""
    from PIL import Image

    endings = Image.registered_extensions()
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in endings)
    if not found:
        inner = sorted(path.name for path in folder.iterdir() if path.is_dir())
        hint = f"it holds the folders {', '.join(inner[:3])}" if inner else "name a folder of PNG or JPEG files"
        if inner:
            hint += f"; name one of them, or the data set: xcore.data('folder:{folder}')"
        raise UsageError(f"{folder} holds no pictures", hint)
    return found


def _pictures(one: Any, name: str, framing: Framing | None) -> Tensor:
    """One thing as images (n, 3, H, W), float32 in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    if isinstance(one, torch.Tensor):
        if one.is_meta or one.is_quantized or one.is_complex() or one.layout is not torch.strided:
            what = str(one.dtype).removeprefix("torch.")
            layout = str(one.layout).removeprefix("torch.")
            raise UsageError(
                f"{name} is a tensor of {what}, {layout}, on {one.device}", "pass an ordinary tensor of real numbers"
            )
        return _in_range(_channels_first(one.detach().cpu(), name, arrays=False), name)
    if isinstance(one, np.ndarray):
        if one.dtype.kind not in "buif":
            raise UsageError(f"{name} is an array of {one.dtype}", "pass an array of numbers, or a list of pictures")
        native = one.dtype.newbyteorder("=") if one.dtype.itemsize <= 8 else np.dtype(np.float64)
        numbers = torch.from_numpy(np.ascontiguousarray(one, dtype=native))
        made = _in_range(_channels_first(numbers, name, arrays=True), name)
        if framing is None or (one.ndim > 2 and one.shape[-1] not in CHANNELS["last"]):
            return made
        read = made.permute(0, 2, 3, 1)
        if not np.issubdtype(one.dtype, np.floating):
            read = read.mul(255).round().byte()  # resized with 8 bits, as the picture in the file would be
        return torch.cat([_framed(picture, name, framing) for picture in read.numpy()])
    if isinstance(one, (Path, Image.Image)):
        return _framed(one, name, framing)
    what = type(one).__name__
    raise UsageError(f"{name} is a {what}, which is no image", "pass tensors, arrays, PIL pictures, or paths of files")


def _framed(picture: Picture, name: str, framing: Framing | None) -> Tensor:
    """A picture (1, 3, H, W), framed, or at its own size where there is no framing."""
    from xcore.inputs.images import Unreadable, read_picture

    try:
        return read_picture(picture, framing)[None]
    except Unreadable as error:
        hint = "check the path, or leave it out" if isinstance(picture, Path) else "leave it out"
        raise UsageError(f"{name} cannot be read as a picture: {error}", hint) from error


def _channels_first(images: Tensor, name: str, *, arrays: bool) -> Tensor:
    """One image or several, of any layout, as (n, 3, H, W); raises `UsageError` if two layouts are possible."""
    shape = tuple(images.shape)
    if images.ndim == 2:
        images = images[None, None]
    elif images.ndim in (3, 4):
        first, last = shape[-3] in CHANNELS["first"], shape[-1] in CHANNELS["last"]
        if first and last and (arrays or images.ndim == 3):
            raise UsageError(f"{name} of shape {shape} may have its channels first or last", "pass images (n, 3, H, W)")
        if not first and not last:
            raise UsageError(f"{name} of shape {shape} has no axis of 1 or 3 channels", _shaped(shape))
        batch = images if images.ndim == 4 else images[None]
        images = batch if first else batch.movedim(-1, 1)
    else:
        raise UsageError(f"{name} has shape {shape}", "pass images (n, 3, H, W)")
    if not all(images.shape[2:]):
        raise UsageError(f"{name} of shape {shape} has no pixels", "leave it out")
    if images.shape[1] == 4:
        top = 255 if not images.is_floating_point() else 1
        alpha = images[:, 3:].double() / top
        return (images[:, :3].double() / top * alpha + 1 - alpha).float()
    return images.expand(-1, 3, -1, -1)


def _shaped(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return "several grey pictures are images[:, None]"
    return "pass red, green and blue as images (n, 3, H, W)"


def _in_range(images: Tensor, name: str) -> Tensor:
    """Images as float32 in [0, 1]: whole numbers are taken as 0 to 255; raises `UsageError` for values outside."""
    import torch

    whole_numbers = not images.is_floating_point() and images.dtype != torch.bool
    values = images.float() / 255 if whole_numbers else images.float()
    if bool(values.isnan().any()):
        raise UsageError(f"{name} holds NaN", "look how the images are read or prepared")
    if values.numel() and (float(values.min()) < 0 or float(values.max()) > 1):
        given = images.double()  # torch finds no extremes in some types of whole numbers
        low, high = float(given.min()), float(given.max())
        hint = "scale them to [0, 1]: any other preprocessing is up to the classifier"
        if low >= 0 and high <= 255:
            hint = "divide them by 255: images are floats in [0, 1], or whole numbers from 0 to 255"
        elif low >= 0 and whole_numbers:
            hint = "divide them by the largest value that they may have, which is 65535 for 16 bits"
        raise UsageError(f"images must lie in [0, 1], got [{low:.2f}, {high:.2f}]", hint)
    return values.contiguous()
