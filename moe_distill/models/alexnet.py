"""AlexNet for small images, as in DC (arXiv:2006.05929): five convolutions, no norm, no hidden linear
layer.
"""

from torch import nn

from moe_distill.models.base import Network, kept_poolings, scaled, stem_side
from moe_distill.store.identity import called
from moe_distill.validation.values import Width, checked

HEAD_SIDE = 4
LAYERS = ((128, 5), (192, 5), (256, 3), (192, 3), (192, 3))
POOLED = (0, 1, 4)


@called("alexnet")
@checked
class AlexNet(Network):
    """Five convolutions, each with ReLU, a max pooling after the first, the second and the last, then the
    classifier.

    The classifier sees a map of at most 4 × 4 pixels; it is smaller for images below 32 pixels.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        width: Factor on the published numbers of channels.

    Raises:
        InputError: If the size is not supported.
    """

    def __init__(self, channels: int, classes: int, size: int, width: Width = 1.0) -> None:
        side = stem_side(channels, size)
        kept = kept_poolings(side, len(POOLED))
        extra, planes = (side - size) // 2, channels
        layers: list[nn.Module] = []
        for index, (base_width, kernel) in enumerate(LAYERS):
            layers += [
                nn.Conv2d(planes, scaled(base_width, width), kernel, padding=kernel // 2 + extra),
                nn.ReLU(inplace=True),
            ]
            layers += [nn.MaxPool2d(2)] if index in POOLED[:kept] else []
            extra, planes = 0, scaled(base_width, width)
        head = min(side >> kept, HEAD_SIDE)
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(head), nn.Flatten())
        super().__init__(body, nn.Linear(planes * head**2, classes))
