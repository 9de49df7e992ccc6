"""Where a sparse autoencoder lies, and in which files. Imports no torch, so that the card may use it."""

from __future__ import annotations

from pathlib import Path

from xcore.contract import MissingError, digest, file_digest
from xcore.pretrained.hub import from_hub

WEIGHTS = "sae.safetensors"
CONFIG = "config.json"
CONFIGS = (CONFIG, "cfg.json")
"""How the file is called that says the kind: in our folders, and in those of SAELens."""
PATTERNS = ["*.safetensors", *CONFIGS]


def find_folder(reference: str) -> Path:
    """The folder of a sparse autoencoder: a local one, or one of the hub, which is downloaded if it is not cached.

    Raises
    ------
    MissingError, UsageError
        There is no such folder, the hub cannot be reached, or the reference is no hub id.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return folder
    if reference.startswith((".", "/", "~")) or reference.count("/") != 1:
        raise MissingError(
            f"no folder {reference!r} with a sparse autoencoder", "set lens.sae to a folder, or to ORG/MODEL on the hub"
        )
    return from_hub(reference, PATTERNS, lacking, "ORG/MODEL", "set lens.sae to a folder")


def fingerprint(reference: str) -> str:
    """Digest of the files of a sparse autoencoder."""
    folder = find_folder(reference)
    files = [path for path in (config_file(folder), weights_file(folder)) if path is not None]
    return digest([(path.name, file_digest(path)) for path in files])


def config_file(folder: Path) -> Path | None:
    """The file that says the kind; None if there is none."""
    return next((folder / name for name in CONFIGS if (folder / name).is_file()), None)


def weights_file(folder: Path) -> Path | None:
    """The file of the weights: ours, or the only one in safetensors; None if there is none."""
    found = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(folder.glob("*.safetensors"))
    return found[0] if len(found) == 1 else None


def lacking(folder: Path) -> str:
    """What a folder lacks of a sparse autoencoder, or an empty string."""
    if config_file(folder) is None:
        return " or ".join(CONFIGS)
    return "" if weights_file(folder) else f"{WEIGHTS}, or one other file in safetensors"
