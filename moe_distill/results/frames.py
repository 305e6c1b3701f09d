"""Result rows as polars frames of typed columns, made of whatever holds them, and written back as text."""

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
"""A row as a pipeline makes it, or as text; a value of None is not known yet."""
Rows: TypeAlias = Union["pl.DataFrame", Sequence[Row]]

COLUMNS = columns_of(ResultRow)
DERIVED = ("settings", "is_baseline")  # columns that are parsed of others
_NUMBERS: dict[type, Callable[[Any], Value]] = {int: int, float: float}


def typed_frame(columns: Mapping[str, Sequence[Value]], schema: Schema) -> "pl.DataFrame":
    """Return columns of values as a frame of a schema's types.

    Where there is a column ``overrides``, two are added that are parsed of it: ``settings``, a struct with a
    text for each key that some row's command line set, null where a row's did not; and ``is_baseline``,
    whether a row is of what the job's set is compared with, to which no setting applies.

    Args:
        columns: By name; those that the schema lacks are text.
        schema: The table's.
    """
    import polars as pl

    types = dtypes_of(schema)
    series = [_series(name, values, types.get(name, pl.String())) for name, values in columns.items()]
    frame = pl.DataFrame(series)
    if "overrides" not in columns:
        return frame
    return frame.with_columns(_settings_in(frame["overrides"]), is_baseline=pl.col("overrides") == "")


def frame_of(rows: Rows) -> "pl.DataFrame":
    """Return result rows as a typed frame with all columns of :data:`COLUMNS`; a frame stays as it is.

    What a row does not have is null in columns of numbers. In columns of text it is empty, but null in the
    row of a student to come, of which it is not known yet.
    """
    import polars as pl

    if isinstance(rows, pl.DataFrame):
        return rows
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    columns = {name: values_of([row.get(name) for row in rows], kind_of(ResultRow, name)) for name in names}
    text = pl.col(pl.String)
    known = pl.when(trained()).then(text.fill_null("")).otherwise(text)
    return typed_frame(columns, ResultRow).with_columns(known)


def texts_of(frame: "pl.DataFrame") -> list[dict[str, Any]]:
    """Return the rows of a typed frame as the texts that stand in its file, without what was parsed of these.

    What is not known of a student to come stays None.
    """
    columns = [name for name in frame.columns if name not in DERIVED]
    if "accuracy_last" in columns:
        frame = frame.select(map(as_text, columns))
        texts = [frame[name].to_list() for name in columns]
    else:
        texts = [[_text(value) for value in frame[name].to_list()] for name in columns]
    return [dict(zip(columns, line, strict=True)) for line in zip(*texts, strict=True)]


def as_text(column: str) -> "pl.Expr":
    """Return a column as the text of its file, null where a student to come leaves it unknown."""
    import polars as pl

    def text(values: "pl.Series") -> "pl.Series":
        texts = [None if value is None else _text(value) for value in values.to_list()]
        return pl.Series(values.name, texts, pl.String)

    # Python's text of a number, which files have: that of polars has another exponent.
    written = pl.col(column).map_batches(text, return_dtype=pl.String)
    return pl.when(trained()).then(written.fill_null("")).otherwise(written).alias(column)


def trained() -> "pl.Expr":
    """Return whether a row tells of a student that was trained."""
    import polars as pl

    return pl.col("accuracy_last").is_not_null()


def is_trained(row: Row) -> bool:
    """Say whether a row tells of a student that was trained; others stand for students to come."""
    return row["accuracy_last"] not in ("", None)


def values_of(cells: Sequence[Any], kind: type) -> list[Value]:
    """Return cells, as they are or as text, as values of a kind of column (see ``kind_of``)."""
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
    # Lists are slow to read one by one, and most rows of a table have the same.
    texts = [None if value is None else _text(value) for value in values]
    return pl.Series(name, texts, pl.String).str.split("+").cast(dtype)


def _settings_in(overrides: "pl.Series") -> "pl.Series":
    """Return the struct of settings; each different text is parsed once."""
    import polars as pl

    places = {text: place for place, text in enumerate(overrides.unique(maintain_order=True))}
    parsed = [parse_settings(text or "") for text in places]
    keys = sorted({key for settings in parsed for key in settings})
    if keys:
        fields = [pl.Series(key, [settings.get(key) for settings in parsed], pl.String) for key in keys]
        struct = pl.DataFrame(fields).to_struct("settings")
    else:
        struct = pl.Series("settings", [{}] * len(places), pl.Struct([]))
    return struct.gather([places[text] for text in overrides])
