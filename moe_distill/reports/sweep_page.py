"""The page of a sweep: its question, the answer so far, the sets, the costs, and the state of each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from moe_distill.reports import rendering
from moe_distill.reports.answers import Answers, Lead
from moe_distill.reports.charts import Bars, bars_of, heat_table, leads_svg, panel_svg
from moe_distill.reports.cost_table import costs_of, duration, merged_costs, seconds_of
from moe_distill.reports.looks import Look
from moe_distill.reports.other_scores import SCORES_WITH_LEADS, score_leads, score_sheet
from moe_distill.reports.run_page import Tile
from moe_distill.reports.sections import (
    CellReport,
    CsvLines,
    Link,
    break_even_section,
    losing_section,
    spent_section,
    table_sections,
)
from moe_distill.reports.sets import Distilled, load_union, picked, set_sections
from moe_distill.reports.tables import sheet
from moe_distill.reports.transfer import Transfer
from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.comparison import describe_replicates
from moe_distill.results.intervals import SEEDS
from moe_distill.results.rows import REAL, is_random
from moe_distill.results.stages import StageCost
from moe_distill.results.wording import count


@dataclass(frozen=True)
class SweepReport:
    """All that the page of a sweep shows.

    Attributes:
        title: The heading.
        command: The command line that repeats the sweep.
        answers: The answers of the rows of all jobs, or of probes if there are no rows.
        scores: The answers of scores, shown instead of accuracies; None without any.
        transfer: How a quantity of sets correlates with the accuracy of other networks, if the question asks
            for it.
        cells: The state of each cell.
        costs: The cost of each stage.
        sets: Label and folder of each distilled set.
        tables: Tables of other pipelines, by file name.
        facts: What it ran on, shown unchanged.
        links: Links to the files beside the page.
    """

    title: str
    command: str
    answers: Answers
    scores: Answers | None
    transfer: Transfer | None
    cells: Sequence[CellReport]
    costs: Sequence[StageCost]
    sets: Sequence[tuple[str, Path]]
    tables: Mapping[str, CsvLines]
    facts: Mapping[str, str]
    links: Sequence[Link] = ()

    @property
    def answer(self) -> Answers:
        """The answers that the page begins with."""
        return self.scores or self.answers


@dataclass(frozen=True)
class Verdict:
    """How many comparisons are ahead of their opponents, behind, or undecided.

    Attributes:
        comparisons: How many there are, in words.
        kind: What they compare, such as ``on average over networks``.
        ahead: How many have a whole interval above zero.
        behind: How many have one below.
        undecided: All others.
        over: What the intervals are taken over, in words.
    """

    comparisons: str
    kind: str
    ahead: int
    behind: int
    undecided: int
    over: str


def build_sweep_page(report: SweepReport) -> str:
    """Return the page of a sweep as HTML that makes no network requests, without empty sections.

    Raises:
        InputError: A set is damaged.
    """
    answers, costs = report.answer, merged_costs(report.costs)
    sets, left_out = _distilled(report)
    # Charts of accuracies would show scores on a wrong scale.
    has_accuracies = report.scores is None and answers.students > 0
    heat_maps = answers.swept.heat_maps if has_accuracies else ()
    return rendering.page(
        "sweep",
        kicker=f"A sweep of {count([len(report.cells)], 'cell')}",
        title=report.title,
        links=report.links,
        claim=answers.question.claim,
        verdicts=_verdicts(report),
        may_compare=bool(answers.question.rivals),
        tiles=_tiles(report, costs),
        scores=score_sheet(report.scores) if report.scores else None,
        accuracy=sheet(answers) if report.scores is None and answers.variants else None,
        has_paper=bool(answers.question.paper),
        is_probe=bool(answers.onto),
        variants=answers.named,
        leads=_leads(report) if report.scores or has_accuracies else None,
        swept_axes=" and ".join(map(_axis, answers.swept.axes)),
        panels=_panels(answers) if has_accuracies else [],
        heat_tables=[heat_table(heat_map, answers.swept.axes) for heat_map in heat_maps],
        bars=_bars(answers) if has_accuracies else [],
        transfer=report.transfer if has_accuracies else None,
        losing=losing_section(answers.losing) if has_accuracies else None,
        table_sections=table_sections(report.tables),
        set_sections=set_sections(sets, left_out),
        spent=spent_section(answers.spent),
        break_even=break_even_section(answers.break_evens),
        costs=costs_of(costs),
        cells=report.cells,
        command=report.command,
        facts=report.facts,
    )


def _distilled(report: SweepReport) -> tuple[list[Distilled], int]:
    """Return the sets that the page has room for, in the variants' order, and how many are left out."""
    answers, known = report.answer, report.answer.named
    place = {name: n for n, name in enumerate(known)}
    sets = []
    for label, path in dict.fromkeys(report.sets):
        union = load_union(path)
        if is_random(union.provenance.method):
            continue  # the page shows distilled images only
        title = answers.sets.get(union.tensors_fingerprint(), label)
        variant = known.get(answers.set_variants.get(title, ""))
        words, look = (variant.words, variant.look) if variant else ("", Look(0))
        rank = place[variant.name] if variant else len(place)  # sets that no row is about come last
        sets.append((rank, Distilled(title, words, look, union, path)))
    ordered = [distilled for _, distilled in sorted(sets, key=lambda ranked: ranked[0])]
    room = picked([distilled.title for distilled in ordered])
    return [ordered[i] for i in room], len(ordered) - len(room)


def _tiles(report: SweepReport, costs: Sequence[StageCost]) -> list[Tile]:
    done = sum(cell.state == "done" for cell in report.cells)
    tiles = [Tile(f"{done} of {len(report.cells)}", "cells done")]
    if students := report.answers.students:
        seeds = report.answers.distillations
        tiles.append(Tile(f"{students:,}", "students"))
        tiles.append(Tile(str(seeds), "distillation seed" if seeds == 1 else "distillation seeds"))
    if costs:
        tiles.append(Tile(duration(seconds_of(costs)), "of computing, shared stages once"))
    if lost := sum(cell.is_lost for cell in report.cells):
        tiles.append(Tile(str(lost), "failed or lost"))
    return tiles


def _verdicts(report: SweepReport) -> list[Verdict]:
    """Return how many variants are ahead of their opponents, on average over networks or in each score.

    Intervals over distillation seeds and those over the students of a single one are counted separately, as
    the latter say nothing about other seeds.
    """
    if report.scores:
        leads, kinds = score_leads(report.scores), {name: f"by {name}" for name in SCORES_WITH_LEADS}
    else:
        leads, kinds = list(report.answers.leads), {AVERAGE: "on average over networks"}
    # Random images are not the opponents that the claim is about.
    known = [c for c in leads if c.kind not in REAL and c.half is not None]
    verdicts = []
    for architecture, kind in kinds.items():
        for of_seeds in (True, False):
            lines = [c for c in known if c.architecture == architecture and (SEEDS in c.over) == of_seeds]
            if lines:
                verdicts.append(_verdict(lines, kind))
    return verdicts


def _verdict(lines: Sequence[Lead], kind: str) -> Verdict:
    # Decided means that the whole interval is on one side of zero.
    bounds = [(c.difference or 0.0, c.half or 0.0) for c in lines]
    ahead = sum(lead - half > 0 for lead, half in bounds)
    behind = sum(lead + half < 0 for lead, half in bounds)
    undecided = len(lines) - ahead - behind
    over = describe_replicates(c.over for c in lines)
    return Verdict(count([len(lines)], "comparison"), kind, ahead, behind, undecided, over)


def _leads(report: SweepReport) -> Markup | None:
    """Return the chart of leads over opponents other than random images; None without any."""
    leads = score_leads(report.scores) if report.scores else report.answers.leads
    lines = [c for c in leads if c.kind not in REAL]
    if all(c.difference is None for c in lines):
        return None
    unit = "hundredths" if report.scores else "points of test accuracy"
    return leads_svg("leads", lines, report.answer.looks, unit)


def _panels(answers: Answers) -> list[tuple[str, Markup]]:
    axis, looks = "".join(map(_axis, answers.swept.axes)), answers.looks
    several = len(answers.datasets) > 1  # else the page's title names the data set
    return [
        (
            f"{panel.dataset}, {panel.network}" if several else panel.network,
            panel_svg(f"along-{number}", panel, axis, looks),
        )
        for number, panel in enumerate(answers.swept.panels)
    ]


def _axis(column: str) -> str:
    return "core-seconds of distilling and teachers" if column == "core_seconds" else column


def _bars(answers: Answers) -> list[Bars]:
    """Return one chart of bars for each data set."""
    charts = []
    for dataset in answers.datasets:
        cells = [c for c in answers.cells if c.dataset == dataset and c.architecture != AVERAGE]
        values = {(c.variant, c.architecture): c.values for c in cells}
        charts.append(bars_of(dataset, [v for v in answers.variants if v.dataset == dataset], values))
    return charts
