"""What the page of a sweep calls things."""

from types import SimpleNamespace

from conftest_rows import row

from moe_distill.reports.page_sets import picked, set_names
from moe_distill.reports.page_transfer import transfer_dots
from moe_distill.results.question import Question


def test_a_set_that_is_judged_in_several_ways_is_named_by_what_made_it():
    """Table 4's second and third cell share their set; its first has another of the same roster."""
    made = (("none", "f0", "none"), ("paper", "f1", "none"), ("paper", "f1", "cross_expert"))
    rows = [
        row("dm5x2", diversity=d, set_fingerprint=f, fusion=m, recipe=r) for d, f, m in made for r in ("dsa", "idc")
    ]
    assert set_names(rows) == {"f0": "dm5x2 none", "f1": "dm5x2 paper"}
    assert set_names(rows[2:]) == {"f1": "dm5x2"}


def test_sets_of_several_distillation_seeds_are_told_apart_and_one_of_each_is_shown_first():
    rows = [row(n, distill_seed=d, set_fingerprint=f"{n}{d}") for n in ("dm5x2", "idm5x2") for d in "012"]
    rows.append(row("dm10x1", distill_seed="0", set_fingerprint="alone"))
    names = set_names(rows)
    assert list(names.values()) == [*(f"{n} seed {d}" for n in ("dm5x2", "idm5x2") for d in "012"), "dm10x1"]
    sets = [SimpleNamespace(title=name) for name in names.values()]
    shown, left_out = picked(sets, most=4)
    assert [s.title for s in shown] == ["dm5x2 seed 0", "dm5x2 seed 1", "idm5x2 seed 0", "dm10x1"] and left_out == 3
    assert picked(sets) == (sets, 0)


def test_sets_are_correlated_with_sets_of_their_own_data_and_mixing_only():
    """Pooled, what two data sets differ by would be told as what diversity does."""
    about = [(d, f, i) for d in ("easy", "hard") for f in ("none", "vanilla") for i in range(3)]
    rows = [
        row("dm5x2", dataset=d, fusion=f, set_fingerprint=f"{d}{i}", dcor2_unbiased=str(i), architecture=a)
        | {"accuracy_last": str(0.5 + 0.1 * i * (a == "b")), "seed": "0", "distill_seed": str(i)}
        for d, f, i in about
        for a in "ab"
    ]
    found = transfer_dots(rows, Question(correlate="dcor2_unbiased"), "dcor2_unbiased")
    assert len(found) == 4 and all(name.startswith("dm 5×2 on ") and "fusion" in name for name in found)
    for dots in found.values():
        assert [(d.x, round(d.y, 9)) for d in dots] == [(0, 50), (1, 60), (2, 70)]


def test_a_set_that_a_network_lacks_is_correlated_with_none():
    rows = [
        row("dm5x2", set_fingerprint=str(i), dcor2_unbiased=str(i), architecture=a, distill_seed=str(i), seed="0")
        | {"accuracy_last": "" if (i, a) == (1, "c") else "0.5"}
        for i in range(3)
        for a in "abc"
    ]
    (dots,) = transfer_dots(rows, Question(correlate="dcor2_unbiased"), "dcor2_unbiased").values()
    assert [d.x for d in dots] == [0, 2]
