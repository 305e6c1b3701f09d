"""Any ``torch.nn.Module`` of a user's own as a network."""

import inspect
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import nn

from moe_distill.errors import FieldError
from moe_distill.models.base import Network
from moe_distill.models.library import split_at_classifier
from moe_distill.validation.misfits import parameters_of
from moe_distill.validation.values import Numerics, checked

# The names under which a class or function may take what is known of the images, as libraries call them.
_NAMES = {
    "channels": ("channels", "in_channels", "in_chans"),
    "classes": ("classes", "num_classes", "n_classes"),
    "size": ("size", "image_size", "img_size"),
}


@checked
class ModuleNetwork(Network):
    """A network that a class or function of the user's own makes; its last linear layer is the classifier.

    The class or function is called with what it takes of ``channels`` (or ``in_channels``, ``in_chans``),
    ``classes`` (``num_classes``, ``n_classes``) and ``size`` (``image_size``, ``img_size``), by name.

    Args:
        channels: Channels of an image.
        classes: Number of labels.
        size: Height and width of an image, in pixels.
        builder: Makes the network: a class, a function, or a partial of one.
        numerics: Arithmetic of everything before the classifier, see :mod:`moe_distill.models.numerics`.

    Raises:
        FieldError: It makes no ``torch.nn.Module``, or none whose last layer is linear, to the classes.

    Example:
        >>> def tiny(num_classes):
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, num_classes))
        >>> network = ModuleNetwork(channels=1, classes=10, size=8, builder=tiny)
        >>> network.feature_dim, network(torch.zeros(2, 1, 8, 8)).shape
        (5, torch.Size([2, 10]))
    """

    adapts: ClassVar[bool] = True

    def __init__(
        self,
        channels: int,
        classes: int,
        size: int,
        builder: Callable[..., nn.Module],
        numerics: Numerics = "exact",
    ) -> None:
        made = builder(**arguments_for(builder, channels=channels, classes=classes, size=size))
        if not isinstance(made, nn.Module):
            raise FieldError("builder", type(made).__name__, "a function that returns a torch.nn.Module")
        if isinstance(made, Network):
            super().__init__(made.body, made.classifier, numerics)
        else:
            body, classifier, place = split_at_classifier(made, classes)
            super().__init__(body, classifier, numerics)
            if classifier.weight.is_meta:  # in the rehearsal, where a forward pass costs nothing
                _require_last(body, place, torch.zeros(2, channels, size, size))

    def embed(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) that the last linear layer sees."""
        return super().embed(x_NCHW).flatten(1)


def _require_last(body: nn.Module, place: str, x_NCHW: torch.Tensor) -> None:
    """Refuse a network with a step behind its last linear layer, which here would come before it."""
    seen: list[torch.Tensor] = []
    layer = body.get_submodule(place)
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    features = body(x_NCHW)
    hook.remove()
    # A view, such as another shape of the same numbers, is no further step.
    if not seen or _viewed(features) is not _viewed(seen[-1]):
        allowed = "a network whose last step is a linear layer, without a softmax or the like behind it"
        raise FieldError("builder", type(body).__name__, allowed)


def _viewed(x: torch.Tensor) -> torch.Tensor:
    return x if x._base is None else x._base


def arguments_for(builder: Callable[..., nn.Module], **known: int) -> dict[str, int]:
    """Return the arguments that a builder takes of ``channels``, ``classes`` and ``size``, by its own names.

    Example:
        >>> arguments_for(lambda in_channels, num_classes, width=8: None, channels=3, classes=10, size=32)
        {'in_channels': 3, 'num_classes': 10}
    """
    try:
        parameters = parameters_of(builder)
    except (ValueError, TypeError):  # in C, without a signature
        return {}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()) and not any(
        name in parameters for names in _NAMES.values() for name in names
    ):
        return known
    return {name: known[what] for what, names in _NAMES.items() for name in names if name in parameters}
