"""Rates that fall while images are distilled, and a moving average of the images."""

import dataclasses
import functools
import math

import pytest
import torch

from moe_distill.data.initialization import random_real
from moe_distill.experts.expert import Expert
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.schedule import Course, Plateau, Schedule
from moe_distill.methods.coreset import Random
from moe_distill.methods.dm import DM
from moe_distill.testing.stand_ins import OWNER, noise_set, resources

TOTAL = 8
DM_SPEC = ExpertSpec(
    functools.partial(
        DM, iterations=TOTAL, lr=0.5, momentum=0.0, real_batch=6, augment=None, init=random_real
    ),
    2,
)


def expert_with(**settings):
    expert = Expert(0, DM_SPEC, torch.arange(60), dataclasses.replace(resources(noise_set(1, 8)), **settings))
    expert.start()
    return expert


def path(expert, optimizer=None, begin=0, end=TOTAL):
    """Run iterations; return the images after each, and the rates."""
    optimizer = optimizer or expert.configure_optimizers()
    images, rates = [expert.synthetic.images.detach().clone()], []
    for iteration in range(begin, end):
        expert.iterate(iteration, optimizer, OWNER)
        images.append(expert.synthetic.images.detach().clone())
        rates.append(optimizer.param_groups[0]["lr"])
    return images, rates


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule("linear", 0.5), [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        (Schedule("linear", 1.0), [1] * TOTAL),
        (Schedule("cosine", 0.0), [(1 + math.cos(math.pi * t / TOTAL)) / 2 for t in range(TOTAL)]),
    ],
)
def test_rates_are_those_of_the_formula(schedule, expected):
    _, rates = path(expert_with(schedule=schedule))
    assert rates == pytest.approx([0.5 * factor for factor in expected])


def test_a_step_is_shorter_by_the_factor():
    plain, _ = path(expert_with(), end=6)
    falling, _ = path(expert_with(schedule=Schedule("linear", 0.5)), end=6)
    assert all(torch.equal(a, b) for a, b in zip(plain[:6], falling[:6], strict=True))
    torch.testing.assert_close(falling[6] - falling[5], 0.75 * (plain[6] - plain[5]))


def test_an_interrupted_run_goes_on_at_the_rate_of_its_iteration():
    settings = {"schedule": Schedule("cosine", 0.0), "ema": 0.5}
    whole, _ = path(expert_with(**settings))
    first = expert_with(**settings)
    optimizer = first.configure_optimizers()
    path(first, optimizer, end=3)
    second = expert_with(**settings)
    second.take_state(first.state())
    resumed = second.configure_optimizers()
    resumed.load_state_dict(optimizer.state_dict())
    images, _ = path(second, resumed, begin=3)
    assert torch.equal(images[-1], whole[-1])


def test_the_average_is_that_of_the_formula_and_is_the_set():
    expert = expert_with(ema=0.75)
    images, _ = path(expert)
    average = images[0].double()
    for image in images[1:]:
        average = 0.75 * average + 0.25 * image.double()
    torch.testing.assert_close(expert.synthetic.final().images.double(), average, rtol=0, atol=1e-5)


def rates_by_torch(losses, lr, plateau):
    """Return the rates of torch's own scheduler before each of these losses."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=plateau.shrink,
        patience=plateau.patience,
        threshold=plateau.threshold,
        eps=plateau.least * lr,
    )
    rates = []
    for loss in losses:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(loss)
    return rates


@pytest.mark.parametrize(
    "plateau", [Plateau(patience=3), Plateau(0.1, 2, 0.05, 1e-3), Plateau(patience=1, threshold=0.0)]
)
def test_a_plateau_is_that_of_torch(plateau):
    draws = torch.rand(300, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    losses = [3 * 0.99**i + 0.5 * draw for i, draw in enumerate(draws)]
    course, rates = Course(plateau), []
    for iteration, loss in enumerate(losses):
        rates.append(0.2 * course.factor(iteration, len(losses)))
        course.add(loss)
    assert rates == pytest.approx(rates_by_torch(losses, 0.2, plateau), rel=1e-12)
    assert len(set(rates)) > 2


def test_an_experts_rates_follow_its_losses():
    plateau = Plateau(patience=1)
    expert = expert_with(schedule=plateau)
    optimizer = expert.configure_optimizers()
    losses, rates = [], []
    for iteration in range(TOTAL):
        rates += path(expert, optimizer, iteration, iteration + 1)[1]
        losses.append(expert.last_scalars["loss"])
    assert rates == pytest.approx(rates_by_torch(losses, 0.5, plateau)) and rates[-1] < rates[0]


def test_an_objective_is_watched_in_place_of_the_loss(monkeypatch):
    given = iter([9.0, *range(1, TOTAL)])  # rises from the second on, while the loss falls
    iterate = DM.iterate

    def watched(self, context, apply):
        return {
            **iterate(self, context, apply),
            "loss": 1.0 / (1 + context.iteration),
            "objective": next(given),
        }

    monkeypatch.setattr(DM, "iterate", watched)
    _, rates = path(expert_with(schedule=Plateau(patience=2)))
    assert rates == pytest.approx(rates_by_torch([9.0, *range(1, TOTAL)], 0.5, Plateau(patience=2)))
    assert rates[-1] < rates[0]


def test_an_interrupted_run_remembers_how_long_the_loss_has_stalled():
    settings = {"schedule": Plateau(patience=1)}
    whole, rates = path(expert_with(**settings))
    first = expert_with(**settings)
    optimizer = first.configure_optimizers()
    path(first, optimizer, end=5)
    second = expert_with(**settings)
    second.take_state(first.state())
    resumed = second.configure_optimizers()
    resumed.load_state_dict(optimizer.state_dict())
    images, rates_after = path(second, resumed, begin=5)
    assert torch.equal(images[-1], whole[-1]) and rates_after == rates[5:]
    assert second.courses[0].state_dict() != Course(Plateau()).state_dict()


def test_a_checkpoint_of_other_schedules_knows_of_no_course():
    assert "courses" not in expert_with(schedule=Schedule("linear")).state()


def test_a_selection_of_real_images_has_neither():
    spec = ExpertSpec(functools.partial(Random), 2)
    settings = {"schedule": Schedule("linear"), "ema": 0.9}
    expert = Expert(0, spec, torch.arange(60), dataclasses.replace(resources(noise_set(1, 8)), **settings))
    assert expert.configure_optimizers() is None and "average" not in expert.synthetic.state_dict()
