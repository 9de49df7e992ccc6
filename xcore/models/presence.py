"""Where, and how strongly, the concepts of an explanation are in samples, such as new ones.

`presence` reads it from the dictionary of the explanation, or from the directions of its concepts. A method that knows
better has an `apply` of its own (see `xcore.contract.protocols.Explainer`), which may use the functions of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from xcore.base.errors import NotApplicable, UsageError, listed
from xcore.contract.protocols import Classifier, Probe
from xcore.contract.samples import Samples
from xcore.contract.types import Concept, Dictionary, Explanation, Presence
from xcore.inputs.tokens import token_grid
from xcore.models.codes import encode, rows_of

ZERO = "projection_mean"
"""Statistic of a concept (`Concept.evidence`): the mean over the explained samples of the projection of their
activations on its direction. The strength and the maps of the concept are measured from there; without it, from 0."""
CODE_IS = "mean coefficient of the concept's atom over the positions of the layer"
PROJECTION_IS = "mean projection of the activations on the concept's direction: larger means more of the concept"
ABOVE_MEAN_IS = (
    "mean projection of the activations on the concept's direction, above that of the explained samples: positive "
    "means more of the concept than in these"
)
NEXT_STEP = "apply it to the network that was explained, or to another version of it with the same layers"
SLACK = 0.25
"""How far the number of positions may be from what the picture's size suggests, as a share: convolutions without
padding cut off the edges."""


def presence(explanation: Explanation, classifier: Classifier, samples: Samples, *, with_maps: bool = True) -> Presence:
    """Find the concepts of an explanation in samples of any class.

    A concept that is an atom of the dictionary has the codes of the samples' activations, found by the dictionary's own
    encoder: its strength is their mean over positions. Another concept has the projection of the activations on its
    direction (see `project`), at the first of its layers with a grid of positions, or at its first layer. Maps are the
    codes or projections at each position, no less than 0, enlarged bilinearly to the size of the images.

    Source: the codes are those of Fel et al. 2023 (CRAFT, section 3); the direction of a CAV and the projection on it
    are those of Kim et al. 2018 (TCAV, section 3.2).

    Parameters
    ----------
    explanation
        The explanation; its `parts` are not looked at.
    classifier
        The network that was explained, or another version of it, such as one that was trained further.
    samples
        The N images or texts.
    with_maps
        Whether maps are made; enlarging them costs more than all else where there are many samples.

    Returns
    -------
    Presence
        A concept with neither an atom nor a direction is NaN, and a note names it.

    Raises
    ------
    NotApplicable
        The classifier gives no activations, or no concept has an atom or a direction.
    UsageError
        The classifier has no such layer, or the layer has another width.
    """
    concepts, dictionary, count = explanation.concepts, explanation.dictionary, len(samples)
    if not concepts:
        return Presence(torch.zeros(count, 0), "nothing", notes=("the explanation has no concepts",))
    coded = [i for i, c in enumerate(concepts) if dictionary is not None and c.atom is not None]
    projected = [i for i, c in enumerate(concepts) if i not in coded and c.directions]
    lost = [i for i in range(len(concepts)) if i not in coded and i not in projected]
    if not coded and not projected:
        raise NotApplicable(
            f"the concepts of {explanation.method!r} have neither an atom of a dictionary nor a direction in a layer, "
            "so they cannot be found in other samples",
            "apply an explanation by another method, such as craft, lens or tcav",
        )
    check_activations(classifier)
    strength = torch.full((count, len(concepts)), torch.nan)
    maps: dict[int, Tensor] = {}
    if coded and dictionary is not None:
        found, places = _of_dictionary(dictionary, [_atom(concepts[i]) for i in coded], classifier, samples, with_maps)
        strength[:, coded] = found
        maps |= {} if places is None else dict(zip(coded, places, strict=True))
    for layers in dict.fromkeys(tuple(concepts[i].directions) for i in projected):
        own = [i for i in projected if tuple(concepts[i].directions) == layers]
        some = [concepts[i] for i in own]
        found, places = _of_directions(some, explanation, layers, classifier, samples, with_maps)
        strength[:, own] = found
        maps |= {} if places is None else dict(zip(own, places, strict=True))
    measured = [i for i in projected if ZERO in concepts[i].evidence]
    plain = [i for i in projected if i not in measured]
    units = [unit for unit, some in ((CODE_IS, coded), (ABOVE_MEAN_IS, measured), (PROJECTION_IS, plain)) if some]
    return assembled(concepts, strength, "; ".join(units), maps if with_maps else None, samples, missing=lost)


def assembled(
    concepts: Sequence[Concept],
    strength: Tensor,
    strength_is: str,
    maps: dict[int, Tensor] | None,
    samples: Samples,
    missing: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> Presence:
    """A `Presence`, with notes that name the concepts that are not found and those that have no map.

    Parameters
    ----------
    strength
        (N, k).
    maps
        Index of a concept -> its maps (N, H, W) >= 0. The maps of the others are 0 everywhere. None = no maps were
        asked for.
    missing
        Indices of the concepts that are not found.
    """
    said = list(notes)
    if missing:
        named = listed([concepts[i].name for i in missing])
        said.append(f"{len(missing)} of {len(concepts)} concepts have no atom and no direction: {named}")
    stacked = None
    if maps:
        nothing = torch.zeros(len(samples), *samples.images.shape[-2:])
        stacked = torch.stack([maps.get(i, nothing) for i in range(len(concepts))], dim=1)
        if blank := [concepts[i].name for i in range(len(concepts)) if i not in maps]:
            said.append(f"{len(blank)} of {len(concepts)} concepts have no maps: {listed(blank)}")
    elif maps is not None and samples.modality == "image":
        said.append("there are no maps, because no layer of the concepts has a grid of positions")
    return Presence(strength.float(), strength_is, stacked, tuple(said))


def check_activations(classifier: Classifier) -> None:
    """Raise `NotApplicable` if the classifier gives no activations, in which concepts could be found."""
    if "activations" not in classifier.can:
        raise NotApplicable("concepts are found in activations, and this classifier gives none: it is a black box")


def open_layer(classifier: Classifier, layer: str) -> Probe:
    """The classifier opened at the layer of concepts; raises a `UsageError` that says so if there is none."""
    check_activations(classifier)
    try:
        return classifier.open(layer)
    except UsageError as error:
        nearest = f"; {error.hint}" if error.hint else ""
        raise UsageError(
            f"the concepts are at the layer {layer!r}, which this network does not have", f"{NEXT_STEP}{nearest}"
        ) from error


def read_layer(classifier: Classifier, layer: str, width: int, samples: Samples) -> tuple[Probe, Tensor]:
    """The probe at the layer of concepts, and the activations of the samples there in its layout.

    Raises
    ------
    NotApplicable
        The classifier gives no activations.
    UsageError
        There is no such layer, or it has another number of channels than `width`.
    """
    probe = open_layer(classifier, layer)
    a = probe.activations(samples)
    channels = a.shape[2 if probe.layout == "NTC" else 1]
    if channels != width:
        raise UsageError(
            f"the concepts are in {width} channels of the layer {layer!r}, which has {channels} in this network",
            NEXT_STEP,
        )
    return probe, a


def grid_of(a: Tensor, layout: str, samples: Samples) -> tuple[int, int, int] | None:
    """How the positions of activations lie in the images: (extra tokens in front, rows, columns).

    None if they lie on no grid: the samples are texts, the layer has one position, or its tokens form no grid.
    """
    if samples.modality != "image" or layout == "NC":
        return None
    if layout == "NCHW":
        return (0, a.shape[2], a.shape[3]) if a.shape[2] * a.shape[3] > 1 else None
    return token_grid(a.shape[1], (samples.images.shape[-2], samples.images.shape[-1]))


def maps_from_positions(values: Tensor, shape: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Maps of values at the positions of a layer, enlarged bilinearly to the size of the image.

    Parameters
    ----------
    values
        (N, rows * columns, k) >= 0.
    shape
        (rows, columns) of the layer.
    size
        (H, W) of the image in pixels.

    Returns
    -------
    (k, N, H, W) >= 0
    """
    n, _, k = values.shape
    small = values.permute(2, 0, 1).reshape(k, n, *shape)
    return interpolate(small, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Projection:
    """The projections of activations on directions.

    Attributes
    ----------
    values
        (N, P, k) at the P positions of the grid; P = 1 if there is none.
    grid
        (rows, columns); None if the layer has no grid of positions.
    """

    values: Tensor
    grid: tuple[int, int] | None

    @property
    def mean(self) -> Tensor:
        """(k,) mean over all positions of all samples."""
        return self.values.mean((0, 1))

    def maps(self, zero: Tensor, size: tuple[int, int]) -> Tensor | None:
        """Maps (k, N, H, W) of what the values are above `zero` (k,), 0 elsewhere; None without a grid."""
        if self.grid is None:
            return None
        return maps_from_positions((self.values - zero).clamp_min(0), self.grid, size)


def project(probe: Probe, samples: Samples, directions: Tensor) -> Projection | None:
    """<a_p, v> at each position p.

    v is the direction averaged over positions, with length 1, since a concept may be anywhere. Tokens in front, such as
    the class token, are nowhere in the image. Without a grid, it is the product with the direction as it is.

    Parameters
    ----------
    probe
        The model opened at the layer of the directions.
    samples
        N images or texts.
    directions
        (k, d): directions of flattened activations, (k, C H W) or (k, T C), or (k, C) that all positions share. Images
        of another size than those that the directions were made with have another number of positions.

    Returns
    -------
    None if the directions are of another width than the layer.
    """
    a = probe.activations(samples)
    grid, layout = grid_of(a, probe.layout, samples), probe.layout
    channels, d = a.shape[2 if layout == "NTC" else 1], directions.shape[1]
    if grid is None:
        if d == a[0].numel():
            flat = a.flatten(1) @ normalize(directions.to(a), dim=1).T
            return Projection(flat[:, None], None)
        if d != channels:
            return None
        return Projection((rows_of(a, layout) @ normalize(directions.to(a), dim=1).T).mean(1, keepdim=True), None)
    extra, rows, columns = grid
    if d % channels:
        return None
    if d == channels:
        shared = directions
    elif layout == "NTC":
        shared = directions.unflatten(1, (-1, channels))[:, extra:].mean(1)
    else:
        shared = directions.unflatten(1, (channels, -1)).mean(2)
    return Projection(rows_of(a, layout)[:, extra:] @ normalize(shared.to(a), dim=1).T, (rows, columns))


def _atom(concept: Concept) -> int:
    assert concept.atom is not None
    return concept.atom


def _of_dictionary(
    dictionary: Dictionary, atoms: Sequence[int], classifier: Classifier, samples: Samples, with_maps: bool
) -> tuple[Tensor, Tensor | None]:
    """Strengths (N, m) of these atoms, and their maps (m, N, H, W) if the layer has a grid of positions."""
    probe, a = read_layer(classifier, dictionary.layer, dictionary.atoms.shape[1], samples)
    codes = encode(dictionary, rows_of(a, probe.layout))[:, :, list(atoms)]
    grid = grid_of(a, probe.layout, samples)
    if grid is None or not with_maps:
        return codes.mean(1), None
    extra, rows, columns = grid
    size = (samples.images.shape[-2], samples.images.shape[-1])
    return codes.mean(1), maps_from_positions(codes[:, extra:].clamp_min(0), (rows, columns), size)


def _of_directions(
    concepts: Sequence[Concept],
    explanation: Explanation,
    layers: Sequence[str],
    classifier: Classifier,
    samples: Samples,
    with_maps: bool,
) -> tuple[Tensor, Tensor | None]:
    """Strengths (N, m) of these concepts, and their maps (m, N, H, W) if one of their layers has a grid."""
    made: Projection | None = None
    for layer in layers:
        directions = torch.stack([c.directions[layer] for c in concepts])
        probe = open_layer(classifier, layer)
        found = project(probe, samples, directions)
        shape = tuple(probe.activations(samples).shape[1:])
        if found is None or not _fits(found, shape, directions.shape[1], explanation, samples):
            raise UsageError(
                f"the directions of the concepts have {directions.shape[1]} entries at the layer {layer!r}, which has "
                f"the shape {shape} in this network",
                f"{NEXT_STEP}, and to samples of the size that was explained",
            )
        made = made or found
        if found.grid is not None:
            made = found
            break
    assert made is not None
    zero = torch.tensor([c.evidence.get(ZERO, 0.0) for c in concepts])
    size = (samples.images.shape[-2], samples.images.shape[-1]) if samples.modality == "image" else (0, 0)
    return made.values.mean(1) - zero, made.maps(zero, size) if with_maps else None


def _fits(found: Projection, shape: tuple[int, ...], d: int, explanation: Explanation, samples: Samples) -> bool:
    """Whether directions with d entries are of a layer whose activations have this shape.

    They have an entry for each channel, or for each activation. The layer may have another number of positions only for
    images of another size than the explained ones, and then near the share of their areas.
    """
    entries = prod(shape)
    if found.grid is None or d in (entries, shape[-1] if len(shape) == 2 else shape[0]):
        return True
    sizes = {tuple(c.maps.shape[-2:]) for c in explanation.concepts if c.maps is not None}
    if len(sizes) != 1:
        return False
    (height, width), (new_height, new_width) = sizes.pop(), samples.images.shape[-2:]
    if (height, width) == (new_height, new_width):
        return False
    return abs(d / entries * (new_height * new_width) / (height * width) - 1) <= SLACK
