"""Stand-in teachers, and a round of a method of trajectory matching that moves as an expert's does."""

import dataclasses
from types import SimpleNamespace

import torch
from conftest_methods import new_network

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Flip, Rotate
from moe_distill.data.initialization import random_real
from moe_distill.methods.datm import DATM
from moe_distill.methods.matching.trajectories import adjoint
from moe_distill.methods.mtt import MTT
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet

AUGMENT = Augmentation(one_of=(Color(), Crop(), Flip(), Rotate()))
TEACHERS, EPOCHS, IPC = 3, 6, 2
SETTINGS = {
    "iterations": 5,
    "lr_images": 10.0,
    "lr_step_size": 1e-3,
    "momentum": 0.5,
    "step_size": 0.05,
    "step_size_floor": 1e-6,
    "synthetic_steps": 4,
    "teacher_epochs": 2,
    "max_start_epoch": 3,
    "batch_syn": 4,
    "max_loss": None,
    "ema": None,
    "adjoint": adjoint,
    "micro_batch": 3,
    "augment": AUGMENT,
    "init": random_real,
    "teachers": lambda: "the pool",
}
MORE = {"min_start_epoch": 1, "first_max_start_epoch": 2, "expand_iterations": 2, "label_epoch": 6}
MORE |= {"lr_labels": 5.0, "momentum_labels": 0.9}


def mtt(**changes):
    return MTT(**{**SETTINGS, **changes})


def datm(**changes):
    return DATM(**{**SETTINGS, **MORE, **changes})


class Teachers:
    """Recorded trajectories of networks that wander off at random, and who was asked for."""

    epochs = EPOCHS

    def __init__(self):
        self.asked = []
        self.weights = []
        for teacher in range(TEACHERS):
            rng = stream(teacher, "wandering")
            init = torch.cat([p.detach().reshape(-1) for p in new_network(rng).parameters()])
            walk = 0.02 * torch.randn(EPOCHS, len(init), generator=rng, dtype=torch.float64)
            self.weights.append(torch.cat([init[None], init + walk.cumsum(0)]))

    def __len__(self):
        return TEACHERS

    def snapshot(self, teacher, epoch):
        self.asked.append((teacher, epoch))
        return self.weights[teacher][epoch].clone()


def begin(round_of, method):
    """Return a method's round at its initial images, and a way to move them as an expert does."""
    context = round_of(method, IPC)
    blank = context.syn
    rate = torch.tensor(method.step_size, dtype=torch.float64)
    soft = torch.zeros(len(blank.images), 3, dtype=torch.float64) if method.learns_labels else None
    syn = SyntheticSet(blank.images.detach(), blank.provenance, learned_rate=rate, soft_labels=soft)
    context = dataclasses.replace(context, syn=syn, trajectories=Teachers())
    method.prepare(context)
    context.trajectories.asked.clear()
    optimizer = torch.optim.SGD(method.parameter_groups(syn))
    moves = []

    def apply(loss=None, *, grads):
        assert loss is None and set(grads) == {name for name, _ in syn.named_parameters()}
        moves.append({name: g.clone() for name, g in grads.items()})
        for name, gradient in grads.items():
            syn.get_parameter(name).grad = gradient
        optimizer.step()

    return SimpleNamespace(context=context, syn=syn, apply=apply, moves=moves, optimizer=optimizer)


def run(method, made, iterations):
    return [
        method.iterate(dataclasses.replace(made.context, iteration=i), made.apply) for i in range(iterations)
    ]
