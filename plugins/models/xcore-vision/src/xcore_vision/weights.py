"""Published weights: they come from the local cache or are downloaded; if neither works, this fails without delay.

Nothing is unpickled.
"""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from xcore.contract import MissingError, UsageError


@contextmanager
def safe_loading() -> Iterator[None]:
    """Make `torch.load` read tensors only, even where a loader calls it without ``weights_only``."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def reachable(url: str, seconds: float = 3.0) -> bool:
    """Whether a server answers within so many seconds, however slow the name lookup is."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # a refusal is an answer too
        except (OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + 0.5)
    return bool(answers and answers[0])


def cannot_fetch(model: str, url: str, cache: str, fetch: str, owner: str) -> MissingError:
    """The error for weights that are neither in the cache nor within reach.

    `fetch` says how to get them there, and `owner` is the name in ``--set NAME.OPTION`` of the component that asks.
    """
    return MissingError(
        f"the weights of {model} are not in {cache} and {url} cannot be reached",
        f"{fetch} where there is a network, or {instead_of_published(owner)}",
    )


def instead_of_published(owner: str) -> str:
    """The advice where published weights cannot be had."""
    return f"set {owner}.checkpoint=FILE.safetensors or {owner}.pretrained=false"


def hub_file(model: str, repository: str, owner: str) -> Path | None:
    """The safetensors file of a Hugging Face repository, from the cache or downloaded; None if it has none.

    Raises
    ------
    MissingError
        The file is not in the cache and cannot be downloaded.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    name = "model.safetensors"
    cached = try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return Path(cached)
    url = f"{constants.ENDPOINT}/{repository}"
    if constants.HF_HUB_OFFLINE or not reachable(url):
        raise cannot_fetch(model, url, constants.HF_HUB_CACHE, f"run `hf download {repository} {name}`", owner)
    try:
        return Path(hf_hub_download(repository, name))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise MissingError(
            f"the weights of {model} cannot be downloaded: {str(error).splitlines()[0]}",
            f"check the network, or {instead_of_published(owner)}",
        ) from error


def cached_url(model: str, url: str, owner: str) -> None:
    """Raise `MissingError` unless a file that `torch.hub` loads by address is in its cache or can be downloaded."""
    folder = Path(torch.hub.get_dir(), "checkpoints")
    if not (folder / url.rpartition("/")[2]).is_file() and not reachable(url):
        raise cannot_fetch(model, url, str(folder), "download that file into that folder", owner)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file; raises `UsageError` if it is another kind of file."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} is not a safetensors file: {error}", "save the weights with safetensors") from error
    return tensors


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a module by name; raises `UsageError` that names the first tensor that does not fit."""
    own = module.state_dict()
    lists: Sequence[tuple[str, list[str]]] = (
        ("lacks", [k for k in own if k not in tensors]),
        ("has the unexpected tensor", [k for k in tensors if k not in own]),
        ("has another shape for", [k for k in own if k in tensors and own[k].shape != tensors[k].shape]),
    )
    for what, names in lists:
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            shapes = f": {tuple(tensors[names[0]].shape)}, not {tuple(own[names[0]].shape)}" if "shape" in what else ""
            hint = f"it belongs to another architecture than {type(module).__name__}, or to another number of classes"
            raise UsageError(f"{where} {what} {names[0]!r}{more}{shapes}", hint)
    module.load_state_dict(dict(tensors))
