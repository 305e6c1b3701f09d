"""The charts of a run against the numbers that they are drawn from."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from moe_distill.reports import rendering
from moe_distill.reports.answers import Variant
from moe_distill.reports.charts import bars_of, heat_table
from moe_distill.reports.looks import Look, looks_of
from moe_distill.reports.set_charts import Place, curve_panels, curve_svg, features_svg
from moe_distill.reports.swept import HeatMap

BLUE, GREEN = Look(0), Look(2)


def variant(name, look):
    return Variant(name, f"{name} in words", "toys", "", False, 10, look)


def test_bars_are_as_long_as_the_mean_accuracies_that_are_there():
    values = {("a", "x"): [0.5, math.nan], ("a", "y"): [math.nan], ("b", "y"): [0.2, 0.3], ("b", "x"): [0.4]}
    variants = [variant("a", GREEN), variant("b", Look(7))]
    chart = bars_of("toys", variants, values)
    assert {n: [(b.variant.name, b.text) for b in own] for n, own in chart.groups.items()} == {
        "x": [("a", "50.0"), ("b", "40.0")],
        "y": [("b", "25.0")],
    }
    first, second, third = (b for own in chart.groups.values() for b in own)
    assert [b.length for b in (first, second, third)] == pytest.approx([100, 80, 50])
    # The sample of 0.2 and 0.3 has a standard deviation of 0.1 / √2.
    spread = 100 * 0.1 / math.sqrt(2) / 0.5
    assert (third.low, third.high) == pytest.approx((50 - spread, 50 + spread)) and first.low == first.high
    html = rendering.part("bars", [chart])
    assert re.findall(r"var\(--c(\d)\);--to:([\d.]+)", html) == [
        ("2", "100.00"),
        ("7", "80.00"),
        ("7", "50.00"),
    ]
    assert html.count('class="whisker"') == 1 and 'title="a in words"' in html


def test_a_whisker_never_leaves_its_chart():
    chart = bars_of("", [variant("a", BLUE)], {("a", "x"): [0.0, 0.9]})
    ((bar,),) = chart.groups.values()
    assert bar.low == 0.0 and bar.high == pytest.approx(100.0)


def test_charts_can_stand_side_by_side_and_take_the_colours_of_the_page():
    curves = {"expert 0 <a> $b$": [(1, 5.0), (3, 1.0)], "expert 1": [(1, 4.0), (3, 9.0)]}
    first, second = (curve_svg(name, curves, Look(3), "loss & more") for name in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    for svg, own in zip((first, second), ids, strict=True):
        assert set(re.findall(r'(?:url\(|xlink:href=")#([^)"]*)', svg)) <= own
        assert svg.startswith("<svg") and "<style" not in svg
        assert "expert 0 <a> $b$" in "".join(ET.fromstring(svg).itertext())
        assert "var(--c3)" in svg and "currentColor" in svg and not re.search(r"#[0-9a-f]{6}\b", svg)
    assert first == curve_svg("one", curves, Look(3), "loss & more")


def test_curves_that_fall_by_decades_get_a_logarithmic_axis_and_no_iteration_is_broken():
    steep, flat = (curve_svg("c", {"a": [(1, top), (2, 1.0)]}, BLUE, "loss") for top in (1e4, 20.0))
    ticks = [" ".join(ET.fromstring(svg).itertext()).split() for svg in (steep, flat)]
    assert {"15.0", "15"} & set(ticks[1]) and not {"5000", "10000"} & set(ticks[0])
    assert {"1", "2"} <= set(ticks[1]) and not any(re.fullmatch(r"1\.\d+", tick) for tick in ticks[1])


def test_what_is_not_finite_is_not_drawn():
    rows = [(1, "expert_0/loss", 5.0), (2, "expert_0/loss", math.nan), (3, "expert_0/loss", math.inf)]
    drawn = curve_panels("c", [*rows, (1, "diversity/dcor2_unbiased", math.nan)], BLUE)
    assert drawn == curve_panels("c", rows[:1], BLUE) and len(drawn) == 1
    assert curve_panels("c", rows[1:], BLUE) == []


def test_random_images_are_grey_and_no_two_names_of_twenty_one_look_alike():
    names = ["dm5x2", "random10x1 idc", "idm5x2", "random10x1 dsa", "dm5x2", *(f"v{i}" for i in range(19))]
    looks = looks_of(names)
    assert [looks[n] for n in names if n.startswith("random")] == [Look(7, 0), Look(7, 1)]
    assert list(looks) == list(dict.fromkeys(names)) and len(set(looks.values())) == len(looks) == 23
    others = [look for name, look in looks.items() if not name.startswith("random")]
    assert [look.hue for look in others[:8]] == [*range(7), 0] and others[7].fill == 1


def test_features_mark_the_mean_of_each_class_of_each_expert():
    places = [Place(x, y, label, f"expert {e}") for e, label, x, y in (
        (0, "3", 0.0, 0.0), (0, "3", 2.0, 0.0), (0, "4", 4.0, 4.0), (1, "3", 1.0, 3.0), (1, "4", 5.0, 1.0),
    )]  # fmt: skip
    svg = features_svg("f", places, GREEN)
    tree = ET.fromstring(svg)
    text = [e.text for e in tree.iter() if e.tag.endswith("text")]
    assert text.count("3") == text.count("4") == 2 and {"expert 0", "expert 1"} <= set(text)
    assert "var(--c2)" in svg and "var(--card)" in svg and not re.search(r"var\(--c[013-7]\)", svg)
    marks = [e for g in tree.iter() if g.get("clip-path") for e in g if e.tag.endswith("}use")]
    drawn = [(float(e.get("x")), float(e.get("y"))) for e in marks]
    (x0, y0), (x1, y1) = drawn[:2]  # of the first expert's images of class 3
    mean = pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=1e-3)
    assert sum(at == mean for at in drawn) == 1 and len(drawn) == len(places) + 4


def test_a_heat_table_is_shaded_from_the_lowest_to_the_highest():
    made = heat_table(HeatMap("dm", [1.0, 2.0], [1.0, 5.0], [[0.2, 0.3], [None, 0.6]]), ["ipc", "noe"])
    assert made.corner == ("ipc", "noe") and made.columns == ["1", "5"]
    (one, first), (two, second) = made.rows
    assert (one, two) == ("1", "2") and [text for text, _ in (*first, *second)] == [
        "20.0",
        "30.0",
        "–",
        "60.0",
    ]
    assert [shade for _, shade in (*first, *second)] == pytest.approx([0, 25, 0, 100])
