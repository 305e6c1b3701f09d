"""What a class's images do to a network: the gradient of their classification loss by its weights."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from moe_distill.models.base import Network


def class_gradients(
    network: Network, x_NCHW: torch.Tensor, c: int, weights: Sequence[torch.Tensor], keep_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """Return the gradients of the mean cross-entropy of images of class ``c``, one tensor of the shape of
    each weight.

    Source: DC (Zhao et al., ICLR 2021, Eq. 8) over all parameters, IDC (Kim et al., ICML 2022) over those of
    convolutions.

    Args:
        network: The network.
        x_NCHW: Standardised, augmented images.
        c: Their class.
        weights: Parameters of the network.
        keep_graph: Whether the gradients are to be differentiated by the images in turn.
    """
    labels_N = torch.full((len(x_NCHW),), c, device=x_NCHW.device)
    loss = F.cross_entropy(network(x_NCHW), labels_N)
    return torch.autograd.grad(loss, list(weights), create_graph=keep_graph)
