"""What a table compares."""

from moe_distill.pipelines.rows import COLUMNS, opponents, table


def row(roster, **more):
    return {**dict.fromkeys(COLUMNS, ""), "roster": roster, "architecture": "a", "accuracy_last": 0.5, **more}


def test_every_set_is_held_against_random_images_of_its_own_recipe_and_data():
    rows = [
        row(roster, method=roster.rstrip("10x"), recipe=recipe, dataset=dataset)
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
