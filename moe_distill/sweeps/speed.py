"""How fast networks train here, measured where a sweep's jobs will work."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from moe_distill.models.base import build
from moe_distill.pipelines.stage import Work
from moe_distill.seeding import stream

_BATCH = 64
_LONG_SECONDS = 2.0  # a step that takes so long is measured once
# A process of its own, as a GPU's context goes with its process alone.
_CHILD = """
import json, pickle, sys
works, device = pickle.load(sys.stdin.buffer)
from moe_distill.sweeps.speed import measured
sys.stdout.write("\\n" + json.dumps(measured(works, device)))
"""


def speeds(works: Sequence[Work], accelerator: str, visible: str | None) -> list[float]:
    """Return, for each network, a third of a training step per image in seconds: what one forward pass counts
    for.

    Args:
        works: Networks with channels, classes and size of their images.
        accelerator: As a Lightning Trainer takes it; ``cpu`` leaves a GPU alone.
        visible: What ``CUDA_VISIBLE_DEVICES`` is for the first job; None leaves it as it is.
    """
    there = torch.accelerator.current_accelerator() if works and sees_gpu(accelerator) else None
    return measured(works, "cpu") if there is None else apart(works, there.type, visible)


def sees_gpu(accelerator: str) -> bool:
    """Say whether work goes to a GPU, by what a Lightning Trainer is told to take and what is there."""
    return accelerator != "cpu" and torch.accelerator.is_available()


def apart(works: Sequence[Work], device: str, visible: str | None) -> list[float]:
    """Measure in a process that ends with the measurement; arguments as of :func:`speeds`."""
    env = os.environ | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    given = pickle.dumps((works, device))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=given, stdout=subprocess.PIPE, env=env, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(works: Sequence[Work], device: str) -> list[float]:
    """Measure in this process; arguments as of :func:`speeds`."""
    return [_seconds_per_image(work, torch.device(device)) for work in works]


def weights(work: Work) -> int:
    """Return how many weights a network has."""
    return sum(weight.numel() for weight in _built(work).parameters())


def _built(work: Work) -> torch.nn.Module:
    network, channels, classes, size = work
    with torch.random.fork_rng(
        devices=[]
    ):  # whatever a library draws from there, the run's own draws stay the same
        return build(network, channels=channels, classes=classes, size=size, rng=stream(0, "forecast"))


def _seconds_per_image(work: Work, device: torch.device) -> float:
    _, channels, _, size = work
    built = _built(work).to(device)
    x = torch.zeros(_BATCH, channels, size, size, device=device)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        built(x).square().sum().backward()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - begin)
        if best > _LONG_SECONDS:
            break
    return best / (3 * _BATCH)
