"""The tables of an experiment: what they hold, and that each can be read where it goes."""

import ast
import csv
import math
import re
import shutil
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path

import pytest
from conftest_rows import NETWORKS, answers_of, row, students, to_come
from hydra.utils import instantiate
from rich.console import Console

from moe_distill.reports.tables import html_table, latex_table, markdown, sheet, terminal
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question
from moe_distill.results.rows import COLUMNS, is_random
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import report_sweep

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
ACCURACIES = {
    "dm5x2": {"convnet3": (0.61, 0.63, 0.65), "vgg11": (0.50, 0.54, 0.52)},
    "dm10x1": {"convnet3": (0.60, 0.62, 0.64), "vgg11": (0.55, math.nan, 0.57)},
    "random10x1": {"convnet3": (0.41, 0.41, 0.41), "vgg11": (math.nan, math.nan, math.nan)},
}
PAPER = [
    {"ipc": "5", "noe": "2", "architecture": n, "accuracy": a}
    for n, a in (("convnet3", "70"), ("vgg11", "60.25"))
]


def toys(**more):
    cells = [
        (v, n, s, a) for v, by in ACCURACIES.items() for n, values in by.items() for s, a in enumerate(values)
    ]
    about = {"distill_seed": "0", **more}
    return [row(v, architecture=n, seed=str(s), accuracy_last=str(a), **about) for v, n, s, a in cells]


TOYS = sheet(answers_of(toys(), Question(against={"noe": 1}, paper=PAPER)))


def test_a_sheet_says_what_the_rows_say():
    assert TOYS.heads == ("trained on", "convnet3", "vgg11", "average", "over noe=1", "over random")
    assert list(TOYS.groups) == [""]
    said = {line.name: [e.text for e in line.entries] for line in TOYS.groups[""]}
    # The pairs' differences: 1, 1, 1, -5, -5 points; mean -1.4, sd 3.286, t(0.975, 4) = 2.776.
    assert said == {
        "dm10x1": ["62.0 ± 2.0", "56.0 ± 1.4 †", "59.0 †", "", "–"],
        "dm5x2": ["63.0 ± 2.0", "52.0 ± 2.0", "57.5", "-2.0 ± 0.0", "–"],
        "random10x1": ["41.0 ± 0.0", "diverged", "–", "", ""],
    }
    assert [(line.name, i) for line in TOYS.groups[""] for i, e in enumerate(line.entries) if e.best] == [
        ("dm10x1", 1),
        ("dm10x1", 2),
        ("dm5x2", 0),
    ]
    papers = {line.name: [e.paper for e in line.entries] for line in TOYS.groups[""]}
    assert papers["dm5x2"] == ["70.0", "60.3", "65.1", "", ""] and not any(papers["dm10x1"])
    assert [line.name for line in TOYS.groups[""] if line.selection] == ["random10x1"]


def test_notes_say_what_was_counted():
    notes = " ".join(TOYS.notes)
    assert "on toys after the last epoch" in notes and "3 students a cell (1 distillation seed)" in notes
    assert "paper's accuracy of its full protocol; the others are of scale=small" in notes
    assert "95 % interval over 5 pairs of students, one distillation seed" in notes
    assert "Left out: 4 students that diverged." in notes
    published = sheet(answers_of(toys(scale="paper"), Question(paper=PAPER)))
    assert "In parentheses: the paper's accuracy." in published.notes
    several = sheet(answers_of(students("n", ("dm5x2", "random10x1"), distill_seeds=(0, 1)), Question()))
    assert "6 students a cell (2 distillation seeds)" in several.notes[0]
    assert several.notes[-1].endswith("over 2 distillation seeds.")


def test_what_varies_makes_groups_and_real_images_come_last():
    rosters = ("random10x1", "dm5x2", "dm10x1", "idm5x2", "idm10x1")
    one = sheet(answers_of(students("groups", rosters), Question())).groups
    assert {title: [line.name for line in own] for title, own in one.items()} == {
        "dm": ["dm10x1", "dm5x2"],
        "idm": ["idm10x1", "idm5x2"],
        "random": ["random10x1"],
    }
    rows = students("more", ("dm10x2", "dm5x2", "random10x1")) + students(
        "o", ("dm5x2",), ("mlp",), dataset="others"
    )
    table = sheet(answers_of(rows, Question()))
    assert list(table.groups) == ["toys · budget 10", "toys · budget 20", "others · budget 10"]
    assert table.heads[1:5] == (*NETWORKS, "mlp")
    (line,) = table.groups["others · budget 10"]
    assert [e.text for e in line.entries[:3]] == ["–"] * 3 and not any(e.best for e in line.entries)


def test_cells_to_come_are_shown_as_missing():
    networks = (*ACCURACIES["dm5x2"], "alexnet")
    coming = to_come(
        row(v, architecture=n, seed="0", distill_seed="0") for v in ("dm5x2", "idm5x2") for n in networks
    )
    table = sheet(answers_of([*toys(), *coming], Question()))
    said = {line.name: [e.text for e in line.entries] for line in table.groups[""]}
    assert table.heads[:2] == ("trained on", "seeds")
    assert said["idm5x2"] == ["0 of 1", *["–"] * 5] and said["dm5x2"][3:5] == ["–", "–"]
    nothing = sheet(answers_of(coming, Question()))
    assert nothing.notes == ("No student was trained yet.",) and len(nothing.groups[""]) == 2
    for text in (markdown(nothing), html_table(nothing), latex_table(nothing)):
        assert "idm5x2" in text


def test_lines_of_one_and_of_three_seeds_say_so_and_what_their_intervals_are_over():
    rows = students("three", ("dm5x2", "dm10x1"), distill_seeds=(0, 1, 2)) + students(
        "one", ("idm5x2", "idm10x1")
    )
    question = Question(against={"noe": 1})
    table = sheet(answers_of(rows, question))
    said = {line.name: [e.text for e in line.entries] for own in table.groups.values() for line in own}
    assert {name: entries[0] for name, entries in said.items()} == {
        **dict.fromkeys(("dm5x2", "dm10x1"), "3"),
        **dict.fromkeys(("idm5x2", "idm10x1"), "1"),
    }
    assert said["idm5x2"][-1].endswith(" ‡") and "‡" not in said["dm5x2"][-1]
    assert (
        "95 % interval over 3 distillation seeds; ‡ over 9 pairs of students, one distillation seed, for "
        "these networks, which tells nothing of other seeds." in table.notes[-1]
    )
    coming = to_come(students("more", ("idm5x2",), distill_seeds=(1, 2)))
    told = {
        line.name: line.entries[0].text
        for own in sheet(answers_of([*rows, *coming], question)).groups.values()
        for line in own
    }
    assert told["idm5x2"] == "1 of 3" and told["idm10x1"] == "1"
    alike = sheet(answers_of([r for r in rows if r["method"] == "dm"], question))
    assert (
        "seeds" not in alike.heads
        and "‡" not in alike.notes[-1]
        and "for these networks" not in alike.notes[-1]
    )


def test_markdown_is_an_aligned_table():
    text = markdown(TOYS)
    lines = text[: text.index("\n\n")].splitlines()
    assert len(lines) == 5 and len({len(line) for line in lines}) == 1
    assert {tuple(i for i, c in enumerate(line) if c == "|") for line in lines} == {
        tuple(i for i, c in enumerate(lines[0]) if c == "|")
    }
    assert re.fullmatch(r"\| :-+ (\| -+: ){5}\|", lines[1])
    assert [c.strip() for c in lines[3].split("|")[1:4]] == [
        "dm5x2",
        "**63.0 ± 2.0** (70.0)",
        "52.0 ± 2.0 (60.3)",
    ]
    assert lines[4].startswith("| *random10x1* ")
    notes = text[text.index("\n\n") :].strip().splitlines()
    assert " ".join(notes) == " ".join(TOYS.notes) and max(map(len, notes)) <= 120
    odd = [{**r, "roster": "a|" + r["roster"]} for r in toys()]
    assert markdown(sheet(answers_of(odd, Question()))).count("| a\\|dm5x2 ") == 1


def test_html_needs_nothing_else_and_takes_its_colours_from_the_page():
    odd = [{**r, "roster": "<b>&" + r["roster"]} for r in toys()]
    text = html_table(sheet(answers_of(odd, Question(against={"noe": 1}, paper=PAPER))))
    tree = ET.fromstring(f"<div>{text}</div>")
    assert not re.search(r"https?:|@import|<style|<script|url\(|#[0-9a-fA-F]{3,6}\b", text)
    body = [["".join(c.itertext()) for c in line] for line in tree.find("div/table/tbody")]
    assert body[1] == [
        "<b>&dm5x2",
        "63.0 ± 2.0 (70.0)",
        "52.0 ± 2.0 (60.3)",
        "57.5 (65.1)",
        "−2.0 ± 0.0",
        "–",
    ]
    assert [b.text for b in tree.iter("b")] == ["56.0 ± 1.4 †", "59.0 †", "63.0 ± 2.0"]
    assert tree.find("div").get("class") == "scroll" and "".join(tree.itertext()).count(TOYS.notes[0]) == 1


def test_latex_is_escaped_and_balanced():
    odd = [{**r, "roster": "x_1&50%#$~^\\{}<" + r["roster"]} for r in toys()]
    text = latex_table(sheet(answers_of(odd, Question(against={"noe": 1}, paper=PAPER))))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    first = r"x\_1\&50\%\#\$\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}\textless{}dm5x2"
    assert f"{first} & " in body and r"\textbf{63.0 $\pm$ 2.0} {\scriptsize (70.0)}" in body
    assert r"$-$2.0 $\pm$ 0.0" in body and r"\textit{x\_1" in body
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    rows = [line for line in body.splitlines() if "&" in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {5} and all(
        r.endswith(r"\\") for r in rows
    )
    begun, ended = (re.findall(rf"\\{word}{{([a-z*]+)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended) and "l|" not in text
    assert not re.search(r"(?<!\\)[%#&_]", "".join(text.split("\n", 1)[1].replace(" & ", " ").splitlines()))


def test_the_terminal_shows_the_same():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(terminal(TOYS, "title [x]"))
    text = console.export_text()
    assert "title [x]" in text
    for word in (
        "63.0 ± 2.0 (70.0)",
        "diverged",
        "-2.0 ± 0.0",
        "random10x1",
        "over noe=1",
        "4 students that diverged",
    ):
        assert word in text


PAPERS = {"table1": "(53.3)", "table2": "(50.3)", "table3": "(53.3)", "table4": "(49.0)"}
RECORDED = sorted(path.parent.name for path in EXPERIMENTS.glob("*/results.csv"))


def cells_of(rows):
    """Return the jobs that ask for committed rows, a distillation seed each, with random images as their
    baselines."""
    jobs = {}
    for r in rows:
        if not is_random(r["method"]):
            told = ("roster", "diversity", "regulariser", "fusion", "recipe", "iterations", "distill_seed")
            jobs.setdefault(tuple(r[c] for c in told), []).append(r)
    for place, own in enumerate(jobs.values()):
        alike = [r for r in rows if is_random(r["method"]) and r["recipe"] == own[0]["recipe"]]
        shared = [{**r, "overrides": ""} for r in alike if r["distill_seed"] == own[0]["distill_seed"]]
        name = own[0]["overrides"] or f"job={place}"
        yield Cell(name, str(place), "", (*({**r, "overrides": name} for r in own), *shared))


@pytest.mark.parametrize("name", RECORDED)
def test_the_tables_of_the_recorded_rows_say_what_their_readme_says(suite, name):
    """No job ran here; other experiments' tables hold some of the rows too, as they were told there."""
    cfg = suite.compose(f"+experiment={name}", "scale=small", "paths.tables=null")
    question = instantiate(cfg.question, _convert_="all")
    with (EXPERIMENTS / name / "results.csv").open(newline="") as file:
        lines = csv.DictReader(file)
        assert tuple(lines.fieldnames) == COLUMNS  # so that rows can be added as they come
        rows = [r for r in lines if name != "clom" or r["distill_seed"] == "0"]  # its table is of one
    folder = suite.home / name
    Sweep("", vars(question), tuple(cells_of(rows))).write(folder)
    if name in PAPERS:
        shutil.copy(EXPERIMENTS / name / "paper.csv", folder)
    report_sweep(folder, FinishedRows(Store(suite.store), EXPERIMENTS))
    text, latex, page = ((folder / f"table.{ending}").read_text() for ending in ("md", "tex", "html"))
    readme = (EXPERIMENTS / name / "README.md").read_text()
    first = re.split("Thrice as long|measured before that|By network|What the terms do", readme)[0]
    lines = "".join(line for line in first.splitlines() if line.startswith("|"))
    spread = r"-?\d+\.\d ± \d\.\d"
    # A table of single students has none.
    figure = spread if re.search(spread, text) else r"-?\d+\.\d"
    quoted = re.findall(figure, lines.replace("−", "-"))
    by_seed = [[r for r in rows if r["distill_seed"] == seed] for seed in {r["distill_seed"] for r in rows}]
    alone = " ".join(markdown(sheet(answers_of(own, question))) for own in by_seed)
    # Of a small table every figure, as it has fewer.
    least = min(17, len(re.findall(figure, text)))
    assert least and len(quoted) >= least and set(quoted) <= set(re.findall(figure, text + alone))
    assert ET.fromstring(page).find("body") is not None and escape(question.claim) in page
    assert latex.count(r"\toprule") == 1
    assert all(PAPERS.get(name, "") in one for one in (text, latex, page))


def test_nothing_needs_the_tables_packages_before_a_table_is_asked_for():
    needed = {}
    for file in (ROOT / "moe_distill").rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                needed.setdefault(file.name, set()).update(name.split(".")[0] for name in names)
    assert "textwrap" in needed["tables.py"]
    assert not {file for file, names in needed.items() if names & {"polars", "scipy", "matplotlib"}}
