"""Profile a run: which operations took how long, by PyTorch's profiler."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from moe_distill.store.store import write_text
from moe_distill.terminal import say

TABLE, TRACE = "profile.txt", "profile.json"
_ROWS = 40


@contextlib.contextmanager
def profiled(folder: Path) -> Iterator[None]:
    """Profile the block, and write the longest operations and the trace of all of them into a folder.

    Stages that are in the store already are not run again, and so are in no profile; nor are experts that run
    in processes of their own.

    Args:
        folder: The run's.
    """
    # Its library would report on stderr that there is no GPU, and each of its steps.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        yield
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    write_text(folder / TABLE, profiler.key_averages().table(sort_by=order, row_limit=_ROWS))
    profiler.export_chrome_trace(str(folder / TRACE))
    say(f"profile: {folder / TABLE}, and each operation in {folder / TRACE}")
