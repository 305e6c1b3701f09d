"""The tables that runs leave in their folders, and those that a sweep's jobs make together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moe_distill.results.frames import COLUMNS, Row, texts_of, values_of
from moe_distill.results.known_rows import Results
from moe_distill.results.row_files import merge_rows, write_csv
from moe_distill.results.schema import SCHEMAS, ResultRow, columns_of, kind_of
from moe_distill.store.locks import locked

if TYPE_CHECKING:
    import polars as pl

# What a student's training alone decides, as its row in the store has it.
_REACHED = (*COLUMNS[COLUMNS.index("accuracy_last") : COLUMNS.index("set_fingerprint")], "commit")


def publish(
    rows: Sequence[Row], output: Path, table: str = "results.csv", results: Results | None = None
) -> "pl.DataFrame":
    """Write a table of this run, merge it into the sweep's of that name, and return the sweep's rows.

    A job of a sweep writes into its own folder below the sweep's; whichever job ends merges all that are
    there, so that the table is right while the sweep runs and when some of its jobs failed. Arguments as for
    :func:`merged`.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / table, rows, columns_of(SCHEMAS[table]))
    return (
        merged(output.parent, table, results)
        if is_job(output)
        else merge_rows([output / table], SCHEMAS[table])
    )


def is_job(output: Path) -> bool:
    """Say whether a run's folder is that of a job of a sweep."""
    return is_sweep(output.parent)


def is_sweep(folder: Path) -> bool:
    """Say whether a folder is that of a sweep, which holds a folder for each job."""
    return (folder / "multirun.yaml").is_file()


def merged(sweep: Path, table: str = "results.csv", results: Results | None = None) -> "pl.DataFrame":
    """Merge a table of a sweep's jobs, where any has it, into one beside them and return its rows.

    Args:
        sweep: The sweep's folder.
        table: The table's name in the jobs' folders, and there.
        results: The rows that are done, wherever they were made; None where the table is of other things than
            students.
    """
    with locked(sweep / ".lock", "paths.runs"):
        tables = sorted(sweep.glob(f"*/{table}"))
        rows = merge_rows(tables, SCHEMAS[table]) if results is None else rows_in(tables, results)
        if tables:
            write_csv(sweep / table, texts_of(rows), columns_of(SCHEMAS[table]))
    return rows


def rows_in(tables: Iterable[Path], results: Results) -> "pl.DataFrame":
    """Return the rows of tables that lie in folders of runs, once each.

    Nothing tells whether such a table is what was written. What the store or a committed table holds of a
    student goes before it.
    """
    import polars as pl

    frame = merge_rows(tables, ResultRow)
    done = [results.find(key) or {} for key in frame["config_hash"]]
    for column in _REACHED:
        cells = [row.get(column) for row in done]
        pairs = zip(frame[column].to_list(), cells, strict=True)
        values = [here if cell is None else cell for here, cell in pairs]
        typed = values_of(values, kind_of(ResultRow, column))
        frame = frame.with_columns(pl.Series(column, typed, frame.schema[column]))
    return frame
