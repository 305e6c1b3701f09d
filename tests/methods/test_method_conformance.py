"""What every method of the yaml tree promises, on digits and on small colour images."""

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from moe_distill.config.schema import conf_dir, register
from moe_distill.data.initialization import noise, random_real
from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.public_sets import Digits
from moe_distill.errors import InputError
from moe_distill.experts.expert import Apply, Expert
from moe_distill.experts.shared import Workshop
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream

METHODS = sorted(p.stem for p in (Path(conf_dir()) / "method").glob("*.yaml"))
NETWORK = functools.partial(ConvNet, depth=2, width=0.25)
SHAPES = [(1, 8), (3, 8), (1, 9), (3, 9), (1, 12), (3, 12), (1, 28), (3, 28)]
OWNER = SimpleNamespace(manual_backward=lambda loss: loss.backward())
IPC = 2

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def spec_of():
    """Gives a method's expert as a run at smoke scale would build it."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):

        @functools.cache
        def spec(method):
            given = [f"method={method}", "scale=smoke", "data=digits", f"ipc={IPC}", "noe=1", "paths.output=/nowhere"]
            (member,) = instantiate(compose("config", given).plan).roster.members
            return member

        yield spec


@functools.cache
def data(kind):
    """Return the digits, or colour noise of some size whose classes differ in brightness."""
    if kind == "digits":
        return Digits().load(Path())[0]
    channels, size = kind
    pixels = torch.randint(0, 156, (60, channels, size, size), generator=stream(0, "conformance"), dtype=torch.uint8)
    labels = torch.arange(60) % 3
    pixels += (labels * 50).to(torch.uint8)[:, None, None, None]
    return RealSet(pixels, labels, ("a", "b", "c"), (0.4,) * channels, (0.2,) * channels, "noise", "test")


KINDS = ["digits", (3, 12)]


class Wandering:
    """Stands in for two teachers' trajectories: weights that wander off at random."""

    def __init__(self, real):
        self.made = functools.partial(build, NETWORK, channels=real.channels, classes=len(real.classes), size=real.size)

    def __len__(self):
        return 2

    def snapshot(self, teacher, epoch):
        start = torch.cat([p.detach().flatten() for p in self.made(rng=stream(teacher, "start")).parameters()])
        return start + 0.01 * epoch * torch.randn(start.shape, generator=stream(teacher, "way"))


def workshop(real, seed=0):
    """Return what an expert works with, stand-ins for whatever a run would have trained before."""
    shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
    pretrained = build(NETWORK, **shape, rng=stream(0, "pretrained")).eval().requires_grad_(False)
    teachers = {
        "trajectories": {0: Wandering(real)},
        "pretrained": {0: {"init": [pretrained], "teacher": [pretrained]}},
    }
    return Workshop(real, NETWORK, torch.optim.SGD, seed, **teachers)


def expert(spec, real, seed=0, part=None):
    """Return an expert at its initial images, and its optimiser."""
    part = torch.arange(0, len(real), 2) if part is None else part
    made = Expert(0, spec, part, workshop(real, seed))
    made.start()
    return made, made.configure_optimizers()


def iterate(made, optimizer, begin, end):
    """Run some iterations; more than the method has are left out, as in a mixture."""
    for iteration in range(begin, end):
        made.iterate(iteration, optimizer, OWNER)


def distilled(spec, real, **more):
    made, optimizer = expert(spec, real, **more)
    start = made.synthetic.images.detach().clone()
    iterate(made, optimizer, 0, 3)
    return made, start


def images(made):
    return made.synthetic.images.detach()


def test_every_method_is_here():
    assert {"dm", "idm", "random", "first", "herding", "kcenter", "kmeans", "rded"} <= set(METHODS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_images_move_if_they_are_to_and_stay_finite(spec_of, method, kind):
    made, start = distilled(spec_of(method), data(kind))
    assert torch.isfinite(images(made)).all()
    assert torch.equal(images(made), start) != made.method.trainable
    if made.method.trainable:
        assert made.iteration == 3
        assert made.shown["loss"] > 0
        assert (images(made) - start).flatten(1).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides_the_images(spec_of, method, kind):
    real, spec = data(kind), spec_of(method)
    first, _ = distilled(spec, real)
    torch.rand(3)  # the global generator has no say
    (second, _), (other, _) = distilled(spec, real), distilled(spec, real, seed=1)
    assert torch.equal(images(first), images(second))
    draws_nothing = method.removesuffix("_tiled") in ("first", "herding", "kcenter")
    assert torch.equal(images(first), images(other)) == draws_nothing


@pytest.mark.parametrize("method", METHODS)
def test_it_reads_its_part_alone(spec_of, method):
    """Whatever the images outside the part are, the distilled ones are the same; inside, they matter."""
    real, part = data((3, 12)), torch.arange(0, 60, 2)
    reference, _ = distilled(spec_of(method), real, part=part)
    for inside in (False, True):
        pixels = real.images_NCHW.clone()
        rows = torch.zeros(60, dtype=torch.bool)
        rows[part] = True
        pixels[rows == inside] = 255 - pixels[rows == inside]
        changed = RealSet(pixels, real.labels_N, real.classes, real.mean, real.std, real.name, real.variant)
        made, _ = distilled(spec_of(method), changed, part=part)
        assert torch.equal(images(made), images(reference)) != inside


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_expert_goes_on_bit_for_bit(spec_of, method, kind, tmp_path):
    real, spec = data(kind), spec_of(method)
    whole, _ = distilled(spec, real)
    stopped, optimizer = expert(spec, real)
    iterate(stopped, optimizer, 0, 2)
    torch.save((stopped.state(), optimizer and optimizer.state_dict()), tmp_path / "state")
    state, held = torch.load(tmp_path / "state", weights_only=True)

    resumed = Expert(0, spec, stopped.part, stopped.workshop)
    resumed.take_state(state)
    optimizer = resumed.configure_optimizers()
    if optimizer:
        optimizer.load_state_dict(held)
    iterate(resumed, optimizer, resumed.iteration, 3)
    ours, theirs = (made.synthetic.state_dict() for made in (resumed, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert resumed.shown == whole.shown
    assert torch.equal(resumed.rng.get_state(), whole.rng.get_state())


@pytest.mark.parametrize("channels, size", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_any_size_gives_decoded_images_of_that_size_by_class(spec_of, method, channels, size):
    made, _ = distilled(spec_of(method), data((channels, size)))
    syn, per_image = made.synthetic, made.method.tiling.per_image
    assert images(made).shape == (3 * IPC, channels, size, size)
    assert syn.labels.tolist() == [0, 0, 1, 1, 2, 2]
    decoded, labels = syn.decode()
    assert decoded.shape == (per_image * 3 * IPC, channels, size, size)
    assert torch.isfinite(decoded).all()
    for c in range(3):
        torch.testing.assert_close(decoded[labels == c], syn.of_class(c), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "dc"])  # DC starts from noise
def test_initial_images_bear_the_label_of_their_class(spec_of, method):
    """Classes of the noise differ in brightness by far more than its spread."""
    made, _ = expert(spec_of(method), data((3, 28)))
    mean = made.synthetic.raw().detach().mean((1, 2, 3))
    labels = made.synthetic.decode()[1]
    assert ((mean * 255 - 77.5) / 50).round().long().tolist() == labels.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_costs_and_parameter_groups_agree_with_what_moves(spec_of, method):
    made, _ = expert(spec_of(method), data((3, 12)))
    trainable = made.method.trainable
    held = [p for group in made.method.parameter_groups(made.synthetic) for p in group["params"]]
    assert len(held) == len(set(map(id, held)))
    assert any(p is made.synthetic.images for p in held) == trainable
    forwards = [made.method.forwards(3, ipc, 10) for ipc in (1, 2)]
    assert (0 < forwards[0] < forwards[1]) if trainable else forwards == [0, 0]
    assert (made.method.iterations > 0) == trainable


@pytest.mark.parametrize("method", METHODS)
def test_images_move_by_apply_alone(spec_of, method):
    """With an optimiser that does nothing, nothing moves."""
    made, optimizer = expert(spec_of(method), data((3, 12)))
    if not made.method.trainable:
        assert optimizer is None
        return
    start = images(made).clone()
    optimizer.param_groups[0]["lr"] = 0.0
    apply = Apply(made, optimizer, OWNER)
    made.method.iterate(made.round(0), apply)
    assert apply.gradient.flatten(1).any(1).all()
    assert torch.equal(images(made), start)


def test_experts_share_one_copy_of_the_real_data_that_is_made_once(spec_of):
    real = data((3, 12))
    shared = workshop(real)
    one, other = (Expert(i, spec_of("random"), torch.arange(i, 60, 2), shared) for i in range(2))
    assert one.round(0).whole is one.round(1).whole is other.round(0).whole
    assert one.round(0).real is one.round(1).real
    assert torch.equal(other.round(0).real.images_NCHW, real.images_NCHW[1::2])


def test_a_class_with_fewer_images_than_the_set_holds_is_not_filled_up_with_copies(spec_of):
    part = torch.tensor([0, *(i for i in range(60) if i % 3)])  # one image of class 0
    with pytest.raises(ValueError, match="1 images of class 0 where the set holds 2"):
        expert(spec_of("dm"), data((3, 12)), part=part)


@pytest.mark.parametrize("method", METHODS)
def test_a_set_that_starts_as_noise_may_be_larger_than_a_class(spec_of, method):
    spec = replace(spec_of(method), ipc=5)
    real_start = functools.partial(spec.method, **({"init": random_real} if "init" in spec.method.keywords else {}))
    with pytest.raises(InputError, match=r"^ipc=5: at most [02]"):
        real_start().require_images(5, 2)
    if "init" in spec.method.keywords:
        spec = replace(spec, method=functools.partial(spec.method, init=noise))
        made, _ = expert(spec, data((3, 12)), part=torch.arange(6))
        made.method.require_images(5, 2)
        assert len(images(made).flatten(1).unique(dim=0)) == 3 * 5  # none is a copy
