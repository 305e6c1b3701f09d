"""Which variant each variant is held against."""

import pytest
from conftest_rows import row

from moe_distill.results.comparison import compare
from moe_distill.results.question import Question, to_frame

ONE = {"architecture": "a", "accuracy_last": "0.5", "distill_seed": "0", "seed": "0"}
LADDER = (("none", "none"), ("paper", "none"), ("paper", "cross_expert"))


def opposed(rows, **question):
    asked = Question(**question)
    found = compare(to_frame(rows, asked), asked).to_dicts()
    return {(c["variant"], c["kind"]): c["opponent"] for c in found}


def made(*rosters, **more):
    return [row(r, **ONE, **more) for r in rosters]


def test_opponents_are_of_the_same_data_recipe_budget_and_method():
    rows = made("dm5x2", "dm10x1", "dm20x1", "idm5x2", "idm10x1", "random10x1", "mtt5x2")
    rows += made("dm10x1", "random10x1", recipe="idc") + made("random10x1", dataset="others")
    first = ("dm5x2", "dm10x1 dsa", "idm5x2", "idm10x1", "mtt5x2")
    assert opposed(rows, against={"noe": 1}) == {
        ("dm5x2", "noe=1"): "dm10x1 dsa",
        ("idm5x2", "noe=1"): "idm10x1",
        **dict.fromkeys(((v, "random") for v in first), "random10x1 dsa"),
        ("dm10x1 idc", "random"): "random10x1 idc",
    }
    assert {kind for _, kind in opposed(rows)} == {"random"}


def test_a_method_may_be_the_opponent_of_all_others():
    rows = made("dm10x2", "rded20x1", "random20x1", "rded10x1")
    found = opposed(rows, against={"method": "rded"})
    assert found == {
        ("dm10x2", "rded"): "rded20x1",
        **dict.fromkeys([("dm10x2", "random"), ("rded20x1", "random")], "random20x1"),
    }
    named = opposed(rows, against={"method": "random"})
    assert [o for (v, _), o in named.items() if v == "rded20x1"] == ["random20x1"]


def test_variants_climb_a_ladder_of_opponents():
    """As Table 4 asks: the term over none, and both over each of these."""
    rows = [row(r, diversity=d, fusion=f, **ONE) for r, d, f in (("dm5x2", *step) for step in LADDER)]
    against = [{"diversity": "none", "fusion": "none"}, {"diversity": "paper", "fusion": "none"}]
    first, second = "diversity=none, fusion=none", "diversity=paper, fusion=none"
    assert opposed(rows, against=against) == {
        ("dm5x2 paper none", first): "dm5x2 none none",
        ("dm5x2 paper cross_expert", first): "dm5x2 none none",
        ("dm5x2 paper cross_expert", second): "dm5x2 paper none",
    }


@pytest.mark.parametrize("turned", [1, -1])
def test_of_opponents_that_no_column_tells_apart_the_one_of_equal_settings_is_taken(turned):
    """Two networks distil; each one's two experts are held against its own one."""
    made = [(r, m) for r in ("dm5x2", "dm10x1") for m in ("convnet3", "vgg11")]
    rows = [row(r, overrides=f"model={m},split={r}", set_fingerprint=f"{r}{m}", **ONE) for r, m in made]
    found = opposed(rows[::turned], against={"noe": 1})
    assert len(found) == 2
    assert all(("vgg11" in variant) == ("vgg11" in opponent) for (variant, _), opponent in found.items())


@pytest.mark.parametrize("turned", [1, -1])
def test_random_images_are_mixed_as_the_variant_is_or_not_at_all(turned):
    rows = [row("dm5x2", fusion=f, **ONE) for f in ("none", "vanilla", "cross_expert")]
    rows += [row("random10x1", fusion=f, **ONE) for f in ("vanilla", "none")]
    found = opposed(rows[::turned], against={"fusion": "none"})
    assert {v: o for (v, kind), o in found.items() if kind == "random"} == {
        "dm5x2 none": "random10x1 none",
        "dm5x2 vanilla": "random10x1 vanilla",
        "dm5x2 cross_expert": "random10x1 none",
    }


@pytest.mark.parametrize("turned", [1, -1])
def test_of_several_opponents_the_one_most_alike_is_taken(turned):
    whole = made("dm5x2", fusion="cross_expert-alpha0.2")
    plain = made("dm5x2", diversity="none", fusion="none")
    single = made("dm10x1", fusion="none")
    found = opposed((whole + plain + single)[::turned], against={"diversity": "none", "fusion": "none"})
    assert found == {("dm5x2 paper", "diversity=none, fusion=none"): "dm5x2 none"}
