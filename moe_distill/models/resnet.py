"""ResNets for small images (arXiv:1512.03385, with a 3 × 3 first convolution and no first pooling)."""

from typing import ClassVar

import torch
from torch import nn

from moe_distill.models.base import Network, Norm, norm_layer, scaled, stem_side
from moe_distill.store.identity import called
from moe_distill.validation.values import Numerics, Width, checked

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut, which is a 1 × 1 convolution wherever the shape changes.

    Args:
        channels: Channels of the input map.
        width: Channels of the output map.
        stride: Of the first convolution and of the shortcut.
        norm: Normalisation, by name.
    """

    def __init__(self, channels: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.norm1 = norm_layer(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = norm_layer(norm, width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut.append(nn.Conv2d(channels, width, 1, stride, bias=False))
            self.shortcut.append(norm_layer(norm, width))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the block's output, (N, width, H / stride, W / stride), halves rounded up."""
        h_NCHW = torch.relu(self.norm1(self.conv1(x_NCHW)))
        return torch.relu(self.norm2(self.conv2(h_NCHW)) + self.shortcut(x_NCHW))


@checked
class ResNet(Network):
    """A ResNet of four stages for small images.

    A first 3 × 3 convolution, four stages of residual blocks, the mean of the last map, and a classifier on
    512 features.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        width: Factor on the published numbers of channels.
        norm: Normalisation, by name.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        InputError: If the size is not supported.
    """

    blocks: ClassVar[int]
    """Residual blocks of a stage."""

    def __init__(
        self,
        channels: int,
        classes: int,
        size: int,
        width: Width = 1.0,
        norm: Norm = "instance",
        numerics: Numerics = "exact",
    ) -> None:
        side, planes = stem_side(channels, size), scaled(WIDTHS[0], width)
        # Stages halve the map while at least 2 × 2 pixels remain, as an instance norm over one value is a
        # constant. A strided convolution rounds a half up, which is why the count starts from side - 1.
        halvings = (side - 1).bit_length() - 1
        layers: list[nn.Module] = [
            nn.Conv2d(channels, planes, 3, padding=1 + (side - size) // 2, bias=False),
            norm_layer(norm, planes),
            nn.ReLU(inplace=True),
        ]
        for stage, base_width in enumerate(WIDTHS):
            for block in range(self.blocks):
                # The first block of a stage halves the map; the first stage keeps the image's size.
                halves = block == 0 and 1 <= stage <= halvings
                layers.append(BasicBlock(planes, scaled(base_width, width), 2 if halves else 1, norm))
                planes = scaled(base_width, width)
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(body, nn.Linear(planes, classes), numerics)


@called("resnet18")
class ResNet18(ResNet):
    """The ResNet with two blocks per stage."""

    blocks: ClassVar[int] = 2


@called("resnet10")
class ResNet10(ResNet):
    """The ResNet with one block per stage.

    With width 0.5 and batch norm it has the layers of IDC's ResNet-10 (arXiv:2205.14959).
    """

    blocks: ClassVar[int] = 1
