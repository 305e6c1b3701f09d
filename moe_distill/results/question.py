"""The question that an experiment asks, and its result rows prepared to answer it."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_distill.errors import FieldError, InputError
from moe_distill.results.frames import COLUMNS, DERIVED, Rows, as_text
from moe_distill.results.row_files import read_table
from moe_distill.results.rows import budget, core_seconds, distinct, variant_names
from moe_distill.validation.values import Text

if TYPE_CHECKING:
    import polars as pl

_ADDED = ("variant", "budget", "accuracy", "core_seconds")  # columns added by to_frame
# Titles such as cross_expert-alpha0.2, whose first words alone meet a condition too.
_TITLES = ("diversity", "regulariser", "fusion")
_DESCRIBING = COLUMNS[COLUMNS.index("method") : COLUMNS.index("seed")]


@dataclass(frozen=True)
class Question:
    """The question of an experiment, as its yaml states it.

    Wherever a column is named, a setting of the jobs' command lines counts as a column too.

    Args:
        claim: The claim under test, in a sentence.
        against: Columns of result rows and their values (see :func:`meets`) that name the opponent of each
            variant. Or a list of such conditions, the rungs of a ladder: a variant that meets one is compared
            with the rungs before it. Empty compares with random selection alone, which is always an opponent.
        axis: The numeric column that accuracies are plotted against.
        correlate: A numeric column of sets, whose rank correlation with the accuracy of other networks the
            page shows.
        lines: The columns whose values, in this order, name a variant; None names it by its roster and
            whatever else distinguishes its rows.
        paper: Published accuracies: rows of ``accuracy`` (percent) and, in other columns, the conditions that
            result rows must meet; an empty cell is no condition.

    Raises:
        InputError: A row of ``paper`` has no accuracy, or a condition on something that is not a column.

    >>> Question(against={"noe": 1}, axis="noe").columns["against"]
    ['noe']
    """

    claim: str = ""
    against: Mapping[str, object] | Sequence[Mapping[str, object]] = field(default_factory=dict)
    axis: str | None = None
    correlate: str | None = None
    lines: Sequence[str] | None = None
    paper: Sequence[Mapping[str, str | float]] = ()

    def __post_init__(self) -> None:
        """Refuse published accuracies with typing errors."""
        for published in self.paper:
            if unknown := sorted(map(str, set(published) - {*COLUMNS, "accuracy"})):
                raise InputError("paper", ", ".join(unknown), f"columns among {', '.join(_DESCRIBING)}")
            try:
                fits = 0 <= float(published["accuracy"]) <= 100
            except (KeyError, ValueError, TypeError):
                fits = False
            if not fits:
                raise InputError("paper", dict(published), "an accuracy in percent, 0 to 100, in every row")

    @property
    def rivals(self) -> tuple[Mapping[str, object], ...]:
        """The conditions that name the opponents, in order."""
        rungs = (self.against,) if isinstance(self.against, Mapping) else tuple(self.against)
        return tuple(conditions for conditions in rungs if conditions)

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that the question names, by the setting that names them."""
        axis = [self.axis] if self.axis is not None and self.axis not in _ADDED else []
        correlate = [self.correlate] if self.correlate else []
        against = list(dict.fromkeys(column for conditions in self.rivals for column in conditions))
        return {"against": against, "axis": axis, "correlate": correlate, "lines": list(self.lines or [])}


def load_question(
    claim: str = "",
    against: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    axis: str | None = None,
    correlate: str | None = None,
    lines: Sequence[str] | None = None,
    paper: Text | None = None,
) -> Question:
    """Return the question of an experiment's yaml.

    Args:
        claim: As for :class:`Question`, like all others except ``paper``.
        against: See :class:`Question`.
        axis: See :class:`Question`.
        correlate: See :class:`Question`.
        lines: See :class:`Question`.
        paper: The file of the published accuracies; None without any.

    Raises:
        InputError: As for :class:`Question`, or there is no such file, or it is not a table.
    """
    if paper is not None and not Path(paper).is_file():
        raise FieldError(
            "paper", paper, "a file of published accuracies, such as experiments/table1/paper.csv"
        )
    published = [] if paper is None else read_table(Path(paper))
    try:
        return Question(claim, against or {}, axis, correlate, lines, published)
    except InputError as error:
        if error.key != "paper":
            raise
        # Again as an error of this parameter, which the configuration names by its place in the yaml.
        raise FieldError("paper", f"{paper}: {error.value}", error.allowed) from error


def require_known(question: Question, settings: Collection[str]) -> None:
    """Refuse a question about columns that no row can have, whatever its job sets.

    Args:
        question: The experiment's question.
        settings: The top-level keys of the configuration; a setting below them can become a column.

    Raises:
        InputError: The question names something that cannot become a column.
    """
    known = {*COLUMNS, *settings}
    for setting, columns in question.columns.items():
        # Hydra's keys continue with a dot, a package or a group: method.lr, recipe@x, experiment/name.
        unknown = [c for c in columns if c not in known and re.split(r"[.@/]", c)[0] not in settings]
        if unknown:
            raise InputError(f"question.{setting}", ", ".join(unknown), f"columns among {', '.join(COLUMNS)}")


def paper_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a ``paper.csv``; none where there is no such file.

    Raises:
        InputError: It is not a table.
    """
    return read_table(file) if file.is_file() else []


def meets(frame: "pl.DataFrame", conditions: Mapping[str, object]) -> "pl.Expr":
    """Return whether rows have the values of all conditions.

    The title of a diversity term, a regulariser or a fusion is also met by its first words:
    ``cross_expert-alpha0.2`` by ``cross_expert``.

    Args:
        frame: The rows, whose schema decides how a value is compared.
        conditions: Values by column, as text or of the column's type.
    """
    import polars as pl

    def same(column: str, value: str) -> pl.Expr:
        cell = pl.col(column)
        if isinstance(frame.schema[column], pl.List):  # sizes, which conditions write as files do: 7+3
            return cell.cast(pl.List(pl.String)).list.join("+") == value
        if frame.schema[column] != pl.String:
            # Not strict, so that a text that is no number is met by nothing instead of failing.
            return cell == pl.lit(value).cast(frame.schema[column], strict=False)
        return (cell == value) | cell.str.starts_with(f"{value}-") if column in _TITLES else cell == value

    met = [same(column, str(value)).fill_null(False) for column, value in conditions.items()]
    return pl.all_horizontal(pl.lit(True), *met)


def published(frame: "pl.DataFrame", question: Question) -> "pl.Series":
    """Return the accuracy (a fraction) that the paper reports for each row, null where it reports none.

    Args:
        frame: Rows with the columns that the paper's conditions name.
        question: The experiment's question, which has the published accuracies.

    Raises:
        InputError: It reports several for one row.
    """
    import polars as pl

    accuracies = []
    for line in question.paper:
        conditions = {c: v for c, v in line.items() if c != "accuracy" and v not in ("", None)}
        accuracies.append(pl.when(meets(frame, conditions)).then(float(line["accuracy"]) / 100))
    if not accuracies:
        return pl.Series("paper", [None] * len(frame), pl.Float64)
    matches = frame.select(pl.concat_list(accuracies).list.drop_nulls().list.unique())
    several = matches.with_row_index("place").filter(pl.nth(1).list.len() > 1)
    if not several.is_empty():
        place, values = several.row(0)
        row = frame.select(as_text(c) for c in _DESCRIBING if c in frame.columns).row(place, named=True)
        description = ", ".join(f"{c} {value}" for c, value in row.items() if value)
        percents = " and ".join(f"{100 * value:.2f}" for value in sorted(values))
        raise InputError("paper", percents, f"one accuracy for {description}")
    return matches.to_series().list.first().alias("paper")


def to_frame(rows: Rows, question: Question) -> "pl.DataFrame":
    """Return rows as a typed frame with the columns that the question adds.

    Args:
        rows: Result rows; two of one student count once (:func:`~moe_distill.results.rows.distinct`). Those
            of students to come have no accuracy.
        question: The experiment's question.

    Returns:
        A frame with the columns of the rows and the settings of their jobs' command lines (text, empty where
        a job did not set one; a column of the same name takes precedence), ``variant`` (its name, unique
        within a data set), ``budget`` (images per class of all experts together), ``core_seconds``
        (:func:`~moe_distill.results.rows.core_seconds`, the mean over a variant's sets) and ``accuracy`` (a
        fraction, not finite where a student diverged, null for a student to come).

    Raises:
        InputError: The question names a column that the rows lack, or lines that do not distinguish students.

    >>> rows = [{"method": "dm", "noe": noe, "ipc": 5, "roster": f"dm5x{noe}"} for noe in (1, 2)]
    >>> to_frame(rows, Question(lines=["method", "noe"])).select("variant", "budget").rows()
    [('dm 1', 5), ('dm 2', 10)]
    """
    import polars as pl

    frame = distinct(rows)
    settings = frame["settings"].struct.unnest()
    frame = frame.with_columns(settings[c].fill_null("") for c in settings.columns if c not in frame.columns)
    for setting, columns in question.columns.items():
        unknown = [c for c in columns if c not in frame.columns]
        if len(frame) and unknown:  # without rows, there is no setting that could be a column
            known = [c for c in frame.columns if c not in DERIVED]
            raise InputError(f"question.{setting}", ", ".join(unknown), f"columns among {', '.join(known)}")
    frame = frame.with_columns(budget().alias("budget"), pl.col("accuracy_last").alias("accuracy"))
    if question.lines is None:
        # The data set is named elsewhere, so that a variant has one name on all of them.
        names = pl.Series("variant", variant_names(frame, within=("dataset",)), pl.String)
        return _with_costs(_with_what_differs(frame.with_columns(names)))
    words = (as_text(c).replace("", None) for c in question.lines if c in frame.columns)
    frame = frame.with_columns(pl.concat_str(*words, separator=" ", ignore_nulls=True).alias("variant"))
    require_unique_students(frame, ("variant",))
    return _with_costs(frame)


def _with_costs(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a frame of named variants with what a set of each costs."""
    return frame.with_columns(core_seconds=core_seconds().mean().over("dataset", "variant"))


def _with_what_differs(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a frame whose variants' names add what else distinguishes a student's rows, such as a width."""
    import polars as pl

    student = ["dataset", "variant", "architecture", "distill_seed", "seed"]
    twice = frame.filter(pl.col("accuracy").is_not_null() & pl.struct(student).is_duplicated())
    if twice.is_empty():
        return frame
    described = [c for c in _DESCRIBING if c not in (*student, "ipc")]
    columns = [*described, *(c for c in frame.columns if c not in (*COLUMNS, *DERIVED, *_ADDED))]
    for (variant,), rows in twice.group_by("variant", maintain_order=True):
        counts = rows.group_by(student).agg(pl.col(c).n_unique() for c in columns)
        differing = [c for c in columns if (counts[c] > 1).any()]
        if differing:
            # All rows of the variant are renamed, also those of students that occur once.
            word = as_text(differing[0])
            renamed = pl.concat_str("variant", pl.lit(f" {differing[0]}="), word)
            affected = (pl.col("variant") == variant) & (word != "")
            frame = frame.with_columns(pl.when(affected).then(renamed).otherwise("variant").alias("variant"))
    return frame


def require_unique_students(frame: "pl.DataFrame", names: Sequence[str]) -> None:
    """Refuse names of variants under which several rows are of one student.

    Args:
        frame: Rows as :func:`to_frame` returns them.
        names: The columns that name a variant.

    Raises:
        InputError: There are such rows; it lists the columns in which they differ.
    """
    import polars as pl

    student = ("dataset", *names, "architecture", "distill_seed", "seed")
    twice = frame.filter(pl.col("accuracy").is_not_null() & pl.struct(student).is_duplicated())
    if not twice.is_empty():
        first = [pl.col(c).eq_missing(pl.lit(twice[c][0])) for c in student]
        alike = twice.filter(pl.all_horizontal(first))
        differing = [c for c in _DESCRIBING if alike[c].n_unique() > 1]
        missing = f"also what tells its rows apart: {', '.join(differing)}"
        raise InputError("question.lines", alike[names[0]][0], missing)
