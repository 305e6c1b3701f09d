"""Teachers' progress in updates, and trajectories that serve whoever wants their beginning."""

import dataclasses

import pytest
import torch
from test_trajectories import EPOCHS, NETWORK, POOL, RECIPE, real, recorded

from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.teachers.trajectories import KIND


@pytest.mark.parametrize("experts", [1, 2, 3, 5])
def test_an_epoch_is_as_many_updates_for_any_number_of_experts(experts):
    """A pass over all twelve images in batches of two is six updates; parts of five take three passes or
    less."""
    pool = (
        dataclasses.replace(POOL, recipe=dataclasses.replace(RECIPE, batch_size=2)).for_epochs(7).on(real())
    )
    part = real().subset(torch.arange(12 // experts))
    assert pool.steps(part) == 7 * 6
    passes = pool.training(part).total_epochs
    a_pass = -(-len(part) // 2)
    assert (passes - 1) * a_pass < 7 * 6 <= passes * a_pass
    assert pool.forward_passes(part) == pytest.approx(3 * 7 * 6 / a_pass * len(part))


def test_a_teacher_at_its_own_pace_lies_where_it_lay_before_epochs_were_updates():
    pool, whole = POOL.for_epochs(EPOCHS), real()
    assert key(pool.on(whole).settings(whole, NETWORK, 0)) == key(pool.settings(whole, NETWORK, 0))
    fine = dataclasses.replace(pool, recipe=dataclasses.replace(RECIPE, batch_size=2))
    part = whole.subset(torch.arange(6))
    assert key(fine.on(whole).settings(part, NETWORK, 0)) != key(fine.settings(part, NETWORK, 0))


def test_a_longer_trajectory_serves_whoever_wants_its_beginning(tmp_path):
    store, data = Store(tmp_path), real()
    recorded(store, data, epochs=5)
    shorter = POOL.for_epochs(EPOCHS)
    found = shorter.load(store, data, NETWORK)
    assert len(found) == 2 and found.epochs == 5
    recorded(store, data, epochs=4)
    assert shorter.load(store, data, NETWORK).epochs == 4
    recorded(store, data)
    assert shorter.load(store, data, NETWORK).epochs == EPOCHS


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 5},
        {"recipe": dataclasses.replace(RECIPE, lr=0.5)},
        {"recipe": dataclasses.replace(RECIPE, drops=(0.5,))},
        {"recipe": dataclasses.replace(RECIPE, cosine=1.0)},
        {"every": 7},
    ],
    ids=["seed", "rate", "falling rate", "cosine", "pace"],
)
def test_a_longer_trajectory_of_another_way_does_not_serve(tmp_path, other):
    store, data, pool = Store(tmp_path), real(), dataclasses.replace(POOL, **other)
    recorded(store, data, pool if {"drops", "cosine"} & _changed(pool.recipe) else POOL, epochs=5)
    assert pool.for_epochs(EPOCHS).longer(store, data, NETWORK, 0) is None


def _changed(recipe):
    return {f.name for f in dataclasses.fields(recipe) if getattr(recipe, f.name) != getattr(RECIPE, f.name)}


def test_a_damaged_manifest_beside_is_passed_over(tmp_path):
    store, data = Store(tmp_path), real()
    recorded(store, data, epochs=5)
    for text in ("", "[]", "{}", '{"settings": {"recipe": 1}}'):
        (tmp_path / KIND / "broken").mkdir(exist_ok=True)
        (tmp_path / KIND / "broken" / "manifest.json").write_text(text)
        assert POOL.for_epochs(EPOCHS).longer(store, data, NETWORK, 0).name != "broken"
