"""The page of a run: one HTML file that needs nothing else, built from rows, costs and sets."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from moe_distill.reports.break_even import FULL
from moe_distill.reports.charts import accuracy_chart
from moe_distill.reports.layout import joined, section, whole_page
from moe_distill.reports.layout import table as html_lines
from moe_distill.reports.page_costs import costs_section, duration, merged_costs
from moe_distill.reports.page_sets import curves_section, images_section, projections_section, read_distilled
from moe_distill.reports.svg import colours_of, legend, swatch
from moe_distill.results.aggregate import finite
from moe_distill.results.comparison import format_difference, leads_over_random
from moe_distill.results.rows import RANDOM, RANDOM_TILED, table, variant_names
from moe_distill.results.set_names import set_of
from moe_distill.results.wording import count, in_percent

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Accuracies:
    """Accuracies (fractions, one a student) by variant and network, with the rows they come from."""

    rows: Sequence[Row]
    networks: list[str]
    cells: dict[str, dict[str, list[float]]]

    @property
    def colours(self) -> dict[str, int]:
        """Numbers of the style sheet's colours by variant."""
        return colours_of([*self.cells])

    def means(self, variant: str) -> list[float]:
        """Return a variant's mean by network (NaN where there is none) and, last, the average of all of these."""
        by = [statistics.mean(finite(self.cells[variant].get(n, [])) or [math.nan]) for n in self.networks]
        return [*by, statistics.mean(by or [math.nan])]

    def best(self) -> str | None:
        """Return the variant of the highest average, real images only where there is no other."""
        known = [v for v in self.cells if math.isfinite(self.means(v)[-1])]
        return max(known, key=lambda v: (not v.startswith((RANDOM, FULL)), self.means(v)[-1]), default=None)


def build_page(
    title: str, command: str, rows: Sequence[Row], costs: Sequence[Row], sets: Sequence[tuple[str, Path]], facts: Row
) -> str:
    """Return the page of a run as HTML that makes no request anywhere; what is missing leaves its section out.

    Args:
        title: The heading.
        command: What repeats the run.
        rows: Result rows with the columns of ``rows.COLUMNS``; accuracies are fractions.
        costs: What each stage cost: ``stage, what, found, seconds, peak_memory_mb`` (MiB), ``steps, images``.
        sets: Label and place of each distilled set: a folder as the store holds it, or one expert's file.
        facts: What the run ran on, shown as it is.

    Raises:
        InputError: A set is missing or damaged.
    """
    accuracies = Accuracies(rows, *table(rows))
    named = dict(zip(map(set_of, rows), variant_names(rows), strict=True))
    distilled = [read_distilled(label, path, named, accuracies.colours) for label, path in dict.fromkeys(sets)]
    spent = merged_costs(costs)
    sections = [
        _headline(title, accuracies, spent),
        _table_of(accuracies),
        _chart_of(accuracies),
        images_section(distilled),
        projections_section(distilled),
        curves_section(distilled),
        costs_section(spent),
        repeat_section(command, facts),
    ]
    return whole_page(title, sections)


def _headline(title: str, accuracies: Accuracies, spent: Sequence[Row]) -> Markup:
    tiles: list[tuple[str, str]] = []
    sentence = Markup("This run took no test accuracies.")
    if best := accuracies.best():
        average = f"{100 * accuracies.means(best)[-1]:.1f}\u00a0%"
        over, tiles = _compared(accuracies, best)
        networks = count([len(finite(accuracies.means(best)[:-1]))], "network")
        reaches = Markup("<strong>{}</strong> reaches {} on average over {}{}.")
        sentence = reaches.format(best, average, networks, over)
        tiles = [(average, f"test accuracy, {best}"), *tiles]
    if spent:
        found = f"{sum(c['found'] for c in spent)} of {len(spent)}"
        tiles += [(duration(spent), "of computing"), (found, "stages found finished")]
    data = "".join(f" of {d}" for d in dict.fromkeys(str(r["dataset"]) for r in accuracies.rows))
    lead = Markup('<p class="lead">{}</p>').format(sentence)
    return header(f"Dataset distillation{data} with a mixture of experts", title, lead, tiles)


def header(kicker: str, title: str, lead: str, tiles: Sequence[tuple[str, str]]) -> Markup:
    """Return the head of a page: a line above its title, what it says first (markup), and tiles of a figure each."""
    box = Markup('<div class="card tile"><b>{}</b><span>{}</span></div>')
    boxes = joined([box.format(figure, about) for figure, about in tiles])
    html = Markup('<header><p class="kicker">{}</p><h1>{}</h1>{}<div class="tiles">{}</div></header>')
    return html.format(kicker, title, lead, boxes)


def _compared(accuracies: Accuracies, best: str) -> tuple[str, list[tuple[str, str]]]:
    """Return how the best variant stands to random images of its budget: the end of a sentence, and tiles."""
    words = {RANDOM: "random real images", RANDOM_TILED: "random real images tiled as its own"}
    texts, tiles = list[str](), list[tuple[str, str]]()
    for kind, (_, lead) in leads_over_random(accuracies.rows).get(best, {}).items():
        if lead.difference is None:
            continue
        text = f"{abs(100 * lead.difference):.1f} points {'above' if lead.difference >= 0 else 'below'} {words[kind]}"
        if lead.half is not None:
            low, high = (100 * (lead.difference + side * lead.half) for side in (-1, 1))
            text += f" (95\u00a0% interval {low:+.1f} to {high:+.1f}, {lead.over})"
        texts.append(text)
        tiles.append((format_difference(vars(lead)), f"points over {words[kind]}"))
    return "".join(f", {text}" for text in texts), tiles


def _table_of(accuracies: Accuracies) -> Markup:
    if not accuracies.cells:
        return Markup("")
    means = {v: accuracies.means(v) for v in accuracies.cells}
    tops = [max(finite(column), default=None) for column in zip(*means.values(), strict=True)]
    lines = []
    for variant, by in accuracies.cells.items():
        held = [*(by.get(n, []) for n in accuracies.networks), means[variant][-1:]]
        texts = [in_percent(finite(v)) or "–" for v in held]
        marks = [Markup(' class="best"') * (mean == top) for mean, top in zip(means[variant], tops, strict=True)]
        figures = [Markup("<td{}>{}</td>").format(*cell) for cell in zip(marks, texts, strict=True)]
        html = Markup('<tr><th scope="row">{}{}</th>{}</tr>')
        lines.append(html.format(swatch(accuracies.colours[variant]), variant, joined(figures)))
    students = [v for by in accuracies.cells.values() for v in by.values()]
    lost = sum(len(v) - len(finite(v)) for v in students)
    counted = count(sorted(len(finite(v)) for v in students), "student")
    note = f"Test accuracy in percent: mean ± standard deviation of {counted} per network, the best in bold."
    note += f" Left out: {count([lost], 'student')} that diverged." if lost else ""
    return section("Accuracy", note, [html_lines(["trained on", *accuracies.networks, "average"], [joined(lines)])])


def _chart_of(accuracies: Accuracies) -> Markup:
    if accuracies.best() is None:
        return Markup("")
    bars = accuracy_chart("accuracy", accuracies.networks, accuracies.cells, accuracies.colours)
    note = "Mean of the students; whiskers reach one standard deviation to either side."
    return section("Accuracy by network", note, [legend(accuracies.colours) + bars])


def repeat_section(command: str, facts: Row) -> Markup:
    """Return what repeats a run, and what it ran on."""
    shown = joined([Markup("<dt>{}</dt><dd>{}</dd>").format(name, fact) for name, fact in facts.items()])
    card = Markup("<pre><code>{}</code></pre><dl>{}</dl>").format(command, shown)
    return section("How to repeat", "", [card])
