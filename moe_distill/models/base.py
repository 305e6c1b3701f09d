"""What every network promises, how one is built from a seed, and the layers and size rules the networks
share.
"""

import math
from typing import Literal, Protocol

import torch
from torch import nn

from moe_distill.errors import FieldError, InputError
from moe_distill.seeding import global_seed, stream
from moe_distill.validation.values import checked

SMALLEST, LARGEST = 8, 224
MOST_WEIGHTS = 10**10
Norm = Literal["instance", "batch", "group", "layer", "none"]


class Network(nn.Module):
    """A classifier in two parts: a body that yields flat features, and one linear layer.

    Args:
        body: Maps images (N, C, H, W) to flat features (N, D).
        classifier: Maps features (N, D) to logits (N, classes).

    Attributes:
        feature_dim: D, the number of features of one image.
    """

    def __init__(self, body: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.classifier = classifier
        self.feature_dim: int = classifier.in_features

    def embed(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the flattened features (N, D) that the classifier sees."""
        f_ND: torch.Tensor = self.body(x_NCHW)
        return f_ND

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits, of shape (N, classes)."""
        logits: torch.Tensor = self.classifier(self.embed(x_NCHW))
        return logits


class NetworkFactory(Protocol):
    """Anything that makes a network for given data: a class of this package with its other arguments filled
    in.
    """

    def __call__(self, *, channels: int, classes: int, size: int) -> Network:
        """Return a new network for images of ``channels`` × ``size`` × ``size`` pixels and ``classes``
        labels.
        """
        ...


def build(
    factory: NetworkFactory, *, channels: int, classes: int, size: int, rng: torch.Generator
) -> Network:
    """Build a network on the CPU whose default initialisation is drawn from ``rng`` alone.

    Args:
        factory: Makes the network.
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        rng: A CPU generator; equal states give equal weights.

    Raises:
        InputError: If the network cannot be built for this size.
    """
    with global_seed(rng):
        return factory(channels=channels, classes=classes, size=size)


def normalises_over_batch(network: nn.Module) -> bool:
    """Say whether an image's features depend on the others of its batch, in train mode: whether there is
    batch norm.
    """
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def rehearse(factory: NetworkFactory, *, channels: int, classes: int, size: int, batch: int = 2) -> None:
    """Refuse a network that cannot be built, or trained on such a batch, without memory or time for its
    weights.

    Args:
        factory: Makes the network.
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        batch: Images of the smallest batch it is going to be trained on.

    Raises:
        FieldError: It cannot; the field is one of the network's, or the network itself.
        InputError: It cannot be built for this size.
    """
    name = getattr(getattr(factory, "func", factory), "__name__", "network")
    try:
        with global_seed(stream(0, "rehearsal")), torch.device("meta"):
            network = factory(channels=channels, classes=classes, size=size)
            network.train()(torch.zeros(batch, channels, size, size))
    except InputError:
        raise
    except Exception as error:  # whatever a library thinks of its settings
        if "meta tensor" in str(error):  # a network that looks at its numbers cannot be rehearsed without any
            return
        allowed = f"one that can be built for {channels}×{size}×{size} and trained on {batch} images at a time: {error}"
        raise FieldError("", name, allowed) from error
    if (weights := sum(p.numel() for p in network.parameters())) > MOST_WEIGHTS:
        raise FieldError("", name, f"one of at most {MOST_WEIGHTS:.0e} weights; this has {weights:.0e}")


def check_size(size: int) -> None:
    """Raise ``InputError`` unless images of ``size`` × ``size`` pixels are within what the networks can
    take.
    """
    if not SMALLEST <= size <= LARGEST:
        raise InputError("data.size", size, f"{SMALLEST} to {LARGEST} pixels")


def stem_side(channels: int, size: int) -> int:
    """Return the side of the first convolution's output map, in pixels.

    It is the side of the image, but for 28 × 28 gray images, which the first padding enlarges to 32 × 32 (as
    DC, arXiv:2006.05929, does for MNIST and FashionMNIST).

    Raises:
        InputError: If the size is not supported.
    """
    check_size(size)
    return 32 if (channels, size) == (1, 28) else size


def kept_poolings(side: int, poolings: int) -> int:
    """Return how many of a network's 2 × 2 poolings, counted from the first, a map of ``side`` pixels leaves
    room for.

    Each pooling but the network's last is followed by a convolution, whose input must keep at least 2 × 2
    pixels: an instance norm over a single value is a constant. The last pooling may go down to one pixel.
    """
    room = side.bit_length() - 2
    return poolings if poolings - 1 <= room else room


def scaled(base_width: int, factor: float) -> int:
    """Return the number of channels of a layer of ``base_width`` channels in a network ``factor`` times as
    wide.
    """
    return max(1, round(base_width * factor))


def instance_norm(channels: int) -> nn.GroupNorm:
    """Return an instance norm without running statistics: one group a channel, so that train and eval mode
    agree.
    """
    return nn.GroupNorm(channels, channels, eps=1e-5)


@checked
def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return the normalisation called ``norm`` for maps of ``channels`` channels.

    "group" takes four groups (fewer where the channels cannot be parted so), "layer" one group of all
    channels.
    """
    match norm:
        case "instance":
            return instance_norm(channels)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            return nn.GroupNorm(math.gcd(4, channels), channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()


def conv_norm_relu(channels: int, width: int, norm: Norm, padding: int = 1) -> list[nn.Module]:
    """Return a 3 × 3 convolution from ``channels`` to ``width`` channels, its normalisation and its
    activation.
    """
    return [nn.Conv2d(channels, width, 3, padding=padding), norm_layer(norm, width), nn.ReLU(inplace=True)]
