"""The page of a run against what its rows, costs and sets say."""

import base64
import io
import json
import math
import re
import statistics
import xml.etree.ElementTree as ET

import pytest
import torch
from PIL import Image
from scipy.stats import t

from moe_distill.errors import InputError
from moe_distill.reports import rendering
from moe_distill.reports.gallery import gallery, grid_picture, set_picture
from moe_distill.reports.looks import Look
from moe_distill.reports.run_page import RunReport, build_page
from moe_distill.reports.sections import Link
from moe_distill.reports.sets import images_section, read_distilled
from moe_distill.results.frames import frame_of
from moe_distill.results.rows import COLUMNS
from moe_distill.results.stages import StageCost
from moe_distill.synthetic.synthetic_set import Provenance, SyntheticSet
from moe_distill.synthetic.tiling import Tiling

CLASSES = ("cat & dog", "frog", "ship")
XLINK = "{http://www.w3.org/1999/xlink}href"


def a_set(expert=0, channels=1, size=8, ipc=2, space="standardised", tiling=1, method="dm"):
    images = torch.randn(
        len(CLASSES) * ipc, channels, size, size, generator=torch.Generator().manual_seed(expert)
    )
    mean, std = tuple(0.1 * (c + 3) for c in range(channels)), tuple(0.2 + 0.05 * c for c in range(channels))
    p = Provenance("toys", "v", "f" * 64, CLASSES, mean, std, method, expert, ipc, space, Tiling(tiling))
    return SyntheticSet(images, p)


def stored(folder, dependence, curves, **looks):
    """Write a folder of two experts as the store holds it; return it and the union's fingerprint."""
    folder.mkdir()
    sets = [a_set(expert, **looks) for expert in range(2)]
    for expert, one in enumerate(sets):
        one.save(folder / f"expert_{expert}.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"iterations": 1500, "dcor2_unbiased": dependence}))
    if curves:
        names = ("expert_0/loss", "expert_1/loss", "diversity/measure", "diversity/dcor2_unbiased")
        lines = [
            f"{i},{name},{value}"
            for i in (10, 20)
            for name, value in zip(names, (9, i, 0.5, "nan"), strict=True)
        ]
        (folder / "curves.csv").write_text("\n".join(["iteration,name,value", *lines, ""]))
    return folder, SyntheticSet.union(sets).fingerprint()


def row(roster, architecture, seed, accuracy, fingerprint=""):
    method, ipc, noe = re.fullmatch(r"([a-z]+)(\d+)x(\d+)", roster).groups()
    given = {"roster": roster, "architecture": architecture, "seed": seed, "accuracy_last": str(accuracy)}
    given |= {"method": method, "ipc": ipc, "noe": noe}
    return {**dict.fromkeys(COLUMNS, ""), **given, "dataset": "toys", "set_fingerprint": fingerprint}


def cost(stage, what, found, seconds):
    return StageCost(stage, what, found, seconds, 2048.0, 1000, 250000)


ACCURACIES = {
    "dm2x2": {"convnet3": [0.61, 0.63, 0.65], "vgg11": [0.50, 0.54, 0.52]},
    "random4x1": {"convnet3": [0.55, 0.60, 0.58], "vgg11": [0.53, 0.55, 0.54]},
}
COSTS = [
    cost("pretrain", "teacher 1", False, 30.0),
    cost("pretrain", "teacher 1", True, 30.0),
    cost("distill", "dm2x2", True, 100.0),
    cost("evaluate", "dm2x2 convnet3", False, 3600.0),
]


@pytest.fixture
def world(tmp_path):
    dm, own = stored(tmp_path / "dm", 0.1234, curves=True)
    rgb, other = stored(tmp_path / "rgb", None, curves=False, channels=3, size=32, method="random")
    prints = {"dm2x2": own, "random4x1": other}
    cells = [(roster, network, v) for roster, by in ACCURACIES.items() for network, v in by.items()]
    rows = [
        row(roster, network, s, a, prints[roster]) for roster, network, v in cells for s, a in enumerate(v)
    ]
    return rows, [("dm2x2", dm), ("random4x1", rgb)]


LINKS = [Link("rows & more", "./results.csv")]


def page_of(rows=(), costs=(), sets=()):
    return build_page(
        RunReport("quick <start>", "run 'a<b'", frame_of(rows), costs, sets, {"<u>": "</dl>"}, LINKS)
    )


def plain(page):
    return " ".join("".join(ET.fromstring(page).find("body").itertext()).split())


def pixels_of(image):
    return torch.tensor(list(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, -1)


RGB = {"channels": 3, "size": 32}
CASES = [({"tiling": 2}, "L", 6), (RGB, "RGB", 2), ({"space": "raw"}, "L", 6), ({"size": 96}, "L", 1)]


@pytest.mark.parametrize(("looks", "mode", "factor"), CASES)
def test_a_picture_holds_every_stored_pixel_in_its_cell(looks, mode, factor):
    one = a_set(**looks)
    picture = set_picture(one)
    p, size = one.provenance, one.images.shape[-1]
    cell = size * factor + 1
    assert picture.mode == mode
    assert picture.size == (p.ipc * cell - 1, len(CLASSES) * cell - 1)
    seen = pixels_of(picture)
    for n, image in enumerate(one.images.detach().double()):
        top, left = n // p.ipc * cell, n % p.ipc * cell
        for channel, plane in enumerate(image):
            raw = plane if p.space == "raw" else plane * p.std[channel] + p.mean[channel]
            for y, x in ((0, 0), (0, size - 1), (size - 1, 2), (3, 5)):
                rows, columns = (
                    slice(c + i * factor, c + (i + 1) * factor) for c, i in ((top, y), (left, x))
                )
                block = seen[rows, columns, channel]
                assert block.unique().numel() == 1
                assert abs(int(block[0, 0]) - 255 * min(1.0, max(0.0, float(raw[y, x])))) <= 0.51


def test_cells_are_parted_by_one_pixel_and_drawn_though_they_diverged():
    one = a_set()
    one.images.data[0] = math.nan
    seen = pixels_of(set_picture(one))[..., 0]
    assert (seen[48] == seen[48, 0]).all() and (seen[:, 48] == seen[48, 0]).all()
    assert (seen[:48, :48] == 0).all() and len(seen[47].unique()) > 2 and len(seen[49].unique()) > 2


def test_the_page_makes_no_request(world):
    rows, sets = world
    page = page_of(rows, COSTS, sets)
    attributes = [pair for element in ET.fromstring(page).iter() for pair in element.attrib.items()]
    addresses = [v for k, v in attributes if k in ("src", "href", "srcset", "action", XLINK)]
    ids = [v for k, v in attributes if k == "id"]
    assert len(addresses) > 4 and all(a.startswith(("data:", "#", "./")) for a in addresses)
    assert not re.search(r"@import|url\((?!#)|<script[^>]+src[^>]+src", page)
    assert len(ids) == len(set(ids)) > 0


def test_the_page_says_what_the_rows_say(world):
    rows, sets = world
    page = page_of(rows, COSTS, sets)
    text = plain(page)
    assert "dm2x2 reaches 57.5 % on average over 2 networks, 1.7 points above random real images" in text
    # Differences of 6, 3, 7 points with one network and of -3, -1, -2 with the other.
    squares = [statistics.variance(d) / 3 for d in ([6, 3, 7], [-3, -1, -2])]
    freedom = sum(squares) ** 2 / sum(v**2 / 2 for v in squares)
    half = t.ppf(0.975, freedom) * math.sqrt(sum(squares)) / 2
    interval = f"{5 / 3 - half:+.1f} to {5 / 3 + half:+.1f}"
    assert f"(95 % interval {interval}, 6 pairs of students, one distillation seed)" in text
    table = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)[1]
    cells = re.findall(r"<td>(<b>)?(.*?)(?:</b>)?</td>", table)
    assert [t for _, t in cells] == ["63.0 ± 2.0", "52.0 ± 2.0", "57.5", "57.7 ± 2.5", "54.0 ± 1.0", "55.8"]
    assert [bool(b) for b, _ in cells] == [True, False, True, False, True, False]
    assert "3 students per network" in text


def test_the_page_shows_the_sets_and_their_curves(world):
    rows, sets = world
    page = page_of(rows, COSTS, sets)
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    shown = [Image.open(io.BytesIO(base64.b64decode(data, validate=True))) for data in pictures]
    assert [(s.format, s.mode) for s in shown] == [("PNG", "L")] * 2 + [("PNG", "RGB")] * 2
    assert shown[1].tobytes() == set_picture(a_set(1)).tobytes()
    text = plain(page)
    assert "2 experts · 1,500 iterations · dCor² unbiased 0.123" in text
    assert "expert 1 · dm · ipc 2" in text
    assert text.count("matching loss") == 1 and text.count("dependence of experts") == 1
    assert set(re.findall(r"stroke: var\(--c(\d)\)", page)) == {"0"}  # of the only set with curves
    assert "DM, 2 experts of 2 images a class" in text and "Random real images, 4 a class" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_pictures_on_the_way_are_small_and_near_and_the_last_is_exact():
    one = a_set(**RGB)
    stored, rng = len(one.images), torch.Generator().manual_seed(0)
    coarse_NCHW = torch.randint(0, 256, (stored, 1, 8, 8), generator=rng).float().expand(-1, 3, -1, -1)
    pixels_NCHW = torch.nn.functional.interpolate(coarse_NCHW, size=32, mode="bilinear").to(torch.uint8)
    shown = rendering.part("gallery", gallery([one], {0: {0: pixels_NCHW, 9: pixels_NCHW}}))
    found = re.findall(r'src="data:image/(\w+);base64,([^"]*)"', shown)
    shot, last = (Image.open(io.BytesIO(base64.b64decode(data))) for _, data in found)
    assert [form for form, _ in found] == ["webp", "png"]
    assert last.tobytes() == set_picture(one).tobytes()
    exact = grid_picture(pixels_NCHW, one.provenance.ipc)
    assert shot.size == exact.size == (one.provenance.ipc * 33 - 1, len(CLASSES) * 33 - 1)
    assert re.findall(r'width="(\d+)" height="(\d+)"', shown) == [tuple(map(str, last.size))] * 2
    assert (pixels_of(shot).float() - pixels_of(exact).float()).abs().mean() < 4


def test_the_page_counts_a_shared_stage_once():
    page = page_of(costs=COSTS)
    text = plain(page)
    assert "1 of 3 stages, 1 min 40 s" in text
    assert "evaluate1 h 00 min2.0 GiB1,000250,000" in text
    assert "total1 h 02 min2.0 GiB3,000750,000" in text
    assert text.count("teacher 1") == 1 and text.count("found1 min") == 1
    widths = re.findall(r'class="bar( found)?" style="width:([\d.]+)%', page)
    assert widths == [("", "0.8"), (" found", "2.8"), ("", "100.0")]


def test_everything_given_is_escaped(world):
    rows, sets = world
    rows = [{**r, "roster": "<b>&" + r["roster"] if r["roster"] == "dm2x2" else r["roster"]} for r in rows]
    page = page_of(rows, [cost("distill", "<i>x", False, 1.0)], sets)
    for raw in ("<start>", "a<b", "<b>&dm", "<i>x", "<u></dl>", "cat & dog"):
        assert raw not in page
        assert raw in plain(page)


def test_missing_parts_leave_their_sections_out(world):
    rows, sets = world
    pages = [page_of(), page_of(rows, COSTS, sets), page_of(rows, COSTS, sets[1:])]
    nothing, everything, curveless = ([h.text for h in ET.fromstring(page).iter("h2")] for page in pages)
    assert nothing == ["How to repeat"] and "This run took no test accuracies" in plain(pages[0])
    assert everything == [
        "Accuracy",
        "Accuracy by network",
        "Distilled images",
        "Curves",
        "Cost",
        "How to repeat",
    ]
    assert curveless == [h for h in everything if h != "Curves"]


def test_one_experts_file_is_shown_too_and_a_missing_one_refused(world):
    file = world[1][0][1] / "expert_0.safetensors"
    text = plain(page_of(sets=[("mine", file)] * 2))
    assert text.count("expert 0 · dm") == 1 and "1 expert" in text and "iterations" not in text
    assert (
        "1 of 6 sets are shown"
        in images_section([read_distilled("mine", "", Look(0), file)], left_out=5).note
    )
    with pytest.raises(InputError, match="set="):
        page_of(sets=[("gone", file.with_name("gone.safetensors"))])


def test_students_that_diverged_are_named_and_left_out():
    rows = [row("dm2x1", "convnet3", s, a) for s, a in enumerate((0.5, math.nan, 0.7))]
    rows += [row("dm2x1", "vgg11", 0, 0.2)]
    rows += [row("idm2x1", "convnet3", 0, 0.9), row("idm2x1", "vgg11", 0, math.nan)]
    rows += [row("random2x1", "convnet3", 0, math.nan), row("random2x1", "vgg11", 0, 0.3)]
    text = plain(page_of(rows))
    assert "Left out: 3 students that diverged" in text
    # IDM's network that learned is ahead, but of the other there is none: no average is made of what is left.
    assert "60.0 ± 14.1" in text and "dm2x1 reaches 40.0 % on average over 2 networks." in text
    assert "idm2x1IDM,1expertof2imagesaclass90.0––" in re.sub(r"\s", "", text)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_a_baseline_that_wins_is_said_to_win():
    rows = [row("dm2x1", "a", s, 0.3) for s in range(2)] + [row("random2x1", "a", s, 0.4) for s in range(2)]
    assert "10.0 points below random real images" in plain(page_of(rows))
    assert "random2x1 reaches 40.0 %" in plain(page_of(rows[2:]))
