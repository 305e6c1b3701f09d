"""GSAM: gradient descent towards flat minima, with which FTD and DATM train their teachers.

Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, Alg. 1; its adaptive
perturbation is ASAM's (Kwon et al., ICML 2021, Eq. 6).
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch

from moe_distill.validation.values import NotNegative, Positive, checked

_TINY = 1e-12  # avoids division by zero where a gradient vanishes


@checked
class GSAM(torch.optim.Optimizer):
    """Gradient descent along d = g_p - α g_⊥, with two gradients per step.

    g is the gradient at the weights θ, g_p the one at θ + e, and g_⊥ the part of g that is orthogonal to g_p.
    Norms are taken over all parameters jointly, so an optimiser must hold exactly one network. Running
    statistics are updated twice per step.

    Args:
        params: The parameters of one network.
        lr: Learning rate.
        rho: Radius ρ of the perturbation e = ρ θ² g / ‖θ g‖ if adaptive, otherwise ρ g / ‖g‖.
        alpha: Weight α of the orthogonal part.
        adaptive: Whether the perturbation grows with the weight.
        weight_decay: This times θ is added to d.

    Attributes:
        per_network: True: networks trained by it cannot share one optimiser.
        passes: Forward and backward passes per step.
    """

    per_network: ClassVar[bool] = True
    passes: ClassVar[int] = 2

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: Positive,
        rho: Positive,
        alpha: NotNegative,
        adaptive: bool = True,
        weight_decay: NotNegative = 0.0,
    ) -> None:
        settings = {"lr": lr, "rho": rho, "alpha": alpha, "adaptive": adaptive, "weight_decay": weight_decay}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Update the weights once.

        Args:
            closure: Clears the gradients, computes the loss of the same batch again, runs the backward pass
                and returns the loss.

        Returns:
            The loss at the weights before the step.
        """
        # The step itself runs without gradients.
        closure = torch.enable_grad()(closure)
        # The gradients of this pass are replaced by the second one, at the perturbed weights.
        loss = closure()
        # All groups are perturbed together: they differ in learning rate and weight decay alone.
        moved = [
            (group, p)
            for group in self.param_groups
            for p in cast(list[torch.Tensor], group["params"])
            if p.grad is not None
        ]
        parameters, settings = [p for _, p in moved], self.param_groups[0]
        # Copies, because the perturbation moves the weights and the second pass replaces the gradients.
        weights = [p.clone() for p in parameters]
        first = [cast(torch.Tensor, p.grad).clone() for p in parameters]
        torch._foreach_add_(parameters, perturbation(weights, first, settings["rho"], settings["adaptive"]))
        closure()
        directions = direction(first, [cast(torch.Tensor, p.grad) for p in parameters], settings["alpha"])
        # From the saved weights: subtracting the perturbation again would leave rounding errors.
        for (group, p), weight, d in zip(moved, weights, directions, strict=True):
            p.copy_(weight - group["lr"] * (d + group["weight_decay"] * weight))
        return loss


def perturbation(
    weights: list[torch.Tensor], gradients: list[torch.Tensor], rho: float, adaptive: bool
) -> list[torch.Tensor]:
    """Return the perturbation e: ρ θ² g / ‖θ g‖ if adaptive (ASAM Eq. 6), otherwise ρ g / ‖g‖ (SAM Eq. 2).

    Args:
        weights: θ, one tensor per parameter.
        gradients: g, of the same shapes.
        rho: Radius ρ.
        adaptive: Whether the perturbation grows with the weight.

    Example:
        >>> perturbation([torch.zeros(2)], [torch.tensor([3.0, 4.0])], rho=10.0, adaptive=False)
        [tensor([6., 8.])]
    """
    scales = [w.abs() if adaptive else torch.ones_like(w) for w in weights]
    length = norm([s * g for s, g in zip(scales, gradients, strict=True)]) + _TINY
    return [rho * s.square() * g / length for s, g in zip(scales, gradients, strict=True)]


def direction(first: list[torch.Tensor], second: list[torch.Tensor], alpha: float) -> list[torch.Tensor]:
    """Return g_p - α g_⊥ with g_⊥ = g - ⟨g, g_p⟩ g_p / ‖g_p‖² (GSAM Alg. 1).

    Args:
        first: g, one tensor per parameter.
        second: g_p, of the same shapes.
        alpha: Weight α of the orthogonal part.
    """
    inner_product = sum((g * p).sum() for g, p in zip(first, second, strict=True))
    coefficient = inner_product / norm(second).clamp_min(_TINY).square()
    return [p - alpha * (g - coefficient * p) for g, p in zip(first, second, strict=True)]


def norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the Euclidean norm of all tensors as one vector, a scalar."""
    return torch.stack([t.norm() for t in tensors]).norm()
