"""What a stage costs: wall time, peak memory, steps and images seen."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import torch
from annotated_types import Ge

from moe_distill.validation.values import NotNegative


@dataclass
class Cost:
    """The cost of one stage.

    Attributes:
        seconds: Wall time, summed over interrupted attempts.
        peak_memory_mb: Highest resident memory of the process (or memory allocated on the device), in MiB.
        steps: Steps that the stage counted.
        images: Images that went forward through a network.
    """

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    steps: int = 0
    images: int = 0


class RecordedCost(TypedDict):
    """The cost of a finished stage, as recorded in its manifest; the entries are those of :class:`Cost`."""

    seconds: NotNegative
    peak_memory_mb: NotNegative
    steps: Annotated[int, Ge(0)]
    images: Annotated[int, Ge(0)]


class Meter:
    """Measures a stage that may be interrupted and resumed later.

    Args:
        device: Where the work happens; on a GPU, the memory measured is the GPU's.

    Example:
        >>> meter = Meter(torch.device("cpu"))
        >>> meter.resume_from({"seconds": 60.0, "peak_memory_mb": 0.0, "steps": 5, "images": 50})
        >>> cost = meter.read(steps=7, images=70)
        >>> cost["steps"], cost["images"], cost["seconds"] > 60
        (7, 70, True)
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = Cost()
        _forget_peak()
        if device.type != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        self._begin = time.perf_counter()

    def resume_from(self, cost: RecordedCost) -> None:
        """Add the cost of an interrupted attempt."""
        self._before = Cost(**cost)

    def read(self, steps: int, images: int) -> RecordedCost:
        """Return the cost so far; the stage counts its steps and images itself, over all attempts."""
        on_cpu = self.device.type == "cpu"
        peak = _peak_resident_mb() if on_cpu else torch.cuda.max_memory_allocated(self.device) / 2**20
        return {
            "seconds": self._before.seconds + time.perf_counter() - self._begin,
            # Attempts run one after the other: their seconds add up, their peaks do not.
            "peak_memory_mb": max(peak, self._before.peak_memory_mb),
            "steps": steps,
            "images": images,
        }


def _forget_peak() -> None:
    """Reset the peak memory of this process on Linux; elsewhere it stays that of the whole process."""
    try:
        # 5 resets VmHWM, the "high water mark" of resident memory: proc(5), /proc/pid/clear_refs.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_resident_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    # Not getrusage on Linux: its maximum cannot be reset, so an earlier stage's peak would count here.
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**10
