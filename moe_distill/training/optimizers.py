"""GSAM: gradient descent that looks for flat regions, as FTD and DATM train their teachers.

Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, Alg. 1; its adaptive
perturbation is ASAM's (Kwon et al., ICML 2021, Eq. 6).
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch

from moe_distill.validation.values import NotNegative, Positive, checked

_TINY = 1e-12


@checked
class GSAM(torch.optim.Optimizer):
    """Plain descent along d = g_p - α g_⊥ with two gradients a step.

    g is the gradient at the weights θ, g_p the one at θ + e, g_⊥ the part of g that is orthogonal to g_p.
    Norms are over all parameters jointly, so that one optimiser must hold one network. Running statistics are
    updated twice.

    Args:
        params: The parameters of one network.
        lr: Learning rate.
        rho: Radius ρ of the perturbation e = ρ θ² g / ‖θ g‖, or ρ g / ‖g‖ where it is not adaptive.
        alpha: Weight α of the orthogonal part.
        adaptive: Whether the perturbation grows with the weight.
        weight_decay: Added to d as this times θ.

    Attributes:
        per_network: Networks trained by it cannot share one optimiser.
        passes: Forward and backward passes a step.
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
        """Move the weights once.

        Args:
            closure: Clears the gradients, computes the loss of the same batch anew, goes backward, returns
                the loss.

        Returns:
            The loss at the weights before the step.
        """
        closure = torch.enable_grad()(closure)
        loss = closure()
        group = self.param_groups[0]
        held = [p for p in cast(list[torch.Tensor], group["params"]) if p.grad is not None]
        weights, first = [p.clone() for p in held], [cast(torch.Tensor, p.grad).clone() for p in held]
        torch._foreach_add_(held, perturbation(weights, first, group["rho"], group["adaptive"]))
        closure()
        second = [cast(torch.Tensor, p.grad) for p in held]
        for p, weight, d in zip(held, weights, direction(first, second, group["alpha"]), strict=True):
            p.copy_(weight - group["lr"] * (d + group["weight_decay"] * weight))
        return loss


def perturbation(
    weights: list[torch.Tensor], gradients: list[torch.Tensor], rho: float, adaptive: bool
) -> list[torch.Tensor]:
    """Return e of the shapes of the weights: ρ θ² g / ‖θ g‖ (ASAM Eq. 6), or ρ g / ‖g‖ (SAM Eq. 2)."""
    scales = [w.abs() if adaptive else torch.ones_like(w) for w in weights]
    length = norm([s * g for s, g in zip(scales, gradients, strict=True)]) + _TINY
    return [rho * s.square() * g / length for s, g in zip(scales, gradients, strict=True)]


def direction(first: list[torch.Tensor], second: list[torch.Tensor], alpha: float) -> list[torch.Tensor]:
    """Return g_p - α g_⊥ with g_⊥ = g - ⟨g, g_p⟩ g_p / ‖g_p‖² (GSAM Alg. 1)."""
    along = (
        sum((g * p).sum() for g, p in zip(first, second, strict=True))
        / norm(second).clamp_min(_TINY).square()
    )
    return [p - alpha * (g - along * p) for g, p in zip(first, second, strict=True)]


def norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the Euclidean norm of all tensors taken as one vector."""
    return torch.stack([t.norm() for t in tensors]).norm()
