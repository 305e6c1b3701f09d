"""Whole sweeps of a tiny app, run the way a user does."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import moe_distill

pytestmark = pytest.mark.slow

ROOT = Path(moe_distill.__file__).parents[1]
APP = """
import json, os, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

def forecast(configs):
    return "forecast for x of " + " ".join(str(config.x) for config in configs)

def odd(configs):
    return [config.x % 2 == 1 for config in configs]

def summary(configs):
    return f"ended {len(configs)}: " + " ".join(sorted(str(p) for p in Path("out").glob("*/began")))

@hydra.main(version_base="1.3", config_path=str(Path(__file__).parent / "conf"), config_name="config")
def main(cfg):
    began = time.time()
    out = Path(HydraConfig.get().runtime.output_dir)
    (out / "began").touch()
    if cfg.x == cfg.fail:
        raise ValueError(f"x is {cfg.x}")
    time.sleep(cfg.seconds)
    note = {"cfg": OmegaConf.to_container(cfg), "num": HydraConfig.get().job.num, "env": dict(os.environ)}
    (out / "note.json").write_text(json.dumps({**note, "began": began, "ended": time.time()}))

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [_self_, optional pipeline: none, override hydra/launcher: process]
x: 0
y: 0
text: ""
items: []
seconds: 0
fail: null
before_sweep: null
done_already: null
after_sweep: null
hydra: {sweep: {dir: out, subdir: "x${x}-y${y}"}}
"""


@pytest.fixture
def app(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "tiny.py").write_text(APP)
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    return tmp_path


def command(app, *arguments, start=("-m", "tiny")):
    """What to run, and how."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "moe_distill" / "sweeps")])
    env = os.environ | {"PYTHONPATH": path, "MASTER_PORT": "1", "LOCAL_RANK": "1"}
    if not any("launcher" in argument for argument in arguments):
        arguments = (
            *arguments,
            "hydra.launcher.warm=false",
        )  # of what the suite imports, this app needs nothing
    return {"args": [sys.executable, *start, *arguments], "cwd": app, "env": env, "text": True}


def sweep(app, *arguments, **options):
    return subprocess.run(**command(app, "-m", *arguments, **options), capture_output=True, timeout=60)


def notes(app):
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(app.glob("out/*/note.json"))}


def test_a_grid_on_two_slots(app):
    done = sweep(app, "x=1,2", "y=1,2", "seconds=1", "hydra.launcher.gpus='0;1'")
    assert done.returncode == 0, done.stderr
    found = notes(app)
    assert list(found) == ["x1-y1", "x1-y2", "x2-y1", "x2-y2"]
    assert [note["num"] for note in found.values()] == [0, 1, 2, 3]
    assert {note["env"]["CUDA_VISIBLE_DEVICES"] for note in found.values()} == {"0", "1"}
    assert not any({"MASTER_PORT", "LOCAL_RANK"} & set(note["env"]) for note in found.values())
    pairs = itertools.combinations(found.values(), 2)
    both = [(a, b) for a, b in pairs if a["began"] < b["ended"] and b["began"] < a["ended"]]
    assert both and all(a["env"]["CUDA_VISIBLE_DEVICES"] != b["env"]["CUDA_VISIBLE_DEVICES"] for a, b in both)
    assert sorted(re.findall(r"\[(\d)/4\] done in \d s  x=\d y=\d seconds=1\n", done.stdout)) == list("1234")


def test_failures_are_isolated_and_named(app):
    hooks = ("before_sweep=tiny.forecast", "after_sweep=tiny.summary")
    done = sweep(app, "x=1,2", "fail=1", *hooks)
    assert done.returncode == 1
    assert list(notes(app)) == ["x2-y0"]
    line = f"x=1 fail=1 {' '.join(hooks)}: exit code 1, {app}/out/x1-y0/console.log: ValueError: x is 1"
    assert f"1 of 2 jobs failed:\n  {line}\n" in done.stdout
    assert (done.stdout + done.stderr).count(line) == 2 and "Error executing job" not in done.stderr
    assert "1 of 2 jobs failed, as said above" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout.index("forecast for x of 1 2\n") < done.stdout.index("[1/2]")
    assert done.stdout.index("[2/2]") < done.stdout.index("ended 2: out/x1-y0/began out/x2-y0/began\n")


def test_jobs_that_are_done_already_cost_no_process(app):
    done = sweep(app, "x=1,2,3", "done_already=tiny.odd", "after_sweep=tiny.summary")
    assert done.returncode == 0 and list(notes(app)) == ["x2-y0"] and notes(app)["x2-y0"]["num"] == 1
    assert "found: 2 of 3 jobs are done already\n" in done.stdout
    assert "[1/1] done" in done.stdout and "ended 3: " in done.stdout
    again = sweep(app, "x=1,3", "done_already=tiny.odd")
    assert again.returncode == 0 and "found: 2 of 2 jobs are done already\n" in again.stdout


def test_failures_are_named_though_the_page_cannot_be_built(app):
    done = sweep(app, "x=1,2", "fail=1", "after_sweep=tiny.nothing")
    assert done.returncode != 0 and "nothing" in done.stderr
    assert "1 of 2 jobs failed:\n  x=1 fail=1" in done.stdout


@pytest.mark.parametrize("launcher", ["process", "basic"])
def test_a_mistake_in_one_cell_ends_the_sweep_at_once(app, launcher):
    (app / "conf" / "size").mkdir()
    (app / "conf" / "size" / "big.yaml").write_text("n: 1\n")
    kinds = (f"hydra/launcher={launcher}", "hydra/sweeper=cells")
    done = sweep(app, "+size=big,huge", "hydra.sweep.subdir='${hydra:job.num}'", *kinds)
    assert done.returncode == 1 and "Could not find 'size/huge'" in done.stderr
    assert not list(app.glob("out/*/began"))


def test_values_and_folders_survive_quoting(app):
    """Also: a script runs the module it names."""
    texts = ["a b=c, d", """it's "so" \\ $x {y}: [z"""]
    items = [1, "2,3", {"k": "v=w"}]
    done = sweep(
        app,
        r"""text='a b=c, d','it\'s "so" \ $x {y}: [z'""",
        "items=[1,'2,3',{k: 'v=w'}]",
        "+new='über = 1'",
        "~y",
        r"hydra.sweep.subdir='n = ${hydra.job.num}, it\'s'",
        "hydra.launcher.n_jobs=2",
        "hydra.launcher.module=tiny",
        "hydra.launcher.warm=false",
        start=("tiny.py",),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = notes(app)
    assert list(found) == ["n = 0, it's", "n = 1, it's"]
    expected = [{"text": text, "items": items, "new": "über = 1"} for text in texts]
    assert [{key: note["cfg"][key] for key in expected[0]} for note in found.values()] == expected
    assert not any("y" in note["cfg"] for note in found.values())


def test_a_stopped_sweep_leaves_nothing_running(app):
    with subprocess.Popen(
        **command(app, "-m", "x=1,2,3", "seconds=50", "hydra.launcher.n_jobs=2", "hydra.launcher.warm=false"),
        stdout=-1,
    ) as run:
        while len(list(app.glob("out/*/began"))) < 2:
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=20)
    assert run.returncode == 128 + signal.SIGTERM and "stopped by SIGTERM: 0 of 3 jobs ended" in said
    assert not notes(app) and not (app / "out" / "x3-y0").exists()


def test_a_second_sweep_of_one_folder_is_refused_before_a_job_of_the_first_has_begun(app):
    (app / "hooks.py").write_text("""
import time
from pathlib import Path

def slow(configs):
    Path("asked").touch()
    while not Path("go").exists():
        time.sleep(0.05)
""")
    same = ("-m", "x=1,2", "before_sweep=hooks.slow")
    with subprocess.Popen(**command(app, *same), stdout=-1, stderr=-1) as first:
        while not (app / "asked").exists():
            assert first.poll() is None
            time.sleep(0.05)
        second = sweep(app, *same[1:])
        assert second.returncode == 1 and not list(app.glob("out/*/began"))
        assert f"hydra.sweep.dir={app}/out: a folder where no sweep runs" in second.stderr
        (app / "go").touch()
        first.communicate(timeout=60)
    assert first.returncode == 0 and list(notes(app)) == ["x1-y0", "x2-y0"]
    assert sweep(app, *same[1:]).returncode == 0


def test_sources_and_overrides_of_hydra_reach_the_jobs(app):
    """Started as a console script does it, with another folder, another main folder and another main file."""
    (app / "more" / "size").mkdir(parents=True)
    (app / "more" / "size" / "big.yaml").write_text("n: 1000\n")
    (app / "conf").rename(app / "elsewhere")
    (app / "elsewhere" / "config.yaml").rename(app / "elsewhere" / "mine.yaml")
    flags = ["--config-dir", "more", "--config-path", str(app / "elsewhere"), "--config-name", "mine"]
    start = ("-c", "import tiny; tiny.main()")
    done = sweep(app, *flags, "+size=big", "x=5", "+hydra.job.env_set.COLOUR=red", start=start)
    assert done.returncode == 0, done.stdout + done.stderr
    (note,) = notes(app).values()
    assert note["cfg"]["size"] == {"n": 1000} and note["env"]["COLOUR"] == "red"


def test_a_script_must_name_its_module(app):
    done = sweep(app, "x=1", start=("tiny.py",))
    assert (
        done.returncode == 1
        and not notes(app)
        and "hydra.launcher.module=None: name the module" in done.stderr
    )
    assert "Traceback" not in done.stderr
