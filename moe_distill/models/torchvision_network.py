"""Networks of torchvision by name, with stem and head fitted to small images."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import VisionTransformer

from moe_distill.errors import FieldError
from moe_distill.models.base import check_size
from moe_distill.models.library import LibraryNetwork, keep_map, patch_size, such_as
from moe_distill.models.weights import WeightsFile
from moe_distill.validation.values import Numerics, Side, Text, checked

TOKENS = 8  # patches to aim for along a side of a vision transformer: 4 × 4 pixels each at 32
_WITH_SIDE_OUTPUTS = ("googlenet", "inception_v3")  # in training they return two logits more


@checked
class TorchvisionNetwork(LibraryNetwork):
    """A network of torchvision, whose classifier has one output a class.

    A vision transformer gets patches of which about 8 lie along a side of the image. In other networks the
    first halvings are removed until the last map has ``least_map`` pixels a side. Gray images are repeated to
    three channels.

    Args:
        channels: Channels of an image, 1 or 3.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        name: Its name in torchvision, such as ``regnet_x_400mf``.
        least_map: Smallest side of the last map, in pixels.
        weights: Pretrained weights; None starts from scratch. A classifier for another number of classes is
            left out.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        FieldError: torchvision has no such network, or the weights are another network's.
        InputError: The size is not supported, or the network does not end in a linear layer.

    Example:
        >>> TorchvisionNetwork(3, 10, 32, name="squeezenet1_1")
        Traceback (most recent call last):
        moe_distill.errors.InputError: model.builder=SqueezeNet: a network whose last layer is linear, to 10
        >>> TorchvisionNetwork(3, 10, 32, name="shufflenet_v2_x0_5")(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: int,
        name: Text,
        least_map: Side = 4,
        weights: WeightsFile | None = None,
        numerics: Numerics = "exact",
    ) -> None:
        check_size(size)
        network = _made(name, classes, size)
        if not isinstance(network, VisionTransformer):
            keep_map(network, size, least_map)
        if weights is not None:
            weights.load_into(network)
        super().__init__(channels, classes, size, lambda num_classes: network, numerics=numerics)


def _made(name: str, classes: int, size: int) -> nn.Module:
    """Return a network as torchvision makes it, or a vision transformer with patches that fit the size."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        allowed = f"a network of torchvision {torchvision.__version__}, {such_as(name, names)}"
        raise FieldError("name", name, allowed)
    side_outputs = {"aux_logits": False, "init_weights": True} if name in _WITH_SIDE_OUTPUTS else {}
    make: Callable[..., nn.Module] = functools.partial(
        torchvision.models.get_model, name, weights=None, num_classes=classes, **side_outputs
    )
    return _with_patches(make, size) if name.startswith("vit_") else make()


def _with_patches(make: Callable[..., Any], size: int) -> VisionTransformer:
    """Return a vision transformer whose patches, of which about 8 lie along a side, tile images of a size."""
    with torch.device("meta"):
        usual = make()
    patch = patch_size(size, TOKENS)
    # Its builder fixes the patches' size: it is made for an image of as many of those, and their layer
    # replaced, with the initial weights of torchvision.
    network: VisionTransformer = make(image_size=size // patch * usual.patch_size)
    network.image_size, network.patch_size = size, patch
    network.conv_proj = nn.Conv2d(3, network.hidden_dim, patch, stride=patch)
    nn.init.trunc_normal_(network.conv_proj.weight, std=(3 * patch * patch) ** -0.5)
    nn.init.zeros_(network.conv_proj.bias)
    return network
