"""Published weights: they come from the local cache or are downloaded; if neither works, this fails without delay.

Nothing is unpickled.
"""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from xcore.contract import MissingError, UsageError
from xcore.pretrained.hub import may_fetch
from xcore.pretrained.loading import variable

CHECKPOINT = ("state_dict", "model_state_dict", "model", "model_state", "net", "weights", "params")
"""Entries of a checkpoint that may hold its weights, the usual one first."""
CODE = "a file of whole objects runs code when it is read"


def safe_loading() -> AbstractContextManager[None]:
    """Make `torch.load` read tensors only, even where a loader calls it without ``weights_only``."""
    return variable("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")


def reachable(url: str, seconds: float = 3.0) -> bool:
    """Whether a server answers within so many seconds, however slow the name lookup is; no if it must not be asked."""
    if not may_fetch():
        return False
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
    why = f" and {url} cannot be reached" if may_fetch() else ""
    return MissingError(
        f"the weights of {model} are not in {cache}{why}",
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
        name = url.rpartition("/")[2]
        raise cannot_fetch(model, url, str(folder), f"run `curl --create-dirs -Lo {folder / name} {url}`", owner)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of a file that `torch.save` wrote, of which nothing is unpickled.

    Of a checkpoint, a dictionary that holds the weights beside other things, the weights are taken.

    Raises
    ------
    UsageError
        It is another kind of file, needs unpickling, or holds no weights.
    """
    if is_torch_file(path):
        return _weights_in(_load(path), path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        hint = "save the weights with safetensors, or with torch.save(model.state_dict(), PATH)"
        if path.suffix == ".onnx":
            hint = (
                "xcore reads no ONNX; name the torch network that it was made from, or a function: python:MODULE:NAME"
            )
        raise UsageError(f"{path} is not a safetensors file: {error}", hint) from error
    return tensors


def is_torch_file(path: Path) -> bool:
    """Whether `torch.save` wrote a file: it is an archive, or begins as a pickle does."""
    with path.open("rb") as opened:
        start = opened.read(2)
    return start in (b"PK", b"\x80\x02")


def _load(path: Path) -> Any:
    converted = path.with_suffix(".weights.pth")
    convert = (
        f'if you trust the file, run where its code is: python -c "import torch; '
        f"m = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        "m = m if hasattr(m, 'state_dict') else m.get('state_dict', m.get('model', m)); "
        f"torch.save(getattr(m, 'state_dict', lambda: m)(), {str(converted)!r})\""
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of archives that torch.jit wrote
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        holds = f"holds an object of the type {found.group(1)}" if found else "holds more than tensors"
        raise UsageError(f"{path} {holds}, and xcore never unpickles: {CODE}", convert) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "TorchScript" in str(error):
            line = f"import torch; torch.save(torch.jit.load({str(path)!r}).state_dict(), {str(converted)!r})"
            raise UsageError(
                f"{path} holds a module that torch.jit saved, and not weights alone",
                f'write its weights, if you trust it: python -c "{line}"',
            ) from error
        raise UsageError(f"{path} cannot be read as tensors: {reason}", "write it again with torch.save") from error


def _weights_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The weights in what a file holds: all of it, or an entry of a checkpoint."""
    if _are_weights(content):
        return dict(content)
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} holds a {type(content).__name__}, not weights", "save model.state_dict()")
    for key in CHECKPOINT:
        if _are_weights(content.get(key)):
            return dict(content[key])
    raise UsageError(
        f"{path} holds no weights by a usual name, but {', '.join(map(str, [*content][:8]))}",
        f"save the weights alone, or as the entry {CHECKPOINT[0]!r}",
    )


def _are_weights(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(v, Tensor) for v in content.values())


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], where: str, without: Sequence[str] = ()) -> list[str]:
    """Copy tensors into a module by name; those of its parts `without` are not read.

    A beginning that all names of the module have in the file, such as ``module.`` or ``model.``, is left out.

    Returns
    -------
    What of the file was not read, one line each.

    Raises
    ------
    UsageError
        A tensor does not fit: it is named, with the nearest name in the file. Or several sets of weights do.
    """
    own = module.state_dict()
    tensors, notes = _without_prefix(tensors, own, where)
    dropped = tuple(f"{name}." for name in without)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(dropped)}
    counts = {k: v for k, v in own.items() if k.endswith("num_batches_tracked") and k not in tensors}
    tensors = {**tensors, **counts}  # older files lack them, and they have no effect
    lists: Sequence[tuple[str, list[str]]] = (
        ("lacks", [k for k in own if k not in tensors]),
        ("has the unexpected tensor", [k for k in tensors if k not in own]),
        ("has another shape for", [k for k in own if k in tensors and own[k].shape != tensors[k].shape]),
    )
    for what, names in lists:
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            shapes = f": {tuple(tensors[names[0]].shape)}, not {tuple(own[names[0]].shape)}" if "shape" in what else ""
            near = get_close_matches(names[0], [k for k in tensors if k not in own], 1) if what == "lacks" else []
            nearest = f", nearest is {near[0]!r}" if near else ""
            hint = f"it belongs to another architecture than {type(module).__name__}, or to another number of classes"
            raise UsageError(f"{where} {what} {names[0]!r}{more}{shapes}{nearest}", hint)
    module.load_state_dict(dict(tensors))
    return notes


def _without_prefix(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names of the module, and what was left out."""
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    if not wanted or any(name in tensors for name in wanted):
        return dict(tensors), []
    prefixes = [name.removesuffix(wanted[0]) for name in tensors if name.endswith(f".{wanted[0]}")]
    fitting = [prefix for prefix in prefixes if all(prefix + name in tensors for name in wanted)]
    if not fitting:
        return dict(tensors), []
    if len(fitting) > 1:
        raise UsageError(
            f"{where} holds several sets of weights: {', '.join(fitting)}", "save the one that is meant alone"
        )
    (prefix,) = fitting
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    others = [name for name in tensors if not name.startswith(prefix)]
    if not others:
        return inside, []
    number = "1 tensor" if len(others) == 1 else f"{len(others)} tensors"
    return inside, [f"{number} of {where} without {prefix!r} before its name was not read, first {others[0]!r}"]
