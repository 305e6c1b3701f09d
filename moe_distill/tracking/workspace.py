"""The Weights & Biases workspace as code: one page of charts over a project's runs.

Its charts refer to metrics and settings by the names that :mod:`moe_distill.tracking.wandb_tracker` writes.
"""

from typing import Any

from moe_distill.errors import InputError
from moe_distill.tracking.wandb_tracker import require_key

NAME = "moe_distill"
PINNED = (
    "config:method",
    "config:dataset",
    "config:ipc",
    "config:noe",
    "config:budget",
    "config:diversity",
    "summary:accuracy",
    "summary:accuracy_over_random",
    "summary:dcor2_unbiased",
    "summary:cost/distill_seconds",
)
"""Columns of the run table that are shown first."""
_MOST_RUNS = 200  # in a chart; by default wandb shows 10


def push_workspace(project: str, entity: str | None) -> int:
    """Push the workspace to the server as a new saved view, and return how many sections it has.

    Args:
        project: wandb project, which need not have runs yet.
        entity: User or team; None takes the default entity of the API key.

    Raises:
        InputError: The package ``wandb-workspaces`` or an API key is missing, or the server refuses the
            workspace or does not answer.
    """
    _require_package()
    require_key("pipeline", "workspace")
    try:
        view = build(entity or _own_entity(), project).save()
    except Exception as error:  # wandb's clients raise classes that are not all public
        allowed = f"a server that takes it for {entity or 'the entity of the key'}/{project}: {error}"
        raise InputError("pipeline", "workspace", allowed) from error
    return len(view.sections)


def _own_entity() -> str:
    import wandb

    return str(wandb.Api().default_entity)


def _require_package() -> None:
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        allowed = "with the package wandb-workspaces: pip install 'moe_distill[dashboard]'"
        raise InputError("pipeline", "workspace", allowed) from error


def build(entity: str, project: str) -> Any:
    """Return the workspace without contacting the server."""
    from wandb_workspaces import expr, workspaces
    from wandb_workspaces.reports import v2

    panels: Any = v2
    sections = {
        "IPC × NoE": _sweep(panels),
        "Accuracy": _accuracy(panels),
        # The names under which `WandbTracker.results` logs them.
        "Tables": [panels.WeavePanelSummaryTable(table_name=name) for name in ("results", "costs")],
        "Curves": _curves(panels),
        "Images": [_images(panels)],
        "Diversity and cost": _diversity_and_cost(panels),
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            workspaces.Section(name=name, panels=section, is_open=True) for name, section in sections.items()
        ],
        settings=workspaces.WorkspaceSettings(x_axis="iteration", max_runs=_MOST_RUNS),
        runset_settings=workspaces.RunsetSettings(
            # A sweep is a group; its evaluations, scores and probes are job types.
            groupby=[expr.Metric("Group"), expr.Metric("JobType")],
            order=[expr.Ordering(expr.Summary("accuracy"), ascending=False)],
            pinned_columns=list(PINNED),
        ),
    )


def _sweep(panels: Any) -> list[Any]:
    """Return the charts of accuracy over the number of experts, in which every run is one point."""
    lines = {"ipc": "ipc (images per class of an expert)", "budget": "budget (ipc × experts)"}
    columns = [panels.Config(name) for name in ("method", "ipc", "noe", "budget", "diversity")]
    columns += [panels.SummaryMetric(name) for name in ("dcor2_unbiased", "accuracy_over_random", "accuracy")]
    return [
        *(
            _over_noe(panels, f"Accuracy over experts, by {title}", "accuracy", name)
            for name, title in lines.items()
        ),
        _over_noe(panels, "Lead over random images of the same budget", "accuracy_over_random", "method"),
        _bars(panels, "Accuracy by cell", "accuracy", "roster"),
        panels.ScatterPlot(
            title="Accuracy over experts, coloured by budget",
            x=panels.Config("noe"),
            y=panels.SummaryMetric("accuracy"),
            z=panels.Config("budget"),
        ),
        panels.ParallelCoordinatesPlot(
            title="From split to accuracy",
            columns=[panels.ParallelCoordinatesPlotColumn(metric=column) for column in columns],
        ),
    ]


def _accuracy(panels: Any) -> list[Any]:
    return [
        _bars(panels, "Accuracy by method", "accuracy", "method"),
        _bars(panels, "Accuracy by data set", "accuracy", "dataset"),
        panels.LinePlot(
            title="Accuracy of each architecture over experts",
            x="noe",
            # Which architectures there are is known only from the runs.
            metric_regex="^accuracy/.+$",
            groupby=panels.Config("budget"),
            groupby_aggfunc="mean",
            max_runs_to_show=_MOST_RUNS,
        ),
    ]


def _curves(panels: Any) -> list[Any]:
    by_key = {
        "Dependence of the experts (the measure that is minimised)": ["diversity/measure"],
        "Dependence of the experts (unbiased dCor²)": ["diversity/dcor2_unbiased"],
    }
    # One line for each expert, whose number is part of the metric's name, and for each of its architectures.
    by_regex = {
        "Matching loss of each expert": "^expert_[0-9]+/([^/]+/)?loss$",
        "Diversity gradient over matching gradient": "^expert_[0-9]+/extra_over_matching$",
    }
    common = {"x": "iteration", "groupby": panels.Config("roster"), "max_runs_to_show": _MOST_RUNS}
    return [
        *(panels.LinePlot(title=title, metric_regex=regex, **common) for title, regex in by_regex.items()),
        *(panels.LinePlot(title=title, y=keys, **common) for title, keys in by_key.items()),
    ]


def _images(panels: Any) -> Any:
    axes = {"grid_x_axis": "index", "grid_y_axis": "run"}
    return panels.MediaBrowser(
        title="Distilled images of each expert", media_keys=["distilled"], mode="grid", **axes
    )


def _diversity_and_cost(panels: Any) -> list[Any]:
    return [
        panels.ScatterPlot(
            title="Accuracy over dependence of the experts",
            x=panels.SummaryMetric("dcor2_unbiased"),
            y=panels.SummaryMetric("accuracy"),
            z=panels.Config("noe"),
        ),
        _bars(panels, "Dependence by measure", "dcor2_unbiased", "diversity"),
        panels.ScatterPlot(
            title="Accuracy over seconds of distilling",
            x=panels.SummaryMetric("cost/distill_seconds"),
            y=panels.SummaryMetric("accuracy"),
            z=panels.Config("budget"),
            log_x=True,
        ),
        *(
            _bars(panels, f"Seconds: {stage}", f"cost/{stage}_seconds", "roster")
            for stage in ("pretrain", "distill", "evaluate")
        ),
        _bars(panels, "Peak memory, MiB", "cost/peak_memory_mb", "roster"),
    ]


def _over_noe(panels: Any, title: str, metric: str, group_by: str) -> Any:
    # `noe` is logged with the last point of each run, so a line joins the runs of a sweep.
    return panels.LinePlot(
        title=title,
        x="noe",
        y=[metric],
        groupby=panels.Config(group_by),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_MOST_RUNS,
    )


def _bars(panels: Any, title: str, metric: str, group_by: str) -> Any:
    return panels.BarPlot(
        title=title,
        metrics=[metric],
        groupby=panels.Config(group_by),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
        max_runs_to_show=_MOST_RUNS,
        max_bars_to_show=_MOST_RUNS,
    )
