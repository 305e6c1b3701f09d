"""A signal ends a run by one exception, in one line, with an exit code that says so; also where code drops
it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

import moe_distill
from moe_distill import stopping
from moe_distill.terminal import write_error

# A program that is imported, works, and catches what libraries catch.
PROGRAM = """
import sys, time
from moe_distill import stopping
stopping.install_handlers()
print("importing", flush=True)
if sys.argv[1] == "importing":
    time.sleep(60)

class Drops:
    def __del__(self):
        print("working", flush=True)
        time.sleep(60)

def work():
    print("working", flush=True)
    try:
        time.sleep(60)
    except (Exception, KeyboardInterrupt):
        sys.exit(0)

stopping._RAISE_AGAIN_SECONDS = 0.3
with stopping.graceful_stop():
    if sys.argv[1] == "dropping":
        Drops()
        time.sleep(60)
    work()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["importing", "working", "dropping"])
def test_a_signal_ends_the_program_in_one_line(number, place):
    command = [sys.executable, "-c", PROGRAM, place]
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, **heeds) as run:
        while run.stdout.readline() != ("importing\n" if place == "importing" else "working\n"):
            assert run.poll() is None
        run.send_signal(number)
        said = run.communicate(timeout=30)[1]
    assert run.returncode == 128 + number
    assert said.splitlines()[-1] == f"stopped; the same command goes on ({number.name})"
    assert place == "dropping" or len(said.splitlines()) == 1  # Python tells what a destructor dropped


@pytest.mark.parametrize("program", ["moe_distill.run", "moe_distill"])
def test_the_program_heeds_signals_while_it_is_imported(tmp_path, program):
    (tmp_path / "hydra.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(moe_distill.__file__).parents[1]}"}
    with subprocess.Popen(
        [sys.executable, "-m", program], stdout=-1, stderr=-1, text=True, env=env, cwd=tmp_path
    ) as run:
        assert run.stdout.readline() == "importing\n"
        run.send_signal(signal.SIGTERM)
        assert run.communicate(timeout=30)[1] == "stopped; the same command goes on (SIGTERM)\n"
    assert run.returncode == 143


def test_the_block_leaves_the_handlers_as_they_were_and_heeds_no_ignored_signal(capsys):
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(stopping.Stopped) as stopped, stopping.graceful_stop():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        assert stopped.value.code == 143 and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert before == {number: signal.getsignal(number) for number in stopping.SIGNALS}
    assert capsys.readouterr().err == "stopped; the same command goes on (SIGTERM)\n"


def test_a_line_stands_below_an_open_bar(capsys):
    bar = tqdm(total=3, desc="distill", leave=False)
    write_error("error: x")
    assert capsys.readouterr().err.split("\n")[-3].startswith("\rdistill") and bar.disable
    write_error("error: y")
    assert capsys.readouterr().err == "error: y\n"


@pytest.mark.parametrize(
    ("code", "number"),
    [(0, None), (1, None), (-9, None), (143, signal.SIGTERM), (-15, signal.SIGTERM), (130, signal.SIGINT)],
)
def test_which_signal_asked_a_process_to_end(code, number):
    assert stopping.signal_of(code) == number
