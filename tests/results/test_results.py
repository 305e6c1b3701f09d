"""Results as a user handles them: the same numbers as numpy's, in a table, a file and a comparison."""

from pathlib import Path

import numpy as np
import pytest

import moe_distill as md
from moe_distill.config.schema import experiments_dir
from moe_distill.results.results import Table

RNG = np.random.default_rng(0)


def results(method, accuracies, network="convnet3"):
    common = {
        "method": method,
        "roster": f"{method}5x2",
        "dataset": "digits",
        "ipc": "5",
        "noe": 2,
        "distill_seed": 0,
    }
    rows = [
        {
            **common,
            "architecture": network,
            "seed": seed,
            "accuracy_last": a,
            "config_hash": f"{method}{network}{seed}",
        }
        for seed, a in enumerate(accuracies)
    ]
    return md.Results(rows)


def test_mean_table_and_comparison_are_those_of_numpy():
    dm, idm = RNG.uniform(0.3, 0.6, 4), RNG.uniform(0.3, 0.6, 4)
    ahead, behind = (
        results("dm", dm) + results("dm", dm + 0.1, "mlp"),
        results("idm", idm) + results("idm", idm, "mlp"),
    )
    assert ahead.accuracy == pytest.approx(np.concatenate([dm, dm + 0.1]).mean())
    percent = [f"{100 * x.mean():.1f} ± {100 * x.std(ddof=1):.1f}" for x in (dm, dm + 0.1)]
    *_, line = str(ahead.table()).splitlines()
    assert line.split("  ")[1:3] == percent or all(text in line for text in percent)
    comparison = ahead.compare(behind)
    assert comparison.by_network["convnet3"].difference == pytest.approx((dm - idm).mean())
    assert comparison.average.difference == pytest.approx(((dm - idm).mean() + (dm + 0.1 - idm).mean()) / 2)
    assert str(comparison).startswith("dm5x2 over idm5x2: test accuracy, points")
    assert repr(comparison) == str(comparison) and "<table>" in comparison._repr_html_()
    assert md.compare(ahead, behind).average == comparison.average


def test_a_file_holds_the_same_results(tmp_path):
    before = md.Results.load(Path(experiments_dir()) / "mixup_alpha" / "results.csv")
    before.save(tmp_path / "results.csv")
    after = md.Results.load(tmp_path / "results.csv")
    assert (after.accuracy, str(after.table()), len(after)) == (
        before.accuracy,
        str(before.table()),
        len(before),
    )
    assert after.frame().equals(before.frame())
    with pytest.raises(md.InputError, match="nothing"):
        md.Results.load(tmp_path / "nothing.csv")


def test_students_that_diverged_are_left_out_and_none_at_all_make_a_table():
    assert results("dm", [0.5, float("nan")]).accuracy == 0.5
    assert np.isnan(md.Results().accuracy) and repr(md.Results()) == "no results"


def test_a_table_is_escaped_where_a_notebook_shows_it():
    table = Table("a < b", ("x", "y"), [("<script>", "1")])
    assert "<script>" not in table._repr_html_() and "&lt;script&gt;" in table._repr_html_()
    assert str(table) == "a < b\nx         y\n<script>  1"


def test_what_cannot_be_compared_is_named():
    dm, other = results("dm", [0.5, 0.6]), results("idm", [0.5, 0.6], "mlp")
    modern = md.Results([{**row, "recipe": "modern"} for row in dm.rows])
    with pytest.raises(md.InputError, match=r"^recipe=None and modern: the same in both"):
        dm.compare(modern)
    with pytest.raises(md.InputError, match=r"^students=convnet3 and mlp: at least one network"):
        dm.compare(other)
    with pytest.raises(md.InputError, match=r"^other=int: results"):
        dm.compare(3)
    with pytest.raises(md.InputError, match=r"^ahead=int: results"):
        md.compare(3, dm)


LIKE_EACH_OTHER = {"recipe": "dsa", "recipe_key": "5b55340a", "epochs": "101", "width": "0.25"}


@pytest.mark.parametrize("column", [*LIKE_EACH_OTHER, "dataset"])
def test_students_that_were_trained_otherwise_are_not_compared(column):
    ahead, behind = (
        md.Results([{**row, **LIKE_EACH_OTHER} for row in results(m, [0.5, 0.6]).rows]) for m in ("dm", "idm")
    )
    assert ahead.compare(behind).average.n == 2
    other = md.Results([{**row, column: "3"} for row in behind.rows])
    with pytest.raises(md.InputError, match=rf"^{column}=\S+ and 3: the same in both"):
        ahead.compare(other)
    # Of a network that only one side has, nothing is compared.
    more = md.Results(
        [*behind.rows, *({**row, "architecture": "mlp", "width": "1.0"} for row in behind.rows)]
    )
    assert ahead.compare(more).average == ahead.compare(behind).average


def test_what_two_sides_differ_in_names_them():
    mixed, plain = (
        md.Results([{**row, "fusion": fusion} for row in results("dm", [0.5]).rows])
        for fusion in ("cross_expert", "none")
    )
    assert mixed.compare(plain).names == ("dm5x2 cross_expert", "dm5x2 none")
    with pytest.raises(md.InputError, match=r"^results=of dm5x2, idm5x2: students of one set"):
        (results("dm", [0.5]) + results("idm", [0.6])).compare(results("dm", [0.5]))


def test_nothing_of_a_users_is_set_aside_for_a_file(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    dm = results("dm", [0.5])
    for place, message in (
        ("mine", "a file; this is a folder"),
        ("mine/x.parquet", "a file that ends in .csv"),
    ):
        with pytest.raises(md.InputError, match=f"^path={tmp_path / place}: {message}"):
            dm.save(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    with pytest.raises(md.InputError, match=r"^path=/proc/none: a folder that can be read and written"):
        dm.save("/proc/none/x.csv")
    with pytest.raises(md.InputError, match=r"^path=int: a path"):
        md.Results.load(3)
    dm.save(tmp_path / "new" / "x.csv")
    assert (tmp_path / "new" / "x.csv").is_file()


def test_rows_of_something_else_are_refused():
    with pytest.raises(md.InputError, match=r"^rows=without roster: rows of students"):
        md.Results([{"accuracy": 1.0}])
