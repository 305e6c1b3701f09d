"""Measure how fast networks train on the device that a sweep's jobs will use."""

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence

import torch

from moe_distill.errors import InputError
from moe_distill.models.base import build, rehearse
from moe_distill.pipelines.stage import Work
from moe_distill.seeding import stream

_BATCH = 64
_LONG_SECONDS = 2.0  # a step that takes longer is measured only once
# In a separate process: memory of a GPU's context is freed only when its process ends.
_CHILD = """
import json, pickle, sys
works, device = pickle.load(sys.stdin.buffer)
from moe_distill.sweeps.speed import measured
sys.stdout.write("\\n" + json.dumps(measured(works, device)))
"""


def speeds(works: Sequence[Work], accelerator: str, visible: str | None) -> list[float | None]:
    """Return the seconds of one forward pass per image, for each network; None if it cannot be trained.

    A forward pass counts as a third of a training step: the backward pass takes about twice as long.

    Args:
        works: Networks with channels, classes and size of their images.
        accelerator: As for a Lightning Trainer; ``cpu`` leaves a GPU unused.
        visible: ``CUDA_VISIBLE_DEVICES`` of the first job; None leaves it unchanged.
    """
    gpu = torch.accelerator.current_accelerator() if works and sees_gpu(accelerator) else None
    return measured(works, "cpu") if gpu is None else apart(works, gpu.type, visible)


def sees_gpu(accelerator: str) -> bool:
    """Return True if a Lightning Trainer with this accelerator would use a GPU on this machine."""
    return accelerator != "cpu" and torch.accelerator.is_available()


def apart(works: Sequence[Work], device: str, visible: str | None) -> list[float | None]:
    """Measure in a separate process; arguments and result are those of :func:`speeds`."""
    env = os.environ | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    request = pickle.dumps((works, device))
    child = subprocess.run(
        [sys.executable, "-c", _CHILD], input=request, stdout=subprocess.PIPE, env=env, check=True
    )
    return json.loads(child.stdout.splitlines()[-1])  # libraries may print before it


def measured(works: Sequence[Work], device: str) -> list[float | None]:
    """Measure in this process; arguments and result are those of :func:`speeds`."""
    return [_seconds_per_image(work, torch.device(device)) for work in works]


def weights(work: Work) -> int:
    """Return the number of parameters of a network."""
    return sum(weight.numel() for weight in _built(work).parameters())


def _built(work: Work) -> torch.nn.Module:
    network, channels, classes, size = work
    # torchvision's initialisation draws from the global generator: the run's own draws must stay the same.
    with torch.random.fork_rng(devices=[]):
        return build(network, channels=channels, classes=classes, size=size, rng=stream(0, "forecast"))


def _seconds_per_image(work: Work, device: torch.device) -> float | None:
    network, channels, classes, size = work
    try:
        rehearse(network, channels=channels, classes=classes, size=size, batch=_BATCH)
    except InputError:  # the run refuses it, by the key that names it
        return None
    built = _built(work).to(device)
    x = torch.zeros(_BATCH, channels, size, size, device=device)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        built(x).square().sum().backward()
        if device.type != "cpu":  # kernels run asynchronously
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - begin)  # the first step warms up, others may be disturbed
        if best > _LONG_SECONDS:
            break
    return best / (3 * _BATCH)
