"""What became of each cell, as the page of a sweep tells it."""

from moe_distill.reports import rendering
from moe_distill.reports.sections import CellReport, Link
from moe_distill.results.attempts import Attempt


def tried(**more):
    return Attempt(
        began=0.0, command="run", commit="abc", host="h", boot="b", process=1, process_began=1.0, **more
    )


def told(state, last, *attempts):
    links = [Link("log", "./x%3D1/console.log")]
    return rendering.part("cells", [CellReport("x=1", state, attempts, last, "", "run x=1", links)])


def test_an_attempt_without_an_end_is_what_it_is_if_it_is_the_last_and_lost_if_not():
    """A cell can be done while a job still works at it: its rows stood in a table, or the job builds its
    page."""
    assert ", running" in told("done", "running", tried()) and "lost" not in told("done", "running", tried())
    assert ", restarted" in told("done", "restarted", tried())
    two = told("running", "running", tried(), tried())
    assert two.count("lost: killed, or its machine restarted") == 1 and two.index("lost") < two.index(
        ", running"
    )
    failed = told("failed", "failed", tried(), tried(outcome="failed", error="<no>", ended=60.0))
    assert "failed after 1 min" in failed and "&lt;no&gt;" in failed and "<details open" in failed


def test_a_cell_that_was_not_tried_shows_its_command_alone():
    shown = told("missing", "missing")
    assert (
        "run x=1" in shown
        and '<a href="./x%3D1/console.log">log</a>' in shown
        and "<li>" not in shown
        and "attempt" not in shown.partition("<summary>")[2]
    )
