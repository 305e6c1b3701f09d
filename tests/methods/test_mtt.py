"""MTT, and what FTD and DATM share with it, against naive float64 loops over stand-in teachers."""

import dataclasses
import functools

import pytest
import torch
from conftest_methods import new_network
from conftest_trajectories import AUGMENT, IPC, SETTINGS, TEACHERS, begin, datm, mtt, run

from moe_distill.errors import InputError
from moe_distill.methods.ftd import FTD
from moe_distill.methods.matching.trajectories import adjoint, tesla, unroll
from moe_distill.seeding import stream

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def started(round_of):
    return functools.partial(begin, round_of)


def learn_naively(syn, start, target, steps):
    """Unroll a student with one chain of autograd, image by image, and return loss and leaves."""
    leaves = {name: p.detach().clone().requires_grad_() for name, p in syn.items()}
    network = new_network(stream(0, "shell"))
    names, shapes = zip(*((n, p.shape) for n, p in network.named_parameters()), strict=True)
    theta = start.clone().requires_grad_()
    for rows, plan in steps:
        weights = {
            n: w.view(s)
            for n, w, s in zip(names, theta.split([s.numel() for s in shapes]), shapes, strict=True)
        }
        total = 0
        for place, row in enumerate(rows.tolist()):
            x = leaves["images"][row : row + 1]
            for op, drawn in plan.steps:
                x = op(x, drawn[place : place + 1])
            logits = torch.func.functional_call(network, weights, (x,))[0]
            label = torch.eye(3, dtype=torch.float64)[row % (3 * IPC) // IPC]
            if "soft_labels" in leaves:
                label = leaves["soft_labels"][row].exp() / leaves["soft_labels"][row].exp().sum()
            total = total - (label * (logits - logits.exp().sum().log())).sum() / len(rows)
        theta = theta - leaves["learned_rate"] * torch.autograd.grad(total, theta, create_graph=True)[0]
    loss = (theta - target).square().sum() / (start - target).square().sum()
    return loss, dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def distil_naively(method, made, replay, iterations, lrs):
    """Do iterations from scratch: draws, students, and SGD with momentum on every tensor.

    Rows of earlier sets come after those of its own, and never move.
    """
    tensors = {name: p.detach().clone() for name, p in made.syn.named_parameters()}
    for earlier in made.context.earlier:
        for name in {"images", "soft_labels"} & {*tensors}:
            tensors[name] = torch.cat([tensors[name], earlier.get_parameter(name).detach()])
    buffers, order, losses = {}, [], []
    for iteration in range(iterations):
        order = order or torch.randperm(TEACHERS, generator=replay).tolist()
        weights = made.context.trajectories.weights[order.pop()]
        low, high = (1, min(3, 2 + iteration // 2)) if method.learns_labels else (0, 3)
        epoch = int(torch.randint(low, high, (1,), generator=replay))
        rows = []
        while len(rows) < 4:
            rows += reversed(torch.randperm(len(tensors["images"]), generator=replay).split(4))
        rows = rows[:4]
        plans = [AUGMENT.draw(replay, len(r), 8, shared=False) for r in rows]
        steps = list(zip(rows, plans, strict=True))
        loss, grads = learn_naively(tensors, weights[epoch], weights[epoch + 2], steps)
        losses.append(loss.detach())
        for name, (lr, momentum) in lrs.items():
            if grads[name].dim():
                grads[name][6:] = 0
            buffers[name] = momentum * buffers.get(name, 0) + grads[name]
            tensors[name] = tensors[name] - lr * buffers[name]
    return tensors, losses


LRS = {"images": (10.0, 0.5), "learned_rate": (1e-3, 0.5)}


@pytest.mark.parametrize("iterations", [1, 4])
@pytest.mark.parametrize("build", [mtt, datm])
def test_iterations_against_naive_float64(started, build, iterations):
    """With a short chunk, augmentation, momentum on all tensors, and a second pass over the teachers."""
    method = build()
    made = started(method)
    replay, before = made.context.rng.clone_state(), made.syn.images.detach().clone()
    lrs = LRS | ({"soft_labels": (5.0, 0.9)} if method.learns_labels else {})
    expected, losses = distil_naively(method, made, replay, iterations, lrs)
    shown = run(method, made, iterations)
    for name, tensor in expected.items():
        torch.testing.assert_close(made.syn.get_parameter(name).detach(), tensor, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(
        torch.stack([s["loss"] for s in shown]), torch.stack(losses), rtol=1e-11, atol=0
    )
    assert shown[-1]["step_size"] == made.syn.learned_rate != method.step_size
    assert (made.syn.images.detach() - before).flatten(1).any(1).all()


@pytest.mark.parametrize("build", [mtt, datm])
def test_the_student_trains_on_earlier_images_too_which_never_move(started, build):
    """Four steps of 4 of 12 images: every row of the union is drawn once, and some of them again."""
    method = build()
    made, before = started(method), started(build())
    with torch.no_grad():
        before.syn.images.add_(0.3)
        if method.learns_labels:
            before.syn.soft_labels.add_(torch.randn(6, 3, generator=stream(0, "soft"), dtype=torch.float64))
    frozen = before.syn.requires_grad_(False)
    kept = {name: p.clone() for name, p in frozen.named_parameters()}
    made.context = dataclasses.replace(made.context, earlier=(frozen,))
    replay = made.context.rng.clone_state()
    lrs = LRS | ({"soft_labels": (5.0, 0.9)} if method.learns_labels else {})
    expected, losses = distil_naively(method, made, replay, 3, lrs)
    shown = run(method, made, 3)
    for name, tensor in expected.items():
        rows = slice(6) if tensor.dim() else ...
        torch.testing.assert_close(
            made.syn.get_parameter(name).detach(), tensor[rows], rtol=1e-10, atol=1e-13
        )
        if tensor.dim():
            assert torch.equal(tensor[6:], kept[name])
    torch.testing.assert_close(
        torch.stack([s["loss"] for s in shown]), torch.stack(losses), rtol=1e-11, atol=0
    )
    assert all(torch.equal(p, kept[name]) for name, p in frozen.named_parameters())


def test_the_whole_union_is_one_batch_where_asked_for(started):
    method = mtt(batch_syn="all", synthetic_steps=2)
    made, before = started(method), started(mtt())
    made.context = dataclasses.replace(made.context, earlier=(before.syn.requires_grad_(False),))
    steps = method._problem(made.context).steps
    assert [sorted(step.rows_B.tolist()) for step in steps] == [list(range(12))] * 2


def test_the_way_to_the_gradient_is_a_setting(started):
    def moved(way):
        made = started(mtt(adjoint=way))
        run(mtt(adjoint=way), made, 1)
        return made.moves[0]["images"]

    torch.testing.assert_close(moved(adjoint), moved(unroll), rtol=1e-9, atol=1e-13)
    assert (moved(tesla) - moved(unroll)).norm() > 1e-3 * moved(unroll).norm()


def test_every_teacher_is_taken_once_a_pass_from_every_start_epoch(started):
    method = mtt(synthetic_steps=1)
    made = started(method)
    run(method, made, 24)
    starts, targets = made.context.trajectories.asked[::2], made.context.trajectories.asked[1::2]
    passes = [tuple(t for t, _ in starts[i : i + TEACHERS]) for i in range(0, 24, TEACHERS)]
    assert all(sorted(p) == [0, 1, 2] for p in passes) and len(set(passes)) > 1
    assert {e for _, e in starts} == {0, 1, 2}
    assert targets == [(t, e + 2) for t, e in starts]
    assert max(e for _, e in targets) == method.epochs_needed == 4


def test_all_images_are_one_batch_where_asked_for(started):
    made = started(mtt(batch_syn="all", synthetic_steps=1))
    run(mtt(batch_syn="all", synthetic_steps=1), made, 1)
    assert made.moves[0]["images"].flatten(1).any(1).all()


@pytest.mark.parametrize("method", [mtt, datm])
def test_an_iteration_too_far_off_moves_nothing_not_even_momentum(started, method):
    made = started(method(max_loss=1e-9))
    before = {name: p.detach().clone() for name, p in made.syn.named_parameters()}
    shown = run(method(max_loss=1e-9), made, 2)
    assert all(s["loss"] > 1e-9 for s in shown)
    assert all(torch.equal(p, before[name]) for name, p in made.syn.named_parameters())
    assert not made.moves and not made.optimizer.state
    run(method(max_loss=1e9), made, 1)
    assert len(made.moves) == 1 and len(made.optimizer.state) == len(before)


def test_the_step_size_stops_at_its_floor(started):
    method = mtt(lr_step_size=1e9, step_size_floor=0.01)
    made = started(method)
    sizes = [float(s["step_size"]) for s in run(method, made, 4)]
    assert any(m["learned_rate"] > 0 for m in made.moves) and min(sizes) == 0.01


def test_an_interrupted_pass_goes_on_with_the_teachers_that_were_left(started):
    whole, stopped = started(mtt()), started(mtt())
    run(mtt(), whole, 3)
    first, second = mtt(), mtt()
    run(first, stopped, 2)
    second.load_state_dict(first.state_dict(), stopped.context)
    run(second, stopped, 1)
    assert stopped.context.trajectories.asked == whole.context.trajectories.asked
    assert torch.equal(stopped.syn.images, whole.syn.images)


def test_ftd_is_mtt_whose_expert_averages_the_images():
    method = FTD(**{**SETTINGS, "ema": 0.9995})
    assert (method.ema, method.learns_labels, method.step_size, method.teachers) == (
        0.9995,
        False,
        0.05,
        "the pool",
    )


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (mtt, {"synthetic_steps": 0}, r"synthetic_steps=0: a whole number"),
        (mtt, {"batch_syn": 0}, r"batch_syn=0"),
        (mtt, {"micro_batch": -1}, r"micro_batch=-1"),
        *(
            (mtt, {"step_size": bad}, rf"step_size={bad}: a number above 0")
            for bad in (0, -1, float("nan"), None)
        ),
        (mtt, {"step_size_floor": 0.1}, r"step_size_floor=0\.1: at most step_size=0\.05"),
        (datm, {"min_start_epoch": 2}, r"min_start_epoch=2, first_max_start_epoch=2: increasing"),
        (datm, {"first_max_start_epoch": 4}, r"increasing numbers up to 3"),
        (datm, {"expand_iterations": 0}, r"expand_iterations=0"),
    ],
)
def test_settings_out_of_range_are_one_line(build, changes, message):
    with pytest.raises(InputError, match=message):
        build(**changes)


def test_a_run_without_trajectories_says_what_to_do(started):
    made = started(mtt())
    with pytest.raises(InputError, match=r"teachers=None: trajectories: run .* pipeline=full"):
        mtt().iterate(dataclasses.replace(made.context, trajectories=None), made.apply)


def test_a_loss_beyond_all_numbers_is_one_more_that_moves_nothing(started):
    def endless(problem):
        found = adjoint(problem)
        return found._replace(loss=found.loss / 0, images_NCHW=found.images_NCHW / 0)

    made = started(mtt(adjoint=endless, max_loss=1.0))
    (shown,) = run(mtt(adjoint=endless, max_loss=1.0), made, 1)
    assert set(shown) == {"step_size"} and not made.moves
