"""What a table compares."""

import pytest

from moe_distill.results.comparison import leads_over_random
from moe_distill.results.rows import COLUMNS, distinct, table, variant_names
from moe_distill.results.set_names import set_of
from moe_distill.results.wording import percent


def row(roster, **more):
    return {**dict.fromkeys(COLUMNS, ""), "roster": roster, "architecture": "a", "accuracy_last": 0.5, **more}


def held(rows):
    return {variant: leads["random"][0] for variant, leads in leads_over_random(rows).items()}


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
    found = held(rows)
    assert found == {"idc10x1": "random10x1 digits idc", "dm10x1": "random10x1 digits dsa"}
    assert {*found, *found.values()} <= set(table(rows)[1])


@pytest.mark.parametrize("turned", [1, -1])
def test_every_set_is_held_against_random_images_of_its_own_budget(turned):
    made = [("idm5x2", "5", 2), ("random10x1", "10", 1), ("idm10x2", "10", 2), ("random20x1", "20", 1)]
    made += [("idm6+idm4", "6+4", 2), ("idm7x1", "7", 1)]
    rows = [
        row(n, method=n[: 3 + 3 * (n[0] == "r")], recipe="r", dataset="d", ipc=i, noe=k) for n, i, k in made
    ]
    found = held(rows[::turned])
    assert found == {"idm5x2": "random10x1", "idm10x2": "random20x1", "idm6+idm4": "random10x1"}


def names(*rows):
    return variant_names(rows)


def test_sets_of_one_roster_are_told_apart_by_what_differs_in_words():
    pairs = [
        (row("rded1x1", epochs=e, set_fingerprint=f), f"rded1x1 {e}") for e, f in ((300, "a"), (600, "b"))
    ]
    rows, wanted = zip(*pairs, strict=True)
    assert names(*rows) == list(wanted)


def test_sets_that_no_column_tells_apart_go_by_their_fingerprints():
    one, other = (row("rded1x1", distill_seed=0, set_fingerprint=f * 40) for f in "ab")
    assert names(one, other, row("dm1x1")) == ["rded1x1 aaaaaaaa", "rded1x1 bbbbbbbb", "dm1x1"]


def test_sets_of_several_distillation_seeds_are_one_variant():
    rows = [
        row("dm1x1", distill_seed=s, set_fingerprint=f"{s}" * 40, seed=k) for s in range(3) for k in range(2)
    ]
    assert names(*rows) == ["dm1x1"] * 6
    (cells,) = table(rows)[1].values()
    assert len(cells["a"]) == 6


def test_students_of_recipes_with_one_name_are_not_one_cell():
    rows = [
        row("dm1x1", recipe="dsa", recipe_key=k, set_fingerprint="a", distill_seed=0) for k in ("11", "22")
    ]
    assert names(*rows) == ["dm1x1 11", "dm1x1 22"]
    apart = [
        row("dm1x1", recipe=k, recipe_key=k, set_fingerprint="a", distill_seed=0) for k in ("dsa", "idc")
    ]
    assert names(*apart) == ["dm1x1 dsa", "dm1x1 idc"]


@pytest.mark.parametrize(
    ("other", "students"),
    [
        (
            {"overrides": "fusion=none,split=10x1", "accuracy_last": 0.5001},
            1,
        ),  # a single expert has nobody to mix with
        (
            {"overrides": "mixup_alpha=0.2,seed=1,split=10x1", "distill_seed": "1"},
            1,
        ),  # a selection that draws nothing
        ({"overrides": "fusion=none,split=10x1", "seed": 1}, 2),
        ({"overrides": "fusion=vanilla,split=10x1", "fusion": "vanilla"}, 2),
        ({"overrides": "split=10x1,students.a.depth=4"}, 2),
        ({"set_fingerprint": "g"}, 2),
        ({"recipe_key": "k"}, 2),
    ],
)
def test_a_student_counts_once_whatever_else_its_cells_differ_in(other, students):
    one = row(
        "idm10x1", fusion="none", set_fingerprint="f", seed=0, overrides="fusion=cross_expert,split=10x1"
    )
    assert len(distinct([one, {**one, **other}])) == students


def test_rows_of_one_set_are_joined_whether_or_not_its_fingerprint_covered_its_reading():
    old, new = "a" * 64, "a" * 64 + "-" + "b" * 16
    rows = [
        row("dm1x1", distill_seed=0, set_fingerprint=f, seed=s) for f, s in ((old, 0), (new, 1), (new, 0))
    ]
    assert variant_names(rows) == ["dm1x1"] * 3
    assert distinct(rows)["seed"].to_list() == [0, 1]
    assert set_of("[('init', 'a-b')]") == "[('init', 'a-b')]"  # of a set to come


def test_halves_are_rounded_up_as_on_paper():
    """The binary fraction next to 44.65 lies below it, that next to 46.35 above."""
    shown = {
        0.4465: "44.7",
        0.4505: "45.1",
        0.4755: "47.6",
        0.4635: "46.4",
        0.44649: "44.6",
        -0.4465: "-44.7",
    }
    assert {fraction: percent(fraction) for fraction in shown} == shown
    assert (
        percent((0.4465 + 0.4665 + 0.4565) / 3) == "45.7"
    )  # a mean that is half a tenth but for float rounding
