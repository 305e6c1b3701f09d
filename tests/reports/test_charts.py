"""The charts of a run against the numbers that they are drawn from."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from moe_distill.reports.charts import accuracy_svg, curve_panels, curve_svg, lying_accuracy_svg
from moe_distill.reports.svg import colours_of


@pytest.mark.parametrize(("draw", "along"), [(accuracy_svg, 1), (lying_accuracy_svg, 0)])
def test_bars_are_as_long_as_the_mean_accuracies_that_are_there(draw, along):
    cells = {"a": {"x": [0.5, math.nan], "y": [math.nan]}, "b": {"y": [0.2, 0.3], "x": [0.4]}}
    svg = draw("acc", ["x", "y"], cells, {"a": 2, "b": 7})
    bars = re.findall(r'<path d="([^"]*)"[^>]*style="fill: var\(--c(\d)\)', svg)
    corners = [[float(at[along]) for at in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)] for path, _ in bars]
    lengths = [max(at) - min(at) for at in corners]
    assert [colour for _, colour in bars] == ["2", "7", "7"]
    assert [length / lengths[0] for length in lengths] == pytest.approx([1, 0.8, 0.5], rel=1e-4)
    assert {"x", "y", "50.0", "40.0", "25.0"} <= set(" ".join(ET.fromstring(svg).itertext()).split())


def test_charts_can_stand_side_by_side_and_take_the_colours_of_the_page():
    curves = {"expert 0 <a> $b$": [(1, 5.0), (3, 1.0)], "expert 1": [(1, 4.0), (3, 9.0)]}
    first, second = (curve_svg(name, curves, 3, "loss & more") for name in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    for svg, own in zip((first, second), ids, strict=True):
        assert set(re.findall(r'(?:url\(|xlink:href=")#([^)"]*)', svg)) <= own
        assert svg.startswith("<svg") and "<style" not in svg
        assert "expert 0 <a> $b$" in "".join(ET.fromstring(svg).itertext())
        assert "var(--c3)" in svg and "currentColor" in svg and not re.search(r"#[0-9a-f]{6}\b", svg)
    assert first == curve_svg("one", curves, 3, "loss & more")


def test_curves_that_fall_by_decades_get_a_logarithmic_axis():
    steep, flat = (curve_svg("c", {"a": [(1, top), (2, 1.0)]}, 0, "loss") for top in (1e4, 20.0))
    ticks = [" ".join(ET.fromstring(svg).itertext()).split() for svg in (steep, flat)]
    assert {"15.0", "15"} & set(ticks[1]) and not {"5000", "10000"} & set(ticks[0])


def test_what_is_not_finite_is_not_drawn():
    rows = [(1, "expert_0/loss", 5.0), (2, "expert_0/loss", math.nan), (3, "expert_0/loss", math.inf)]
    drawn = curve_panels("c", [*rows, (1, "diversity/dcor2_unbiased", math.nan)], 0)
    assert drawn == curve_panels("c", rows[:1], 0) and drawn.count("<svg") == 1
    assert curve_panels("c", rows[1:], 0) == ""


def test_random_images_are_grey_whatever_they_are_trained_with_and_no_two_others_alike():
    names = ["dm5x2", "random10x1 idc", "idm5x2", "random10x1 dsa", "dm5x2", *"abcde"]
    colours = colours_of(names)
    assert {colours[n] for n in names if n.startswith("random")} == {7}
    others = [n for n in colours if not n.startswith("random")]
    assert [colours[n] for n in others] == list(range(7)) and list(colours) == list(dict.fromkeys(names))
