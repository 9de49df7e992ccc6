"""What every classifier must keep, of images and texts alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from xcore.base.errors import UsageError
from xcore.contract.protocols import Classifier
from xcore.contract.samples import Samples
from xcore.testing.checklist import Skipped, check, expect, refused
from xcore.testing.watching import Given, Subject, Watched, watch

ABILITIES = frozenset({"activations", "gradients"})
AXES = {"NC": 2, "NCHW": 4, "NTC": 3}


@dataclass
class Classifying(Subject):
    """A classifier with three or more samples that it reads."""

    classifier: Classifier
    samples: Samples

    def watch(self) -> Watched:
        """See what it does beside giving logits and gradients."""
        given = Given({"the classifier": ("classifier", self.classifier)})
        given.lent.note("samples", self.samples)

        def work() -> None:
            self.classifier.logits(self.samples)
            if "gradients" in self.classifier.can:
                self.classifier.open(self.classifier.default_layer).gradients(self.samples, 0)

        self.classifier.logits(self.samples)  # what is loaded by the first call is no harm
        return watch(work, given)


@check(
    "classifier",
    why="Every method and metric reads the logits.",
    mend="Return a float32 tensor (n, classes) on the CPU without gradient, before any softmax.",
)
def one_finite_logit_a_class(subject: Classifying) -> None:
    """Each sample gets one finite float32 logit a class, without gradient."""
    classifier, samples = subject.classifier, subject.samples
    absent = [n for n in ("modality", "classes", "can", "layers", "default_layer", "logits", "open")
              if not hasattr(classifier, n)]  # fmt: skip
    expect(not absent, f"it has no {', '.join(absent)}")
    expect(isinstance(classifier, Classifier), "it is no xcore.contract.Classifier")
    expect(isinstance(classifier.can, frozenset), f"can is a {type(classifier.can).__name__}; it must be a frozenset")
    strange = classifier.can - ABILITIES
    expect(not strange, f"can holds {', '.join(sorted(strange))}; known are {', '.join(sorted(ABILITIES))}")
    expect(classifier.modality == samples.modality, f"it reads {classifier.modality}s, not {samples.modality}s")
    logits = classifier.logits(samples)
    expect(isinstance(logits, torch.Tensor), f"logits are a {type(logits).__name__}; they must be a tensor")
    shape, wanted = tuple(logits.shape), (len(samples), len(classifier.classes))
    expect(shape == wanted, f"logits have shape {shape}; they must have {wanted}")
    expect(logits.dtype == torch.float32, f"logits are {logits.dtype}; they must be torch.float32")
    expect(logits.isfinite().all(), "logits are not finite")
    expect(not logits.requires_grad, "logits carry a gradient; compute them under torch.no_grad()")


@check(
    "classifier",
    why="Samples come in batches of any size, and each must be judged for itself.",
    mend="Put the network into evaluation mode, and mask what pads a batch.",
)
def logits_do_not_depend_on_the_batch(subject: Classifying) -> None:
    """A sample has the same logits alone or among others."""
    logits = subject.classifier.logits(subject.samples)
    for i in range(len(subject.samples)):
        alone = subject.classifier.logits(subject.samples.take([i]))[0]
        near = torch.allclose(alone, logits[i], rtol=1e-4, atol=1e-4)
        expect(near, f"the logits of sample {i} differ by {float((alone - logits[i]).abs().max()):.3g} alone")


@check(
    "classifier",
    why="Methods work at layers: what is above one must give the logits from its activations.",
    mend="List layers through which everything passes, or give `like` to the head for a skip connection.",
)
def every_layer_leads_to_the_logits(subject: Classifying) -> None:
    """Activations of each layer have its layout, lead to the logits by its head, and have finite gradients."""
    classifier, samples = subject.classifier, subject.samples
    if "gradients" not in classifier.can:
        raise Skipped("a black box has no layers")
    known = classifier.default_layer in classifier.layers
    expect(known, f"the default layer {classifier.default_layer!r} is not among the layers")
    for layer in classifier.layers:
        probe = classifier.open(layer)
        a = probe.activations(samples)
        expect(
            probe.layout in AXES, f"the layout of {layer!r} is {probe.layout!r}; it must be one of {', '.join(AXES)}"
        )
        fits = a.ndim == AXES[probe.layout] and a.shape[0] == len(samples)
        expect(fits, f"activations at {layer!r} have shape {tuple(a.shape)}; its layout is {probe.layout}")
        near = torch.allclose(probe.head(a, samples), classifier.logits(samples), rtol=1e-3, atol=1e-3)
        expect(near, f"the head of {layer!r} does not give the logits")
        gradients = probe.gradients(samples, 0)
        expect(gradients.shape == a.shape, f"gradients at {layer!r} have shape {tuple(gradients.shape)}")
        expect(gradients.isfinite().all(), f"gradients at {layer!r} are not finite")


@check(
    "classifier",
    why="A misspelt layer must not be explained as another one.",
    mend="Raise UsageError: unknown layer NAME, with the nearest name (`xcore.contract.unknown`).",
)
def unknown_layers_are_refused(subject: Classifying) -> None:
    """A layer that is not there is refused by name."""
    if "gradients" not in subject.classifier.can:
        raise Skipped("a black box has no layers")
    with refused("a layer that is not there", UsageError, says="unknown layer 'no such layer'"):
        subject.classifier.open("no such layer")
