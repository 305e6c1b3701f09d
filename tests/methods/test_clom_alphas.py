"""The weight of CLoM in the configuration."""

import pytest
from hydra import compose, initialize_config_dir

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register

pytestmark = pytest.mark.slow

CLOM_ALPHAS = {
    **{("dc", "cifar10"): (1000, 5000), ("dsa", "cifar10"): (5000, 1000), ("dm", "cifar10"): (2000, 1000)},
    **{("dc", "cifar100"): (10000, 1000), ("dsa", "cifar100"): (10000, 10), ("dm", "cifar100"): (500, 1)},
    ("mtt", "cifar10"): (1000, 1000),
}


@pytest.fixture
def composed():
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield lambda *overrides: compose("config", list(overrides))


@pytest.mark.parametrize(("method", "data"), CLOM_ALPHAS)
def test_the_weight_of_clom_is_the_published_one(composed, method, data):
    found = [
        composed(f"method={method}", f"data={data}", f"split={ipc}x1", "regulariser=clom").regulariser.alpha
        for ipc in (1, 10, 20, 50)
    ]
    low, high = CLOM_ALPHAS[method, data]
    assert found == [low, low, low, high]
    assert composed(f"method={method}", f"data={data}", "regulariser=cclom").regulariser.alpha == 1000
