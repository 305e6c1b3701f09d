"""What a run's folder says of the attempts at it, also of those that could not write their own end."""

import json
import os
import platform
import signal
import subprocess
import sys
import time

import psutil
import pytest

from moe_distill.errors import InputError
from moe_distill.results.attempts import FILE, LOG, attempt, attempts_of, record_end, record_start, state_of
from moe_distill.stopping import Stopped
from moe_distill.sweeps.looking import REPORT

SLEEPER = """
import sys, time
from pathlib import Path
from moe_distill.results.attempts import attempt
with attempt(Path(sys.argv[1]), "sleep"):
    print("began", flush=True)
    time.sleep(60)
"""


def told(folder, **changes):
    """Rewrite the last attempt of a folder's record."""
    listed = json.loads((folder / FILE).read_text())
    listed[-1] |= changes
    (folder / FILE).write_text(json.dumps(listed))


def test_a_run_that_ends_says_how(tmp_path):
    assert state_of(tmp_path) == "missing" and attempts_of(tmp_path) == []
    with pytest.raises(ValueError), attempt(tmp_path / "new", "first command"):
        raise ValueError("several\nlines")
    (first,) = attempts_of(tmp_path / "new")
    assert (first.outcome, first.error, first.command) == ("failed", "lines", "first command")
    with attempt(tmp_path / "new", "second command"):
        assert state_of(tmp_path / "new") == "running"
    again, second = attempts_of(tmp_path / "new")
    assert again == first and second.outcome == state_of(tmp_path / "new") == "finished"
    assert second.began <= second.ended <= time.time()


def test_attempts_that_overlap_are_both_kept(tmp_path):
    with attempt(tmp_path, "slow"):
        with pytest.raises(ValueError), attempt(tmp_path, "quick"):
            raise ValueError("no")
        with attempt(tmp_path, "later"):
            pass
    told = [(a.command, a.outcome) for a in attempts_of(tmp_path)]
    assert told == [("slow", "finished"), ("quick", "failed"), ("later", "finished")]


@pytest.mark.parametrize("text", ["", "[{", "null", '[{"began": 1}]', "\x00" * 9])
def test_a_record_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert attempts_of(tmp_path) == [] and state_of(tmp_path) == "missing"
    with attempt(tmp_path, "again"):
        pass
    assert [a.command for a in attempts_of(tmp_path)] == ["again"]


@pytest.mark.parametrize(
    "wrong", [{"outcome": 7}, {"began": "noon"}, {"process": 1.5}, {"ended": [1]}, {"host": None}]
)
def test_a_record_of_wrong_types_is_none(tmp_path, wrong):
    with attempt(tmp_path, "first"):
        pass
    told(tmp_path, **wrong)
    assert attempts_of(tmp_path) == [] and state_of(tmp_path) == "missing"


@pytest.mark.parametrize("asked", [KeyboardInterrupt(), Stopped(signal.SIGTERM)])
def test_what_a_signal_ends_was_stopped(tmp_path, asked):
    with pytest.raises(type(asked)), attempt(tmp_path, ""):
        raise asked
    (tried,) = attempts_of(tmp_path)
    assert tried.outcome == state_of(tmp_path) == "stopped"
    assert tried.error == (str(asked) or "KeyboardInterrupt")


def test_a_killed_run_is_known_by_its_process(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "began\n" and state_of(tmp_path) == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state_of(tmp_path) == "killed" and attempts_of(tmp_path)[0].ended is None


def test_a_restarted_machine_and_a_process_of_the_same_number_are_not_mistaken_for_the_run(tmp_path):
    with attempt(tmp_path, ""):
        running = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(running))
    own = psutil.Process()
    began = own.create_time() - psutil.boot_time()
    told(tmp_path, process=own.pid, process_began=began)
    assert state_of(tmp_path) == "running"
    told(tmp_path, process_began=began - 50)
    assert state_of(tmp_path) == "killed"
    told(tmp_path, boot="another start")
    assert state_of(tmp_path) == "restarted"


def test_a_clock_that_is_set_meanwhile_neither_ends_an_attempt_nor_restarts_the_machine(
    tmp_path, monkeypatch
):
    with attempt(tmp_path, ""):
        booted, started = psutil.boot_time, psutil.Process.create_time
        monkeypatch.setattr("psutil.boot_time", lambda: booted() + 3600)
        monkeypatch.setattr("psutil.Process.create_time", lambda self: started(self) + 3600)
        assert state_of(tmp_path) == "running"


def test_an_attempt_on_another_machine_is_known_by_its_silence(tmp_path):
    with attempt(tmp_path, ""):
        running = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(running))
    told(tmp_path, host=platform.node() + "-other", process=1)
    assert state_of(tmp_path) == "running"
    os.utime(tmp_path / FILE, (time.time() - 1000,) * 2)
    assert state_of(tmp_path) == "killed"


def test_a_living_attempt_touches_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr("moe_distill.results.attempts._BEAT_SECONDS", 0.01)
    with attempt(tmp_path, ""):
        os.utime(tmp_path / FILE, (0, 0))
        time.sleep(0.2)
        assert (tmp_path / FILE).stat().st_mtime > time.time() - 60


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+method.foo=1", "method.foo=1: no such key"),
        ("threads=0", "threads=0: a whole number"),
        ("method.iterations=0", "method.iterations=0: a whole number of at least 1"),
        ("protocol.seeds=${gone}", "Interpolation key 'gone' not found"),
    ],
)
def test_what_fails_before_the_pipeline_is_a_failed_attempt(suite, given, said):
    with pytest.raises(Exception, match=said):
        suite("method=dm", given)
    (tried,) = attempts_of(suite.out)
    assert tried.outcome == state_of(suite.out) == "failed" and tried.error


def test_a_mirror_that_cannot_be_opened_is_a_failed_attempt(suite, monkeypatch):
    def refuse(*_):
        raise InputError("logger.mode", "online", "offline")

    monkeypatch.setattr("moe_distill.tracking.wandb_tracker.NoTracker.open", refuse)
    with pytest.raises(InputError):
        suite("method=dm")
    assert [(a.outcome, a.error) for a in attempts_of(suite.out)] == [
        ("failed", "logger.mode=online: offline")
    ]


def test_looking_at_a_run_is_no_attempt(suite):
    with pytest.raises(InputError):
        suite.look(REPORT)
    assert attempts_of(suite.out) == []


def test_a_job_that_died_before_its_attempt_has_failed(tmp_path):
    (tmp_path / LOG).write_text("$ python -m app\n")
    assert state_of(tmp_path) == "failed"


@pytest.mark.parametrize(
    ("code", "state"), [(0, "finished"), (1, "failed"), (-9, "failed"), (-15, "stopped"), (130, "stopped")]
)
def test_a_process_that_has_not_recorded_itself_is_known_by_its_launcher(tmp_path, code, state):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    record_start(tmp_path, process.pid, "sleep")
    assert state_of(tmp_path) == "running"
    process.kill()
    process.wait()
    assert state_of(tmp_path) == "killed"  # its launcher may be gone too
    record_end(tmp_path, process.pid, code, "last words")
    (tried,) = attempts_of(tmp_path)
    assert tried.outcome == state_of(tmp_path) == state and tried.error == ((code and "last words") or None)


def test_a_process_takes_over_what_its_launcher_recorded(tmp_path):
    record_start(tmp_path, os.getpid(), "launched")
    (started,) = attempts_of(tmp_path)
    with attempt(tmp_path, "own command"):
        record_start(tmp_path, os.getpid(), "a launcher that comes late")
        record_end(tmp_path, os.getpid(), 1, "")
        (tried,) = attempts_of(tmp_path)
        assert (tried.command, tried.outcome, tried.began) == ("own command", None, started.began)
        assert state_of(tmp_path) == "running"
    assert [a.outcome for a in attempts_of(tmp_path)] == ["finished"]
