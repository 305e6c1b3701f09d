"""Networks that images are matched under, moved a little way off in a random direction.

Source: Acc-DD (Zhang et al., "Accelerating Dataset Distillation via Model Augmentation", CVPR 2023).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from moe_distill.errors import FieldError
from moe_distill.models.base import Network
from moe_distill.store.identity import called
from moe_distill.validation.values import Positive, checked

# Of a trajectory's displacement: weights are larger by far than the way that a teacher goes in a few epochs.
MOST_OF_THE_WAY = 0.3
_TINY = 1e-10  # as published, against a row of zeros


@called("gaussian")
@checked
@dataclass(frozen=True)
class Perturbation:
    """Moves every weight matrix and convolution kernel by a few percent of its size.

    The published step is a·D₁ + b·D₂ of two random directions and signs; as these are almost orthogonal, it
    is drawn here as one direction of the relative size r = √(a² + b²), with a and b uniform from ``low`` to
    ``high``. It is the same r for all tensors, 0.074 on average where a and b are published.

    Args:
        low: Smallest a and b (published: 0.01).
        high: Largest a and b (published: 0.09).

    Raises:
        FieldError: ``low`` exceeds ``high``.
    """

    low: Positive = 0.01
    high: Positive = 0.09

    def __post_init__(self) -> None:
        """Check that there are numbers between the two."""
        if self.low > self.high:
            raise FieldError("low", self.low, f"at most high={self.high}")

    def copy_of(self, network: Network, rng: torch.Generator) -> Network:
        """Return a perturbed copy of a network, in the same mode, with its statistics."""
        copied = copy.deepcopy(network)
        moved = perturbed(dict(network.named_parameters()), rng, self.low, self.high)
        with torch.no_grad():
            for name, weight in copied.named_parameters():
                weight.copy_(moved[name])
        return copied

    def near(
        self,
        start_P: torch.Tensor,
        target_P: torch.Tensor,
        shapes: Sequence[torch.Size],
        rng: torch.Generator,
    ) -> torch.Tensor:
        """Return the flat weights of a trajectory's start, perturbed by at most 0.3 of the way to its target.

        Args:
            start_P: The start of the trajectory.
            target_P: Its end.
            shapes: Shapes of the tensors that the flat weights are made of, in their order.
            rng: A CPU generator.

        Source: the limit is ours; Acc-DD perturbs no trajectories.
        """
        parts = start_P.split([shape.numel() for shape in shapes])
        state = {str(n): part.view(shape) for n, (part, shape) in enumerate(zip(parts, shapes, strict=True))}
        moved = perturbed(state, rng, self.low, self.high)
        step_P = torch.cat([tensor.flatten() for tensor in moved.values()]) - start_P
        most = MOST_OF_THE_WAY * (target_P - start_P).norm() / step_P.norm().clamp_min(_TINY)
        return start_P + step_P * most.clamp_max(1.0)


def perturbed(
    state: Mapping[str, torch.Tensor], rng: torch.Generator, low: float, high: float
) -> dict[str, torch.Tensor]:
    """Return weights moved in a Gaussian direction by r times their norm, row by row.

    A row is a slice along a tensor's first dimension: the kernel of one output channel, or the weights of one
    class. The direction of a row is scaled to the norm of the row of weights, so that ‖change‖ = r·‖row‖.
    Tensors of fewer than two dimensions, such as biases, stay as they are.

    Source: Acc-DD (CVPR 2023), published code.

    Args:
        state: Weights by name.
        rng: A CPU generator.
        low: Smallest a and b, of which r = √(a² + b²).
        high: Largest a and b.

    Example:
        >>> from moe_distill.seeding import stream
        >>> moved = perturbed({"w": torch.ones(2, 3), "b": torch.ones(2)}, stream(0, "demo"), 0.03, 0.03)
        >>> moved["b"].tolist(), (moved["w"] - 1).norm(dim=1).div(3**0.5).mul(1e4).round().tolist()
        ([1.0, 1.0], [424.0, 424.0])
    """
    r = (low + (high - low) * torch.rand(2, generator=rng, dtype=torch.float64)).norm().item()
    moved = {}
    for name, weight in state.items():
        moved[name] = weight.detach()
        if weight.dim() >= 2:
            # Drawn on the CPU, so that all devices draw the same.
            step = torch.randn(weight.shape, generator=rng).to(weight)
            scale = _row_norms(weight.detach()) / (_row_norms(step) + _TINY)
            moved[name] = weight.detach() + r * scale * step
    return moved


def _row_norms(weight: torch.Tensor) -> torch.Tensor:
    """Return the norm of each row, in a shape that divides the rows."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
