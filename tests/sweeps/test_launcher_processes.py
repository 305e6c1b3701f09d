import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from moe_distill.results.attempts import state_of
from moe_distill.sweeps.launchers import processes
from moe_distill.sweeps.launchers.processes import Job, child_environment, error_line, run_jobs

# Every child notes when it ran and on which slot.
NOTE = """
import os, sys, time
began = time.time(); time.sleep(float(sys.argv[1]))
print(began, time.time(), os.environ.get("CUDA_VISIBLE_DEVICES"))
"""
# A grandchild holds a lock as long as it lives.
HOLD = (
    "import fcntl, time; f = open({lock!r}, 'w'); "
    "fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
)
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + PARENT + "time.sleep(60)"


def job(tmp_path, name, code, *arguments):
    return Job(name, tmp_path / name, [sys.executable, "-c", code, *map(str, arguments)])


def notes(done):
    began, ended, slot = done.console.read_text().splitlines()[-1].split()
    return float(began), float(ended), slot


def held(lock):
    """Whether somebody alive holds the lock."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def overlap(a, b):
    return a[0] < b[1] and b[0] < a[1]


def test_jobs_overlap_on_two_slots_and_never_on_one(tmp_path):
    jobs = [job(tmp_path, f"j{i}", NOTE, 0.4) for i in range(4)]
    run_jobs(jobs, ["0,1", "2,3"])
    runs = [notes(done) for done in jobs]
    assert {slot for _, _, slot in runs} == {"0,1", "2,3"}
    assert overlap(runs[0], runs[1])
    pairs = [(a, b) for i, a in enumerate(runs) for b in runs[:i]]
    assert not any(overlap(a, b) for a, b in pairs if a[2] == b[2])


def test_one_slot_runs_one_at_a_time_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    jobs = [job(tmp_path, f"j{i}", NOTE, 0.05) for i in range(3)]
    run_jobs(jobs, [None])
    runs = [notes(done) for done in jobs]
    assert runs[0][1] <= runs[1][0] and runs[1][1] <= runs[2][0]
    assert [slot for _, _, slot in runs] == ["7"] * 3


def test_a_failure_leaves_the_others_alone_and_is_told_in_one_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    bad = job(tmp_path, "bad", "raise ValueError('no such thing')")
    quits = job(tmp_path, "quits", "import sys; print('data=moon: mnist or cifar10'); sys.exit(2)")
    good = job(tmp_path, "good", "print('fine')")
    run_jobs([bad, quits, good], [None])
    assert bad.failure() == f"bad: exit code 1, {bad.console}: ValueError: no such thing"
    assert quits.failure() == f"quits: exit code 2, {quits.console}: data=moon: mnist or cifar10"
    assert good.failure() is None
    said = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(r"\[1/3\] FAILED in \d s  " + re.escape(bad.failure()), said[0])
    assert re.fullmatch(r"\[3/3\] done in \d s  good", said[2])


def test_a_job_that_cannot_be_started_leaves_the_others_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "blocked").write_text("no folder")
    blocked = job(tmp_path, "blocked", "")
    gone = Job("gone", tmp_path / "gone", [str(tmp_path / "no such program")])
    slow, last = job(tmp_path, "slow", NOTE, 0.4), job(tmp_path, "last", NOTE, 0)
    outcomes = run_jobs([slow, blocked, gone, last], [None, None])
    assert outcomes[0] is None and outcomes[3] is None
    assert outcomes[1].startswith("blocked: not started: [Errno 17] ")
    assert outcomes[2].startswith("gone: not started: [Errno 2] ")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4 and re.match(r"\[1/4\] FAILED in 0 s  blocked: not started", said[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_and_starts_no_more(tmp_path, number):
    jobs = [job(tmp_path, f"j{i}", NOTE, 60) for i in range(3)]
    inherited = signal.signal(number, signal.SIG_DFL)  # who started pytest in the background had it ignored
    threading.Timer(0.4, os.kill, (os.getpid(), number)).start()
    began = time.monotonic()
    with pytest.raises(SystemExit) as stopped:
        run_jobs(jobs, [None, None])
    assert stopped.value.code == 128 + number
    assert (
        time.monotonic() - began < processes.GRACE_SECONDS - 1
    )  # they heed SIGTERM: nobody waits for the grace
    assert [done.process.returncode for done in jobs[:2]] == [-signal.SIGTERM] * 2
    assert not jobs[2].folder.exists()
    assert signal.signal(number, inherited) is signal.SIG_DFL


def test_who_ignores_sigterm_is_killed_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    lock = tmp_path / "lock"
    stubborn = job(tmp_path, "stubborn", STUBBORN, HOLD.format(lock=str(lock)))
    seen = []

    def stop_when_it_is_up():
        while not stubborn.console.exists() or not stubborn.console.read_text().endswith("up\n"):
            time.sleep(0.05)
        seen.append(held(lock))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_it_is_up, daemon=True).start()
    with pytest.raises(SystemExit):
        run_jobs([stubborn], [None])
    assert seen == [True]
    assert stubborn.process.returncode == -signal.SIGKILL
    time.sleep(0.1)
    assert not held(lock)


def test_an_ignored_signal_stays_ignored(tmp_path):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()
        kept = job(tmp_path, "kept", NOTE, 0.3)
        run_jobs([kept], [None])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert kept.failure() is None


def test_what_a_job_leaves_behind_is_ended_with_it(tmp_path):
    lock = tmp_path / "lock"
    leaves = job(tmp_path, "leaves", PARENT, HOLD.format(lock=str(lock)))
    run_jobs([leaves], [None])
    assert leaves.failure() is None and leaves.console.read_text().endswith("up\n")
    time.sleep(0.1)
    assert lock.exists() and not held(lock)


def test_the_log_begins_with_the_command(tmp_path):
    odd = job(tmp_path, "odd", "import sys; print(sys.argv[1])", "a 'b' \"c\" $d")
    run_jobs([odd], ["3"])
    first, said = odd.console.read_text().splitlines()
    assert said == "a 'b' \"c\" $d"
    again = subprocess.run(["sh", "-c", first.removeprefix("$ ")], capture_output=True, text=True).stdout
    assert again.strip() == said and first.startswith("$ CUDA_VISIBLE_DEVICES=3 ")


def test_a_child_inherits_no_ranks():
    ranks = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK"]
    kept = {"PATH": "/bin", "FRANK": "1", "RANKS": "2", "OMP_NUM_THREADS": "1"}
    assert child_environment(dict.fromkeys(ranks, "1") | kept, None) == kept | {"PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("step 1\nTraceback (most recent call last):\nKeyError: 'a'\n\nwandb: bye\n", "KeyError: 'a'"),
        ("hydra.errors.ConfigCompositionException\n", "hydra.errors.ConfigCompositionException"),
        (
            "Error executing job with overrides: ['x=1']\nexperts=9: 1 to 8\n\n"
            "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n",
            "experts=9: 1 to 8",
        ),
        ("ValueError: first\nRuntimeError: last\n", "RuntimeError: last"),
        ("", "(it printed nothing)"),
        ("x" * (1 << 17) + "\nKilled\n", "Killed"),
    ],
)
def test_error_line(tmp_path, text, line):
    (tmp_path / "console.log").write_text("$ python -m app\n" + text)
    assert error_line(tmp_path / "console.log") == line


def test_a_job_that_a_signal_stopped_is_no_failure_and_not_done(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    stopped = [job(tmp_path, f"s{code}", f"import sys; sys.exit({code})") for code in (143, 130)]
    died = job(tmp_path, "died", "import os; os.kill(os.getpid(), 15)")
    outcomes = run_jobs([*stopped, died], [None])
    names = ["SIGTERM", "SIGINT", "SIGTERM"]
    assert [re.search(r": stopped by (\w+) \(exit code", line)[1] for line in outcomes] == names
    assert [line.split()[1] for line in caplog.messages] == ["STOPPED"] * 3
    assert [state_of(one.folder) for one in (*stopped, died)] == ["stopped"] * 3  # none recorded itself
