"""Sets judged by probes and by scores: means, leads and their intervals, and the pages that begin with
them."""

import statistics

import pytest
import torch
from conftest_rows import answers_of, row, trained
from scipy.stats import t

from moe_distill.pipelines import measure, probe, score
from moe_distill.reports.other_scores import (
    SCORES,
    SCORES_WITH_LEADS,
    probed,
    score_leads,
    score_sheet,
    scored,
)
from moe_distill.reports.tables import sheet
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.seeding import stream
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Sweep
from moe_distill.sweeps.report import report_sweep

NETWORKS = ("convnet3", "vgg11", "resnet18", "alexnet")
ASKED = {"claim": "Two are better.", "against": {"noe": 1}}


def drawn(name, number):
    return torch.rand(number, generator=stream(0, "judged", name), dtype=torch.float64).tolist()


def score_lines(rosters=("dm10x1", "dm5x2"), distill_seeds=("0",)):
    """Return lines as a job leaves them, in which every network has a learning rate of its own."""
    lines = []
    for roster in rosters:
        for d in distill_seeds:
            for i, network in enumerate(NETWORKS):
                values = dict(
                    zip(SCORES.values(), drawn(f"{roster} {network} {d}", len(SCORES)), strict=True)
                )
                about = {"architecture": network, "distill_seed": d, "set_fingerprint": f"{roster} {d}"}
                rates = {
                    "syn_any_lr": f"0.0{i + 1}",
                    "syn_any_recipe": "dsa",
                    "config_hash": f"{roster} {network} {d}",
                }
                told = {**row(roster, **about), **{c: repr(v) for c, v in values.items()}, **rates}
                lines.append({c: told.get(c, "") for c in score.COLUMNS})
    return lines


def probe_lines():
    """Return lines as a job leaves them."""
    lines = []
    for roster in ("dm10x1", "dm5x2"):
        for network in NETWORKS:
            for seed, accuracy in enumerate(drawn(f"{roster} {network}", 3)):
                about = {"architecture": network, "distill_seed": "0", "seed": str(seed), "onto": "others"}
                about |= {"accuracy": repr(accuracy), "accuracy_untrained": "0.5", "set_fingerprint": roster}
                told = row(roster, config_hash=f"{roster} {network} {seed}", **about)
                lines.append({c: told.get(c, "") for c in probe.COLUMNS})
    return lines


def half(values):
    return t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5


def test_a_lead_in_a_score_is_paired_by_network():
    lines = score_lines()
    found = {
        (c.variant, c.architecture): c for c in score_leads(answers_of(scored(lines), Question(**ASKED)))
    }
    assert set(found) == {("dm5x2", name) for name in SCORES_WITH_LEADS}
    for name in SCORES_WITH_LEADS:
        one, two = (
            {line["architecture"]: float(line[SCORES[name]]) for line in lines if line["roster"] == roster}
            for roster in ("dm10x1", "dm5x2")
        )
        differences = [two[n] - one[n] for n in NETWORKS]
        line = found["dm5x2", name]
        assert line.difference == pytest.approx(statistics.mean(differences), abs=1e-12)
        assert line.half == pytest.approx(half(differences), abs=1e-12)
        assert (line.n, line.over) == (4, "4 networks, one distillation seed")


def test_several_distillation_seeds_are_what_an_interval_of_a_score_is_over():
    lines = score_lines(distill_seeds=("0", "1", "2"))
    (found,) = (
        c for c in score_leads(answers_of(scored(lines), Question(**ASKED))) if c.architecture == "ARS"
    )
    mean = {
        (roster, d): statistics.mean(
            float(line["ars"]) for line in lines if (line["roster"], line["distill_seed"]) == (roster, d)
        )
        for roster in ("dm10x1", "dm5x2")
        for d in "012"
    }
    differences = [mean["dm5x2", d] - mean["dm10x1", d] for d in "012"]
    assert found.half == pytest.approx(half(differences), abs=1e-12) and found.over == "3 distillation seeds"


def test_a_sheet_of_scores_has_a_line_for_each_set_whatever_rates_its_networks_took():
    lines = score_lines()
    table = score_sheet(answers_of(scored(lines), Question(**ASKED)))
    over = "over noe=1"
    assert table.heads == ("set", "LRS", over, "ARS", over, "IOR", over, "HLR", "α", "β")
    (group,) = table.groups.values()
    assert [line.name for line in group] == ["dm10x1", "dm5x2"]
    own = {
        name: [[float(n[c]) for n in lines if n["roster"] == line.name] for line in group]
        for name, c in SCORES.items()
    }
    for place, line in enumerate(group):
        told = dict(zip(table.heads[1:], line.entries, strict=True))
        for name, values in own.items():
            mean = statistics.mean(values[place])
            assert told[name].text == f"{100 * mean:.1f} ± {100 * statistics.stdev(values[place]):.1f}"
            assert told[name].best == (name != "HLR" and mean == max(map(statistics.mean, values)))
    assert "over 4 networks (1 distillation seed)" in table.notes[0]
    assert score_sheet(answers_of(scored(lines), Question())).heads == ("set", *SCORES)


def test_sets_scored_with_several_weights_stay_apart():
    one = [
        {**line, "w": w, "overrides": f"pipeline.w={w}"}
        for w in ("0.5", "0.25")
        for line in score_lines(["dm5x2"])
    ]
    (group,) = score_sheet(answers_of(scored(one), Question())).groups.values()
    assert len(group) == 2 and all("w=0." in line.name for line in group)


def test_probes_are_compared_as_students_are():
    lines = probe_lines()
    students = [{**row(line["roster"]), **{c: line[c] for c in COLUMNS if c in line}} for line in lines]
    students = [{**s, "accuracy_last": line["accuracy"]} for s, line in zip(students, lines, strict=True)]
    asked = Question(**ASKED)
    assert sheet(answers_of(probed(lines), asked)).groups == sheet(answers_of(students, asked)).groups
    assert (
        sheet(answers_of(probed(lines), asked))
        .notes[0]
        .startswith("Test accuracy on others of a linear probe of students of toys")
    )
    assert (
        probed([{"roster": "dm5x2", "accuracy": "0.5"}]) == []
    )  # recorded before lines told what their set is


@pytest.fixture
def page(tmp_path):
    """Gives a function that returns the page and the Markdown table of a sweep whose single job left these
    tables."""

    def built(**tables):
        job = tmp_path / "sweep" / "job"
        job.mkdir(parents=True)
        for name, (lines, columns) in tables.items():
            write_csv(job / f"{name}.csv", lines, columns)
        Sweep("", vars(Question(**ASKED)), ()).write(job.parent)
        report_sweep(job.parent, FinishedRows(Store(tmp_path / "store")))
        return (job.parent / "report.html").read_text(), job.parent

    return built


def test_a_page_of_scores_begins_with_them_and_has_no_accuracies(page):
    rates = [trained("dm5x2", k, architecture="vgg11", recipe_key=k) for k in "ab"]
    html, folder = page(scores=(score_lines(), score.COLUMNS), results=(rates, COLUMNS))
    assert "of 1 comparison by lrs, " in html.lower() and html.index("<h2>Scores</h2>") < html.index(
        "network by network"
    )
    assert not any(
        f"<h2>{absent}" in html for absent in ("Accuracy", "When distilling pays", "Where it falls behind")
    )
    assert " LRS | " in (folder / "table.md").read_text() and "lead in hundredths" in html


def test_a_page_of_probes_begins_with_their_means_and_leads(page):
    html, folder = page(probe=(probe_lines(), probe.COLUMNS))
    assert (
        "<h2>Accuracy of a linear probe</h2>" in html
        and "<h2>Leads</h2>" in html
        and "12 pairs of students" in html
    )
    assert "over noe=1" in (folder / "table.md").read_text() and not (folder / "results.csv").exists()


def test_where_nothing_was_judged_no_table_is_written(page):
    _, folder = page(measures=([{"measure": "dcor", "value": "0.5", "config_hash": "1"}], measure.COLUMNS))
    assert sorted(p.name for p in folder.glob("[!.]*.*")) == ["report.html", "sweep.json"]
