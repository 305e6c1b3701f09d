"""Result rows as a user handles them: a table, a mean, a comparison with others, a file."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from moe_distill.errors import InputError
from moe_distill.results.aggregate import finite
from moe_distill.results.comparison import Interval, lead
from moe_distill.results.frames import COLUMNS, Row, frame_of, texts_of
from moe_distill.results.row_files import read_rows, write_csv
from moe_distill.results.rows import table, variant_names
from moe_distill.results.schema import ResultRow
from moe_distill.results.wording import in_percent
from moe_distill.store.disk import as_path, file_of_user

if TYPE_CHECKING:
    import polars as pl

AVERAGE = "average"


@dataclass(frozen=True)
class Table:
    """Cells of text, printed in columns and shown by a notebook as a table.

    Attributes:
        title: What it shows.
        columns: The names of the columns.
        cells: The rows; the first cell of each names it.
    """

    title: str
    columns: Sequence[str]
    cells: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Return the title and the columns, names to the left and numbers to the right."""
        lines = [self.columns, *self.cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        texts = []
        for line in lines:
            padded = [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
            texts.append("  ".join(padded).rstrip())
        return "\n".join([self.title, *texts])

    def _repr_html_(self) -> str:
        """Return the table as a notebook shows it."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in self.cells
        )
        caption = f"<caption>{escape(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True, repr=False)
class Comparison:
    """How far the students of one set are ahead of those of another.

    Attributes:
        by_network: The lead by network, and by ``average`` the mean over all of them; see
            :class:`~moe_distill.results.comparison.Interval`.
        names: What both sets are called.
    """

    by_network: Mapping[str, Interval]
    names: tuple[str, str]

    @property
    def average(self) -> Interval:
        """The lead on average over the networks."""
        return self.by_network[AVERAGE]

    def table(self) -> Table:
        """Return the leads in percentage points with their 95 % intervals."""
        title = f"{self.names[0]} over {self.names[1]}: test accuracy, points, 95 % interval"
        cells = [(name, str(interval), interval.over) for name, interval in self.by_network.items()]
        return Table(title, ("network", "difference", "over"), cells)

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """Rows of scores, of which a table shows some columns.

    Attributes:
        rows: The rows.
        title: What they are.
        shown: The columns that the table shows.
    """

    rows: Sequence[Row]
    title: str
    shown: Sequence[str]

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def table(self) -> Table:
        """Return the columns that are shown; numbers with three decimals."""
        cells = [[_cell(row[column]) for column in self.shown] for row in self.rows]
        return Table(self.title, self.shown, cells)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """Rows of students: each a network trained on a set, and tested.

    Attributes:
        rows: The rows; their columns are those of :class:`~moe_distill.evaluation.columns.StudentRow`.

    Example:
        >>> results = Results([
        ...     {"roster": "dm5x2", "architecture": "convnet3", "seed": seed, "accuracy_last": accuracy}
        ...     for seed, accuracy in enumerate([0.5, 0.75])
        ... ])
        >>> results.accuracy, len(results)
        (0.625, 2)
    """

    rows: Sequence[Row] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Refuse rows that are not of students."""
        for row in self.rows:
            if lacking := [c for c in ("roster", "architecture", "accuracy_last") if c not in row]:
                raise InputError(
                    "rows", f"without {lacking[0]}", "rows of students, such as Results.load reads"
                )

    @classmethod
    def load(cls, path: str | Path) -> "Results":
        """Read a ``results.csv``, such as one of those that are committed with an experiment.

        Raises:
            InputError: The file cannot be read, or is another table.
        """
        file = as_path(path)
        if not file.is_file():
            raise InputError("path", file, "a results.csv that is there")
        return cls(texts_of(read_rows(file, ResultRow)))

    def save(self, path: str | Path) -> None:
        """Write a ``results.csv``, which :meth:`load` and the reports read.

        Raises:
            InputError: The file cannot be written, or does not end in ``.csv``.
        """
        with file_of_user(path) as file:
            if file.suffix != ".csv":
                raise InputError("path", file, "a file that ends in .csv")
            write_csv(file, self.rows, COLUMNS)

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: "Results") -> "Results":
        return Results([*self.rows, *other.rows])

    def __repr__(self) -> str:
        return str(self.table()) if self.rows else "no results"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    @property
    def accuracy(self) -> float:
        """Mean test accuracy over all students, a fraction; those that diverged are left out."""
        accuracies = finite([float(row["accuracy_last"]) for row in self.rows])
        return statistics.mean(accuracies) if accuracies else float("nan")

    def frame(self) -> "pl.DataFrame":
        """Return the rows as a polars frame of typed columns; ``.frame().to_pandas()`` is one of pandas."""
        return frame_of(self.rows)

    def table(self) -> Table:
        """Return test accuracies in percent, mean ± standard deviation over students, by set and network."""
        networks, cells = table(self.rows)
        lines = []
        for name, by_network in cells.items():
            accuracies = [finite(by_network.get(network, [])) for network in networks]
            # An average over some of the networks could not be compared with the others'.
            complete = all(accuracies)
            average = in_percent([statistics.mean(map(statistics.mean, accuracies))]) if complete else "–"
            lines.append((name, *(in_percent(values) or "–" for values in accuracies), average))
        students = max((len(values) for row in cells.values() for values in row.values()), default=0)
        title = f"test accuracy, %, mean ± std of {students} students"
        return Table(title, ("trained on", *networks, AVERAGE), lines)

    def compare(self, other: "Results") -> Comparison:
        """Return by how much these students are ahead of others, by network and on average.

        Students of equal network and seed are paired; the interval covers 95 %, over distillation seeds
        where there are several, else over pairs of students.

        Args:
            other: Students of another set, of the same networks.

        Raises:
            InputError: ``other`` is something else, its students were trained otherwise or are of other
                networks, or either side has several sets.
        """
        if not isinstance(other, Results):
            raise InputError("other", type(other).__name__, "results to compare with")
        networks = [dict.fromkeys(row["architecture"] for row in results.rows) for results in (self, other)]
        shared = [name for name in networks[0] if name in networks[1]]
        if not shared:
            value = " and ".join(map("+".join, networks))
            raise InputError("students", value, "at least one network that both have")
        _require_alike(self.rows, other.rows, shared)
        leads = {name: lead(self.rows, other.rows, [name]) for name in shared}
        # Named together, so that the names tell them apart.
        words = variant_names([*self.rows, *other.rows])
        sides = [dict.fromkeys(words[: len(self.rows)]), dict.fromkeys(words[len(self.rows) :])]
        for side in sides:
            if len(side) > 1:
                allowed = "students of one set; Results([row for row in results.rows if …]) picks them"
                raise InputError("results", f"of {', '.join(side)}", allowed)
        (ahead,), (behind,) = sides
        return Comparison({**leads, AVERAGE: lead(self.rows, other.rows, shared)}, (ahead, behind))


def _require_alike(rows: Sequence[Row], others: Sequence[Row], networks: Sequence[str]) -> None:
    """Refuse students of the same networks that were trained otherwise, or for other data.

    How images are mixed may differ: that may be what is compared.
    """
    for column in ("dataset", "recipe", "recipe_key", "epochs", "width", "dtype"):
        both = [
            # The last of several types of numbers is the student's; those before it are of its set.
            {str(r.get(column)).rpartition("+")[2] for r in side if r["architecture"] in networks}
            for side in (rows, others)
        ]
        if both[0] != both[1]:
            value = " and ".join("+".join(sorted(side)) for side in both)
            allowed = "the same in both, as evaluate(…, like=results) trains students"
            raise InputError(column, value, allowed)


def compare(ahead: Results, behind: Results) -> Comparison:
    """Return by how much the students of ``ahead`` lead those of ``behind``; see :meth:`Results.compare`.

    Raises:
        InputError: See :meth:`Results.compare`.
    """
    if not isinstance(ahead, Results):
        raise InputError("ahead", type(ahead).__name__, "results to compare")
    return ahead.compare(behind)
