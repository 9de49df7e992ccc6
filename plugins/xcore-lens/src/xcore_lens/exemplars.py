"""What a concept looks like: maps over the images, and the crops in which it is strongest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from xcore_craft import maps
from xcore_craft.crops import Grid, cut
from xcore_craft.space import Space

from xcore.samples import Samples

Picks = list[tuple[int, int]]
"""(image, crop of the grid)."""
CROPS = 64
"""Crops that are cut and passed through the network at once."""


def from_positions(codes: Tensor, place: tuple[int, int, int], cells: Grid) -> tuple[Tensor, Tensor]:
    """Maps from codes at positions, and each crop's mean over them.

    Parameters
    ----------
    codes
        (N, P, k); a negative code (of an extractor that has such) is shown as none.
    place
        (positions in front that are no place, rows, columns), see `xcore_lens.site.positions`.

    Returns
    -------
    maps : (k, N, H, W) >= 0
    strength : (N, crops, k)
    """
    front, *shape = place
    drawn = maps.upsample(codes[:, front:].clamp_min(0), (shape[0], shape[1]), cells.size)
    height, width = cells.window
    means = [drawn[:, :, t : t + height, x : x + width].mean((2, 3)) for t, x in cells.corners]
    return drawn, torch.stack(means).permute(2, 0, 1)


def from_crops(
    space: Space, encode: Callable[[Tensor], Tensor], samples: Samples, cells: Grid
) -> tuple[Tensor, Tensor]:
    """The same for a layer without places: each crop passes through the network and is coded, mean over positions.

    Parameters
    ----------
    encode
        Rows (n, P, C) -> codes (n, P, k).
    """
    picks = [(i, box) for i in range(len(samples)) for box in range(len(cells.corners))]
    parts = []
    for start in range(0, len(picks), CROPS):
        part = picks[start : start + CROPS]
        crops = Samples("image", cut(samples.images, cells, part), tuple(f"{samples.ids[i]}#{box}" for i, box in part))
        parts.append(encode(space.rows(space.probe.activations(crops))).mean(1))
    strength = torch.cat(parts).reshape(len(samples), len(cells.corners), -1).clamp_min(0)
    return maps.from_crops(strength, cells), strength


def strongest(strength: Tensor, count: int, per_image: int) -> Picks:
    """The crops with the largest values (N, crops), a limited number from one image, none with 0; ties by index."""
    taken, best = dict[int, int](), Picks()
    flat = strength.flatten()
    for j in torch.argsort(flat, descending=True, stable=True).tolist():
        image, box = divmod(j, strength.shape[1])
        if flat[j] <= 0 or len(best) == count:
            break
        if taken.get(image, 0) < per_image:
            taken[image] = taken.get(image, 0) + 1
            best.append((image, box))
    return best


def shown(samples: Samples, cells: Grid, picks: Picks) -> Samples | None:
    """The crops, enlarged to the size of the image; None if there are none."""
    if not picks:
        return None
    ids = tuple("{}#crop{},{}".format(samples.ids[i], *cells.corners[box]) for i, box in picks)
    return Samples("image", cut(samples.images, cells, picks).cpu(), ids)
