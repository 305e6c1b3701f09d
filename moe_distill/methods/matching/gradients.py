"""Gradients of a class's classification loss by the weights of a network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from moe_distill.models.base import Network


def class_gradients(
    network: Network, x_NCHW: torch.Tensor, c: int, weights: Sequence[torch.Tensor], keep_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """Return the gradients of the mean cross-entropy of images of one class, one tensor per weight.

    Source: DC (Zhao et al., ICLR 2021, Eq. 8) for all parameters; IDC (Kim et al., ICML 2022) for those of
    convolutions.

    Args:
        network: The network, in the mode in which it should run.
        x_NCHW: Standardised, augmented images.
        c: Their class.
        weights: The parameters of the network to differentiate by.
        keep_graph: Whether the gradients will be differentiated by the images in turn.
    """
    labels_N = torch.full((len(x_NCHW),), c, device=x_NCHW.device)
    loss = F.cross_entropy(network(x_NCHW), labels_N)
    return torch.autograd.grad(loss, list(weights), create_graph=keep_graph)
