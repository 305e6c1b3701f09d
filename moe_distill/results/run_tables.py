"""The tables in the folders of runs, and those that merge all jobs of a sweep."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moe_distill.results.frames import COLUMNS, texts_of, values_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import merge_rows, write_csv
from moe_distill.results.schema import SCHEMAS, ResultRow, columns_of, kind_of
from moe_distill.store.locks import locked

if TYPE_CHECKING:
    import polars as pl

# The columns that only the training of a student decides; its row in the store has them too.
_TRAINED = (*COLUMNS[COLUMNS.index("accuracy_last") : COLUMNS.index("set_fingerprint")], "commit")


def publish(
    rows: Sequence[Mapping[str, object]],
    output: Path,
    table: str = "results.csv",
    results: FinishedRows | None = None,
) -> "pl.DataFrame":
    """Write a run's table, merge it into its sweep's table, and return the rows of the sweep.

    Whichever job ends merges all tables that exist, so that the sweep's table is right while the sweep runs
    and when some of its jobs failed. A run that is no job of a sweep gets its own rows back.

    Args:
        rows: The run's rows.
        output: The run's folder; created if it is missing.
        table: The table's file name, which decides its schema.
        results: As for :func:`merged`.
    """
    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / table, rows, columns_of(SCHEMAS[table]))
    if is_job(output):
        return merged(output.parent, table, results)
    return merge_rows([output / table], SCHEMAS[table])


def is_job(output: Path) -> bool:
    """Return True if a run's folder is that of a job of a sweep."""
    return is_sweep(output.parent)


def is_sweep(folder: Path) -> bool:
    """Return True if a folder is that of a sweep, which contains a folder for each job."""
    return (folder / "multirun.yaml").is_file()


def merged(sweep: Path, table: str = "results.csv", results: FinishedRows | None = None) -> "pl.DataFrame":
    """Merge the tables of a sweep's jobs, if any, into one in the sweep's folder, and return its rows.

    Args:
        sweep: The sweep's folder.
        table: The table's file name in the jobs' folders and in the sweep's.
        results: All finished rows, whose values replace those of the tables; None if the table is not one of
            students.
    """
    # Jobs that end at the same time must not overwrite each other's table with an older one.
    with locked(sweep / ".lock", "paths.runs"):
        tables = sorted(sweep.glob(f"*/{table}"))
        rows = merge_rows(tables, SCHEMAS[table]) if results is None else rows_in(tables, results)
        if tables:  # none while the first job runs
            write_csv(sweep / table, texts_of(rows), columns_of(SCHEMAS[table]))
    return rows


def rows_in(tables: Iterable[Path], results: FinishedRows) -> "pl.DataFrame":
    """Return the rows of tables in folders of runs, once each.

    Such tables have no checksum: the values of a student's row in the store, or in a committed table, replace
    theirs.
    """
    import polars as pl

    frame = merge_rows(tables, ResultRow)
    # Only what training decided: the other columns say what the job asked for, which may name it otherwise.
    finished_rows = [results.find(key) or {} for key in frame["config_hash"]]
    for column in _TRAINED:
        finished = [row.get(column) for row in finished_rows]
        pairs = zip(frame[column].to_list(), finished, strict=True)
        values = [from_table if value is None else value for from_table, value in pairs]
        typed = values_of(values, kind_of(ResultRow, column))
        frame = frame.with_columns(pl.Series(column, typed, frame.schema[column]))
    return frame
