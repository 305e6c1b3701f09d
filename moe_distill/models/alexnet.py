"""AlexNet for small images, as in DC (arXiv:2006.05929).

Five convolutions, no normalisation, and no hidden linear layer.
"""

from torch import nn

from moe_distill.models.base import Network, kept_poolings, scaled, stem_side
from moe_distill.store.identity import called
from moe_distill.validation.values import Numerics, Width, checked

HEAD_SIDE = 4
LAYERS = ((128, 5), (192, 5), (256, 3), (192, 3), (192, 3))
POOLED = (0, 1, 4)


@called("alexnet")
@checked
class AlexNet(Network):
    """Five convolutions with ReLU and three max poolings, then the classifier.

    A max pooling follows the first, the second and the last convolution. The classifier sees a map of at most
    4 × 4 pixels; it is smaller for images below 32 pixels.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        width: Factor on the published numbers of channels.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        InputError: If the size is not supported.
    """

    def __init__(
        self, channels: int, classes: int, size: int, width: Width = 1.0, numerics: Numerics = "exact"
    ) -> None:
        side = stem_side(channels, size)
        poolings = kept_poolings(side, len(POOLED))
        # Only the first convolution enlarges 28 × 28 gray images to the 32 × 32 of :func:`stem_side`.
        extra_padding = (side - size) // 2
        planes = channels
        layers: list[nn.Module] = []
        for index, (base_width, kernel) in enumerate(LAYERS):
            out_planes = scaled(base_width, width)
            layers.append(nn.Conv2d(planes, out_planes, kernel, padding=kernel // 2 + extra_padding))
            layers.append(nn.ReLU(inplace=True))
            if index in POOLED[:poolings]:
                layers.append(nn.MaxPool2d(2))
            extra_padding = 0
            planes = out_planes
        # Adaptive pooling brings maps of large images down to 4 × 4, so the classifier does not grow with
        # them.
        head = min(side >> poolings, HEAD_SIDE)
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(head), nn.Flatten())
        super().__init__(body, nn.Linear(planes * head**2, classes), numerics)
