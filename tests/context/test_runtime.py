"""Processes, cores and threads of a run, also inside a Slurm job."""

import dataclasses
import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

from moe_distill.context.hardware import Hardware
from moe_distill.context.processor import hardware
from moe_distill.context.run_context import cost_totals
from moe_distill.context.threads import cores
from moe_distill.errors import InputError
from moe_distill.experts.strategy import ExpertParallelStrategy
from moe_distill.results.stages import StageCost

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
    assert isinstance(
        runtime.trainer(logger=False)._accelerator_connector.cluster_environment, SLURMEnvironment
    )
    plain = pl.Trainer(accelerator="cpu", devices=2, strategy=DDPStrategy(start_method="spawn"), logger=False)
    assert isinstance(plain._accelerator_connector.cluster_environment, SLURMEnvironment)
    assert (
        plain.strategy.cluster_environment.world_size() == 1
    )  # of both processes: each would be the only one


def test_a_slurm_job_is_one_task_that_starts_its_ranks_itself(runtime, in_slurm):
    assert (
        type(runtime.single_process_trainer(logger=False)._accelerator_connector.cluster_environment)
        is LightningEnvironment
    )
    several = over(runtime, ExpertParallelStrategy())
    for _ in range(2):  # every distillation of a run has a Trainer of its own, on the same strategy
        trainer = several.parallel_trainer(logger=False)
        environment = trainer._accelerator_connector.cluster_environment
        assert type(environment) is LightningEnvironment and not environment.creates_processes_externally
        assert (trainer.world_size, trainer.strategy.num_processes, environment.world_size()) == (2, 2, 2)
        assert several.single_process_trainer(logger=False).world_size == 1


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
    made = runtime.single_process_trainer(logger=False)
    assert (made.max_epochs, made.max_steps, made.limit_train_batches, made.limit_val_batches) == (
        1,
        -1,
        1.0,
        0,
    )
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
    monkeypatch.setattr("moe_distill.context.threads._PROCESS", Path("nowhere"))
    if asked:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    assert cores() == found


@pytest.mark.parametrize(
    ("process", "files", "found"),
    [
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/gone/in/a/container", {"cpu.max": "400000 100000"}, 4),
        (
            "3:memory:/a\n4:cpu,cpuacct:/a",
            {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_a_quota_of_time_counts_as_so_many_cores(monkeypatch, tmp_path, process, files, found):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    for name, text in {"self": process, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr("moe_distill.context.threads._PROCESS", tmp_path / "self")
    monkeypatch.setattr("moe_distill.context.threads._MOUNT", tmp_path)
    assert cores() == found


@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("4,2", 4), ("", 6), ("many", 6), ("0", 6)])
def test_the_variable_of_openmp_wins_over_the_cores_and_the_setting_over_both(
    runtime, monkeypatch, said, threads
):
    monkeypatch.setattr("moe_distill.context.run_context.cores", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    free = dataclasses.replace(runtime, threads=None)
    assert torch.get_num_threads() == free.threads_of(1) == threads
    assert dataclasses.replace(runtime, threads=1).threads_of(1) == 1


def test_cores_are_shared_out_over_the_processes(runtime, monkeypatch):
    monkeypatch.setattr("moe_distill.context.run_context.cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    free = dataclasses.replace(runtime, threads=None)
    assert [free.threads_of(n) for n in (1, 2, 4, 9)] == [6, 3, 1, 1]
    assert runtime.threads_of(2) == 1


def test_a_stage_runs_on_its_own_threads_whatever_ran_before_and_rows_say_how_many(runtime, monkeypatch):
    seen = []

    def note(*_, **__):
        seen.append((torch.get_num_threads(), hardware(torch.device("cpu"))))

    monkeypatch.setattr("moe_distill.context.run_context.fit", note)
    threads = torch.get_num_threads()
    try:
        for own in (1, 2):
            run = dataclasses.replace(runtime, threads=own)
            torch.set_num_threads(3)
            run.fit(None, runtime.output, "stage")
    finally:
        torch.set_num_threads(threads)
    assert [count for count, _ in seen] == [1, 2]
    assert seen[0][1].endswith(", 1 thread") and seen[1][1].endswith(", 2 threads")
    assert torch.backends.cpu.get_cpu_capability() in seen[0][1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ("DNNL_DEFAULT_FPMATH_MODE", "any"),
        ("NVIDIA_TF32_OVERRIDE", "1"),
        ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"),
    ],
)
def test_an_environment_that_rounds_is_refused_as_no_key_tells_of_it(runtime, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(
        InputError, match=f"^{name}={value}: (STRICT|0), or not set: float32 would be rounded"
    ):
        dataclasses.replace(runtime)
    for exact in ("STRICT", "strict", "0", ""):
        if exact.upper() in ("", "STRICT" if "FPMATH" in name else "0"):
            monkeypatch.setenv(name, exact)
            dataclasses.replace(runtime)


def test_rows_say_which_instructions_the_environment_asked_for(monkeypatch):
    usual = hardware(torch.device("cpu"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert hardware(torch.device("cpu")) == f"{usual}, ONEDNN_MAX_CPU_ISA=AVX2"


@pytest.mark.parametrize("said", ["99999999999", "1025"])
def test_more_threads_than_there_can_be_are_refused_by_the_variable(runtime, monkeypatch, said):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    with pytest.raises(InputError, match=f"^OMP_NUM_THREADS={said}: at most 1024$"):
        dataclasses.replace(runtime, threads=None)
    monkeypatch.setenv("OMP_NUM_THREADS", "²")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", said)
    with pytest.raises(InputError, match=f"^SLURM_CPUS_PER_TASK={said}: at most 1024$"):
        dataclasses.replace(runtime, threads=None)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "abc")
    assert dataclasses.replace(runtime, threads=None).threads_of(1) >= 1


def test_totals_are_by_stage_and_count_twice_recorded_stages_once():
    def cost(stage, what, seconds, memory, found=False):
        return StageCost(stage, what, found, seconds, memory, steps=1, images=1)

    costs = [
        cost("pretrain", "φ 1", 2.0, 50.0),
        cost("distill", "dm5x2", 10.0, 70.0),
        cost("evaluate", "dm5x2 a", 3.0, 30.0),
        cost("evaluate", "dm5x2 b", 4.0, 90.0),
        cost("pretrain", "φ 1", 2.0, 50.0, found=True),
    ]
    seconds = {"cost/pretrain_seconds": 2.0, "cost/distill_seconds": 10.0, "cost/evaluate_seconds": 7.0}
    assert cost_totals(costs) == {**seconds, "cost/peak_memory_mb": 90.0}
    assert cost_totals([]) == {"cost/peak_memory_mb": 0.0}
