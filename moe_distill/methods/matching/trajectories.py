"""The gradient of trajectory matching: how far a student of the synthetic set lands from its teacher.

The student starts at weights θ_0 of the teacher's trajectory and takes N plain steps of gradient descent on
synthetic images, θ_{i+1} = θ_i - β g_i with g_i = ∇_θ ℓ(θ_i; x_i, y_i). The loss is L = ‖θ_N - θ*‖² / ‖θ_0 -
θ*‖², one scalar over all weights, and its gradient is wanted with regard to images, targets and β
(Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022, equation 2).

`unroll`, `adjoint` and `tesla` take the same problem and return the same kind of answer; whatever is random
was drawn before, so that a step can be replayed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from moe_distill.data.augmentation.dsa import Augmentation, Plan
from moe_distill.errors import InputError

FlatNetwork = Callable[[Tensor, Tensor], Tensor]


class Step(NamedTuple):
    """One step of the student: its images, as different rows (B,) of the set, and what is done to them."""

    rows_B: Tensor
    plan: Plan | None


class Gradients(NamedTuple):
    """The loss of a problem and its gradients, all without graph.

    Attributes:
        loss: L, a scalar.
        images_NCHW: ∂L/∂x of all images of the set; zero for those in no step.
        step_size: ∂L/∂β, a scalar.
        targets_NC: ∂L/∂y of all probabilities of the set.
    """

    loss: Tensor
    images_NCHW: Tensor
    step_size: Tensor
    targets_NC: Tensor


@dataclass(frozen=True)
class Problem:
    """What the loss of one iteration depends on.

    Attributes:
        network: Gives logits (B, classes) for flat weights (P,) and images (B, C, H, W); treats every image
            alone.
        start_P: θ_0.
        target_P: θ*.
        images_NCHW: All images of the set.
        targets_NC: Probabilities the student is trained towards, a row an image.
        step_size: β, a scalar.
        steps: The student's N steps.
        micro_batch: Most images in one pass through the network; None takes a step's images at once. The
            result is the same, peak memory is not.
    """

    network: FlatNetwork
    start_P: Tensor
    target_P: Tensor
    images_NCHW: Tensor
    targets_NC: Tensor
    step_size: Tensor
    steps: Sequence[Step]
    micro_batch: int | None = None

    @property
    def span(self) -> Tensor:
        """‖θ_0 - θ*‖², a scalar."""
        return (self.start_P - self.target_P).square().sum()


def flat_call(network: nn.Module) -> FlatNetwork:
    """Return the network, in training mode, as a function of its flat weights (P,) and images.

    The order is that of ``network.parameters()``, each row-major. The network's own weights are neither used
    nor moved.

    Raises:
        InputError: The network keeps running statistics, or drops units at random: then weights alone do not
            say what it computes.
    """
    drops = any(isinstance(module, nn.Dropout) and module.p > 0 for module in network.modules())
    if drops or any(True for _ in network.buffers()):
        allowed = (
            "a network without running statistics and dropout, such as convnet3: weights alone are matched"
        )
        raise InputError("model", type(network).__name__, allowed)
    shapes = {name: weight.shape for name, weight in network.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]
    network.train()

    def call(theta_P: Tensor, x_BCHW: Tensor) -> Tensor:
        parts = theta_P.split(sizes)
        weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        logits_BC: Tensor = functional_call(network, weights, (x_BCHW,))
        return logits_BC

    return call


def mini_batches(images: int, size: int, steps: int, rng: torch.Generator) -> list[Tensor]:
    """Draw the rows of every step, each (B,) on the CPU.

    A permutation of all images is cut into chunks that are taken from the end, so that the short one comes
    first; the next permutation is drawn when none is left.
    """
    left: list[Tensor] = []
    taken = []
    for _ in range(steps):
        left = left or list(torch.randperm(images, generator=rng).split(size))
        taken.append(left.pop())
    return taken


def unroll(problem: Problem) -> Gradients:
    """Differentiate through all steps at once: memory grows with their number."""
    leaves = problem.images_NCHW, problem.step_size, problem.targets_NC
    images_NCHW, step_size, targets_NC = (leaf.detach().requires_grad_() for leaf in leaves)
    theta_P = problem.start_P.detach().requires_grad_()
    for step in problem.steps:
        x_BCHW, y_BC = _augmented(images_NCHW, step), targets_NC[step.rows_B]
        slopes = [_slope(problem, theta_P, x, y, len(y_BC), True) for x, y in _parts(problem, x_BCHW, y_BC)]
        theta_P = theta_P - step_size * torch.stack(slopes).sum(0)
    loss = (theta_P - problem.target_P).square().sum() / problem.span
    return Gradients(loss.detach(), *torch.autograd.grad(loss, (images_NCHW, step_size, targets_NC)))


def adjoint(problem: Problem) -> Gradients:
    """Return exactly what `unroll` does with the memory of a single step, at about its time.

    With λ_N = ∂L/∂θ_N, one contraction of g_i with λ_{i+1} gives, going back, the shares of step i in all
    gradients and λ_i = λ_{i+1} - β H_i λ_{i+1}: reverse-mode differentiation in which each step is computed
    again. Keeps the N + 1 weight vectors.
    """
    return _backwards(problem, through_weights=True)


def tesla(problem: Problem) -> Gradients:
    """Return the gradient without the terms by which a step's images reach the slopes of later steps.

    Source: Cui et al., "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023,
        section 3.2:
    λ_i = λ_N throughout. An approximation. The published program loses a factor of 2 of the images' gradient,
    which is right here: halve its learning rates of images to take its steps.
    """
    return _backwards(problem, through_weights=False)


def _backwards(problem: Problem, through_weights: bool) -> Gradients:
    path = _walk(problem)
    miss_P = path.pop() - problem.target_P
    pull_P = 2 / problem.span * miss_P
    images_NCHW, targets_NC = torch.zeros_like(problem.images_NCHW), torch.zeros_like(problem.targets_NC)
    step_size = torch.zeros_like(problem.step_size)
    for step in reversed(problem.steps):
        theta_P = path.pop()
        raw_BCHW = problem.images_NCHW.detach()[step.rows_B].requires_grad_(step.plan is not None)
        x_BCHW = raw_BCHW if step.plan is None else Augmentation.apply(raw_BCHW, step.plan)
        along, x_grad, y_grad, bend_P = _contract(
            problem, step, theta_P, x_BCHW.detach(), pull_P, through_weights
        )
        if step.plan is not None:
            (x_grad,) = torch.autograd.grad(x_BCHW, raw_BCHW, x_grad)
        images_NCHW.index_add_(0, step.rows_B, -problem.step_size.detach() * x_grad)
        targets_NC.index_add_(0, step.rows_B, -problem.step_size.detach() * y_grad)
        step_size -= along
        if bend_P is not None:
            pull_P = pull_P - problem.step_size.detach() * bend_P
    return Gradients(miss_P.square().sum() / problem.span, images_NCHW, step_size, targets_NC)


def _walk(problem: Problem) -> list[Tensor]:
    """Return θ_0 … θ_N."""
    path = [problem.start_P.detach()]
    for step in problem.steps:
        with torch.no_grad():
            x_BCHW, y_BC = _augmented(problem.images_NCHW, step), problem.targets_NC[step.rows_B]
        theta_P = path[-1].detach().requires_grad_()
        slope_P = torch.zeros_like(path[-1])
        for x, y in _parts(problem, x_BCHW, y_BC):
            slope_P += _slope(problem, theta_P, x, y, len(y_BC), False)
        path.append(path[-1] - problem.step_size.detach() * slope_P)
    return path


def _contract(
    problem: Problem, step: Step, theta_P: Tensor, x_BCHW: Tensor, pull_P: Tensor, through_weights: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return ⟨g_i, λ⟩ and its gradients by the augmented images, the targets and, if wanted, the weights."""
    along = torch.zeros_like(problem.step_size)
    bend_P = torch.zeros_like(theta_P) if through_weights else None
    x_grads, y_grads = [], []
    theta_P = theta_P.detach().requires_grad_()
    for x, y in _parts(problem, x_BCHW, problem.targets_NC.detach()[step.rows_B]):
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        share = _slope(problem, theta_P, x, y, len(step.rows_B), True) @ pull_P
        wanted = (x, y, theta_P) if through_weights else (x, y)
        x_grad, y_grad, *rest = torch.autograd.grad(share, wanted)
        x_grads.append(x_grad)
        y_grads.append(y_grad)
        along += share.detach()
        if bend_P is not None:
            bend_P += rest[0]
    return along, torch.cat(x_grads), torch.cat(y_grads), bend_P


def _parts(problem: Problem, x_BCHW: Tensor, y_BC: Tensor) -> list[tuple[Tensor, Tensor]]:
    size = problem.micro_batch or len(y_BC)
    return list(zip(x_BCHW.split(size), y_BC.split(size), strict=True))


def _augmented(images_NCHW: Tensor, step: Step) -> Tensor:
    x_BCHW = images_NCHW[step.rows_B]
    return x_BCHW if step.plan is None else Augmentation.apply(x_BCHW, step.plan)


def _slope(problem: Problem, theta_P: Tensor, x: Tensor, y: Tensor, whole: int, create_graph: bool) -> Tensor:
    """Return the share of some images in g_i, whose loss is a mean over ``whole`` images."""
    loss = -(y * problem.network(theta_P, x).log_softmax(1)).sum() / whole
    (slope_P,) = torch.autograd.grad(loss, theta_P, create_graph=create_graph)
    return slope_P
