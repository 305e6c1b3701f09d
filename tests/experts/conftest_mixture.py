"""A mixture small enough to run in a second, on noise that stands for real images."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop
from moe_distill.data.initialization import random_real
from moe_distill.data.partition.split import Stratified
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.features import FeaturePool
from moe_distill.diversity.measures import DistanceCorrelation
from moe_distill.experts.callbacks import SaveSets, Threads
from moe_distill.experts.coordinator import Diversity, DiversityCoordinator
from moe_distill.experts.mixture import Mixture
from moe_distill.experts.roster import ExpertSpec, Roster
from moe_distill.experts.shared import SharedResources
from moe_distill.experts.strategy import ExpertParallelStrategy
from moe_distill.methods.coreset import Random
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.network_queue import NetworkQueue
from moe_distill.training.trainer import fit

NETWORK = functools.partial(ConvNet, depth=2, width=0.25)
AUGMENT = Augmentation(one_of=(Color(), Crop()))
QUEUE = functools.partial(
    NetworkQueue,
    capacity=4,
    first=2,
    renew_every=3,
    trained=2,
    steps=1,
    batch_size=8,
    lr=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    meter_reset=4,
)
COMMON = {"momentum": 0.5, "real_batch": 8, "augment": AUGMENT, "init": random_real}


def dm(iterations: int = 6, ipc: int = 2) -> ExpertSpec:
    return ExpertSpec(functools.partial(DM, iterations=iterations, lr=0.1, **COMMON), ipc)


def idm(iterations: int = 6, ipc: int = 2) -> ExpertSpec:
    more = {"ce_weight": 0.5, "factor": 2, "queue": QUEUE, "networks_see": "part"}
    return ExpertSpec(functools.partial(IDM, iterations=iterations, lr=0.05, **COMMON, **more), ipc)


def random(ipc: int = 2) -> ExpertSpec:
    return ExpertSpec(functools.partial(Random), ipc)


def term(**changes) -> Diversity:
    settings = {"measure": DistanceCorrelation(centring="u", transform="none"), "every": 2, "weight": 0.5}
    return Diversity(**{**settings, **changes})


def real_images() -> RealSet:
    images = torch.randint(0, 256, (90, 3, 8, 8), generator=stream(0, "mixture"), dtype=torch.uint8)
    return RealSet(images, torch.arange(90) % 3, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, "noise", "test")


@pytest.fixture
def real() -> RealSet:
    return real_images()


def mixture(members: list[ExpertSpec], seed: int = 0, **options: object) -> Mixture:
    whole = real_images()
    parts = Stratified().split(whole, len(members), stream(seed, "partition"))
    return Mixture(
        Roster(tuple(members)), parts, SharedResources(whole, NETWORK, torch.optim.SGD, seed, **options)
    )


def phi(count: int = 2) -> FeaturePool:
    return FeaturePool(
        [build(NETWORK, channels=3, classes=3, size=8, rng=stream(9, i)) for i in range(count)]
    )


def trainer(processes: int = 1) -> functools.partial[pl.Trainer]:
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    several = {"strategy": ExpertParallelStrategy(process_group_backend="gloo")} if processes > 1 else {}
    return functools.partial(
        pl.Trainer,
        accelerator="cpu",
        devices=processes,
        max_epochs=1,
        use_distributed_sampler=False,
        **quiet,
        **several,
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[SyntheticSet]]:
    """Run a mixture to its end and return the experts' sets; a second call with one name resumes the
    first."""

    def go(
        members: list[ExpertSpec],
        diversity: Diversity | None = None,
        *,
        name: str = "run",
        processes: int = 1,
        callbacks: tuple[pl.Callback, ...] = (),
        seed: int = 0,
        **options: object,
    ) -> list[SyntheticSet]:
        work, out = tmp_path / name / "work", tmp_path / name / "out"
        for folder in (work, out):
            folder.mkdir(parents=True, exist_ok=True)
        own = [Threads(1), SaveSets(out)]
        own += [DiversityCoordinator(diversity, phi(), seed)] if diversity else []
        fit(
            mixture(members, seed, **options),
            trainer(processes),
            work,
            name,
            callbacks=[*callbacks, *own],
            checkpoint_seconds=0.0,
            curves_every=1,
        )
        sets = SyntheticSet.load(out)
        return list(sets.members)

    return go
