"""Estimators of CRAFT's importance: how far they are from the truth, by evaluations of the head and seconds.

    python benchmarks/perf/craft_importance.py --part choose
    python benchmarks/perf/craft_importance.py --part report

Each function of k masks has total Sobol indices; a sum of products and Ishigami's function have them in closed form,
those of small networks with one hidden layer and of a class logit behind a layer of a network are estimated by Jansen's
estimator with many more points (of seeds that no estimator has). The functions behind a layer are those of CRAFT: ten
concepts of a class, found in 12 images, one function for each image.

- error: mean distance of an index from the truth, as a share of the mean index;
- of the mean: the same of the mean index of all functions of a row, which is what CRAFT ranks by;
- evaluations: of the function, without the k + 2 at the corners that CRAFT makes in any case. A gradient counts as
  two, and `seconds` are the processor's, of one thread, for one function.

*jansen* is the published estimator with scrambled Sobol points, *unscrambled Halton* that with the points of the
released code, *4 replicates* the mean over designs of a quarter of the size, *janon* and *saltelli* those of Janon et
al. 2014 and Saltelli et al. 2010 (table 2, e) from the same evaluations. *Linearised* takes the slopes at the middle of
the cube from one gradient, *slopes* from a regression, and Jansen's estimator only for what they leave. *Gradients* is
a ridge regression on the gradients, with the polynomials of *regression*, the default of `craft`, whose settings were
chosen by the part `choose`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from figures import note
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor
from xcore_craft.activations import SplitClassifier, read_activations, split_at
from xcore_craft.craft import code, with_images
from xcore_craft.crops import crop_grid
from xcore_craft.factorise import factorise, factorise_signed
from xcore_craft.regression import Corners, indices_by_regression
from xcore_craft.sobol import Sampler, designs, jansen

from xcore.contract import Ref, Samples
from xcore.registry import load_registry

Array = NDArray[np.float64]
T = TypeVar("T")
Function = Callable[[Tensor], Tensor]
"""Masks (rows, k) to outputs (rows,), differentiable."""

K, IMAGES, BATCH = 10, 12, 64
PARTS = {
    "choose": ((0, 1, 2, 3), (("minizoo/clean", "", "zebra"), ("minizoo/vit", "", "zebra"))),
    "report": (
        (10, 11, 12, 13),
        (
            ("minizoo/clean", "", "horse"),
            ("minizoo/clean", "", "swan"),
            ("minizoo/vit", "", "horse"),
            ("minizoo/vit", "blocks.1", "swan"),
        ),
    ),
}
"""Part -> seeds of the small networks; network, layer (empty: the default one) and class."""


@dataclass(eq=False)
class Counted:
    """A function, with the evaluations that it was asked for."""

    function: Function
    k: int
    truth: Array
    evaluations: int = 0

    @torch.no_grad()
    def __call__(self, masks: Array) -> Array:
        y = torch.cat([self.function(part) for part in torch.from_numpy(masks).float().split(BATCH)])
        self.evaluations += len(masks)
        return np.asarray(y.double().numpy())

    def gradients(self, masks: Array) -> Array:
        """(rows, k)"""
        x = torch.from_numpy(masks).float().requires_grad_()
        found = torch.autograd.grad(self.function(x).sum(), x)[0]
        self.evaluations += 2 * len(masks)
        return np.asarray(found.double().numpy())


@dataclass(frozen=True, eq=False)
class Design:
    """A design of pick-freeze and what a function gives for it."""

    f: Counted
    a: Array
    c: Array
    y_a: Array
    y_c: Array

    @property
    def steps(self) -> Array:
        """(k, n) how far each input is moved."""
        return np.stack([self.a[:, i] - self.c[i, :, i] for i in range(self.f.k)])

    @property
    def rows(self) -> tuple[Array, Array]:
        """All points, and their outputs."""
        return np.concatenate([self.a, self.c.reshape(-1, self.f.k)]), np.concatenate([self.y_a, self.y_c.ravel()])


def of_jansen(d: Design) -> Array:
    return jansen(d.y_a, d.y_c)[0]


def of_janon(d: Design) -> Array:
    mean = (d.y_a + d.y_c).mean(1) / 2
    variance = (d.y_a**2 + d.y_c**2).mean(1) / 2 - mean**2
    return np.asarray(1 - ((d.y_a * d.y_c).mean(1) - mean**2) / variance)


def of_saltelli(d: Design) -> Array:
    return np.asarray(((d.y_a - d.y_a.mean()) * (d.y_a - d.y_c)).mean(1) / d.y_a.var(ddof=1))


def of_linearised(d: Design) -> Array:
    return beside(d, d.f.gradients(np.full((1, d.f.k), 0.5))[0])


def of_slopes(d: Design) -> Array:
    return beside(d, (d.steps * (d.y_a - d.y_c)).sum(1) / (d.steps**2).sum(1))


def beside(d: Design, slopes: Array) -> Array:
    """Indices of a linear function with these slopes, and of what it leaves by Jansen's estimator."""
    x, y = d.rows
    left = ((d.y_a - d.y_c) ** 2 - (slopes[:, None] * d.steps) ** 2).mean(1) / 2
    variance = (slopes**2).sum() / 12 + y.var() - (x @ slopes).var()
    return np.asarray((slopes**2 / 12 + left) / variance)


def of_halton(f: Counted, n: int, seed: Sequence[int]) -> Array:
    return of_jansen(design(f, n, seed, "halton"))


def of_replicates(f: Counted, n: int, seed: Sequence[int]) -> Array:
    return np.asarray(np.mean([of_jansen(design(f, n // 4, [*seed, r])) for r in range(4)], axis=0))


def of_regression(f: Counted, n: int, seed: Sequence[int]) -> Array:
    asked, spent = f(np.concatenate([np.ones((1, f.k)), np.zeros((1, f.k)), 1 - np.eye(f.k)])), f.k + 2
    f.evaluations -= spent
    return indices_by_regression(f, Corners(float(asked[0]), float(asked[1]), asked[2:]), n, seed)[0]


def of_gradients(f: Counted, n: int, seed: Sequence[int]) -> Array:
    """Ridge regression of n gradients, with weights for which derivatives of Legendre polynomials are orthogonal."""
    x, k = designs(f.k, n, seed)[0], f.k
    g, z, left, right = f.gradients(x), 2 * x - 1, *np.triu_indices(k, 1)
    weight = np.sqrt(x * (1 - x) / 2)
    rows, wanted = [], []
    for i in range(k):
        made = np.zeros((n, 2 * k + len(left)))
        made[:, i], made[:, k + i] = 2 * 3**0.5, 6 * 5**0.5 * z[:, i]
        for one, other in ((left, right), (right, left)):
            here = np.flatnonzero(one == i)
            made[:, 2 * k + here] = 6 * z[:, other[here]]
        rows.append(made * weight[:, i : i + 1])
        wanted.append(g[:, i] * weight[:, i])
    expected = np.sqrt(np.concatenate([np.full(k, 10.0), np.ones(k + len(left))]))
    u, s, vt = np.linalg.svd(np.concatenate(rows) * expected, full_matrices=False)
    y = np.concatenate(wanted)
    q, count = u.T @ y, len(y)
    tried = []
    for penalty in np.geomspace(1e-6, 1, 25) * s.max() ** 2:
        shrunk = penalty / (s**2 + penalty)
        error = ((shrunk * q) ** 2).sum() + y @ y - q @ q
        tried.append((error / max(1 - (1 - shrunk).sum() / count, 1e-3) ** 2, penalty))
    found = expected * (vt.T @ (s * q / (s**2 + min(tried)[1])))
    parts, pairs = found[:k] ** 2 + found[k : 2 * k] ** 2, found[2 * k :] ** 2
    total = parts.sum() + pairs.sum()
    np.add.at(parts, left, pairs)
    np.add.at(parts, right, pairs)
    return np.asarray(parts / total)


FROM_A_DESIGN: dict[str, Callable[[Design], Array]] = {
    "jansen": of_jansen,
    "janon": of_janon,
    "saltelli": of_saltelli,
    "jansen, linearised": of_linearised,
    "jansen, slopes": of_slopes,
}
OTHERS: dict[str, tuple[Callable[[Counted, int, Sequence[int]], Array], tuple[int, ...]]] = {
    "jansen, unscrambled Halton": (of_halton, (32,)),
    "jansen, 4 replicates": (of_replicates, (32,)),
    "gradients": (of_gradients, (8, 16, 32)),
    "regression": (of_regression, (8, 16, 32, 64)),
}
"""Estimator -> itself, and sizes of its design."""
SIZES = (4, 8, 16, 32, 64)
DEFAULT, PUBLISHED = ("regression", 32), ("jansen, unscrambled Halton", 32)
"""Estimators and their designs, of which the first must be no further from the truth."""


def design(f: Counted, n: int, seed: Sequence[int], sampler: Sampler = "sobol") -> Design:
    a, c = designs(f.k, n, seed, sampler)
    y = f(np.concatenate([a, c.reshape(-1, f.k)]))
    return Design(f, a, c, y[:n], y[n:].reshape(f.k, n))


def known(function: Function, k: int, points: int, seed: int) -> Counted:
    """A function with the indices that Jansen's estimator finds with this many points."""
    counted = Counted(function, k, np.zeros(k))
    counted.truth = of_jansen(design(counted, points, [2**31, seed]))
    return counted


def small_network(seed: int, k: int) -> Function:
    """One hidden layer whose units switch inside of the cube."""
    rng = np.random.default_rng(seed)
    width = 16 * (1 + seed % 4)
    into, out = rng.normal(size=(width, k)), rng.normal(size=width)
    bias = rng.normal(size=width) / 2 - into.sum(1) / 2
    w, b, v = (torch.from_numpy(x).float() for x in (into, bias, out))
    return lambda m: (m @ w.T + b).relu() @ v


def small_networks(seeds: Sequence[int], k: int) -> list[Counted]:
    return [known(small_network(seed, k), k, 4096, seed) for seed in seeds]


def products(k: int) -> Counted:
    """w1 m1 m2 + w2 m3 m4 + ...: each pair adds w^2 7/144 of variance, of which each input shares 4/7."""
    w = torch.linspace(1, 2, k // 2)
    share = (w**2 / (w**2).sum()).double().numpy()
    return Counted(lambda m: (m[:, ::2] * m[:, 1::2]) @ w, k, np.repeat(share, 2) * 4 / 7)


def affine(k: int) -> Counted:
    w = torch.linspace(0.7, 1.3, k)
    return Counted(lambda m: m @ w + 3, k, (w**2 / (w**2).sum()).double().numpy())


def ishigami(m: Tensor) -> Tensor:
    x = torch.pi * (2 * m - 1)
    return x[:, 0].sin() + 7 * x[:, 1].sin() ** 2 + 0.1 * x[:, 2] ** 4 * x[:, 0].sin()


def heads(name: str, layer: str, cls: str, points: int) -> list[Counted]:
    """The class logit of each image as a function of the masks of its concepts."""
    registry = load_registry()
    classifier, data = registry.create("classifier", Ref(name)), registry.create("dataset", Ref("minizoo"))
    layer, samples = layer or classifier.default_layer, data.samples(cls, "explain", IMAGES, 0)
    grid = crop_grid((samples.images.shape[-2], samples.images.shape[-1]))
    split, a, crops = read_activations(
        classifier, split_at(classifier, layer, samples), layer, samples, grid, grid.all_crops(len(samples)), "semi-nmf"
    )
    rows = with_images(split, a, crops, grid).double().numpy()
    atoms = torch.from_numpy((factorise_signed if split.signed else factorise)(rows, K, 0).atoms).float()
    codes, target = code(a, atoms), classifier.classes.index(cls)
    found = []
    for i in range(len(samples)):
        here = split.read(codes[i : i + 1])[0].amax(0) > 0
        logit = behind(split, codes[i][:, here], atoms[here], samples.take([i]), target)
        found.append(known(logit, int(here.sum()), points, i))
    return found


def behind(split: SplitClassifier, codes: Tensor, atoms: Tensor, like: Samples, target: int) -> Function:
    def logit(masks: Tensor) -> Tensor:
        many = Samples("image", like.images.expand(len(masks), -1, -1, -1), like.ids * len(masks))
        return split.head((masks[:, None, :] * codes) @ atoms, many)[:, target]

    return logit


@dataclass(frozen=True, eq=False)
class Estimate:
    """One estimate: how far each index is off, and what it cost."""

    repeat: int
    off: Array
    evaluations: int
    seconds: float


def measure(title: str, functions: Sequence[Counted], repeats: int) -> None:
    """Print the table of one group of functions, and compare the default estimator with the published one."""
    found: dict[tuple[str, int], list[Estimate]] = {}

    def keep(name: str, n: int, repeat: int, f: Counted, indices: Array, cost: tuple[int, float]) -> None:
        found.setdefault((name, n), []).append(Estimate(repeat, indices - f.truth, *cost))

    for repeat in range(repeats):
        for i, f in enumerate(functions):
            seed = [repeat, i]
            for n in SIZES:
                made, cost = asked(f, partial(design, f, n, seed))
                for name, of in FROM_A_DESIGN.items():
                    if name == "jansen" or n in SIZES[1:4:2]:
                        indices, own = asked(f, partial(of, made))
                        keep(name, n, repeat, f, indices, (cost[0] + own[0], cost[1] + own[1]))
            for name, (estimate, sizes) in OTHERS.items():
                for n in sizes:
                    made_at = asked(f, partial(estimate, f, n, seed))
                    keep(name, n, repeat, f, *made_at)
    scale = float(np.mean([f.truth.mean() for f in functions]))
    order = [*FROM_A_DESIGN, *OTHERS]
    made_by: dict[tuple[str, int], tuple[float, float]] = {}
    print(f"\n{title}\n\n| | designs | evaluations | seconds | error | of the mean |\n|---|---|---|---|---|---|")
    for (name, n), estimates in sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        error = np.mean([np.abs(e.off).mean() for e in estimates]) / scale
        alike = [[e.off for e in estimates if e.repeat == r and len(e.off) == functions[0].k] for r in range(repeats)]
        of_mean = np.mean([np.abs(np.mean(offs, axis=0)).mean() for offs in alike]) / scale
        cost = np.mean([[e.evaluations, e.seconds] for e in estimates], axis=0)
        print(f"| {name} | {n} | {cost[0]:.0f} | {cost[1]:.4f} | {error:.3f} | {of_mean:.3f} |", flush=True)
        made_by[name, n] = float(error), float(cost[1])
    (our_error, ours), (their_error, theirs) = made_by[DEFAULT], made_by[PUBLISHED]
    if our_error > their_error:
        raise SystemExit(f"the default estimator is further off than the published one: {our_error:.3f}")
    note(f"craft indices, {title}", ours=ours, peer=theirs)


def asked(f: Counted, work: Callable[[], T]) -> tuple[T, tuple[int, float]]:
    """What the work gives, and the evaluations and the processor's seconds that it took."""
    before, start = f.evaluations, time.process_time()
    result = work()
    return result, (f.evaluations - before, time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=sorted(PARTS), default="report")
    parser.add_argument("--only", default="", help="functions whose title contains this")
    parser.add_argument("--repeats", type=int, default=24, help="estimates of each kind, over all functions of a table")
    parser.add_argument("--points", type=int, default=512, help="design points of the reference behind a layer")
    o = parser.parse_args()
    torch.set_num_threads(1)
    seeds, networks = PARTS[o.part]
    with threadpool_limits(1):
        made: dict[str, Callable[[], list[Counted]]] = {
            "affine, 10 inputs": lambda: [affine(10)],
            "affine, 20 inputs": lambda: [affine(20)],
            "products, 10 inputs": lambda: [products(10)],
            "Ishigami": lambda: [Counted(ishigami, 3, np.array([0.5576, 0.4424, 0.2437]))],
        }
        for k in (5, 10, 20):
            made[f"small networks, {k} inputs"] = partial(small_networks, seeds, k)
        for name, layer, cls in networks:
            title = f"{name}, {layer or 'default layer'}, {cls}"
            made[title] = partial(heads, name, layer, cls, o.points)
        for title, make in made.items():
            if o.only in title:
                functions = make()
                measure(title, functions, max(1, o.repeats // len(functions)))


if __name__ == "__main__":
    main()
