"""What is compared: a method of the package, its settings, and the naive reference of the same algorithm."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.speed.naive_gradients import NaiveDC, NaiveIDC
from experiments.speed.naive_matching import NaiveDM, NaiveIDM
from experiments.speed.naive_trajectories import NaiveMTT, NaiveTesla
from experiments.speed.start import Reference, Start
from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Cutout, Flip, Rotate, Scale
from moe_distill.data.initialization import first_real, noise, random_real
from moe_distill.methods.dc import DC
from moe_distill.methods.dm import DM
from moe_distill.methods.dsa import DSA
from moe_distill.methods.idc import IDC
from moe_distill.methods.idm import IDM
from moe_distill.methods.matching.distances import layerwise_cosine, sum_squares
from moe_distill.methods.matching.trajectories import adjoint, tesla
from moe_distill.methods.mtt import MTT
from moe_distill.teachers.early_network import EarlyStageNetwork
from moe_distill.teachers.network_queue import NetworkQueue
from moe_distill.training.mixing import CutMix

Settings = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: What the row is called.
        method: Builds the method, every setting given by name.
        reference: The naive program of the same algorithm.
        unit: What one timed iteration holds, and where its settings are smaller than the published ones.
        width: Factor on the 128 channels of ConvNet-3.
        ipc: Stored images per class.
        images: Real images, colour noise.
        side: Their side in pixels.
        classes: Number of classes.
        exact_by_reference: Whether the gradient in float64 that both are held against is the naive program's;
            else it is the package's, where the naive program would not fit into memory.
    """

    name: str
    method: functools.partial[Any]
    reference: Callable[[Start], Reference]
    unit: str
    width: float = 0.5
    ipc: int = 10
    images: int = 3000
    side: int = 32
    classes: int = 10
    exact_by_reference: bool = True

    @property
    def setting(self) -> str:
        """Say how large the case is."""
        shape = f"{self.images} images 3×{self.side}×{self.side}, {self.classes} classes"
        return f"{self.unit}; width {round(128 * self.width)}, ipc {self.ipc}, {shape}"


def no_teachers() -> None:
    """Stand in for the pool, whose teachers the bench makes by itself."""


DSA_GROUPS = Augmentation(one_of=(Color(), Crop(), Cutout(), Flip(), Scale(), Rotate()))
MATCHING: Settings = {"iterations": 1_000_000, "momentum": 0.5, "real_batch": 256}
GRADIENTS: Settings = {
    **MATCHING,
    "lr": 0.1,
    "outer": 1,
    "inner": 1,
    "network_lr": 0.01,
    "network_batch": 256,
}
GRADIENTS |= {"distance": layerwise_cosine}
NETWORKS: Settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
QUEUE: Settings = {
    "capacity": 100,
    "first": 3,
    "renew_every": 30,
    "trained": 2,
    "steps": 2,
    "batch_size": 256,
}
EARLY: Settings = {
    "renew_every": 100,
    "n_data": 2000,
    "batch_size": 64,
    "augment": Augmentation((Crop(),), before=(Color(),)),
}
TRAJECTORIES: Settings = {
    "iterations": 1_000_000,
    "lr_images": 1000.0,
    "lr_step_size": 1e-5,
    "momentum": 0.5,
    "step_size": 0.01,
    "step_size_floor": 1e-6,
    "synthetic_steps": 10,
    "teacher_epochs": 2,
    "max_start_epoch": 1,
    "batch_syn": "all",
    "max_loss": None,
    "ema": None,
    "adjoint": adjoint,
    "micro_batch": None,
    "augment": DSA_GROUPS,
    "init": random_real,
    "teachers": no_teachers,
}
DM_METHOD = functools.partial(DM, **MATCHING, lr=1.0, augment=DSA_GROUPS, init=random_real)
IDM_METHOD = functools.partial(
    IDM,
    **MATCHING,
    lr=0.2,
    ce_weight=0.5,
    factor=2,
    queue=functools.partial(NetworkQueue, **QUEUE, **NETWORKS, meter_reset=100),
    networks_see="part",
    augment=DSA_GROUPS,
    init=random_real,
)
IDC_METHOD = functools.partial(
    IDC,
    **{**MATCHING, "real_batch": 64},
    lr=5e-3,
    base_size=32,
    synthetic_batch=128,
    factor=2,
    formation="single",
    networks_see="part",
    distance=sum_squares,
    source=functools.partial(EarlyStageNetwork, **EARLY, **NETWORKS, cutmix=CutMix(0.5, 1.0)),
    augment=Augmentation((Crop(),), before=(Color(),), after=(Cutout(),)),
    init=first_real,
)
DC_METHOD = functools.partial(DC, **GRADIENTS, augment=None, init=noise)
DSA_METHOD = functools.partial(DSA, **GRADIENTS, augment=DSA_GROUPS, init=random_real)
LONG = functools.partial(MTT, **{**TRAJECTORIES, "synthetic_steps": 30})
SHORT = functools.partial(MTT, **TRAJECTORIES)
SHORT_TESLA = functools.partial(MTT, **{**TRAJECTORIES, "adjoint": tesla})

CASES = (
    Case("dm", DM_METHOD, NaiveDM, "an iteration, 256 real", width=1.0),
    Case("idm", IDM_METHOD, NaiveIDM, "an iteration, 256 real; pool networks take 2 steps (published 10)"),
    Case("dc", DC_METHOD, NaiveDC, "one outer step without training, 256 real"),
    Case("dsa", DSA_METHOD, NaiveDC, "one outer step without training, 256 real"),
    Case("idc", IDC_METHOD, NaiveIDC, "an inner iteration, 64 real, 2048 to train on"),
    Case("mtt_small", SHORT, NaiveMTT, "an iteration, adjoint against unroll, N = 10", width=0.25),
    Case("tesla_small", SHORT_TESLA, NaiveTesla, "an iteration of TESLA, N = 10", width=0.25),
    Case(
        "mtt",
        LONG,
        NaiveMTT,
        "an iteration, adjoint against unroll, N = 30",
        width=1.0,
        exact_by_reference=False,
    ),
)
