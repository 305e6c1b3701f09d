"""Every file of conf/method keeps what methods promise."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.experts.expert import Expert
from moe_distill.experts.rotation import Rotation
from moe_distill.models.convnet import ConvNet
from moe_distill.testing import MethodConformance
from moe_distill.testing.stand_ins import distilled, expert, images, noise_set, resources

METHODS = sorted(p.stem for p in (Path(conf_dir()) / "method").glob("*.yaml"))
IPC = 2
RULES = ("random", "first", "herding", "kcenter", "kmeans")


@pytest.fixture(scope="module")
def spec_of():
    """Gives a method's expert as a run at smoke scale would build it."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):

        @functools.cache
        def spec(method):
            given = [
                f"method={method}",
                "scale=smoke",
                "data=digits",
                f"ipc={IPC}",
                "noe=1",
                "paths.output=/nowhere",
            ]
            (member,) = instantiate(compose("config", given).plan).roster.members
            return member

        yield spec


class TestMethods(MethodConformance):
    @pytest.fixture(params=METHODS)
    def spec(self, request, spec_of):
        return spec_of(request.param)

    def draws(self, spec):
        return spec.name.removesuffix("_tiled") not in (
            "first",
            "herding",
            "kcenter",
            "el2n",
            "forgetting",
            "aum",
        )


class TestBank(MethodConformance):
    """TGDD with stored means of real images in place of batches."""

    @pytest.fixture(params=[None, 4], ids=["all images", "some images"])
    def spec(self, request, spec_of):
        banked = {"targets": "bank", "bank_entries": 5, "per_class_images": request.param}
        spec = spec_of("tgdd")
        return replace(spec, method=functools.partial(spec.method, **banked))


RANKED = ("el2n", "forgetting", "aum", "ccs")
SELECTIONS = {"rded", *(f"{rule}{end}" for rule in (*RULES, *RANKED) for end in ("", "_tiled"))}
LEARNERS = [method for method in METHODS if method not in SELECTIONS]
NETWORKS = [functools.partial(ConvNet, depth=depth, width=0.25) for depth in (2, 1, 3)]


def turning(spec, networks):
    return replace(spec, rotation=Rotation(tuple(networks), "norm"))


@pytest.mark.parametrize("method", LEARNERS)
class TestTurns:
    """Methods with architectures that take turns."""

    # Of the third iteration, the first network has the second turn of two, the last one its first of three.
    @pytest.mark.parametrize("count", [2, 3])
    def test_an_interrupted_rotation_goes_on_bit_for_bit(self, spec_of, method, count, tmp_path):
        spec = turning(spec_of(method), NETWORKS[:count])
        promises = MethodConformance()
        promises.test_an_interrupted_expert_goes_on_bit_for_bit(spec, noise_set(3, 12), tmp_path)
        promises.test_the_seed_alone_decides_the_images(spec, noise_set(3, 12))
        promises.test_options_that_it_says_it_has_decide_the_images(spec, tmp_path)

    def test_each_network_decides_images(self, spec_of, method):
        real = noise_set(3, 12)
        same, other = ([NETWORKS[0], NETWORKS[last], NETWORKS[0]] for last in (0, 1))
        moved = [images(distilled(turning(spec_of(method), networks), real)[0]) for networks in (same, other)]
        assert not torch.equal(*moved)

    def test_a_rotation_of_one_is_the_plain_method_bit_for_bit(self, spec_of, method):
        real = noise_set(3, 12)
        plain, alone = (
            distilled(s, real)[0] for s in (spec_of(method), turning(spec_of(method), NETWORKS[:1]))
        )
        ours, expected = alone.synthetic.state_dict(), plain.synthetic.state_dict()
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
        assert torch.equal(alone.rng.get_state(), plain.rng.get_state())


def test_every_method_is_here():
    assert {"dm", "dc", "dsa", "idm", "idc", "mtt", "ftd", "datm", "tgdd", "ncfm"} <= {*LEARNERS}
    assert {"dm", "idm", "random", "first", "herding", "kcenter", "kmeans", "ccs", "rded"} <= set(METHODS)


def test_experts_share_one_copy_of_the_real_data_that_is_made_once(spec_of):
    real = noise_set(3, 12)
    shared = resources(real)
    one, other = (Expert(i, spec_of("random"), torch.arange(i, 60, 2), shared) for i in range(2))
    assert one.context(0).whole is one.context(1).whole is other.context(0).whole
    assert one.context(0).real is one.context(1).real
    assert torch.equal(other.context(0).real.images_NCHW, real.images_NCHW[1::2])


def test_a_class_with_fewer_images_than_the_set_holds_is_not_filled_up_with_copies(spec_of):
    part = torch.tensor([0, *(i for i in range(60) if i % 3)])  # one image of class 0
    with pytest.raises(ValueError, match=r"init=\(1, 3, 12, 12\) for class 0: a function"):
        expert(spec_of("dm"), noise_set(3, 12), part=part)
