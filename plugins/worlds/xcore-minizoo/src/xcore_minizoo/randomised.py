"""Networks that have unlearned what they learned: `minizoo/randomised:NETWORK:FROM[:SEED]`.

FROM is a module of a shipped network: its weights, and those of all modules after it, are drawn anew, as before a
training. ``head`` is the last module, and ``all`` stands for every weight. An explanation that does not change with
them does not depend on what the network learned (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section
3.1: cascading randomisation).

If FROM is ``labels``, the features are kept, and the head is fitted to `PER_CLASS` pictures of each class whose labels
are permuted, until it gives almost all of these their wrong label (as in section 3.2 there, where the whole network is
trained on permuted labels).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import UsageError, digest, file_digest, seeded, unknown
from xcore_minizoo.sources import code_digest

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"
NETWORKS = ("clean", "shortcut", "vit", "vit-birds", "vit-cats")
HEAD, ALL, LABELS = "head", "all", "labels"
"""What FROM may be besides the name of a module."""
FORM = "minizoo/randomised:NETWORK:FROM[:SEED], e.g. minizoo/randomised:clean:layer4:0"
HEADS = ("fc", "head")
"""What the last layer of our networks is called."""
PER_CLASS = 8
"""Few enough that a head can learn them by heart: 72 pictures and 96 or 128 features."""
STEPS = 100
"""Steps of L-BFGS that fit the head."""
DECAY = 1e-4
"""Weight of the squared weights of the head, so that the fit has a least point."""


@dataclass(frozen=True)
class Randomised:
    """A shipped network, the module from which its weights are drawn anew, and the seed of the draw."""

    network: str
    start: str
    seed: int = 0

    @classmethod
    def parse(cls, argument: str) -> Randomised:
        """Read what follows ``minizoo/randomised:`` in a reference; raises `UsageError` for what is not there.

        Whether the network has such a module is seen when it is loaded (`drawn_anew`).
        """
        parts = argument.split(":")
        if len(parts) not in (2, 3) or not parts[1]:
            raise UsageError(f"cannot read {argument!r} of minizoo/randomised", f"write {FORM}")
        if parts[0] not in NETWORKS:
            raise unknown("network of minizoo/randomised:", parts[0], NETWORKS)
        seed = parts[2] if len(parts) == 3 else "0"
        if not (seed.isascii() and seed.isdigit()):
            raise UsageError(f"the seed of minizoo/randomised:{argument} must be a whole number of 0 or more")
        return cls(parts[0], parts[1], int(seed))

    @property
    def folder(self) -> Path:
        """The folder of the trained weights."""
        return WEIGHTS / self.network


def fingerprint(options: Any, argument: str) -> str:
    """What identifies the weights of a reference: the trained ones, what is drawn anew, and the code that draws."""
    wanted = Randomised.parse(argument)
    versions = {name: version(name) for name in ("timm", "torch")}
    weights = file_digest(wanted.folder / "model.safetensors")
    return digest([wanted.network, wanted.start, wanted.seed, weights, code_digest("randomised"), versions])


def drawn_anew(wanted: Randomised) -> tuple[nn.Module, Mapping[str, Any]]:
    """The network, and its config: architecture, settings, classes.

    Raises
    ------
    UsageError
        The network has no module of this name.
    """
    from xcore_minizoo.nets import load_classifier

    with seeded(wanted.seed, threads=1):  # building a network draws random weights, which must not change global state
        model, config = load_classifier(wanted.folder)
        if wanted.start == LABELS:
            _fit_permuted(model, config["classes"], wanted.seed)
        else:
            _draw(model, config, wanted)
    return model.eval().requires_grad_(False), config


def _draw(model: nn.Module, config: Mapping[str, Any], wanted: Randomised) -> None:
    """Give the modules from `wanted.start` on, and everything for ``all``, the weights of an untrained network."""
    from xcore_minizoo.cnn import build

    fresh = build(len(config["classes"]), config["architecture"], **config["settings"]).state_dict()
    order = [name for name, _ in model.named_modules()]  # that in which they are evaluated
    names = {HEAD: order[-1], ALL: ""}
    start = names.get(wanted.start, wanted.start)
    if start not in order:
        tops = [name for name in order if name and name.count(".") < 2]
        raise unknown(f"module of minizoo/{wanted.network}:", start, [HEAD, ALL, LABELS, *tops])
    first = order.index(start)
    state = model.state_dict()
    anew = {key: value for key, value in fresh.items() if order.index(key.rpartition(".")[0]) >= first}
    if not anew:
        raise UsageError(
            f"no weights of minizoo/{wanted.network} come after {start!r}",
            "name an earlier module, or head for the last one",
        )
    model.load_state_dict({**state, **anew})


def _fit_permuted(model: nn.Module, classes: list[str], seed: int) -> None:
    """Fit the head to pictures of the training split whose labels are permuted."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from xcore_minizoo.collections import COLLECTIONS
    from xcore_minizoo.world import draw

    collection = next(c for c in COLLECTIONS.values() if list(c.classes) == list(classes))
    made = [collection.draw_scene(c, "train", i, seed) for c in collection.classes for i in range(PER_CLASS)]
    pictures = torch.stack([torch.from_numpy(draw(scene, key).image) for scene, _, key in made])
    labels = torch.tensor([label for _, label, _ in made])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    head = next(module for name, module in model.named_modules() if name in HEADS and isinstance(module, nn.Linear))
    seen: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            model(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1)
    finally:
        handle.remove()
    (features,) = seen
    head.requires_grad_(True)
    # Standardised features make the problem well conditioned; the head then takes their mean and scale back.
    mean, scale = features.mean(0), features.std(0) + 1e-6
    z = (features - mean) / scale
    weight = torch.zeros_like(head.weight, requires_grad=True)
    bias = torch.zeros_like(head.bias, requires_grad=True)
    fit = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        fit.zero_grad()
        value = F.cross_entropy(F.linear(z, weight, bias), labels) + DECAY * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        fit.step(loss)
    with torch.no_grad():
        head.weight.copy_(weight / scale)
        head.bias.copy_(bias - (weight / scale) @ mean)
