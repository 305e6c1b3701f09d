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
        steps: Training or distillation steps that the stage took.
        images: Images that went forward through a network.
    """

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    steps: int = 0
    images: int = 0


class Noted(TypedDict):
    """The cost of a finished stage as its manifest records it; the entries are those of :class:`Cost`."""

    seconds: NotNegative
    peak_memory_mb: NotNegative
    steps: Annotated[int, Ge(0)]
    images: Annotated[int, Ge(0)]


def totals(costs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return ``cost/<stage>_seconds`` for each stage and ``cost/peak_memory_mb`` over all.

    Args:
        costs: One mapping per recorded cost, with ``stage``, ``what``, ``seconds`` and ``peak_memory_mb``.

    Example:
        >>> totals([{"stage": "distill", "what": "expert 0", "seconds": 2.0, "peak_memory_mb": 300.0}])
        {'cost/distill_seconds': 2.0, 'cost/peak_memory_mb': 300.0}
    """
    # Several plans of a run can report the same artifact, such as a shared network: it counts once.
    distinct = {(cost["stage"], cost["what"]): cost for cost in costs}
    seconds: dict[str, float] = {}
    for (stage, _), cost in distinct.items():
        name = f"cost/{stage}_seconds"
        seconds[name] = seconds.get(name, 0.0) + cost["seconds"]
    peak = max((cost["peak_memory_mb"] for cost in distinct.values()), default=0.0)
    return {**seconds, "cost/peak_memory_mb": peak}


def cost_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the total cost of training the students of some result rows.

    Args:
        rows: Result rows with ``train_seconds``, ``peak_memory_mb``, ``steps``, ``epochs`` and
            ``images_decoded`` (images per epoch).
    """
    return {
        "seconds": sum(row["train_seconds"] for row in rows),
        # The students are trained one after the other, so their peaks do not add up.
        "peak_memory_mb": max(row["peak_memory_mb"] for row in rows),
        "steps": sum(row["steps"] for row in rows),
        "images": sum(row["epochs"] * row["images_decoded"] for row in rows),
    }


class Meter:
    """Measures a stage that may be interrupted and resumed later.

    Args:
        device: Where the work happens; the peak memory is that allocated on a GPU, or the process's on a CPU.

    Example:
        >>> meter = Meter(torch.device("cpu"))
        >>> meter.read(steps=3, images=30)["steps"]
        3
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = Cost()
        _reset_peak_memory()
        if device.type != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        self._begin = time.perf_counter()

    def go_on_from(self, cost: Mapping[str, Any]) -> None:
        """Add the cost of an interrupted attempt, as :meth:`read` returned it, to this one."""
        self._before = Cost(**cost)

    def read(self, steps: int, images: int) -> dict[str, float]:
        """Return the cost so far, with the entries of :class:`Cost`.

        Args:
            steps: Steps of the stage so far, those of interrupted attempts included.
            images: Images so far, counted likewise.
        """
        on_cpu = self.device.type == "cpu"
        peak = _peak_resident_mb() if on_cpu else torch.cuda.max_memory_allocated(self.device) / 2**20
        seconds = self._before.seconds + time.perf_counter() - self._begin
        return asdict(Cost(seconds, max(peak, self._before.peak_memory_mb), steps, images))


def _reset_peak_memory() -> None:
    """Reset the kernel's peak of resident memory; on systems without Linux's /proc nothing is reset."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # 5 resets VmHWM, see proc(5)
    except OSError:
        return


def _peak_resident_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource  # here, as it exists only on Unix

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**10
