"""The meter of a stage against a clock and a known allocation."""

import mmap
import resource
import sys
import time
from pathlib import Path

import pytest
import torch

from moe_distill.costs import Cost, Meter

CPU = torch.device("cpu")


def test_seconds_are_wall_time():
    begin = time.perf_counter()
    meter = Meter(CPU)
    time.sleep(0.05)
    cost = meter.read(3, 30)
    elapsed = time.perf_counter() - begin
    assert 0.05 <= cost["seconds"] <= elapsed
    assert (cost["steps"], cost["images"]) == (3, 30)
    time.sleep(0.01)
    assert meter.read(3, 30)["seconds"] >= cost["seconds"] + 0.01


def test_an_interrupted_attempt_counts_in():
    meter = Meter(CPU)
    meter.resume_from({"seconds": 100.0, "peak_memory_mb": 1e6, "steps": 5, "images": 50})
    cost = meter.read(7, 70)
    assert 100 <= cost["seconds"] < 101
    assert cost["peak_memory_mb"] == 1e6  # the higher of both
    assert (cost["steps"], cost["images"]) == (7, 70)  # the stage's own count, not a sum
    assert Cost(**cost).seconds == cost["seconds"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak starts anew only on Linux")
def test_the_peak_is_that_of_the_stage():
    page = resource.getpagesize()

    def resident_mb():
        return int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**20

    before = resident_mb()
    meter = Meter(CPU)
    block = mmap.mmap(-1, 64 * 2**20)  # not from the heap, which may have freed blocks to offer
    for start in range(0, len(block), page):
        block[start] = 1
    block.close()
    peak = meter.read(0, 0)["peak_memory_mb"]
    assert before + 60 <= peak <= before + 80
    after = resident_mb()
    assert Meter(CPU).read(0, 0)["peak_memory_mb"] <= max(before, after) + 16  # an earlier peak is forgotten


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_on_a_gpu_is_what_tensors_took_there():
    device = torch.device("cuda", 0)
    base = torch.cuda.memory_allocated(device) / 2**20
    meter = Meter(device)
    block = torch.ones(32 * 2**18, device=device)  # 32 MiB
    del block
    assert meter.read(0, 0)["peak_memory_mb"] - base == pytest.approx(32, abs=1)
