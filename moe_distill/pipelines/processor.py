"""What decides the last bits of a number besides its key: the processor, the instructions used, the threads."""

import platform
from pathlib import Path

import torch


def hardware(device: torch.device) -> str:
    """Return what a device computes with, as a column of the results: equal keys and equal hardware give equal bits.

    A sum over several threads is added in another order than over one, and wider vector instructions likewise.
    """
    if device.type != "cpu":
        major, minor = torch.cuda.get_device_capability(device)
        return f"{torch.cuda.get_device_name(device)}, sm_{major}{minor}"
    count = torch.get_num_threads()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{_processor()}, {instructions}, {count} thread{'s' if count > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(named, platform.processor() or platform.machine()).split())


def device_name(device: torch.device) -> str:
    """Return what results call a device."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
