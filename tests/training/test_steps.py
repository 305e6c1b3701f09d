"""Batches and optimiser steps against constructions by hand in float64."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Flip
from moe_distill.data.real_set import RealSet
from moe_distill.models.base import Network, build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import beta, draw_seed, stream
from moe_distill.training.batches import real_pool, tensor_pool, training_batch
from moe_distill.training.cohort import InTurn, Stacked, cohort
from moe_distill.training.mixing import CrossExpert, CutMix
from moe_distill.training.recipe import Recipe

CONVNET = functools.partial(ConvNet, depth=2, width=0.0625, norm="group")
AUGMENT = Augmentation(one_of=(Crop(),), before=(Flip(), Color()))


pytestmark = pytest.mark.usefixtures("one_thread")


def pool(count=12, dtype=torch.float32):
    images = torch.randn(count, 2, 8, 8, generator=stream(0, "pool"), dtype=dtype)
    return tensor_pool(images, torch.arange(count) // 2 % 3, torch.arange(count) % 2, 3)


def networks(count=3):
    return [build(CONVNET, channels=2, classes=3, size=8, rng=stream(s, "net")) for s in range(count)]


def rngs(step, count=3):
    return [stream(step, "step", student) for student in range(count)]


def batches(count, step, size=6):
    rng = stream(step, "batches")
    targets = torch.rand(count, size, 3, generator=rng).softmax(-1)
    return list(zip(torch.randn(count, size, 2, 8, 8, generator=rng), targets, strict=True))


def test_a_bare_batch_is_the_chosen_images_with_one_hot_targets():
    source, rows = pool(), torch.tensor([3, 0, 11])
    x, targets = training_batch(source, rows, Recipe("r", epochs=1), None, stream(0, "r"))
    assert torch.equal(x, torch.stack([source.take(torch.tensor([i]))[0] for i in (3, 0, 11)]))
    assert targets.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def augmented(source, rows, rng):
    """Augment by the documented order of draws: the group first, then each image's parameters."""
    assert int(torch.randint(1, (1,), generator=rng)) == 0
    flips, colors = torch.rand(len(rows), generator=rng), torch.rand(len(rows), 3, generator=rng)
    shifts = torch.randint(-1, 2, (len(rows), 2), generator=rng)
    x = Color()(Flip()(source.take(rows), flips), colors)
    return Crop()(x, shifts), F.one_hot(source.labels_M[rows], 3).float()


def test_each_constituent_is_augmented_then_mixed_then_cut_mixed():
    source, rows = pool(), torch.tensor([0, 3, 5, 8])
    recipe = Recipe("r", epochs=1, augment=AUGMENT, cutmix=CutMix(prob=1.0))
    rng, replay = stream(4, "train"), stream(4, "train")
    x, targets = training_batch(source, rows, recipe, CrossExpert(), rng)

    first_x, first_t = augmented(source, rows, replay)
    mix = CrossExpert().draw(replay, rows, source.experts_M, source.labels_M)
    assert ((rows + mix.partner_B) % 2 == 1).all()  # experts alternate in this pool
    other_x, other_t = augmented(source, mix.partner_B, replay)
    lam = mix.lam_B[0].double()
    want_x = lam * first_x.double() + (1 - lam) * other_x.double()
    want_t = lam * first_t.double() + (1 - lam) * other_t.double()
    assert torch.rand((), generator=replay) < 1
    cut = (1 - beta(1.0, 1, replay).double()).sqrt()
    partner, (row, column) = (
        torch.randperm(4, generator=replay),
        torch.randint(8, (2,), generator=replay).tolist(),
    )
    half = int(8 * cut) // 2
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = True
    want_x = torch.where(inside, want_x[partner], want_x)
    area = inside.double().mean()
    assert 0 < area < 1
    torch.testing.assert_close(x.double(), want_x, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        targets.double(), (1 - area) * want_t + area * want_t[partner], rtol=0, atol=1e-6
    )
    assert torch.equal(rng.get_state(), replay.get_state())


def test_real_pool_gives_what_a_tensor_pool_of_the_standardised_images_gives():
    pixels = torch.randint(0, 256, (9, 3, 8, 8), generator=stream(0, "px"), dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    real = real_pool(RealSet(pixels, torch.arange(9) % 3, ("a", "b", "c"), mean, std, "n", "v"))
    ready = (pixels.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    held = tensor_pool(ready.float(), torch.arange(9) % 3, torch.zeros(9, dtype=torch.int64), 3)
    assert (len(real), real.classes) == (len(held), held.classes) == (9, 3)
    assert torch.equal(real.labels_M, held.labels_M) and torch.equal(real.experts_M, held.experts_M)
    rows, recipe = torch.tensor([8, 1, 4]), Recipe("r", epochs=1, augment=AUGMENT)
    (x, targets), (want_x, want_t) = (
        training_batch(p, rows, recipe, None, stream(1, "t")) for p in (real, held)
    )
    torch.testing.assert_close(x, want_x, rtol=0, atol=1e-5)
    assert torch.equal(targets, want_t)


def linear(seed):
    """A softmax regression, whose gradient is known in closed form."""
    network = Network(nn.Flatten(), nn.Linear(128, 3)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=stream(seed, "linear"), dtype=torch.float64) / 10
            )
    return network


def test_steps_are_sgd_with_momentum_and_decay_that_a_fresh_optimiser_forgets():
    recipe = Recipe(
        "r", epochs=9, lr=0.1, weight_decay=0.01, optimizer=functools.partial(torch.optim.SGD, momentum=0.9)
    )
    student = InTurn([linear(0)], recipe)
    weight, bias = (p.detach().clone() for p in linear(0).parameters())
    speed, rate = [torch.zeros_like(weight), torch.zeros_like(bias)], 0.1
    for step in range(7):
        x, targets = (part.double() for part in batches(1, step)[0])
        if step == 4:
            student.set_lr(0.02, forget_momentum=True)
            speed, rate = [torch.zeros_like(s) for s in speed], 0.02
        if step == 5:
            student.set_lr(0.01, forget_momentum=False)
            rate = 0.01
        p = (x.flatten(1) @ weight.T + bias).softmax(1)
        loss = -(targets * p.log()).sum(1).mean()
        error = (p * targets.sum(1, keepdim=True) - targets) / len(x)
        for value, gradient, s in zip(
            (weight, bias), (error.T @ x.flatten(1), error.sum(0)), speed, strict=True
        ):
            s.copy_(0.9 * s + gradient + 0.01 * value)
            value.sub_(rate * s)
        torch.testing.assert_close(
            student.step([(x, targets)], rngs(step, 1)), loss[None], rtol=1e-10, atol=0
        )
        held = student.weights_of(0)
        torch.testing.assert_close(held["classifier.weight"], weight, rtol=0, atol=1e-12)
        torch.testing.assert_close(held["classifier.bias"], bias, rtol=0, atol=1e-12)


def test_stacked_students_follow_students_in_turn():
    recipe = Recipe("r", epochs=1, lr=0.05)
    apart, together = InTurn(networks(), recipe), Stacked(networks(), recipe)
    for step in range(5):
        for students in (apart, together):
            if step == 3:
                students.set_lr(0.01, forget_momentum=True)
        losses = [students.step(batches(3, step), rngs(step)) for students in (apart, together)]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    for student in range(3):
        held, want = together.weights_of(student), apart.weights_of(student)
        assert held.keys() == want.keys()
        for name in want:
            torch.testing.assert_close(held[name], want[name], rtol=0, atol=2e-6)
    x = batches(1, 9)[0][0]
    torch.testing.assert_close(together.logits(x), apart.logits(x), rtol=0, atol=1e-5)
    assert not torch.allclose(apart.logits(x)[0], apart.logits(x)[1])


@pytest.mark.parametrize("way", [InTurn, Stacked])
def test_a_step_advances_every_stream_alike_and_leaves_the_global_generator(way):
    streams, want, before = rngs(0), rngs(0), torch.get_rng_state()
    way(networks(), Recipe("r", epochs=1)).step(batches(3, 0), streams)
    for rng in want:
        draw_seed(rng)
    assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(streams, want, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def dropping(count):
    """Equal students whose steps, but not whose tests, draw from the global generator."""
    students = [linear(0).float() for _ in range(count)]
    for student in students:
        student.body = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    return students


@pytest.mark.parametrize("way", [InTurn, Stacked])
def test_dropout_is_drawn_from_the_streams_and_apart_for_each_student(way):
    def step(seed):
        one = batches(1, 0)[0]
        return way(dropping(2), Recipe("r", epochs=1)).step([one, one], rngs(seed, 2)).tolist()

    first = step(1)
    assert first == step(1) and first[0] != first[1] and first != step(2)


@pytest.mark.parametrize("way", [InTurn, Stacked])
def test_students_are_tested_without_dropout_and_go_on_training_with_it(way):
    students, plain, x = (
        way(dropping(2), Recipe("r", epochs=1, lr=1e-9)),
        linear(0).float(),
        batches(1, 0)[0][0],
    )
    for _ in range(2):
        losses = students.step(batches(1, 0) * 2, rngs(0, 2)).tolist()
        assert losses[0] != losses[1]
        torch.testing.assert_close(students.logits(x), plain(x).detach().expand(2, -1, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", [InTurn, Stacked])
def test_students_go_on_bit_for_bit_from_their_state(way, tmp_path):
    recipe = Recipe("r", epochs=1, lr=0.05)
    straight = way(networks(), recipe)
    for step in range(3):
        straight.step(batches(3, step), rngs(step))
    torch.save(straight.state_dict(), tmp_path / "state")
    resumed = way(networks(), recipe)
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for step in range(3, 6):
        assert torch.equal(
            straight.step(batches(3, step), rngs(step)), resumed.step(batches(3, step), rngs(step))
        )
    for name, want in straight.weights_of(1).items():
        assert torch.equal(resumed.weights_of(1)[name], want)


def test_students_take_turns_on_the_cpu_and_where_statistics_run():
    recipe = Recipe("r", epochs=1)
    assert isinstance(cohort(networks(), recipe), InTurn)
    with torch.device("meta"):
        plain, running = [
            [ConvNet(2, 3, 8, depth=1, width=0.05, norm=norm) for _ in range(2)]
            for norm in ("group", "batch")
        ]
    assert isinstance(cohort(running, recipe), InTurn) and isinstance(cohort(plain[:1], recipe), InTurn)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_students_are_stacked_on_a_gpu_and_follow_those_on_the_cpu():
    recipe = Recipe("r", epochs=1, lr=0.05)
    apart, together = cohort(networks(), recipe), cohort([n.cuda() for n in networks()], recipe)
    assert isinstance(together, Stacked)
    for step in range(3):
        want = apart.step(batches(3, step), rngs(step))
        got = together.step([(x.cuda(), t.cuda()) for x, t in batches(3, step)], rngs(step))
        torch.testing.assert_close(got.cpu(), want, rtol=1e-2, atol=1e-3)
