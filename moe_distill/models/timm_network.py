"""Networks of timm by name, with stem and head fitted to small images."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from moe_distill.errors import FieldError
from moe_distill.models.base import check_size
from moe_distill.models.library import LibraryNetwork, keep_map, patch_size, such_as
from moe_distill.models.weights import WeightsFile
from moe_distill.validation.values import Numerics, Side, Text, checked

TOKENS = 8  # patches to aim for along a side of a plain vision transformer: 4 × 4 pixels each at 32


@checked
class TimmNetwork(LibraryNetwork):
    """A network of timm (https://timm.fast.ai), whose classifier has one output a class.

    A vision transformer takes the image's size, and patches of which about 8 lie along a side. In a network
    with stages, the patches of the stem, or else the first halvings, are made smaller until the last map has
    ``least_map`` pixels a side. Gray images are repeated to three channels.

    Args:
        channels: Channels of an image, 1 or 3.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        name: Its name in timm, such as ``convnext_atto``.
        least_map: Smallest side of the last map, in pixels.
        weights: Pretrained weights, which timm resamples to the patches and the image's size; None starts
            from scratch. A classifier for another number of classes is left out.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        FieldError: timm is not installed, has no such network, or its classifier is not one linear layer.
        InputError: The size is not supported.

    Example:
        >>> TimmNetwork(3, 10, 32, name="resnet10t")(torch.zeros(2, 3, 32, 32)).shape
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
        create = _creator(name)
        with torch.device("meta"):
            fitted = _fitted(functools.partial(create, name, num_classes=classes), size, least_map)
        pretrained: dict[str, Any] = {}
        if weights is not None and not torch.empty(0).is_meta:  # else it is built to be tried only
            overlay = {"file": str(weights.path), "num_classes": _outputs(create(name), weights)}
            pretrained = {"pretrained": True, "pretrained_cfg_overlay": overlay}
        network = create(name, num_classes=classes, **fitted, **pretrained)
        if not fitted:
            keep_map(network, size, least_map)
        head = network.get_classifier()
        if not isinstance(head, nn.Linear):
            raise FieldError("name", name, "a network whose classifier is one linear layer")
        super().__init__(channels, classes, size, lambda num_classes: network, numerics=numerics)


def _creator(name: str) -> Any:
    """Return timm's function that makes a network, once it is known to have one of this name."""
    try:
        import timm
    except ImportError as error:
        allowed = "a network of timm, which is not installed: pip install 'moe_distill[timm]'"
        raise FieldError("name", name, allowed) from error
    if not timm.is_model(name):
        allowed = f"a network of timm {timm.__version__}, {such_as(name, timm.list_models())}"
        raise FieldError("name", name, allowed)
    return timm.create_model


def _outputs(usual: Any, weights: WeightsFile) -> int:
    """Return how many classes weights are for; timm leaves a classifier for others out."""
    head = weights.read().get(f"{usual.pretrained_cfg['classifier']}.weight")
    return 0 if head is None else len(head)


def _fitted(create: Callable[..., nn.Module], size: int, least_map: int) -> dict[str, int]:
    """Return the arguments that fit a network of timm to the size; empty where only its strides can be.

    Args:
        create: Makes the network.
        size: Height and width of an image, in pixels.
        least_map: Smallest side of the last map, in pixels.
    """
    usual = create()
    takes = inspect.signature(type(usual).__init__).parameters
    arguments = {"img_size": size} if "img_size" in takes else {}
    if "patch_size" not in takes:
        return arguments
    patch = getattr(getattr(usual, "patch_embed", None), "patch_size", takes["patch_size"].default)
    side: int = patch[0] if isinstance(patch, tuple) else patch
    if _reduction(usual) == side:  # one map from the patches to the end
        return {**arguments, "patch_size": patch_size(size, TOKENS)}
    # Built to see: some networks halve once more after a stem of small patches.
    while side > 1 and size < least_map * _reduction(create(patch_size=side)):
        side //= 2
    return {**arguments, "patch_size": side}


def _reduction(network: nn.Module) -> int:
    """Return how many pixels of the image lie along one of the last map."""
    return int(network.feature_info[-1]["reduction"])  # type: ignore[index]
