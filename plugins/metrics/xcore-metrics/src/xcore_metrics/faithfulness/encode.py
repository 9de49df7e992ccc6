"""Codes of held-out samples, which no method has seen, in the dictionary of an explanation."""

from __future__ import annotations

import torch
from torch import Tensor

from xcore.contract import Dictionary, NotApplicable, Probe, Samples
from xcore.models.codes import encode, rows_of

TOLERANCE = 0.01
"""Largest relative difference between the stored codes of explained samples and the codes that are computed here."""


def atoms_of(dictionary: Dictionary) -> Tensor:
    """(k, C) atoms in the units of the activations."""
    scale = dictionary.state.get("scale")
    atoms = dictionary.atoms.float()
    return atoms if scale is None else atoms * scale.float()


def encode_unseen(dictionary: Dictionary, probe: Probe, explained: Samples, unseen: Samples) -> tuple[Tensor, Tensor]:
    """Rows (n, P, C) and codes (n, P, k) of unseen samples, after checking the encoder on explained samples.

    Raises
    ------
    NotApplicable
        The computed codes of explained samples differ from those that the method stored.
    """
    few = explained.take(slice(4))
    stored = dictionary.codes[: len(few)].float()
    again = encode(dictionary, rows_of(probe.activations(few), probe.layout))
    if stored.shape != again.shape:
        raise NotApplicable(
            f"the stored codes have shape {tuple(dictionary.codes.shape)}, but the layer gives (n, {again.shape[1]}, "
            f"{again.shape[2]})"
        )
    apart = float(torch.linalg.norm(stored - again) / torch.linalg.norm(stored).clamp_min(1e-12))
    if apart > TOLERANCE:
        one, two = stored @ dictionary.atoms.float(), again @ dictionary.atoms.float()
        if bool(torch.linalg.norm(one - two) <= TOLERANCE * torch.linalg.norm(one)):
            raise NotApplicable("the atoms are linearly dependent, so codes are not unique")
        raise NotApplicable(f"the codes of explained samples differ from the stored ones by {apart:.0%}")
    rows = rows_of(probe.activations(unseen), probe.layout)
    return rows, encode(dictionary, rows)
