"""What the page of a sweep calls things."""

from conftest_rows import row

from moe_distill.pipelines.sweep_page import set_names


def test_a_set_that_is_judged_in_several_ways_is_named_by_what_made_it():
    """Table 4's second and third cell share their set; its first has another of the same roster."""
    made = (("none", "f0", "none"), ("paper", "f1", "none"), ("paper", "f1", "cross_expert"))
    rows = [
        row("dm5x2", diversity=d, set_fingerprint=f, fusion=m, recipe=r) for d, f, m in made for r in ("dsa", "idc")
    ]
    assert set_names(rows) == {"f0": "dm5x2 none", "f1": "dm5x2 paper"}
    assert set_names(rows[2:]) == {"f1": "dm5x2"}
