"""Jobs forked from a process that has imported everything behave as plain processes do."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from moe_distill.errors import InputError
from moe_distill.results.attempts import state_of
from moe_distill.sweeps.launchers import warm
from moe_distill.sweeps.launchers.processes import Job, run_jobs, start_fresh
from moe_distill.sweeps.launchers.warm import call_warm, start_warm

# All of a process that a job may look at.
LOOK = """
import atexit, json, os, signal, sys
atexit.register(lambda: print("atexit"))
print(json.dumps({
    "name": __name__, "argv": sys.argv, "env": dict(os.environ),
    "cwd": os.getcwd(), "stdin": sys.stdin.read(),
    "path": sys.path[0], "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "handlers": [str(signal.getsignal(n)) for n in (2, 15, 1)], "encoding": sys.stdout.encoding,
    "unbuffered": sys.stdout.write_through, "module": sys.modules["__main__"].__spec__.name,
}, sort_keys=True))
"""
SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
LEAVES = """
import subprocess, sys
print("left", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)
"""
ENDS = {
    "fails": ("raise ValueError('no such thing')", 1, "ValueError: no such thing"),
    "quits": ("import sys; print('data=moon: mnist'); sys.exit(2)", 2, "data=moon: mnist"),
    "says": ("import sys; sys.exit('a last word')", 1, "a last word"),
    "killed": ("import os; print('half', end=''); os.kill(os.getpid(), 9)", -9, "half"),
    "stopped": ("import os; os.kill(os.getpid(), 15)", -15, None),
    "leaves": ("import os; os._exit(7)", 7, "(it printed nothing)"),
    "gone": ("import no_such_module", 1, "ModuleNotFoundError: No module named 'no_such_module'"),
}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def job(tmp_path, name, code, *arguments):
    (tmp_path / f"{name}_module.py").write_text(code)
    return Job(name, tmp_path / name, [sys.executable, "-m", f"{name}_module", *arguments])


def server():
    """The process that forks."""
    (found,) = [
        p for p in psutil.Process().children() if "multiprocessing.forkserver" in " ".join(p.cmdline())
    ]
    return found


def answers(value, *, fails=False):
    """What a fork is asked; it says which process it is."""
    if fails:
        raise InputError("x", value, "y")
    return value, os.getpid(), "torch" in sys.modules


@pytest.mark.slow
def test_a_fork_sees_what_a_plain_process_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("COLOUR", "red")
    seen = []
    for starter in (start_fresh, start_warm):
        look = job(tmp_path, "look", LOOK, "a 'b' \"c\" $d", "x=1")
        assert run_jobs([look], [None], starter) == [None]
        seen.append(look.console.read_text())
    plain, forked = seen
    assert '"COLOUR": "red"' in plain and "LOCAL_RANK" not in plain and plain.endswith("atexit\n")
    assert forked == plain


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_a_fork_ends_as_a_plain_process_does(tmp_path, end):
    code, number, word = ENDS[end]
    for starter in (start_fresh, start_warm):
        ends = job(tmp_path, end, code)
        (line,) = run_jobs([ends], [None], starter)
        said = f"exit code {number}, {ends.console}: {word}"
        assert ends.process.wait() == number
        assert line == f"{end}: {said}" if word else line.startswith(f"{end}: stopped by SIGTERM")
        assert state_of(ends.folder) == ("stopped" if number == -15 else "failed")


@pytest.mark.slow
def test_what_forks_computes_nothing_and_keeps_no_zombie(tmp_path):
    run_jobs([job(tmp_path, f"j{i}", "print(1)") for i in range(3)], [None, None], start_warm)
    forking = server()
    assert forking.num_threads() == 1 and forking.children() == []
    value, process, has_torch = call_warm(answers, 3)
    assert (value, has_torch) == (3, True) and process not in (os.getpid(), forking.pid)
    assert not psutil.pid_exists(process) and forking == server()


@pytest.mark.slow
def test_what_is_asked_of_a_fork_may_fail(tmp_path):
    with pytest.raises(InputError, match=r"^x=3: y$"):
        call_warm(warm_failure, 3)
    with pytest.raises(OSError, match="the process of _exit ended with exit code 5"):
        call_warm(os._exit, 5)


def warm_failure(value):
    answers(value, fails=True)


def test_what_a_fork_leaves_behind_is_ended_with_it(tmp_path):
    leaves = job(tmp_path, "leaver", LEAVES)
    assert run_jobs([leaves], [None], start_warm) == [None]
    left = int(re.search(r"^left (\d+)$", leaves.console.read_text(), re.MULTILINE)[1])
    time.sleep(0.1)
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_forks_and_no_terminal_ends_what_forks(tmp_path, number):
    jobs = [job(tmp_path, f"s{i}", SLEEPS) for i in range(3)]
    inherited = signal.signal(number, signal.SIG_DFL)

    def stop_when_they_are_up():
        while not all(one.console.exists() and one.console.read_text().endswith("up\n") for one in jobs[:2]):
            time.sleep(0.05)
        server().send_signal(number)  # as a terminal does
        os.kill(os.getpid(), number)

    threading.Thread(target=stop_when_they_are_up, daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        run_jobs(jobs, [None, None], start_warm)
    assert stopped.value.code == 128 + number
    assert [one.process.wait() for one in jobs[:2]] == [-signal.SIGTERM] * 2
    assert not jobs[2].folder.exists() and signal.signal(number, inherited) is signal.SIG_DFL
    assert call_warm(answers, 1)[0] == 1


@pytest.mark.slow
def test_where_what_forks_was_killed_the_next_job_starts_another(tmp_path):
    call_warm(answers, 1)
    first = server()
    first.kill()
    while first.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    assert run_jobs([job(tmp_path, "next", "print(1)")], [None], start_warm) == [None]
    assert server() != first and not first.is_running()


def test_a_job_that_cannot_be_forked_leaves_the_others_alone(tmp_path, monkeypatch):
    def refuse(process):
        raise EOFError

    good = job(tmp_path, "good", "print(1)")
    monkeypatch.setattr(warm.multiprocessing.context.ForkServerProcess, "start", refuse)
    (line,) = run_jobs([good], [None], start_warm)
    assert line == "good: not started: the process that starts jobs has ended"


@pytest.mark.slow
def test_a_sweep_that_is_stopped_while_everything_is_imported_ends_at_once(tmp_path):
    command = [
        sys.executable,
        "-m",
        "moe_distill.run",
        "-m",
        "trainer=cpu",
        "seed=0,1",
        "scale=smoke",
        "logger=none",
    ]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as run:
        started = psutil.Process(run.pid)
        while not (
            found := [p for p in started.children() if "multiprocessing.forkserver" in " ".join(p.cmdline())]
        ):
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 143 and said == "stopped; the same command goes on (SIGTERM)\n"
    psutil.wait_procs(found, timeout=60)
    assert not found[0].is_running() and not (tmp_path / "runs" / "sweep" / "results.csv").exists()
