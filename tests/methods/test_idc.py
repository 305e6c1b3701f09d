"""IDC against naive float64 references that share its draws alone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest_methods import Stepper, new_network

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Cutout
from moe_distill.data.initialization import first_real
from moe_distill.methods.idc import IDC
from moe_distill.methods.matching.distances import sum_absolute, sum_squares
from moe_distill.seeding import draw_seed, stream
from moe_distill.teachers.early_network import EarlyStageNetwork
from moe_distill.training.mixing import CutMix

MATCH = Augmentation(before=(Color(),), one_of=(Crop(),), after=(Cutout(),))
TRAIN = Augmentation(before=(Color(),), one_of=(Crop(),))
MEAN, STD = 0.5, 0.25  # of the fixture's data
LR, SOURCE = (
    0.05,
    {"renew_every": 2, "n_data": 40, "batch_size": 16, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
)


def source(**changes):
    return EarlyStageNetwork(**{**SOURCE, "augment": TRAIN, "cutmix": CutMix(0.5), **changes})


def idc(**changes):
    settings = {
        "iterations": 5,
        "lr": 5e-3,
        "base_size": 32,
        "momentum": 0.5,
        "real_batch": 64,
        "synthetic_batch": 128,
    }
    settings |= {"factor": 2, "formation": "single", "networks_see": "part", "distance": sum_squares}
    return IDC(**{**settings, "source": source, "augment": MATCH, "init": first_real, **changes})


def prepared(round_of, ipc=1, **changes):
    method = idc(**changes)
    context = round_of(method, ipc)
    method.prepare(context)
    return method, context


def naive_logits(weights, x):
    """ConvNet layer by layer."""
    values = list(weights.values())
    for conv_w, conv_b, scale, shift in zip(*[iter(values[:-2])] * 4, strict=True):
        x = F.conv2d(x, conv_w, conv_b, padding=1)
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        x = F.avg_pool2d(x.clamp_min(0), 2)
    return x.flatten(1) @ values[-2].T + values[-1]


def leaves(weights):
    return {k: v.detach().clone().requires_grad_() for k, v in weights.items()}


def naive_loss(weights, images, c, real, chosen, plan):
    """The matching loss of a class that stores one image of 2 x 2 cells."""
    cells = torch.stack([images[c, :, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)])
    synthetic = (F.interpolate(cells, size=8, mode="bilinear", align_corners=False)[chosen] - MEAN) / STD
    theta = leaves(weights)
    sides = []
    for x in (MATCH.apply(real, plan), MATCH.apply(synthetic, plan)):
        ce = -sum(row.log_softmax(0)[c] for row in naive_logits(theta, x)) / len(x)
        kernels = [w for name, w in theta.items() if w.dim() == 4]
        sides.append(torch.autograd.grad(ce, kernels, create_graph=True))
    return sum(((r.detach() - s) ** 2).sum() for r, s in zip(*sides, strict=True))


class NaiveDealer:
    """Deals batches of indices, class by class or of all, each pile shuffled again when it holds too few."""

    def __init__(self, real, rng):
        self.real, self.rng, self.piles = real, rng, {}

    def __call__(self, of, n):
        rows = [i for i in range(len(self.real)) if of == "all" or self.real.labels_N[i] == of]
        pile = self.piles.setdefault(of, [])
        if len(pile) < min(n, len(rows)):
            epoch = stream(draw_seed(self.rng), "epoch")
            pile[:] = [rows[i] for i in torch.randperm(len(rows), generator=epoch)]
        dealt, pile[:] = pile[:n], pile[n:]
        return self.real.normalised(self.real.images_NCHW[dealt]).double(), self.real.labels_N[dealt]


def train_naively(weights, momenta, deal, rng):
    """Train as the source should: 40 images are three batches of 16, augmented, half of them with a pasted
    box."""
    for _ in range(3):
        x, y = deal("all", 16)
        x = TRAIN.apply(x, TRAIN.draw(rng, 16, 8, shared=False))
        cut, y_other, ratio = CutMix(0.5).draw(rng, 16, 8), y, 1.0
        if cut is not None:
            (r, c), side = cut.centre_2.tolist(), int(8 * (1 - float(cut.lam)) ** 0.5) // 2
            rows, columns = (slice(max(0, at - side), min(8, at + side)) for at in (r, c))
            x, y_other, pasted = x.clone(), y[cut.partner_N], x[cut.partner_N]
            x[:, :, rows, columns] = pasted[:, :, rows, columns]
            ratio = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / 64
        theta = leaves(weights)
        logits = naive_logits(theta, x)
        loss = ratio * F.cross_entropy(logits, y) + (1 - ratio) * F.cross_entropy(logits, y_other)
        for (name, w), g in zip(
            list(weights.items()), torch.autograd.grad(loss, list(theta.values())), strict=True
        ):
            momenta[name] = 0.9 * momenta.get(name, 0) + g + 5e-4 * w
            weights[name] = w - 0.01 * momenta[name]


def test_three_iterations_against_naive_float64(round_of):
    """Class by class with one momentum buffer, the network trained in between and renewed with a clamp after
    two.

    Batches of 9 of the 20 real images of a class leave 2 out of each epoch; of its 4 decoded images 3 are
    drawn.
    """
    method, context = prepared(round_of, synthetic_batch=3, real_batch=9)
    images, buffer = context.syn.images.detach().clone(), torch.zeros(3, 3, 8, 8, dtype=torch.float64)
    replay, apply, shown = context.rng.clone_state(), Stepper(context.syn, lr=LR), []
    for iteration in range(3):
        shown.append(method.iterate(replace(context, iteration=iteration), apply)["loss"])

    weights, momenta, deal = {}, {}, NaiveDealer(context.real, replay)
    for iteration in range(3):
        if iteration in (0, 2):
            weights, momenta = {k: v.clone() for k, v in new_network(replay).state_dict().items()}, {}
            assert (images.clamp(0, 1) != images).any() == (iteration == 2)
            images = images.clamp(0, 1)
        total = 0
        draw_seed(replay)  # of dropout, which this network has not
        for c in range(3):
            real, _ = deal(c, 9)
            chosen, plan = torch.randperm(4, generator=replay)[:3], MATCH.draw(replay, 1, 8, shared=True)
            x = images.clone().requires_grad_()
            loss = naive_loss(weights, x, c, real, chosen, plan)
            buffer = 0.5 * buffer + torch.autograd.grad(loss, x)[0]
            images = images - LR * buffer
            total += loss.detach()
        torch.testing.assert_close(shown[iteration], total, rtol=1e-8, atol=0)
        train_naively(weights, momenta, deal, replay)
    torch.testing.assert_close(context.syn.images.detach(), images, rtol=1e-8, atol=1e-10)
    for name, w in method.source.network.state_dict().items():
        torch.testing.assert_close(w, weights[name], rtol=1e-8, atol=1e-10)
    assert torch.equal(context.rng.get_state(), replay.get_state())


def test_image_gradient_against_finite_differences(round_of):
    method, context = prepared(round_of)
    start, replay = context.syn.images.detach().clone(), context.rng.clone_state()
    apply = Stepper(context.syn, lr=0.0)
    method.iterate(context, apply)
    weights, deal = new_network(replay).state_dict(), NaiveDealer(context.real, replay)
    draw_seed(replay)
    for c in range(3):  # 64 images are asked for where a class has 20
        (real, _), plan = deal(c, 64), MATCH.draw(replay, 1, 8, shared=True)
        for at in ((c, 0, 1, 6), (c, 2, 5, 2), (c, 1, 3, 3)):
            moved = [start.clone(), start.clone()]
            for x, step in zip(moved, (1e-6, -1e-6), strict=True):
                x[at] += step
            up, down = (float(naive_loss(weights, x, c, real, slice(None), plan).detach()) for x in moved)
            assert float(apply.gradients[c][at]) == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-6)
    assert max(float(g.abs().max()) for g in apply.gradients) > 1e-3


def test_a_class_step_goes_on_moving_earlier_classes(round_of):
    """Momentum leaks: class 0 moves by g, g/2, g/4 during the steps of classes 0, 1 and 2."""
    method, context = prepared(round_of)
    start, apply = context.syn.images.detach().clone(), Stepper(context.syn, lr=1e-3)
    method.iterate(context, apply)
    assert [[bool(g[c].any()) for c in range(3)] for g in apply.gradients] == torch.eye(3).bool().tolist()
    moved = start[0] - context.syn.images.detach()[0]
    torch.testing.assert_close(moved, 1e-3 * 1.75 * apply.gradients[0][0])


def test_images_are_clamped_only_when_the_network_is_renewed(round_of):
    method, context = prepared(round_of)
    apply = Stepper(context.syn, lr=0.0)
    outside = []
    for iteration in range(4):
        with torch.no_grad():
            context.syn.images[0, 0, 0, 0], context.syn.images[1, 0, 0, 0] = 1.5, -0.5
        method.iterate(replace(context, iteration=iteration), apply)
        outside.append(context.syn.images.detach()[:2, 0, 0, 0].tolist())
    assert outside == [[1, 0], [1.5, -0.5], [1, 0], [1.5, -0.5]]


def test_cells_hold_the_first_images_as_raw_pixels(round_of):
    _, context = prepared(round_of, ipc=2)
    pixels = context.real.images_NCHW[context.real.class_indices(1)].double() / 255
    stored = context.syn.images.detach()[2:4]
    for k, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        cell = stored[:, :, row : row + 4, column : column + 4]
        torch.testing.assert_close(cell, pixels[2 * k : 2 * k + 2, :, ::2, ::2], rtol=0, atol=1e-6)
    _, plain = prepared(round_of, ipc=2, factor=1)
    torch.testing.assert_close(plain.syn.images.detach()[2:4], pixels[:2], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("formation", "limit", "count"),
    [
        ("single", 128, 8),
        ("multi", 128, 10),
        ("bound", 5, 2),
        ("bound", 7, 5),
        ("bound", 128, 8),
        ("single", 6, 6),
    ],
)
def test_class_batches_are_decoded_as_told_and_limited(round_of, formation, limit, count):
    counts = []

    def counting(real, synthetic):
        counts.append(len(seen[-1]))
        return sum_squares(real, synthetic)

    method, context = prepared(round_of, ipc=2, formation=formation, synthetic_batch=limit, distance=counting)
    seen = []
    method.source.renew(new_network, stream(0, "n"))
    method.source.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    method.iterate(replace(context, iteration=1), Stepper(context.syn, lr=0.0))
    assert counts == [count] * 3


def test_every_decoded_image_is_drawn_equally_often(round_of):
    """With brightness as the mark of a cell, over many draws of 2 of 4."""
    method, context = prepared(round_of, synthetic_batch=2)
    with torch.no_grad():
        for k, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
            context.syn.images[0, :, row : row + 4, column : column + 4] = k / 4
    drawn = torch.zeros(4)
    for _ in range(400):
        x = method._class_batch(context.syn, 0, context.rng)
        drawn[((x.mean((1, 2, 3)) * STD + MEAN) * 4).round().long()] += 1
    torch.testing.assert_close(drawn / 400, torch.full((4,), 0.5), rtol=0, atol=0.13)
    assert len(drawn) == 4 and drawn.sum() == 800


def test_the_network_sees_the_part_or_all_as_told(round_of):
    for see in ("part", "all"):
        method, context = prepared(round_of, networks_see=see)
        seen = []
        method.source.train = lambda real, rng, seen=seen: seen.append(real)
        method.iterate(context, Stepper(context.syn, lr=0.0))
        assert seen[0] is (context.real if see == "part" else context.whole)
        assert context.real is not context.whole


def test_the_distance_is_the_one_given(round_of):
    losses = []
    for distance in (sum_squares, sum_absolute, lambda r, s: 2 * sum_squares(r, s)):
        method, context = prepared(round_of, distance=distance)
        losses.append(float(method.iterate(context, Stepper(context.syn, lr=0.0))["loss"]))
    assert losses[2] == pytest.approx(2 * losses[0]) and losses[1] != pytest.approx(losses[0])
