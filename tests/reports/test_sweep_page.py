"""What the page of a sweep calls things."""

import re
import time

import pytest
from conftest_rows import answers_of, row, students, trained

from moe_distill.reports.naming import describe_set, set_names
from moe_distill.reports.sets import picked
from moe_distill.reports.swept import Swept
from moe_distill.reports.transfer import transfer_dots
from moe_distill.results.frames import frame_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import report_sweep, sweep_report


def test_a_set_that_is_judged_in_several_ways_is_named_by_what_made_it():
    """Table 4's second and third cell share their set; its first has another of the same roster."""
    made = (("none", "f0", "none"), ("paper", "f1", "none"), ("paper", "f1", "cross_expert"))
    rows = [
        row("dm5x2", diversity=d, set_fingerprint=f, fusion=m, recipe=r)
        for d, f, m in made
        for r in ("dsa", "idc")
    ]
    assert set_names(frame_of(rows)) == {"f0": "dm5x2 none", "f1": "dm5x2 paper"}
    assert set_names(frame_of(rows[2:])) == {"f1": "dm5x2"}


def test_sets_of_several_distillation_seeds_are_told_apart_and_one_of_each_is_shown_first():
    rows = [row(n, distill_seed=d, set_fingerprint=f"{n}{d}") for n in ("dm5x2", "idm5x2") for d in "012"]
    rows.append(row("dm10x1", distill_seed="0", set_fingerprint="alone"))
    names = set_names(frame_of(rows))
    assert list(names.values()) == [*(f"{n} seed {d}" for n in ("dm5x2", "idm5x2") for d in "012"), "dm10x1"]
    titles = [*names.values()]
    assert [titles[i] for i in picked(titles, most=4)] == [
        "dm5x2 seed 0",
        "dm5x2 seed 1",
        "idm5x2 seed 0",
        "dm10x1",
    ]
    assert picked(titles) == [*range(len(titles))]


def test_sets_are_correlated_with_sets_of_their_own_data_and_mixing_only():
    """Pooled, what two data sets differ by would be told as what diversity does."""
    about = [(d, f, i) for d in ("easy", "hard") for f in ("none", "vanilla") for i in range(3)]
    rows = [
        row("dm5x2", dataset=d, fusion=f, set_fingerprint=f"{d}{i}", dcor2_unbiased=str(i), architecture=a)
        | {"accuracy_last": str(0.5 + 0.1 * i * (a == "b")), "seed": "0", "distill_seed": str(i)}
        for d, f, i in about
        for a in "ab"
    ]
    found = transfer_dots(frame_of(rows), Question(correlate="dcor2_unbiased"), "dcor2_unbiased")
    assert len(found) == 4 and all(name.startswith("dm 5×2 on ") and "fusion" in name for name in found)
    for dots in found.values():
        assert [(d.x, round(d.y, 9)) for d in dots] == [(0, 50), (1, 60), (2, 70)]


def test_a_set_that_a_network_lacks_is_correlated_with_none():
    rows = [
        row(
            "dm5x2",
            set_fingerprint=str(i),
            dcor2_unbiased=str(i),
            architecture=a,
            distill_seed=str(i),
            seed="0",
        )
        | {"accuracy_last": "" if (i, a) == (1, "c") else "0.5"}
        for i in range(3)
        for a in "abc"
    ]
    (dots,) = transfer_dots(frame_of(rows), Question(correlate="dcor2_unbiased"), "dcor2_unbiased").values()
    assert [d.x for d in dots] == [0, 2]


def swept(settings, **more):
    """Return the rows of jobs with these command lines, two distillation seeds each."""
    return [
        {**r, "overrides": f"{of},seed={r['distill_seed']}", "set_fingerprint": f"{of} {r['distill_seed']}"}
        for of in settings
        for r in students(of, ("dm5x2",), distill_seeds=(0, 1), **more)
    ]


def test_a_numeric_setting_that_jobs_vary_is_an_axis_though_no_experiment_says_so():
    rows = swept([f"method.lr={lr}" for lr in ("0.1", "0.2", "0.4")])
    found = answers_of(rows, Question()).swept
    assert list(found.axes) == ["method.lr"] and found.heat_maps == ()
    assert [p.network for p in found.panels] == ["average", "convnet3", "vgg11", "alexnet"]
    for panel in found.panels:
        (points,) = panel.lines.values()
        assert [p.x for p in points] == [0.1, 0.2, 0.4]
        own = [r for r in rows if r["architecture"] == panel.network or panel.network == "average"]
        means = [
            [float(r["accuracy_last"]) for r in own if f"lr={x}," in r["overrides"]] for x in (0.1, 0.2, 0.4)
        ]
        assert [p.mean for p in points] == pytest.approx([sum(v) / len(v) for v in means])


def test_two_settings_make_a_map_and_words_or_seeds_make_none():
    rows = []
    for ipc, noe in ((1, 1), (1, 2), (2, 1), (2, 2)):
        of = f"ipc={ipc},noe={noe}"
        rows += [{**r, "overrides": of, "set_fingerprint": of} for r in students(of, (f"dm{ipc}x{noe}",))]
    found = answers_of([*rows, *students("baseline", ("random4x1",))], Question()).swept
    (heat,) = found.heat_maps
    assert list(found.axes) == ["ipc", "noe"] and (heat.rows, heat.columns) == ([1, 2], [1, 2])
    own = [float(r["accuracy_last"]) for r in rows if r["overrides"] == "ipc=2,noe=1"]
    assert heat.means[1][0] == pytest.approx(sum(own) / len(own))  # as many students of each network
    for settings in (["method=dm", "method=idm"], ["width=a", "width=1"], ["method.lr=1"]):
        assert answers_of(swept(settings), Question()).swept == Swept()


def test_every_part_of_a_page_has_the_variants_in_one_order():
    rows = students("order", ("random10x1", "idm5x2", "dm5x2", "idm10x1", "dm10x1"))
    found = answers_of(rows, Question(against={"noe": 1}))
    order = [v.name for v in found.variants]
    assert order == ["idm10x1", "idm5x2", "dm10x1", "dm5x2", "random10x1"] and list(found.looks) == order
    assert list(dict.fromkeys(lead.variant for lead in found.leads)) == order[:-1]


def test_variants_are_told_in_words():
    assert describe_set("idm", [5], 2) == "IDM, 2 experts of 5 images a class"
    assert describe_set("dm", [10], 1) == "DM, 1 expert of 10 images a class"
    assert describe_set("random", [10], 1) == "Random real images, 10 a class"
    assert describe_set("rded", [1], 1) == "RDED, 1 expert of 1 image a class"
    assert describe_set("dm", [7, 3], 2) == "DM, 2 experts of 7 and 3 images a class"
    assert describe_set("idm+rded", [10], 2) == "IDM and RDED, 2 experts of 10 images a class"
    assert describe_set("random_tiled", [10], 1) == "Random real images, tiled, 10 a class"


def large_sweep(folder, jobs):
    """Write the folder of a sweep of that many jobs of twenty students; return the number of rows."""
    (folder / "multirun.yaml").touch()
    cells = []
    for job in range(jobs):
        about = {"overrides": f"method.lr={job},seed=0", "set_fingerprint": str(job)}
        students = [(network, seed) for network in "abcd" for seed in range(5)]
        rows = [
            trained(
                "dm5x2", f"{job} {a} {s}", str(0.3 + job / (2 * jobs)), architecture=a, seed=str(s), **about
            )
            for a, s in students
        ]
        (folder / str(job)).mkdir()
        write_csv(folder / str(job) / "results.csv", rows, COLUMNS)
        cells.append(Cell(about["overrides"], str(job), "run", tuple(rows)))
    Sweep("run", {}, tuple(cells)).write(folder)
    return 20 * jobs


def test_a_large_sweep_has_its_page_in_time_that_grows_with_its_rows(tmp_path):
    """What templates and charts take, apart from the reading of rows: 5 s for 10,000 of them would be all of
    it."""
    from moe_distill.reports.sweep_page import build_sweep_page

    rows = large_sweep(tmp_path, jobs=40)
    report = sweep_report(tmp_path, FinishedRows(Store(tmp_path / "store")))
    build_sweep_page(report)  # imports matplotlib
    began = time.process_time()
    page = build_sweep_page(report)
    assert (time.process_time() - began) / rows < 2e-3
    assert f"<b>{rows}</b><span>students" in page and len(re.findall('class="length', page)) == 40 * 4
    report_sweep(tmp_path, FinishedRows(Store(tmp_path / "store")))
    assert '<a href="./results.csv">' in (tmp_path / "report.html").read_text()
