"""Image embedders give what a network's classification head reads, and their names say what their weights are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from xcore_vision import fingerprint, weights
from xcore_vision.embedders import hf_embedder, timm_embedder, torchvision_embedder
from xcore_vision.hf import hf_classifier
from xcore_vision.options import ClassifierOptions, EmbedderOptions, HubOptions, ZooOptions
from xcore_vision.zoo import bare_timm, timm_classifier, torchvision_classifier

from xcore.contract import MissingError, Ref, Samples, UsageError
from xcore.registry import Registry

Images = Callable[..., Samples]
RANDOM = EmbedderOptions(pretrained=False, seed=3)
VIT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT |= {"image_size": 32, "patch_size": 8}


def save(folder: Path, model: Any, processor: Any = None) -> str:
    model.eval().save_pretrained(folder)
    (processor or transformers.ViTImageProcessor(size={"height": 32, "width": 32})).save_pretrained(folder)
    return str(folder)


def seeded(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


@pytest.mark.parametrize("model", ["resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_timm_gives_what_its_head_reads(model: str, images: Images) -> None:
    seen = images(2, 260, 240)
    classifier = timm_classifier(ZooOptions(pretrained=False, seed=3), model)
    made = timm_embedder(RANDOM, model)
    bare: Any = bare_timm(model, {"num_classes": 0}, 3).eval()
    classifier.model.module.load_state_dict(bare.state_dict(), strict=False)  # but for the head
    features = made.embed(seen)
    with torch.no_grad():
        logits = classifier.model.module.get_classifier()(features)
    x = Samples("image", classifier_input(classifier, seen), seen.ids)
    torch.testing.assert_close(logits, classifier.logits(x), atol=1e-4, rtol=1e-4)
    assert made.name == f"timm:{model} (random weights)"


def classifier_input(classifier: Any, seen: Samples) -> torch.Tensor:
    from xcore.inputs.images import framed

    return framed(seen.images, classifier.framing)


@pytest.mark.parametrize(("model", "width"), [("resnet50", 2048), ("googlenet", 1024), ("convnext_tiny", 768)])
def test_torchvision_gives_what_its_last_linear_layer_reads(model: str, width: int, images: Images) -> None:
    seen = images(1, 224, 224)
    features = torchvision_embedder(RANDOM, model).embed(seen)
    assert features.shape == (1, width)
    classifier = torchvision_classifier(ZooOptions(pretrained=False, seed=3), model)
    head = [m for m in classifier.model.module.modules() if isinstance(m, nn.Linear)][-1]
    torch.testing.assert_close(head(features).detach(), classifier.logits(seen), atol=1e-4, rtol=1e-4)
    if model == "resnet50":
        assert bool((features >= 0).all())  # pooled after the last ReLU: what RCS and RED are taken over


def test_a_checkpoint_may_have_a_head_of_other_classes(tmp_path: Path, images: Images) -> None:
    path = tmp_path / "w.safetensors"
    for embed, model, head in ((timm_embedder, "resnet10t", "fc"), (torchvision_embedder, "resnet18", "fc")):
        source = embed(RANDOM, model)
        own = {k: v.clone() for k, v in source._module.state_dict().items()}
        save_file({**own, f"{head}.weight": torch.zeros(5, 512), f"{head}.bias": torch.zeros(5)}, path)
        read = embed(EmbedderOptions(checkpoint=str(path)), model)
        assert torch.equal(read.embed(images(2)), source.embed(images(2)))
        assert read.name.endswith(f":{model} ({path})")
        with pytest.raises(UsageError, match=r"unexpected tensor|lacks"):
            embed(EmbedderOptions(checkpoint=str(path)), "resnet26" if embed is timm_embedder else "resnet34")


def test_networks_without_pooled_features_are_refused() -> None:
    with pytest.raises(UsageError, match="torchvision:squeezenet1_1 does not end in a linear layer"):
        torchvision_embedder(RANDOM, "squeezenet1_1")
    with pytest.raises(UsageError, match=r"write timm:resnet50\.IMAGENET1K_V1"):
        timm_embedder(EmbedderOptions(weights="IMAGENET1K_V1"), "resnet50")
    with pytest.raises(UsageError, match="did you mean 'IMAGENET1K_V1'"):
        torchvision_embedder(EmbedderOptions(weights="IMAGENET_V1"), "resnet50")


def test_weights_that_are_not_there_are_told_of_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    with pytest.raises(
        MissingError, match=r"run `hf download timm/resnet50\.tv_in1k model\.safetensors` .*image-embedder\.checkpoint="
    ):
        fingerprint.timm_embedder(EmbedderOptions(), "resnet50.tv_in1k")
    with pytest.raises(MissingError, match=r"resnet50-0676ba61\.pth cannot be reached \(run `curl "):
        fingerprint.torchvision_embedder(EmbedderOptions(weights="IMAGENET1K_V1"), "resnet50")
    one = fingerprint.timm_embedder(RANDOM, "resnet10t")
    assert one == fingerprint.timm_embedder(RANDOM, "resnet10t") != fingerprint.timm_embedder(RANDOM, "resnet18")


def test_hf_gives_what_the_head_of_a_classifier_reads(tmp_path: Path, images: Images) -> None:
    nets = {
        "vit": transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, num_labels=4)),
        "resnet": transformers.ResNetForImageClassification(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 12], depths=[1, 1, 1, 1], num_labels=4)
        ),
    }
    for name, net in nets.items():
        folder = save(tmp_path / name, net)
        seen = images(3, 50, 71)
        features = hf_embedder(HubOptions(batch_size=2), folder).embed(seen)
        classifier = hf_classifier(ClassifierOptions(), folder)
        x = Samples("image", classifier_input(classifier, seen), seen.ids)
        head = net.classifier if name == "vit" else net.classifier[-1]
        torch.testing.assert_close(head(features).detach(), classifier.logits(x), atol=1e-5, rtol=1e-4)


def test_hf_takes_the_class_token_where_the_pooler_was_not_trained(tmp_path: Path, images: Images) -> None:
    with_pooler = seeded(lambda: transformers.ViTModel(transformers.ViTConfig(**VIT)))
    seen = images(2, 32, 32)
    pixels = (seen.images.mul(255).round() / 255 - 0.5) / 0.5
    with torch.no_grad():
        output = with_pooler(pixels)
    folder = save(tmp_path, with_pooler)
    torch.testing.assert_close(hf_embedder(HubOptions(), folder).embed(seen), output.pooler_output, atol=1e-5, rtol=0)
    without = seeded(lambda: transformers.ViTModel(transformers.ViTConfig(**VIT), add_pooling_layer=False))
    without.load_state_dict(with_pooler.state_dict(), strict=False)
    folder = save(tmp_path, without)
    token = output.last_hidden_state[:, 0]
    torch.testing.assert_close(hf_embedder(HubOptions(), folder).embed(seen), token, atol=1e-5, rtol=0)


def test_hf_names_the_reference_of_an_image_text_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=f"is an image-text model, clip \\(write clip:{tmp_path}\\)"):
        hf_embedder(HubOptions(), str(tmp_path))


def test_their_cards(registry: Registry) -> None:
    for ref in ("timm:resnet50.tv_in1k", "torchvision:resnet50", "hf:facebook/dinov2-base", "clip:openai/x"):
        assert "image-embedder" in registry.find_model("image-embedder", ref).roles
    with pytest.raises(UsageError, match="unknown key of model 'timm': 'classes'"):
        registry.options("model", Ref("timm:resnet18", {"classes": "a,b"}))
