"""What a run or a sweep is going to cost, told before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moe_distill.pipelines.stage import Missing, Pipeline, UnknownCost, Work
from moe_distill.results.known_rows import Results
from moe_distill.results.wording import count
from moe_distill.store.identity import key
from moe_distill.sweeps.speed import sees_gpu, speeds, weights

Job = tuple[Pipeline, Results]
"""What a job is going to run, and what is finished already, with its store."""
_LEAST_MINUTES, _LEAST_BYTES, _DAYS = 0.05, 5e7, 2 * 86400.0
_SHORT = ("small", "smoke")  # scales made for a CPU
_ALIKE = ("method", "dataset", "architecture", "width")


def missing(pipeline: Pipeline, results: Results) -> list[Missing]:
    """Return what a job has yet to make.

    Raises:
        InputError: The job could not run.
        UnknownCost: Nothing says what such a job does.
    """
    return [part for stage in pipeline.stages(results) for part in stage.missing(results)]


@dataclass(frozen=True)
class Forecast:
    """What is left to do of some jobs.

    Attributes:
        names: What each stage is called, by its address; what jobs share stands there once.
        seconds: How long each takes; None where its method does not say.
        disk: Bytes that they leave, but for sets and rows, which are small.
        unknown: Jobs of which nothing can be told, one line each.
        busy: How many jobs have something left to do.
    """

    names: dict[str, str]
    seconds: dict[str, float | None]
    disk: float
    unknown: list[str]
    busy: int

    @property
    def total(self) -> float:
        """Seconds of all that is known."""
        return sum(seconds or 0.0 for seconds in self.seconds.values())

    def lines(self) -> list[str]:
        """Return the text: a line for each kind of stage that takes time, what is not known, and the sum."""
        lines = []
        for name in dict.fromkeys(self.names.values()):
            minutes = sum(self.seconds[a] or 0.0 for a in self.names if self.names[a] == name) / 60
            lines += [f"{minutes:10.1f} min  {name}"] if minutes >= _LEAST_MINUTES else []
        open_ones = [
            f"not foretold: {self.names[a]}" for a, seconds in self.seconds.items() if seconds is None
        ]
        unknown = [*dict.fromkeys([*self.unknown, *open_ones])]
        disk = [f"about {self.disk / 1e9:.1f} GB of disk for networks"] if self.disk >= _LEAST_BYTES else []
        total = (
            f"about {format_duration(self.total)} of work in {count([self.busy], 'job')}, one after the other"
        )
        more = ", and what is not foretold" if unknown else ""
        return [
            *lines,
            *unknown,
            *disk,
            f"{total}, on this machine{more}; stages already in the store are left out",
        ]


def forecast(jobs: Sequence[Job], accelerator: str, visible: str | None) -> Forecast:
    """Return the forecast of some jobs, what they share counted once.

    Args:
        jobs: The jobs.
        accelerator: What the jobs work on (see :func:`~moe_distill.sweeps.speed.speeds`), as is ``visible``.
        visible: See ``accelerator``.
    """
    parts: dict[str, tuple[str, Missing]] = {}
    works: dict[str, Work] = {}
    names: dict[str, str] = {}
    unknown: list[str] = []
    busy = 0
    for pipeline, results in jobs:
        try:
            of_job = missing(pipeline, results)
        except UnknownCost as what:
            unknown.append(f"not foretold: {what}")
            continue
        busy += bool(of_job)
        for part in of_job:
            kind = key(part.work)
            works.setdefault(kind, part.work)
            parts[part.address] = kind, part
            plan = pipeline.main_plan
            names[part.address] = f"{plan.data.name} {part.name}" if plan else part.name
    per_image = dict(zip(works, speeds([*works.values()], accelerator, visible), strict=True))
    seconds = {
        a: None if p.forward_passes is None else p.forward_passes * per_image[kind]
        for a, (kind, p) in parts.items()
    }
    written = [(part.snapshots, kind) for kind, part in parts.values() if part.snapshots]
    sizes = {kind: 4 * weights(works[kind]) for kind in {kind for _, kind in written}}
    return Forecast(names, seconds, sum(times * sizes[kind] for times, kind in written), unknown, busy)


def format_forecast(jobs: Sequence[Job], accelerator: str, visible: str | None, scale: str = "") -> str:
    """Return the forecast of some jobs as text.

    Its first line warns of work of days without a GPU.

    Args:
        jobs: As for :func:`forecast`, as are ``accelerator`` and ``visible``.
        accelerator: See ``jobs``.
        visible: See ``jobs``.
        scale: The jobs' scale, where they share one.
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


def memory_line(jobs: Sequence[Job], accelerator: str) -> str:
    """Return the most memory that a recorded run of such a method, data set and network took, for all of
    these.
    """
    cpu = not sees_gpu(accelerator)
    recorded: dict[tuple[Any, ...], float] = {}
    for row in jobs[0][1].committed.values():
        if (row["device"] == "cpu") == cpu and row.get("peak_memory_mb"):
            kind = tuple(row[c] for c in _ALIKE)
            recorded[kind] = max(recorded.get(kind, 0.0), row["peak_memory_mb"])
    wanted = {
        (plan.roster.method, plan.data.name, name, protocol.columns(name, 1)["width"])
        for pipeline, _ in jobs
        if (protocol := pipeline.main_protocol) is not None and (plan := pipeline.main_plan) is not None
        for name in protocol.students
    }
    known = [recorded[kind] for kind in wanted if kind in recorded]
    if not known:
        return "peak memory not foretold: no run of such a method, data set and network is recorded"
    rest = (
        ""
        if len(known) == len(wanted)
        else f"; of {len(wanted) - len(known)} of {len(wanted)} kinds none is recorded"
    )
    return f"peak memory up to {max(known) / 1024:.1f} GB a job, as recorded of such runs{rest}"


def format_duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
