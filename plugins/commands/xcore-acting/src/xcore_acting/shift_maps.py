"""Where in a picture a classifier sees a class: activations weighted by their mean gradients."""

from __future__ import annotations

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from xcore.contract import Classifier, NotApplicable, Samples


def class_maps(classifier: Classifier, samples: Samples, target: int, layer: str = "") -> Tensor:
    """(n, H, W) in [0, 1]: how much each place of each picture speaks for a class, at the size of the pictures.

    Raises
    ------
    NotApplicable
        The classifier gives no gradients, or its layer has no positions.

    References
    ----------
    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.
    """
    if missing := {"activations", "gradients"} - classifier.can:
        raise NotApplicable(f"a map of the class needs {' and '.join(sorted(missing))}, and the classifier gives none")
    probe = classifier.open(layer or classifier.default_layer)
    if probe.layout == "NC":
        raise NotApplicable("the layer has no positions", "name one that has with --layer")
    a, g = probe.activations(samples).float(), probe.gradients(samples, target).float()
    if probe.layout == "NCHW":
        raw = (a * g.mean((2, 3), keepdim=True)).sum(1)
    else:
        flat = (a * g.mean(1, keepdim=True)).sum(2)
        side = isqrt(flat.shape[1])
        raw = flat[:, flat.shape[1] - side * side :].reshape(-1, side, side)  # class tokens stand before the patches
    positive = F.interpolate(raw.clamp_min(0)[:, None], samples.images.shape[-2:], mode="bilinear", align_corners=False)
    made: Tensor = positive[:, 0]
    return made / made.flatten(1).amax(1).clamp_min(1e-12)[:, None, None]


def overlaid(images: Tensor, maps: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) with their maps (n, H, W) in red over a paler version of them."""
    pale = 0.35 + 0.65 * images.mean(1, keepdim=True).expand_as(images)
    red = torch.tensor([0.85, 0.1, 0.1]).view(1, 3, 1, 1)
    weight = 0.7 * maps[:, None]
    return (1 - weight) * pale + weight * red
