"""The table of an experiment: what its cells say, for the terminal, a README, and files beside the
results.
"""

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
    """What stands in one place of a table: a figure, the paper's beside it, whether it is its budget's
    best.
    """

    text: str
    paper: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A variant with its entries; a selection of real images is what others are compared with."""

    name: str
    entries: tuple[Entry, ...]
    selection: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table as words: heads of the columns, lines by group (of an empty name where there is one), and
    notes.
    """

    heads: tuple[str, ...]
    groups: Mapping[str, Sequence[Line]]
    notes: tuple[str, ...]


def sheet(answers: Answers) -> Sheet:
    """Return the table of accuracies and leads: variants by data set, budget and method, where there are
    several.
    """
    overall = [c for c in answers.leads if c.architecture == AVERAGE]
    networks = list(dict.fromkeys(c.architecture for c in answers.cells))
    shown = [n for n in networks if n != AVERAGE or len(networks) > 2]
    asked = [*map(format_conditions, answers.question.rivals), RANDOM, RANDOM_TILED]
    present = {c.kind for c in overall}
    kinds = [kind for kind in dict.fromkeys(asked) if kind in present]
    by = {(c.dataset, c.variant, c.architecture): c for c in answers.cells}
    best, seeds, overs = best_of(answers.cells), seeds_of(answers.cells), _overs(overall)
    leads = {
        (c.dataset, c.variant, c.kind): format_difference(vars(c)) + overs.get(c.over, "") for c in overall
    }
    groups: dict[str, list[Line]] = {}
    for v in answers.variants:
        of = (v.dataset, v.name)
        counted = [Entry(seeds[of])] if seeds else []
        figures = [entry(by.get((*of, n)), best.get((v.dataset, v.budget, n))) for n in shown]
        entries = (*counted, *figures, *(Entry(leads.get((*of, kind), "")) for kind in kinds))
        groups.setdefault(v.group, []).append(Line(v.name, entries, v.real))
    heads = ("trained on", *["seeds"] * bool(seeds), *shown, *(f"over {kind}" for kind in kinds))
    return Sheet(heads, groups, tuple(_notes(answers, overall)))


def seeds_of(found: Sequence[Cell]) -> dict[tuple[str, str], str]:
    """Return of how many distillation seeds a variant has every cell that is asked for: ``3``, or ``1 of 3``.

    Nothing where all variants have all, and equally many.
    """
    counts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for cell in found:
        if cell.architecture != AVERAGE and cell.asked:
            counts.setdefault((cell.dataset, cell.variant), []).append((cell.distillations, cell.asked))
    told = {of: (min(n for n, _ in own), max(n for _, n in own)) for of, own in counts.items()}
    if len({*told.values()}) < 2 and all(has == asked for has, asked in told.values()):
        return {}
    return {of: f"{has} of {asked}" if has < asked else str(has) for of, (has, asked) in told.items()}


def _overs(overall: Sequence[Lead]) -> dict[str, str]:
    """Return what marks a lead by what its interval is over: students where others are over distillation
    seeds.
    """
    overs = dict.fromkeys(c.over for c in overall if c.difference is not None)
    mixed = len({SEEDS in over for over in overs}) > 1
    return {over: f" {OF_ONE}" * (mixed and SEEDS not in over) for over in overs}


def best_of(found: Sequence[Cell]) -> dict[tuple[str, int, str], float]:
    """Return the highest mean by data set, budget and architecture, where there are several."""
    means: dict[tuple[str, int, str], list[float]] = {}
    for cell in found:
        if cell.mean is not None:
            means.setdefault((cell.dataset, cell.budget, cell.architecture), []).append(cell.mean)
    return {of: max(values) for of, values in means.items() if len(values) > 1}


def entry(cell: Cell | None, best: float | None) -> Entry:
    """Return what stands in the place of a line of :func:`~moe_distill.results.aggregate.cells`."""
    if cell is None:
        return Entry(MISSING)
    paper = "" if cell.paper is None else percent(cell.paper)
    if cell.mean is None:
        all_diverged = cell.architecture != AVERAGE and cell.diverged > 0
        return Entry(DIVERGED if all_diverged else MISSING, paper)
    text = percent(cell.mean)
    text += "" if cell.sd is None else f" ± {percent(cell.sd)}"
    return Entry(text + f" {MARK}" * (cell.diverged > 0), paper, cell.mean == best)


def _notes(answers: Answers, overall: Sequence[Lead]) -> list[str]:
    cell = [c for c in answers.cells if c.architecture != AVERAGE and c.students]
    if not cell:
        return ["No student was trained yet."]
    students = count(sorted(c.students for c in cell), "student")
    seeds = count(sorted(c.distillations for c in cell), "distillation seed")
    judged = f"Test accuracy on {' and '.join(answers.datasets)} after the last epoch"
    if answers.onto:
        onto = " and ".join(answers.onto)
        judged = f"Test accuracy on {onto} of a linear probe of students of {' and '.join(answers.datasets)}"
    notes = [
        f"{judged}, in percent: mean ± standard deviation of the sample, {students} a cell ({seeds}); the best of each "
        "budget in bold.",
    ]
    if any(c.paper is not None for c in answers.cells):
        scales = [s for s in dict.fromkeys(c.scale for c in cell) if s and s != "paper"]
        apart = f" of its full protocol; the others are of scale={','.join(scales)}" if scales else ""
        notes.append(f"In parentheses: the paper's accuracy{apart}.")
    if overs := _overs(overall):
        columns = "columns" if len({c.kind for c in overall}) > 1 else "column"
        lead = f"Last {columns}: lead over an opponent of the same budget and recipe, in points"
        several = len({c.architecture for c in cell}) > 1
        plain, marked = (
            describe_replicates(
                o + ", for these networks" * (several and SEEDS not in o)
                for o in overs
                if bool(overs[o]) == m
            )
            for m in (False, True)
        )
        apart = f"; {OF_ONE} over {marked}, which tells nothing of other seeds" * bool(marked)
        notes.append(f"{lead} ± half of the 95 % interval over {plain}{apart}.")
    if lost := sum(c.diverged for c in cell):
        notes.append(f"{MARK} Left out: {count([lost], 'student')} that diverged.")
    return notes


def markdown(table: Sheet) -> str:
    """Return the table as aligned Markdown, names of groups in bold lines of their own, notes below."""
    lines = [[*map(in_markdown, table.heads)]]
    for title, members in table.groups.items():
        lines += [[f"**{in_markdown(title)}**", *[""] * (len(table.heads) - 1)]] * bool(title)
        lines += [[_name_in_markdown(n), *map(_entry_in_markdown, n.entries)] for n in members]
    wide = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = [":" + "-" * (wide[0] - 1), *("-" * (w - 1) + ":" for w in wide[1:])]
    padded = [
        Markup(" | ").join(map(Markup, [line[0].ljust(wide[0]), *map(str.rjust, line[1:], wide[1:])]))
        for line in (lines[0], rule, *lines[1:])
    ]
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
    """Return the table as a piece of a page; it scrolls sideways where it is wider than the page.

    Args:
        table: What it says.
        variants: The variants that its lines are of: their names are told in words too, beside their colours.
    """
    return rendering.part("table", table, variants or {})


def terminal(table: Sheet, title: str) -> "Table":
    """Return the table for a terminal, its notes below."""
    from rich.markup import escape as plain
    from rich.table import Table

    shown = Table(title=plain(title), caption="\n".join(map(plain, table.notes)), caption_justify="left")
    for place, head in enumerate(table.heads):
        shown.add_column(plain(head), justify="right" if place else "left", overflow="fold")
    for name, own in table.groups.items():
        if name:
            shown.add_section()
            shown.add_row(f"[bold]{plain(name)}[/bold]")
        for line in own:
            shown.add_row(
                plain(line.name), *map(_in_terminal, line.entries), style="dim" if line.selection else None
            )
    return shown


def _in_terminal(entry: Entry) -> str:
    text = f"[bold]{entry.text}[/bold]" if entry.best else entry.text
    return f"{text} [dim]({entry.paper})[/dim]" if entry.paper else text


def readme_table(folder: Path, table: Sheet, variants: Mapping[str, Variant], claim: str) -> list[Path]:
    """Write ``table.md``, ``table.tex`` and ``table.html`` into a folder and return their places.

    Args:
        folder: Where they go.
        table: What they say.
        variants: The variants that its lines are of, by name.
        claim: What the page says above its table.
    """
    page = rendering.page("table", title=folder.name, claim=claim, sheet=table, variants=variants)
    texts = {"md": markdown(table), "tex": latex_table(table), "html": page}
    places = [folder / f"table.{ending}" for ending in texts]
    for place, text in zip(places, texts.values(), strict=True):
        write_text(place, text)
    return places
