"""Networks of other libraries, adapted by configuration alone."""

import difflib
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torchvision.models import SwinTransformer

from moe_distill.errors import InputError
from moe_distill.models.base import LARGEST, Network, Norm, check_size, norm_layer
from moe_distill.validation.values import Few, Numerics, Share, Side, checked

Strided = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


@checked
class LibraryNetwork(Network):
    """Any network for colour images that ends in a linear layer, such as those of torchvision.

    Gray images are repeated to three channels. Everything before the last linear layer, dropout included,
    belongs to the features. The library's own initialisation is kept. Fused attention has no second
    derivative, so a transformer that uses it cannot serve a method that matches gradients.

    Args:
        channels: Channels of an image, 1 or 3.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        builder: Makes the network; called with ``num_classes``.
        tokens: For a transformer on patches: number of patches to aim for along a side. The builder is then
            called with ``image_size`` and ``patch_size`` too.
        least_map: For a network made for large images: smallest side of its last map, in pixels. As many of
            its halvings as necessary are removed, from the first one on; see :func:`keep_map`.
        norm: Replaces the library's normalisation by :func:`moe_distill.models.base.norm_layer`; the builder
            is then called with ``norm_layer`` too. None keeps the library's, such as batch norm.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        InputError: If the size is not supported, or the network does not end in a linear layer of ``classes``
            outputs.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: int,
        builder: Callable[..., nn.Module],
        tokens: Side | None = None,
        least_map: Side | None = None,
        norm: Norm | None = None,
        numerics: Numerics = "exact",
    ) -> None:
        check_size(size)
        if channels not in (1, 3):
            raise InputError("data.channels", channels, "1 or 3")
        # Builders refuse arguments they do not know: each is passed only where it is asked for.
        patches = {} if tokens is None else {"image_size": size, "patch_size": patch_size(size, tokens)}
        normalisation = {} if norm is None else {"norm_layer": partial(norm_layer, norm)}
        network = builder(num_classes=classes, **patches, **normalisation)
        if least_map is not None:
            keep_map(network, size, least_map)
        super().__init__(*split_at_classifier(network, classes)[:2], numerics)

    def embed(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) before the library network's last linear layer."""
        return super().embed(x_NCHW.expand(-1, 3, -1, -1))  # gray to three channels; a view, without a copy


def patch_size(size: int, tokens: int) -> int:
    """Return the divisor of ``size``, in pixels, that comes nearest to ``tokens`` patches along a side.

    Example:
        >>> patch_size(64, 8), patch_size(28, 8)
        (8, 4)
    """
    divisors = [patch for patch in range(1, size + 1) if size % patch == 0]
    return min(divisors, key=lambda patch: abs(size // patch - tokens))


def swin(
    image_size: int,
    patch_size: int,
    embed_dim: Few,
    depths: list[Few],
    num_heads: list[Few],
    window_size: list[Few],
    stochastic_depth_prob: Share,
    num_classes: int,
) -> SwinTransformer:
    """Return torchvision's Swin transformer (Liu et al. 2021); a builder for :class:`LibraryNetwork`.

    Args:
        image_size: Unused: windows tile a map of any size, padded at its border.
        patch_size: Height and width of a patch, in pixels.
        embed_dim: Width of the first stage; it doubles with each further stage.
        depths: Blocks of each stage.
        num_heads: Heads of each stage.
        window_size: Height and width of a window, in patches.
        stochastic_depth_prob: Probability of skipping the last block while training; it falls linearly to 0
            at the first block.
        num_classes: Number of labels.
    """
    return SwinTransformer(
        [patch_size, patch_size],
        embed_dim=embed_dim,
        depths=depths,
        num_heads=num_heads,
        window_size=window_size,
        stochastic_depth_prob=stochastic_depth_prob,
        num_classes=num_classes,
    )


def keep_map(network: nn.Module, size: int, least: int) -> None:
    """Remove halvings, in place, until the last map has at least ``least`` pixels a side.

    The images are ``size`` pixels a side. Halvings are removed from the first one on: at 32 pixels a ResNet
    then has the stem of its CIFAR form, whose first convolution and max pooling keep the size (only the
    kernel stays 7 × 7). A halving is every layer of stride 2 at one depth, including that of a shortcut; a
    layer of stride 4 halves twice.
    """
    depths = _strided_by_depth(network)
    kept = max(0, (size // least).bit_length() - 1)
    surplus = sum(_halvings(layers) for layers in depths) - kept
    for layers in depths:
        removed = min(_halvings(layers), max(0, surplus))
        surplus -= removed
        for layer in layers if removed else ():
            stride = max(1, _stride_of(layer) >> removed)
            if isinstance(layer, nn.Conv2d):
                layer.stride = (stride, stride)
            else:
                # A pooling over one pixel passes the map on as it is.
                layer.kernel_size, layer.padding, layer.stride = 1, 0, 1


def _stride_of(layer: Strided) -> int:
    """Return a layer's stride if it is the same both ways, else 1."""
    stride = layer.stride if isinstance(layer.stride, tuple) else (layer.stride, layer.stride)
    return stride[0] if stride[0] == stride[1] else 1


def _halvings(layers: Sequence[Strided]) -> int:
    """Return how many times the layers of one depth halve the map."""
    return max(_stride_of(layer) for layer in layers).bit_length() - 1


def _strided_by_depth(network: nn.Module) -> list[list[Strided]]:
    """Return the layers of stride 2 or 4 in the order of depth, those at the same depth together."""
    strided = [m for m in network.modules() if isinstance(m, Strided) and _stride_of(m) in (2, 4)]
    # The order of modules is not the order of execution. The side of a layer's input shows its depth: a
    # shortcut's halving has the input of the block it bypasses.
    sides: dict[nn.Module, int] = {}
    hooks = [m.register_forward_pre_hook(lambda m, x: sides.update({m: x[0].shape[-1]})) for m in strided]
    was_training = network.training
    network.eval()  # the probe must not change the running statistics of batch norms
    with torch.no_grad():
        network(torch.zeros(1, 3, LARGEST, LARGEST))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    descending = sorted(set(sides.values()), reverse=True)
    return [[m for m in strided if sides.get(m) == side] for side in descending]


def split_at_classifier(network: nn.Module, classes: int) -> tuple[nn.Module, nn.Linear, str]:
    """Remove the last linear layer of ``network``, in place.

    Returns:
        The remaining network, that layer, and its name, where an identity stands in its place.

    Raises:
        InputError: If there is no such layer, or it does not have ``classes`` outputs.

    Example:
        >>> split_at_classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), classes=2)[1]
        Linear(in_features=4, out_features=2, bias=True)
    """
    linears = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linears or linears[-1][1].out_features != classes:
        raise InputError(
            "model.builder", type(network).__name__, f"a network whose last layer is linear, to {classes}"
        )
    name, classifier = linears[-1]
    # An identity in its place, as the library's forward still calls that attribute.
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, nn.Identity())
    return network, classifier, name


def such_as(name: str, names: Sequence[str]) -> str:
    """Return the names that resemble one that a library does not have, in words; else where they are listed.

    Example:
        >>> such_as("resnet19", ["resnet18", "vgg11"]), such_as("mine", ["vgg11"])
        ('such as resnet18', 'which its list_models() lists')
    """
    like = difflib.get_close_matches(name, names, 4)
    return f"such as {', '.join(like)}" if like else "which its list_models() lists"
