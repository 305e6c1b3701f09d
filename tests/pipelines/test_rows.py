"""What a table compares."""

import pytest

from moe_distill.pipelines.rows import COLUMNS, opponents, table


def row(roster, **more):
    return {**dict.fromkeys(COLUMNS, ""), "roster": roster, "architecture": "a", "accuracy_last": 0.5, **more}


def test_every_set_is_held_against_random_images_of_its_own_recipe_and_data():
    rows = [
        row(roster, method=roster.rstrip("10x"), recipe=recipe, dataset=dataset, ipc="10", noe=1)
        for roster, recipe, dataset in (
            ("random10x1", "dsa", "digits"),
            ("random10x1", "idc", "digits"),
            ("random10x1", "idc", "cifar10"),
            ("idc10x1", "idc", "digits"),
            ("dm10x1", "dsa", "digits"),
            ("mtt10x1", "mtt", "digits"),
        )
    ]
    found = opponents(rows)
    assert found == {"idc10x1": "random10x1 digits idc", "dm10x1": "random10x1 digits dsa"}
    assert {*found, *found.values()} <= set(table(rows)[1])


@pytest.mark.parametrize("turned", [1, -1])
def test_every_set_is_held_against_random_images_of_its_own_budget(turned):
    made = [("idm5x2", "5", 2), ("random10x1", "10", 1), ("idm10x2", "10", 2), ("random20x1", "20", 1)]
    made += [("idm6+idm4", "6+4", 2), ("idm7x1", "7", 1)]
    rows = [row(n, method=n[: 3 + 3 * (n[0] == "r")], recipe="r", dataset="d", ipc=i, noe=k) for n, i, k in made]
    found = opponents(rows[::turned])
    assert found == {"idm5x2": "random10x1", "idm10x2": "random20x1", "idm6+idm4": "random10x1"}
