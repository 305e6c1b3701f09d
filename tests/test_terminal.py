"""What a run prints: whole where it is piped, as it is, with commands that can be pasted."""

import json
import shlex
import sys

import pytest
from rich.table import Table

from moe_distill import terminal
from moe_distill.errors import InputError
from moe_distill.escaping import in_markdown
from moe_distill.results.attempts import FILE, LOG, attempts_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.locks import locked
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.status import format_status

LONG = "/tmp/[/b]" + "a long [red]name/" * 20


def test_texts_and_tables_are_whole_and_no_markup(capsys):
    table = Table(title=f"{LONG}: title")
    for column in ("one", "two"):
        table.add_column(column)
    table.add_row(LONG, ":smile: [/]")
    terminal.say(f"page: {LONG}", style="yellow")
    terminal.show(table)
    said = capsys.readouterr().out
    assert said.startswith(f"page: {LONG}\n{LONG}: title\n")
    assert any(LONG in line and ":smile: [/]" in line for line in said.splitlines())
    assert terminal.rendered(table) in said


ACTS = "a\x1b]0;owned\x07b\x1b[2J\u202ec\x9b31m\r"
SPELLED = "a\\x1b]0;owned\\x07b\\x1b[2J\\u202ec\\x9b31m"


def test_what_a_stranger_wrote_moves_no_cursor_and_turns_no_writing(capsys):
    table = Table(title=ACTS)
    table.add_column(ACTS)
    table.add_row(ACTS)
    terminal.say(ACTS)
    terminal.show(table)
    terminal.write_error(f"{InputError(ACTS, ACTS, ACTS)}")
    out, err = capsys.readouterr()
    assert out.count("\\x1b]0;owned") == 4 and out.count("\\u202ec") == 4  # rich itself drops the bell
    assert err.count(SPELLED) == 3 and err.count("\n") == 1
    assert not set(out + err) & (set(ACTS) - set(SPELLED))
    assert SPELLED.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]") in in_markdown(ACTS)
    assert not set(in_markdown(ACTS)) & {"\x1b", "\u202e"}


def test_an_error_is_one_line_whatever_its_key_holds():
    assert str(InputError("a\nb", "c\nd", "e\nf")) == "a\\nb=c d: e f"


def test_a_run_in_a_folder_with_markup_ends_and_its_command_can_be_pasted(suite, monkeypatch, capsys):
    given = ["run", "method=dm", "name=a[b]c", "paths.runs=it's $(touch x)"]
    monkeypatch.setattr(sys, "argv", given)
    suite.out = suite.home / "o[/b]ut"
    here = f"paths.output='{suite.out}'"
    suite(
        here, "method=random", "split=1x1", "students=convnet3", "seeds=1", "recipe.epochs=1", "name='a[b]c'"
    )
    said = capsys.readouterr().out
    assert f"page: {suite.out}/report.html\n" in said and "a[b]c: test accuracy" in said
    command = json.loads((suite.out / "stages.json").read_text())["command"]
    assert shlex.split(command) == ["moe-distill", *given[1:]]


def test_the_last_words_of_a_job_are_not_its_command(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOG).write_text("$ python -m app a very long command\n")
    cell = Cell("x=1", "a", "", ({"config_hash": "other"},))
    text = format_status(Sweep("", {}, (cell,)), tmp_path, FinishedRows(Store(tmp_path / "store")), "")
    assert "1 failed" in text and "very long command" not in text


def test_a_second_run_of_one_folder_is_refused_and_leaves_no_attempt(suite):
    suite.out.mkdir()
    with (
        locked(suite.out / ".run.lock"),
        pytest.raises(InputError, match=r"^paths\.output=.*: a folder where no run"),
    ):
        suite("method=dm")
    assert attempts_of(suite.out) == [] and not (suite.out / FILE).exists()
