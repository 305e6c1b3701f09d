"""What an experiment asks of its result rows, and the rows in the words of that question."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_distill.errors import FieldError, InputError
from moe_distill.results.frames import COLUMNS, DERIVED, Row, Rows, as_text
from moe_distill.results.row_files import read_table
from moe_distill.results.rows import budget, distinct, variant_names
from moe_distill.validation.values import Text

if TYPE_CHECKING:
    import polars as pl

_ADDED = ("variant", "budget", "accuracy")  # by to_frame
_TITLES = ("diversity", "regulariser", "fusion")
_DESCRIBING = COLUMNS[COLUMNS.index("method") : COLUMNS.index("seed")]


@dataclass(frozen=True)
class Question:
    """What an experiment asks, as its yaml states it; what a job's command line sets counts as a column.

    Args:
        claim: What is claimed, in a sentence.
        against: Columns of result rows and their values (see :func:`meets`) that name the opponent of each
            variant, or a list of such, from the first rung to the last: a variant that meets one is held
            against those before it. Nothing names random selection alone, which is always an opponent.
        axis: The numeric column that accuracies are plotted against.
        correlate: A numeric column of sets whose rank correlation with the accuracy of other networks is
            asked.
        lines: The columns whose values, in this order, name a variant; None names it by roster and what else
            differs.
        paper: Published accuracies: rows of ``accuracy`` (percent) and, in other columns, the conditions that
            result rows must meet; an empty condition is none.

    Raises:
        InputError: A line of ``paper`` has no accuracy or a condition on no column of the result rows.
    """

    claim: str = ""
    against: Mapping[str, Any] | Sequence[Mapping[str, Any]] = field(default_factory=dict)
    axis: str | None = None
    correlate: str | None = None
    lines: Sequence[str] | None = None
    paper: Sequence[Row] = ()

    def __post_init__(self) -> None:
        """Check what a typing error could spoil."""
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
    def rivals(self) -> tuple[Mapping[str, Any], ...]:
        """What names the opponents, one after the other."""
        rungs = (self.against,) if isinstance(self.against, Mapping) else tuple(self.against)
        return tuple(conditions for conditions in rungs if conditions)

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that the question names, by the setting that names them."""
        axis = [self.axis] if self.axis not in (None, "budget") else []
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
    """Return the question of an experiment's yaml; published accuracies stand in the file ``paper``, if any.

    Raises:
        InputError: As for :class:`Question`, or there is no such file, or it is no table.
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
        raise FieldError("paper", f"{paper}: {error.value}", error.allowed) from error


def require_known(question: Question, settings: Collection[str]) -> None:
    """Refuse a question about columns that no row can have, whatever its job sets.

    Args:
        question: What is asked.
        settings: What a command line sets at the top, which counts as a column where one sets it.

    Raises:
        InputError: A column is none.
    """
    known = {*COLUMNS, *settings}
    for setting, columns in question.columns.items():
        if unknown := [c for c in columns if c not in known and re.split(r"[.@/]", c)[0] not in settings]:
            raise InputError(f"question.{setting}", ", ".join(unknown), f"columns among {', '.join(COLUMNS)}")


def paper_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a ``paper.csv``; there are none where there is no such file.

    Raises:
        InputError: It is no table.
    """
    return read_table(file) if file.is_file() else []


def meets(frame: "pl.DataFrame", conditions: Mapping[str, Any]) -> "pl.Expr":
    """Return whether rows have the values that conditions name, as text or in the column's type.

    The title of a diversity term, a regulariser or a fusion is also met by its first words:
    ``cross_expert-alpha0.2`` by ``cross_expert``.
    """
    import polars as pl

    def same(column: str, value: str) -> pl.Expr:
        cell = pl.col(column)
        if isinstance(frame.schema[column], pl.List):
            return cell.cast(pl.List(pl.String)).list.join("+") == value
        if frame.schema[column] != pl.String:
            return cell == pl.lit(value).cast(frame.schema[column], strict=False)
        return (cell == value) | cell.str.starts_with(f"{value}-") if column in _TITLES else cell == value

    met = [same(column, str(value)).fill_null(False) for column, value in conditions.items()]
    return pl.all_horizontal(pl.lit(True), *met)


def published(frame: "pl.DataFrame", question: Question) -> "pl.Series":
    """Return the accuracy (a fraction) that the paper has for each row, null where it has none.

    Raises:
        InputError: It has several for one row.
    """
    import polars as pl

    accuracies = []
    for line in question.paper:
        conditions = {c: v for c, v in line.items() if c != "accuracy" and v not in ("", None)}
        accuracies.append(pl.when(meets(frame, conditions)).then(float(line["accuracy"]) / 100))
    if not accuracies:
        return pl.Series("paper", [None] * len(frame), pl.Float64)
    every = frame.select(pl.concat_list(accuracies).list.drop_nulls().list.unique())
    several = every.with_row_index("place").filter(pl.nth(1).list.len() > 1)
    if not several.is_empty():
        place, values = several.row(0)
        row = frame.select(as_text(c) for c in _DESCRIBING if c in frame.columns).row(place, named=True)
        about = ", ".join(f"{c} {value}" for c, value in row.items() if value)
        each = " and ".join(f"{100 * value:.2f}" for value in sorted(values))
        raise InputError("paper", each, f"one accuracy for {about}")
    return every.to_series().list.first().alias("paper")


def to_frame(rows: Rows, question: Question) -> "pl.DataFrame":
    """Return rows as a typed frame with what the question adds to them.

    Args:
        rows: Result rows; two of one student count once (:func:`~moe_distill.results.rows.distinct`). Those
            of students to come have no accuracy.
        question: What is asked of them.

    Returns:
        A frame with the columns of the rows and the settings of their jobs' command lines (text, empty where
        a job set none; a column of that name goes before), ``variant`` (its name, unique within a data set),
        ``budget`` (images per class of all experts together) and ``accuracy`` (a fraction, not finite where a
        student diverged, null of a student to come).

    Raises:
        InputError: The question names no column of the rows, or lines that do not tell students apart.
    """
    import polars as pl

    frame = distinct(rows)
    settings = frame["settings"].struct.unnest()
    frame = frame.with_columns(settings[c].fill_null("") for c in settings.columns if c not in frame.columns)
    for setting, columns in question.columns.items():
        if len(frame) and (unknown := [c for c in columns if c not in frame.columns]):
            known = [c for c in frame.columns if c not in DERIVED]
            raise InputError(f"question.{setting}", ", ".join(unknown), f"columns among {', '.join(known)}")
    frame = frame.with_columns(budget().alias("budget"), pl.col("accuracy_last").alias("accuracy"))
    if question.lines is None:
        names = pl.Series("variant", variant_names(frame, within=("dataset",)), pl.String)
        return _with_what_differs(frame.with_columns(names))
    words = (as_text(c).replace("", None) for c in question.lines if c in frame.columns)
    frame = frame.with_columns(pl.concat_str(*words, separator=" ", ignore_nulls=True).alias("variant"))
    require_unique_students(frame, ("variant",))
    return frame


def _with_what_differs(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a frame whose variants' names also say what else tells a student's rows apart, such as a
    width.
    """
    import polars as pl

    student = ["dataset", "variant", "architecture", "distill_seed", "seed"]
    twice = frame.filter(pl.col("accuracy").is_not_null() & pl.struct(student).is_duplicated())
    if twice.is_empty():
        return frame
    described = [c for c in _DESCRIBING if c not in (*student, "ipc")]
    columns = [*described, *(c for c in frame.columns if c not in (*COLUMNS, *DERIVED, *_ADDED))]
    for (variant,), rows in twice.group_by("variant", maintain_order=True):
        counts = rows.group_by(student).agg(pl.col(c).n_unique() for c in columns)
        if apart := [c for c in columns if (counts[c] > 1).any()]:
            word = as_text(apart[0])
            renamed = pl.concat_str("variant", pl.lit(f" {apart[0]}="), word)
            of_it = (pl.col("variant") == variant) & (word != "")
            frame = frame.with_columns(pl.when(of_it).then(renamed).otherwise("variant").alias("variant"))
    return frame


def require_unique_students(frame: "pl.DataFrame", names: Sequence[str]) -> None:
    """Refuse lines under which two rows are of one student.

    Args:
        frame: Rows as :func:`to_frame` returns them.
        names: The columns that name a variant.

    Raises:
        InputError: There are such rows.
    """
    import polars as pl

    student = ("dataset", *names, "architecture", "distill_seed", "seed")
    twice = frame.filter(pl.col("accuracy").is_not_null() & pl.struct(student).is_duplicated())
    if not twice.is_empty():
        alike = twice.filter(pl.all_horizontal(pl.col(c).eq_missing(pl.lit(twice[c][0])) for c in student))
        apart = [c for c in _DESCRIBING if alike[c].n_unique() > 1]
        missing = f"also what tells its rows apart: {', '.join(apart)}"
        raise InputError("question.lines", alike[names[0]][0], missing)
