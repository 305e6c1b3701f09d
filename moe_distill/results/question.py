"""What an experiment asks of its result rows, and the rows in the words of that question."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe_distill.errors import FieldError, InputError
from moe_distill.results.row_files import read_table
from moe_distill.results.rows import COLUMNS, Row, budget_of, distinct, is_trained, settings_of, variant_names
from moe_distill.results.set_names import set_of
from moe_distill.validation.values import Text

if TYPE_CHECKING:
    import polars as pl

_TITLES = ("diversity", "regulariser", "fusion")
_TOLD = COLUMNS[COLUMNS.index("method") : COLUMNS.index("seed")]


@dataclass(frozen=True)
class Question:
    """What an experiment asks, as its yaml states it; what a job's command line sets counts as a column.

    Args:
        claim: What is claimed, in a sentence.
        against: Columns of result rows and their values (see :func:`meets`) that name the opponent of each variant, or
            a list of such, from the first rung to the last: a variant that meets one is held against those before it.
            Nothing names random selection alone, which is always an opponent.
        axis: The numeric column that accuracies are plotted against.
        correlate: A numeric column of sets whose rank correlation with the accuracy of other networks is asked.
        lines: The columns whose values, in this order, name a variant; None names it by roster and what else differs.
        paper: Published accuracies: rows of ``accuracy`` (percent) and, in other columns, the conditions that result
            rows must meet; an empty condition is none.

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
                raise InputError("paper", ", ".join(unknown), f"columns among {', '.join(_TOLD)}")
            try:
                fits = 0 <= float(published["accuracy"]) <= 100
            except (KeyError, ValueError, TypeError):
                fits = False
            if not fits:
                raise InputError("paper", dict(published), "an accuracy in percent, 0 to 100, in every row")

    @property
    def rivals(self) -> tuple[Mapping[str, Any], ...]:
        """What names the opponents, one after the other."""
        given = (self.against,) if isinstance(self.against, Mapping) else tuple(self.against)
        return tuple(conditions for conditions in given if conditions)

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that the question names, by the setting that names them."""
        axis = [self.axis] if self.axis not in (None, "budget") else []
        correlate = [self.correlate] if self.correlate else []
        against = list(dict.fromkeys(column for conditions in self.rivals for column in conditions))
        return {"against": against, "axis": axis, "correlate": correlate, "lines": list(self.lines or [])}


def asked(
    claim: str = "",
    against: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    axis: str | None = None,
    correlate: str | None = None,
    lines: Sequence[str] | None = None,
    paper: Text | None = None,
) -> Question:
    """Return the question of an experiment's yaml, whose published accuracies stand in the file ``paper``, if any.

    Raises:
        InputError: As for :class:`Question`, or there is no such file, or it is no table.
    """
    if paper is not None and not Path(paper).is_file():
        raise FieldError("paper", paper, "a file of published accuracies, such as experiments/table1/paper.csv")
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


def meets(row: Row, conditions: Mapping[str, Any]) -> bool:
    """Say whether a row has the values that conditions name.

    The title of a diversity term, a regulariser or a fusion is also met by its first words: ``cross_expert-alpha0.2``
    by ``cross_expert``.
    """
    return all(_same(column, str(row[column]), str(value)) for column, value in conditions.items())


def _same(column: str, value: str, wanted: str) -> bool:
    return value == wanted or (column in _TITLES and value.startswith(f"{wanted}-"))


def published(row: Row, question: Question) -> float | None:
    """Return the accuracy (fraction) that the paper gives for a row, None where it gives none.

    Raises:
        InputError: It gives several.
    """
    found = set()
    for one in question.paper:
        conditions = {c: v for c, v in one.items() if c != "accuracy" and v not in ("", None)}
        if meets(row, conditions):
            found.add(float(one["accuracy"]) / 100)
    if len(found) > 1:
        about = ", ".join(f"{c} {row[c]}" for c in _TOLD if row[c])
        raise InputError("paper", " and ".join(f"{100 * a:.2f}" for a in sorted(found)), f"one accuracy for {about}")
    return found.pop() if found else None


def framed(rows: Sequence[Row], question: Question) -> "pl.DataFrame":
    """Return rows as a frame of texts with what the question adds to them.

    Args:
        rows: Result rows; two of one student count once (:func:`~moe_distill.results.rows.distinct`). Those of
            students to come have no accuracy (empty or None).
        question: What is asked of them.

    Returns:
        A frame with the columns of the rows, ``variant`` (its name, unique within a data set), ``budget`` (images per
        class of all experts together, an integer) and ``accuracy`` (a fraction, not finite where a student diverged,
        null of a student to come).

    Raises:
        InputError: The question names no column of the rows, or lines that do not tell students apart.
    """
    import polars as pl

    told = [{**settings_of(row), **row} for row in distinct(rows)]
    known = dict.fromkeys(c for row in told for c in row)
    for setting, columns in question.columns.items():
        if told and (unknown := [c for c in columns if c not in known]):
            raise InputError(f"question.{setting}", ", ".join(unknown), f"columns among {', '.join(known)}")
    texts = [{**dict.fromkeys(known, ""), **{c: _text(row, c) for c in row}} for row in told]
    texts = [{**text, "set_fingerprint": set_of(row)} for text, row in zip(texts, told, strict=True)]
    columns = list(dict.fromkeys((*COLUMNS, *(c for row in texts for c in row))))
    frame = pl.from_dicts(texts, schema=dict.fromkeys(columns, pl.String))
    if question.lines is None:
        names = variant_names(texts, within=("dataset",))
    else:
        names = [" ".join(str(row[c]) for c in question.lines if row[c]) for row in texts]
    frame = frame.with_columns(
        pl.Series("variant", names, pl.String),
        pl.Series("budget", [budget_of(row) for row in texts], pl.Int64),
        pl.col("accuracy_last").replace("", None).cast(pl.Float64).alias("accuracy"),
    )
    if question.lines is not None:
        require_told_apart(frame, ("variant",))
        return frame
    return _parted(frame)


def _text(row: Row, column: str) -> str | None:
    """Return a value as text; what is not known of a student to come stays None."""
    value = row[column]
    return str(value) if value is not None else "" if is_trained(row) else None


def _parted(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a frame in whose variants' names stands too what else tells rows of one student apart, such as a width."""
    import polars as pl

    student = ["dataset", "variant", "architecture", "distill_seed", "seed"]
    twice = frame.filter(pl.col("accuracy").is_not_null() & pl.struct(student).is_duplicated())
    columns = [c for c in frame.columns if c in _TOLD or c not in (*COLUMNS, "variant", "budget", "accuracy")]
    for (variant,), own in twice.group_by("variant", maintain_order=True):
        counts = own.group_by(student).agg(pl.col(c).n_unique() for c in columns if c not in student)
        if apart := [c for c in counts.columns if c not in student and (counts[c] > 1).any()]:
            renamed = pl.concat_str(pl.col("variant"), pl.lit(f" {apart[0]}="), pl.col(apart[0]))
            of_it = (pl.col("variant") == variant) & (pl.col(apart[0]) != "")
            frame = frame.with_columns(pl.when(of_it).then(renamed).otherwise("variant").alias("variant"))
    return frame


def require_told_apart(frame: "pl.DataFrame", names: Sequence[str]) -> None:
    """Refuse lines under which two rows are of one student.

    Args:
        frame: Rows as :func:`framed` returns them.
        names: The columns that name a variant.

    Raises:
        InputError: There are such rows.
    """
    import polars as pl

    student = ("dataset", *names, "architecture", "distill_seed", "seed")
    twice = frame.filter(pl.col("accuracy").is_not_null() & pl.struct(student).is_duplicated())
    if not twice.is_empty():
        alike = twice.filter(pl.all_horizontal(pl.col(c) == twice[c][0] for c in student))
        apart = [c for c in _TOLD if alike[c].n_unique() > 1]
        raise InputError("question.lines", alike[names[0]][0], f"also what tells its rows apart: {', '.join(apart)}")
