"""DM and IDM against published arrays and naive float64 references."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest_methods import Stepper, new_network

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Flip
from moe_distill.data.initialization import first_real, random_real
from moe_distill.methods.base import squared_distance_of_means
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import global_seed, stream
from moe_distill.teachers.network_queue import NetworkQueue

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "idm_dm.npz")
AUGMENT = Augmentation(one_of=(Color(), Crop(), Flip()))
QUEUE = {"capacity": 4, "first": 3, "renew_every": 2, "trained": 2, "steps": 2, "batch_size": 8}
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}


def idm(**changes):
    settings = {"iterations": 5, "lr": 0.2, "momentum": 0.5, "real_batch": 8, "ce_weight": 0.5, "factor": 2}
    settings |= {"networks_see": "part", "augment": AUGMENT, "init": random_real}
    settings |= {"queue": partial(NetworkQueue, **QUEUE, **SGD, meter_reset=3)}
    return IDM(**{**settings, **changes})


def test_matching_loss_is_the_published_one():
    real, syn = (torch.from_numpy(GOLDEN[f"dm_feat_{k}"]) for k in ("real", "syn"))
    syn.requires_grad_()
    loss = squared_distance_of_means(real, syn)
    loss.backward()
    np.testing.assert_allclose(loss.item(), GOLDEN["dm_loss_one_class"], rtol=1e-6)
    np.testing.assert_allclose(syn.grad.numpy(), GOLDEN["dm_grad_feat_syn"], rtol=3e-5, atol=1e-6)


def naive_features(network, x):
    """ConvNet's features from its parameters, layer by layer in float64."""
    weights = list(network.state_dict().values())
    for conv_w, conv_b, scale, shift in zip(*[iter(weights[:-2])] * 4, strict=True):
        x = F.conv2d(x, conv_w, conv_b, padding=1)
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        x = F.avg_pool2d(x.clamp_min(0), 2)
    return x.flatten(1)


def test_dm_step_against_naive_float64(round_of):
    method = DM(iterations=1, lr=1.0, momentum=0.5, real_batch=8, augment=AUGMENT, init=random_real)
    context = round_of(method, ipc=2)
    method.prepare(context)
    start, replay = context.syn.images.detach().clone(), context.rng.clone_state()
    apply = Stepper(context.syn, lr=1.0)
    shown = method.iterate(context, apply)

    images = start.clone().requires_grad_()
    network = new_network(replay)
    total = 0
    for c in range(3):
        real = context.real.class_batch(c, 8, replay)
        plan = AUGMENT.draw(replay, 1, 8, shared=True)
        f = naive_features(network, AUGMENT.apply(real, plan)).mean(0)
        g = naive_features(network, AUGMENT.apply(images[2 * c : 2 * c + 2], plan)).mean(0)
        total = total + ((f - g) ** 2).sum()
    total.backward()
    assert len(apply.gradients) == 1
    torch.testing.assert_close(apply.gradients[0], images.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(shown["loss"], total.detach(), rtol=1e-9, atol=0)


def batch_normed(rng):
    with global_seed(rng):
        return ConvNet(channels=3, classes=3, size=8, width=0.0625, norm="batch").double()


def naive_features_of_batch(network, x):
    """The same with statistics of the whole batch in each map."""
    weights = [p for n, p in network.named_parameters() if "classifier" not in n]
    for conv_w, conv_b, scale, shift in zip(*[iter(weights)] * 4, strict=True):
        x = F.conv2d(x, conv_w, conv_b, padding=1)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        x = F.avg_pool2d(x.clamp_min(0), 2)
    return x.flatten(1)


def test_dm_sends_all_classes_through_batch_norm_in_one_pass(round_of):
    """Against float64 by hand, with two real images more than a batch of one class: DM, its authors'
    program."""
    method = DM(iterations=1, lr=1.0, momentum=0.5, real_batch=8, augment=AUGMENT, init=random_real)
    context = dataclasses.replace(round_of(method, ipc=2), new_network=batch_normed)
    method.prepare(context)
    images, replay = context.syn.images.detach().clone().requires_grad_(), context.rng.clone_state()
    apply = Stepper(context.syn, lr=1.0)
    shown = method.iterate(context, apply)

    network, real, synthetic = batch_normed(replay), [], []
    for c in range(3):
        real.append(context.real.class_batch(c, 8, replay))
        plan = AUGMENT.draw(replay, 1, 8, shared=True)
        real[c] = AUGMENT.apply(real[c], plan)
        synthetic.append(AUGMENT.apply(images[2 * c : 2 * c + 2], plan))
    f, g = (naive_features_of_batch(network, torch.cat(x)) for x in (real, synthetic))
    total = sum(((f[8 * c : 8 * c + 8].mean(0) - g[2 * c : 2 * c + 2].mean(0)) ** 2).sum() for c in range(3))
    total.backward()
    assert len(apply.gradients) == 1
    torch.testing.assert_close(apply.gradients[0], images.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(shown["loss"], total.detach(), rtol=1e-9, atol=0)


def train_naively(shell, weights, momenta, count, x, y):
    """Take one step of SGD with momentum and weight decay in place; count correct images and images seen."""
    leaves = {k: v.clone().requires_grad_() for k, v in weights.items()}
    logits = torch.func.functional_call(shell, leaves, (x,))
    count[0] += int((logits.argmax(1) == y).sum())
    count[1] += len(y)
    grads = torch.autograd.grad(F.cross_entropy(logits, y), list(leaves.values()))
    for (name, w), g in zip(list(weights.items()), grads, strict=True):
        momenta[name] = 0.9 * momenta.get(name, 0) + g + 5e-4 * w
        weights[name] = w - 0.01 * momenta[name]


def test_two_idm_iterations_against_naive_float64(round_of):
    """Class by class with one momentum buffer, the queue trained in between, all written out again."""
    method = idm()
    context = round_of(method, ipc=1)
    method.prepare(context)
    images, buffer = context.syn.images.detach().clone(), torch.zeros(3, 3, 8, 8, dtype=torch.float64)
    nets = [(e.network.state_dict(), {}) for e in method.queue.entries]
    nets = [{k: v.clone() for k, v in weights.items()} for weights, _ in nets]
    momenta, counts = [{} for _ in nets], [[0, 0] for _ in nets]
    replay = context.rng.clone_state()
    apply = Stepper(context.syn, lr=0.2)
    for iteration in range(2):
        method.iterate(dataclasses.replace(context, iteration=iteration, new_network=new_network), apply)

    shell = new_network(stream(0, "shell"))
    for iteration in range(2):
        if iteration % 2 == 0:
            nets.append({k: v.clone() for k, v in new_network(replay).state_dict().items()})
            momenta.append({})
            counts.append([0, 0])
        drawn = int(torch.randint(len(nets), (1,), generator=replay))
        accuracy = 100 * counts[drawn][0] / counts[drawn][1] if counts[drawn][1] else 0.0
        shell.load_state_dict(nets[drawn])
        for c in range(3):
            real = context.real.class_batch(c, 8, replay)
            plan = AUGMENT.draw(replay, 1, 8, shared=True)
            x = images.clone().requires_grad_()
            corners = [(0, 0), (4, 0), (0, 4), (4, 4)]
            tiles = torch.cat([x[c : c + 1, :, i : i + 4, j : j + 4] for i, j in corners])
            decoded = AUGMENT.apply(F.interpolate(tiles, size=8, mode="bilinear"), plan)
            f = naive_features(shell, AUGMENT.apply(real, plan)).mean(0).detach()
            g = naive_features(shell, decoded)
            logits = g @ nets[drawn]["classifier.weight"].T + nets[drawn]["classifier.bias"]
            ce = -torch.log_softmax(logits, 1)[:, c].mean()
            loss = ((f - g.mean(0)) ** 2).sum() + 0.5 * accuracy * ce
            buffer = 0.5 * buffer + torch.autograd.grad(loss, x)[0]
            images = images - 0.2 * buffer
        for i in torch.randperm(len(nets), generator=replay)[:2].tolist():
            for _ in range(2):
                train_naively(shell, nets[i], momenta[i], counts[i], *context.real.batch(8, replay))
    torch.testing.assert_close(context.syn.images.detach(), images, rtol=1e-9, atol=1e-12)
    held = [(e.correct, e.seen) for e in method.queue.entries]
    assert held == [tuple(c) for c in counts]


def test_a_class_step_goes_on_moving_earlier_classes(round_of):
    """The momentum leak of the published method: class 0 moves by g, g/2, g/4 during the steps of classes 0,
    1, 2."""
    method = idm(ce_weight=0.0)
    context = round_of(method, ipc=1)
    method.prepare(context)
    start = context.syn.images.detach().clone()
    apply = Stepper(context.syn, lr=0.2)
    method.iterate(context, apply)
    moved = start[0] - context.syn.images.detach()[0]
    torch.testing.assert_close(moved, 0.2 * 1.75 * apply.gradients[0][0])
    assert all(g[:c].abs().max() == 0 for c, g in enumerate(apply.gradients) if c)


@pytest.mark.parametrize("init", [first_real, random_real])
def test_every_idm_tile_starts_from_an_image_of_its_own(round_of, init):
    """One asking for all of a class: an initialiser that always gives the same must not fill an image with
    copies."""
    method = idm(init=init)
    context = round_of(method, ipc=2)
    replay = context.rng.clone_state()
    method.prepare(context)
    for c in range(3):
        wanted = F.avg_pool2d(init(context.real.real, c, 8, replay).double(), 2)
        assert torch.cdist(wanted.flatten(1), wanted.flatten(1)).fill_diagonal_(9).min() > 0.1
        for tile, (row, column) in enumerate([(0, 0), (4, 0), (0, 4), (4, 4)]):
            stored = context.syn.images.detach()[2 * c : 2 * c + 2, :, row : row + 4, column : column + 4]
            torch.testing.assert_close(stored, wanted[2 * tile : 2 * tile + 2], rtol=0, atol=1e-6)


def test_idm_takes_images_again_where_a_class_has_fewer_than_tiles(round_of):
    method = idm(init=lambda real, c, n, rng: first_real(real, c, min(n, 3), rng))
    context = round_of(method, ipc=2)
    method.prepare(context)
    first, fourth = context.syn.images.detach()[0, :, :4, :4], context.syn.images.detach()[1, :, 4:, :4]
    torch.testing.assert_close(first, fourth)
