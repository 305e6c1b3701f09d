"""Recorded trajectories: what is written comes back, and what cannot serve is refused in one line."""

import dataclasses
import functools
import json
import pickle

import numpy as np
import pytest
import torch

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.store.identity import describe, key
from moe_distill.store.store import Store
from moe_distill.teachers.recording import Recording
from moe_distill.teachers.trajectories import KIND, SNAPSHOTS, TrajectoryPool
from moe_distill.training.optimizers import GSAM
from moe_distill.training.recipe import Recipe

NETWORK = functools.partial(ConvNet, depth=1, width=0.0625)
RECIPE = Recipe("trajectory", epochs=1, extra_epochs=1, test_points=(0.5,))
POOL = TrajectoryPool(2, RECIPE, seed=4)
EPOCHS = 3


def real(mean=(0.5,), change=0):
    pixels = torch.randint(0, 256, (12, 1, 8, 8), generator=stream(0, "px"), dtype=torch.uint8)
    pixels[0, 0, 0, 0] += change
    return RealSet(pixels, torch.arange(12) % 3, ("a", "b", "c"), mean, (0.25,), "n", "v")


def recorded(store, data, pool=POOL, epochs=EPOCHS):
    """Stand in for training: each epoch adds one to every weight. Return the networks at their start."""
    blanks = []
    for index in range(pool.networks):
        blank = pool.blank(data, NETWORK, index)
        blanks.append({name: w.clone() for name, w in blank.state_dict().items()})

        def make(folder, blank=blank):
            recording = Recording(folder, epochs, blank)
            for epoch in range(1, epochs + 1):
                with torch.no_grad():
                    for p in blank.parameters():
                        p += 1
                recording.take(epoch, blank.state_dict())

        store.obtain(KIND, pool.for_epochs(epochs).settings(data, NETWORK, index), make)
    return blanks


def loaded(store, data=None, network=NETWORK):
    return POOL.for_epochs(EPOCHS).load(store, data or real(), network)


def test_snapshots_come_back_in_the_order_of_the_parameters(tmp_path):
    store, data = Store(tmp_path), real()
    blanks = recorded(store, data)
    found = loaded(store)
    assert (len(found), found.epochs) == (2, EPOCHS)
    for teacher, start in enumerate(blanks):
        names = [name for name, _ in POOL.blank(data, NETWORK, teacher).named_parameters()]
        flat = torch.cat([start[name].flatten() for name in names])
        for epoch in range(EPOCHS + 1):
            snapshot = found.snapshot(teacher, epoch)
            assert snapshot.dtype == torch.float32
            assert torch.equal(snapshot, functools.reduce(lambda w, _: w + 1, range(epoch), flat))


def test_a_snapshot_is_a_copy_of_the_file_and_of_the_weights(tmp_path):
    store = Store(tmp_path)
    recorded(store, real())
    found = loaded(store)
    want = found.snapshot(0, 1).clone()
    found.snapshot(0, 1).zero_()
    assert torch.equal(found.snapshot(0, 1), want) and want.abs().sum() > 0
    assert not torch.equal(
        found.snapshot(0, 0), want
    )  # had it been a view, all snapshots would be the last weights


def test_trajectories_travel_as_addresses(tmp_path):
    store = Store(tmp_path)
    recorded(store, real())
    sent = pickle.dumps(loaded(store))
    assert len(sent) < 2000 < 4 * EPOCHS * len(loaded(store).snapshot(0, 0))
    assert torch.equal(pickle.loads(sent).snapshot(1, 2), loaded(store).snapshot(1, 2))


def test_a_recording_goes_on_where_a_kill_left_it(tmp_path):
    blank = POOL.blank(real(), NETWORK, 0)
    later = {name: w + 1 for name, w in blank.state_dict().items()}
    (tmp_path / "started.npy").write_bytes(b"cut short")
    first = Recording(tmp_path, 2, blank)
    first.take(1, later)
    assert first.fresh
    again = Recording(tmp_path, 2, blank)
    assert not again.fresh
    again.take(2, later)
    written = np.load(tmp_path / SNAPSHOTS)
    assert (
        (written[1] == written[2]).all()
        and (written[0] == written[1] - 1).any()
        and written.dtype == np.float32
    )


def test_a_diverged_training_is_not_recorded(tmp_path):
    blank = POOL.blank(real(), NETWORK, 0)
    recording = Recording(tmp_path, 2, blank)
    with pytest.raises(InputError, match=r"not finite after epoch 1: .*recipe\.lr"):
        recording.take(1, {name: w / 0 for name, w in blank.state_dict().items()})
    assert (np.load(tmp_path / SNAPSHOTS)[1] == 0).all()


def refusal(call):
    with pytest.raises(InputError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_was_not_trained_is_one_clear_line(tmp_path):
    store = Store(tmp_path)
    recorded(store, real(), dataclasses.replace(POOL, networks=1))
    line = refusal(lambda: loaded(store))
    assert line.startswith("method.teachers=trajectory 1 of 2 is not in") and "pipeline=pretrain" in line


def test_too_few_epochs_and_another_network_are_refused(tmp_path):
    store = Store(tmp_path)
    recorded(store, real())
    found = loaded(store)
    size = len(found.snapshot(0, 0))
    found.check(EPOCHS, size)
    assert f"{EPOCHS} epochs in" in (line := refusal(lambda: found.check(EPOCHS + 1, size)))
    assert line.endswith(f": {EPOCHS + 1} epochs")
    assert f"{size} weights in" in refusal(lambda: found.check(EPOCHS, size + 1))


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"1234")


def spoil(path):
    np.load(path, mmap_mode="r+")[EPOCHS, 5] = np.nan


def doubled(path):
    np.save(path, np.load(path).astype(np.float64))


@pytest.mark.parametrize(
    "damage",
    [cut, lengthen, spoil, doubled, lambda path: path.unlink(), lambda path: path.write_bytes(b"")],
    ids=["cut", "lengthened", "nan", "float64", "missing", "empty"],
)
@pytest.mark.parametrize("teacher", [0, 1])
def test_a_damaged_file_is_refused_by_its_name(tmp_path, teacher, damage):
    store = Store(tmp_path)
    recorded(store, real())
    path = loaded(store).paths[teacher]
    damage(path)
    line = refusal(lambda: loaded(store))
    assert str(path) in line and "pipeline=pretrain" in line


def test_a_weight_gone_bad_before_the_last_epoch_is_seen_when_it_is_read(tmp_path):
    store = Store(tmp_path)
    recorded(store, real())
    np.load(loaded(store).paths[0], mmap_mode="r+")[1, 0] = np.inf
    found = loaded(store)
    assert "snapshot 1 of" in refusal(lambda: found.snapshot(0, 1))


@pytest.mark.parametrize("name", ["data", "statistics", "network"])
def test_a_folder_that_records_something_else_is_refused(tmp_path, name):
    store = Store(tmp_path)
    recorded(store, real())
    manifest = loaded(store).paths[1].with_name("manifest.json")
    told = json.loads(manifest.read_text())
    told["identity"][name] = "other"
    manifest.write_text(json.dumps(told))
    assert f"(its {name} differ" in refusal(lambda: loaded(store))


@pytest.mark.parametrize(
    "other",
    [
        lambda: POOL.settings(real(), NETWORK, 1),
        lambda: POOL.settings(real(mean=(0.4,)), NETWORK, 0),
        lambda: POOL.settings(real(change=1), NETWORK, 0),
        lambda: POOL.settings(real(), functools.partial(NETWORK, width=0.1), 0),
        lambda: POOL.for_epochs(5).settings(real(), NETWORK, 0),
        lambda: dataclasses.replace(POOL, seed=5).settings(real(), NETWORK, 0),
    ],
    ids=["number", "statistics", "pixels", "network", "epochs", "seed"],
)
def test_whatever_decides_a_trajectory_decides_where_it_lies(other):
    assert key(other()) != key(POOL.settings(real(), NETWORK, 0))


def test_larger_pools_and_those_of_all_images_share_what_is_alike():
    settings = POOL.settings(real(), NETWORK, 1)
    for other in (dataclasses.replace(POOL, networks=9), dataclasses.replace(POOL, networks_see="all")):
        assert key(other.settings(real(), NETWORK, 1)) == key(settings)
    assert describe(dataclasses.replace(POOL, networks_see="all")) != describe(POOL)


def test_starts_differ_by_number_seed_and_images():
    first = POOL.blank(real(), NETWORK, 0).classifier.weight
    assert torch.equal(first, POOL.blank(real(), NETWORK, 0).classifier.weight)
    seeded = dataclasses.replace(POOL, seed=5)
    for pool, data, index in ((POOL, real(), 1), (POOL, real(change=1), 0), (seeded, real(), 0)):
        assert not torch.equal(first, pool.blank(data, NETWORK, index).classifier.weight)


def test_a_pool_trains_for_the_epochs_asked_and_tests_once():
    recipe = POOL.for_epochs(7).recipe
    assert recipe.total_epochs == 7
    assert [epoch for epoch in range(7) if recipe.tests_after(epoch)] == [6]


def test_a_step_of_two_passes_costs_twice_as_much():
    flat = dataclasses.replace(RECIPE, optimizer=functools.partial(GSAM, rho=0.01, alpha=0.3))
    costs = [dataclasses.replace(POOL, recipe=r).for_epochs(7).forward_passes(real()) for r in (RECIPE, flat)]
    assert costs == [3 * 7 * 12, 6 * 7 * 12]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: TrajectoryPool(0, RECIPE), "networks=0"),
        (lambda: TrajectoryPool(1, RECIPE, "some"), "networks_see=some: part or all"),
        (lambda: POOL.for_epochs(0), "method.epochs_needed=0"),
    ],
)
def test_nonsense_is_refused(call, line):
    assert refusal(call).startswith(line)


def test_networks_with_more_state_than_weights_are_refused():
    with pytest.raises(InputError, match=r"^model=ConvNet with running statistics"):
        POOL.blank(real(), functools.partial(NETWORK, norm="batch"), 0)


def test_a_pool_of_parts_sees_the_part_and_one_of_all_sees_all():
    part = torch.tensor([1, 2, 5])
    assert POOL.seen(real(), part).fingerprint == real().subset(part).fingerprint
    assert dataclasses.replace(POOL, networks_see="all").seen(real(), part).fingerprint == real().fingerprint
