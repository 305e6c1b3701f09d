"""The gradient of the trajectory matching loss: how far a student lands from its teacher.

The student starts at weights θ_0 of the teacher's trajectory and takes N plain steps of gradient descent on
synthetic images, θ_{i+1} = θ_i - β g_i with g_i = ∇_θ ℓ(θ_i; x_i, y_i). The loss is L = ‖θ_N - θ*‖² / ‖θ_0 -
θ*‖², one scalar over all weights, and is differentiated with respect to images, targets and β (Cazenavette et
al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022, equation 2).

`unroll`, `adjoint` and `tesla` take the same problem and return the same type. Everything random is drawn
beforehand, so that a step can be computed again.
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
    """One step of the student: distinct rows (B,) of the set and their augmentation; None for none."""

    rows_B: Tensor
    plan: Plan | None


class Gradients(NamedTuple):
    """The loss of a problem and its gradients, all detached.

    Attributes:
        loss: L, a scalar.
        images_NCHW: ∂L/∂x of all images of the set; zero for images in no step.
        step_size: ∂L/∂β, a scalar.
        targets_NC: ∂L/∂y of all probabilities of the set.
    """

    loss: Tensor
    images_NCHW: Tensor
    step_size: Tensor
    targets_NC: Tensor


@dataclass(frozen=True)
class Problem:
    """Everything that the loss of one iteration depends on.

    Attributes:
        network: Returns logits (B, classes) for flat weights (P,) and images (B, C, H, W). The logits of an
            image must not depend on the others.
        start_P: θ_0, the student's initial weights.
        target_P: θ*, the teacher's weights.
        images_NCHW: All images of the set.
        targets_NC: Probabilities that the student is trained towards, one row per image.
        step_size: β, a scalar.
        steps: The student's N steps.
        micro_batch: Maximum images in one pass through the network, to save memory; the result is the same.
            None takes all images of a step at once.
        unperturbed_P: The teacher's weights that θ_0 is near, if it is perturbed; None if it is not.
    """

    network: FlatNetwork
    start_P: Tensor
    target_P: Tensor
    images_NCHW: Tensor
    targets_NC: Tensor
    step_size: Tensor
    steps: Sequence[Step]
    micro_batch: int | None = None
    unperturbed_P: Tensor | None = None

    @property
    def span(self) -> Tensor:
        """‖θ_0 - θ*‖² before any perturbation, the denominator of the loss, a scalar."""
        # A perturbation must not change how much a problem counts.
        start_P = self.start_P if self.unperturbed_P is None else self.unperturbed_P
        return (start_P - self.target_P).square().sum()


def flat_call(network: nn.Module) -> FlatNetwork:
    """Return the network, in training mode, as a function of its flat weights (P,) and images.

    Weights are in the order of ``network.parameters()``, each row-major. The network's own weights are
    neither used nor changed.

    Raises:
        InputError: The network has running statistics or dropout, so that its output is not determined by its
            weights alone.

    Example:
        >>> call = flat_call(nn.Linear(2, 1, bias=False))
        >>> call(torch.tensor([3.0, 4.0]), torch.ones(1, 2))
        tensor([[7.]])
    """
    # Also dropout with p > 0: the student must be a function of its weights and images alone.
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
    """Draw the rows of every step, each (B,) on the CPU, going through shuffled epochs.

    Args:
        images: Number of images in the set.
        size: Images per step.
        steps: Number of steps.
        rng: A CPU generator.

    Example:
        >>> from moe_distill.seeding import stream
        >>> [len(rows) for rows in mini_batches(5, size=2, steps=4, rng=stream(0, "example"))]
        [1, 2, 2, 1]
    """
    remaining: list[Tensor] = []
    batches = []
    for _ in range(steps):
        if not remaining:
            remaining = list(torch.randperm(images, generator=rng).split(size))
        # From the end, as in the published code: the short chunk of an epoch comes first.
        batches.append(remaining.pop())
    return batches


def unroll(problem: Problem) -> Gradients:
    """Return the exact gradient by differentiating through all steps at once; memory grows with their number.

    Source: MTT, Algorithm 1.
    """
    images_NCHW = problem.images_NCHW.detach().requires_grad_()
    step_size = problem.step_size.detach().requires_grad_()
    targets_NC = problem.targets_NC.detach().requires_grad_()
    theta_P = problem.start_P.detach().requires_grad_()
    for step in problem.steps:
        x_BCHW, y_BC = _augmented(images_NCHW, step), targets_NC[step.rows_B]
        slopes = [_slope(problem, theta_P, x, y, len(y_BC), True) for x, y in _parts(problem, x_BCHW, y_BC)]
        theta_P = theta_P - step_size * torch.stack(slopes).sum(0)
    loss = (theta_P - problem.target_P).square().sum() / problem.span
    return Gradients(loss.detach(), *torch.autograd.grad(loss, (images_NCHW, step_size, targets_NC)))


def adjoint(problem: Problem) -> Gradients:
    """Return the same gradient as `unroll` with the memory of a single step, in about the same time.

    This is reverse-mode differentiation that computes each step again and stores only the N + 1 weight
    vectors. Going back from λ_N = ∂L/∂θ_N, the derivatives of ⟨g_i, λ_{i+1}⟩ give step i's share in all
    gradients and λ_i = λ_{i+1} - β H_i λ_{i+1}.
    """
    return _backwards(problem, through_weights=True)


def tesla(problem: Problem) -> Gradients:
    """Return an approximate gradient that ignores how a step's images affect the gradients of later steps.

    Source: Cui et al., "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory", ICML 2023,
    section 3.2: λ_i = λ_N for all i. The published program loses a factor of 2 in the images' gradient, which
    is kept here; halve its learning rates of images to take the same steps.
    """
    return _backwards(problem, through_weights=False)


def _backwards(problem: Problem, through_weights: bool) -> Gradients:
    """Go back through the student's steps; without ``through_weights`` λ stays λ_N."""
    path = _walk(problem)
    error_P = path.pop() - problem.target_P
    # ∂L/∂θ_N = 2 (θ_N - θ*) / ‖θ_0 - θ*‖²
    lambda_P = 2 / problem.span * error_P
    images_NCHW, targets_NC = torch.zeros_like(problem.images_NCHW), torch.zeros_like(problem.targets_NC)
    step_size = torch.zeros_like(problem.step_size)
    for step in reversed(problem.steps):
        theta_P = path.pop()
        # A leaf of its own, so that the backward pass ends at this step's batch.
        raw_BCHW = problem.images_NCHW.detach()[step.rows_B].requires_grad_(step.plan is not None)
        x_BCHW = raw_BCHW if step.plan is None else Augmentation.apply(raw_BCHW, step.plan)
        # Detached: the double backward pass ends at the augmented images, and one pass leads on from there.
        product, x_grad, y_grad, curvature_P = _contract(
            problem, step, theta_P, x_BCHW.detach(), lambda_P, through_weights
        )
        if step.plan is not None:
            (x_grad,) = torch.autograd.grad(x_BCHW, raw_BCHW, x_grad)
        # θ_{i+1} = θ_i - β g_i, hence the minus signs. Added up, because an image may be in several steps.
        images_NCHW.index_add_(0, step.rows_B, -problem.step_size.detach() * x_grad)
        targets_NC.index_add_(0, step.rows_B, -problem.step_size.detach() * y_grad)
        step_size -= product
        if curvature_P is not None:
            lambda_P = lambda_P - problem.step_size.detach() * curvature_P
    return Gradients(error_P.square().sum() / problem.span, images_NCHW, step_size, targets_NC)


def _walk(problem: Problem) -> list[Tensor]:
    """Run the student without graph and return its weights θ_0 … θ_N."""
    path = [problem.start_P.detach()]
    for step in problem.steps:
        with torch.no_grad():
            x_BCHW, y_BC = _augmented(problem.images_NCHW, step), problem.targets_NC[step.rows_B]
        theta_P = path[-1].detach().requires_grad_()
        slope_P = torch.zeros_like(path[-1])
        for x, y in _parts(problem, x_BCHW, y_BC):
            slope_P += _slope(problem, theta_P, x, y, len(y_BC), False)
        # Not in place: every vector of the path is kept.
        path.append(path[-1] - problem.step_size.detach() * slope_P)
    return path


def _contract(
    problem: Problem, step: Step, theta_P: Tensor, x_BCHW: Tensor, lambda_P: Tensor, through_weights: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return ⟨g_i, λ⟩ and its gradients by augmented images, targets and, on request, weights (H_i λ)."""
    product = torch.zeros_like(problem.step_size)
    curvature_P = torch.zeros_like(theta_P) if through_weights else None
    x_grads, y_grads = [], []
    theta_P = theta_P.detach().requires_grad_()
    for x, y in _parts(problem, x_BCHW, problem.targets_NC.detach()[step.rows_B]):
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        part = _slope(problem, theta_P, x, y, len(step.rows_B), True) @ lambda_P
        inputs = (x, y, theta_P) if through_weights else (x, y)
        x_grad, y_grad, *weight_grads = torch.autograd.grad(part, inputs)
        x_grads.append(x_grad)
        y_grads.append(y_grad)
        product += part.detach()
        if curvature_P is not None:
            curvature_P += weight_grads[0]
    return product, torch.cat(x_grads), torch.cat(y_grads), curvature_P


def _parts(problem: Problem, x_BCHW: Tensor, y_BC: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Split the images and targets of a step into micro-batches."""
    size = problem.micro_batch or len(y_BC)
    return list(zip(x_BCHW.split(size), y_BC.split(size), strict=True))


def _augmented(images_NCHW: Tensor, step: Step) -> Tensor:
    x_BCHW = images_NCHW[step.rows_B]
    return x_BCHW if step.plan is None else Augmentation.apply(x_BCHW, step.plan)


def _slope(problem: Problem, theta_P: Tensor, x: Tensor, y: Tensor, batch: int, create_graph: bool) -> Tensor:
    """Return the share of a micro-batch in g_i, the gradient of the mean loss over ``batch`` images."""
    # Divided by the size of the whole step, so that shares of micro-batches add up to its mean.
    loss = -(y * problem.network(theta_P, x).log_softmax(1)).sum() / batch
    (slope_P,) = torch.autograd.grad(loss, theta_P, create_graph=create_graph)
    return slope_P
