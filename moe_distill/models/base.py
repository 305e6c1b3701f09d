"""The contract of all networks, building one from a seed, and the layers and size rules they share."""

import math
from typing import Literal, Protocol

import torch
from torch import nn

from moe_distill.errors import FieldError, InputError
from moe_distill.models.numerics import rounding
from moe_distill.seeding import global_seed, stream
from moe_distill.validation.values import Numerics, checked

SMALLEST, LARGEST = 8, 224  # side of an image, in pixels
MOST_WEIGHTS = 10**10  # 40 GB in float32: more is taken for a mistake in the settings
Norm = Literal["instance", "batch", "group", "layer", "none"]


class Network(nn.Module):
    """A classifier in two parts: a body that yields flat features, and one linear layer.

    Args:
        body: Maps images (N, C, H, W) to flat features (N, D).
        classifier: Maps features (N, D) to logits (N, classes).
        numerics: The arithmetic of the body. Its features are float32, and so is the classifier's.

    Attributes:
        feature_dim: D, the number of features of one image.
    """

    def __init__(self, body: nn.Module, classifier: nn.Linear, numerics: Numerics = "exact") -> None:
        super().__init__()
        self.body = body
        self.classifier = classifier
        self.numerics = numerics
        self.feature_dim: int = classifier.in_features

    def embed(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the flattened features (N, D) that the classifier sees."""
        with rounding(self.numerics, x_NCHW.device):
            f_ND: torch.Tensor = self.body(x_NCHW)
        return f_ND.to(x_NCHW.dtype)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits, of shape (N, classes)."""
        logits: torch.Tensor = self.classifier(self.embed(x_NCHW))
        return logits


class NetworkFactory(Protocol):
    """Makes a network for given data, such as a network class with its other arguments filled in."""

    def __call__(self, *, channels: int, classes: int, size: int) -> Network:
        """Return a new network for ``channels`` × ``size`` × ``size`` images and ``classes`` labels."""
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

    Example:
        >>> from moe_distill.models.mlp import MLP
        >>> network = build(MLP, channels=1, classes=10, size=8, rng=stream(0, "demo"))
        >>> network.feature_dim, network(torch.zeros(2, 1, 8, 8)).shape
        (128, torch.Size([2, 10]))
    """
    with global_seed(rng):
        return factory(channels=channels, classes=classes, size=size)


def normalises_over_batch(network: nn.Module) -> bool:
    """Return True if the network has batch norm.

    In train mode an image's features then depend on the other images of its batch.

    Example:
        >>> normalises_over_batch(nn.BatchNorm2d(3)), normalises_over_batch(nn.GroupNorm(3, 3))
        (True, False)
    """
    # The common base class of BatchNorm1d, 2d, 3d and SyncBatchNorm; torch has no public name for it.
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def rehearse(factory: NetworkFactory, *, channels: int, classes: int, size: int, batch: int = 2) -> None:
    """Raise an error if a network cannot be built, or cannot be trained on batches of this size.

    It runs on torch's ``meta`` device, so it takes neither memory nor time for the weights.

    Args:
        factory: Makes the network.
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        batch: Size of the smallest batch it will be trained on.

    Raises:
        FieldError: If it cannot be built or trained, or its output has another shape; the field is one of the
            network's, or the network itself.
        InputError: If it cannot be built for this size.
    """
    made_by = getattr(factory, "func", factory)
    if getattr(made_by, "adapts", False):  # what it adapts is what the user knows
        made_by = getattr(factory, "keywords", {}).get("builder")
        made_by = getattr(made_by, "func", made_by)
    name = getattr(made_by, "__name__", "network")
    try:
        with global_seed(stream(0, "rehearsal")), torch.device("meta"):
            network = factory(channels=channels, classes=classes, size=size)
            logits = network.train()(torch.zeros(batch, channels, size, size))
    except InputError:
        # Names its setting already.
        raise
    except Exception as error:  # libraries raise anything for settings they do not like
        if "meta tensor" in str(error):
            # The network reads values while it is built, which the meta device does not have.
            return
        purpose = (
            f"one that can be built for {channels}×{size}×{size} and trained on {batch} images at a time"
        )
        raise FieldError("", name, f"{purpose}: {error}") from error
    if logits.shape != (batch, classes):
        allowed = f"one that makes {classes} numbers of each image; of {batch} it makes {tuple(logits.shape)}"
        raise FieldError("", name, allowed)
    if (weights := sum(p.numel() for p in network.parameters())) > MOST_WEIGHTS:
        raise FieldError("", name, f"one of at most {MOST_WEIGHTS:.0e} weights; this has {weights:.0e}")


def check_size(size: int) -> None:
    """Check that networks can take images of ``size`` × ``size`` pixels.

    Raises:
        InputError: If they cannot.
    """
    if not SMALLEST <= size <= LARGEST:
        raise InputError("data.size", size, f"{SMALLEST} to {LARGEST} pixels")


def stem_side(channels: int, size: int) -> int:
    """Return the side of the first convolution's output map, in pixels.

    It is the side of the image, except for 28 × 28 gray images, which the first padding enlarges to 32 × 32
    (as DC, arXiv:2006.05929, does for MNIST and FashionMNIST).

    Raises:
        InputError: If the size is not supported.

    Example:
        >>> stem_side(3, 64), stem_side(1, 28)
        (64, 32)
    """
    check_size(size)
    return 32 if (channels, size) == (1, 28) else size


def kept_poolings(side: int, poolings: int) -> int:
    """Return how many of a network's 2 × 2 poolings fit a map of ``side`` pixels, counted from the first.

    Example:
        >>> kept_poolings(32, 3), kept_poolings(8, 5)
        (3, 2)
    """
    # Every pooling except the last is followed by a convolution, whose input must keep at least 2 × 2 pixels:
    # an instance norm over a single value is a constant. The last pooling may go down to one pixel.
    room = side.bit_length() - 2
    return poolings if poolings - 1 <= room else room


def scaled(base_width: int, factor: float) -> int:
    """Return ``base_width`` channels times ``factor``, rounded, and at least 1."""
    return max(1, round(base_width * factor))


@checked
def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return the normalisation called ``norm`` for maps of ``channels`` channels.

    "group" makes four groups (fewer if 4 does not divide the channels), "layer" one group of all channels.

    Example:
        >>> norm_layer("layer", 6)
        GroupNorm(1, 6, eps=1e-05, affine=True, bias=True)
    """
    match norm:
        case "instance":
            # One group per channel: an instance norm without running statistics, so that train and eval mode
            # agree. DC's published code spells it this way, too.
            return nn.GroupNorm(channels, channels)
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            return nn.GroupNorm(math.gcd(4, channels), channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "none":
            return nn.Identity()


def conv_norm_relu(channels: int, width: int, norm: Norm, padding: int = 1) -> list[nn.Module]:
    """Return a 3 × 3 convolution, its normalisation and its ReLU.

    Args:
        channels: Channels of the input map.
        width: Channels of the output map.
        norm: Normalisation, by name.
        padding: Pixels of zeros on each side of the input; 1 keeps its size.
    """
    return [nn.Conv2d(channels, width, 3, padding=padding), norm_layer(norm, width), nn.ReLU(inplace=True)]
