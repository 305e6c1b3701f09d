"""What data set and scale make of a recipe in the whole configuration."""

import pytest
from hydra import compose, initialize_config_dir

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register


@pytest.fixture
def composed():
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield lambda *overrides: compose("config", list(overrides))


@pytest.mark.parametrize(
    ("data", "sizes"), [("cifar10", (10, 50, 100)), ("cifar100", (20, 100, 200)), ("digits", (10, 50, 100))]
)
def test_rdeds_batches_are_twice_as_large_from_100_classes_on(composed, data, sizes):
    found = [
        composed("method=rded", f"data={data}", f"split={s}").recipe.batch_size
        for s in ("1x1", "5x2", "50x1")
    ]
    assert tuple(found) == sizes


@pytest.mark.parametrize(
    ("recipe", "epochs"), [("rded", 40), ("rded_stored", 40), ("rded_hard", 40), ("dsa", 100), ("idc", 100)]
)
def test_small_students_train_as_long_as_the_scale_says_and_are_tested_once(composed, recipe, epochs):
    small = composed("scale=small", f"recipe={recipe}").recipe
    assert (small.epochs, small.test_points) == (epochs, [])
