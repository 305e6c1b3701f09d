"""TGDD against the arrays of its published program, and where it is unlike any other method here."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest_methods import Stepper
from conftest_tgdd import GOLDEN, Recorded, array, network_of, plan_of, stored
from torch.nn.utils import parameters_to_vector

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Cutout
from moe_distill.data.initialization import first_real
from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.methods.base import IterationContext
from moe_distill.methods.matching.cells import some_of
from moe_distill.methods.matching.recorded import cross_entropy
from moe_distill.methods.presets.rows import published_row
from moe_distill.methods.tgdd import TGDD
from moe_distill.seeding import stream
from moe_distill.teachers.snapshots import Epochs

AUGMENT = Augmentation(before=(Color(),), one_of=(Crop(),), after=(Cutout(),))
SETTINGS = {
    "iterations": 2,
    "lr": 0.5,
    "momentum": 0.5,
    "real_batch": 4,
    "synthetic_batch": 200,
    "factor": 2,
    "alpha": 0.5,
    "constraint": "joint",
    "networks": "snapshot",
    "teacher_epochs": 3,
    "window": 2,
    "augment": AUGMENT,
    "init": first_real,
    "teachers": lambda: "the pool",
}


def tgdd(**changes):
    return TGDD(**{**SETTINGS, **changes})


@pytest.mark.parametrize("case", ["px16", "cap"])
def test_loss_and_gradient_of_a_class_are_the_published_ones(case):
    size, classes, ipc, c = (int(n) for n in GOLDEN[f"loss.{case}.size_classes_ipc_class"])
    matching, constraint = (
        network_of(array(f"loss.{case}.{which}"), size, classes).requires_grad_(False)
        for which in ("ext", "exp")
    )
    syn = stored(array(f"loss.{case}.stored"), classes, ipc)
    real = syn.normalisation.standardised(array(f"loss.{case}.real").double())
    decoded = syn.of_class(c)
    if f"loss.{case}.kept" in GOLDEN:
        decoded = decoded[array(f"loss.{case}.kept").long()]
    plan = plan_of(array(f"loss.{case}.draws"))
    real, synthetic = (AUGMENT.apply(x, plan) for x in (real, syn.normalisation.standardised(decoded)))
    augmented = torch.cat([real, synthetic]).detach().numpy()
    np.testing.assert_allclose(augmented, GOLDEN[f"loss.{case}.augmented"], atol=2e-6)
    match = tgdd()._distance(matching.embed(real), matching.embed(synthetic))
    ce = cross_entropy(constraint, synthetic, c)
    rows = slice(c * ipc, (c + 1) * ipc)
    for name, loss in {
        "match": match,
        "ce": ce,
        "total_alpha2.5": match + 2.5 * ce,
        "total_alpha0.5": match + 0.5 * ce,
    }.items():
        (gradient,) = torch.autograd.grad(loss, syn.images, retain_graph=True)
        np.testing.assert_allclose(loss.item(), GOLDEN[f"loss.{case}.{name}"], rtol=1e-5)
        golden = GOLDEN[f"loss.{case}.grad_{name}"]
        np.testing.assert_allclose(gradient[rows].numpy(), golden, atol=1e-5 * np.abs(golden).max())


class GoldenReal:
    """The golden real images, in batches of the golden order."""

    classes, size = ("0", "1", "2"), 16

    def __init__(self, syn):
        self.normalisation = syn.normalisation
        self.pixels, self.labels = array("step.real").double(), array("step.real_labels")
        self.rows = [row.long() for row in array("step.alpha0.5.real_indices")]

    def class_indices(self, c):
        return (self.labels == c).nonzero()[:, 0]

    def at(self, _):
        return self.normalisation.standardised(self.pixels[self.rows.pop(0)]), None


class GoldenAugment:
    """The golden draws, one after the other."""

    def __init__(self, draws):
        self.draws, self.apply = draws, AUGMENT.apply

    def draw(self, rng, n, size, shared):
        return self.draws.pop(0)


def test_two_iterations_are_those_of_the_published_program(monkeypatch):
    draws = [plan_of(row) for row in array("step.alpha0.5.draws")]
    times = [Epochs(*map(int, row)) for row in GOLDEN["step.alpha0.5.ijk"]]
    lr, momentum = GOLDEN["step.lr_momentum"]
    syn = stored(array("step.data0"), 3, 2)

    real = GoldenReal(syn)
    method = tgdd(augment=GoldenAugment(draws), alpha=0.5)
    shell = partial(network_of, array("step.snapshot.0.0"), 16, 3)
    context = IterationContext(0, syn, real, real, lambda _: shell(), stream(0, "x"), Recorded())
    method.use_shells(context)
    method._epochs = [ShuffledEpochs() for _ in range(3)]
    monkeypatch.setattr("moe_distill.teachers.snapshots.draw_epochs", lambda *_: times.pop(0))
    (group,) = method.parameter_groups(syn)
    assert group["lr"] == pytest.approx(lr) and group["momentum"] == momentum  # 0.5 at ipc 10 is 0.1 at 2
    stepper = Stepper(syn, lr=float(lr), momentum=float(momentum))
    after = []

    def apply(loss):
        stepper(loss)
        after.append(syn.images.detach().clone())

    for iteration in range(2):
        scalars = method.iterate(replace(context, iteration=iteration), apply)
        of_classes = slice(3 * iteration, 3 * iteration + 3)
        match, ce = (GOLDEN[f"step.alpha0.5.{name}"][of_classes] for name in ("match", "ce"))
        assert float(scalars["loss"]) == pytest.approx(match.sum(), rel=1e-5)
        assert float(scalars["ce"]) == pytest.approx(ce.mean(), rel=1e-5)
        golden = GOLDEN["step.alpha0.5.momentum_after"][iteration]
        np.testing.assert_allclose(stepper.buffer.numpy(), golden, atol=1e-4 * np.abs(golden).max())
    for ours, theirs in zip(after, GOLDEN["step.alpha0.5.data_after"], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
    assert not real.rows and not draws and not times


def test_images_equal_to_the_real_batch_do_not_move_without_the_constraint(round_of):
    method = tgdd(alpha=0.0, factor=1, augment=None, teacher_epochs=3, real_batch=60, synthetic_batch=100)
    context = round_of(method, ipc=20)
    context = replace(context, trajectories=SameAlways(context.new_network(stream(3, "weights"))))
    method.prepare(context)
    by_class = torch.cat([context.real.at(context.real.class_indices(c))[0] for c in range(3)])
    with torch.no_grad():
        context.syn.images.copy_(context.real.normalisation.raw(by_class))
    stepper = Stepper(context.syn, lr=1.0)
    scalars = method.iterate(context, stepper)
    assert float(scalars["loss"]) < 1e-20 and max(float(g.abs().max()) for g in stepper.gradients) < 1e-9


class SameAlways:
    """Trajectories of one network that never moves."""

    def __init__(self, network):
        self.weights = parameters_to_vector(network.parameters()).detach()

    def __len__(self):
        return 1

    def snapshot(self, teacher, epoch):
        return self.weights


def test_a_separate_constraint_takes_a_pass_of_its_own(round_of):
    steps = {}
    for constraint in ("joint", "separate"):
        method = tgdd(constraint=constraint, factor=1)
        context = round_of(method, ipc=2)
        context = replace(context, trajectories=SameAlways(context.new_network(stream(3, "weights"))))
        method.prepare(context)
        stepper = Stepper(context.syn, lr=0.0)
        method.iterate(context, stepper)
        steps[constraint] = len(stepper.gradients)
    assert steps == {"joint": 3, "separate": 6}


def test_images_are_clamped_at_the_start_of_an_iteration_only(round_of):
    method = tgdd(factor=1)
    context = round_of(method, ipc=2)
    context = replace(context, trajectories=SameAlways(context.new_network(stream(3, "weights"))))
    method.prepare(context)
    with torch.no_grad():
        context.syn.images.fill_(1.5)
    seen = []

    def apply(loss):
        seen.append((float(context.syn.images.min()), float(context.syn.images.max())))
        with torch.no_grad():
            context.syn.images.sub_(3.0)

    method.iterate(context, apply)
    assert seen == [(1.0, 1.0), (-2.0, -2.0), (-5.0, -5.0)]


def test_some_images_are_drawn_where_there_are_more():
    x = torch.arange(12.0).view(12, 1, 1, 1)
    drawn = some_of(x, 5, stream(0, "some")).flatten().tolist()
    assert len({*drawn}) == 5 and some_of(x, 12, stream(0, "some")) is x


@pytest.mark.parametrize(("ipc", "alpha"), [(1, 2.5), (5, 2.5), (10, 2.5), (25, 2.5), (50, 0.5), (100, 0.5)])
def test_the_weight_of_the_constraint_is_the_published_one(ipc, alpha):
    assert TGDD.published("cifar10", ipc)["alpha"] == alpha
    row, settings = published_row(TGDD.presets, "imagenette", "channel", 10)
    assert row == 10 and (settings["lr"], settings["teacher_epochs"]) == (1.0, 80)
