"""DC and DSA against naive float64 references, and their loops."""

import dataclasses
import math

import pytest
import torch
from conftest_methods import Stepper, new_network
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.func import functional_call

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Flip
from moe_distill.data.initialization import noise, random_real
from moe_distill.experts.roster import same
from moe_distill.methods.dc import DC
from moe_distill.methods.dsa import DSA
from moe_distill.methods.matching.distances import layerwise_cosine, sum_squares, whole_cosine
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import draw_seed, global_seed

AUGMENT = Augmentation(one_of=(Color(), Crop(), Flip()))
SETTINGS = {
    "iterations": 5,
    "lr": 0.1,
    "momentum": 0.5,
    "real_batch": 8,
    "outer": 3,
    "inner": 2,
    "network_lr": 0.01,
}
SETTINGS |= {"network_batch": 4, "distance": layerwise_cosine, "augment": None, "init": random_real}


pytestmark = pytest.mark.usefixtures("one_thread")


def dc(**changes):
    return DC(**{**SETTINGS, **changes})


def started(round_of, method, ipc, build=new_network):
    """Return a round whose images are filled, with the networks it will build, and a clone of its stream."""
    made = []
    context = dataclasses.replace(
        round_of(method, ipc), new_network=lambda rng: made.append(build(rng)) or made[-1]
    )
    method.prepare(context)
    return context, made, context.rng.clone_state()


def naive_rows(real, synthetic):
    """Sum 1 - cosine over the rows of all weights, row by row."""
    total = 0
    for r, s in zip(real, synthetic, strict=True):
        for i in range(len(r) if r.dim() > 1 else 0):
            a, b = r[i].flatten(), s[i].flatten()
            total = total + 1 - (a * b).sum() / (a.norm() * b.norm() + 1e-6)
    return total


def naive_squares(real, synthetic):
    return sum(((r - s) ** 2).sum() for r, s in zip(real, synthetic, strict=True))


def naive_whole(real, synthetic):
    a, b = (torch.cat([g.flatten() for g in side]) for side in (real, synthetic))
    return 1 - (a @ b) / (a.norm() * b.norm() + 1e-6)


def naive_gradients(shell, weights, x, labels):
    """Return the gradients of the mean cross-entropy, differentiable."""
    leaves = {k: v.clone().requires_grad_() for k, v in weights.items()}
    logits = functional_call(shell, leaves, (x,))
    loss = -sum(torch.log_softmax(row, 0)[y] for row, y in zip(logits, labels, strict=True)) / len(x)
    return torch.autograd.grad(loss, list(leaves.values()), create_graph=True)


def naive_iteration(images, buffer, replay, context, ipc, augment, distance):
    """Run one iteration on plain tensors with the settings above; return images, momentum and loss."""
    shell = new_network(replay)
    draw_seed(replay)
    weights = {k: v.detach().clone() for k, v in shell.named_parameters()}
    labels = [c for c in range(3) for _ in range(ipc)]
    losses = []
    for turn in range(3):
        x, loss = images.clone().requires_grad_(), 0
        for c in range(3):
            real, synthetic = context.real.class_batch(c, 8, replay), x[c * ipc : (c + 1) * ipc]
            if augment:
                plan = augment.draw(replay, 1, 8, shared=True)
                real, synthetic = augment.apply(real, plan), augment.apply(synthetic, plan)
            target = [g.detach() for g in naive_gradients(shell, weights, real, [c] * len(real))]
            loss = loss + distance(target, naive_gradients(shell, weights, synthetic, [c] * ipc))
        losses.append(loss.item())
        buffer = 0.5 * buffer + torch.autograd.grad(loss, x)[0]
        images = images - 0.1 * buffer
        for _ in range(2 if turn < 2 else 0):
            order = torch.randperm(3 * ipc, generator=replay).tolist()
            for rows in (order[i : i + 4] for i in range(0, len(order), 4)):
                batch = images[rows]
                if augment:
                    batch = augment.apply(batch, augment.draw(replay, len(rows), 8, shared=False))
                grads = naive_gradients(shell, weights, batch, [labels[i] for i in rows])
                weights = {
                    k: (w - 0.01 * g).detach() for (k, w), g in zip(weights.items(), grads, strict=True)
                }
    return images, buffer, sum(losses) / 3


@pytest.mark.parametrize(
    "augment, distance, reference",
    [
        (None, layerwise_cosine, naive_rows),
        (AUGMENT, layerwise_cosine, naive_rows),
        (None, sum_squares, naive_squares),
        (AUGMENT, whole_cosine, naive_whole),
    ],
)
def test_two_iterations_against_naive_float64(round_of, augment, distance, reference):
    """Fresh networks, momentum that lasts, the networks trained in between, all written out again."""
    method = (DSA if augment else DC)(**{**SETTINGS, "augment": augment, "distance": distance})
    context, made, replay = started(round_of, method, ipc=2)
    images, buffer = context.syn.images.detach().clone(), torch.zeros(6, 3, 8, 8, dtype=torch.float64)
    apply = Stepper(context.syn, lr=0.1)
    for iteration in range(2):
        start = images
        shown = method.iterate(dataclasses.replace(context, iteration=iteration), apply)
        images, buffer, loss = naive_iteration(images, buffer, replay, context, 2, augment, reference)
        moved, expected = context.syn.images.detach() - start, images - start
        assert (moved - expected).abs().max() < 1e-9 * expected.abs().max()
        assert math.isclose(shown["loss"].item(), loss, rel_tol=1e-10)
    assert (len(apply.gradients), len(made)) == (6, 2)
    assert torch.equal(context.rng.get_state(), replay.get_state())


def watched(network, seen):
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    return network


def test_a_network_is_trained_on_the_images_as_they_are_between_two_matchings_alone(round_of):
    seen, method = [], dc(outer=2)
    context, _, _ = started(round_of, method, 3, lambda rng: watched(new_network(rng), seen))
    moved = []

    def apply(*, grads):
        with torch.no_grad():
            context.syn.images -= 0.1 * grads["images"]
        moved.append(context.syn.images.detach().clone())

    method.iterate(context, apply)
    matching, epoch = [8, 3] * 3, [4, 4, 1]
    assert [len(x) for x in seen] == matching + 2 * epoch + matching
    for first in (6, 9):
        shown = torch.cat(seen[first : first + 3]).flatten(1)
        gaps = torch.cdist(shown, moved[0].flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
        assert (gaps.min(1).values == 0).all()
        assert sorted(gaps.argmin(1).tolist()) == list(range(9))
    assert method.forward_passes(3, 3, 20) == 2 * 3 * (3 * 8 + 9 * 3) + 2 * 3 * 9


def test_training_augments_each_image_by_itself_and_matching_all_alike(round_of):
    """Of images that are all the same, matching sees one, training several."""
    seen = []
    method = DSA(**{**SETTINGS, "outer": 2, "inner": 20, "augment": Augmentation(one_of=(Crop(0.5),))})
    context, _, _ = started(round_of, method, 3, lambda rng: watched(new_network(rng), seen))
    with torch.no_grad():
        context.syn.images[:] = context.syn.images[0].clone()
    method.iterate(context, lambda *, grads: None)
    kinds = [len(x.flatten(1).unique(dim=0)) for x in seen]
    assert (kinds[1], kinds[3], kinds[5], max(kinds[6:-6])) == (1, 1, 1, 4)
    assert not torch.equal(seen[1], seen[3]) or not torch.equal(seen[1], seen[5])


def test_at_ipc_1_the_network_stays_untrained(round_of):
    method = dc(outer=1, inner=1)
    context, made, replay = started(round_of, method, ipc=1)
    method.iterate(context, Stepper(context.syn, lr=0.1))
    for found, fresh in zip(made[0].parameters(), new_network(replay).parameters(), strict=True):
        assert torch.equal(found, fresh)


def batch_norm_network(rng):
    with global_seed(rng):
        return ConvNet(channels=3, classes=3, size=8, width=0.0625, norm="batch").double()


def test_running_statistics_come_from_real_images_and_are_frozen_while_matching(round_of):
    method = dc(outer=1)
    context, made, replay = started(round_of, method, 2, batch_norm_network)
    images = context.syn.images.detach().clone().requires_grad_()
    apply = Stepper(context.syn, lr=0.1)
    method.iterate(context, apply)

    reference = batch_norm_network(replay).train()
    draw_seed(replay)
    reference(torch.cat([context.real.class_batch(c, 16, replay) for c in range(3)]))
    reference.eval()
    weights, loss = dict(reference.named_parameters()), 0
    for c in range(3):
        target = naive_gradients(reference, weights, context.real.class_batch(c, 8, replay), [c] * 8)
        found = naive_gradients(reference, weights, images[2 * c : 2 * c + 2], [c] * 2)
        loss = loss + naive_rows([g.detach() for g in target], found)
    torch.testing.assert_close(
        apply.gradients[0], torch.autograd.grad(loss, images)[0], rtol=1e-8, atol=1e-11
    )
    for (name, found), expected in zip(made[0].named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)


def test_statistics_are_taken_anew_before_every_matching_and_move_in_training(round_of):
    method = dc(outer=3)
    context, made, _ = started(round_of, method, 2, batch_norm_network)
    method.iterate(context, Stepper(context.syn, lr=0.1))
    passes = {int(v) for k, v in made[0].named_buffers() if k.endswith("num_batches_tracked")}
    assert passes == {3 + 2 * 2 * 2}


def test_dropout_follows_the_expert_alone(round_of):
    def build(rng):
        network = new_network(rng)
        network.body.append(torch.nn.Dropout(0.5))
        return network

    found = []
    for _ in range(2):
        torch.rand(3)
        context, _, _ = started(round_of, method := dc(), 1, build)
        method.iterate(context, Stepper(context.syn, lr=0.1))
        found.append(context.syn.images.detach())
    assert torch.equal(*found)


LOOPS = {
    1: (1, 1),
    2: (2, 50),
    5: (5, 50),
    9: (9, 50),
    10: (10, 50),
    15: (20, 25),
    20: (20, 25),
    25: (30, 20),
}
LOOPS |= {30: (30, 20), 40: (40, 15), 50: (50, 10), 100: (50, 10)}


@pytest.mark.parametrize("name, init", [("dc", noise), ("dsa", random_real)])
def test_published_settings_and_the_rule_of_the_loops(name, init):
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        config = compose(
            "config", [f"method={name}", "data=cifar10", "ipc=10", "noe=1", "paths.output=/nowhere"]
        )
    method, presets = instantiate(config.method), instantiate(config.presets)
    for ipc, loops in LOOPS.items():
        built = same(method, presets, ipc, 1).members[0].method()
        assert (built.outer, built.inner, built.iterations) == (*loops, 1001)
    assert (built.lr, built.momentum, built.network_lr) == (0.1, 0.5, 0.01)
    assert (built.real_batch, built.network_batch) == (256, 256)
    assert (built.init.func, built.distance.func) == (init, layerwise_cosine)
    assert (built.augment is None) == (name == "dc")


def test_dc_starts_from_noise_of_unit_variance(round_of):
    context, _, _ = started(round_of, dc(init=noise), ipc=10)
    images = context.syn.images.detach()
    assert abs(images.mean()) < 0.05 and abs(images.std() - 1) < 0.05
    assert len(images.flatten(1).unique(dim=0)) == 30
