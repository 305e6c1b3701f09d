"""The Weights & Biases mirror, read back from its offline files by wandb's own reader."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from moe_distill.pipelines.rows import COLUMNS

ONE = ("logger=wandb", "students=convnet3", "seeds=1", "recipe.epochs=1", "name=mirrored", "diversity=none")
METHODS = ("dm", "idm")


def inspected(folder, *flags):
    """Return what ``wandb leet inspect`` prints of a run's folder."""
    beside = Path(sys.executable).with_name("wandb")
    wandb = str(beside) if beside.exists() else shutil.which("wandb")
    command = [wandb, "leet", "inspect", str(folder), *flags, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def runs(shared_suite):
    """Two runs in one process: for each, its folder, wandb's folder in it, the records and their summary."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_MODE", "WANDB_DIR"):
            patch.setenv(variable, "")  # remembered, so that what the mirror sets is undone
            patch.delenv(variable)
        for method in METHODS:
            out = shared_suite.home / method
            shared_suite(*ONE, f"method={method}", f"paths.output={out}")
            folders = list(out.glob("wandb/offline-run-*"))
            records = [json.loads(line) for line in inspected(folders[0]).splitlines()]
            told.append((out, folders, records, json.loads(inspected(folders[0], "--summary"))))
    return told


def test_two_runs_in_one_process_are_two_finished_wandb_runs_of_one_group(runs):
    assert [len(folders) for _, folders, _, _ in runs] == [1, 1]
    assert len({summary["run_id"] for *_, summary in runs}) == 2
    assert [(s["name"], s["state"], s["exit_code"]) for *_, s in runs] == [(m, "finished", 0) for m in METHODS]
    for _, _, records, _ in runs:
        (run,) = (r["run"] for r in records if r["type"] == "run")
        assert (run["run_group"], run["job_type"], run["project"]) == ("mirrored", "full", "moe_distill")


def test_the_runs_configuration_is_there(runs):
    for method, (_, _, _, summary) in zip(METHODS, runs, strict=True):
        config = summary["config"]
        assert (config["ipc"], config["noe"], config["seeds"], config["scale_name"]) == (5, 2, 1, "smoke")
        assert config["method"]["_target_"] == f"moe_distill.methods.{method}.{method.upper()}"
        assert config["data"] == {"_target_": "moe_distill.data.sources.Digits", "name": "digits"}


def test_a_curve_is_the_one_the_store_holds(runs):
    out = runs[0][0]
    for method, (_, _, records, _) in zip(METHODS, runs, strict=True):
        items = [r["history"]["item"] for r in records if r["type"] == "history"]
        for name in ("expert_0/loss", "expert_1/loss"):
            curve = [(i["iteration"], i[name]) for i in items if name in i]
            stored = next(
                [line.split(",") for line in path.read_text().splitlines()]
                for path in out.parent.glob("store/set/*/curves.csv")
                if f'"roster": "{method}5x2"' in path.with_name("manifest.json").read_text()
            )
            assert curve == [(int(i), pytest.approx(float(v), rel=1e-6)) for i, n, v in stored if n == name]
            assert [iteration for iteration, _ in curve] == [1, 2, 3]


def test_the_results_table_and_the_mean_accuracy_are_the_runs(runs):
    for method, (out, (folder,), _, summary) in zip(METHODS, runs, strict=True):
        table = json.loads((folder / "files" / summary["summary"]["results"]["path"]).read_text())
        assert set(table["columns"]) == set(COLUMNS) and len(table["data"]) == 1
        row = dict(zip(table["columns"], table["data"][0], strict=True))
        assert (row["roster"], row["architecture"], row["dataset"]) == (f"{method}5x2", "convnet3", "digits")
        assert f",{row['config_hash']}," in (out / "results.csv").read_text()
        mean = summary["summary"][f"accuracy/{method}5x2/convnet3"]
        assert mean == pytest.approx(row["accuracy_last"], rel=1e-6)
        costs = json.loads((folder / "files" / summary["summary"]["costs"]["path"]).read_text())
        stages = [line[costs["columns"].index("stage")] for line in costs["data"]]
        assert stages == ["distill", "evaluate"]


def test_each_experts_images_are_there(runs):
    for method, (_, (folder,), _, summary) in zip(METHODS, runs, strict=True):
        shown = summary["summary"][f"distilled/{method}5x2"]
        assert shown["captions"] == [f"{method}5x2 expert 0", f"{method}5x2 expert 1"]
        files = [folder / "files" / name for name in shown["filenames"]]
        assert len(set(files)) == 2
        for file in files:
            with Image.open(file) as picture:
                picture.load()
                assert len(picture.getcolors(1 << 24)) > 2
