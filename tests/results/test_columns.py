"""Tables of rows: what a column does not take is refused in a line that names the table, the line and the
column."""

from pathlib import Path

import pytest
from conftest_rows import texts_in, trained

from moe_distill.errors import InputError
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import read_rows, write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.results.schema import SCHEMAS, ResultRow, columns_of
from moe_distill.store.store import Store

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
WHOLE = trained("dm5x2", "abc")
OLD = ("dcor2_unbiased", "regulariser", "recipe_key", "lr", "hardware", "overrides", "preset_row")
MALFORMED = {
    "merge markers": lambda text: "<<<<<<< HEAD\n" + text + ">>>>>>> b\n",
    "merge markers among rows": lambda text: text + "<<<<<<< HEAD\n",
    "semicolons": lambda text: text.replace(",", ";"),
    "other columns": lambda text: "a,b\n1,2\n",
    "the key alone": lambda text: "config_hash\nabc\n",
    "latin-1": lambda text: text.replace("dm5x2", "dm\xe9").encode("latin-1"),
    "a spreadsheet's number": lambda text: text.replace("0.5,0.5", '"34,9%",0.5'),
    "a cut row": lambda text: text + "t,3",
}


@pytest.fixture
def table(tmp_path):
    """Gives a function that writes a table of an experiment and returns where."""

    def written(*rows, name="bad", columns=COLUMNS):
        path = tmp_path / "tables" / name / "results.csv"
        path.parent.mkdir(parents=True)
        write_csv(path, [{c: row[c] for c in columns} for row in rows], columns)
        return path

    return written


def refusals(path):
    """Return the line by which a committed table is refused where a row is missing."""
    with pytest.raises(InputError) as caught:
        FinishedRows(Store(path.parents[2] / "store"), path.parents[1]).has("of none")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_table_is_named_where_a_row_is_missing(table, spoil):
    good, path = table({**WHOLE, "config_hash": "of another"}, name="good"), table(WHOLE)
    spoiled = spoil(path.read_text())
    path.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode())
    results = FinishedRows(Store(good.parents[2] / "store"), good.parents[1])
    assert results.has("of another") and results.row("of another")["iterations"] == 2
    assert refusals(path).startswith(f"table={path}: a table as this package writes it")


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_table_of_a_run_is_set_aside(table, capsys, spoil):
    good, path = table({**WHOLE, "config_hash": "of another"}, name="good"), table(WHOLE)
    spoiled = spoil(path.read_text())
    path.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode())
    assert [row["config_hash"] for row in texts_in([good, path])] == ["of another"]
    said = capsys.readouterr().out
    assert (
        said.startswith(f"damaged: {path}: not a table as this package writes it") and said.count("\n") == 1
    )
    assert not path.exists() and path.with_name("results.csv.damaged-1").is_file()
    assert len(texts_in([good, path])) == 1 and capsys.readouterr().out == ""


def test_a_folder_where_a_table_belongs_is_named_and_set_aside(table, capsys):
    path = table(WHOLE)
    path.unlink()
    path.mkdir()
    assert refusals(path) == f"table={path}: a table as this package writes it; no regular file"
    assert texts_in([path]) == [] and path.with_name("results.csv.damaged-1").is_dir()


WRONG = {
    "accuracy_last": ("", "34.9", "-0.1", "half", "inf"),
    "accuracy_best": ("", "0.4", "7.5"),
    "ipc": ("x", "", "7.5", "0", "7+"),
    "noe": ("two", "0", "1.5"),
    "seed": ("", "first"),
    "distill_seed": ("x",),
    "iterations": ("3.5", "-1"),
    "steps": ("-5", "0", "nan"),
    "epochs": ("", "9" * 400, "9" * 5000),
    "images_decoded": ("1e3",),
    "lr": ("nan", "-0.1", "0", "inf"),
    "width": ("0", "wide"),
    "train_seconds": ("", "-1", "nan"),
    "distill_seconds": ("soon",),
    "teacher_seconds": ("late", "-1"),
    "peak_memory_mb": ("much",),
    "roster": ("",),
    "set_fingerprint": ("",),
    "config_hash": ("",),
}


@pytest.mark.parametrize(
    ("column", "cell"), [(column, cell) for column, cells in WRONG.items() for cell in cells]
)
def test_what_a_column_does_not_take_is_named(table, column, cell):
    path = table({**WHOLE, column: cell})
    assert refusals(path).startswith(f"table={path}: a table as this package writes it; line 2 has ")
    assert f" in column {column}: " in refusals(path)


@pytest.mark.parametrize("column", [c for c in COLUMNS if c in WRONG and "" in WRONG[c]])
def test_a_column_that_is_never_empty_must_be_there(table, column):
    path = table(WHOLE, columns=[c for c in COLUMNS if c != column])
    assert f"a table as this package writes it, with a column {column}: " in refusals(path)


@pytest.mark.parametrize(
    "more",
    [
        {"accuracy_last": "nan", "accuracy_best": "nan"},
        {"accuracy_last": "nan"},
        {"accuracy_last": "0.0", "accuracy_best": "1.0"},
        {"ipc": "7+3"},
        dict.fromkeys(
            ("width", "distill_seed", "iterations", "distill_seconds", "teacher_seconds", "lr"), ""
        ),
        {"dcor2_unbiased": "-0.03"},
    ],
)
def test_what_runs_leave_is_read(table, more):
    row = {**WHOLE, **more}
    path = table(row)
    assert texts_in([path]) == [row]
    found = FinishedRows(Store(path.parents[2] / "store"), path.parents[1]).row("abc")
    assert {c: str(v) for c, v in found.items()} == row


def test_columns_that_older_tables_lack_are_empty(table):
    path = table(WHOLE, columns=[c for c in COLUMNS if c not in OLD])
    assert texts_in([path]) == [{**WHOLE, **dict.fromkeys(OLD, "")}]


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*/*.csv")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_every_committed_table_is_read(path):
    if path.name != "paper.csv":
        assert not read_rows(path, SCHEMAS.get(path.name, ResultRow)).is_empty()


OTHERS = {
    "measures.csv": ({"measure": "dcor", "value": "0.5"}, {"value": "", "ipc": "x", "measure": ""}),
    "probe.csv": ({"architecture": "a", "accuracy": "0.5"}, {"accuracy": "5", "ipc": "five", "noe": "0"}),
    "scores.csv": (
        {"architecture": "a", "lrs": "0.5"},
        {"lrs": "high", "syn_any_mean": "34", "distill_seed": "x"},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_tables_of_other_pipelines_are_refused_likewise(tmp_path, name):
    whole, wrong = OTHERS[name]
    for column, cell in wrong.items():
        row = {**whole, "config_hash": "1", column: cell}
        write_csv(tmp_path / name, [row], [c for c in columns_of(SCHEMAS[name]) if c in row])
        with pytest.raises(InputError, match=rf"; line 2 has '{cell}' in column {column}: "):
            read_rows(tmp_path / name, SCHEMAS[name])


def test_rows_of_one_key_that_disagree_are_refused_in_one_table_and_told_of_in_several(table, capsys):
    low, high = (trained("dm5x2", "abc", accuracy) for accuracy in ("0.11", "0.93"))
    path = table(low, high)
    assert "two rows of the key abc have accuracy_last 0.11 and 0.93 on the same hardware" in refusals(path)
    several = [table(low, name="one"), table(high, name="two")]
    assert texts_in(several) == [low]
    path.unlink()
    assert FinishedRows(Store(path.parents[2] / "store"), path.parents[1]).row("abc")["accuracy_last"] == 0.11
    (line,) = set(capsys.readouterr().out.splitlines())
    assert line.endswith("on the same hardware; the first is taken")


@pytest.mark.parametrize("elsewhere", [{"hardware": "another"}, {"commit": "c2"}])
def test_accuracies_may_differ_by_hardware_and_code(table, capsys, elsewhere):
    path = table(trained("dm5x2", "abc", "0.11"), trained("dm5x2", "abc", "0.12", **elsewhere))
    (row,) = texts_in([path])
    assert row["accuracy_last"] == "0.11" and capsys.readouterr().out == ""
