"""Fine-tuned classifiers on disk: ``tuned:DIR`` opens what they were tuned from and gives it the tuned weights.

The folder has ``tuned.json`` (schema, classifier, options, classes, trained) and ``model.safetensors``. Importing this
module imports no torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, Ref, UsageError, digest, file_digest
from xcore.session import fingerprints, make, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from xcore.models.classifiers import TorchClassifier

SCHEMA = 1
ABOUT, WEIGHTS = "tuned.json", "model.safetensors"
PROVIDER = "tuned"


def save(
    folder: Path, state: Mapping[str, Tensor], base: Ref, classes: Sequence[str], trained: Mapping[str, Any]
) -> None:
    """Write the weights of a fine-tuned classifier, and what it was tuned from.

    Parameters
    ----------
    state
        The state of the whole network.
    base
        What it was tuned from. If that is a fine-tuned classifier, too, the new one needs only what that came from.
    trained
        How it was trained, as plain data.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    provider, _, argument = base.text.partition(":")
    if provider.rpartition("/")[2] == PROVIDER:
        base = _base(_about(Path(argument)))
    elif argument and _is_model(path := Path(argument).expanduser()):
        base = Ref(f"{provider}:{path.resolve()}", base.options)
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in state.items()}, folder / WEIGHTS)
    about = {"schema": SCHEMA, "classifier": base.text, "options": dict(base.options), "classes": list(classes)}
    write_json(folder / ABOUT, {**about, "trained": dict(trained)})


def _is_model(path: Path) -> bool:
    """Whether there is a file or folder of a model; any other may only have the name of one, as resnet50."""
    return path.is_file() or any((path / name).is_file() for name in ("config.json", "model.safetensors"))


def copy_to(folder: Path, out: Path) -> None:
    """Copy a fine-tuned classifier to another folder, whose own is replaced."""
    for name in (WEIGHTS, ABOUT):
        partial = out / f".{name}.partial"
        shutil.copyfile(folder / name, partial)
        partial.replace(out / name)


def tuned(options: None, directory: str) -> TorchClassifier:
    """``tuned:DIR``: the fine-tuned classifier in a folder that `xcore finetune` wrote.

    Raises
    ------
    MissingError
        There is no such folder, or what it was tuned from is not there.
    UsageError
        The weights do not fit what it was tuned from.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(directory).expanduser()
    about = _about(folder)
    classifier: TorchClassifier = make("classifier", _base(about))
    if list(classifier.classes) != about["classes"]:
        raise UsageError(
            f"{about['classifier']} has other classes than when {directory} was tuned from it",
            "fine-tune it again with xcore finetune",
        )
    try:
        state = load_file(folder / WEIGHTS)
        classifier.model.module.load_state_dict(state)
    except (RuntimeError, SafetensorError) as error:
        line = " ".join(str(error).split())
        raise UsageError(
            f"the weights in {directory} do not fit {about['classifier']}: {line[:200]}", "fine-tune it again"
        ) from error
    classifier.remarks = (*classifier.remarks, f"fine-tuned from {about['classifier']}")
    return classifier


def fingerprint(options: None, directory: str) -> str:
    """Digest of the weights and of what they were tuned from."""
    folder = Path(directory).expanduser()
    about = _about(folder)
    return digest([file_digest(folder / WEIGHTS), about["classes"], fingerprints("classifier", [_base(about)])])


def _base(about: Mapping[str, Any]) -> Ref:
    return Ref(about["classifier"], about["options"])


def _about(folder: Path) -> dict[str, Any]:
    if not (folder / ABOUT).is_file() or not (folder / WEIGHTS).is_file():
        raise MissingError(f"{str(folder)!r} holds no fine-tuned classifier", "name the --out folder of xcore finetune")
    return read_json(folder / ABOUT, ("classifier", "options", "classes"))
