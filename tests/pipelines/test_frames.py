"""Rows as typed frames: what a table holds is read once, and written back as it was."""

import math
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest_rows import row, texts_in, to_come, trained
from polars.testing import assert_frame_equal

from moe_distill.results.frames import COLUMNS, as_text, frame_of, texts_of
from moe_distill.results.row_files import merge_rows, read_rows, write_csv
from moe_distill.results.rows import budget
from moe_distill.results.schema import SCHEMAS, ResultRow, columns_of
from moe_distill.results.settings import parse_settings

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TABLES = [path for name in SCHEMAS for path in sorted(EXPERIMENTS.glob(f"*/{name}"))]
ROWS = [
    trained("dm5x2", "1", overrides="data=digits,split=5x2"),
    trained("dm5x2", "2", ipc="7+3", width="", distill_seed="", overrides="+method.lr=1e-05,data=digits"),
    trained("random10x1", "3", "nan", lr="1e-05", train_seconds="0.1", experiment="=1+1"),
]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_tables_that_are_written_and_read_back_are_equal(path, tmp_path):
    schema = SCHEMAS[path.name]
    read = read_rows(path, schema)
    write_csv(tmp_path / path.name, texts_of(read), columns_of(schema))
    assert_frame_equal(read_rows(tmp_path / path.name, schema), read, check_exact=True)


def test_a_table_that_is_written_and_read_back_is_equal(tmp_path):
    frame = frame_of(ROWS)
    write_csv(tmp_path / "results.csv", texts_of(frame), COLUMNS)
    assert_frame_equal(merge_rows([tmp_path / "results.csv"], ResultRow), frame, check_exact=True)
    assert texts_in([tmp_path / "results.csv"]) == ROWS == texts_of(frame)


def test_columns_have_the_types_of_what_they_hold():
    frame = frame_of(ROWS)
    assert frame["ipc"].to_list() == [[5], [7, 3], [10]] and frame["noe"].to_list() == [2, 2, 1]
    assert frame.select(budget()).to_series().to_list() == [10, 10, 10]
    assert frame["width"].to_list() == [0.25, None, 0.25] and frame["distill_seed"].to_list() == [0, None, 0]
    assert frame["accuracy_last"].to_list()[:2] == [0.5, 0.5] and math.isnan(frame["accuracy_last"][2])
    assert frame["is_baseline"].to_list() == [False, False, True]
    assert frame["settings"].to_list() == [
        {"data": "digits", "method.lr": None, "split": "5x2"},
        {"data": "digits", "method.lr": "1e-05", "split": None},
        {"data": None, "method.lr": None, "split": None},
    ]


def test_what_is_not_known_of_a_student_to_come_is_null_and_nothing_else_of_a_text():
    there, coming = row("dm5x2", accuracy_last="0.5", iterations=""), row("dm5x2", iterations="")
    frame = frame_of([{**there, "fusion": None}, *to_come([{**coming, "fusion": None}])])
    assert frame["fusion"].to_list() == ["", None] and frame["set_fingerprint"].to_list() == ["", None]
    assert frame["iterations"].to_list() == [None, None]
    assert frame.select(as_text("iterations")).to_series().to_list() == ["", None]
    assert texts_of(frame)[1]["fusion"] is None and texts_of(frame)[0]["lr"] == ""


def test_a_frame_of_no_rows_has_all_columns():
    assert frame_of([]).columns == [*COLUMNS, "settings", "is_baseline"] and len(frame_of([])) == 0
    assert merge_rows([], ResultRow).schema == frame_of([]).schema


def test_rows_that_are_values_and_rows_that_are_texts_make_one_frame():
    values = {"ipc": [7, 3], "noe": 2, "seed": 0, "accuracy_last": 0.5, "width": 0.25, "onto": "others"}
    texts = {"ipc": "7+3", "noe": "2", "seed": "0", "accuracy_last": "0.5", "width": "0.25", "onto": "others"}
    assert_frame_equal(frame_of([values]), frame_of([texts]), check_exact=True)
    assert frame_of(frame_of([values])).schema["onto"] == pl.String


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("data=digits", {"data": "digits"}),
        ("+a=1,++b.c=2,d/e=f", {"a": "1", "b.c": "2", "d/e": "f"}),
        ("ipcs=[7,3],students={a: [1, {b: 2}], c: 3},seed=1", None),
        ("name='a,b',seed=1", {"name": "'a,b'", "seed": "1"}),
        (r"name='it\'s, so',seed=1", {"name": r"'it\'s, so'", "seed": "1"}),
        ("a=x=y,b=", {"a": "x=y", "b": ""}),
        ("a=],b=2", {"a": "]", "b": "2"}),
    ],
)
def test_settings_are_parted_at_commas_outside_brackets_and_quotes(text, settings):
    nested = {"ipcs": "[7,3]", "students": "{a: [1, {b: 2}], c: 3}", "seed": "1"}
    assert parse_settings(text) == (nested if settings is None else settings)


def test_results_are_read_without_torch_and_imported_without_polars():
    table = EXPERIMENTS / "table4" / "results.csv"
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from moe_distill.results import aggregate, comparison, known_rows, row_files, run_tables, schema\n"
        "assert not {'polars', 'scipy', 'numpy', 'torch'} & {*sys.modules}\n"
        f"print(len(row_files.read_rows(Path({str(table)!r}), schema.ResultRow)))\n"
        "assert 'torch' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(len(table.read_text().splitlines()) - 1)
