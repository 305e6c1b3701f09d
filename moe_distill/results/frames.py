"""Result rows as polars frames of typed columns, converted from rows of any origin and back to text."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from moe_distill.results.schema import (
    ResultRow,
    Schema,
    Value,
    as_stored,
    columns_of,
    dtypes_of,
    kind_of,
    sizes_of,
)
from moe_distill.results.settings import parse_settings

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]
"""A row as a pipeline makes it, or as the texts of a file; a value of None is not known yet."""
Rows: TypeAlias = Union["pl.DataFrame", Sequence[Row]]

COLUMNS = columns_of(ResultRow)
DERIVED = ("settings", "is_baseline")  # columns that are parsed from others
_NUMBERS: dict[type, Callable[[Any], Value]] = {int: int, float: float}


def typed_frame(columns: Mapping[str, Sequence[Value]], schema: Schema) -> "pl.DataFrame":
    """Return columns of values as a frame of a schema's types.

    Where there is a column ``overrides``, two more are parsed from it: ``settings``, a struct with one text
    for each key that any row's command line set, null in rows whose command line did not; and
    ``is_baseline``, whether a row is a baseline that the job's set is compared with, to which no setting
    applies.

    Args:
        columns: Values by column name; columns that the schema lacks are text.
        schema: The table's schema.
    """
    import polars as pl

    types = dtypes_of(schema)
    series = [_series(name, values, types.get(name, pl.String())) for name, values in columns.items()]
    frame = pl.DataFrame(series)
    if "overrides" not in columns:
        return frame
    return frame.with_columns(_settings_in(frame["overrides"]), is_baseline=pl.col("overrides") == "")


def frame_of(rows: Rows) -> "pl.DataFrame":
    """Return result rows as a typed frame with all columns of :data:`COLUMNS`; a frame is returned unchanged.

    Values that a row lacks are null in columns of numbers. In columns of text they are empty, but null in the
    row of a student to come, whose value is not known yet.

    >>> frame = frame_of([{"roster": "dm5x2", "ipc": "5", "noe": "2", "overrides": "data=digits"}])
    >>> frame.select("roster", "ipc", "noe", "accuracy_last").row(0)
    ('dm5x2', [5], 2, None)
    >>> frame["settings"].to_list()
    [{'data': 'digits'}]
    """
    import polars as pl

    if isinstance(rows, pl.DataFrame):
        return rows
    # The union of all rows' columns: rows of older versions and of probes have others.
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    columns = {name: values_of([row.get(name) for row in rows], kind_of(ResultRow, name)) for name in names}
    text = pl.col(pl.String)
    known = pl.when(trained()).then(text.fill_null("")).otherwise(text)
    return typed_frame(columns, ResultRow).with_columns(known)


def texts_of(frame: "pl.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a typed frame as the texts of its file, without the :data:`DERIVED` columns.

    Unknown values of a student to come stay None.
    """
    columns = [name for name in frame.columns if name not in DERIVED]
    # Only tables of students have rows to come, whose nulls have to stay.
    if "accuracy_last" in columns:
        frame = frame.select(map(as_text, columns))
        texts = [frame[name].to_list() for name in columns]
    else:
        texts = [[_text(value) for value in frame[name].to_list()] for name in columns]
    return [dict(zip(columns, line, strict=True)) for line in zip(*texts, strict=True)]


def as_text(column: str) -> "pl.Expr":
    """Return a column as the text of its file, null where it is unknown for a student to come."""
    import polars as pl

    def text(values: "pl.Series") -> "pl.Series":
        texts = [None if value is None else _text(value) for value in values.to_list()]
        return pl.Series(values.name, texts, pl.String)

    # Files have Python's text of a number; polars writes exponents differently.
    written = pl.col(column).map_batches(text, return_dtype=pl.String)
    return pl.when(trained()).then(written.fill_null("")).otherwise(written).alias(column)


def trained() -> "pl.Expr":
    """Return whether a row is of a student that was trained."""
    import polars as pl

    return pl.col("accuracy_last").is_not_null()


def values_of(cells: Sequence[Any], kind: type) -> list[Value]:
    """Return cells, typed or as text, as values of a column's type (``kind_of``); empty ones as None.

    >>> values_of(["5", "7+3", ""], list), values_of(["0.5", None], float)
    ([[5], [7, 3], None], [0.5, None])
    """
    if kind is str:
        return [None if cell is None else str(cell) for cell in cells]
    if kind is list:
        return [None if cell in (None, "") else sizes_of(_text(cell)) for cell in cells]
    return [None if cell is None or cell == "" else _NUMBERS[kind](cell) for cell in cells]


def _text(value: Value) -> str:
    return str(as_stored(value))


def _series(name: str, values: Sequence[Value], dtype: "pl.DataType") -> "pl.Series":
    import polars as pl

    if not isinstance(dtype, pl.List):
        return pl.Series(name, values, dtype)
    # Splitting texts in polars is much faster than reading Python lists one by one.
    texts = [None if value is None else _text(value) for value in values]
    return pl.Series(name, texts, pl.String).str.split("+").cast(dtype)


def _settings_in(overrides: "pl.Series") -> "pl.Series":
    """Return the struct of settings that command lines made."""
    import polars as pl

    # Thousands of rows share the command line of their job: each different text is parsed once.
    places = {text: place for place, text in enumerate(overrides.unique(maintain_order=True))}
    parsed = [parse_settings(text or "") for text in places]
    keys = sorted({key for settings in parsed for key in settings})
    if keys:
        fields = [pl.Series(key, [settings.get(key) for settings in parsed], pl.String) for key in keys]
        struct = pl.DataFrame(fields).to_struct("settings")
    else:
        # A frame without columns would have no rows either.
        struct = pl.Series("settings", [{}] * len(places), pl.Struct([]))
    return struct.gather([places[text] for text in overrides])
