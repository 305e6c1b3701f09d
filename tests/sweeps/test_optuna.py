"""A sweeper that chooses its next jobs by what the last ones returned."""

import pytest
from conftest_sweeping import swept
from omegaconf import OmegaConf

from moe_distill.results.attempts import headline_of

pytest.importorskip("optuna", reason="needs pip install 'moe_distill[optuna]'")

SEARCH = (
    *("name=best", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"),
    *("hydra.sweeper.direction=maximize", "hydra.sweeper.sampler.seed=1", "recipe.lr=interval(0.0001,0.1)"),
)


@pytest.mark.slow
def test_optuna_is_given_the_headline_number_of_every_job(tmp_path):
    done = swept(tmp_path, *SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    found = OmegaConf.load(tmp_path / "runs" / "best" / "optimization_results.yaml")
    jobs = [path.parent for path in tmp_path.glob("runs/best/*/console.log")]
    assert len(jobs) == 3 and found.best_value == max(headline_of(job) for job in jobs)
    (best,) = [
        job for job in jobs if str(found.best_params["recipe.lr"]) in (job / "console.log").read_text()
    ]
    assert headline_of(best) == found.best_value
