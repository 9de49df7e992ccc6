"""Relevance of concepts by layer-wise relevance propagation (LRP), which zennit computes; zennit is an extra."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from xcore_craft.activations import SplitClassifier

from xcore.contract import MissingError, NotApplicable, Samples, UsageError

EPSILON = 1e-6
"""What the rule adds to denominators, in the unit of the activations."""


def relevance(split: SplitClassifier, codes: Tensor, atoms: Tensor, samples: Samples, target: int) -> Tensor:
    """Relevance (n, P, k) of codes (n, P, k) for the class logit, which it divides among them.

    Linear layers, the decoding ``codes @ atoms`` first of all, take the epsilon rule, convolutions the z+ rule, and
    activation functions pass relevance on (Bach et al., PLOS ONE 2015; Montavon et al. 2019; the composite "epsilon
    plus" of Anders et al., zennit, arXiv:2106.13200). What biases take is lost to the concepts. Where the head adds up
    branches by a function, as skip connections do, each branch gets the whole relevance: the parts add up to more than
    the logit there.

    Raises
    ------
    MissingError
        zennit is not installed.
    NotApplicable
        The head is no torch module, so that rules have nowhere to be applied.
    UsageError
        The logits do not depend on the activations of this layer.
    """
    network = getattr(getattr(split.probe, "model", None), "module", None)
    if not isinstance(network, nn.Module):
        raise NotApplicable("lrp needs a classifier that is a torch module, whose layers it can reach")
    try:
        from zennit.composites import EpsilonPlus
    except ImportError:
        raise MissingError("lens.importance=lrp needs zennit", "pip install 'xcore-lens[lrp]'") from None
    decode = nn.Linear(atoms.shape[0], atoms.shape[1], bias=False)
    decode.weight = nn.Parameter(atoms.T.clone(), requires_grad=False)
    u = codes.detach().clone().requires_grad_()
    with EpsilonPlus(epsilon=EPSILON).context(nn.ModuleList([decode, network])), torch.enable_grad():
        logit = split.head(decode(u), samples)[:, target]
        if not logit.requires_grad:
            raise UsageError("the logits do not depend on the activations of this layer", "choose another layer")
        (found,) = torch.autograd.grad(logit, u, logit.detach())
    return found.detach()
