"""A network of patches: one linear map of each 4 × 4 patch, mixed at each place, averaged over places."""

import torch
from torch import nn

from moe_distill.models.base import Network, check_size, scaled
from moe_distill.validation.values import Numerics, Width, checked


class _Average(nn.Module):
    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return x_NCHW.mean((2, 3))


@checked
class PatchNet(Network):
    """Two layers at each patch, then the classifier.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        width: Factor on the 64 channels of each layer.
        numerics: Arithmetic of the layers.

    Raises:
        InputError: The size is not supported.
    """

    def __init__(
        self, channels: int, classes: int, size: int, width: Width = 1.0, numerics: Numerics = "exact"
    ) -> None:
        check_size(size)
        units = scaled(64, width)
        layers = [nn.Conv2d(channels, units, 4, stride=4), nn.ReLU(), nn.Conv2d(units, units, 1), nn.ReLU()]
        super().__init__(nn.Sequential(*layers, _Average()), nn.Linear(units, classes), numerics)
