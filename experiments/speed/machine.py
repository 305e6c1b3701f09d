"""When, on what and with what a measurement is made."""

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from moe_distill.store.store import commit


def where() -> dict[str, Any]:
    """Return threads, date, hardware, load average, settings of the allocator, and versions."""
    allocator = {
        name: value for name, value in os.environ.items() if name.startswith(("MALLOC_", "LD_PRELOAD"))
    }
    return {
        "threads": torch.get_num_threads(),
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "allocator": allocator or "default",
        "torch": torch.__version__,
        "commit": commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
