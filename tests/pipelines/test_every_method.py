"""Every method as an expert: two of it with the coordinator, in rosters, on one and on two processes."""

import json
from pathlib import Path

import numpy as np
import pytest

from moe_distill.config.folders import conf_dir
from moe_distill.synthetic.synthetic_set import SyntheticSet

pytestmark = pytest.mark.slow

ONE = ("students=convnet3", "seeds=1", "recipe.epochs=1", "noe=2", "ipc=2")
METHODS = sorted(p.stem for p in (Path(conf_dir()) / "method").glob("*.yaml"))
TILED = ("random_tiled", "herding_tiled", "kcenter_tiled", "kmeans_tiled")
RANKED = tuple(f"{rule}{end}" for rule in ("el2n", "forgetting", "aum", "ccs") for end in ("", "_tiled"))
SELECTIONS = ("random", "first", "herding", "kcenter", "kmeans", "rded", *TILED, *RANKED)
RECIPES = {name: name for name in ("idc", "dc", "mtt", "ftd", "datm", "tgdd", "ncfm", "rded")}
LEARNED = {
    "mtt": {"learned_rate"},
    "ftd": {"learned_rate", "average"},
    "datm": {"learned_rate", "soft_labels"},
}


@pytest.mark.parametrize("method", METHODS)
def test_two_experts_go_the_whole_road_with_their_own_recipe(suite, method):
    suite(f"method={method}", *ONE)
    (row,) = suite.rows()
    (folder,) = suite.artifacts("set")
    members = SyntheticSet.load(folder).members
    selection = method in SELECTIONS
    assert (row["method"], row["noe"], row["recipe"]) == (method, "2", RECIPES.get(method, "dsa"))
    assert (row["diversity"] == "none") == selection
    for member in members:
        held = {n for n in ("learned_rate", "soft_labels", "average") if getattr(member, n) is not None}
        assert held == LEARNED.get(method, set())
    assert members[0].fingerprint() != members[1].fingerprint()
    if not selection:
        curves = (folder / "curves.csv").read_text()
        assert "extra_over_matching" in curves and "expert_1/loss" in curves


@pytest.mark.parametrize(
    "mixture",
    [
        ("experts=idc_idm", "recipe=dsa", "regulariser=cclom"),
        ("experts=idm_mtt", "recipe=dsa"),
        ("experts=idm_rded", "recipe=dsa"),
        ("method=dm", "partition=difficulty", "init=window"),
        ("method=ccs", "partition=difficulty", "partition.deal=dealt"),
    ],
)
def test_a_mixture_gives_the_same_sets_on_one_and_on_two_processes(suite, mixture):
    prints = []
    for trainer in (
        ["trainer=cpu"],
        ["trainer=expert_parallel", "trainer.devices=2", "trainer.accelerator=cpu"],
    ):
        home = suite.home / str(len(trainer))
        given = (*mixture, *ONE, f"paths.store={home}")
        suite("pipeline=pretrain", *given)
        suite("pipeline=distill", *given, *trainer)
        (manifest,) = home.glob("set/*/manifest.json")
        assert json.loads(manifest.read_text())["processes"] == len(prints) + 1
        prints.append(SyntheticSet.load(manifest.parent).fingerprint())
    assert prints[0] == prints[1]


@pytest.mark.parametrize(
    ("method", "experts", "second"),
    [
        ("idc", "convnet_vgg", "VGG11"),
        ("mtt", "convnet_vgg", "VGG11"),
        ("dm", "convnet_resnet10", "ResNet10"),
    ],
)
def test_experts_of_one_roster_distil_with_their_own_networks(suite, method, experts, second):
    suite(f"method={method}", f"experts={experts}", *ONE)
    (row,) = suite.rows()
    assert row["roster"] == f"{method}2-convnet+{method}2-{second.lower()}"
    (folder,) = suite.artifacts("set")
    targets = [
        m["network"]["_target_"]
        for m in json.loads((folder / "manifest.json").read_text())["settings"]["roster"]
    ]
    assert [t.rsplit(".", 1)[-1] for t in targets] == ["ConvNet", second]
    weights = {
        len(np.load(path, mmap_mode="r")[0]) for path in suite.store.glob("trajectory/*/snapshots.npy")
    }
    assert len(weights) == (2 if method == "mtt" else 0)
