"""Processes, cores and threads of a run, also inside a Slurm job."""

import dataclasses
import os

import pytest
import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

from moe_distill.errors import InputError
from moe_distill.experts.parallel import ExpertParallelStrategy
from moe_distill.pipelines.hardware import Hardware
from moe_distill.pipelines.runtime import cores

TASK = {
    **{"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "cells", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"},
    **{"SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
}


@pytest.fixture
def in_slurm(monkeypatch):
    """The environment of the only task of a Slurm job."""
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)


def over(runtime, strategy, processes=2):
    """Return a runtime whose mixture is spread over processes."""
    return dataclasses.replace(runtime, trainer=Hardware("cpu", processes, strategy))


def test_lightning_takes_a_slurm_job_for_its_own_unless_told_otherwise(runtime, in_slurm):
    assert isinstance(runtime.trainer(logger=False)._accelerator_connector.cluster_environment, SLURMEnvironment)
    plain = pl.Trainer(accelerator="cpu", devices=2, strategy=DDPStrategy(start_method="spawn"), logger=False)
    assert isinstance(plain._accelerator_connector.cluster_environment, SLURMEnvironment)
    assert plain.strategy.cluster_environment.world_size() == 1  # of both processes: each would be the only one


def test_a_slurm_job_is_one_task_that_starts_its_ranks_itself(runtime, in_slurm):
    assert type(runtime.alone(logger=False)._accelerator_connector.cluster_environment) is LightningEnvironment
    several = over(runtime, ExpertParallelStrategy())
    for _ in range(2):  # every distillation of a run has a Trainer of its own, on the same strategy
        trainer = several.spread(logger=False)
        environment = trainer._accelerator_connector.cluster_environment
        assert type(environment) is LightningEnvironment and not environment.creates_processes_externally
        assert (trainer.world_size, trainer.strategy.num_processes, environment.world_size()) == (2, 2, 2)
        assert several.alone(logger=False).world_size == 1


def test_only_the_strategy_that_keeps_experts_apart_runs_several_processes():
    with pytest.raises(InputError, match=r"^devices=2: 1, or .* trainer=expert_parallel"):
        Hardware("cpu", devices=2)
    with pytest.raises(InputError, match=r"^strategy=ddp: "):
        Hardware("cpu", devices=2, strategy="ddp")
    assert Hardware("cpu", devices=2, strategy=ExpertParallelStrategy())(logger=False).world_size == 2


@pytest.mark.parametrize("devices", [0, -1, 1.0, "auto", "0,", [0], True, 10**9, None])
def test_devices_are_counted(devices):
    with pytest.raises(InputError, match=r"^devices=.*CUDA_VISIBLE_DEVICES says which GPUs"):
        Hardware("cpu", devices)


@pytest.mark.parametrize("accelerator", ["cuda", "mps", "tpu", "foo", None])
def test_an_accelerator_is_named(accelerator):
    with pytest.raises(InputError, match=f"^accelerator={accelerator}: auto or cpu or gpu"):
        Hardware(accelerator)


def test_a_trainer_neither_cuts_nor_repeats_what_a_stage_promised(runtime):
    made = runtime.alone(logger=False)
    assert (made.max_epochs, made.max_steps, made.limit_train_batches, made.limit_val_batches) == (1, -1, 1.0, 0)
    assert (made.fast_dev_run, made.overfit_batches) == (0, 0)
    assert (made.accumulate_grad_batches, made.gradient_clip_val, made.precision) == (1, None, "32-true")


def test_more_processes_than_experts_are_refused_but_one_expert_takes_one(runtime):
    three = over(runtime, ExpertParallelStrategy(), processes=3)
    with pytest.raises(InputError, match=r"^trainer\.devices=3: at most 2, as many as there are experts"):
        three.require_experts(2)
    three.require_experts(1)
    three.require_experts(3)


@pytest.mark.parametrize(("bound", "asked", "found"), [(8, None, 8), (8, "4", 4), (2, "4", 2)])
def test_cores(monkeypatch, bound, asked, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if asked:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    assert cores() == found


def test_cores_are_shared_out_over_the_processes(runtime, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    free = dataclasses.replace(runtime, threads=None)
    assert [free.threads_of(n) for n in (1, 2, 4, 9)] == [6, 3, 1, 1]
    assert runtime.threads_of(2) == 1
