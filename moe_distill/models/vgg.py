"""VGG11 for small images (arXiv:1409.1556, configuration A).

Unlike the published network it has a normalisation after each convolution and a single linear layer.
"""

from torch import nn

from moe_distill.models.base import Network, Norm, conv_norm_relu, kept_poolings, scaled, stem_side
from moe_distill.validation.values import Numerics, Width, checked

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


@checked
class VGG11(Network):
    """Five stages of 3 × 3 convolutions, a max pooling after each, and a classifier on 512 features.

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

    def __init__(
        self,
        channels: int,
        classes: int,
        size: int,
        width: Width = 1.0,
        norm: Norm = "instance",
        numerics: Numerics = "exact",
    ) -> None:
        side = stem_side(channels, size)
        poolings = kept_poolings(side, len(STAGES))
        # Only the first convolution enlarges 28 × 28 gray images to the 32 × 32 of :func:`stem_side`.
        padding = 1 + (side - size) // 2
        planes = channels
        layers: list[nn.Module] = []
        for index, stage in enumerate(STAGES):
            for base_width in stage:
                layers += conv_norm_relu(planes, scaled(base_width, width), norm, padding)
                padding = 1
                planes = scaled(base_width, width)
            if index < poolings:
                layers.append(nn.MaxPool2d(2))
        # The mean over the last map makes the features independent of the image size.
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(body, nn.Linear(planes, classes), numerics)
