"""Naive MTT and TESLA."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from experiments.speed.start import Reference, Start
from moe_distill.seeding import stream


class Drawn(NamedTuple):
    """What an iteration draws: first and target weights, flat, and each step's images and augmentation."""

    start_P: Tensor
    target_P: Tensor
    rows: list[Tensor]
    plans: list[Any]


class NaiveMTT(Reference):
    """Autograd through every step of the student (MTT, Algorithm 1)."""

    def __init__(self, start: Start) -> None:
        rate = torch.tensor(
            start.settings["step_size"]
        )  # float32, as sets keep it, before any other precision
        self.rate = torch.nn.Parameter(rate.to(start.images_NCHW.dtype))
        self.order: list[int] = []
        self.shell: torch.nn.Module | None = None
        super().__init__(start)

    def image_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of images and step size."""
        s = self.start.settings
        groups = [
            {"params": [self.images], "lr": s["lr_images"]},
            {"params": [self.rate], "lr": s["lr_step_size"]},
        ]
        return torch.optim.SGD(groups, momentum=s["momentum"])

    def iterate(self, iteration: int) -> None:
        """Let a student learn; move images and step size by where it landed."""
        drawn = self.draw()
        students = [drawn.start_P.clone().requires_grad_()]
        for rows, plan in zip(drawn.rows, drawn.plans, strict=True):
            x = self.start.settings["augment"].apply(self.images[rows], plan)
            ce = F.cross_entropy(self.logits(students[-1], x), self.labels[rows])
            (slope,) = torch.autograd.grad(ce, students[-1], create_graph=True)
            students.append(students[-1] - self.rate * slope)
        distance = F.mse_loss(students[-1], drawn.target_P, reduction="sum")
        span = F.mse_loss(drawn.start_P, drawn.target_P, reduction="sum")
        self.optimizer.zero_grad()
        (distance / span).backward()
        self.optimizer.step()

    def draw(self) -> Drawn:
        """Draw teacher, start epoch, mini-batches and augmentations."""
        s, teachers = self.start.settings, self.start.trajectories
        assert teachers is not None
        if not self.order:
            self.order = torch.randperm(len(teachers), generator=self.rng).tolist()
        teacher = self.order.pop()
        epoch = int(torch.randint(0, s["max_start_epoch"], (1,), generator=self.rng))
        start_P, target_P = (
            teachers.snapshot(teacher, e).to(self.images.dtype) for e in (epoch, epoch + s["teacher_epochs"])
        )
        size = len(self.images) if s["batch_syn"] == "all" else s["batch_syn"]
        chunks: list[Tensor] = []
        rows = []
        for _ in range(s["synthetic_steps"]):
            if not chunks:
                chunks = list(torch.split(torch.randperm(len(self.images), generator=self.rng), size))
            rows.append(chunks.pop())
        plans = [s["augment"].draw(self.rng, len(r), self.images.shape[-1], shared=False) for r in rows]
        return Drawn(start_P, target_P, rows, plans)

    def logits(self, theta_P: Tensor, x_NCHW: Tensor) -> Tensor:
        """Return the logits of the network whose flat weights are given."""
        if self.shell is None:
            self.shell = self.start.new_network(stream(0, "a shell")).train()
        weights, begin = {}, 0
        for name, parameter in self.shell.named_parameters():
            weights[name] = theta_P[begin : begin + parameter.numel()].view(parameter.shape)
            begin += parameter.numel()
        found: Tensor = functional_call(self.shell, weights, (x_NCHW,))
        return found


class NaiveTesla(NaiveMTT):
    """Two passes, each step's weights taken as constants (TESLA, §3.2); the gradient keeps its factor 2."""

    def iterate(self, iteration: int) -> None:
        """Sum the student's slopes, then contract each of them again with the miss."""
        drawn, rate = self.draw(), self.rate.item()
        students, total = [drawn.start_P], torch.zeros_like(drawn.start_P)
        for rows, plan in zip(drawn.rows, drawn.plans, strict=True):
            slope = self._slope(students[-1], rows, plan, keep_graph=False)
            total += slope
            students.append(students[-1] - rate * slope)
        span = torch.sum((drawn.start_P - drawn.target_P) ** 2)
        v_P = 2 / span * (rate * (drawn.target_P - drawn.start_P) + rate**2 * total)
        self.optimizer.zero_grad()
        for theta, rows, plan in zip(students, drawn.rows, drawn.plans, strict=False):
            slope = self._slope(theta, rows, plan, keep_graph=True)
            torch.sum(slope * v_P).backward(inputs=[self.images])
        self.rate.grad = -2 / span * torch.sum(total * (drawn.start_P - rate * total - drawn.target_P))
        self.optimizer.step()

    def _slope(self, theta_P: Tensor, rows: Tensor, plan: Any, keep_graph: bool) -> Tensor:
        theta_P = theta_P.detach().requires_grad_()
        x = self.start.settings["augment"].apply(self.images[rows], plan)
        ce = F.cross_entropy(self.logits(theta_P, x), self.labels[rows])
        (slope,) = torch.autograd.grad(ce, theta_P, create_graph=keep_graph)
        return slope
