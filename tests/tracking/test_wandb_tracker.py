"""What a run tracks with Weights & Biases, read back from its offline files by wandb's own reader."""

import json
import os

import pytest
import wandb
from conftest_wandb import clean_environment, read
from PIL import Image

import moe_distill as md
from moe_distill.errors import InputError
from moe_distill.results.rows import COLUMNS
from moe_distill.sweeps.looking import REPORT

pytestmark = pytest.mark.slow

ONE = ("logger=wandb", "students=convnet3", "seeds=1", "recipe.epochs=1", "name=mirrored", "diversity=none")
JOBS = {"dm": ("method=dm", "baselines=single_and_random"), "idm": ("method=idm",)}
ROSTERS = {"dm": ["dm5x2", "dm10x1", "random10x1"], "idm": ["idm5x2"]}


@pytest.fixture(scope="module")
def suite(shared_suite):
    with clean_environment():
        yield shared_suite


@pytest.fixture(scope="module")
def runs(suite):
    """The wandb runs of jobs in one process: the first job, another one, and the first again."""
    told = {}
    for name in (*JOBS, "dm"):
        out = suite.home / name
        suite(*ONE, *JOBS[name], f"paths.output={out}")
        told[name] = [read(folder) for folder in sorted(out.glob("wandb/offline-run-*"))]
    return told


def rows_of(suite, name, roster):
    return [row for row in suite.rows(suite.home / name) if row["roster"] == roster]


def scalars(item):
    """Return the numbers of a point, the clock's and those of the table of costs apart: stages are now
    found."""
    return {k: v for k, v in item.items() if isinstance(v, int | float) and not k.startswith(("_", "costs"))}


def test_every_job_of_a_process_is_a_finished_wandb_run_of_one_group(runs):
    assert {name: len(each) for name, each in runs.items()} == {"dm": 2, "idm": 1}
    for name, each in runs.items():
        for run in each:
            assert (run.told["name"], run.told["state"], run.told["exit_code"]) == (name, "finished", 0)
            told = {k: run.about[k] for k in ("run_group", "job_type", "project", "tags")}
            tags = ["digits", name, "smoke"]
            assert told == {
                "run_group": "mirrored",
                "job_type": "full",
                "project": "moe_distill",
                "tags": tags,
            }


def test_a_repeated_job_tells_the_same_run_the_same_points_again(runs):
    """Synced one after the other, the later file writes over the earlier one's points from the first on."""
    first, again = runs["dm"]
    assert first.told["run_id"] == again.told["run_id"] != runs["idm"][0].told["run_id"]
    numbers = [[scalars(item) for item in run.history] for run in (first, again)]
    assert [len(n) for n in numbers[0]] == [len(item) for item in numbers[1]] and len(numbers[0]) > 8
    assert numbers[0] == numbers[1]


def test_the_configuration_has_plain_axes_and_the_whole_tree(runs):
    plain = {
        "ipc": 5,
        "noe": 2,
        "budget": 10,
        "dataset": "digits",
        "scale": "smoke",
        "diversity": "none",
        "seeds": 1,
    }
    for name, (run, *_) in runs.items():
        expected = {**plain, "method": name, "roster": f"{name}5x2", "scale_name": "smoke", "init": "random"}
        assert {k: run.config[k] for k in expected} == expected
        tree = run.config["settings"]
        assert tree["method"]["_target_"] == f"moe_distill.methods.{name}.{name.upper()}"
        assert tree["data"] == {"_target_": "moe_distill.data.sources.public_sets.Digits", "name": "digits"}
        assert not any(
            isinstance(v, dict | list) for k, v in run.config.items() if k not in ("settings", "_wandb")
        )


def test_a_curve_is_the_own_sets_as_the_store_holds_it(suite, runs):
    for name, (run, *_) in runs.items():
        for curve in ("expert_0/loss", "expert_1/loss"):
            shown = [(i["iteration"], i[curve]) for i in run.history if curve in i]
            stored = next(
                [line.split(",") for line in path.read_text().splitlines()]
                for path in suite.store.glob("set/*/curves.csv")
                if f'"roster": "{name}5x2"' in path.with_name("manifest.json").read_text()
            )
            assert shown == [(int(i), pytest.approx(float(v), rel=1e-6)) for i, n, v in stored if n == curve]
            assert [iteration for iteration, _ in shown] == [1, 2, 3]


def test_the_results_table_holds_every_row_and_the_summary_is_of_the_own_set(suite, runs):
    for name, (run, *_) in runs.items():
        table = json.loads((run.folder / "files" / run.summary["results"]["path"]).read_text())
        rows = [dict(zip(table["columns"], line, strict=True)) for line in table["data"]]
        assert set(table["columns"]) == set(COLUMNS) and [r["roster"] for r in rows] == ROSTERS[name]
        accuracy = {r["roster"]: float(r["accuracy_last"]) for r in suite.rows(suite.home / name)}
        own = accuracy[f"{name}5x2"]
        assert run.summary["accuracy"] == run.summary["accuracy/convnet3"] == pytest.approx(own, rel=1e-6)
        lead = own - accuracy["random10x1"] if name == "dm" else None
        assert run.summary.get("accuracy_over_random") == (
            None if lead is None else pytest.approx(lead, abs=1e-6)
        )
        assert "dcor2_unbiased" not in run.summary  # nothing to measure it by
        costs = json.loads((run.folder / "files" / run.summary["costs"]["path"]).read_text())
        stages = [line[costs["columns"].index("stage")] for line in costs["data"]]
        assert stages == ["distill", "evaluate"] * len(ROSTERS[name])


def test_the_costs_are_the_own_sets(suite, runs):
    for name, (run, *_) in runs.items():
        (row,) = rows_of(suite, name, f"{name}5x2")
        seconds = {
            stage: float(row[f"{column}_seconds"])
            for stage, column in (("distill",) * 2, ("evaluate", "train"))
        }
        shown = {stage: run.summary[f"cost/{stage}_seconds"] for stage in seconds}
        assert shown == pytest.approx(seconds, rel=1e-6)
        assert run.summary["cost/peak_memory_mb"] == pytest.approx(float(row["peak_memory_mb"]), rel=1e-6)


def test_the_last_point_joins_the_runs_of_a_sweep(runs):
    for run, *_ in runs.values():
        last = run.history[-1]
        assert (last["ipc"], last["noe"], last["budget"]) == (5, 2, 10)
        assert all(last[k] == run.summary[k] for k in ("accuracy", "cost/distill_seconds"))
        assert not any("noe" in item for item in run.history[:-1])


def test_each_experts_images_are_there_the_own_sets_under_a_name_of_its_own(runs):
    for name, (run, *_) in runs.items():
        own, *others = ROSTERS[name]
        assert {k for k in run.summary if k.startswith("distilled")} == {
            "distilled",
            *(f"distilled/{o}" for o in others),
        }
        shown = run.summary["distilled"]
        assert shown["captions"] == [f"{own} expert 0", f"{own} expert 1"]
        files = [run.folder / "files" / file for file in shown["filenames"]]
        assert len(set(files)) == 2
        for file in files:
            with Image.open(file) as picture:
                picture.load()
                assert len(picture.getcolors(1 << 24)) > 2


def test_a_job_that_fails_leaves_a_failed_run(suite):
    out = suite.home / "failed"
    with pytest.raises(InputError, match="pretrain"):
        suite("logger=wandb", "pipeline=distill", "method=idm", f"paths.output={out}")
    (folder,) = out.glob("wandb/offline-run-*")
    run = read(folder)
    assert (run.told["state"], run.told["exit_code"], run.about["job_type"]) == ("failed", 1, "distill")


def test_what_is_about_no_plan_leaves_no_run(suite, runs):
    suite.look(REPORT, *ONE, f"paths.output={suite.home / 'idm'}")
    assert len(list((suite.home / "idm").glob("wandb/offline-run-*"))) == len(runs["idm"])


def test_what_wandb_does_not_take_is_one_line(suite, monkeypatch):
    for name in ("a/b", "", "x" * 129, "50%"):
        with pytest.raises(
            InputError, match=rf"^logger\.project={name[:60]}.*: a name of at most 128 characters"
        ):
            suite(*ONE, "method=dm", f"logger.project='{name}'", f"paths.output={suite.home / 'named'}")
    # As it does where WANDB_MODE=foo, which a process reads once.
    monkeypatch.setattr(wandb, "init", lambda **_: wandb.Settings(mode="foo"))
    with pytest.raises(InputError, match=r"^WANDB_MODE=foo: Input should be 'online', 'offline'"):
        suite(*ONE, "method=dm", f"paths.output={suite.home / 'named'}")


def test_going_online_without_a_key_is_refused_before_any_work(suite):
    with pytest.raises(
        InputError, match=r"^logger.mode=online: offline, or with a Weights & Biases key: run `wandb lo"
    ):
        suite(*ONE, "method=dm", "logger.mode=online", f"paths.output={suite.home / 'online'}")
    assert sorted(f.name for f in (suite.home / "online").iterdir()) == [".run.lock", "attempts.json"]


def test_a_run_that_the_server_refuses_is_one_line(suite, monkeypatch):
    def refuses(**_):
        raise wandb.errors.CommError("run was previously\ncreated and deleted")

    monkeypatch.setattr(wandb, "init", refuses)
    with pytest.raises(
        InputError, match=r"^logger.mode=offline: offline; run [0-9a-f]{32} was refused: run was prev"
    ) as e:
        suite(*ONE, "method=dm", f"paths.output={suite.home / 'refused'}")
    assert "\n" not in str(e.value)


def test_a_python_call_is_tracked_where_it_asks_for_it_and_leaves_the_callers_run_open(suite, tmp_path):
    train, test = md.load_dataset("digits")
    usual = {"scale": "smoke", "threads": 1, "progress": False, "store": str(tmp_path / "store")}
    theirs = wandb.init(mode="offline", dir=str(tmp_path / "theirs"), settings=wandb.Settings(silent=True))
    before = dict(os.environ)
    shown = {"runs": str(tmp_path / "runs"), "logger": "wandb"}
    synthetic = md.distill(train, method="dm", ipc=1, noe=1, **shown, **usual)
    results = md.evaluate(synthetic, test, students="mlp", seeds=1)
    assert os.environ == before
    theirs.log({"still": 1})
    theirs.finish()
    runs = [read(folder) for folder in sorted((tmp_path / "runs" / "single").glob("wandb/offline-run-*"))]
    assert [(run.about["job_type"], run.told["state"]) for run in runs] == [
        ("distill", "finished"),
        ("evaluate", "finished"),
    ]
    assert [point["iteration"] for point in runs[0].history if "expert_0/loss" in point] == [1, 2, 3]
    assert runs[1].summary["accuracy"] == pytest.approx(results.accuracy)
