"""A CUDA device does what the CPU does: the draws are the same, the numbers agree to rounding."""

import functools
from types import SimpleNamespace

import pytest
import torch

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop
from moe_distill.data.initialization import random_real
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.features import FeaturePool
from moe_distill.diversity.measures import DistanceCorrelation
from moe_distill.experts.coordinator import Diversity, DiversityCoordinator
from moe_distill.experts.expert import Expert
from moe_distill.experts.mixture import Mixture
from moe_distill.experts.roster import ExpertSpec, Roster
from moe_distill.experts.shared import SharedResources
from moe_distill.methods.dm import DM
from moe_distill.methods.idm import IDM
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.teachers.network_queue import NetworkQueue
from moe_distill.training.batches import real_pool
from moe_distill.training.classifier import Classifier
from moe_distill.training.cohort import InTurn, Stacked, cohort
from moe_distill.training.recipe import Recipe

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
pytestmark.append(pytest.mark.usefixtures("exact_matrix_products"))

NETWORK = functools.partial(ConvNet, depth=2, width=0.25)
AUGMENT = Augmentation(one_of=(Color(), Crop()))
OWNER = SimpleNamespace(manual_backward=lambda loss: loss.backward())
COMMON = {"iterations": 4, "momentum": 0.5, "real_batch": 8, "augment": AUGMENT, "init": random_real}
QUEUE = functools.partial(
    NetworkQueue,
    capacity=3,
    first=2,
    renew_every=2,
    trained=2,
    steps=1,
    batch_size=8,
    lr=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    meter_reset=4,
)
SPECS = {
    "dm": ExpertSpec(functools.partial(DM, lr=0.1, **COMMON), 3),
    "idm": ExpertSpec(
        functools.partial(IDM, lr=0.05, ce_weight=0.5, factor=2, queue=QUEUE, networks_see="part", **COMMON),
        3,
    ),
}
RECIPE = Recipe("r", epochs=2, lr=0.02, batch_size=16, augment=AUGMENT)


def real(device="cpu"):
    pixels = torch.randint(0, 256, (60, 3, 8, 8), generator=stream(0, "gpu"), dtype=torch.uint8)
    made = RealSet(pixels, torch.arange(60) % 3, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, "noise", "test")
    return made.to(device)


def networks(count, device):
    shape = {"channels": 3, "classes": 3, "size": 8}
    return [build(NETWORK, **shape, rng=stream(i, "network")).to(device) for i in range(count)]


def expert(name, device, number=0):
    resources = SharedResources(real(), NETWORK, torch.optim.SGD, 0)
    return Expert(number, SPECS[name], torch.arange(number, 60, 2), resources).to(device)


def test_a_real_set_moves_and_draws_the_same_images():
    here, there = real(), real("cuda")
    assert there.device.type == there.labels_N.device.type == "cuda"
    assert there.fingerprint == here.fingerprint
    batches = [r.class_batch(1, 5, stream(0, "batch")) for r in (here, there)]
    assert batches[1].device.type == "cuda"
    torch.testing.assert_close(batches[1].cpu(), batches[0], rtol=0, atol=1e-6)
    images, labels = there.batch(7, stream(0, "batch"))
    assert images.device.type == labels.device.type == "cuda"
    assert labels.cpu().tolist() == here.batch(7, stream(0, "batch"))[1].tolist()


@pytest.mark.parametrize("name", SPECS)
def test_an_expert_lies_on_its_device_with_all_it_works_with(name):
    made = expert(name, "cuda")
    made.start()
    context = made.context(0)
    placed = [made.synthetic.images, made.synthetic.labels, context.real.images_NCHW, context.whole.labels_N]
    placed += list(context.new_network(stream(0, "n")).parameters())
    assert {t.device.type for t in placed} == {"cuda"}
    assert made.rng.device.type == "cpu"


@pytest.mark.parametrize("name", SPECS)
def test_an_iteration_on_the_device_is_that_of_the_cpu(name):
    shown, images = [], []
    for device in ("cpu", "cuda"):
        made = expert(name, device)
        made.start()
        start = made.synthetic.images.detach().cpu().clone()
        made.iterate(0, made.configure_optimizers(), OWNER)
        shown.append(made.last_scalars)
        images.append(made.synthetic.images.detach().cpu())
        assert not torch.equal(images[-1], start)
    assert shown[1] == pytest.approx(shown[0], rel=1e-3)
    torch.testing.assert_close(images[1], images[0], rtol=1e-3, atol=1e-4)


def trained(device, students):
    nets = networks(students, device)
    streams = [stream(i, "student") for i in range(students)]
    data = real(device)
    made = Classifier(nets, real_pool(data), data, RECIPE, streams).to(device)
    losses = []
    for step in range(6):
        made.training_step(step, 0)
        losses.append(made.losses)
    return torch.tensor(losses), made


def test_a_student_on_the_device_takes_the_steps_of_the_cpu():
    (here, cpu), (there, gpu) = trained("cpu", 1), trained("cuda", 1)
    torch.testing.assert_close(there, here, rtol=2e-3, atol=1e-4)
    for name, weight in gpu.cohort.weights_of(0).items():
        assert weight.device.type == "cuda"
        torch.testing.assert_close(
            weight.detach().cpu(), cpu.cohort.weights_of(0)[name], rtol=1e-2, atol=1e-3
        )


def test_students_together_on_the_device_are_students_in_turn():
    assert isinstance(cohort(networks(3, "cuda"), RECIPE), Stacked)
    data, weights, losses = real("cuda"), [], []
    for way in (Stacked, InTurn):
        group, shown = way(networks(3, "cuda"), RECIPE), []
        for step in range(4):
            rngs = [stream(step, "step", i) for i in range(3)]
            batches = [data.batch(16, rng) for rng in rngs]
            targets = [torch.nn.functional.one_hot(labels, 3).float() for _, labels in batches]
            shown.append(group.step([(x, t) for (x, _), t in zip(batches, targets, strict=True)], rngs))
        losses.append(torch.stack(shown))
        weights.append([group.weights_of(i) for i in range(3)])
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=1e-4)
    for stacked, in_turn in zip(*weights, strict=True):
        for name, weight in stacked.items():
            torch.testing.assert_close(weight, in_turn[name], rtol=1e-2, atol=1e-3)


def coordinated(device):
    """Return every expert's extra gradient of one measurement."""
    members = tuple(SPECS.values())
    parts = [torch.arange(i, 60, 2) for i in range(2)]
    mixture = Mixture(Roster(members), parts, SharedResources(real(), NETWORK, torch.optim.SGD, 0))
    for number, name in enumerate(SPECS):
        mixture.experts[str(number)] = expert(name, device, number)
        mixture.experts[str(number)].start()
    measure = DistanceCorrelation(centring="double", transform="none")
    term = Diversity(measure, weight=1.0, weight_is="absolute", pairing="shuffled")
    coordinator = DiversityCoordinator(term, FeaturePool(networks(2, device)), 0)
    coordinator.setup(None, mixture, "fit")
    coordinator.on_train_batch_start(None, mixture, None, 0)
    return [coordinator.pending[id(e.synthetic.images)] for e in mixture.mine], mixture.extra


def test_the_coordinators_gradient_on_the_device_is_that_of_the_cpu():
    (here, shown), (there, shown_there) = coordinated("cpu"), coordinated("cuda")
    assert shown_there == pytest.approx(shown, rel=1e-3, abs=1e-4)
    for cpu, gpu in zip(here, there, strict=True):
        assert gpu.device.type == "cuda"
        assert cpu.norm() > 0
        torch.testing.assert_close(gpu.cpu() / cpu.norm(), cpu / cpu.norm(), rtol=0, atol=1e-3)
