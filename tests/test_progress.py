"""Progress is a bar in a terminal, lines in a log file, a widget in a notebook, and hidden where asked."""

import sys
import types

import pytest

from moe_distill import progress
from moe_distill.progress import Lines, progress_bar, with_progress
from moe_distill.terminal import quiet


def test_a_log_has_lines_that_are_not_drawn_over(capfd, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_EVERY_SECONDS", 0.0)
    assert [*with_progress("abc", "reading", 3)] == ["a", "b", "c"]
    out, err = capfd.readouterr()
    assert out == "" and "\r" not in err
    first, *others, last = err.splitlines()
    assert first.startswith("reading: 0 of 3, 00:00 so far") and len(others) == 2
    assert last == "reading: 3 of 3 done in 00:00"


def test_a_log_does_not_call_done_what_was_stopped(capfd):
    bar = progress_bar("reading", 3)
    bar.update()
    bar.close()
    assert "done" not in capfd.readouterr().err


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(capfd, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress_bar("reading", 3)
    assert not isinstance(bar, Lines)
    bar.close()
    assert "reading" in capfd.readouterr().err


def test_a_notebook_has_a_widget(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    import tqdm.auto

    made = []
    monkeypatch.setattr(tqdm.auto, "tqdm", lambda **settings: made.append(settings) or settings)
    assert progress_bar("reading", 3) is made[0] and made[0]["desc"] == "reading"


@pytest.mark.parametrize(
    "hide", [lambda: with_progress("ab", "reading", 2, hidden=True), lambda: quietly("ab")]
)
def test_hidden_progress_writes_nothing(capfd, hide):
    assert [*hide()] == ["a", "b"]
    assert capfd.readouterr() == ("", "")


def quietly(steps):
    with quiet(progress=False):
        yield from with_progress(steps, "reading", len(steps))
