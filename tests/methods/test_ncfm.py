"""NCFM against the arrays of its published program and a loop written out, and where it is unlike TGDD."""

import copy
import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest_methods import Stepper
from conftest_ncfm import GOLDEN, SETTINGS, GoldenReal, TwoEnds, golden_weights, ncfm, started
from torch.nn.utils import parameters_to_vector

import moe_distill.methods.ncfm as ncfm_module
from moe_distill.data.initialization import first_real
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.experts.roster import ExpertSpec
from moe_distill.methods.base import IterationContext
from moe_distill.methods.dm import DM
from moe_distill.methods.ncfm import NCFM
from moe_distill.methods.presets.rows import published_row
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.synthetic.provenance import provenance_of
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.testing import MethodConformance
from moe_distill.testing.stand_ins import expert, noise_set


def test_loss_and_gradient_of_a_class_are_the_published_ones(monkeypatch):
    t = torch.from_numpy(GOLDEN["img.t"])
    monkeypatch.setattr(ncfm_module, "normal", lambda *_: t)
    # The golden images are standardised; with this deviation their pixels lie in [0, 1].
    real, pixels = GoldenReal(), 0.5 + 0.1 * torch.from_numpy(GOLDEN["img.syn"])
    blank = RealSet(torch.zeros(1, 3, 16, 16), torch.zeros(1), ("0",), (0.5,) * 3, (0.1,) * 3, "golden", "x")
    syn = SyntheticSet(pixels, provenance_of(blank, method="ncfm", expert=0, ipc=4, space="raw"))
    mixed = 0.25 * golden_weights("init") + 0.75 * golden_weights("final")
    method = ncfm(amplitude=0.5, phase=0.5, calibration=0.0, real_choice="first", real_batch=6, factor=1)

    def shell(_):
        return ConvNet(channels=3, classes=3, size=16, width=4 / 128)

    teacher = TwoEnds(mixed, mixed)
    context = IterationContext(0, syn, real, real, shell, stream(0, "x"), teacher)
    method.use_shells(context)
    stepper = Stepper(syn, lr=0.0)
    scalars = method.iterate(context, stepper)
    assert float(scalars["loss"]) == pytest.approx(float(GOLDEN["img.match300"]), rel=1e-5)
    (gradient,) = stepper.gradients
    golden = GOLDEN["img.match300_grad"]
    np.testing.assert_allclose(0.1 * gradient.numpy(), golden, atol=1e-4 * np.abs(golden).max())


def complex_distance(real, synthetic, t, amplitude, phase):
    """The distance by complex numbers and angles, with autograd."""
    functions = [torch.exp(1j * (F.normalize(f) @ t.T)).mean(0) for f in (real, synthetic)]
    big, small = (f.abs() for f in functions)
    apart = 1 - (functions[0].angle() - functions[1].angle()).cos()
    return (amplitude * (big - small) ** 2 + phase * 2 * big * small * apart).sqrt().mean()


class WrittenOut:
    """What two iterations should do to the images of three classes, at the settings of these tests."""

    def __init__(self, images, syn):
        self.images, self.losses, self.tiling = images.requires_grad_(), [], syn.tiling
        self.mean, self.std = (
            torch.tensor(v).view(3, 1, 1) for v in (syn.provenance.mean, syn.provenance.std)
        )
        self.optimizer = torch.optim.AdamW([images], lr=0.01, weight_decay=0.1)

    def of_class(self, c):
        return (self.tiling.decode(self.images[2 * c : 2 * c + 2]) - self.mean) / self.std

    def step(self, loss):
        self.losses.append(loss.item())
        (self.images.grad,) = torch.autograd.grad(loss, self.images)
        self.optimizer.step()

    def iterate(self, matching, trained, batches, frequencies, calibration):
        self.images.data.clamp_(0, 1)
        for c in range(3):
            features = matching.embed(batches.pop(0)), matching.embed(self.of_class(c))
            self.step(300 * complex_distance(*features, frequencies.pop(0), 0.3, 0.7))
        for c in range(3) if calibration else ():
            ce = F.cross_entropy(trained(self.of_class(c)), torch.full((8,), c))
            self.step(calibration * ce)


@pytest.mark.parametrize(("calibration", "number"), [(2.0, 12), (0.0, 6)])
def test_two_iterations_are_those_of_a_loop_written_out(round_of, monkeypatch, calibration, number):
    method = ncfm(calibration=calibration)
    context = started(method, round_of)
    expected = WrittenOut(context.syn.images.detach().clone(), context.syn)
    optimizer = method.image_optimizer(method.parameter_groups(context.syn))
    frequencies = recorded(monkeypatch, ncfm_module, "normal")
    batches = recorded(monkeypatch, NCFM, "real_images")
    networks, losses = [], []

    def apply(loss):
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    for iteration in range(2):
        method.iterate(replace(context, iteration=iteration), apply)
        networks.append(copy.deepcopy(method.source._networks))
    for matching, trained in networks:
        expected.iterate(matching, trained, batches, frequencies, calibration)
    assert losses == pytest.approx(expected.losses, rel=1e-9) and len(losses) == number
    images = context.syn.images.detach()
    torch.testing.assert_close(images, expected.images.detach(), rtol=0, atol=1e-9)
    assert not frequencies and not batches


def recorded(monkeypatch, owner, name):
    """Return a list that fills with all that a function returns."""
    returned, function = [], getattr(owner, name)

    def recording(*args):
        returned.append(function(*args))
        return returned[-1]

    monkeypatch.setattr(owner, name, recording)
    return returned


def test_one_teacher_gives_both_networks_of_an_iteration(round_of):
    method = ncfm()
    context = started(method, round_of)
    method.iterate(context, Stepper(context.syn, lr=0.0))
    first, last = context.trajectories.ends.values()
    matching, trained = (parameters_to_vector(n.parameters()) for n in method.source._networks)
    share = float((matching - last) @ (first - last) / (first - last).square().sum())
    assert 0 < share < 1
    torch.testing.assert_close(matching, share * first + (1 - share) * last)
    assert torch.equal(trained, last)


def test_images_are_clamped_at_the_start_of_an_iteration_only(round_of):
    method = ncfm(factor=1)
    context = started(method, round_of)
    context.syn.images.data.fill_(1.5)
    seen = []

    def apply(loss):
        seen.append(context.syn.images.detach().unique().tolist())
        context.syn.images.data.sub_(3.0)

    method.iterate(context, apply)
    assert seen == [[1.0], [-2.0], [-5.0], [-8.0], [-11.0], [-14.0]]


def test_images_equal_to_all_real_ones_have_a_finite_gradient(round_of):
    method = ncfm(factor=1, real_batch=60, calibration=0.0)
    context = started(method, round_of, ipc=20)
    by_class = torch.cat([context.real.at(context.real.class_indices(c))[0] for c in range(3)])
    context.syn.images.data.copy_(context.real.normalisation.raw(by_class))
    stepper = Stepper(context.syn, lr=0.0)
    scalars = method.iterate(context, stepper)
    # Three classes of 300 √(0.7 · 1e-12): the floor under the phase part.
    floor = 3 * 300 * np.sqrt(0.7e-12)
    assert float(scalars["loss"]) == pytest.approx(floor, rel=0.01)
    assert all(gradient.isfinite().all() for gradient in stepper.gradients)


def test_the_first_images_of_a_class_are_always_the_same_and_random_ones_are_not(round_of, monkeypatch):
    for choice in ("first", "random"):
        method = ncfm(real_choice=choice)
        context = started(method, round_of)
        first = context.real.at(context.real.class_indices(1)[:4])[0]
        batches = [method._real(context, context.new_network(stream(0, "x")), 1) for _ in range(5)]
        # An epoch of 20 images is five batches of four.
        assert len(torch.cat(batches).flatten(1).unique(dim=0)) == (4 if choice == "first" else 20)
        assert all(torch.equal(batch, first) for batch in batches) == (choice == "first")


def test_images_are_moved_by_the_optimiser_of_the_method_not_of_the_run():
    # The stand-ins' run has SGD.
    for name, kind in (("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        spec = ExpertSpec(partial(NCFM, **{**SETTINGS, "optimizer": name}), 2)
        _, optimizer = expert(spec, noise_set(3, 12))
        (group,) = optimizer.param_groups
        assert type(optimizer) is kind and (group["lr"], group["weight_decay"]) == (0.01, 0.1)
        assert group.get("momentum") == (0.5 if name == "sgd" else None)
    dm = expert(ExpertSpec(partial(DM, 2, 1.0, 0.5, 8, None, first_real), 2), noise_set(3, 12))[1]
    assert type(dm) is torch.optim.SGD


class TestLearnedFrequencies(MethodConformance):
    """With the learned sampler, whose state is part of the expert's."""

    method = partial(NCFM, **{**SETTINGS, "sampler": "learned"})


def test_the_learned_sampler_takes_a_step_per_matching_and_none_with_the_images(round_of):
    method = ncfm(sampler="learned")
    context = started(method, round_of)
    network = method._learned.network
    weights = [parameters_to_vector(network.parameters()).detach()]

    def apply(loss):
        assert context.syn.images.grad is None, "the sampler's step reached the images"
        weights.append(parameters_to_vector(network.parameters()).detach())
        network.zero_grad()
        loss.backward()
        assert all(p.grad is None for p in network.parameters())
        context.syn.images.grad = None

    method.iterate(context, apply)
    moved = [not torch.equal(one, other) for one, other in itertools.pairwise(weights)]
    assert moved == [True] * 3 + [False] * 3


@pytest.mark.parametrize("frequencies", [8, 16, 40])
def test_learned_frequencies_come_in_rows_of_sixteen(frequencies):
    with pytest.raises(InputError, match=rf"^frequencies={frequencies}: a multiple of 16 from 32 on"):
        ncfm(sampler="learned", frequencies=frequencies)
    assert ncfm(frequencies=frequencies).frequencies == frequencies


@pytest.mark.parametrize(
    ("data", "ipc", "moved"),
    [
        ("cifar10", 10, ("adamw", 1e-3, 5e-4, 2, 60)),
        ("cifar100", 1, ("adamw", 1e-3, 5e-4, 2, 60)),
        ("cifar100", 10, ("sgd", 0.01, 0.0, 2, 60)),
        ("cifar100", 50, ("adamw", 1e-3, 5e-4, 2, 60)),
        ("imagewoof", 10, ("adamw", 1e-3, 5e-4, 2, 80)),
        ("digits", 10, ("adamw", 1e-3, 5e-4, 1, 60)),
    ],
)
def test_rows_are_those_of_its_configurations(data, ipc, moved):
    _, row = published_row(NCFM.presets, data, "channel", ipc)
    names = ("optimizer", "lr", "weight_decay", "factor", "teacher_epochs")
    assert tuple(row[name] for name in names) == moved
    shared = (row["iterations"], row["real_batch"], row["frequencies"], row["teachers"]["networks"])
    assert shared == (20_000, 1024, 4096, 20)
