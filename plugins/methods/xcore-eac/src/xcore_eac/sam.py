"""Segment Anything models as segmenters, by the mask generation of transformers. Imports no torch before use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcore.contract import MissingError, UsageError, digest
from xcore.models import device
from xcore.pretrained.hub import directory_digest, model_directory
from xcore_eac.options import SamOptions
from xcore_eac.plugin import SAM

if TYPE_CHECKING:
    from torch import Tensor

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""The file of the image processor has one of these names, depending on the version of transformers that wrote it."""


def directory_of(name: str) -> Path:
    """The directory of a model: a folder that `save_pretrained` wrote, or a hub id that is cached or fetched.

    Raises
    ------
    MissingError
        The model, one of its files, or the library that would fetch it is missing.
    UsageError
        The name is neither a folder nor a hub id.
    """
    try:
        directory = model_directory(name)
    except ImportError as error:
        raise MissingError(
            f"models of the hub need the package {error.name}", "install it with: pip install 'xcore-eac[sam]'"
        ) from error
    if not any((directory / p).is_file() for p in PROCESSORS):
        raise MissingError(
            f"model directory {str(directory)!r} lacks {PROCESSORS[0]}",
            "write it there with the processor's save_pretrained",
        )
    return directory


def fingerprint(options: SamOptions, argument: str | None) -> str:
    """Hex digest of the files that would be loaded, and of the options that change masks."""
    plain = options.model_dump(mode="json", exclude={"device", "points_per_batch"})
    return digest([directory_digest(directory_of(argument or SAM)), plain])


def segmenter(options: SamOptions | None, argument: str | None = None) -> Sam:
    """The segmenter of a hub id or directory; None = `facebook/sam-vit-huge`, as in the paper."""
    return Sam(argument or SAM, options)


class Sam:
    """Masks of a Segment Anything model (role ``segmenter``), best predicted quality first; they may overlap.

    Parameters
    ----------
    name
        ``ORG/MODEL``, ``ORG/MODEL@REVISION`` or a directory that `save_pretrained` wrote.
    options
        Options of the automatic mask generation.

    Raises
    ------
    MissingError
        The directory or model does not exist, or one of its files or transformers is missing.
    UsageError
        The model is not of the Segment Anything family.

    References
    ----------
    Kirillov et al., Segment Anything, ICCV 2023.
    """

    def __init__(self, name: str, options: SamOptions | None = None) -> None:
        self.name, self.options = name, options or SamOptions()
        try:
            import torch
            from transformers import AutoImageProcessor, AutoModelForMaskGeneration, pipeline
            from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING_NAMES as FAMILY
        except ImportError as error:
            raise MissingError(
                f"the segmenter sam needs transformers: {error}", "install it with: pip install 'xcore-eac[sam]'"
            ) from error
        directory = directory_of(name)
        try:
            kind = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
        except ValueError as error:
            raise UsageError(
                f"{str(directory / 'config.json')!r} is not JSON: {error}", "save the model again with save_pretrained"
            ) from error
        if kind not in FAMILY:
            raise UsageError(
                f"{name!r} is a model of type {kind!r}, not one that makes masks",
                f"name a model of one of these types: {', '.join(FAMILY)}",
            )
        how = {"local_files_only": True, "trust_remote_code": False}
        model = AutoModelForMaskGeneration.from_pretrained(directory, use_safetensors=True, **how)
        processor = AutoImageProcessor.from_pretrained(directory, **how)
        self._generate: Any = pipeline(
            "mask-generation",
            model=model.eval().requires_grad_(False),
            image_processor=processor,
            device=torch.device(self.options.device or device.current()),
        )

    def segment(self, image: Tensor) -> Tensor:
        """Masks (n, H, W) bool of an image (3, H, W) in [0, 1]; none (0, H, W) where no mask passes the thresholds."""
        import numpy as np
        import torch
        from PIL import Image

        o = self.options
        pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # the pipeline's loader draws a random number
            made = self._generate(
                Image.fromarray(pixels),
                points_per_batch=o.points_per_batch,
                points_per_crop=o.points_per_side,
                pred_iou_thresh=o.pred_iou_thresh,
                stability_score_thresh=o.stability_score_thresh,
                stability_score_offset=o.stability_score_offset,
                mask_threshold=o.mask_threshold,
                crops_nms_thresh=o.box_nms_thresh,
                crops_n_layers=o.crop_n_layers,
                crop_overlap_ratio=o.crop_overlap_ratio,
                crop_n_points_downscale_factor=o.crop_n_points_downscale_factor,
            )
        masks = [torch.as_tensor(np.asarray(mask), dtype=torch.bool) for mask in made["masks"]]
        if not masks:
            return torch.zeros(0, *image.shape[-2:], dtype=torch.bool)
        best_first = torch.as_tensor(made["scores"]).cpu().argsort(descending=True, stable=True)
        return torch.stack(masks)[best_first]
