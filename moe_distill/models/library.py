"""Networks of other libraries, adapted by configuration alone."""

from collections.abc import Callable

import torch
from torch import nn

from moe_distill.errors import InputError
from moe_distill.models.base import Network, check_size


class LibraryNetwork(Network):
    """Any network for colour images that ends in a linear layer, such as those of torchvision.

    Gray images are repeated to three channels. What the library puts before its last linear layer, dropout included,
    belongs to the features. The library's own initialisation is kept. Its attention may be fused, which has no second
    derivative: a transformer then cannot serve a method that matches gradients.

    Args:
        channels: Channels of an image, 1 or 3.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        builder: Makes the network; called with ``num_classes``.
        tokens: For a transformer on patches: how many patches to aim for along a side; the builder is then called with
            ``image_size`` and ``patch_size`` too.

    Raises:
        InputError: If the size is not supported, or the network does not end in a linear layer of ``classes`` outputs.
    """

    def __init__(
        self, channels: int, classes: int, size: int, builder: Callable[..., nn.Module], tokens: int | None = None
    ) -> None:
        check_size(size)
        if channels not in (1, 3):
            raise InputError("data.channels", channels, "1 or 3")
        patches = {} if tokens is None else {"image_size": size, "patch_size": patch_size(size, tokens)}
        super().__init__(*split_at_classifier(builder(num_classes=classes, **patches), classes))

    def embed(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) before the library network's last linear layer."""
        return super().embed(x_NCHW.expand(-1, 3, -1, -1))


def patch_size(size: int, tokens: int) -> int:
    """Return the divisor of ``size``, in pixels, that comes nearest to ``tokens`` patches along a side.

    Example:
        >>> patch_size(64, 8), patch_size(28, 8)
        (8, 4)
    """
    divisors = [patch for patch in range(1, size + 1) if size % patch == 0]
    return min(divisors, key=lambda patch: abs(size // patch - tokens))


def split_at_classifier(network: nn.Module, classes: int) -> tuple[nn.Module, nn.Linear]:
    """Take the last linear layer out of ``network``, in place; return what remains and that layer.

    Raises:
        InputError: If that layer does not exist or does not have ``classes`` outputs.
    """
    linears = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linears or linears[-1][1].out_features != classes:
        raise InputError("model.builder", type(network).__name__, f"a network whose last layer is linear, to {classes}")
    name, classifier = linears[-1]
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return network, classifier
