"""Training schedules against the published ones, read from the yaml that users run."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Flip, Rotate, Scale
from moe_distill.errors import InputError
from moe_distill.store.identity import identity
from moe_distill.training.mixing import CutMix
from moe_distill.training.recipe import Recipe

RECIPES = Path(conf_dir()) / "recipe"


def loaded(name, ipc=10, noe=1):
    """Compose one recipe and its bases as Hydra does, with an augmentation and a split to interpolate."""
    register()
    node, layers = OmegaConf.load(RECIPES / f"{name}.yaml"), []
    while True:
        bases = node.pop("defaults", [])
        layers.insert(0, node)
        if not bases:
            break
        node = OmegaConf.load(RECIPES / f"{bases[0]}.yaml")
    augment = OmegaConf.load(RECIPES.parent / "augment" / "dsa.yaml")
    root = {"recipe": OmegaConf.merge(*layers), "augment": augment, "ipc": ipc, "noe": noe}
    return instantiate(OmegaConf.create(root).recipe)


def rates(recipe):
    return [recipe.lr_at(epoch) for epoch in range(recipe.total_epochs)]


def looks(recipe):
    return [epoch for epoch in range(recipe.total_epochs) if recipe.tests_after(epoch)]


def sgd(recipe):
    optimizer = recipe.optimizer([torch.zeros(1)], lr=recipe.lr, weight_decay=recipe.weight_decay)
    assert isinstance(optimizer, torch.optim.SGD)
    return optimizer.defaults["momentum"], optimizer.defaults["weight_decay"]


@pytest.mark.parametrize(("name", "high", "low"), [("dsa", 502, 499), ("idm", 502, 499), ("dc", 152, 149)])
def test_dc_family_runs_one_epoch_more_and_falls_once(name, high, low):
    recipe = loaded(name)
    assert rates(recipe) == [0.01] * high + [0.01 * 0.1] * low
    assert recipe.fresh_optimizer and looks(recipe) == [high + low - 1]
    assert sgd(recipe) == (0.9, 5e-4) and recipe.batch_size == 256
    assert recipe.cutmix is None and isinstance(recipe.augment, Augmentation) == (name != "dc")


@pytest.mark.parametrize(
    ("name", "acts", "augmented"),
    [
        ("cifar", ["randomcrop", "randomhorizontalflip"], True),
        ("imagenet", ["randomcrop", "randomhorizontalflip", "colorjitter"], False),
        ("autoaug", ["autoaugment"], False),
        ("randaug", ["randaugment"], False),
    ],
)
def test_dcbench_trains_as_dc_but_longer_where_pixels_are_augmented(name, acts, augmented):
    recipe = loaded(f"dcbench_{name}")
    assert (recipe.name, recipe.pixels.names, recipe.augment is not None) == (
        f"dcbench_{name}",
        acts,
        augmented,
    )
    plain = dataclasses.replace(recipe, name="dsa", pixels=None, augment=loaded("dsa").augment)
    assert identity(plain) == identity(loaded("dsa")) and "pixels" not in identity(plain)


def test_idc_falls_twice_and_is_tested_at_every_quarter():
    recipe = loaded("idc")
    assert rates(recipe) == pytest.approx([0.01] * 666 + [0.002] * 167 + [0.0004] * 167, rel=1e-12)
    assert looks(recipe) == [249, 499, 749, 999]
    assert not recipe.fresh_optimizer and recipe.batch_size == 64
    assert sgd(recipe) == (0.9, 5e-4)
    assert recipe.cutmix == CutMix(prob=0.5, beta=1.0)
    assert recipe.augment == Augmentation(one_of=(Crop(), Scale(), Rotate()), before=(Flip(), Color()))


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_has_a_name_and_is_tested_last(name):
    recipe = loaded(name)
    # For digits a recipe is the same one without mirroring.
    assert (
        recipe.name in (name, name.removesuffix("_digits"), "dsa")
        and looks(recipe)[-1] == recipe.total_epochs - 1
    )
    assert rates(recipe) == sorted(rates(recipe), reverse=True)


@pytest.mark.parametrize(
    ("ipc", "noe", "size"),
    [(1, 1, 10), (1, 3, 10), (1, 5, 50), (10, 1, 50), (5, 2, 50), (10, 2, 50), (25, 2, 100), (100, 1, 100)],
)
def test_rded_trains_as_published_in_batches_by_the_budget(ipc, noe, size):
    recipe = loaded("rded", ipc, noe)
    assert (recipe.batch_size, recipe.epochs, recipe.weight_decay, recipe.decay_biases) == (
        size,
        300,
        0.01,
        False,
    )
    assert (recipe.labels, recipe.temperature, recipe.cutmix) == (
        "teacher_online",
        20.0,
        CutMix(prob=1.0, beta=1.0),
    )
    want = [1e-3 * (1 + math.cos(math.pi * e / 600)) / 2 for e in range(300)]
    assert rates(recipe) == pytest.approx(want, rel=1e-12)
    assert [e + 1 for e in looks(recipe)] == [250, 260, 270, 280, 290, 300]
    own = {name: recipe.lr * factor for name, factor in recipe.lr_factors.items()}
    published = {
        "vgg11": 5e-4,
        "alexnet": 1e-4,
        "vit_tiny": 1e-4,
        "efficientnet_b0": 2e-3,
        "mobilenet_v2": 2.5e-3,
    }
    assert own == pytest.approx(published)
    hard = loaded("rded_hard", ipc, noe)
    assert (hard.labels, hard.temperature, hard.name) == ("hard", 1.0, "rded_hard")


@pytest.mark.parametrize("name", ["mtt", "ftd", "datm"])
def test_a_rate_that_was_learned_counts_where_the_recipe_takes_it(name):
    taking, plain = loaded(name), loaded("dsa")
    assert [taking.first_lr("convnet3", learned) for learned in (0.5, None)] == [0.5, 0.01]
    assert [plain.first_lr("convnet3", learned) for learned in (0.5, None)] == [0.01, 0.01]
    assert "learned_rate" not in identity(plain) and identity(taking)["learned_rate"] is True
    own = dataclasses.replace(taking, lr_factors={"alexnet": 0.1})
    assert [own.first_lr("alexnet", learned) for learned in (0.5, None)] == [0.5, pytest.approx(0.001)]


def test_a_learned_rate_takes_the_place_of_the_first_one():
    recipe = Recipe("r", epochs=10, lr=0.01, drops=[0.5], drop_factor=0.1)
    assert recipe.drop_epochs == (5,)
    assert [recipe.lr_at(e, 0.5) for e in (0, 4, 5, 9)] == pytest.approx([0.5, 0.5, 0.05, 0.05], rel=1e-12)
    assert recipe.lr_at(4) == 0.01


@pytest.mark.parametrize("reach", [1.0, 0.5, 0.3])
def test_a_cosine_multiplies_what_the_drops_leave(reach):
    recipe = Recipe("r", epochs=8, extra_epochs=1, lr=0.01, drops=[0.5], cosine=reach)
    want = [0.01 * (0.1 if e >= 4 else 1) * 0.5 * (1 + np.cos(np.pi * reach * e / 8)) for e in range(9)]
    assert rates(recipe) == pytest.approx(want, rel=1e-12, abs=1e-18)
    assert recipe.lr_at(8) == pytest.approx(0.001 * {1.0: 0, 0.5: 0.5}.get(reach, want[8] / 0.001), abs=1e-18)
    assert recipe.lr_at(2, 3.0) == pytest.approx(300 * want[2], rel=1e-12)


def test_what_a_recipe_is_stored_under_names_a_cosine_only_where_there_is_one():
    told = identity(Recipe("r", epochs=8, cosine=0.5))
    assert told["cosine"] == 0.5
    assert {**told, "cosine": 0.0} == {**identity(Recipe("r", epochs=8)), "cosine": 0.0}
    assert "cosine" not in identity(Recipe("r", epochs=8))


def test_sequences_from_yaml_become_tuples_so_that_the_recipe_can_be_hashed():
    recipe = Recipe("r", epochs=4, drops=[0.5], test_points=[0.5])
    assert hash(recipe) == hash(Recipe("r", epochs=4, drops=(0.5,), test_points=(0.5,)))


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"cosine": -0.1}, {"cosine": 1.1}],
)
def test_numbers_out_of_range_are_refused_by_name(changes):
    (name,) = changes
    with pytest.raises(InputError, match=rf"^{name}="):
        Recipe(**{"name": "r", "epochs": 3, **changes})


def test_weights_of_two_dimensions_are_decayed_and_nothing_else():
    named = {
        "a.weight": (3, 2),
        "a.bias": (3,),
        "norm.weight": (3,),
        "class_token": (1, 1, 3),
        "b.weight": (2, 3, 1, 1),
    }
    recipe = Recipe("r", epochs=1, weight_decay=0.1, decay_biases=False)
    for stacked in (0, 1):
        held = {
            name: torch.zeros((4,) * stacked + shape, requires_grad=True) for name, shape in named.items()
        }
        decayed, others = recipe.optimizer_of(held.items(), stacked).param_groups
        assert [id(p) for p in decayed["params"]] == [id(held[name]) for name in ("a.weight", "b.weight")]
        assert (decayed["weight_decay"], others["weight_decay"], len(others["params"])) == (0.1, 0.0, 3)
