"""Networks kept in the store: found by what decided them, loaded as they were saved."""

import dataclasses
import functools
import json

import pytest
import torch

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.store.damage import MANIFEST
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.teachers.pool import KIND, PretrainedNetworks, save_weights
from moe_distill.training.recipe import Recipe

NETWORK = functools.partial(ConvNet, depth=1, width=0.0625, norm="batch")
COST = {"peak_memory_mb": 9.0, "steps": 3, "images": 4}
POOL = PretrainedNetworks(2, NETWORK, Recipe("teacher", epochs=3), seed=4)


def real(mean=(0.5,), change=0):
    pixels = torch.randint(0, 256, (12, 1, 8, 8), generator=stream(0, "px"), dtype=torch.uint8)
    pixels[0, 0, 0, 0] += change
    return RealSet(pixels, torch.arange(12) % 3, ("a", "b", "c"), mean, (0.25,), "n", "v")


def trained(pool, store, data):
    """Stand in for training: every network's weights moved by its number, running statistics included."""
    made = []
    for index in range(pool.networks):
        network = pool.blank(data, index)
        network(torch.randn(6, 1, 8, 8, generator=stream(index, "x")))
        weights = {name: w + index for name, w in network.state_dict().items()}

        def make(folder, weights=weights, index=index):
            save_weights(weights, folder)
            return {"cost": {**COST, "seconds": float(index)}, "trained_on": {"classes": data.classes}}

        store.obtain(KIND, pool.settings(data, index), make)
        made.append(weights)
    return made


def test_networks_come_back_as_they_were_saved_ready_for_evaluation(tmp_path):
    store, data = Store(tmp_path), real()
    saved = trained(POOL, store, data)
    for network, weights in zip(POOL.load(Store(tmp_path), data), saved, strict=True):
        held = network.state_dict()
        assert held.keys() == weights.keys() and any("running_mean" in name for name in held)
        assert all(torch.equal(held[name], weights[name]) for name in held)
        assert not network.training
    assert POOL.costs(store, data) == [{**COST, "seconds": 0.0}, {**COST, "seconds": 1.0}]


def test_a_network_not_trained_yet_is_one_clear_line(tmp_path):
    store, data = Store(tmp_path), real()
    trained(dataclasses.replace(POOL, networks=1), store, data)
    with pytest.raises(
        InputError, match=r"^pipeline=distill .convnet 2 of 2 is not in .*pipeline=pretrain"
    ) as error:
        POOL.load(store, data)
    assert "\n" not in str(error.value)
    assert len(POOL.costs(store, data)) == 1


def older(folder, **manifest):
    """Make an artifact one of before checksums were kept, which has only a readable manifest to show."""
    told = json.loads((folder / MANIFEST).read_text())
    kept = {name: value for name, value in told.items() if name not in ("files", "checksum")} | manifest
    (folder / MANIFEST).write_text(json.dumps(kept))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: save_weights({"stem": torch.zeros(3)}, folder),
        lambda folder: (folder / "weights.safetensors").unlink(),
        lambda folder: older(folder, trained_on=None),
        lambda folder: older(folder, trained_on={}),
    ],
    ids=["other tensors", "no file", "no record of its data", "no classes"],
)
def test_an_older_network_that_cannot_be_read_is_set_aside_and_trained_again(tmp_path, spoil, capsys):
    data = real()
    saved = trained(POOL, Store(tmp_path), data)
    folder = Store(tmp_path).find(KIND, POOL.settings(data, 1))
    older(folder)
    spoil(folder)
    with pytest.raises(InputError, match=rf"^pools={folder}, set aside: .* trains it again$"):
        POOL.load(Store(tmp_path), data)
    assert f"{folder.name}.damaged-1" in capsys.readouterr().out
    trained(POOL, Store(tmp_path), data)
    again = POOL.load(Store(tmp_path), data)[1].state_dict()
    assert all(torch.equal(again[name], weights) for name, weights in saved[1].items())


def test_blank_networks_differ_by_number_and_seed_alone():
    first = POOL.blank(real(), 0).classifier.weight
    torch.manual_seed(0)
    assert torch.equal(first, POOL.blank(real(change=1), 0).classifier.weight)
    assert not torch.equal(first, POOL.blank(real(), 1).classifier.weight)
    assert not torch.equal(first, dataclasses.replace(POOL, seed=5).blank(real(), 0).classifier.weight)


@pytest.mark.parametrize(
    "other",
    [
        lambda: POOL.settings(real(), 1),
        lambda: POOL.settings(real(mean=(0.4,)), 0),
        lambda: POOL.settings(real(change=1), 0),
        lambda: dataclasses.replace(POOL, seed=5).settings(real(), 0),
        lambda: dataclasses.replace(POOL, recipe=Recipe("teacher", epochs=4)).settings(real(), 0),
        lambda: dataclasses.replace(POOL, network=functools.partial(NETWORK, width=0.1)).settings(real(), 0),
    ],
    ids=["number", "statistics", "pixels", "seed", "recipe", "network"],
)
def test_whatever_decides_a_network_decides_where_it_lies(other):
    assert key(other()) != key(POOL.settings(real(), 0))


def test_larger_pools_share_the_networks_of_smaller_ones():
    larger = dataclasses.replace(POOL, networks=9)
    assert key(larger.settings(real(), 1)) == key(POOL.settings(real(), 1))
