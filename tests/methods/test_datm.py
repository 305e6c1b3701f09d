"""What DATM adds to MTT: its range of start epochs, its initial images and its labels."""

import dataclasses
import functools
import importlib

import pytest
import torch
from conftest_methods import new_network
from conftest_trajectories import IPC, MORE, TEACHERS, begin, datm

from moe_distill.data.initialization import first_real, random_real
from moe_distill.methods.datm import mean_of_correct
from moe_distill.seeding import stream


@pytest.fixture
def started(round_of):
    return functools.partial(begin, round_of)


def test_datm_widens_its_range_epoch_by_epoch():
    method = datm(min_start_epoch=2, first_max_start_epoch=10, max_start_epoch=13, expand_iterations=7)
    assert [method.start_epochs(i) for i in range(9)] == [(2, 10)] * 3 + [(2, 11)] * 2 + [(2, 12)] * 2 + [
        (2, 13)
    ] * 2
    fixed = datm(first_max_start_epoch=3, expand_iterations=1)
    assert {fixed.start_epochs(i) for i in (0, 1, 999)} == {(1, 3)}
    assert (datm(label_epoch=100).epochs_needed, datm(label_epoch=1).epochs_needed) == (100, 4)


def test_datm_widens_its_range_as_fast_where_its_architecture_has_a_third_of_the_iterations(started):
    epochs = {}
    for turns in (1, 3):
        method = datm(min_start_epoch=0, first_max_start_epoch=1, expand_iterations=9)
        made = started(method)
        for iteration in range(0, 30, turns):
            context = dataclasses.replace(made.context, iteration=iteration // turns, turns=turns)
            method.iterate(context, made.apply)
        starts = [epoch for _, epoch in made.context.trajectories.asked[::2]]
        epochs[turns] = max(starts[: 3 // turns]), max(starts)
    assert epochs == {1: (0, method.max_start_epoch - 1), 3: (0, method.max_start_epoch - 1)}


def logits_of(teachers, teacher, images):
    network = new_network(stream(0, "shell"))
    torch.nn.utils.vector_to_parameters(teachers.weights[teacher][MORE["label_epoch"]], network.parameters())
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize("init", [first_real, random_real])
def test_datm_begins_with_images_its_teachers_recognise(started, init):
    method = datm(init=init)
    made = started(method)
    replay = stream(0, "round")
    for c in range(3):
        pool = init(made.context.real.real, c, 20, replay).double()
        chosen = []
        for teacher in range(TEACHERS):
            for i, logits in enumerate(logits_of(made.context.trajectories, teacher, pool)):
                if len(chosen) < IPC and i not in chosen and int(logits.argmax()) == c:
                    chosen.append(i)
        chosen += [i for i in range(20) if i not in chosen][: IPC - len(chosen)]
        torch.testing.assert_close(made.syn.images.detach()[IPC * c :][:IPC], pool[chosen], rtol=0, atol=1e-6)
    labels = made.syn.labels.tolist()
    logits = [logits_of(made.context.trajectories, t, made.syn.images.detach()) for t in range(TEACHERS)]
    for row, label in enumerate(labels):
        right = [lo[row] for lo in logits if int(lo[row].argmax()) == label] or [lo[row] for lo in logits]
        torch.testing.assert_close(made.syn.soft_labels.detach()[row], sum(right) / len(right))


def test_datm_asks_the_next_teacher_only_where_one_does_not_know_enough(started):
    method = datm()
    made = started(method)
    images = torch.arange(5.0).double()[:, None, None, None].expand(5, 3, 8, 8)
    known = {0: [3], 1: [1, 3, 4], 2: [0]}
    asked = []

    def logits(_, teacher, x):
        asked.append(teacher)
        return torch.nn.functional.one_hot(torch.tensor([int(i in known[teacher]) for i in range(len(x))]), 3)

    method._logits, method.init = logits, lambda real, c, n, rng: images
    for ipc, rows, teachers in ((1, [3], [0]), (3, [3, 1, 4], [0, 1]), (5, [3, 1, 4, 0, 2], [0, 1, 2])):
        asked.clear()
        assert method.initial(made.context, 1, ipc)[:, 0, 0, 0].tolist() == rows
        assert asked == teachers


def test_labels_are_those_of_the_teachers_that_are_right():
    logits = torch.tensor([[[2.0, 0], [0, 4]], [[0, 2], [0, 2]], [[4, 0], [0, 3]]])
    mean = mean_of_correct(logits, torch.tensor([0, 0]))
    assert mean.tolist() == [[3.0, 0.0], [0.0, 3.0]]


# N, M, T⁺, batch, lr of images, lr of the step size, its first value; then a method's own: FTD's decay of the
# average, DATM's T⁻, T at first, iterations to widen, lr of the labels, threshold.
PUBLISHED = {
    ("mtt", "default", 1): (50, 2, 5, "all", 1000, 1e-7, 0.01),
    ("mtt", "default", 10): (30, 2, 15, "all", 1000, 1e-5, 0.01),
    ("mtt", "default", 50): (30, 2, 40, "all", 1000, 1e-5, 0.001),
    ("mtt", "cifar10_zca", 1): (50, 2, 2, "all", 100, 1e-7, 0.01),
    ("mtt", "cifar10_zca", 10): (30, 2, 20, "all", 100, 1e-5, 0.001),
    ("mtt", "cifar10_zca", 50): (30, 2, 20, "all", 100, 1e-5, 0.001),
    ("mtt", "cifar100", 1): (20, 3, 20, "all", 1000, 1e-5, 0.01),
    ("mtt", "cifar100", 10): (20, 2, 20, "all", 1000, 1e-5, 0.01),
    ("mtt", "cifar100", 50): (80, 2, 40, 125, 1000, 1e-5, 0.01),
    ("ftd", "default", 1): (50, 2, 2, "all", 100, 1e-7, 0.01, 0.9999),
    ("ftd", "default", 10): (30, 2, 20, "all", 100, 1e-5, 0.001, 0.9995),
    ("ftd", "default", 50): (30, 2, 40, "all", 1000, 1e-5, 0.01, 0.999),
    ("ftd", "cifar100", 1): (40, 3, 20, "all", 1000, 1e-5, 0.01, 0.9995),
    ("ftd", "cifar100", 10): (20, 2, 40, "all", 1000, 1e-5, 0.01, 0.9995),
    ("ftd", "cifar100", 50): (80, 2, 40, 1000, 1000, 1e-5, 0.01, 0.999),
    ("mtt", "tinyimagenet", 1): (10, 2, 10, "all", 10000, 1e-4, 0.01),
    ("mtt", "tinyimagenet", 10): (20, 2, 40, 200, 10000, 1e-4, 0.01),
    ("mtt", "tinyimagenet", 50): (20, 2, 40, 300, 10000, 1e-4, 0.01),
    ("ftd", "tinyimagenet", 1): (30, 2, 10, "all", 10000, 1e-4, 0.01, 0.999),
    ("ftd", "tinyimagenet", 10): (20, 2, 40, 500, 10000, 1e-4, 0.01, 0.999),
    ("datm", "tinyimagenet", 1): (40, 2, 20, 1000, 10000, 1e-4, 0.01, 0, 15, 2000, 10, 1.0),
    ("datm", "tinyimagenet", 10): (40, 2, 50, 500, 100, 1e-4, 0.01, 10, 50, 1, 10, 1.0),
    ("datm", "tinyimagenet", 50): (20, 2, 70, 1000, 100, 1e-4, 0.01, 40, 70, 1, 10, 1.0),
    ("datm", "default", 1): (80, 2, 4, "all", 100, 1e-7, 0.01, 0, 4, 1, 5, 1.1),
    ("datm", "default", 10): (80, 2, 20, "all", 100, 1e-5, 0.01, 0, 10, 1000, 2, 1.0),
    ("datm", "default", 50): (80, 2, 40, "all", 1000, 1e-5, 0.01, 0, 20, 2000, 2, 1.0),
    ("datm", "default", 500): (40, 2, 60, 1000, 50, 1e-5, 0.01, 40, 60, 1, 10, 1.0),
    ("datm", "default", 1000): (100, 2, 60, 1000, 50, 1e-5, 0.01, 40, 60, 1, 10, 1.0),
    ("datm", "cifar100", 1): (40, 3, 20, "all", 1000, 1e-5, 0.01, 0, 10, 1000, 10, 1.0),
    ("datm", "cifar100", 10): (80, 2, 50, 1000, 1000, 1e-5, 0.01, 0, 30, 2000, 10, 1.0),
    ("datm", "cifar100", 50): (80, 2, 70, 1000, 1000, 1e-5, 0.01, 20, 70, 1, 10, 1.0),
    ("datm", "cifar100", 100): (80, 2, 70, 1000, 50, 1e-5, 0.01, 30, 70, 1, 10, 1.0),
}
KEYS = (
    "synthetic_steps",
    "teacher_epochs",
    "max_start_epoch",
    "batch_syn",
    "lr_images",
    "lr_step_size",
    "step_size",
)
OWN = {
    "mtt": (),
    "ftd": ("ema",),
    "datm": ("min_start_epoch", "first_max_start_epoch", "expand_iterations", "lr_labels", "max_loss"),
}


@pytest.mark.parametrize("name", OWN)
def test_the_rows_are_the_published_ones(name):
    presets = importlib.import_module(f"moe_distill.methods.presets.{name}").PRESETS
    rows = {(place, ipc): row for place, published in presets.items() for ipc, row in published.rows.items()}
    assert {(name, *place) for place in rows} == {place for place in PUBLISHED if place[0] == name}
    for place, row in rows.items():
        assert tuple(row[key] for key in (*KEYS, *OWN[name])) == PUBLISHED[name, *place]
        assert (row["iterations"], row["teachers"]["networks"]) == (10001 if name == "datm" else 5001, 100)
        assert row.get("label_epoch") == (100 if name == "datm" else None)
