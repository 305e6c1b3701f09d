"""The figures of an experiment: that they can be read, and that marks stand where the numbers say."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET

import pytest
from conftest_rows import answers_of, students

from moe_distill.reports.charts import leads_svg, panel_svg
from moe_distill.reports.set_charts import Dot, _label_places, scatter_svg
from moe_distill.reports.swept import Panel, Point
from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.question import Question

ROWS = students("figures", ("dm12x1", "dm6x2", "dm3x4", "random12x1"))
ALONG = answers_of(ROWS, Question(axis="noe"))
PANEL = ALONG.swept.panels[0]
ANSWERS = answers_of(ROWS, Question(against={"noe": 1}))
LEADS, LOOKS = ANSWERS.leads, ANSWERS.looks
DOTS = [Dot(f"set {i} & <more>", 0.1 * (i % 4), 20 + (i % 3) / 7, f"kind {i % 2}") for i in range(12)]
FIGURES = {
    "along": panel_svg("along", PANEL, "noe", ALONG.looks),
    "leads": leads_svg("leads", LEADS, LOOKS),
    "scatter": scatter_svg("scatter", DOTS, "dCor² <unbiased>", "accuracy & more"),
    "nothing along": panel_svg("nothing-along", Panel("d", "n", {}), "noe", {}),
    "no leads": leads_svg("no-leads", [], {}),
    "no dots": scatter_svg("no-dots", [Dot("a", math.nan, 1.0)], "x", "y"),
}


def words(svg):
    return [e.text for e in ET.fromstring(svg).iter() if e.tag.endswith("text")]


def shapes(svg, colour):
    """Return the places of the marks of a colour within the axes, in the order drawn; bands have none."""
    clipped = [g for g in ET.fromstring(svg).iter() if g.get("clip-path")]
    uses = [
        e
        for g in clipped
        for e in g
        if e.tag.endswith("}use") and f"var(--c{colour})" in (e.get("style") or "")
    ]
    return [(float(e.get("x")), float(e.get("y"))) for e in uses if e.get("x") != "0"]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_xml_of_the_pages_colours_and_can_stand_side_by_side(name):
    svg = FIGURES[name]
    root = ET.fromstring(svg)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert root.get("role") == "img" and root.get("aria-label")
    assert len(ids) == len(set(ids)) and all(i.startswith(name.replace(" ", "-")) for i in ids)
    assert "<style" not in svg and not re.search(r"#[0-9a-f]{6}\b", svg) and "currentColor" in svg


def test_points_stand_at_their_means():
    own = PANEL.lines["dm"]
    look = ALONG.looks["dm"]
    drawn = shapes(FIGURES["along"], look.hue)
    assert [p.x for p in own] == [1, 2, 4] and len(drawn) == 3
    (x0, y0), (x1, y1), (x2, y2) = drawn
    assert (x2 - x0) / (x1 - x0) == pytest.approx(3, rel=1e-3)
    m0, m1, m2 = (p.mean for p in own)
    assert (y2 - y0) / (y1 - y0) == pytest.approx((m2 - m0) / (m1 - m0), rel=1e-2)
    assert {"dm", "random", "noe", "1", "2", "4"} <= set(words(FIGURES["along"]))
    assert "var(--c7)" in FIGURES["along"]


def test_no_line_of_a_chart_has_the_look_of_a_variant():
    variants = {v.look for v in ALONG.variants}
    assert not {ALONG.looks[line] for line in PANEL.lines} & variants and len(variants) == 4


def test_an_axis_of_many_decades_is_logarithmic():
    def at(values):
        panel = Panel("d", "n", {"a": [Point(float(x), 0.5, 0.1) for x in values]})
        svg = panel_svg("axis", panel, "x", {"a": next(iter(LOOKS.values()))})
        return [x for x, _ in shapes(svg, 0)], words(svg)

    steep, ticks = at((1, 10, 100))
    assert steep[2] - steep[1] == pytest.approx(steep[1] - steep[0], rel=1e-3) and {"1", "10", "100"} <= set(
        ticks
    )
    flat, _ = at((1, 10, 30))
    assert (flat[2] - flat[1]) / (flat[1] - flat[0]) == pytest.approx(20 / 9, rel=1e-3)
    zero, _ = at((0, 10, 100))
    assert (zero[2] - zero[1]) / (zero[1] - zero[0]) == pytest.approx(9, rel=1e-3)


def test_every_lead_has_its_mark_of_its_variants_colour_and_each_network_a_shape():
    text = words(FIGURES["leads"])
    assert "dm6x2" in text and text.count("over dm12x1") == 2 and {AVERAGE, "convnet3", "vgg11"} <= set(text)
    own = [c for c in LEADS if c.variant == "dm6x2"]
    drawn = [x for x, _ in shapes(FIGURES["leads"], LOOKS["dm6x2"].hue)]
    assert (
        len(drawn) == len(own) == 8
    )  # three networks and their average, over one expert and over random images
    a, b, c = (own[i].difference for i in (0, 1, 2))
    assert (drawn[1] - drawn[0]) / (drawn[2] - drawn[0]) == pytest.approx((b - a) / (c - a), rel=1e-2)
    alone = leads_svg("one", [dataclasses.replace(LEADS[0], half=None)], LOOKS)
    assert "fill-opacity: 0" in alone or "fill: none" in alone


def test_dots_are_labelled_and_labels_do_not_overlap():
    text = words(FIGURES["scatter"])
    assert {d.label for d in DOTS} <= set(text) and {"kind 0", "kind 1", "dCor² <unbiased>"} <= set(text)
    places = _label_places(DOTS, (9.2, 4.0))
    assert all(right == (d.x <= 0.2 + 1e-9) for (right, _), d in zip(places, DOTS, strict=True))
    across, up = 72 * 0.8 * 9.2 / 0.3, 72 * 0.66 * 4.0 / (2 / 7)
    boxes = []
    for (right, points), d in zip(places, DOTS, strict=True):
        width = 7 + 4.6 * len(d.label)
        start = d.x * across + (5 if right else -width)
        boxes.append((start, start + width - 5, d.y * up + points))
    for i, (s, e, h) in enumerate(boxes):
        assert not any(s < f and e > t and abs(h - g) < 9 - 1e-6 for t, f, g in boxes[:i])
