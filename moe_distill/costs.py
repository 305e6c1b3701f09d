"""What a stage costs: wall time, peak memory, steps and images seen."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from annotated_types import Ge

from moe_distill.validation.values import NotNegative


@dataclass
class Cost:
    """The cost of one stage.

    Attributes:
        seconds: Wall time, summed over interrupted attempts.
        peak_memory_mb: Highest resident memory of the process (or memory allocated on the device), in MiB.
        steps: Steps taken by the stage's own clock.
        images: Images that went forward through a network.
    """

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    steps: int = 0
    images: int = 0


class Noted(TypedDict):
    """The cost of a finished stage, as its manifest tells it; attributes as for :class:`Cost`."""

    seconds: NotNegative
    peak_memory_mb: NotNegative
    steps: Annotated[int, Ge(0)]
    images: Annotated[int, Ge(0)]


def totals(costs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return ``cost/<stage>_seconds`` of each stage and ``cost/peak_memory_mb``; what was noted twice counts
    once.

    Args:
        costs: Each with its ``stage``, ``what``, ``seconds`` and ``peak_memory_mb``.
    """
    noted = {(cost["stage"], cost["what"]): cost for cost in costs}
    seconds: dict[str, float] = {}
    for (stage, _), cost in noted.items():
        seconds[f"cost/{stage}_seconds"] = seconds.get(f"cost/{stage}_seconds", 0.0) + cost["seconds"]
    return {**seconds, "cost/peak_memory_mb": max((c["peak_memory_mb"] for c in noted.values()), default=0.0)}


def cost_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what the students of some rows cost together."""
    return {
        "seconds": sum(r["train_seconds"] for r in rows),
        "peak_memory_mb": max(r["peak_memory_mb"] for r in rows),
        "steps": sum(r["steps"] for r in rows),
        "images": sum(r["epochs"] * r["images_decoded"] for r in rows),
    }


class Meter:
    """Measures a stage that may be interrupted and go on later.

    Args:
        device: Where the work happens; memory is the device's own unless that is the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = Cost()
        _forget_peak()
        if device.type != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        self._begin = time.perf_counter()

    def go_on_from(self, cost: Mapping[str, Any]) -> None:
        """Count an interrupted attempt in."""
        self._before = Cost(**cost)

    def read(self, steps: int, images: int) -> dict[str, float]:
        """Return the cost so far as plain numbers; steps and images come from the stage's own count."""
        on_cpu = self.device.type == "cpu"
        peak = _peak_resident_mb() if on_cpu else torch.cuda.max_memory_allocated(self.device) / 2**20
        seconds = self._before.seconds + time.perf_counter() - self._begin
        return asdict(Cost(seconds, max(peak, self._before.peak_memory_mb), steps, images))


def _forget_peak() -> None:
    """Let Linux count the peak from here; elsewhere the peak stays that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_resident_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**10
