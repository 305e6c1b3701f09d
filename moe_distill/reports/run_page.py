"""The page of a run: one HTML file that needs nothing else, built from rows, costs and sets."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moe_distill.reports import rendering
from moe_distill.reports.answers import Variant
from moe_distill.reports.break_even import FULL
from moe_distill.reports.charts import Bars, bars_of
from moe_distill.reports.cost_table import costs_of, duration, merged_costs, seconds_of
from moe_distill.reports.looks import Look, looks_of
from moe_distill.reports.naming import describe_set
from moe_distill.reports.sections import Link
from moe_distill.reports.sets import load_union, read_distilled, set_sections
from moe_distill.reports.tables import Entry, Line, Sheet
from moe_distill.results.aggregate import finite
from moe_distill.results.comparison import Interval, format_difference, leads_over_random
from moe_distill.results.rows import RANDOM, RANDOM_TILED, Row, budget_of, table, variant_names
from moe_distill.results.set_names import set_of
from moe_distill.results.stages import StageCost
from moe_distill.results.wording import count, in_percent

_OPPONENTS = {RANDOM: "random real images", RANDOM_TILED: "random real images tiled as its own"}


@dataclass(frozen=True)
class Tile:
    """A figure in large letters, and what it is."""

    figure: str
    about: str


@dataclass(frozen=True)
class RunAnswers:
    """What the rows of a single run answer.

    Attributes:
        variants: In the order of the run.
        networks: Of the students, in order.
        accuracies: Fractions, one a student, by variant and network.
        leads: By variant, its leads over random images by their kind.
        sets: What each set is called, by what names it in rows (``set_of``).
    """

    variants: Sequence[Variant]
    networks: Sequence[str]
    accuracies: Mapping[tuple[str, str], Sequence[float]]
    leads: Mapping[str, Mapping[str, Interval]]
    sets: Mapping[str, str]

    def means(self, variant: Variant) -> list[float]:
        """Return a variant's mean by network (NaN where there is none) and, last, the average of all of
        these.
        """
        cells = [self.accuracies.get((variant.name, network), []) for network in self.networks]
        by = [statistics.mean(finite(cell) or [math.nan]) for cell in cells]
        return [*by, statistics.mean(by or [math.nan])]

    def best(self) -> Variant | None:
        """Return the variant of the highest average, real images only where there is no other."""
        known = [v for v in self.variants if math.isfinite(self.means(v)[-1])]
        return max(known, key=lambda v: (not v.real, self.means(v)[-1]), default=None)


def run_answers(rows: Sequence[Row]) -> RunAnswers:
    """Return what the rows of a run, with the columns of ``rows.COLUMNS``, answer."""
    networks, cells = table(rows)
    names = variant_names(rows)
    first = dict(zip(reversed(names), reversed(rows), strict=True))
    looks = looks_of([*cells])
    variants = [
        Variant(
            name=name,
            words=describe_set(first[name]),
            dataset=str(first[name]["dataset"]),
            group="",
            real=name.startswith((RANDOM, FULL)),
            budget=budget_of(first[name]),
            look=looks[name],
        )
        for name in cells
    ]
    accuracies = {(name, network): values for name, by in cells.items() for network, values in by.items()}
    over_random = leads_over_random(rows)
    leads = {name: {kind: lead for kind, (_, lead) in by.items()} for name, by in over_random.items()}
    return RunAnswers(variants, networks, accuracies, leads, dict(zip(map(set_of, rows), names, strict=True)))


@dataclass(frozen=True)
class RunReport:
    """All that the page of a run tells.

    Attributes:
        title: The name of the run.
        command: What repeats the run.
        rows: Result rows with the columns of ``rows.COLUMNS``; accuracies are fractions.
        costs: What each stage cost.
        sets: Label and place of each distilled set: a folder as the store holds it, or one expert's file.
        facts: What the run ran on, shown as it is.
        links: To the files beside the page.
        is_job: Whether it is a job of a sweep, whose name no reader would know: it is then called by its set.
    """

    title: str
    command: str
    rows: Sequence[Row] = ()
    costs: Sequence[StageCost] = ()
    sets: Sequence[tuple[str, Path]] = ()
    facts: Mapping[str, str] | None = None
    links: Sequence[Link] = ()
    is_job: bool = False


def build_page(report: RunReport) -> str:
    """Return the page of a run as HTML that makes no request anywhere; what is missing leaves its section
    out.

    Raises:
        InputError: A set is missing or damaged.
    """
    answers = run_answers(report.rows)
    named = {variant.name: variant for variant in answers.variants}
    distilled = []
    for label, path in dict.fromkeys(report.sets):
        title = answers.sets.get(load_union(path).tensors_fingerprint(), label)
        known = named.get(title)
        distilled.append(
            read_distilled(title, known.words if known else "", known.look if known else Look(0), path)
        )
    spent, best = merged_costs(report.costs), answers.best()
    datasets = dict.fromkeys(variant.dataset for variant in answers.variants)
    subject = f"{answers.variants[0].words}, on {' and '.join(datasets)}" if answers.variants else ""
    return rendering.page(
        "run",
        kicker=f"Dataset distillation{''.join(f' of {d}' for d in datasets)} with a mixture of experts",
        title=(subject if report.is_job else "") or report.title,
        code=report.title if report.is_job and subject else "",
        links=report.links,
        best=best,
        sentence=_sentence(answers, best) if best else "",
        tiles=_tiles(answers, best, spent),
        accuracy=_sheet_of(answers) if answers.variants else None,
        accuracy_note=_note_of(answers),
        variants=named,
        bars=[_bars(answers)] if best else [],
        set_sections=set_sections(distilled),
        costs=costs_of(spent),
        command=report.command,
        facts=report.facts or {},
    )


def _sentence(answers: RunAnswers, best: Variant) -> str:
    """Return how good the best variant is, after its name: on average, and beside random images of its
    budget.
    """
    means = answers.means(best)
    texts = []
    for kind, lead in answers.leads.get(best.name, {}).items():
        if lead.difference is None:
            continue
        side = "above" if lead.difference >= 0 else "below"
        text = f", {abs(100 * lead.difference):.1f} points {side} {_OPPONENTS[kind]}"
        if lead.half is not None:
            low, high = (100 * (lead.difference + sign * lead.half) for sign in (-1, 1))
            text += f" (95\u00a0% interval {low:+.1f} to {high:+.1f}, {lead.over})"
        texts.append(text)
    networks = count([len(finite(means[:-1]))], "network")
    return f" reaches {_average(means)} on average over {networks}{''.join(texts)}."


def _average(means: Sequence[float]) -> str:
    return f"{100 * means[-1]:.1f}\u00a0%"


def _tiles(answers: RunAnswers, best: Variant | None, spent: Sequence[StageCost]) -> list[Tile]:
    tiles = []
    if best:
        tiles.append(Tile(_average(answers.means(best)), f"test accuracy, {best.name}"))
        for kind, lead in answers.leads.get(best.name, {}).items():
            if lead.difference is not None:
                tiles.append(Tile(format_difference(vars(lead)), f"points over {_OPPONENTS[kind]}"))
    if spent:
        tiles.append(Tile(duration(seconds_of(spent)), "of computing"))
        tiles.append(Tile(f"{sum(c.found for c in spent)} of {len(spent)}", "stages found finished"))
    return tiles


def _sheet_of(answers: RunAnswers) -> Sheet:
    means = {v.name: answers.means(v) for v in answers.variants}
    tops = [max(finite(column), default=None) for column in zip(*means.values(), strict=True)]
    lines = []
    for v in answers.variants:
        cells = [answers.accuracies.get((v.name, n), []) for n in answers.networks]
        texts = [in_percent(finite(values)) or "–" for values in [*cells, means[v.name][-1:]]]
        bests = [mean == top for mean, top in zip(means[v.name], tops, strict=True)]
        entries = [Entry(text, best=best) for text, best in zip(texts, bests, strict=True)]
        lines.append(Line(v.name, tuple(entries), v.real))
    return Sheet(("trained on", *answers.networks, "average"), {"": lines}, ())


def _note_of(answers: RunAnswers) -> str:
    students = [*answers.accuracies.values()]
    if not students:
        return ""
    lost = sum(len(values) - len(finite(values)) for values in students)
    counted = count(sorted(len(finite(values)) for values in students), "student")
    note = f"Test accuracy in percent: mean ± standard deviation of {counted} per network, the best in bold."
    return note + (f" Left out: {count([lost], 'student')} that diverged." if lost else "")


def _bars(answers: RunAnswers) -> Bars:
    return bars_of("", answers.variants, answers.accuracies)
