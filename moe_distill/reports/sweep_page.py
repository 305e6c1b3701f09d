"""The page of a sweep: what was asked, the answer so far, what was made, what it cost, and what became of each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from moe_distill.reports.break_even import break_even, break_even_section
from moe_distill.reports.charts import accuracy_chart
from moe_distill.reports.comparison_chart import leads_svg
from moe_distill.reports.figures import along_svg
from moe_distill.reports.layout import joined, line, section, table, whole_page
from moe_distill.reports.other_scores import LED, score_leads
from moe_distill.reports.page_cells import LOST, CellReport, cells_section
from moe_distill.reports.page_costs import costs_section, duration, merged_costs
from moe_distill.reports.page_scores import scores_section
from moe_distill.reports.page_sets import (
    curves_section,
    images_section,
    picked,
    projections_section,
    read_distilled,
    set_names,
)
from moe_distill.reports.page_tables import Lines, tables_section
from moe_distill.reports.page_transfer import transfer_section
from moe_distill.reports.run_page import header, repeat_section
from moe_distill.reports.svg import colours_of, fitting, legend
from moe_distill.reports.tables import sheet
from moe_distill.results.aggregate import AVERAGE, accuracy_curve, aggregate
from moe_distill.results.comparison import compare, describe_replicates, format_difference, losing
from moe_distill.results.intervals import SEEDS
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rows import RANDOM, REAL, Row, is_random, is_trained
from moe_distill.results.set_names import set_of
from moe_distill.results.wording import count


@dataclass(frozen=True)
class SweepReport:
    """All that the page of a sweep tells.

    Attributes:
        title: The heading.
        command: What repeats the sweep.
        question: What is asked.
        rows: Result rows of all jobs, also of students to come (:func:`~moe_distill.results.rows.is_trained`), or
            probes in their place, with the columns of ``rows.COLUMNS``.
        scores: Scores as such rows, see :func:`~moe_distill.reports.other_scores.scored`; where there are any, they
            answer.
        cells: What became of each cell.
        costs: What each stage cost, as for a run's page.
        sets: Label and folder of each distilled set.
        tables: Tables of other pipelines, by name.
        teachers: Seconds that the networks trained before a set took, by its fingerprint.
        facts: What it ran on, shown as it is.
    """

    title: str
    command: str
    question: Question
    rows: Sequence[Row]
    scores: Sequence[Row]
    cells: Sequence[CellReport]
    costs: Sequence[Row]
    sets: Sequence[tuple[str, Path]]
    tables: Mapping[str, Lines]
    teachers: Mapping[str, float]
    facts: Row


def build_sweep_page(report: SweepReport) -> str:
    """Return the page of a sweep as HTML that makes no request; what is missing leaves its section out.

    Raises:
        InputError: The question does not fit the rows, or a set is damaged.
    """
    frame = to_frame(report.scores or report.rows, report.question)
    names = frame["variant"].to_list()
    colours = colours_of(names)
    named = set_names(frame.to_dicts())
    of_sets = {named[set_of(r)]: colours[r["variant"]] for r in reversed(frame.to_dicts())}
    distilled = [read_distilled(label, path, named, of_sets) for label, path in dict.fromkeys(report.sets)]
    shown, left_out = picked([s for s in distilled if not is_random({"method": s.sets.provenance.method})])
    spent = merged_costs(report.costs)
    sections = [
        _headline(report, spent),
        *_answers(report, colours),
        tables_section(report.tables),
        images_section(shown, left_out),
        projections_section(shown),
        curves_section(shown),
        break_even_section(break_even(frame.to_dicts(), names, report.teachers)),
        costs_section(spent),
        cells_section(report.cells),
        repeat_section(report.command, report.facts),
    ]
    return whole_page(report.title, sections)


def _answers(report: SweepReport, colours: Mapping[str, int]) -> list[str]:
    rows, question = report.rows, report.question
    if report.scores:
        return [scores_section(report.scores, question)]
    if not any(map(is_trained, rows)):
        return [part(rows, question) for part in (_answer,) * bool(rows)]
    first, last = (
        [part(rows, question) for part in parts] for parts in ((_answer, _leads, _along), (transfer_section, _behind))
    )
    return [*first, _bars(rows, question, colours), *last]


def _headline(report: SweepReport, spent: Sequence[Row]) -> Markup:
    rows, reports, question = [*filter(is_trained, report.rows)], report.cells, report.question
    done = sum(r.state == "done" for r in reports)
    tiles = [(f"{done} of {len(reports)}", "cells done")]
    if rows:
        seeds = len({r["distill_seed"] for r in rows if not is_random(r)} - {"", None})
        tiles += [(f"{len(rows):,}", "students"), (str(seeds), "distillation seed" + "s" * (seeds != 1))]
    if spent:
        tiles += [(duration(spent), "of computing, shared stages once")]
    wrong = sum(r.state in LOST for r in reports)
    tiles += [(str(wrong), "failed or lost")] * bool(wrong)
    claim = Markup('<p class="lead"><span class="soft">Claim under test:</span> {}</p>').format(question.claim)
    lead = claim * bool(question.claim) + Markup('<p class="lead">{}</p>').format(_verdict(report))
    return header(f"A sweep of {count([len(reports)], 'cell')}", report.title, lead, tiles)


def _verdict(report: SweepReport) -> Markup:
    """Return in a sentence, for scores in one each, how the variants stand to their opponents on average."""
    question = report.question
    if report.scores:
        lines, kinds = score_leads(report.scores, question), {name: f"by {name}" for name in LED}
    else:
        lines = compare(to_frame(report.rows, question), question).to_dicts() if report.rows else []
        kinds = {AVERAGE: "on average over networks"}
    found = [c for c in lines if c["kind"] not in REAL and c["half"] is not None]
    parts = (_stand([c for c in found if c["architecture"] == kind], told) for kind, told in kinds.items())
    verdict = joined([part for part in parts if part], " ")
    return verdict or Markup("No comparison can be drawn yet.") * bool(question.rivals)


def _stand(lines: Sequence[Row], told: str) -> Markup:
    """Say how many are ahead, apart for intervals over distillation seeds and for those over students of one."""
    parts = ([c for c in lines if (SEEDS in c["over"]) == seeds] for seeds in (True, False))
    return joined([_decided(part, told) for part in parts if part], " ")


def _decided(lines: Sequence[Row], told: str) -> Markup:
    ahead = sum(c["difference"] - c["half"] > 0 for c in lines)
    behind = sum(c["difference"] + c["half"] < 0 for c in lines)
    over = describe_replicates(c["over"] for c in lines)
    text = Markup("Of {} {}, <strong>{} ahead</strong>, {} behind, {} undecided at 95\u00a0% ({}).")
    of = count([len(lines)], "comparison")
    return text.format(of, told, ahead, behind, len(lines) - ahead - behind, over)


def _answer(rows: Sequence[Row], question: Question) -> Markup:
    from moe_distill.reports.typeset import html_table

    beside = " The paper's accuracies stand below ours." if question.paper else ""
    heading = "Accuracy of a linear probe" if rows[0].get("onto") else "Accuracy"
    return section(heading, f"Test accuracy, %.{beside}", [html_table(sheet(rows, question), "answer")])


def _leads(rows: Sequence[Row], question: Question) -> Markup:
    lines = [c for c in compare(to_frame(rows, question), question).to_dicts() if c["kind"] not in REAL]
    if not any(c["difference"] is not None for c in lines):
        return Markup("")
    note = "By how much each variant leads over its opponent, by network; the diamond is their average."
    return section("Leads", note, [fitting(lambda name, narrow: leads_svg(name, lines, narrow), "leads")])


def _along(rows: Sequence[Row], question: Question) -> Markup:
    if question.axis is None:
        return Markup("")
    cards = []
    for by in ("variant", "architecture"):
        found = accuracy_curve(to_frame(rows, question), question, by)
        for number, (_, points) in enumerate(found.group_by("dataset", maintain_order=True)):
            svg = along_svg(f"along-{by}-{number}", points.to_dicts(), question.axis)
            cards.append(Markup('<div class="scroll">{}</div>').format(svg))
    note = "Average over networks, then each network; bands are 95\u00a0% intervals."
    return section(f"Accuracy against {question.axis}", note, cards, "sets")


def _bars(rows: Sequence[Row], question: Question, colours: Mapping[str, int]) -> Markup:
    cards = []
    grouped: dict[str, dict[str, dict[str, Any]]] = {}
    networks: dict[str, None] = {}
    for cell in aggregate(to_frame(rows, question), question).to_dicts():
        if cell["architecture"] != AVERAGE:
            networks[cell["architecture"]] = None
            own = grouped.setdefault(cell["dataset"], {}).setdefault(cell["variant"], {})
            own[cell["architecture"]] = cell["values"]
    for number, (title, values) in enumerate(grouped.items()):
        bars = accuracy_chart(f"bars-{number}", list(networks), values, colours)
        keys = legend({v: colours[v] for v in values})
        cards.append(Markup("<h3>{}</h3>{}{}").format(title, keys, bars))
    note = "Mean of the students; whiskers reach one standard deviation to either side."
    return section("Accuracy by network", note, cards)


def _behind(rows: Sequence[Row], question: Question) -> Markup:
    lines = [c for c in losing(to_frame(rows, question), question).to_dicts() if c["kind"] != RANDOM]
    if not lines:
        return Markup("")
    body = joined(
        [line(c["variant"], [c["architecture"], format_difference(c).replace("-", "−"), c["opponent"]]) for c in lines]
    )
    note = "Networks that learn less from a variant than from its opponent, the furthest behind first, in points."
    return section("Where it falls behind", note, [table(("variant", "network", "lead", "opponent"), [body])])
