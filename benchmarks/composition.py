"""Are concepts the parts of which embeddings are composed? CCE beside NMF: `python benchmarks/composition.py`.

    python benchmarks/composition.py                  # worlds that are sums of attributes, seeds 100 to 105
    python benchmarks/composition.py --seeds 0-9      # those on which the settings of CCE were chosen
    python benchmarks/composition.py --networks       # the embeddings of networks: minizoo/clean and minizoo/vit

A world has two to four attributes with three to five values each, in random directions, and noise; nothing of that is
told to the methods, but NMF is given as many concepts as CCE finds. *purity* is the share of the concepts of a subspace
that are most like values of one attribute, *match* the cosine of a value with the concept that is most like it (means).
The *residual* is what a sum of an embedding's concepts misses of it, as a share of its length; the concepts of NMF and
semi-NMF are as many for each embedding as CCE has attributes, those with the largest codes. *truth* is the residual of
the true directions: the noise. Of networks the concepts are found on training images, the residual is of held-out ones.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from xcore_cce.options import Options
from xcore_cce.subspaces import Subspace, compose, effects, find_subspaces, present, search_of
from xcore_cce.testing import World, drawn_world, match, purity
from xcore_craft.activations import split_at
from xcore_craft.every_class import images_of_every_class
from xcore_craft.factorise import Factors, factorise, factorise_signed, nnls
from xcore_lens.layer import penultimate_layer

from xcore.contract import Ref, Samples
from xcore.models.codes import rows_of
from xcore.registry import load_registry

ITERATIONS, TOLERANCE = 300, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="100-105", help="first and last seed of the worlds")
    parser.add_argument("--networks", action="store_true", help="measure networks instead of worlds")
    parser.add_argument("--search", default="discriminant", help="option of CCE: discriminant or gradient")
    arguments = parser.parse_args()
    options = Options(search=arguments.search)
    if arguments.networks:
        print("| network | attributes | joint | orthogonal | NMF | semi-NMF | seconds |\n|---|---|---|---|---|---|---|")
        for name in ("minizoo/clean", "minizoo/vit"):
            print(_network(name, options), flush=True)
        return
    first, last = map(int, arguments.seeds.split("-"))
    print("| seed | world | found | purity | match | joint match | residual | joint | NMF | semi-NMF | truth | s |")
    print("|---" * 12 + "|")
    rows = [_world(seed, options) for seed in range(first, last + 1)]
    print(f"| | mean | | {' | '.join(f'{sum(column) / len(rows):.2f}' for column in zip(*rows, strict=True))} |")


def _world(seed: int, options: Options) -> Sequence[float]:
    made, start = drawn_world(seed), time.perf_counter()
    subspaces = _subspaces(made.z, options)
    seconds = time.perf_counter() - start
    if not subspaces:
        print(f"| {seed} | {made.made_of} | nothing |", flush=True)
        return [0.0] * 9
    joint, (nmf, semi) = effects(made.z, subspaces), _factors(made.z, sum(len(s.concepts) for s in subspaces))
    figures = [
        sum(purity(made, s.concepts) for s in subspaces) / len(subspaces),
        match(made, _concepts(subspaces)),
        match(made, _concepts(joint)),
        _residual(made.z, _concepts(subspaces), present(subspaces, made.z), made.z),
        _residual(made.z, _concepts(joint), present(joint, made.z), made.z),
        *_by_factors(made.z, made.z, (nmf, semi), len(subspaces)),
        _truth(made),
        seconds,
    ]
    found = " x ".join(str(len(s.concepts)) for s in subspaces)
    print(f"| {seed} | {made.made_of} | {found} | {' | '.join(f'{x:.2f}' for x in figures)} |", flush=True)
    return figures


def _network(name: str, options: Options) -> str:
    registry = load_registry()
    classifier, data = registry.create("classifier", Ref(name)), registry.create("dataset", Ref("minizoo"))
    images, _ = images_of_every_class(data, options.images, 0, "cce")
    layer = penultimate_layer(classifier, images.take(range(4)))[0]
    split = split_at(classifier, layer, images)
    held = Samples.concat([data.samples(cls, "heldout", 40, 1) for cls in data.classes])

    def embed(samples: Samples) -> Tensor:
        return split.read(rows_of(split.probe.activations(samples), split.probe.layout)).mean(1).double()

    train, new = embed(images), embed(held)
    z, other, start = train - train.mean(0), new - train.mean(0), time.perf_counter()
    subspaces = _subspaces(z, options)
    seconds = time.perf_counter() - start
    joint, factors = effects(z, subspaces), _factors(z, sum(len(s.concepts) for s in subspaces))
    figures = [
        _residual(other, _concepts(joint), present(joint, other), other),
        _residual(other, _concepts(subspaces), present(subspaces, other), other),
        *_by_factors(z, other, factors, len(subspaces)),
        seconds,
    ]
    found = ", ".join(f"{len(s.concepts)} ({s.silhouette:.2f})" for s in subspaces)
    return f"| {name}, `{layer}` | {found} | {' | '.join(f'{x:.2f}' for x in figures)} |"


def _subspaces(z: Tensor, options: Options) -> list[Subspace]:
    o = options
    return find_subspaces(
        z, o.subspaces, range(2, o.most + 1), search_of(o), slack=o.slack, least=o.least, seed=0
    )  # fmt: skip


def _concepts(subspaces: Sequence[Subspace]) -> Tensor:
    return torch.cat([s.concepts for s in subspaces])


def _factors(z: Tensor, k: int) -> tuple[Factors, Factors]:
    """NMF of the embeddings, moved up to be positive, and semi-NMF of the embeddings as they are."""
    k = min(k, *z.shape)
    moved = (z - z.amin(0)).numpy()
    return factorise(moved, k, 0, ITERATIONS, TOLERANCE), factorise_signed(z.numpy(), k, 0, ITERATIONS, TOLERANCE)


def _by_factors(z: Tensor, new: Tensor, factors: tuple[Factors, Factors], each: int) -> list[float]:
    """Residuals of new embeddings by the atoms of NMF and of semi-NMF that have the largest codes."""
    residuals = []
    for made, moved in zip(factors, ((new - z.amin(0)).clamp_min(0), new), strict=True):
        codes = torch.from_numpy(nnls(moved.numpy(), made.atoms))
        members = torch.zeros(codes.shape, dtype=torch.bool).scatter_(1, codes.topk(each, 1).indices, True)
        residuals.append(_residual(moved, torch.from_numpy(made.atoms), members, new))
    return residuals


def _residual(z: Tensor, concepts: Tensor, members: Tensor, centred: Tensor) -> float:
    return float(compose(z, concepts, members)[1].mean() / centred.norm(dim=1).mean())


def _truth(made: World) -> float:
    return _residual(made.z, made.directions, made.members, made.z)


if __name__ == "__main__":
    main()
