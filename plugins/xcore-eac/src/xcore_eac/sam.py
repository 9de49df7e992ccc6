"""Segment Anything models as segmenters: automatic mask generation by transformers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcore import device
from xcore.errors import MissingError, UsageError
from xcore_eac.files import found
from xcore_eac.options import SamOptions
from xcore_eac.plugin import SAM


def segmenter(options: SamOptions | None, argument: str | None = None) -> Sam:
    """The segmenter of a hub id or directory; none = `facebook/sam-vit-huge`."""
    return Sam(argument or SAM, options)


class Sam:
    """Masks of a Segment Anything model (role ``segmenter``), best predicted quality first; they may overlap.

    Parameters
    ----------
    name
        ``ORG/MODEL``, ``ORG/MODEL@REVISION`` or a directory that `save_pretrained` wrote.
    options
        Of the automatic mask generation.

    Raises
    ------
    MissingError
        No such directory or model, a file of it, or transformers is missing.
    UsageError
        The model is not of the Segment Anything family.
    """

    def __init__(self, name: str, options: SamOptions | None = None) -> None:
        self.name, self.options = name, options or SamOptions()
        try:
            from transformers import AutoImageProcessor, AutoModelForMaskGeneration, pipeline
            from transformers.models.auto.modeling_auto import MODEL_FOR_MASK_GENERATION_MAPPING_NAMES as FAMILY
        except ImportError as error:
            raise MissingError(f"segmenter sam needs transformers: {error}", "pip install 'xcore-eac[sam]'") from error
        directory = found(name)
        try:
            kind = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
        except ValueError as error:
            raise UsageError(f"{str(directory / 'config.json')!r} is not JSON: {error}") from error
        if kind not in FAMILY:
            raise UsageError(
                f"{name!r} is a model of type {kind!r}, not one that makes masks", f"known: {', '.join(FAMILY)}"
            )
        model = AutoModelForMaskGeneration.from_pretrained(directory, use_safetensors=True, local_files_only=True)
        processor = AutoImageProcessor.from_pretrained(directory, local_files_only=True)
        self._generate: Any = pipeline(
            "mask-generation",
            model=model.eval().requires_grad_(False),
            image_processor=processor,
            device=torch.device(self.options.device or device.current()),
        )

    def segment(self, image: Tensor) -> Tensor:
        """Masks (n, H, W) bool of an image (3, H, W) in [0, 1]; none (0, H, W) where no mask is good enough."""
        from PIL import Image

        o = self.options
        pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # the pipeline's loader draws a number
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
