"""What result rows answer, as values that tables, charts and pages take.

This is the only module of the room that reads frames and rows of ``results``; everything else is given what
it makes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moe_distill.reports.break_even import FULL, BreakEven, break_even
from moe_distill.reports.looks import Look, looks_of
from moe_distill.reports.naming import describe_set, set_names
from moe_distill.reports.swept import Swept, swept
from moe_distill.results.aggregate import AVERAGE, aggregate
from moe_distill.results.comparison import compare
from moe_distill.results.frames import is_trained, texts_of
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rows import RANDOM, Row, is_random
from moe_distill.results.set_names import set_of


@dataclass(frozen=True)
class Variant:
    """A line of every table and chart: what students were trained on.

    Attributes:
        name: Its code, unique within a data set, as tables beside the page call it.
        words: What it is, for whom the code says nothing.
        dataset: Of the images.
        group: The title of the group it stands in; empty where there is a single one.
        real: Whether it is a selection of real images, with which others are compared.
        budget: Images a class of all experts together.
        look: How charts draw it.
    """

    name: str
    words: str
    dataset: str
    group: str
    real: bool
    budget: int
    look: Look


@dataclass(frozen=True)
class Cell:
    """A line of :func:`~moe_distill.results.aggregate.cells`, whose columns these are."""

    dataset: str
    method: str
    noe: int
    budget: int
    recipe: str
    scale: str
    variant: str
    architecture: str
    mean: float | None
    sd: float | None
    students: int
    diverged: int
    distillations: int
    asked: int
    values: Sequence[float]
    paper: float | None


@dataclass(frozen=True)
class Lead:
    """A line of :func:`~moe_distill.results.comparison.comparisons`, whose columns these are."""

    dataset: str
    budget: int
    variant: str
    kind: str
    opponent: str
    architecture: str
    difference: float | None
    half: float | None
    n: int
    over: str


@dataclass(frozen=True)
class Answers:
    """All that rows answer to a question.

    Attributes:
        question: What is asked.
        variants: In the one order in which every part of a page shows them.
        cells: Accuracies by variant and network.
        leads: Variants over their opponents.
        swept: Accuracies over the settings that were swept.
        sets: What each set is called, by what names it in rows (``set_of``).
        set_variants: The variant that each set's name belongs to, by that name.
        break_evens: When distilling pays.
        students: How many were trained.
        distillations: Of how many distillation seeds.
        replicates: How many different seeds students have; of scores, networks stand in their place.
        onto: The data sets of a linear probe; none where students were judged by their own data.
        datasets: The data sets that students were trained on, in order.
    """

    question: Question
    variants: Sequence[Variant]
    cells: Sequence[Cell]
    leads: Sequence[Lead]
    swept: Swept
    sets: Mapping[str, str]
    set_variants: Mapping[str, str]
    break_evens: Sequence[BreakEven]
    students: int
    distillations: int
    replicates: int
    onto: Sequence[str]
    datasets: Sequence[str]

    @property
    def named(self) -> dict[str, Variant]:
        """The variants by name."""
        return {variant.name: variant for variant in self.variants}

    @property
    def looks(self) -> dict[str, Look]:
        """Looks by variant, and of the lines of charts along an axis, which no variant shares."""
        lines = [name for panel in self.swept.panels for name in panel.lines]
        return looks_of([*(variant.name for variant in self.variants), *lines])

    @property
    def losing(self) -> list[Lead]:
        """The leads of single networks that are behind, the furthest first."""
        behind = [c for c in self.leads if c.architecture != AVERAGE and (c.difference or 0.0) < 0]
        return sorted(behind, key=lambda c: c.difference or 0.0)


def answers_of(
    rows: Sequence[Row], question: Question, teachers: Mapping[str, float] | None = None
) -> Answers:
    """Return what rows answer.

    Args:
        rows: Result rows, also of students to come.
        question: What is asked of them.
        teachers: Seconds that the networks trained before a set took, by its fingerprint.

    Raises:
        InputError: See :func:`~moe_distill.results.question.to_frame`.
    """
    if not rows:
        return Answers(question, (), (), (), Swept(), {}, {}, (), 0, 0, 0, (), ())
    frame = to_frame(rows, question)
    texts = texts_of(frame)
    found = [Cell(**line) for line in aggregate(frame, question).to_dicts()]
    variants = _variants(found, texts)
    place = {(v.dataset, v.name): n for n, v in enumerate(variants)}
    leads = [Lead(**line) for line in compare(frame, question).to_dicts()]
    leads.sort(key=lambda lead: place[lead.dataset, lead.variant])
    named = set_names(texts)
    trained = [row for row in rows if is_trained(row)]
    return Answers(
        question=question,
        variants=variants,
        cells=found,
        leads=leads,
        swept=swept(rows, frame, question) if trained else Swept(),
        sets=named,
        set_variants={named[set_of(row)]: row["variant"] for row in reversed(texts)},
        break_evens=break_even(texts, [row["variant"] for row in texts], teachers or {}),
        students=len(trained),
        distillations=len({row["distill_seed"] for row in trained if not is_random(row)} - {""}),
        replicates=len({row["seed"] for row in rows}),
        onto=list(dict.fromkeys(row["onto"] for row in rows if row.get("onto"))),
        datasets=list(dict.fromkeys(cell.dataset for cell in found)),
    )


def _variants(found: Sequence[Cell], texts: Sequence[Row]) -> list[Variant]:
    """Return variants by data set, budget, method and noe, real images last, with their groups' titles."""
    first = {(row["dataset"], row["variant"]): row for row in reversed(texts)}
    unique = list({(c.dataset, c.variant): c for c in found}.values())
    real = {c.method for c in unique if c.method == FULL or is_random({"method": c.method})}
    distilled = [c.method for c in unique if c.method not in real]
    methods = [*dict.fromkeys(distilled), *sorted(real, key=lambda m: (m == FULL, m == RANDOM))]
    datasets = list(dict.fromkeys(c.dataset for c in unique))
    several = {"dataset": len(datasets) > 1, "budget": len({c.budget for c in unique}) > 1}
    several["method"] = 1 < len(set(distilled)) <= len(distilled) / 2
    unique.sort(key=lambda c: (datasets.index(c.dataset), c.budget, methods.index(c.method), c.noe))
    looks = looks_of([c.variant for c in unique])
    return [
        Variant(
            name=c.variant,
            words=describe_set(first[c.dataset, c.variant]),
            dataset=c.dataset,
            group=" · ".join(
                text
                for column, text in (
                    ("dataset", c.dataset),
                    ("budget", f"budget {c.budget}"),
                    ("method", c.method),
                )
                if several[column]
            ),
            real=c.method in real,
            budget=c.budget,
            look=looks[c.variant],
        )
        for c in unique
    ]
