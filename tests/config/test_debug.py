"""debug=fast and debug=profiler: with or without a plus, shorter than any scale, apart from real results."""

import csv
import json
from pathlib import Path

import pytest
from conftest_experiments import FOLDERS
from test_refused import build

from moe_distill.config.arguments import as_hydra_reads
from moe_distill.config.folders import options

FAST = ("trainer=cpu", "threads=1")


@pytest.mark.parametrize("spelling", ["debug=fast", "+debug=fast", "--debug=fast"])
def test_both_spellings_are_hydras_and_stand_last(spelling):
    assert as_hydra_reads([spelling, "+experiment=table1", "-m"]) == [
        "-m",
        "+experiment=table1",
        "+debug=fast",
    ]


@pytest.mark.parametrize("scale", ["paper", "gpu", "overnight", "small", "smoke"])
def test_it_is_shorter_than_any_scale_and_recorded_as_a_scale_of_its_own(composed, scale):
    cfg = composed(f"scale={scale}", "+debug=fast", *FAST)
    assert (cfg.scale_name, cfg.seeds, cfg.recipe.epochs, cfg.features.networks) == ("debug", 1, 1, 1)
    assert all(own.get("iterations", 3) == 3 for own in cfg.shorten.values())
    assert cfg.logger._target_.endswith("NoTracker") and not cfg.profile
    assert (cfg.paths.runs, cfg.paths.store, cfg.paths.tables) == ("runs/debug", "runs/debug/store", None)
    assert composed("+debug=profiler", *FAST).scale_name == "debug_profiler"


def test_a_store_in_the_environment_is_for_real_results(composed, monkeypatch, tmp_path):
    monkeypatch.setenv("MOE_DISTILL_HOME", str(tmp_path))
    assert composed("+debug=fast", "seed=9").paths.store == "runs/debug/store"
    assert composed("+debug=fast", "paths.store=mine").paths.store == "mine"


@pytest.mark.parametrize("method", options("method", ()))
def test_every_method_can_be_built(composed, method):
    build(composed(f"method={method}", "+debug=fast", *FAST))


@pytest.mark.parametrize("recipe", options("recipe", ()))
def test_every_recipe_trains_for_one_epoch(composed, recipe):
    cfg = composed(f"recipe={recipe}", "+debug=fast", *FAST)
    build(cfg)
    assert cfg.recipe.epochs == 1


@pytest.mark.parametrize("experiment", [path.parent.name for path in sorted(FOLDERS.glob("*/results.csv"))])
def test_experiments_are_shortened_whatever_they_set(composed, experiment):
    cfg = composed(f"+experiment={experiment}", "+debug=fast", *FAST)
    assert (cfg.scale_name, cfg.recipe.epochs, cfg.name) == ("debug", 1, experiment)


@pytest.mark.slow
def test_a_run_and_its_profile_lie_apart(called):
    line = ("debug=profiler", "data=digits", "augment=dsa_digits", "method=random", "split=1x2", "width=0.1")
    usual = ("students=convnet3", "diversity=none", "scale=paper", "logger=wandb")
    assert called(*line, *usual)[0] == 0
    home = Path("runs/debug/single")
    (row,) = csv.DictReader((home / "results.csv").open())
    assert row["scale"] == "debug_profiler" and (Path("runs/debug/store") / "set").is_dir()
    assert not Path("store").exists() and [path.name for path in Path("runs").iterdir()] == ["debug"]
    assert "aten::" in (home / "profile.txt").read_text()
    assert json.loads((home / "profile.json").read_text())["traceEvents"]
