"""The small residual network of the classifiers and of the image features, which keeps maps of 8 x 8.

It is the network that timm makes of `ARCHITECTURE` and `SETTINGS`, down to the names of its modules, the numbers that
an untrained one draws and the last bit of its results. It is written out here because importing timm takes as long as
importing torch, and every command on the painted world would wait for it. Other architectures are built by timm.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

ARCHITECTURE = "resnet18"
SETTINGS: dict[str, Any] = {
    "layers": (1, 1, 1, 1),
    "channels": (24, 48, 64, 96),
    "stem_type": "deep",
    "stem_width": 12,
    "output_stride": 8,
}


class Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut (He et al., Deep Residual Learning, 2016, section 3.3)."""

    def __init__(self, inputs: int, width: int, stride: int, dilations: tuple[int, int], shortcut: nn.Module | None):
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        # timm's blocks may drop activations and blur maps here; ours do neither, and the layers keep their names.
        self.drop_block = nn.Identity()
        self.act1 = nn.ReLU(inplace=True)
        self.aa = nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, padding=second, dilation=second, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, inputs, h, w) as maps (n, width, h / stride, w / stride)."""
        out = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(x)))))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.act2(out)  # type: ignore[no-any-return]


class Pool(nn.Module):
    """The mean over the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, c, h, w) as vectors (n, c)."""
        return self.flatten(self.pool(x))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A stem of three convolutions, four stages of one block each, and a linear layer over the means.

    The stem divides the size by 4 and the second stage by 2 more. The stages after it keep the size and space their
    kernels out instead, by 2 and then by 4 positions.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        stem, channels = SETTINGS["stem_width"], SETTINGS["channels"]
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, stem, 3, 1, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, 2 * stem, 3, 1, 1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(2 * stem)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, stages = 2 * stem, list[nn.Module]()
        for width, stride, dilations in zip(channels, (1, 2, 1, 1), ((1, 1), (1, 1), (1, 2), (2, 4)), strict=True):
            shortcut: nn.Module | None = None
            if stride != 1 or inputs != width:
                shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            stages.append(nn.Sequential(Block(inputs, width, stride, dilations, shortcut)))
            inputs = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.global_pool = Pool()
        self.fc = nn.Linear(inputs, outputs) if outputs else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Block):
                nn.init.zeros_(module.bn2.weight)  # a new block passes its input through

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (n, 3, h, w) as logits (n, outputs), or as features (n, 96) where there are no outputs."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.global_pool(x))  # type: ignore[no-any-return]


def build(outputs: int, architecture: str = ARCHITECTURE, **settings: Any) -> nn.Module:
    """An untrained network with this number of outputs; without `settings` it is the small ResNet."""
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in (settings or SETTINGS).items()}
    if (architecture, kwargs) == (ARCHITECTURE, SETTINGS):
        return ResNet(outputs)
    import timm

    model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=outputs, **kwargs)
    return model
