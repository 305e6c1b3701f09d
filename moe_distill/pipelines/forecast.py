"""What a sweep is going to cost, told before it starts."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from moe_distill.experts.plan import Distillation
from moe_distill.pipelines import forecast_stages
from moe_distill.pipelines.layout import count
from moe_distill.pipelines.results import Results
from moe_distill.pipelines.speed import Work, speeds
from moe_distill.records import key

Cell = tuple[partial[Any], Results]


def foretold(pipeline: partial[Any], results: Results) -> list[forecast_stages.Stage]:
    """Return the stages of a job that are not done yet.

    Args:
        pipeline: What the job is going to run, as it is built of its configuration.
        results: What is finished already, with its store.

    Raises:
        InputError: The job could not run.
        NotForetold: Nothing says what such a job does.
    """
    tell = getattr(forecast_stages, pipeline.func.__name__, None)
    if tell is None:
        raise forecast_stages.NotForetold(f"pipeline={pipeline.func.__name__}")
    stages: list[forecast_stages.Stage] = tell(results, **pipeline.keywords)
    return stages


def told(cells: Sequence[Cell], accelerator: str, visible: str | None) -> str:
    """Return the forecast of a sweep as text: a line for each kind of stage, what cells share counted once, the sum.

    Args:
        cells: Pipeline and finished rows of every job.
        accelerator: What the jobs work on (see :func:`~moe_distill.pipelines.speed.speeds`), as is ``visible``.
        visible: See ``accelerator``.
    """
    stages: list[tuple[str, forecast_stages.Stage]] = []
    works: dict[str, Work] = {}
    names: dict[str, str] = {}
    unknown: list[str] = []
    busy = 0
    for pipeline, results in cells:
        try:
            own = foretold(pipeline, results)
        except forecast_stages.NotForetold as what:
            unknown.append(f"not foretold: {what}")
            continue
        busy += bool(own)
        for stage in own:
            kind = key(stage.work)
            works.setdefault(kind, stage.work)
            stages.append((kind, stage))
            names[stage.address] = f"{_plan_of(pipeline).data.name} {stage.name}"
    per_image = dict(zip(works, speeds([*works.values()], accelerator, visible), strict=True))
    seconds = {stage.address: stage.forwards * per_image[kind] for kind, stage in stages}
    lines = [
        f"{sum(seconds[a] for a in names if names[a] == n) / 60:10.1f} min  {n}" for n in dict.fromkeys(names.values())
    ]
    total = f"about {in_words(sum(seconds.values()))} of work in {count([busy], 'job')}, one after the other"
    return "\n".join(
        [*lines, *dict.fromkeys(unknown), f"{total}, on this machine; stages already in the store are left out"]
    )


def _plan_of(pipeline: partial[Any]) -> Distillation:
    given = pipeline.keywords
    plan: Distillation = given["plan"] if "plan" in given else next(iter(given["plans"].values()))
    return plan


def in_words(seconds: float) -> str:
    """Return a duration as a person says it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
