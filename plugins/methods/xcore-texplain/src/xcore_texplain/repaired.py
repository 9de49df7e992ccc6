"""``repaired:DIR``: a network that `xcore texplain repair` trained, as a classifier. It is light at import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, Ref, UsageError, digest, file_digest
from xcore.session import fingerprints, make, read_json
from xcore_texplain.repair_options import FIGURES, WEIGHTS

if TYPE_CHECKING:
    from xcore.models import TorchClassifier


def repaired(options: None, directory: str) -> TorchClassifier:
    """The network in a folder such as ``repair/models/seed-0/texplain-word``.

    Raises
    ------
    MissingError
        There is no such network, or what it was trained from is not there.
    UsageError
        The weights do not fit what it was trained from.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from xcore_texplain.networks import head_name, learner

    folder = Path(directory).expanduser()
    about = _about(folder)
    base: Any = make("classifier", _base(about))
    try:
        state = load_file(folder / WEIGHTS)
        biased = f"{head_name(base.model.module, len(base.classes))}.bias" in state
        network = learner(base, about["classes"], 0, bias=biased)
        network.model.module.load_state_dict(state)
    except (RuntimeError, SafetensorError) as error:
        line = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the weights in {directory} do not fit {about['from']['text']}: {line}", "repair it again"
        ) from error
    network.model.module.requires_grad_(False)
    network.remarks = (f"trained from {about['from']['text']} by xcore texplain repair: {about['cure']}",)
    return network


def fingerprint(options: None, directory: str) -> str:
    """Digest of the weights and of what they were trained from."""
    folder = Path(directory).expanduser()
    about = _about(folder)
    return digest([file_digest(folder / WEIGHTS), about["classes"], fingerprints("classifier", [_base(about)])])


def _base(about: Mapping[str, Any]) -> Ref:
    return Ref(about["from"]["text"], about["from"]["options"])


def _about(folder: Path) -> dict[str, Any]:
    if not (folder / FIGURES).is_file() or not (folder / WEIGHTS).is_file():
        raise MissingError(
            f"{str(folder)!r} holds no network of a repair", "name a folder such as repair/models/seed-0/texplain-word"
        )
    return read_json(folder / FIGURES, ("classes", "from", "cure"))
