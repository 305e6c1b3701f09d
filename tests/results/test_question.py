"""What an experiment asks, in the words of its result rows; what the paper has is found by them."""

import csv
from pathlib import Path

import pytest
from conftest_rows import to_come

from moe_distill.errors import InputError
from moe_distill.results.frames import frame_of
from moe_distill.results.question import Question, load_question, meets, paper_rows, published, to_frame
from moe_distill.results.rows import COLUMNS, variant_names

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ONE, MIXED = {"diversity": "none", "fusion": "none"}, {"diversity": "paper", "fusion": "cross_expert"}


def row(roster="dm5x2", **more):
    own = {"roster": roster, "method": "dm", "dataset": "d", "ipc": "5", "noe": "2", "architecture": "a"}
    return {
        **dict.fromkeys(COLUMNS, ""),
        **own,
        "accuracy_last": "0.5",
        "seed": "0",
        "distill_seed": "0",
        **more,
    }


@pytest.mark.parametrize(
    ("value", "wanted", "column", "met"),
    [
        ("cross_expert", "cross_expert", "fusion", True),
        ("cross_expert-alpha0.2-sample", "cross_expert", "fusion", True),
        ("additive-cross_expert", "cross_expert", "fusion", False),
        ("vanilla", "none", "fusion", False),
        ("clom-2000-convnet-3x6ep", "clom", "regulariser", True),
        ("cclom-1000", "clom", "regulariser", False),
        ("idm5-vgg11x2", "idm5", "roster", False),
        ("1", 1, "noe", True),
        ("12", 1, "noe", False),
        ("7+3", "7+3", "ipc", True),
        ("5", 5, "ipc", True),
        ("0.25", 0.25, "width", True),
        ("0.25", "wide", "width", False),
    ],
)
def test_a_condition_is_met_by_its_value_and_by_titles_that_begin_with_it(value, wanted, column, met):
    frame = frame_of([row(**{column: value})])
    assert frame.select(meets(frame, {column: wanted})).item() is met


def accuracy(name, **conditions):
    own = {
        "regulariser": "none",
        "recipe": {"idm": "dsa"}.get(conditions.get("method"), conditions.get("method")),
    }
    return in_paper({**own, **conditions}, Question(paper=paper_rows(EXPERIMENTS / name / "paper.csv")))


def in_paper(conditions, question):
    """Return what the paper has for a row that meets some conditions."""
    return published(frame_of([row(**conditions)]), question).item()


@pytest.mark.parametrize(
    ("name", "conditions", "percent"),
    [
        (
            "table1",
            dict(dataset="cifar10", method="idm", ipc="5", noe="2", architecture="alexnet", **MIXED),
            37.19,
        ),
        (
            "table1",
            dict(dataset="cifar100", method="mtt", ipc="20", noe="1", architecture="vgg11", **ONE),
            27.72,
        ),
        (
            "table1",
            dict(dataset="cifar10", method="idm", ipc="5", noe="2", architecture="alexnet", **ONE),
            None,
        ),
        (
            "table1",
            dict(dataset="cifar10", method="dm", ipc="5", noe="2", architecture="alexnet", **MIXED),
            None,
        ),
        (
            "table1",
            dict(method="idm", ipc="5", noe="2", architecture="alexnet", regulariser="clom", **MIXED),
            None,
        ),
        (
            "table1",
            dict(method="idm", ipc="5", noe="2", architecture="alexnet", recipe="modern", **MIXED),
            None,
        ),
        ("failures", dict(method="idm", ipc="5", noe="2", architecture="alexnet", **MIXED), 37.19),
        ("table2", dict(roster="idm10+rded10", recipe="rded", architecture="resnet18", **MIXED), 46.79),
        ("table2", dict(roster="idm10+rded10", recipe="rded_hard", architecture="resnet18", **MIXED), 46.79),
        ("table2", dict(roster="rded20x1", recipe="rded_hard", architecture="convnet3", **ONE), 45.62),
        ("table2", dict(roster="rded20x1", recipe="idm", architecture="convnet3", **ONE), None),
        (
            "table3",
            dict(method="idc", diversity="paper", fusion="vanilla-alpha0.5", architecture="alexnet"),
            44.60,
        ),
        ("table3", dict(method="idc", diversity="paper", fusion="none", architecture="vgg11"), 50.84),
        ("table4", dict(method="mtt", ipc="10", architecture="convnet3", **ONE), 58.08),
        (
            "table4",
            dict(method="mtt", ipc="10", diversity="paper", fusion="none", architecture="convnet3"),
            58.38,
        ),
        ("table4", dict(method="mtt", ipc="10", architecture="convnet3", **MIXED), 60.14),
        ("full_data", dict(dataset="cifar100", method="full_dataset", architecture="convnet3"), 56.20),
        ("full_data", dict(dataset="cifar100", method="full_dataset", architecture="vgg11"), None),
    ],
)
def test_the_papers_accuracies_are_found_by_the_conditions_they_hold_under(name, conditions, percent):
    found = accuracy(name, **{"dataset": "cifar10", **conditions})
    assert found == (None if percent is None else pytest.approx(percent / 100, abs=1e-12))


@pytest.mark.parametrize(("name", "lines"), [("table1", 96), ("table2", 16), ("table3", 12), ("table4", 18)])
def test_every_published_accuracy_is_found_again_by_its_own_conditions(name, lines):
    paper = paper_rows(EXPERIMENTS / name / "paper.csv")
    question = Question(paper=paper)
    assert len(paper) == lines
    frame = frame_of([row(**{c: v for c, v in one.items() if c != "accuracy"}) for one in paper])
    assert published(frame, question).to_list() == [
        pytest.approx(float(one["accuracy"]) / 100, abs=1e-12) for one in paper
    ]


def test_tables_of_the_paper_agree_where_they_overlap():
    whole = {"dataset": "cifar10", "ipc": "5", "noe": "2", "architecture": "convnet3", **MIXED}
    for method in ("idc", "idm", "mtt"):
        assert accuracy("table4", method=method, **whole) == accuracy("table1", method=method, **whole)
    assert accuracy("table3", method="idc", **whole) == accuracy("table1", method="idc", **whole)
    assert (EXPERIMENTS / "failures" / "paper.csv").read_text() == (
        EXPERIMENTS / "table1" / "paper.csv"
    ).read_text()


@pytest.mark.parametrize("experiment", ["table1", "budget"])
def test_the_papers_file_is_that_of_the_experiment_or_none_and_one_that_is_named_must_be_there(
    composed, experiment
):
    file = EXPERIMENTS / experiment / "paper.csv"
    told = composed(f"+experiment={experiment}", f"paths.tables={EXPERIMENTS}").question.paper
    assert told == (str(file) if file.is_file() else None)
    assert load_question(paper=told).paper == paper_rows(file)
    with pytest.raises(InputError, match=r"^paper=5: a file of published accuracies"):
        load_question(paper="5")


def test_a_paper_that_cannot_be_read_is_refused(tmp_path):
    assert paper_rows(tmp_path / "paper.csv") == []
    with pytest.raises(InputError, match="paper=archtecture"):
        Question(paper=[{"archtecture": "a", "accuracy": "1"}])
    with pytest.raises(InputError, match="paper=None: columns among"):  # a line with a field too many
        Question(paper=[{"dataset": "d", "accuracy": "1", None: ["2"]}])
    for wrong in ({}, {"accuracy": ""}, {"accuracy": None}, {"accuracy": "5 %"}):
        with pytest.raises(InputError, match="an accuracy in percent"):
            Question(paper=[{"dataset": "d", **wrong}])
    twice = Question(
        paper=[{"dataset": "d", "accuracy": "1"}, {"method": "dm", "dataset": "", "accuracy": "2"}]
    )
    with pytest.raises(InputError, match=r"paper=1\.00 and 2\.00: one accuracy for method dm"):
        in_paper({}, twice)


def test_names_are_told_by_the_lines_that_a_question_names():
    rows = [
        row(diversity=d, fusion=f, dataset=s)
        for s in "de"
        for d, f in (("none", "none"), ("paper", "vanilla"))
    ]
    assert (
        to_frame(rows, Question(lines=["method", "fusion"]))["variant"].to_list()
        == ["dm none", "dm vanilla"] * 2
    )
    assert to_frame(rows, Question())["variant"].to_list() == variant_names(rows, within=("dataset",))
    assert to_frame(rows, Question())["variant"].to_list() == ["dm5x2 none", "dm5x2 paper"] * 2


def test_a_student_of_whom_two_rows_tell_counts_once():
    """Random images of one expert are trained on alike whether or not the other cells mix across experts."""
    rows = [row(config_hash=f"{h}{s}", commit=h, seed=s) for h in "xy" for s in "01"]
    another = row(config_hash="z0", accuracy_last="0.6", recipe_key="other")
    assert to_frame(rows, Question())["config_hash"].to_list() == ["x0", "x1"]
    assert to_frame(rows, Question(lines=["method"]))["variant"].to_list() == ["dm", "dm"]
    assert len(to_frame([*rows, another], Question())) == 3
    with pytest.raises(InputError, match=r"question\.lines=dm"):
        to_frame([*rows, another], Question(lines=["method"]))


def test_a_selection_that_draws_nothing_counts_once_whatever_its_seed():
    rows = [row("kcenter10x1", distill_seed=d, set_fingerprint="f", seed=s) for d in "012" for s in "01"]
    assert to_frame(rows, Question())["distill_seed"].to_list() == [None, None]
    assert len(to_frame([{**r, "set_fingerprint": f"f{r['distill_seed']}"} for r in rows], Question())) == 6


def test_students_that_no_other_column_tells_apart_are_told_apart_by_their_width():
    rows = [row(width=w, set_fingerprint="f", accuracy_last=a) for w, a in (("0.25", "0.4"), ("1.0", "0.6"))]
    assert to_frame(rows, Question())["variant"].to_list() == ["dm5x2 width=0.25", "dm5x2 width=1.0"]


def test_lines_that_lump_students_together_are_refused():
    rows = [row(recipe=recipe, fusion=fusion) for recipe, fusion in (("dsa", "none"), ("idc", "vanilla"))]
    with pytest.raises(
        InputError, match=r"question\.lines=dm: also what tells its rows apart: fusion, recipe"
    ):
        to_frame(rows, Question(lines=["method"]))


@pytest.mark.parametrize(
    ("setting", "value"), [("against", {"moe": 1}), ("axis", "moe"), ("lines", ["method", "moe"])]
)
def test_a_question_about_no_column_is_refused(setting, value):
    with pytest.raises(InputError, match=rf"question\.{setting}=moe: columns among experiment"):
        to_frame([row()], Question(**{setting: value}))
    assert to_frame([], Question(**{setting: value})).is_empty()


def test_students_to_come_take_the_name_that_their_rows_will_have():
    rows = [row(recipe="dsa", seed=s, architecture="a", iterations="300", set_fingerprint="f") for s in "01"]
    rows.append(row("dm10x1", ipc="10", architecture="a"))
    coming = to_come(row(recipe=r, architecture=a, seed="0") for r in ("dsa", "idc") for a in "ab")
    frame = to_frame([*rows, *coming], Question())
    assert frame.select("variant", "architecture").rows()[len(rows) :] == [
        ("dm5x2 dsa", "b"),
        ("dm5x2 idc", "a"),
        ("dm5x2 idc", "b"),
    ]
    assert frame["accuracy"].null_count() == 3
    assert frame["variant"].to_list()[:2] == ["dm5x2 dsa"] * 2
    alone = to_frame(coming, Question(lines=["roster", "recipe"]))
    assert alone["variant"].to_list() == ["dm5x2 dsa", "dm5x2 dsa", "dm5x2 idc", "dm5x2 idc"]


def test_the_papers_files_are_tables_of_known_columns():
    files = sorted(EXPERIMENTS.glob("*/paper.csv"))
    assert {f.parent.name for f in files} >= {"table1", "table2", "table3", "table4", "full_data"}
    for file in files:
        with file.open(newline="") as opened:
            rows = list(csv.reader(opened))
        assert {len(r) for r in rows} == {len(rows[0])} and set(rows[0]) <= {*COLUMNS, "accuracy"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"method,accuracy\ndm,\xe9\n", r"^table=.*paper\.csv: a table .* not UTF-8"),
        (b"<<<<<<< HEAD\nmethod,accuracy\n", r"^(table|paper)=.*paper\.csv"),
        (b"method;accuracy\ndm;5\n", r"^paper=.*paper\.csv: method;accuracy: columns among"),
        (b"method,accuracy\ndm,nan\n", r"^paper=.*paper\.csv: .*an accuracy in percent, 0 to 100"),
        (b"method,accuracy\ndm,101\n", r"^paper=.*paper\.csv: .*an accuracy in percent, 0 to 100"),
    ],
)
def test_published_accuracies_that_cannot_be_are_refused_by_their_file(tmp_path, content, said):
    (tmp_path / "paper.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_question(paper=str(tmp_path / "paper.csv"))
