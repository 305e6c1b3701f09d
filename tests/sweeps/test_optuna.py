"""A sweeper that chooses its next jobs by what the last ones returned."""

import pytest
from conftest_sweeping import swept
from omegaconf import OmegaConf

from moe_distill.results.attempts import headline_of

pytest.importorskip("optuna", reason="needs pip install 'moe_distill[optuna]'")

SEARCH = (
    *("name=best", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2"),
    *("hydra.sweeper.direction=maximize", "hydra.sweeper.sampler.seed=1"),
)
# A number of any size, a whole number, and a choice of a group.
SPACE = ("recipe.lr=interval(0.0001,0.1)", "recipe.epochs=range(1,4)", "diversity/measure=choice(dcor,hsic)")


@pytest.mark.slow
def test_optuna_is_given_the_headline_number_of_every_job(tmp_path):
    done = swept(tmp_path, *SEARCH, *SPACE)
    assert done.returncode == 0, done.stdout + done.stderr
    found = OmegaConf.load(tmp_path / "runs" / "best" / "optimization_results.yaml")
    jobs = [path.parent for path in tmp_path.glob("runs/best/*/console.log")]
    assert len(jobs) == 3 and found.best_value == max(headline_of(job) for job in jobs)
    (best,) = [
        job for job in jobs if str(found.best_params["recipe.lr"]) in (job / "console.log").read_text()
    ]
    assert headline_of(best) == found.best_value
    assert 0.0001 <= found.best_params["recipe.lr"] <= 0.1 and found.best_params["recipe.epochs"] in (1, 2, 3)
    assert found.best_params["diversity/measure"] in ("dcor", "hsic")


@pytest.mark.slow
def test_a_search_with_a_slip_is_refused_before_it_begins(tmp_path):
    done = swept(tmp_path, *SEARCH, "recipe.lrr=interval(0.0001,0.1)")
    assert done.returncode == 2 and "did you mean recipe.lr=" in done.stderr
