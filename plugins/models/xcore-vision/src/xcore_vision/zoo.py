"""Classifiers from timm and torchvision, with the preprocessing and class names of their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import nn

from xcore.contract import MissingError, UsageError, unknown
from xcore.inputs.images import Framing, Interpolation
from xcore.inputs.paths import existing_file
from xcore.models.classifiers import TorchClassifier
from xcore.models.device import current
from xcore_vision import imagenet
from xcore_vision.options import ClassifierOptions, ZooOptions
from xcore_vision.preprocessing import Preprocessing, with_options
from xcore_vision.weights import cached_url, hub_file, instead_of_published, load_into, read_tensors, safe_loading


def timm_classifier(options: ZooOptions, model: str) -> TorchClassifier:
    """``timm:MODEL``: a model of timm by name, with or without a tag: ``resnet50``, ``resnet50.a1_in1k``.

    Raises
    ------
    UsageError
        timm has no such model, or options do not fit it.
    MissingError
        Published weights are asked for and cannot be had.
    """
    refuse_weights(options.weights, model)
    if options.pretrained and options.checkpoint is None:
        module, remarks = published_timm(model, "timm"), list[str]()
    else:
        wanted = {} if options.classes is None else {"num_classes": len(options.classes)}
        module = bare_timm(model, wanted, options.seed)
        remarks = load_checkpoint(module, options.checkpoint)
    known = _timm_names(module.pretrained_cfg) if options.pretrained or options.checkpoint else None
    return assemble(module, options, timm_preprocessing(module), known, int(module.num_classes), "timm", remarks)


def torchvision_classifier(options: ZooOptions, model: str) -> TorchClassifier:
    """``torchvision:MODEL``: a classification model of torchvision, with its default weights unless others are named.

    Raises
    ------
    UsageError
        torchvision has no such model or weights, or options do not fit it.
    MissingError
        Published weights are asked for and cannot be had.
    """
    weights = torchvision_weights(model, options.weights)
    categories = weights.meta["categories"]
    names = imagenet.classes() if imagenet.is_imagenet(categories) else tuple(categories)
    if options.pretrained and options.checkpoint is None:
        width = len(names)
        module, remarks = published_torchvision(model, weights, "torchvision"), list[str]()
    else:
        width = len(options.classes or names)
        module = bare_torchvision(model, {"num_classes": width}, options.seed)
        remarks = load_checkpoint(module, options.checkpoint)
    known = names if options.pretrained or options.checkpoint else None
    return assemble(module, options, torchvision_preprocessing(weights), known, width, "torchvision", remarks)


def timm_weights(model: str, owner: str) -> dict[str, Any]:
    """Where the published weights of a model of timm are, as what changes in its configuration.

    `owner` is the name in ``--set NAME.OPTION`` of the component that asks.

    Raises
    ------
    UsageError
        timm has no such model.
    MissingError
        They are neither in the local cache nor within reach, or there are none.
    """
    _check_timm_name(model)
    import timm

    config = timm.get_pretrained_cfg(model).to_dict()
    if config.get("hf_hub_id"):
        file = hub_file(f"timm:{model}", config["hf_hub_id"], owner)
        return {"file": str(file), "custom_load": False} if file else {}
    if not config.get("url"):
        architecture = model.partition(".")[0]
        raise MissingError(f"timm has no published weights for {architecture!r}", instead_of_published(owner))
    cached_url(f"timm:{model}", config["url"], owner)
    return {}


def torchvision_weights(model: str, name: str | None) -> Any:
    """The published weights of a model of torchvision by name, or its default ones; they are not loaded.

    Raises
    ------
    UsageError
        torchvision has no such model or weights.
    """
    from torchvision import models

    _check_torchvision_name(model)
    choices = models.get_model_weights(model)
    if name is not None and name not in choices.__members__:
        raise unknown(f"weights of torchvision:{model}", name, choices.__members__)
    return choices[name] if name is not None else choices.DEFAULT


def refuse_weights(name: str | None, model: str) -> None:
    """Raise `UsageError` if published weights of a model of timm are named as those of torchvision are."""
    if name is not None:
        raise UsageError(
            "the option weights is for torchvision; timm names weights by a tag",
            f"write timm:{model.partition('.')[0]}.{name}",
        )


def assemble(
    module: nn.Module,
    options: ClassifierOptions,
    preprocessing: Preprocessing,
    known: Sequence[str] | None,
    width: int,
    component: str,
    remarks: Sequence[str] = (),
) -> TorchClassifier:
    """Make the classifier of a module.

    Parameters
    ----------
    module
        The network.
    options
        The options that the user gave.
    preprocessing
        The preprocessing of the model; options change it.
    known
        Names of the classes that the weights were trained on, if they are known. The names are those of the options,
        else these, else ``class 0``, ``class 1`` and so on.
    width
        Number of logits.
    component
        Name of the component, for the hint on how to name classes.
    remarks
        What a reader must know of the weights, one line each.
    """
    preprocessing = with_options(preprocessing, options)
    if options.classes is not None and len(options.classes) != width:
        raise UsageError(
            f"{len(options.classes)} class names are given but the model has {width} classes", "name all of its classes"
        )
    names = options.classes or (known if known is not None and len(known) == width else None)
    made = TorchClassifier(
        module.eval(),
        names or tuple(f"class {i}" for i in range(width)),
        preprocess=preprocessing,
        device=options.device or current(),
        batch_size=options.batch_size,
        framing=preprocessing.framing,
    )
    made.remarks = tuple(remarks)
    if names:
        made.aliases = {**made.aliases, **imagenet.aliases(made.classes)}
    else:
        made.naming = f"name them with --set {component}.classes=a,b,c"
    return made


def published_timm(model: str, owner: str, **arguments: Any) -> Any:
    """Build a module of timm with its published weights; raises as `timm_weights` does."""
    import timm

    overlay = timm_weights(model, owner)
    with torch.random.fork_rng(devices=[]), safe_loading():
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)


def published_torchvision(model: str, weights: Any, owner: str) -> nn.Module:
    """Build a module of torchvision with published weights; raises `MissingError` if they cannot be had.

    `owner` is the name in ``--set NAME.OPTION`` of the component that asks.
    """
    from torchvision import models

    cached_url(f"torchvision:{model}", weights.url, owner)
    with torch.random.fork_rng(devices=[]), safe_loading():
        module: nn.Module = models.get_model(model, weights=weights, progress=False)
    return module


def load_checkpoint(module: nn.Module, checkpoint: str | None, without: Sequence[str] = ()) -> list[str]:
    """Copy the weights of a file into a module, if there is one, but for those of the modules `without`.

    Returns what of the file was not read, one line each.
    """
    if checkpoint is None:
        return []
    path = existing_file(checkpoint, "checkpoint")
    return load_into(module, read_tensors(path), str(path), without)


def bare_torchvision(model: str, arguments: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Build a module of torchvision with random weights; the global random state stays as it was."""
    from torchvision import models

    _check_torchvision_name(model)
    # Without this argument these two print a warning and initialise their weights slowly.
    start = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = models.get_model(model, weights=None, **{**start, **arguments})
    return module


def bare_timm(model: str, arguments: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Build a module of timm with random weights; the global random state stays as it was."""
    _check_timm_name(model)
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = timm.create_model(model, pretrained=False, **arguments)
    return module


def timm_preprocessing(module: nn.Module) -> Preprocessing:
    """The preprocessing that timm's data configuration of the model describes."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(module)
    height, width = config["input_size"][1:]
    framing = Framing(
        size=(height, width),
        resize=math.floor(min(height, width) / config["crop_pct"]),
        interpolation=config["interpolation"] if config["interpolation"] in get_args(Interpolation) else "bilinear",
        whole=config["crop_mode"] == "squash",
    )
    return Preprocessing(framing, tuple(config["mean"]), tuple(config["std"]))


def torchvision_preprocessing(weights: Any) -> Preprocessing:
    """The preprocessing that the transforms of torchvision's weights describe."""
    t = weights.transforms()
    side = t.crop_size[0]
    framing = Framing((side, side), t.resize_size[0], t.interpolation.value)
    return Preprocessing(framing, tuple(t.mean), tuple(t.std))


def _timm_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    if config.get("label_names"):
        return tuple(config["label_names"])
    subset = infer_imagenet_subset(config)
    if subset is None:
        return None
    if subset == "imagenet-1k":
        return imagenet.classes()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(i) for i in range(info.num_classes()))


def _check_timm_name(model: str) -> None:
    """Raise `UsageError` if timm has no model of this name, or no published weights of its tag."""
    import timm

    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise unknown("timm model", model, timm.list_models())
    if tag and model not in (known := timm.list_pretrained(f"{architecture}.*")):
        raise unknown("timm model", model, known)


def _check_torchvision_name(model: str) -> None:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise unknown("torchvision model", model, known)
