"""MTT: matching the trajectories that networks take while they train on real data.

Cazenavette, Wang, Torralba, Efros and Zhu, "Dataset Distillation by Matching Training Trajectories", CVPR
2022.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.initialization import Initial
from moe_distill.errors import FieldError, within
from moe_distill.methods.base import Apply, IterationContext, Method, fill_by_class, teachers_of
from moe_distill.methods.matching.trajectories import (
    FlatNetwork,
    Gradients,
    Problem,
    Step,
    flat_call,
    mini_batches,
)
from moe_distill.methods.presets.mtt import PRESETS
from moe_distill.methods.presets.rows import Presets
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, checked


@checked
@dataclass(kw_only=True, eq=False)
class MTT(Method):
    """Each iteration trains a student on the synthetic set and pulls its end point to that of a teacher.

    The student starts from the teacher's weights at a random epoch, uniform in the allowed range. Teachers
    come in random order, each once before any is repeated. In a sequence of experts the student trains on the
    images of all, of which its own alone move; the step size is its own.

    Args:
        iterations: Iterations (published: 5001; the loop is inclusive).
        lr_images: Learning rate of the images.
        lr_step_size: Learning rate of the student's step size.
        momentum: Momentum of images and step size.
        step_size: Initial value of the student's step size β.
        step_size_floor: Lower bound of β, so that no student and no recipe gets a negative learning rate.
        synthetic_steps: N, steps of the student.
        teacher_epochs: M, epochs of the teacher that the student should cover. An epoch is as many updates as
            a pass over all real images takes, even where the teacher sees only a part of them.
        max_start_epoch: T⁺, the latest start epoch, exclusive.
        batch_syn: Synthetic images per step of the student, or ``all``; in a sequence, of all experts so far.
        max_loss: Iterations with a larger loss move nothing; None means no limit.
        ema: Decay of the moving average of the images, which is then what is evaluated; None for no average.
        adjoint: Computes the gradient: `unroll`, `adjoint` or `tesla` of
            `moe_distill.methods.matching.trajectories`.
        micro_batch: Maximum images in one pass through the network, to save memory; None takes a whole step.
        augment: Differentiable augmentation, drawn for each image and step.
        init: What the images start as.
        teachers: Builds the pool of teachers; after construction, the pool.

    Raises:
        FieldError: ``step_size`` is below ``step_size_floor``.
    """

    presets: ClassVar[Presets] = PRESETS
    # The loss is relative to the teacher's way, and so of one size for all architectures.
    balance: ClassVar[Literal["none", "norm"]] = "none"
    matches_union: ClassVar[bool] = True
    perturbs: ClassVar[bool] = True

    # field() keeps these required: otherwise the class attributes of Method would become defaults.
    iterations: Count = field()
    lr_images: Positive
    lr_step_size: NotNegative
    momentum: Momentum
    step_size: Positive = field()
    step_size_floor: Positive
    synthetic_steps: Count
    teacher_epochs: Count
    max_start_epoch: Count
    batch_syn: Count | Literal["all"]
    max_loss: Positive | None
    ema: Momentum | None = field()
    adjoint: Callable[[Problem], Gradients]
    micro_batch: Count | None
    augment: Augmentation | None
    init: Initial = field()
    teachers: Callable[[], TrajectoryPool] = field()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Check the step size and build the pool, whose teachers are trained before the first iteration."""
        if self.step_size_floor > self.step_size:
            allowed = f"at most step_size={self.step_size}"
            raise FieldError("step_size_floor", self.step_size_floor, allowed)
        with within("teachers"):
            # A builder until here, because the settings of a run hold builders.
            self.teachers = self.teachers()  # type: ignore[assignment]
        self._order: list[int] = []
        self._network: FlatNetwork | None = None
        self._shapes: list[torch.Size] = []

    @property
    def epochs_needed(self) -> int:
        """Epochs the teachers must train for: the last epoch that a student may have to reach."""
        return self.max_start_epoch - 1 + self.teacher_epochs

    def start_epochs(self, iteration: int) -> tuple[int, int]:
        """Return the first and the last (exclusive) start epoch that an iteration may draw."""
        return 0, self.max_start_epoch

    def prepare(self, context: IterationContext) -> None:
        """Fill the initial images class by class."""
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.initial(context, c, ipc))

    def initial(self, context: IterationContext, c: int, ipc: int) -> torch.Tensor:
        """Return the initial images (ipc, C, H, W) of a class."""
        return self.init(context.real, c, ipc, context.rng)

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Train one student, then move images, step size and labels along the gradient of its distance."""
        syn = context.syn
        targets_NC = syn.targets()
        gradients = self.adjoint(self._problem(context))
        # "not greater" lets NaN through: it must reach the check for finite numbers, not be skipped.
        if self.max_loss is None or not gradients.loss > self.max_loss:
            # Those of earlier experts, which never move, come after its own.
            images_NCHW = gradients.images_NCHW[: len(syn.images)]
            grads = {"images": images_NCHW, "learned_rate": gradients.step_size}
            if syn.soft_labels is not None:
                # Chain rule from the probabilities back to the logits that are stored.
                (grads["soft_labels"],) = torch.autograd.grad(
                    targets_NC, syn.soft_labels, gradients.targets_NC[: len(targets_NC)]
                )
            apply(grads=grads)
            with torch.no_grad():
                learned_rate(syn).clamp_(min=self.step_size_floor)
        scalars = {"loss": gradients.loss, "step_size": learned_rate(syn).detach()}
        # An infinite loss that max_loss has skipped is no failure, so it is not reported as one.
        return {name: value for name, value in scalars.items() if not value.isinf()}

    def _problem(self, context: IterationContext) -> Problem:
        """Draw a teacher, a start epoch and the student's steps."""
        teachers, rng = teachers_of(context), context.rng
        images = torch.cat([synthetic.images.detach() for synthetic in context.matched])
        targets_NC = torch.cat([synthetic.targets().detach() for synthetic in context.matched])
        if not self._order:
            # Every teacher has been used: draw a new order.
            self._order = torch.randperm(len(teachers), generator=rng).tolist()
        teacher = self._order.pop()
        epoch = int(torch.randint(*self.start_epochs(context.iteration * context.turns), (1,), generator=rng))
        start = teachers.snapshot(teacher, epoch).to(images)
        target = teachers.snapshot(teacher, epoch + self.teacher_epochs).to(images)
        rate = learned_rate(context.syn).detach()
        steps = self._steps(len(images), images, rng)
        network, moved = self.network(context), start
        if context.perturbation is not None:
            moved = context.perturbation.near(start, target, self._shapes, context.options_rng)
        return Problem(network, moved, target, images, targets_NC, rate, steps, self.micro_batch, start)

    def _steps(self, count: int, images: torch.Tensor, rng: torch.Generator) -> list[Step]:
        """Draw the student's mini-batches and their augmentation, all before the first step."""
        size = count if self.batch_syn == "all" else self.batch_syn
        steps = []
        for rows in mini_batches(count, size, self.synthetic_steps, rng):
            plan = None
            if self.augment is not None:
                plan = self.augment.draw(rng, len(rows), images.shape[-1], shared=False)
            steps.append(Step(rows.to(images.device), plan))
        return steps

    def network(self, context: IterationContext) -> FlatNetwork:
        """Return the distilling architecture as a function of flat weights."""
        if self._network is None:
            # A constant seed: drawing from the expert's stream would change all that is drawn after it.
            shell = context.new_network(stream(0, "a shell whose weights nobody uses"))
            self._network = flat_call(shell)
            self._shapes = [weight.shape for weight in shell.parameters()]
        return self._network

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return one group with the images and one with the step size."""
        return [
            {"params": [syn.images], "lr": self.lr_images, "momentum": self.momentum},
            {"params": [learned_rate(syn)], "lr": self.lr_step_size, "momentum": self.momentum},
        ]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return the forward passes of one iteration, that is of all steps of the student."""
        images = classes * ipc
        batch = images if self.batch_syn == "all" else min(self.batch_syn, images)
        # Each step is run once without graph (3) and once with it and backwards through it (9).
        return 12.0 * self.synthetic_steps * batch

    def state_dict(self) -> dict[str, Any]:
        """Return the teachers that are still to come before any is repeated."""
        return {"order": list(self._order)}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Restore the order of the remaining teachers."""
        self._order = list(state["order"])


def learned_rate(syn: SyntheticSet) -> torch.Tensor:
    """Return the student's learned step size, a scalar parameter of the set."""
    assert syn.learned_rate is not None
    return syn.learned_rate
