"""Forecast the cost of a run or a sweep before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moe_distill.pipelines.stage import Missing, Pipeline, UnknownCost, Work
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.wording import count
from moe_distill.store.identity import key
from moe_distill.sweeps.speed import sees_gpu, speeds, weights

Job = tuple[Pipeline, FinishedRows]
"""A job's pipeline, and its store with the rows that are finished already."""
_LEAST_MINUTES, _LEAST_BYTES, _DAYS = 0.05, 5e7, 2 * 86400.0
_SHORT = ("small", "smoke")  # scales made for a CPU
# Rows that agree in these are taken to need the same memory.
_ALIKE = ("method", "dataset", "architecture", "width")


def missing(pipeline: Pipeline, results: FinishedRows) -> list[Missing]:
    """Return the artifacts that a job still has to make.

    Raises:
        InputError: The job cannot run.
        UnknownCost: The pipeline cannot say what it would make.
    """
    return [part for stage in pipeline.stages(results) for part in stage.missing(results)]


@dataclass(frozen=True)
class Forecast:
    """The work that remains for some jobs.

    Attributes:
        names: The name of each missing artifact, by its address in the store; shared ones appear once.
        seconds: The time that each takes; None if its method has no estimate.
        disk: Bytes that they need, except for sets and rows, which are small.
        unknown: Jobs without a forecast, one line each.
        busy: Number of jobs that have something left to do.
        banks: Seconds that banks of real means take, if there are any to be computed.
        spared: Seconds of real batches that banks take the place of.
    """

    names: dict[str, str]
    seconds: dict[str, float | None]
    disk: float
    unknown: list[str]
    busy: int
    banks: float = 0.0
    spared: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of everything that has an estimate."""
        return sum(seconds or 0.0 for seconds in self.seconds.values())

    def lines(self) -> list[str]:
        """Return the lines to print: one per kind of stage that takes time, the unknown ones, and the sum."""
        lines = []
        for name in dict.fromkeys(self.names.values()):
            minutes = sum(self.seconds[a] or 0.0 for a in self.names if self.names[a] == name) / 60
            if minutes >= _LEAST_MINUTES:
                lines.append(f"{minutes:10.1f} min  {name}")
        without_estimate = [address for address, seconds in self.seconds.items() if seconds is None]
        unknown = [*self.unknown, *(f"not forecast: {self.names[a]}" for a in without_estimate)]
        lines += dict.fromkeys(unknown)  # each once
        if self.banks:
            lines.append(bank_line(self.banks, self.spared))
        if self.disk >= _LEAST_BYTES:
            lines.append(f"about {self.disk / 1e9:.1f} GB of disk for networks")
        if not self.busy:  # all there is, is not forecast
            return lines
        work = f"about {format_duration(self.total)} of work in {count([self.busy], 'job')}"
        rest = ", and what is not forecast" if unknown else ""
        lines.append(
            f"{work}, one after the other, on this machine{rest}; stages already in the store are left out"
        )
        return lines


def forecast(jobs: Sequence[Job], accelerator: str, visible: str | None) -> Forecast:
    """Return the forecast of some jobs; artifacts that they share count once.

    Args:
        jobs: The jobs.
        accelerator: As for :func:`~moe_distill.sweeps.speed.speeds`.
        visible: As for :func:`~moe_distill.sweeps.speed.speeds`.
    """
    parts: dict[str, tuple[str, Missing]] = {}
    works: dict[str, Work] = {}
    names: dict[str, str] = {}
    unknown: list[str] = []
    busy = 0
    # Parts and works are kept by address and key: jobs of a sweep share most of them.
    for pipeline, results in jobs:
        try:
            of_job = missing(pipeline, results)
        except UnknownCost as error:
            unknown.append(f"not forecast: {error}")
            continue
        busy += bool(of_job)
        for part in of_job:
            kind = key(part.work)
            works.setdefault(kind, part.work)
            parts[part.address] = kind, part
            plan = pipeline.main_plan
            names[part.address] = f"{plan.data.name} {part.name}" if plan else part.name
    # Each kind of network is timed once: sweeps have many jobs of the same one.
    per_image = dict(zip(works, speeds([*works.values()], accelerator, visible), strict=True))
    seconds: dict[str, float | None] = {}
    for address, (kind, part) in parts.items():
        passes, pace = part.forward_passes, per_image[kind]
        seconds[address] = None if passes is None or pace is None else passes * pace
    built = {kind for kind, pace in per_image.items() if pace is not None}
    written = [(part.snapshots, kind) for kind, part in parts.values() if part.snapshots and kind in built]
    sizes = {kind: 4 * weights(works[kind]) for _, kind in written}  # float32
    disk = sum(times * sizes[kind] for times, kind in written)
    # What banks save the jobs, and, below 0, what they take.
    balance = [part.spared_passes * (per_image[kind] or 0.0) for kind, part in parts.values()]
    banks, spared = -sum(s for s in balance if s < 0), sum(s for s in balance if s > 0)
    return Forecast(names, seconds, disk, unknown, busy, banks, spared)


def format_forecast(jobs: Sequence[Job], accelerator: str, visible: str | None, scale: str = "") -> str:
    """Return the forecast of some jobs as text; without a GPU, its first line warns of days of work.

    Args:
        jobs: The jobs.
        accelerator: As for :func:`~moe_distill.sweeps.speed.speeds`.
        visible: As for :func:`~moe_distill.sweeps.speed.speeds`.
        scale: The jobs' scale; empty if they have different ones.
    """
    coming = forecast(jobs, accelerator, visible)
    if not (coming.names or coming.unknown or coming.total):
        return "nothing is left to do"
    lines = coming.lines()
    if coming.busy:
        lines.insert(-1, memory_line(jobs, accelerator))
    if coming.total > _DAYS and not sees_gpu(accelerator):
        instead = "" if scale in _SHORT else "; scale=small is the protocol shortened for two cores"
        lines.insert(
            0, f"no GPU is seen here, without which this takes about {format_duration(coming.total)}{instead}"
        )
    return "\n".join(lines)


def bank_line(taken: float, spared: float) -> str:
    """Return the line that says whether banks of real means pay for the jobs that use them.

    Args:
        taken: Seconds that it takes to compute them.
        spared: Seconds of real batches that they take the place of, in all jobs.

    Example:
        >>> bank_line(taken=1200.0, spared=300.0)
        'the bank takes 20 min and spares 5 min of real batches: method.targets=batch is faster'
    """
    verdict = "it pays" if spared > taken else "method.targets=batch is faster"
    durations = format_duration(taken), format_duration(spared)
    return "the bank takes {} and spares {} of real batches: {}".format(*durations, verdict)


def memory_line(jobs: Sequence[Job], accelerator: str) -> str:
    """Return a line with the highest peak memory among committed rows like those that the jobs will make."""
    cpu = not sees_gpu(accelerator)
    recorded: dict[tuple[Any, ...], float] = {}
    for row in jobs[0][1].committed.values():
        if (row["device"] == "cpu") == cpu and row.get("peak_memory_mb"):
            kind = tuple(row[c] for c in _ALIKE)
            recorded[kind] = max(recorded.get(kind, 0.0), row["peak_memory_mb"])
    upcoming = {
        (plan.roster.method, plan.data.name, name, protocol.columns(name, 1)["width"])
        for pipeline, _ in jobs
        if (protocol := pipeline.main_protocol) is not None and (plan := pipeline.main_plan) is not None
        for name in protocol.students
    }
    known = [recorded[kind] for kind in upcoming if kind in recorded]
    if not known:
        return "peak memory not forecast: no run of such a method, data set and network is recorded"
    rest = ""
    if len(known) < len(upcoming):
        rest = f"; of {len(upcoming) - len(known)} of {len(upcoming)} kinds none is recorded"
    return f"peak memory up to {max(known) / 1024:.1f} GB a job, as recorded of such runs{rest}"


def format_duration(seconds: float) -> str:
    """Return a duration in its natural unit.

    Example:
        >>> format_duration(5400), format_duration(45)
        ('90 min', '45 s')
    """
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
