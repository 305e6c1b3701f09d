"""The multi-layer perceptron that DC-family sets are also tested on (DC, arXiv:2006.05929, Table 2)."""

from torch import nn

from moe_distill.models.base import Network, check_size, scaled
from moe_distill.validation.values import Numerics, Width, checked


@checked
class MLP(Network):
    """Two hidden layers with ReLU over all pixels, then the classifier.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        width: Factor on the published 128 hidden units.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        InputError: If the size is not supported.
    """

    def __init__(
        self, channels: int, classes: int, size: int, width: Width = 1.0, numerics: Numerics = "exact"
    ) -> None:
        check_size(size)
        # The first layer reads all pixels at once, so its size alone depends on the image.
        units = scaled(128, width)
        hidden = [nn.Linear(channels * size**2, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU()]
        super().__init__(nn.Sequential(nn.Flatten(), *hidden), nn.Linear(units, classes), numerics)
