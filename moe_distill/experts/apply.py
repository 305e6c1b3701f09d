"""The one place where an expert's images move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

if TYPE_CHECKING:
    from moe_distill.experts.expert import Expert


class Apply:
    """The only place where images move: backward pass, regulariser, optimiser step, zero_grad.

    The diversity term is added inside the optimiser's step, by a callback. The matching gradients of the
    iteration are summed before any term is added, because the weight of the diversity term may be relative to
    their norm.

    Args:
        expert: The expert whose images move.
        optimizer: Its optimiser.
        owner: The module that the Trainer runs.
        factor: Multiplies the method's gradients, but not those of other terms.
        union: Images of all sets that are matched as one, over the expert's own: multiplies the method's
            gradients too, except those of a step size, which all images have in common.
    """

    def __init__(
        self,
        expert: Expert,
        optimizer: Any,
        owner: pl.LightningModule,
        factor: float = 1.0,
        union: float = 1.0,
    ) -> None:
        self.expert, self.optimizer, self.owner = expert, optimizer, owner
        self.shared_factor, self.factor = factor, factor * union
        self.gradient = torch.zeros_like(expert.synthetic.images)
        self.moved = False

    def __call__(
        self, loss: torch.Tensor | None = None, *, grads: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Take one step with the gradient of ``loss`` or ready-made ``grads``; return the detached loss."""
        if loss is not None:
            self.owner.manual_backward(loss * self.factor)
        for name, gradient in (grads or {}).items():
            factor = self.factor if gradient.dim() else self.shared_factor
            self.expert.synthetic.get_parameter(name).grad = gradient * factor
        if (grad := self.expert.synthetic.images.grad) is not None:
            self.gradient += grad
            # Added once per iteration where a method takes a step per class, or it would weigh as many times.
            if self.expert.regulariser is not None and not (self.moved and self.expert.method.moves_by_class):
                grad += self.expert.regularisation()
        self.optimizer.step()
        self.moved = True
        self.optimizer.zero_grad(set_to_none=False)
        return self.gradient.new_zeros(()) if loss is None else loss.detach()
