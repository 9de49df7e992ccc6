"""TCAV scores against captum's: `python benchmarks/perf/tcav_captum.py`.

    python benchmarks/perf/tcav_captum.py                           # 50 concepts, 10 random sets, minizoo/clean
    python benchmarks/perf/tcav_captum.py --concepts 5 --sets 5     # a shorter look

Both score the same sets of pictures of the minizoo (a concept is a set of pictures of one scene each) against the same
random sets, for the same class images at the same layer, with plain gradients. captum is given scikit-learn's logistic
regression as its classifier, with the strength that ours has: its default, SGD with a third of the pictures held out,
gives other CAVs in every run, so that nothing could be compared. Neither makes a null distribution. The floor is the
passes of the network alone, each picture once, in batches. Processor and wall seconds of one thread; captum, which is
slow, is run once.

A faster wrong answer would be worth nothing: the rank correlation of the two scores over concepts is printed, and one
below .95 ends the command.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from figures import note
from measure import Ways
from scipy.stats import spearmanr
from torch import Tensor
from xcore_minizoo.world import any_scene, draw_many
from xcore_tcav.scorer import Scorer

from xcore.contract import Ref, Samples
from xcore.models.classifiers import TorchClassifier
from xcore.registry import load_registry

SIZE, CLASS_IMAGES = 20, 60
AGREE = 0.95


def pictures(name: str, n: int, seed: int, *, one: bool) -> Samples:
    """n pictures of the world: of one scene, painted n times, or of n scenes."""
    rng = np.random.default_rng(seed)
    scenes = [any_scene(rng)] * n if one else [any_scene(rng) for _ in range(n)]
    drawn = draw_many(scenes, [(seed, i) for i in range(n)])
    images = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255
    return Samples("image", images, tuple(f"{name}/{i}" for i in range(n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concepts", type=int, default=50)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3, help="of ours and of the floor")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="captum")
    registry = load_registry()
    images = registry.create("dataset", Ref("minizoo")).samples("zebra", "explain", CLASS_IMAGES, 0)
    concepts = [pictures(f"concept {i}", SIZE, 100 + i, one=True) for i in range(asked.concepts)]
    others = [pictures(f"random {i}", SIZE, 10_000 + i, one=False) for i in range(asked.sets)]

    def fresh() -> TorchClassifier:
        """A classifier that has kept nothing yet."""
        made: TorchClassifier = registry.create("classifier", Ref("minizoo/clean"))
        return made

    def ours(classifier: TorchClassifier) -> list[float]:
        probe = classifier.open(classifier.default_layer)
        target = classifier.classes.index("zebra")
        scorer = Scorer(probe, target, images, lambda n, i, *rest: others[i].take(slice(n)), negatives=asked.sets)
        return [score.ts for score in scorer.score_many(concepts, "as-is")]

    def floor(classifier: TorchClassifier) -> None:
        probe = classifier.open(classifier.default_layer)
        probe.gradients(images, classifier.classes.index("zebra"))
        probe.activations(Samples.concat([*concepts, *others]))

    ways = Ways()
    for _ in range(asked.repeats):
        mine = ways.run("ours", partial(ours, _used(fresh(), images)))
        ways.run("floor", partial(floor, _used(fresh(), images)))
    theirs = ways.run("captum", partial(captum, _used(fresh(), images), images, concepts, others))
    print(f"{asked.concepts} concepts of {SIZE} pictures, {asked.sets} random sets, {CLASS_IMAGES} class images\n")
    ways.table()
    agree = float(spearmanr(mine, theirs)[0])
    print(f"\nrank correlation of the scores of both over concepts: {agree:.3f}")
    if agree < AGREE:
        raise SystemExit(f"the scores do not agree (below {AGREE}): the row is worth nothing")
    note("captum", ours=ways.seconds("ours"), floor=ways.seconds("floor"), peer=ways.seconds("captum"))


def _used(classifier: TorchClassifier, images: Samples) -> TorchClassifier:
    """The classifier after a first pass, in which it is seen how its network is made."""
    classifier.open(classifier.default_layer).gradients(images.take([0, 1]), 0)
    return classifier


def captum(classifier: TorchClassifier, images: Samples, concepts: list[Samples], others: list[Samples]) -> list[float]:
    """captum's score of each concept, the mean over random sets."""
    from captum.concept import TCAV, Concept

    network, layer = classifier.model, classifier.default_layer

    def concept(number: int, samples: Samples) -> Any:
        given: Tensor = network.inputs(samples.images)
        return Concept(number, samples.ids[0].partition("/")[0], [given])

    own = [concept(i, samples) for i, samples in enumerate(concepts)]
    against = [concept(len(own) + i, samples) for i, samples in enumerate(others)]
    with tempfile.TemporaryDirectory() as folder:
        theirs = TCAV(network.module, [layer], classifier=_logistic(), save_path=folder)
        sets = [[one, other] for one in own for other in against]
        target = classifier.classes.index("zebra")
        scores = theirs.interpret(network.inputs(images.images), sets, target=target)
    # The order of what captum returns is not that of the sets.
    each = [[scores[f"{one.id}-{other.id}"][layer]["sign_count"][0] for other in against] for one in own]
    return [float(np.mean(signs)) for signs in each]


def _logistic() -> Any:
    """scikit-learn's logistic regression as captum calls a classifier."""
    from captum.concept._utils.classifier import Classifier
    from sklearn.linear_model import LogisticRegression

    class Logistic(Classifier):  # type: ignore[misc]
        def __init__(self) -> None:
            self.fitted = LogisticRegression(max_iter=1000)

        def train_and_eval(self, dataloader: Any, **options: Any) -> dict[str, float]:
            inputs, labels = zip(*dataloader, strict=True)
            x, y = torch.cat(inputs).flatten(1).double().numpy(), torch.cat(labels).numpy()
            self.fitted.fit(x, y)
            return {"accs": float(self.fitted.score(x, y))}

        def weights(self) -> Tensor:
            own = torch.from_numpy(self.fitted.coef_[0]).float()
            return torch.stack([-own, own])

        def classes(self) -> list[int]:
            return [int(label) for label in self.fitted.classes_]

    return Logistic()


if __name__ == "__main__":
    main()
