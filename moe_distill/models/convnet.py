"""ConvNet, the network most distilled sets are made with (DC, arXiv:2006.05929, section 4.1)."""

from torch import nn

from moe_distill.models.base import Network, Norm, conv_norm_relu, kept_poolings, scaled, stem_side
from moe_distill.models.pooling import AveragePool
from moe_distill.store.identity import called
from moe_distill.validation.values import Depth, Numerics, Width, checked


@called("convnet")
@checked
class ConvNet(Network):
    """``depth`` blocks of convolution, normalisation, ReLU and average pooling, then the classifier.

    The classifier sees the whole last map, so that the features grow with the image: 128·4·4 at 32 pixels.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        depth: Number of blocks.
        width: Factor on the published 128 channels.
        norm: Normalisation, by name.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        InputError: If the size is not supported.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: int,
        depth: Depth = 3,
        width: Width = 1.0,
        norm: Norm = "instance",
        numerics: Numerics = "exact",
    ) -> None:
        side, planes = stem_side(channels, size), scaled(128, width)
        poolings = kept_poolings(side, depth)
        # Only the first convolution enlarges 28 × 28 gray images to the 32 × 32 of :func:`stem_side`.
        layers = conv_norm_relu(channels, planes, norm, padding=1 + (side - size) // 2)
        for block in range(1, depth + 1):
            # The pooling ends this block; the convolution begins the next one.
            if block <= poolings:
                layers.append(AveragePool())
            if block < depth:
                layers += conv_norm_relu(planes, planes, norm)
        body = nn.Sequential(*layers, nn.Flatten())
        super().__init__(body, nn.Linear(planes * (side >> poolings) ** 2, classes), numerics)
