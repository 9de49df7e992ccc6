"""Do the sparse autoencoders of `lens` find a dictionary that is known?

Rows are sums of a few of 128 incoherent atoms in 64 channels, with codes from 0.5 to 1.5. For each kind of autoencoder
the table says how near its atoms come to the planted ones (recovery: the mean over planted atoms of the largest
cosine), how much of the variance it explains, how many atoms are active in rows that it was trained on and in new ones,
which share of its atoms is never active, and how alike the atoms of two seeds are (matched one to one).

    python benchmarks/dictionaries.py
    python benchmarks/dictionaries.py --kinds topk --rows 50000 --epochs 20
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from xcore_lens.extract import agreement
from xcore_lens.options import SaeOptions, Trained
from xcore_lens.saes import Sae, Spread
from xcore_lens.training import Figures, figures, train

KINDS: tuple[Trained, ...] = ("topk", "batch-topk", "jumprelu", "archetypal")
CHANNELS, ATOMS, ACTIVE = 64, 128, 4


def planted(rows: int, atoms: Tensor, seed: int) -> Tensor:
    """Rows (n, C) that are sums of `ACTIVE` of the atoms each."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.rand(rows, len(atoms), generator=generator).topk(ACTIVE, 1).indices
    sizes = 0.5 + torch.rand(rows, ACTIVE, generator=generator)
    return torch.zeros(rows, len(atoms)).scatter(1, which, sizes) @ atoms


def trained(kind: Trained, x: Tensor, epochs: int, seed: int) -> tuple[Sae, Figures, float]:
    """A trained autoencoder, its figures, and the seconds that it took."""
    o = SaeOptions(sae_atoms=ATOMS, sae_active=ACTIVE, sae_epochs=epochs, sae_seed=seed)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        sae, found = train(kind, x, o, Path(work), lambda at, total, note="": None)
    return sae, found, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of autoencoders, separated by commas")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--one-seed", action="store_true", help="train each once, without the likeness of two seeds")
    args = parser.parse_args()
    atoms = normalize(torch.randn(ATOMS, CHANNELS, generator=torch.Generator().manual_seed(0)), dim=1)
    rows = planted(args.rows, atoms, 1)
    spread = Spread.of(rows)
    x, unseen = spread(rows), spread(planted(args.rows // 5, atoms, 2))
    print("| kind | recovery | R2 | active | active, new rows | dead | two seeds | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in KINDS:
        if kind not in args.kinds.split(","):
            continue
        sae, found, seconds = trained(kind, x, args.epochs, 0)
        recovery = float((sae.atoms() @ atoms.T).max(0).values.mean())
        alike = "-"
        if not args.one_seed:
            other = trained(kind, x, args.epochs, 1)[0]
            alike = f"{agreement(sae.atoms().double().numpy(), other.atoms().double().numpy()):.3f}"
        new = figures(sae, unseen).l0
        print(
            f"| {kind} | {recovery:.3f} | {found.r2:.3f} | {found.l0:.2f} | {new:.2f} | {found.dead:.3f} | {alike} | "
            f"{seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
