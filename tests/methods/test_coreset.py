"""Selections of real images as methods and as what other methods' images start as."""

import dataclasses
import functools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_method_conformance import METHODS

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.initialization import first_real
from moe_distill.data.selection import herding, k_center, k_means
from moe_distill.data.sources.public_sets import Digits
from moe_distill.errors import InputError
from moe_distill.experts.expert import Expert
from moe_distill.methods.coreset import RandomTiled
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.testing.stand_ins import OWNER, noise_set, resources

LOOKING = {"herding": herding, "kcenter": k_center, "kmeans": k_means}
TILED = ["random_tiled", *(f"{name}_tiled" for name in LOOKING)]
PART = torch.arange(0, 60, 2)
IPC = 2

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def plan_of():
    """Gives the plan of a command line at smoke scale, each built once."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        usual = ["scale=smoke", f"ipc={IPC}", "noe=1", "paths.output=/nowhere"]
        yield functools.cache(lambda *given: instantiate(compose("config", [*usual, *given]).plan))


def started(plan, init=None):
    """Return the plan's expert at its initial images, or at those of another initialiser."""
    (spec,) = plan.roster.members
    if init is not None:
        spec = dataclasses.replace(spec, method=functools.partial(spec.method, init=init))
    made = Expert(0, spec, PART, resources(noise_set(3, 12)))
    made.start()
    return made


def initialiser(plan_of, name):
    """Return an initialiser as the command line gives it to DM."""
    (spec,) = plan_of("method=dm", f"init={name}").roster.members
    return spec.method.keywords["init"]


def selected(name):
    """Return the part's selected images, standardised, class by class; features image by image in float64."""
    real = noise_set(3, 12)
    network, rng, images = resources(real).pretrained[0]["init"][0].double(), stream(0, "expert", 0), []
    for c in range(3):
        rows = torch.tensor([i for i in PART.tolist() if int(real.labels_N[i]) == c])
        x = (real.images_NCHW[rows].double() / 255 - 0.4) / 0.2
        f_ND = torch.stack([network.embed(image[None])[0] for image in x])
        images.append(x[LOOKING[name](f_ND, IPC, rng)].float())
    return torch.cat(images)


@pytest.mark.parametrize("name", LOOKING)
def test_a_coreset_holds_the_raw_pixels_of_what_its_part_gives(plan_of, name):
    raw = started(plan_of(f"method={name}")).synthetic.images.detach()
    torch.testing.assert_close(raw, selected(name) * 0.2 + 0.4, rtol=0, atol=1e-6)
    assert len(raw.flatten(1).unique(dim=0)) == 3 * IPC


@pytest.mark.parametrize("name", LOOKING)
@pytest.mark.parametrize("method", ["dm", "dc", "mtt"])
def test_images_start_as_the_selected_ones(plan_of, method, name):
    made = started(plan_of(f"method={method}"), initialiser(plan_of, name))
    torch.testing.assert_close(made.synthetic.images.detach(), selected(name), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_an_initialiser_takes_a_selection_and_moves_on_from_there(plan_of, method):
    plan = plan_of(f"method={method}")
    (spec,) = plan.roster.members
    if "init" not in spec.method.keywords:
        assert not spec.method().trainable
        pytest.skip("it takes no initialiser: it is a selection itself")
    made = started(plan, initialiser(plan_of, "herding"))
    start = made.synthetic.images.detach().clone()
    assert not torch.equal(start, started(plan, first_real).synthetic.images)
    made.iterate(0, made.configure_optimizers(), OWNER)
    assert made.synthetic.images.isfinite().all() and not torch.equal(made.synthetic.images, start)


@pytest.mark.parametrize("name", LOOKING)
def test_every_cell_of_idc_starts_as_an_image_of_its_own(plan_of, name):
    made = started(plan_of("method=idc", "init@method.init=kcenter"), initialiser(plan_of, name))
    cells = made.synthetic.decode()[0].detach()
    assert len(cells) == 4 * 3 * IPC == len(cells.flatten(1).unique(dim=0))


def test_a_method_asks_for_its_initialisers_network_before_and_after_it_started(plan_of):
    """The experts' common initialiser is left without one."""
    init = initialiser(plan_of, "kcenter")
    made = started(plan_of("method=dm"), init)
    assert made.method.all_pools == {"init": init.pool} == made.spec.method().all_pools
    assert made.method.init.network is made.context(0).pretrained["init"][0] and init.network is None
    assert started(plan_of("method=dm")).method.all_pools == {}


@pytest.mark.parametrize("given", ["method=herding", "init=kmeans", "init@method.init=kcenter"])
def test_the_network_is_the_first_of_phi(plan_of, given):
    """So that the store has one of it."""
    methods = {"init=kmeans": ("method=dm",), "init@method.init=kcenter": ("method=idc",)}
    plan, real = plan_of(*methods.get(given, ()), given), Digits().load(Path())[0]
    (pool,) = plan.pretrained[0].values()
    assert pool.networks == 1 and key(pool.settings(real, 0)) == key(plan.features.settings(real, 0))


@pytest.mark.parametrize("name", LOOKING)
def test_more_images_than_the_smallest_class_has_are_refused_before_any_work(plan_of, name):
    plan = plan_of(f"method={name}")
    (spec,) = plan.roster.members
    many = dataclasses.replace(plan.roster, members=(dataclasses.replace(spec, ipc=21),))
    with pytest.raises(InputError, match="ipc=21: at most 20,"):
        dataclasses.replace(plan, roster=many).check(noise_set(3, 12))


@pytest.mark.parametrize("name", TILED)
def test_a_tiled_selection_holds_four_shrunk_images_in_the_place_of_one(plan_of, name):
    """Against a mean over blocks of 2 × 2 pixels, image by image, of what the plain selection of as many
    takes."""
    made = started(plan_of(f"method={name}"))
    (plain,) = plan_of(f"method={name.removesuffix('_tiled')}").roster.members
    four_times = dataclasses.replace(plain, ipc=4 * IPC)
    whole = Expert(0, four_times, PART, resources(noise_set(3, 12)))
    whole.start()
    stored = made.synthetic.images.detach()
    for c in range(3):
        tiles = whole.synthetic.of_class(c).detach().double()
        for tile, image in enumerate(tiles):
            row, column = divmod(tile // IPC, 2)
            shrunk = image.reshape(3, 6, 2, 6, 2).mean((2, 4))
            at = stored[c * IPC + tile % IPC, :, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6]
            torch.testing.assert_close(at.double(), shrunk, rtol=0, atol=1e-6)
    assert len(made.synthetic.decode()[0]) == 4 * len(stored) and made.synthetic.provenance.space == "raw"


def test_tiled_random_images_are_what_idm_starts_from(plan_of):
    """With one expert's draws, standardised: nothing but distilling is between a set and its opponent."""
    idm = started(plan_of("method=idm", "data=cifar10", "method.factor=2")).synthetic
    tiled = started(plan_of("method=random_tiled")).synthetic
    x, y = (s.standardised().detach().flatten(1) for s in (idm, tiled))
    distances = torch.cdist(x, y, p=float("inf"))  # IDM numbers tiles by column
    assert (
        len(x) == 4 * 3 * IPC
        and distances.min(1).values.max() < 1e-5
        and len(distances.argmin(1).unique()) == len(x)
    )


@pytest.mark.parametrize("factor", [0, -1])
def test_a_factor_below_one_is_refused(factor):
    with pytest.raises(InputError, match=f"factor={factor}"):
        RandomTiled(factor)
