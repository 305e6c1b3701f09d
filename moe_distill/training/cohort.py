"""Training steps of several students at once, in plain PyTorch.

S students train side by side, each with its own random stream, so that a student's numbers do not depend on
the others trained with it. On the CPU they step one after the other; on a device they are stacked and step
together.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.func import functional_call, stack_module_state

from moe_distill.models.base import Network
from moe_distill.seeding import draw_seed, global_seed
from moe_distill.training.recipe import Recipe

Batch = tuple[torch.Tensor, torch.Tensor]


class Cohort(Protocol):
    """S networks that are trained at once, each on its own batch."""

    def step(self, batches: Sequence[Batch], rngs: Sequence[torch.Generator]) -> torch.Tensor:
        """Take one step of every student and return the losses (S,).

        Layers that draw from the global generator, such as dropout, are seeded from the students' generators.

        Args:
            batches: One batch of images and soft targets per student.
            rngs: One generator per student.
        """

    def set_lr(self, lr: float, forget_momentum: bool) -> None:
        """Set the learning rate of all students, and reset the momentum on request."""

    def logits(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return every student's logits (S, N, classes) for the same images, without gradient."""

    def weights_of(self, student: int) -> dict[str, torch.Tensor]:
        """Return one student's weights by name."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of networks and optimisers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class InTurn:
    """Students that step one after the other: the reference, and faster on a CPU."""

    def __init__(self, networks: Sequence[Network], recipe: Recipe) -> None:
        self.networks, self.recipe = list(networks), recipe
        self.optimizers = [recipe.optimizer_of(n.named_parameters()) for n in self.networks]

    def step(self, batches: Sequence[Batch], rngs: Sequence[torch.Generator]) -> torch.Tensor:
        """Take one step of every student and return the losses (S,)."""
        losses = []
        for network, optimizer, batch, rng in zip(self.networks, self.optimizers, batches, rngs, strict=True):
            network.train()
            # GSAM calls the closure twice a step; the state of the generator makes both calls drop out alike.
            closure: Callable[[], Any] = functools.partial(
                _loss_and_gradient, network, self.recipe, optimizer, batch, rng, rng.get_state()
            )
            losses.append(cast(torch.Tensor, optimizer.step(closure)).detach())
        return torch.stack(losses)

    def set_lr(self, lr: float, forget_momentum: bool) -> None:
        """Set the learning rate of all students, and reset the momentum on request."""
        for optimizer in self.optimizers:
            _set_lr(optimizer, lr, forget_momentum)

    @torch.no_grad()
    def logits(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return every student's logits (S, N, classes) for the same images, without gradient."""
        return torch.stack([network.eval()(x_NCHW) for network in self.networks])

    def weights_of(self, student: int) -> dict[str, torch.Tensor]:
        """Return one student's weights by name."""
        return self.networks[student].state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of networks and optimisers."""
        return {
            "networks": [n.state_dict() for n in self.networks],
            "optimizers": [o.state_dict() for o in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for network, weights in zip(self.networks, state["networks"], strict=True):
            network.load_state_dict(weights)
        for optimizer, optimizer_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)


class Stacked:
    """Students that step together, by ``vmap`` over stacked weights; networks must have no buffers."""

    def __init__(self, networks: Sequence[Network], recipe: Recipe) -> None:
        self.skeleton = networks[0]
        stacked, _ = stack_module_state(list(networks))
        # Leaves of their own: the networks' parameters are not trained, only these are.
        self.weights: dict[str, torch.Tensor] = {
            name: nn.Parameter(weight.detach().clone()) for name, weight in stacked.items()
        }
        self.recipe = recipe
        self.optimizer = recipe.optimizer_of(self.weights.items(), stacked=1)

    def _call(self, weights: dict[str, torch.Tensor], x_NCHW: torch.Tensor) -> torch.Tensor:
        return functional_call(self.skeleton, weights, (x_NCHW,))

    def step(self, batches: Sequence[Batch], rngs: Sequence[torch.Generator]) -> torch.Tensor:
        """Take one step of every student and return the losses (S,)."""
        x_SNCHW = torch.stack([x_NCHW for x_NCHW, _ in batches])
        targets_SNC = torch.stack([targets_NC for _, targets_NC in batches])
        self.skeleton.train()
        # Only the first stream seeds the step, but InTurn draws a seed from each: keep the others in step.
        for rng in rngs[1:]:
            draw_seed(rng)
        with global_seed(rngs[0]):
            # Different randomness, so that students drop out different units.
            logits_SNC = torch.vmap(self._call, randomness="different")(self.weights, x_SNCHW)
        losses_S = torch.vmap(self.recipe.loss)(logits_SNC, targets_SNC)
        self.optimizer.zero_grad(set_to_none=True)
        losses_S.sum().backward()  # students share no weights, so the gradient of the sum is each one's own
        self.optimizer.step()
        return losses_S.detach()

    def set_lr(self, lr: float, forget_momentum: bool) -> None:
        """Set the learning rate of all students, and reset the momentum on request."""
        _set_lr(self.optimizer, lr, forget_momentum)

    @torch.no_grad()
    def logits(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return every student's logits (S, N, classes) for the same images, without gradient."""
        self.skeleton.eval()
        return torch.vmap(self._call, in_dims=(0, None))(self.weights, x_NCHW)

    def weights_of(self, student: int) -> dict[str, torch.Tensor]:
        """Return one student's weights by name."""
        return {name: w.detach()[student] for name, w in self.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of networks and optimisers."""
        return {
            "weights": {n: w.detach() for n, w in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        with torch.no_grad():
            for name, weight in state["weights"].items():
                self.weights[name].copy_(weight)
        self.optimizer.load_state_dict(state["optimizer"])


def cohort(networks: Sequence[Network], recipe: Recipe) -> Cohort:
    """Return the networks as a stacked cohort if the device and the recipe allow it, otherwise in turn."""
    per_network = getattr(getattr(recipe.optimizer, "func", recipe.optimizer), "per_network", False)
    stackable = len(networks) > 1 and not per_network and not any(True for _ in networks[0].buffers())
    # On a CPU, stacking is slower than taking turns.
    on_device = next(networks[0].parameters()).device.type != "cpu"
    return Stacked(networks, recipe) if stackable and on_device else InTurn(networks, recipe)


def _loss_and_gradient(
    network: Network,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rng: torch.Generator,
    state: torch.Tensor,
) -> torch.Tensor:
    """Set the gradients of one batch and return its loss; repeated calls use the same random state."""
    rng.set_state(state)
    x_NCHW, targets_NC = batch
    with global_seed(rng):
        loss = recipe.loss(network(x_NCHW), targets_NC)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    return loss


def _set_lr(optimizer: torch.optim.Optimizer, lr: float, forget_momentum: bool) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
    if forget_momentum:
        # Momentum buffers, as if the optimiser were new.
        optimizer.state.clear()
