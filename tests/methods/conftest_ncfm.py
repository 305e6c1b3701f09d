"""NCFM's settings of tests, and the arrays of its published program as weights and images of ours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from moe_distill.data.initialization import first_real
from moe_distill.methods.ncfm import NCFM
from moe_distill.seeding import stream

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "ncfm.npz")
SETTINGS = {
    "iterations": 3,
    "optimizer": "adamw",
    "lr": 0.01,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "real_batch": 4,
    "real_choice": "random",
    "frequencies": 32,
    "sampler": "gaussian",
    "amplitude": 0.3,
    "phase": 0.7,
    "scale": 300.0,
    "calibration": 2.0,
    "factor": 2,
    "teacher_epochs": 3,
    "augment": None,
    "init": first_real,
    "teachers": lambda: "the pool",
}


def ncfm(**changes):
    return NCFM(**{**SETTINGS, **changes})


class TwoEnds:
    """Trajectories of one teacher with nothing but its first and its last weights."""

    def __init__(self, first, last):
        self.ends = {0: first, 3: last}

    def __len__(self):
        return 1

    def snapshot(self, teacher, epoch):
        return self.ends[epoch]


def started(method, round_of, ipc=2):
    """A context of a prepared method, whose teacher goes from one network to another."""
    context = round_of(method, ipc=ipc)
    networks = [context.new_network(stream(n, "weights")) for n in range(2)]
    ends = [parameters_to_vector(network.parameters()).detach() for network in networks]
    context = replace(context, trajectories=TwoEnds(*ends))
    method.prepare(context)
    return context


def golden_weights(which):
    """The golden network's parameters as one vector, in the order of ours."""
    names = [
        f"{part}{n}.{kind}" for n in (1, 2, 3) for part in ("conv", "norm") for kind in ("weight", "bias")
    ]
    names += ["fc.weight", "fc.bias"]
    return torch.cat([torch.from_numpy(GOLDEN[f"net.{which}.{name}"]).flatten() for name in names])


class GoldenReal:
    """The golden real images, of one class, which are standardised already."""

    classes, size = ("0",), 16

    def class_indices(self, c):
        return torch.arange(6)

    def at(self, rows):
        return torch.from_numpy(GOLDEN["img.real"])[rows], None
