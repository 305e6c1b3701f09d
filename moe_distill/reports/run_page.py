"""The page of a run: a self-contained HTML file, built from rows, costs and sets."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moe_distill.reports import rendering
from moe_distill.reports.answers import Variant
from moe_distill.reports.break_even import FULL
from moe_distill.reports.charts import bars_of
from moe_distill.reports.cost_table import costs_of, duration, merged_costs, seconds_of
from moe_distill.reports.looks import Look, looks_of
from moe_distill.reports.naming import describe_set
from moe_distill.reports.sections import Link
from moe_distill.reports.sets import load_union, read_distilled, set_sections
from moe_distill.reports.tables import Entry, Line, Sheet
from moe_distill.results.aggregate import finite
from moe_distill.results.comparison import Interval, leads_over_random
from moe_distill.results.frames import frame_of
from moe_distill.results.rows import RANDOM, RANDOM_TILED, budget, table, variant_names
from moe_distill.results.set_names import set_name
from moe_distill.results.stages import StageCost
from moe_distill.results.wording import count, in_percent

if TYPE_CHECKING:
    import polars as pl

_OPPONENTS = {RANDOM: "random real images", RANDOM_TILED: "random real images tiled as its own"}


@dataclass(frozen=True)
class Tile:
    """A figure in large letters, and its meaning in small ones."""

    figure: str
    about: str


@dataclass(frozen=True)
class RunAnswers:
    """All that the rows of a single run answer.

    Attributes:
        variants: In the order of the run.
        networks: The students' networks, in order.
        accuracies: Fractions, one a student, by variant and network.
        leads: By variant, its leads over random images by their kind.
        sets: What each set is called, by its name in rows (``set_of``).
    """

    variants: Sequence[Variant]
    networks: Sequence[str]
    accuracies: Mapping[tuple[str, str], Sequence[float]]
    leads: Mapping[str, Mapping[str, Interval]]
    sets: Mapping[str, str]

    def means(self, variant: Variant) -> list[float]:
        """Return a variant's mean for each network (NaN where it has none) and, last, their average."""
        cells = [self.accuracies.get((variant.name, network), []) for network in self.networks]
        # NaN where all students diverged, so that the average is not of fewer networks.
        means = [statistics.mean(finite(cell) or [math.nan]) for cell in cells]
        return [*means, statistics.mean(means or [math.nan])]

    def best(self) -> Variant | None:
        """Return the variant of the highest average, real images only if there is no other."""
        known = [v for v in self.variants if math.isfinite(self.means(v)[-1])]
        return max(known, key=lambda v: (not v.real, self.means(v)[-1]), default=None)


def run_answers(frame: "pl.DataFrame") -> RunAnswers:
    """Return what the rows of a run, with the columns of ``rows.COLUMNS``, answer."""
    import polars as pl

    networks, cells = table(frame)
    names = variant_names(frame)
    looks = looks_of([*cells])
    described = frame.select(
        "dataset", "method", "ipc", "noe", budget=budget(), name=pl.Series(names, dtype=pl.String)
    )
    variants = []
    for row in described.unique("name", keep="first", maintain_order=True).iter_rows(named=True):
        name = row["name"]
        words = describe_set(row["method"], row["ipc"] or (), row["noe"])
        is_real = name.startswith((RANDOM, FULL))
        variants.append(Variant(name, words, row["dataset"], "", is_real, row["budget"], looks[name]))
    accuracies = {
        (name, network): values
        for name, by_network in cells.items()
        for network, values in by_network.items()
    }
    leads = {
        name: {kind: lead for kind, (_, lead) in by_kind.items()}
        for name, by_kind in leads_over_random(frame).items()
    }
    sets = dict(zip(frame.select(set_name()).to_series(), names, strict=True))
    return RunAnswers(variants, networks, accuracies, leads, sets)


@dataclass(frozen=True)
class RunReport:
    """All that the page of a run shows.

    Attributes:
        title: The name of the run.
        command: The command line that repeats the run.
        rows: Result rows with the columns of ``rows.COLUMNS`` (see ``frame_of``); None without any.
        costs: The cost of each stage.
        sets: Label and place of each distilled set: a folder as the store has it, or one expert's file.
        facts: What the run ran on, shown unchanged.
        links: Links to the files beside the page.
        is_job: Whether it is a job of a sweep. Its title is then what its set is, as jobs have numbers for
            names.
    """

    title: str
    command: str
    rows: "pl.DataFrame | None" = None
    costs: Sequence[StageCost] = ()
    sets: Sequence[tuple[str, Path]] = ()
    facts: Mapping[str, str] | None = None
    links: Sequence[Link] = ()
    is_job: bool = False


def build_page(report: RunReport) -> str:
    """Return the page of a run as HTML that makes no network requests, without empty sections.

    Raises:
        InputError: A set is missing or damaged.
    """
    answers = run_answers(frame_of(()) if report.rows is None else report.rows)
    variants = {variant.name: variant for variant in answers.variants}
    distilled = []
    for label, path in dict.fromkeys(report.sets):  # a set may be evaluated several times
        # By its tensors, as the label of the run is not the name that tables have for it.
        title = answers.sets.get(load_union(path).tensors_fingerprint(), label)
        variant = variants.get(title)
        words, look = (variant.words, variant.look) if variant else ("", Look(0))
        distilled.append(read_distilled(title, words, look, path))
    costs, best = merged_costs(report.costs), answers.best()
    datasets = dict.fromkeys(variant.dataset for variant in answers.variants)
    subject = f"{answers.variants[0].words}, on {' and '.join(datasets)}" if answers.variants else ""
    has_subject = report.is_job and bool(subject)
    return rendering.page(
        "run",
        kicker=f"Dataset distillation{''.join(f' of {d}' for d in datasets)} with a mixture of experts",
        title=subject if has_subject else report.title,
        code=report.title if has_subject else "",
        links=report.links,
        best=best,
        sentence=_sentence(answers, best) if best else "",
        tiles=_tiles(answers, best, costs),
        accuracy=_sheet_of(answers) if answers.variants else None,
        accuracy_note=_note_of(answers),
        variants=variants,
        bars=[bars_of("", answers.variants, answers.accuracies)] if best else [],
        set_sections=set_sections(distilled),
        costs=costs_of(costs),
        command=report.command,
        facts=report.facts or {},
    )


def _sentence(answers: RunAnswers, best: Variant) -> str:
    """Return what the page says after the best variant's name: its average and leads over random images."""
    means = answers.means(best)
    texts = []
    for kind, lead in answers.leads.get(best.name, {}).items():
        if lead.difference is None:  # no pairs of students
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


def _tiles(answers: RunAnswers, best: Variant | None, costs: Sequence[StageCost]) -> list[Tile]:
    tiles = []
    if best:
        tiles.append(Tile(_average(answers.means(best)), f"test accuracy, {best.name}"))
        for kind, lead in answers.leads.get(best.name, {}).items():
            if lead.difference is not None:
                tiles.append(Tile(str(lead), f"points over {_OPPONENTS[kind]}"))
    if costs:
        tiles.append(Tile(duration(seconds_of(costs)), "of computing"))
        tiles.append(Tile(f"{sum(c.found for c in costs)} of {len(costs)}", "stages found finished"))
    return tiles


def _sheet_of(answers: RunAnswers) -> Sheet:
    means = {v.name: answers.means(v) for v in answers.variants}
    # Of means as numbers: two that are printed alike are not both the best.
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
    diverged = sum(len(values) - len(finite(values)) for values in students)
    counted = count(sorted(len(finite(values)) for values in students), "student")
    note = f"Test accuracy in percent: mean ± standard deviation of {counted} per network, the best in bold."
    return note + (f" Left out: {count([diverged], 'student')} that diverged." if diverged else "")
