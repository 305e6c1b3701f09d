"""The dashboard as code: what its panels ask for is what a run writes, and pushing it is one call or one
clear line."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
import wandb
from conftest_wandb import clean_environment, read
from wandb_workspaces.reports import v2
from wandb_workspaces.workspaces import Workspace

from moe_distill.errors import InputError
from moe_distill.tracking.workspace import build

# They read what a whole run writes.
pytestmark = pytest.mark.slow

SECTIONS = ["IPC × NoE", "Accuracy", "Tables", "Curves", "Images", "Diversity and cost"]
JOB = ("logger=wandb", "method=dm", "baselines=random", "students=convnet3", "seeds=1", "recipe.epochs=1")


@pytest.fixture(scope="module")
def suite(shared_suite):
    with clean_environment():
        yield shared_suite


@pytest.fixture(scope="module")
def view():
    return build("someone", "somewhere")


@pytest.fixture(scope="module")
def run(suite):
    """A job with two experts, the diversity term, and random images beside them."""
    suite(*JOB)
    (folder,) = suite.out.glob("wandb/offline-run-*")
    return read(folder)


def names_in(panel):
    """Return what a panel shows: (kind, name), where the kind is history, pattern, summary or config."""
    asked = (
        [("history", n) for n in (*getattr(panel, "y", ()), getattr(panel, "x", None))]
        if lines(panel)
        else []
    )
    asked += [("pattern", panel.metric_regex)] if lines(panel) and panel.metric_regex else []
    asked += [("summary", n) for n in (*getattr(panel, "metrics", ()), *getattr(panel, "media_keys", ()))]
    asked += [("summary", panel.table_name)] if hasattr(panel, "table_name") else []
    keys = [c.metric for c in getattr(panel, "columns", ())] + [getattr(panel, "groupby", None)]
    keys += [] if lines(panel) else [getattr(panel, axis, None) for axis in "xyz"]
    sorts = {v2.Config: "config", v2.SummaryMetric: "summary"}
    return asked + [(sorts[type(key)], key.name) for key in keys if key is not None]


def lines(panel):
    """Say whether a panel shows lines over a run's history."""
    return isinstance(panel, v2.LinePlot)


def absent(panels, run):
    """Return what panels ask for that a run did not write."""
    written = {
        "history": {k for item in run.history for k in item},
        "summary": run.summary,
        "config": run.config,
    }
    asked = {name for panel in panels for name in names_in(panel)}
    plain = {(kind, name) for kind, name in asked if kind != "pattern" and name not in written[kind]}
    patterns = {name for kind, name in asked if kind == "pattern"}
    return plain | {("pattern", p) for p in patterns if not any(re.search(p, k) for k in written["history"])}


def test_every_key_that_a_panel_names_is_written_by_a_run(view, run):
    panels = [panel for section in view.sections for panel in section.panels]
    asked = {name for panel in panels for name in names_in(panel)}
    assert {kind for kind, _ in asked} == {"history", "pattern", "summary", "config"} and len(asked) > 20
    assert all(names_in(panel) for panel in panels)
    assert absent(panels, run) == set()
    assert view.settings.x_axis in {k for item in run.history for k in item}


def test_every_pinned_column_is_written_by_a_run(view, run):
    sources = {"config": run.config, "summary": run.summary, "run": {"displayName"}}
    pinned = [column.split(":", 1) for column in view.runset_settings.pinned_columns]
    assert len(pinned) > 5 and [name for source, name in pinned if name not in sources[source]] == []


def test_a_key_that_nobody_writes_is_missed(run):
    wrong = {
        ("history", "iter"): v2.LinePlot(x="iter"),
        ("pattern", "^expert/loss$"): v2.LinePlot(x="iteration", metric_regex="^expert/loss$"),
        ("summary", "accuracy/dm5x2"): v2.BarPlot(metrics=["accuracy/dm5x2"]),
        ("config", "ipx"): v2.ScatterPlot(x=v2.Config("ipx"), y=v2.SummaryMetric("accuracy")),
        ("summary", "table"): v2.WeavePanelSummaryTable(table_name="table"),
        ("summary", "pictures"): v2.MediaBrowser(media_keys=["pictures"]),
    }
    assert {key: absent([panel], run) for key, panel in wrong.items()} == {key: {key} for key in wrong}


def test_the_fixed_names_are_the_own_sets_dependence_among_them(suite, run):
    (manifest,) = (
        json.loads(p.read_text())
        for p in suite.store.glob("set/*/manifest.json")
        if '"dm5x2"' in p.read_text()
    )
    assert run.summary["dcor2_unbiased"] == pytest.approx(manifest["dcor2_unbiased"], rel=1e-6)
    costs = {"pretrain_seconds", "distill_seconds", "evaluate_seconds", "peak_memory_mb"}
    assert {k for k in run.summary if k.startswith("cost/")} == {f"cost/{name}" for name in costs}
    assert run.config["diversity"] == "dcor_relu"


def test_the_workspace_serialises_with_its_sections_and_its_grouping(view):
    section = json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))["spec"][
        "section"
    ]
    sections = section["panelBankConfig"]["sections"]
    assert [s["name"] for s in sections] == SECTIONS and all(s["panels"] and s["isOpen"] for s in sections)
    (runs,) = section["runSets"]
    assert [(g["section"], g["name"]) for g in runs["grouping"]] == [("run", "group"), ("run", "jobType")]
    over = [p["config"] for p in sections[0]["panels"] if p["config"].get("xAxis") == "noe"]
    assert {(c["metrics"][0], c["groupBy"]) for c in over} >= {
        ("accuracy", "ipc.value"),
        ("accuracy", "budget.value"),
    }
    again = Workspace._from_model(view._to_model())
    assert [s.name for s in again.sections] == SECTIONS


@pytest.fixture
def pushed(monkeypatch):
    """What was saved, by a stand-in for the server whose key is known."""
    saved = []
    monkeypatch.setattr(wandb, "login", lambda **how: how == {"prompt": False, "verify": False})
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(default_entity="the-keys-own"))
    monkeypatch.setattr(Workspace, "save", lambda self: saved.append(self) or self)
    return saved


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (["logger=wandb"], ("the-keys-own", "moe_distill")),
        (["logger=wandb", "logger.project=mine"], ("the-keys-own", "mine")),
        (["logger=none", "pipeline.entity=team"], ("team", "moe_distill")),
        (["logger=wandb", "pipeline.entity=team", "pipeline.project=other"], ("team", "other")),
    ],
)
def test_the_command_saves_it_once_where_it_was_told(suite, pushed, given, place):
    out = suite.home / "pushed"
    assert suite("pipeline=workspace", f"paths.output={out}", *given) is None
    (view,) = pushed
    assert (view.entity, view.project) == place and [s.name for s in view.sections] == SECTIONS
    assert not {p.name for p in out.glob("*")} & {
        "results.csv",
        "stages.json",
        "report.html",
    }  # it is no experiment


def test_without_a_key_or_the_package_one_line_says_what_to_do(suite, monkeypatch):
    with pytest.raises(
        InputError, match=r"^pipeline=workspace: with a Weights & Biases key: run `wandb login` once, or"
    ):
        suite("pipeline=workspace")
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(InputError, match=re.escape("wandb-workspaces: pip install 'moe_distill[dashboard]'")):
        suite("pipeline=workspace")


def test_a_key_that_cannot_be_one_and_a_server_that_refuses_are_one_line(suite, pushed, monkeypatch):
    def refuses(self):
        raise RuntimeError("permission\ndenied")

    monkeypatch.setattr(Workspace, "save", refuses)
    with pytest.raises(
        InputError, match=r"^pipeline=workspace: a server that takes it for team/mine: permission denied$"
    ):
        suite("pipeline=workspace", "pipeline.entity=team", "pipeline.project=mine")
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(InputError, match=r"^pipeline=workspace: a Weights & Biases key that works: .*40"):
        suite("pipeline=workspace")
