"""A sweep that Slurm still has jobs of."""

import pytest
from conftest_sweeping import SBATCH

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers import slurm as launcher


def test_a_sweep_with_jobs_in_the_queue_is_not_submitted_again(sweeping, cluster, tmp_path, monkeypatch):
    cluster(SBATCH)
    monkeypatch.setattr(launcher, "_ended", lambda handles: range(len(handles)))
    queue = {"7_0", "7_1", "8_0"}
    monkeypatch.setattr(launcher, "_queue", lambda: queue)
    _, launch = sweeping(
        "hydra/launcher=submitit_slurm", "before_sweep=null", "after_sweep=null", "name=cells"
    )
    launch("seed=0", "seed=1")
    script = tmp_path / "script"
    script.unlink()
    with pytest.raises(InputError, match=r"no jobs of; it has 7_0, 7_1: wait for them, or scancel 7$"):
        launch("seed=0", "seed=1")
    (tmp_path / "cells" / ".submitit" / "7_0" / "7_0_0_result.pkl").touch()  # Slurm is about to forget it
    with pytest.raises(InputError, match=r"it has 7_1: "):
        launch("seed=0", "seed=1")
    assert not script.exists()
    (tmp_path / "cells" / ".submitit" / "7_0" / "7_0_0_result.pkl").unlink()
    queue.difference_update({"7_0", "7_1"})
    launch("seed=0", "seed=1")
    assert script.exists()
