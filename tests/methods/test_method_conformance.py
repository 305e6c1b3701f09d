"""Every file of conf/method keeps what methods promise."""

import functools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.experts.expert import Expert
from moe_distill.testing import MethodConformance
from moe_distill.testing.stand_ins import expert, noise_set, resources

METHODS = sorted(p.stem for p in (Path(conf_dir()) / "method").glob("*.yaml"))
IPC = 2


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


def test_every_method_is_here():
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
