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
from moe_distill.errors import FieldError, InputError, within
from moe_distill.methods.base import Apply, IterationContext, Method, fill_by_class
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
from moe_distill.teachers.trajectories import Trajectories, TrajectoryPool
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, checked


@checked
@dataclass(kw_only=True, eq=False)
class MTT(Method):
    """Each iteration a student learns from the synthetic images and is drawn to where its teacher went from
    there.

    Teachers are taken in random order, each once before any comes again; start epochs are uniform.

    Args:
        iterations: Iterations (published: 5001; the loop is inclusive).
        lr_images: Learning rate of the images.
        lr_step_size: Learning rate of the student's step size.
        momentum: Momentum of images and step size.
        step_size: First value of the student's step size β.
        step_size_floor: β never falls below this, so that no student and no recipe meets a negative rate.
        synthetic_steps: N, steps of the student.
        teacher_epochs: M, epochs of the teacher that the student is to cover. An epoch is as many updates as
            a pass over all real images takes, whichever of them the teacher sees.
        max_start_epoch: T⁺, the latest start epoch, exclusive.
        batch_syn: Synthetic images per step of the student, or all.
        max_loss: An iteration whose loss is above moves nothing; None lets all move.
        ema: Decay of the average of the images, which is then what is evaluated; None keeps no average.
        adjoint: How the gradient is found: `unroll`, `adjoint` or `tesla` of
            `moe_distill.methods.matching.trajectories`.
        micro_batch: Most images in one pass through the network, for memory alone; None takes a step's at
            once.
        augment: Differentiable augmentation, drawn for each image and step.
        init: What the images start as.
        teachers: Makes the pool of teachers; once built, the pool.

    Raises:
        InputError: A number is out of range.
    """

    presets: ClassVar[Presets] = PRESETS

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
        """Check that the numbers agree; build the pool, which the run fills before the first iteration."""
        if self.step_size_floor > self.step_size:
            allowed = f"at most step_size={self.step_size}"
            raise FieldError("step_size_floor", self.step_size_floor, allowed)
        with within("teachers"):
            self.teachers = self.teachers()  # type: ignore[assignment]
        self._order: list[int] = []
        self._network: FlatNetwork | None = None

    @property
    def epochs_needed(self) -> int:
        """Epochs the teachers must train for: the last one that a student may be drawn to."""
        return self.max_start_epoch - 1 + self.teacher_epochs

    def start_epochs(self, iteration: int) -> tuple[int, int]:
        """Return the first start epoch of an iteration, and the last, exclusive."""
        return 0, self.max_start_epoch

    def prepare(self, context: IterationContext) -> None:
        """Fill the images class by class."""
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.initial(context, c, ipc))

    def initial(self, context: IterationContext, c: int, ipc: int) -> torch.Tensor:
        """Return the initial images (ipc, C, H, W) of a class."""
        return self.init(context.real, c, ipc, context.rng)

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Let one student learn, and move images, step size and labels by how far it landed from its
        teacher.
        """
        syn = context.syn
        targets_NC = syn.targets()
        found = self.adjoint(self._problem(context, targets_NC.detach()))
        if self.max_loss is None or not found.loss > self.max_loss:
            grads = {"images": found.images_NCHW, "learned_rate": found.step_size}
            if syn.soft_labels is not None:
                (grads["soft_labels"],) = torch.autograd.grad(targets_NC, syn.soft_labels, found.targets_NC)
            apply(grads=grads)
            with torch.no_grad():
                learned_rate(syn).clamp_(min=self.step_size_floor)
        shown = {"loss": found.loss, "step_size": learned_rate(syn).detach()}
        return {name: value for name, value in shown.items() if not value.isinf()}  # which max_loss kept out

    def _problem(self, context: IterationContext, targets_NC: torch.Tensor) -> Problem:
        teachers, images, rng = teachers_of(context), context.syn.images.detach(), context.rng
        if not self._order:
            self._order = torch.randperm(len(teachers), generator=rng).tolist()
        teacher = self._order.pop()
        epoch = int(torch.randint(*self.start_epochs(context.iteration), (1,), generator=rng))
        start, target = (
            teachers.snapshot(teacher, e).to(images) for e in (epoch, epoch + self.teacher_epochs)
        )
        rate = learned_rate(context.syn).detach()
        steps = self._steps(len(images), images, rng)
        return Problem(
            self.network(context), start, target, images, targets_NC, rate, steps, self.micro_batch
        )

    def _steps(self, count: int, like: torch.Tensor, rng: torch.Generator) -> list[Step]:
        size = count if self.batch_syn == "all" else self.batch_syn
        plans = []
        for rows in mini_batches(count, size, self.synthetic_steps, rng):
            plan = (
                None
                if self.augment is None
                else self.augment.draw(rng, len(rows), like.shape[-1], shared=False)
            )
            plans.append(Step(rows.to(like.device), plan))
        return plans

    def network(self, context: IterationContext) -> FlatNetwork:
        """Return the distilling architecture as a function of flat weights."""
        if self._network is None:
            self._network = flat_call(context.new_network(stream(0, "a shell whose weights nobody uses")))
        return self._network

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return the groups of images and step size."""
        return [
            {"params": [syn.images], "lr": self.lr_images, "momentum": self.momentum},
            {"params": [learned_rate(syn)], "lr": self.lr_step_size, "momentum": self.momentum},
        ]

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float:
        """Return forward equivalents of an iteration: a plain pass, one with graph, and the way back through
        that.
        """
        images = classes * ipc
        return (
            12.0 * self.synthetic_steps * (images if self.batch_syn == "all" else min(self.batch_syn, images))
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the teachers left in this pass."""
        return {"order": list(self._order)}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Go on with the teachers that were left."""
        self._order = list(state["order"])


def learned_rate(syn: SyntheticSet) -> torch.Tensor:
    """Return the student's step size, a scalar parameter of every set that this family distils."""
    assert syn.learned_rate is not None
    return syn.learned_rate


def teachers_of(context: IterationContext) -> Trajectories:
    """Return the expert's teachers.

    Raises:
        InputError: The run has none.
    """
    if context.trajectories is None:
        raise InputError("method.teachers", None, "trajectories: run the same command with pipeline=full")
    return context.trajectories
