"""The sweeper whose cells vary several settings at once."""

import importlib

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from moe_distill.errors import InputError


def jobs(plugin, cells, *overrides):
    """Return the jobs of a sweep as lines."""
    module = importlib.import_module("hydra_plugins.moe_distill_sweeper")
    sweeper = module.CellsSweeper(None, None, cells)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    (batch,) = sweeper.split_arguments(parsed, None)
    return [" ".join(job) for job in batch]


def test_every_cell_meets_every_job_of_the_grid(plugin):
    assert jobs(plugin, [], "x=1,2", "y=3") == ["x=1 y=3", "x=2 y=3"]
    found = jobs(plugin, ["a=1 b=2", "a=3"], "x=1,2", "y=3")
    assert found == ["a=1 b=2 x=1 y=3", "a=3 x=1 y=3", "a=1 b=2 x=2 y=3", "a=3 x=2 y=3"]
    assert jobs(plugin, ["a=1", "a=2"]) == ["a=1", "a=2"]


def test_what_cells_vary_cannot_be_set_beside_them(plugin):
    with pytest.raises(InputError, match=r"^a=set: leave it out: the cells of this experiment vary it"):
        jobs(plugin, ["a=1 b=2", "+c@d=3"], "x=1", "a=5")
    with pytest.raises(InputError, match=r"^c@d=set"):
        jobs(plugin, ["a=1 b=2", "+c@d=3"], "+c@d=5")


def test_batches_are_refused_with_what_limits_jobs(plugin):
    sweeper = importlib.import_module("hydra_plugins.moe_distill_sweeper").CellsSweeper(2, None, [])
    with pytest.raises(
        InputError, match=r"^hydra\.sweeper\.max_batch_size=2: null; hydra\.launcher\.n_jobs, or "
    ):
        sweeper.split_arguments([], sweeper.max_batch_size)


def test_a_swept_split_is_not_set_again_by_its_parts(plugin):
    with pytest.raises(InputError, match=r"^ipc=7: leave it out beside split=5x2, which"):
        jobs(plugin, [], "split=5x2,10x1", "ipc=7", "noe=2")
    with pytest.raises(InputError, match=r"^noe=2: leave it out beside split=10x1, which"):
        jobs(plugin, ["seed=1", "split=10x1"], "noe=2")
    assert jobs(plugin, [], "ipc=1,5", "noe=2") == ["ipc=1 noe=2", "ipc=5 noe=2"]
