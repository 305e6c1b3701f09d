"""The answers of result rows to a question, as plain values for tables, charts and pages.

Only this module, :mod:`~moe_distill.reports.run_page` and those that they call read frames of result rows;
everything else of this package works with the values that they return.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moe_distill.reports.break_even import FULL, BreakEven, break_even
from moe_distill.reports.looks import Look, looks_of
from moe_distill.reports.naming import describe_set, set_names
from moe_distill.reports.spent import Spent, spent
from moe_distill.reports.swept import Swept, swept
from moe_distill.results.aggregate import AVERAGE, aggregate
from moe_distill.results.comparison import compare
from moe_distill.results.frames import trained
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rows import RANDOM, are_random, is_random

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Variant:
    """What students were trained on: one line of every table and chart.

    Attributes:
        name: Its code, unique within a data set, as tables beside the page call it.
        words: A description for readers who do not know the code.
        dataset: The data set of its images.
        group: The title of the group that it is listed in; empty where there is a single group.
        real: Whether it is a selection of real images, the baseline of the others.
        budget: Images per class of all experts together.
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
    """A line of :func:`~moe_distill.results.aggregate.aggregate`, which documents these columns."""

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
    planned: int
    values: Sequence[float]
    paper: float | None


@dataclass(frozen=True)
class Lead:
    """A line of :func:`~moe_distill.results.comparison.compare`, which documents these columns."""

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
        question: The experiment's question.
        variants: In the one order in which every part of a page lists them.
        cells: Accuracies by variant and network.
        leads: Variants compared with their opponents.
        swept: Accuracies over the settings that were swept.
        sets: What each set is called, by its name in rows (``set_of``).
        set_variants: The variant that a set belongs to, by what the set is called.
        break_evens: After how many trainings distilling pays.
        spent: What the sets cost, if accuracies are plotted against it.
        students: How many were trained.
        distillations: The number of distillation seeds that they come from.
        replicates: The number of different student seeds; of scores, the number of networks.
        onto: The data sets of a linear probe; empty where students were evaluated on their own data.
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
    spent: Sequence[Spent]
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
        """Looks of the variants and of the lines of charts along an axis, by name."""
        # Together, so that no line of a chart has the colour of a variant.
        lines = [name for panel in self.swept.panels for name in panel.lines]
        return looks_of([*(variant.name for variant in self.variants), *lines])

    @property
    def losing(self) -> list[Lead]:
        """The leads of single networks that are behind, the furthest first."""
        behind = [c for c in self.leads if c.architecture != AVERAGE and (c.difference or 0.0) < 0]
        return sorted(behind, key=lambda c: c.difference or 0.0)


def answers_of(
    rows: "pl.DataFrame", question: Question, teachers: Mapping[str, float] | None = None
) -> Answers:
    """Return what rows answer.

    Args:
        rows: Result rows, also of students to come (see ``frame_of``).
        question: The experiment's question.
        teachers: Seconds that training the teachers of a set took, by the set's name (``set_of``).

    Raises:
        InputError: See :func:`~moe_distill.results.question.to_frame`.
    """
    if rows.is_empty():
        return Answers(question, (), (), (), Swept(), {}, {}, (), (), 0, 0, 0, (), ())
    # Distinct students with their variants; counts below are of the rows as they came.
    frame = to_frame(rows, question)
    cells = [Cell(**line) for line in aggregate(frame, question).to_dicts()]
    variants = _variants(cells, frame)
    # Leads come in the order of the rows, and charts list variants in that of the page.
    place = {(v.dataset, v.name): n for n, v in enumerate(variants)}
    leads = [Lead(**line) for line in compare(frame, question).to_dicts()]
    leads.sort(key=lambda lead: place[lead.dataset, lead.variant])
    sets = set_names(frame)
    students = rows.filter(trained())
    seeds = students.filter(~are_random())["distill_seed"]  # random images are drawn, not distilled
    onto = rows["onto"].drop_nulls().unique(maintain_order=True).to_list() if "onto" in rows.columns else []
    # Backwards, so that a set of several variants belongs to the first.
    backwards = frame.select("set_fingerprint", "variant").reverse()
    return Answers(
        question=question,
        variants=variants,
        cells=cells,
        leads=leads,
        swept=Swept() if students.is_empty() else swept(rows, frame, question),
        sets=sets,
        set_variants={sets[name]: variant for name, variant in backwards.iter_rows()},
        break_evens=break_even(frame, teachers or {}),
        spent=spent(frame) if question.axis == "core_seconds" else (),
        students=len(students),
        distillations=seeds.drop_nulls().n_unique(),
        replicates=rows["seed"].n_unique(),
        onto=[dataset for dataset in onto if dataset],
        datasets=list(dict.fromkeys(cell.dataset for cell in cells)),
    )


def _variants(cells: Sequence[Cell], frame: "pl.DataFrame") -> list[Variant]:
    """Return variants by data set, budget, method and noe, real images last, with their groups' titles."""
    # Cells are by architecture; what a variant is, is the same in all of them.
    unique = list({(c.dataset, c.variant): c for c in cells}.values())
    real = {c.method for c in unique if c.method == FULL or is_random(c.method)}
    distilled = [c.method for c in unique if c.method not in real]
    methods = [*dict.fromkeys(distilled), *sorted(real, key=lambda m: (m == FULL, m == RANDOM))]
    datasets = list(dict.fromkeys(c.dataset for c in unique))
    # What all variants share is no part of a group's title.
    several_datasets = len(datasets) > 1
    several_budgets = len({c.budget for c in unique}) > 1
    # A group for each method only where these have two variants or more on average.
    several_methods = 1 < len(set(distilled)) <= len(distilled) / 2
    unique.sort(key=lambda c: (datasets.index(c.dataset), c.budget, methods.index(c.method), c.noe))
    looks = looks_of([c.variant for c in unique])
    # The images per class, which cells lack, are in the rows.
    first = frame.unique(["dataset", "variant"], keep="first", maintain_order=True)
    sizes = {(dataset, name): ipc for dataset, name, ipc in first.select("dataset", "variant", "ipc").rows()}
    variants = []
    for c in unique:
        titles = [c.dataset] * several_datasets
        titles += [f"budget {c.budget}"] * several_budgets + [c.method] * several_methods
        words = describe_set(c.method, sizes[c.dataset, c.variant] or (), c.noe)
        group, is_real = " · ".join(titles), c.method in real
        variants.append(Variant(c.variant, words, c.dataset, group, is_real, c.budget, looks[c.variant]))
    return variants
