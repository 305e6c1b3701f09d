"""A sweeper that chooses its next jobs by what the last ones returned."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import moe_distill
from moe_distill.results.attempts import headline_of

pytest.importorskip("optuna", reason="needs pip install 'moe_distill[optuna]'")

ROOT = Path(moe_distill.__file__).parents[1]
TINY = [
    *(
        "scale=smoke",
        "logger=none",
        "threads=1",
        "trainer=cpu",
        "method=dm",
        "split=5x2",
        "students=convnet3",
    ),
    *("seeds=1", "name=best", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"),
    *("hydra.sweeper.direction=maximize", "hydra.sweeper.sampler.seed=1", "recipe.lr=interval(0.0001,0.1)"),
]


@pytest.mark.slow
def test_optuna_is_given_the_headline_number_of_every_job(tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "MOE_DISTILL_HOME"}
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "moe_distill" / "sweeps")])}
    command = [sys.executable, "-m", "moe_distill.run", "-m", *TINY]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = OmegaConf.load(tmp_path / "runs" / "best" / "optimization_results.yaml")
    jobs = [path.parent for path in tmp_path.glob("runs/best/*/console.log")]
    assert len(jobs) == 3 and found.best_value == max(headline_of(job) for job in jobs)
    (best,) = [
        job for job in jobs if str(found.best_params["recipe.lr"]) in (job / "console.log").read_text()
    ]
    assert headline_of(best) == found.best_value
