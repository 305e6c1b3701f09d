"""The table of an experiment, written for the terminal, a README, and files beside the results."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from moe_distill.escaping import in_markdown
from moe_distill.reports import rendering
from moe_distill.reports.answers import Answers, Cell, Lead, Variant
from moe_distill.results.aggregate import AVERAGE
from moe_distill.results.comparison import describe_replicates, format_difference
from moe_distill.results.intervals import SEEDS
from moe_distill.results.opponents import format_conditions
from moe_distill.results.rows import RANDOM, RANDOM_TILED
from moe_distill.results.wording import count, percent
from moe_distill.store.store import write_text

if TYPE_CHECKING:
    from rich.table import Table

MISSING, DIVERGED, MARK, OF_ONE = "–", "diverged", "†", "‡"


@dataclass(frozen=True)
class Entry:
    """An entry of a table: a figure, the paper's figure, and whether it is the best of its budget."""

    text: str
    paper: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A variant's entries, and whether it is a selection of real images, the baseline of the others."""

    name: str
    entries: tuple[Entry, ...]
    selection: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Attributes:
        heads: The heads of the columns.
        groups: Lines by the title of their group, which is empty if there is a single group.
        notes: Sentences below the table.
    """

    heads: tuple[str, ...]
    groups: Mapping[str, Sequence[Line]]
    notes: tuple[str, ...]


def sheet(answers: Answers) -> Sheet:
    """Return the table of accuracies and leads, grouped by data set, budget and method where these vary."""
    overall = [c for c in answers.leads if c.architecture == AVERAGE]
    networks = list(dict.fromkeys(c.architecture for c in answers.cells))
    # With a single network, the average would repeat it.
    columns = [n for n in networks if n != AVERAGE or len(networks) > 2]
    possible = [*map(format_conditions, answers.question.rivals), RANDOM, RANDOM_TILED]
    present = {c.kind for c in overall}
    kinds = [kind for kind in dict.fromkeys(possible) if kind in present]
    cells = {(c.dataset, c.variant, c.architecture): c for c in answers.cells}
    best, seeds, marks = best_of(answers.cells), seeds_of(answers.cells), _marks(overall)
    leads = {
        (c.dataset, c.variant, c.kind): format_difference(c.difference, c.half) + marks.get(c.over, "")
        for c in overall
    }
    groups: dict[str, list[Line]] = {}
    for v in answers.variants:
        entries = [Entry(seeds[v.dataset, v.name])] if seeds else []
        for n in columns:
            entries.append(entry(cells.get((v.dataset, v.name, n)), best.get((v.dataset, v.budget, n))))
        entries += [Entry(leads.get((v.dataset, v.name, kind), "")) for kind in kinds]
        groups.setdefault(v.group, []).append(Line(v.name, tuple(entries), v.real))
    heads = ("trained on", *["seeds"] * bool(seeds), *columns, *(f"over {kind}" for kind in kinds))
    return Sheet(heads, groups, tuple(_notes(answers, overall)))


def seeds_of(cells: Sequence[Cell]) -> dict[tuple[str, str], str]:
    """Return for each data set and variant the number of distillation seeds: ``3``, or ``1 of 3``.

    Seeds count if their students of every architecture are trained. The result is empty if all variants are
    complete and have equally many, as a column of them would say nothing.
    """
    counts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for cell in cells:
        if cell.architecture != AVERAGE and cell.planned:
            counts.setdefault((cell.dataset, cell.variant), []).append((cell.distillations, cell.planned))
    # By variant: the fewest that any architecture has, and the most that any is to have.
    totals = {
        variant: (min(done for done, _ in numbers), max(total for _, total in numbers))
        for variant, numbers in counts.items()
    }
    if len({*totals.values()}) < 2 and all(done == total for done, total in totals.values()):
        return {}
    return {
        variant: f"{done} of {total}" if done < total else str(done)
        for variant, (done, total) in totals.items()
    }


def _marks(overall: Sequence[Lead]) -> dict[str, str]:
    """Return the mark of a lead by what its interval is taken over.

    Leads over students are marked if others are over distillation seeds.
    """
    overs = dict.fromkeys(c.over for c in overall if c.difference is not None)
    mixed = len({SEEDS in over for over in overs}) > 1  # without both kinds, the note alone says which
    return {over: f" {OF_ONE}" if mixed and SEEDS not in over else "" for over in overs}


def best_of(cells: Sequence[Cell]) -> dict[tuple[str, int, str], float]:
    """Return the highest mean by data set, budget and architecture, where there are several means."""
    means: dict[tuple[str, int, str], list[float]] = {}
    for cell in cells:
        if cell.mean is not None:
            means.setdefault((cell.dataset, cell.budget, cell.architecture), []).append(cell.mean)
    return {column: max(values) for column, values in means.items() if len(values) > 1}


def entry(cell: Cell | None, best: float | None) -> Entry:
    """Return the entry of a cell.

    Args:
        cell: The cell; None where the table has none.
        best: The highest mean of its budget and architecture, if there are several.
    """
    if cell is None:
        return Entry(MISSING)
    paper = "" if cell.paper is None else percent(cell.paper)
    if cell.mean is None:
        # An average is missing too where one network alone has no mean.
        all_diverged = cell.architecture != AVERAGE and cell.diverged > 0
        return Entry(DIVERGED if all_diverged else MISSING, paper)
    text = percent(cell.mean)
    # A single student has no standard deviation.
    text += "" if cell.sd is None else f" ± {percent(cell.sd)}"
    return Entry(text + f" {MARK}" * (cell.diverged > 0), paper, cell.mean == best)


def _notes(answers: Answers, overall: Sequence[Lead]) -> list[str]:
    cells = [c for c in answers.cells if c.architecture != AVERAGE and c.students]
    if not cells:
        return ["No student was trained yet."]
    students = count(sorted(c.students for c in cells), "student")
    seeds = count(sorted(c.distillations for c in cells), "distillation seed")
    datasets = " and ".join(answers.datasets)
    accuracy = f"Test accuracy on {datasets} after the last epoch"
    if answers.onto:
        accuracy = (
            f"Test accuracy on {' and '.join(answers.onto)} of a linear probe of students of {datasets}"
        )
    notes = [
        f"{accuracy}, in percent: mean ± standard deviation of the sample, {students} a cell ({seeds}); the "
        "best of each budget in bold.",
    ]
    if any(c.paper is not None for c in answers.cells):
        # Accuracies of a smaller scale do not compare with the paper's, which the note has to say.
        scales = [s for s in dict.fromkeys(c.scale for c in cells) if s and s != "paper"]
        protocol = f" of its full protocol; the others are of scale={','.join(scales)}" if scales else ""
        notes.append(f"In parentheses: the paper's accuracy{protocol}.")
    if marks := _marks(overall):
        columns = "columns" if len({c.kind for c in overall}) > 1 else "column"
        lead = f"Last {columns}: lead over an opponent of the same budget and recipe, in points"
        several_networks = len({c.architecture for c in cells}) > 1
        notes.append(f"{lead} ± half of the 95 % interval over {_replicates(marks, several_networks)}.")
    if diverged := sum(c.diverged for c in cells):
        notes.append(f"{MARK} Left out: {count([diverged], 'student')} that diverged.")
    return notes


def _replicates(marks: Mapping[str, str], several_networks: bool) -> str:
    """Return in words what intervals are taken over, first those of leads without a mark."""
    plain: list[str] = []
    marked: list[str] = []
    for over, mark in marks.items():
        # An interval over students of several networks covers these networks only.
        of_networks = ", for these networks" if several_networks and SEEDS not in over else ""
        (marked if mark else plain).append(over + of_networks)
    words = describe_replicates(plain)
    if not marked:
        return words
    return f"{words}; {OF_ONE} over {describe_replicates(marked)}, which tells nothing of other seeds"


def markdown(table: Sheet) -> str:
    """Return the table as aligned Markdown, titles of groups in separate bold lines, notes below."""
    lines = [[*map(in_markdown, table.heads)]]
    for title, members in table.groups.items():
        if title:
            lines.append([f"**{in_markdown(title)}**", *[""] * (len(table.heads) - 1)])
        lines += [[_name_in_markdown(line), *map(_entry_in_markdown, line.entries)] for line in members]
    # A rule needs three characters: dashes, and a colon at the side that a column is aligned to.
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = []
    for line in (lines[0], rule, *lines[1:]):
        cells = [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]
        padded.append(Markup(" | ").join(map(Markup, cells)))
    # Not at hyphens, so that a name such as cross-expert stays in one line.
    notes = textwrap.wrap(" ".join(map(in_markdown, table.notes)), 120, break_on_hyphens=False)
    return rendering.markdown("table", lines=padded, notes=map(Markup, notes))


def _name_in_markdown(line: Line) -> str:
    name = in_markdown(line.name)
    return f"*{name}*" if line.selection else name


def _entry_in_markdown(entry: Entry) -> str:
    text = in_markdown(entry.text)
    text = f"**{text}**" if entry.best else text
    return f"{text} ({in_markdown(entry.paper)})" if entry.paper else text


def latex_table(table: Sheet) -> str:
    """Return the table as LaTeX; the document needs the package ``booktabs``."""
    return rendering.latex("table", sheet=table)


def html_table(table: Sheet, variants: Mapping[str, Variant] | None = None) -> Markup:
    """Return the table as a piece of a page; it scrolls sideways if it is wider than the page.

    Args:
        table: The table.
        variants: The variants of its lines by name, which then have a colour and a description.
    """
    return rendering.part("table", table, variants or {})


def terminal(table: Sheet, title: str) -> "Table":
    """Return the table for a terminal, its notes below.

    Args:
        table: The table.
        title: The title above it.
    """
    from rich.markup import escape as plain
    from rich.table import Table

    for_terminal = Table(
        title=plain(title), caption="\n".join(map(plain, table.notes)), caption_justify="left"
    )
    for place, head in enumerate(table.heads):
        for_terminal.add_column(plain(head), justify="right" if place else "left", overflow="fold")
    for name, lines in table.groups.items():
        if name:
            for_terminal.add_section()
            for_terminal.add_row(f"[bold]{plain(name)}[/bold]")
        for line in lines:
            style = "dim" if line.selection else None
            for_terminal.add_row(plain(line.name), *map(_in_terminal, line.entries), style=style)
    return for_terminal


def _in_terminal(entry: Entry) -> str:
    text = f"[bold]{entry.text}[/bold]" if entry.best else entry.text
    return f"{text} [dim]({entry.paper})[/dim]" if entry.paper else text


def readme_table(folder: Path, table: Sheet, variants: Mapping[str, Variant], claim: str) -> list[Path]:
    """Write ``table.md``, ``table.tex`` and ``table.html`` into a folder and return their paths.

    Args:
        folder: The folder.
        table: The table.
        variants: The variants of its lines by name.
        claim: The sentence above the table of the page.
    """
    page = rendering.page("table", title=folder.name, claim=claim, sheet=table, variants=variants)
    texts = {"md": markdown(table), "tex": latex_table(table), "html": page}
    paths = [folder / f"table.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths
