"""A number that changes with the content of a tensor, however it was written: cheap enough to ask at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = 1021
"""Words are summed in as many columns: a prime, so that rows of a matrix that change places change the sums."""

_SMALL = 2**17
"""Bytes below which the content itself is hashed, since every call of numpy or torch costs as much as so many bytes."""


def content(tensor: Tensor) -> int:
    """A number that is alike for tensors of equal content, within one process.

    Version counters see neither what is written through `.data` nor through views of numpy, so the content is summed.
    That of a tensor that is sparse, or of a kind that another library made, is its version counter.
    """
    import torch

    flat = tensor.detach()
    if flat.layout is not torch.strided or type(flat) not in (torch.Tensor, torch.nn.Parameter) or flat.is_meta:
        return hash((id(tensor), tensor._version))
    if not flat.is_contiguous():  # a permutation of the axes, as in channels-last memory, is summed without a copy
        strides = flat.stride()
        flat = flat.permute(sorted(range(flat.ndim), key=lambda axis: -strides[axis]))
    if not flat.numel():
        return 0
    data = flat.reshape(-1).contiguous().view(torch.uint8)  # one number, expanded, is seen as a row of stride 0
    if data.device.type != "cpu":
        return _summed(data)
    octets = data.numpy()
    if len(octets) <= _SMALL:
        return hash(octets.tobytes())
    return _summed(data)


def _summed(data: Tensor) -> int:
    """The sums of the words of 8 bytes, by columns; what is left over at the end is kept as it is."""
    import torch

    words = data[: len(data) // 8 * 8].view(torch.int64)
    rows = len(words) // _COLUMNS
    sums = words[: rows * _COLUMNS].view(rows, _COLUMNS).sum(0)
    rest = words[rows * _COLUMNS :]
    return hash(tuple(part.cpu().numpy().tobytes() for part in (sums, rest, data[len(words) * 8 :])))
