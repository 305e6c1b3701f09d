"""The gradient of trajectory matching: three ways against naive float64 loops, and what they keep in
memory."""

import dataclasses
import weakref

import pytest
import torch
from torch import nn

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Cutout, Flip, Rotate, Scale
from moe_distill.errors import InputError
from moe_distill.methods.matching.trajectories import (
    Problem,
    Step,
    adjoint,
    flat_call,
    mini_batches,
    tesla,
    unroll,
)
from moe_distill.models.convnet import ConvNet
from moe_distill.models.vgg import VGG11
from moe_distill.seeding import global_seed, stream

IMAGES, CLASSES, SIZE = 9, 3, 8
DSA = Augmentation(one_of=(Color(), Crop(), Cutout(), Flip(), Scale(), Rotate()))
EVERY_OP = [Augmentation(one_of=(op,)) for op in DSA.one_of]


pytestmark = pytest.mark.usefixtures("one_thread")


def convnet():
    with global_seed(stream(0, "unroll network")):
        return ConvNet(channels=3, classes=CLASSES, size=SIZE, width=0.0625).double()


def problem(steps=4, batch=IMAGES, augment=None, micro_batch=None, rate=0.05, seed=1):
    """Return a problem with soft labels whose target is some way off."""
    rng = stream(seed, "unroll problem")
    network = convnet()
    start = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    target = start + 0.02 * torch.randn(start.shape, generator=rng, dtype=torch.float64)
    images = torch.randn(IMAGES, 3, SIZE, SIZE, generator=rng, dtype=torch.float64)
    targets = torch.randn(IMAGES, CLASSES, generator=rng, dtype=torch.float64).softmax(1)
    rows = mini_batches(IMAGES, batch, steps, rng)
    drawn = [Step(r, augment and augment.draw(rng, len(r), SIZE, shared=False)) for r in rows]
    step_size = torch.tensor(rate, dtype=torch.float64)
    return Problem(flat_call(network), start, target, images, targets, step_size, drawn, micro_batch)


def naive(given, forget=False):
    """Train a dictionary of weights in the open; with ``forget``, slopes do not know that θ depends on the
    images.

    Returns the loss and its gradients with regard to images, step size and targets.
    """
    network = convnet()
    shapes = {name: p.shape for name, p in network.named_parameters()}
    parts = given.start_P.split([shape.numel() for shape in shapes.values()])
    images, targets = given.images_NCHW.clone().requires_grad_(), given.targets_NC.clone().requires_grad_()
    rate = given.step_size.clone().requires_grad_()
    moved = {k: v.clone().reshape(shapes[k]).requires_grad_() for k, v in zip(shapes, parts, strict=True)}
    for rows, plan in given.steps:
        at = {k: v.detach().requires_grad_() for k, v in moved.items()} if forget else moved
        total = 0
        for place, row in enumerate(rows.tolist()):
            x = images[row : row + 1]
            for op, drawn in plan.steps if plan else ():
                x = op(x, drawn[place : place + 1])
            logits = torch.func.functional_call(network, at, (x,))[0]
            total = total - (targets[row] * (logits - logits.exp().sum().log())).sum() / len(rows)
        slopes = torch.autograd.grad(total, list(at.values()), create_graph=True)
        moved = {k: w - rate * g for (k, w), g in zip(moved.items(), slopes, strict=True)}
    flat = torch.cat([w.reshape(-1) for w in moved.values()])
    loss = ((flat - given.target_P) ** 2).sum() / ((given.start_P - given.target_P) ** 2).sum()
    return loss.detach(), *torch.autograd.grad(loss, (images, rate, targets))


def assert_same(found, expected, tolerance=1e-12):
    """Compare loss and gradients, each relative to the largest number of the expected one."""
    for name, a, b in zip(("loss", "images", "step size", "targets"), found, expected, strict=True):
        assert b.abs().max() > 0, name
        assert a.dtype == b.dtype and a.shape == b.shape and not a.requires_grad, name
        assert (a - b).abs().max() <= tolerance * b.abs().max(), name


@pytest.mark.parametrize("augment", [None, DSA, *EVERY_OP])
@pytest.mark.parametrize("batch", [IMAGES, 4])
def test_the_unroll_is_the_naive_one(augment, batch):
    given = problem(steps=3, batch=batch, augment=augment)
    assert_same(unroll(given), naive(given))


@pytest.mark.parametrize("micro_batch", [None, 2, 100])
@pytest.mark.parametrize("batch", [IMAGES, 4])
@pytest.mark.parametrize("augment", [None, DSA])
def test_the_adjoint_is_the_unroll(augment, batch, micro_batch):
    given = problem(steps=4, batch=batch, augment=augment)
    assert_same(adjoint(dataclasses.replace(given, micro_batch=micro_batch)), unroll(given))


@pytest.mark.parametrize("augment", EVERY_OP)
def test_the_adjoint_goes_back_through_every_operation(augment):
    given = problem(steps=3, augment=augment, micro_batch=4)
    assert_same(adjoint(given), naive(given))


def test_the_unroll_takes_micro_batches_too():
    given = problem(batch=4, augment=DSA)
    assert_same(unroll(dataclasses.replace(given, micro_batch=3)), unroll(given))


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize("augment", [None, DSA])
def test_tesla_is_the_published_formula_with_its_factor_of_two(augment, micro_batch):
    """Slopes see constant weights: then dL/dx is (∂g/∂x)ᵀ v, v = (2/D)(β(θ* - θ_0) + β²G), and dL/dβ = -(2/D)
    Gᵀ(…)."""
    given = problem(batch=4, augment=augment, micro_batch=micro_batch)
    assert_same(tesla(given), naive(given, forget=True))


@pytest.mark.parametrize("way", [unroll, adjoint, tesla])
def test_a_perturbed_start_is_measured_from_where_it_was(way):
    """Loss and gradients are those of the start that is trained from, over the teacher's own way."""
    given = problem(batch=4, augment=DSA)
    moved = given.start_P + 0.01 * torch.randn(given.start_P.shape, generator=stream(0, "off")).double()
    alone = way(dataclasses.replace(given, start_P=moved))
    found = way(dataclasses.replace(given, start_P=moved, unperturbed_P=given.start_P))
    ways = [(start - given.target_P).square().sum() for start in (moved, given.start_P)]
    assert not torch.isclose(*ways, rtol=1e-3)
    assert_same(found, [value * ways[0] / ways[1] for value in alone])


def test_tesla_leaves_something_out():
    given = problem()
    exact, short = unroll(given).images_NCHW, tesla(given).images_NCHW
    assert 0.01 < (exact - short).norm() / exact.norm() < 1


def test_one_step_leaves_tesla_nothing_to_forget():
    given = problem(steps=1, batch=4, augment=DSA)
    assert_same(tesla(given), unroll(given))
    seen = torch.zeros(IMAGES, dtype=torch.bool)
    seen[given.steps[0].rows_B] = True
    assert len(given.steps[0].rows_B) == 1
    assert torch.equal(adjoint(given).images_NCHW.flatten(1).any(1), seen)


def test_the_loss_falls_along_the_gradients():
    """Central differences of the loss along each gradient, without any derivative."""
    given, width = problem(steps=2, batch=4, augment=DSA), 1e-5
    found = adjoint(given)
    for key, gradient in (("images_NCHW", found.images_NCHW), ("step_size", found.step_size)):
        way = gradient / gradient.norm()
        sides = [dataclasses.replace(given, **{key: getattr(given, key) + s * width * way}) for s in (1, -1)]
        ahead, behind = (naive(side)[0] for side in sides)
        torch.testing.assert_close((ahead - behind) / (2 * width), gradient.norm(), rtol=1e-5, atol=0)


def test_single_precision_costs_the_adjoint_no_more_than_the_unroll():
    """Summed over problems: on one alone the roundings of either may happen to cancel."""
    network = flat_call(convnet().float())
    errors = {unroll: torch.zeros(3), adjoint: torch.zeros(3)}
    for seed in range(6):
        given = problem(steps=6, batch=4, augment=DSA, seed=seed)
        exact = unroll(given)
        single = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in vars(given).items()}
        for way, total in errors.items():
            found = way(Problem(**{**single, "network": network}))
            total += torch.stack(
                [(a - b).norm() / b.norm() for a, b in zip(found[1:], exact[1:], strict=True)]
            )
    assert (errors[adjoint] <= 2 * errors[unroll]).all()
    assert (errors[unroll] < 1e-3).all()


class Kept:
    """Counts the bytes that autograd keeps for a backward pass, and the most there ever were."""

    class Box:
        def __init__(self, tensor):
            self.tensor = tensor

    def __init__(self):
        self.now = self.peak = 0

    def pack(self, tensor):
        box = self.Box(tensor)
        size = tensor.numel() * tensor.element_size()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(box, self.drop, size)
        return box

    def drop(self, size):
        self.now -= size


def peak(way, given):
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda box: box.tensor):
        way(given)
    return kept.peak


@pytest.mark.parametrize("way", [adjoint, tesla])
def test_memory_does_not_grow_with_the_number_of_steps(way):
    few, many = (problem(steps=n, augment=EVERY_OP[0]) for n in (4, 16))
    assert peak(way, few) > 0
    assert peak(way, many) <= 1.01 * peak(way, few)
    assert peak(unroll, many) > 3.5 * peak(unroll, few)
    assert peak(way, few) < 0.5 * peak(unroll, few)


def test_memory_falls_with_the_micro_batch():
    assert peak(adjoint, problem(micro_batch=3)) < 0.5 * peak(adjoint, problem())


@pytest.mark.parametrize(("way", "passes"), [(unroll, 1), (adjoint, 2), (tesla, 2)])
def test_no_step_is_computed_oftener_than_needed(way, passes):
    given, calls = problem(steps=5), []

    def counted(theta_P, x_BCHW):
        calls.append(len(x_BCHW))
        return given.network(theta_P, x_BCHW)

    way(dataclasses.replace(given, network=counted))
    assert calls == [IMAGES] * 5 * passes


@pytest.mark.parametrize("way", [unroll, adjoint, tesla])
def test_what_is_given_stays_as_it_is(way):
    given = problem(batch=4, augment=DSA)
    tensors = [t for t in vars(given).values() if isinstance(t, torch.Tensor)]
    before = [t.clone() for t in tensors]
    way(given)
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(tensors, before, strict=True))


def test_chunks_come_from_the_end_the_short_one_first():
    taken = mini_batches(20, 8, 7, stream(3, "chunks"))
    assert [len(rows) for rows in taken] == [4, 8, 8, 4, 8, 8, 4]
    replay = stream(3, "chunks")
    for i in (0, 3):
        order = torch.randperm(20, generator=replay)
        assert torch.equal(torch.cat(taken[i : i + 3][::-1]), order)
    assert [len(rows) for rows in mini_batches(5, 8, 2, replay)] == [5, 5]


def test_flat_weights_are_the_parameters_in_their_order():
    network, x = convnet(), torch.randn(2, 3, SIZE, SIZE, generator=stream(0, "x"), dtype=torch.float64)
    flat = nn.utils.parameters_to_vector(network.parameters()).detach()
    torch.testing.assert_close(flat_call(network.eval())(flat, x), network(x), rtol=0, atol=0)
    assert network.training
    twice = flat_call(network)(2 * flat, x)
    nn.utils.vector_to_parameters(2 * flat, network.parameters())
    torch.testing.assert_close(twice, network(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    "network", [VGG11(3, 10, 32, width=0.0625, norm="batch"), nn.Sequential(nn.Dropout(0.1))]
)
def test_weights_that_do_not_say_all_are_refused(network):
    with pytest.raises(InputError, match=r"^model=\w+: a network without running statistics and dropout"):
        flat_call(network)
