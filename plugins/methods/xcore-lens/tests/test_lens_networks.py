"""Networks of kinds in common use: transformers with GELU, grouped and depthwise convolutions, dense blocks."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn
from xcore_lens.lens import Lens
from xcore_lens.options import Options

from xcore.contract import Samples, UsageError


def grouped():
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1, groups=3),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1, groups=4),
        nn.ReLU6(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def vit():
    return timm.models.vision_transformer.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=48, depth=2, num_heads=3, num_classes=3
    )


NETWORKS = {
    "grouped": (grouped, "5", "NCHW"),
    "vit": (vit, "norm", "NTC"),
    "mobilenet": (lambda: timm.create_model("mobilenetv2_035", num_classes=3), "bn2", "NCHW"),
    "densenet": (lambda: timm.models.densenet.DenseNet(8, (2, 2), num_classes=3), "features", "NCHW"),
    "resnext": (
        lambda: timm.models.resnet.ResNet(
            timm.models.resnet.Bottleneck, (1, 1, 1, 1), num_classes=3, cardinality=4, base_width=4
        ),
        "layer4",
        "NCHW",
    ),
    "convnext": (
        lambda: timm.models.convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), num_classes=3),
        "head.norm",
        "NCHW",
    ),
}


@pytest.fixture
def network_task(task):
    """Makes a task on one of the networks, with random weights and random images."""
    return lambda network, **kwargs: make_network_task(task, network, **kwargs)


def make_network_task(task, network, size=(64, 64), n=6):
    torch.manual_seed(0)
    module = NETWORKS[network][0]()
    with torch.no_grad():  # a random head of some size, so that logits are not all alike
        for p in module.parameters():
            if p.ndim == 2 and p.shape[0] == 3:
                p.normal_()
    images = torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(1))
    made = task(Samples("image", images, tuple(map(str, range(n)))), module=module)
    return replace(made, layer=made.classifier.default_layer)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_penultimate_layer_is_found_and_contributions_add_up(network_task, network):
    t = network_task(network)
    got = Lens(Options(k=3, extractor="semi-nmf", stability=False)).explain(t)
    _, layer, layout = NETWORKS[network]
    assert got.dictionary.layer == layer
    assert t.classifier.open(layer).layout == layout
    assert got.trace[0]["accounted"] == pytest.approx(1, abs=1e-3)
    assert all(c.maps.shape == (6, 64, 64) for c in got.concepts)
    others = [
        Lens(Options(k=3, extractor="semi-nmf", importance=i, stability=False)).explain(t)
        for i in ("integrated-gradients", "occlusion", "shapley")
    ]
    for other in others:
        one, two = ({c.atom: c.importance for c in e.concepts} for e in (got, other))
        assert one == pytest.approx(two, abs=1e-4)


@pytest.mark.parametrize("network", ["vit", "convnext"])
def test_negative_activations_get_semi_nmf_and_a_note(network_task, network):
    t = network_task(network)
    got = Lens(Options(k=3)).explain(t)
    assert got.trace[0]["extractor"] == "semi-nmf"
    assert any("some activations of this layer are negative" in n and "semi-NMF" in n for n in got.notes)
    assert got.dictionary.encoder == "nnls"
    assert Lens(Options(k=3, negative="shift")).explain(t).trace[0]["error"] < 1
    with pytest.raises(UsageError, match="negative activations"):
        Lens(Options(k=3, negative="error")).explain(t)


def test_a_transformer_that_reads_its_class_token_is_explained_by_it(network_task):
    t = network_task("vit")
    got = Lens(Options(k=3)).explain(t)
    assert any("reads nothing but its class token" in note for note in got.notes)
    d, a = got.dictionary, t.classifier.open("norm").activations(t.samples)
    own = (a - d.codes @ d.atoms)[:, 0].norm() / a[:, 0].norm()
    assert got.trace[0]["error"] == pytest.approx(float(own), rel=1e-4)
    assert got.cost.forwards > 6 * 9  # the maps come from crops
    assert all(float(c.maps.flatten(1).std(1).max()) > 0 for c in got.concepts if float(c.maps.max()) > 0)


@pytest.mark.parametrize("extractor", ["pca", "kmeans", "convex-nmf"])
def test_a_transformer_with_the_other_extractors(network_task, extractor):
    got = Lens(Options(k=3, extractor=extractor)).explain(network_task("vit"))
    assert got.dictionary.codes.shape == (6, 17, 3)
    assert len(got.concepts) == 3


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (224, 160), (512, 512)])
def test_grouped_convolutions_at_any_size(network_task, size):
    got = Lens(Options(k=3, stability=False)).explain(network_task("grouped", size=size, n=3))
    assert got.dictionary.layer == "5"
    assert got.concepts[0].maps.shape == (3, *size)
    assert got.trace[0]["accounted"] == pytest.approx(1, abs=1e-3)


def test_a_middle_layer_that_is_no_cut_of_the_graph(network_task):
    t = network_task("resnext")
    for importance in ("gradient-x-input", "shapley"):
        got = Lens(Options(k=3, layer="layer3.0.conv2", extractor="pca", importance=importance)).explain(t)
        assert got.dictionary.layer == "layer3.0.conv2"
        assert len(got.concepts) == 3
