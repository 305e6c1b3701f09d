"""Real processes, killed or stopped at random moments and started again, or started twice at once on one
store.

``SIGNALS=30 pytest -s tests/test_kill_and_resume.py`` sends 30 each of SIGKILL, SIGTERM and SIGINT over four
methods; without it, one each to one of them.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from moe_distill.results.attempts import state_of
from moe_distill.synthetic.synthetic_set import SyntheticSet

pytestmark = pytest.mark.slow

# A process imports for seconds: this one imports once, does no work, and forks a real process for every
# command line.
SERVER = """
import json, os, signal, sys
import torch, pytorch_lightning, torchvision, sklearn.datasets
import moe_distill.pipelines.full, moe_distill.pipelines.distill
import moe_distill.models.convnet, moe_distill.methods.dm
from moe_distill import stopping
from moe_distill.run import main
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), flush=True)
        continue
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping.SIGNALS)  # until the child heeds them
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        sys.argv = ["run", *job["argv"]]
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1); os.dup2(log, 2)
        stopping.install_handlers()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        main()
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        os._exit(code)
"""
JOB = [
    *("scale=smoke", "logger=none", "trainer=cpu", "threads=1", "method=dm", "split=5x2", "width=0.25"),
    *("checkpoint_seconds=0", "shorten.dm.iterations=60"),
]


COUNT = int(os.environ.get("SIGNALS", "0"))  # of each signal, over all methods


class Processes:
    """Starts command lines as processes of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        assert self.server.stdout.readline() == "ready\n"

    def ask(self, job):
        """Send a line and return the number that answers it."""
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, store, pipeline, log="log", more=()):
        """Start a stage on a store; return its process id."""
        paths = [
            f"paths.store={store}",
            f"paths.output={self.folder}/out-{log}",
            f"hydra.run.dir={self.folder}/hydra",
        ]
        return self.ask(
            {"argv": [*JOB, f"pipeline={pipeline}", *paths, *more], "log": str(self.folder / log)}
        )

    def said(self, log):
        """Return the end of a log."""
        return (self.folder / log).read_text(errors="replace")[-3000:]

    def wait(self, pid):
        """Return the exit code; the negative signal where one ended it."""
        return self.ask({"wait": pid})


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """The process that forks, with one pretrained φ in its folder's ``store`` and a set distilled without a
    break."""
    served = Processes(Path(tmp_path_factory.mktemp("killed")))
    for pipeline in ("pretrain", "distill"):
        assert served.wait(served.start(served.folder / "calm", pipeline)) == 0
    yield served
    served.server.stdin.close()
    served.server.wait(timeout=30)


def until(condition, seconds=60):
    """Wait for a condition; fail when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def written(store):
    """Return what tells one checkpoint from the next; None before the first."""
    for path in store.glob("work/set-*/last.ckpt"):
        try:
            return path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
    return None


def the_set(store):
    """Return the folder of a store's only distilled set."""
    (manifest,) = store.glob("set/*/manifest.json")
    return manifest.parent


SENT = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}


def test_a_distillation_that_is_killed_and_stopped_ends_in_the_same_bits(processes):
    store, moments = processes.folder / "killed", random.Random(3)
    assert processes.wait(processes.start(store, "pretrain")) == 0
    before, left = None, []
    for number, code in SENT.items():
        pid = processes.start(store, "distill")
        until(lambda before=before: written(store) not in (None, before))
        time.sleep(moments.uniform(0, 0.2))
        os.kill(pid, number)
        assert processes.wait(pid) == code
        assert state_of(processes.folder / "out-log") == ("killed" if number == signal.SIGKILL else "stopped")
        before = written(store)
        (checkpoint,) = store.glob("work/set-*/last.ckpt")
        left.append(torch.load(checkpoint, weights_only=True)["iteration"])
        assert not list(store.glob("set/*/manifest.json"))
    assert 0 < left[0] < left[1] < left[2] < 60  # each attempt went on where the one before was killed
    assert processes.wait(processes.start(store, "distill")) == 0
    calm, killed = the_set(processes.folder / "calm"), the_set(store)
    assert SyntheticSet.load(killed).fingerprint() == SyntheticSet.load(calm).fingerprint()
    for expert in ("expert_0.safetensors", "expert_1.safetensors"):
        assert (killed / expert).read_bytes() == (calm / expert).read_bytes()
    costs = [json.loads((folder / "manifest.json").read_text())["cost"]["steps"] for folder in (killed, calm)]
    assert costs == [60, 60]
    curves = [(folder / "curves.csv").read_text() for folder in (killed, calm)]
    assert curves[0] == curves[1] and len(curves[0].splitlines()) > 60
    assert not list(store.glob("work/set-*")) and not list(store.glob("set/.*"))


def test_two_processes_on_one_store_compute_an_artifact_once(processes):
    store = processes.folder / "shared"
    assert processes.wait(processes.start(store, "pretrain")) == 0
    pids = [processes.start(store, "distill", f"log{i}") for i in range(2)]
    assert [processes.wait(pid) for pid in pids] == [0, 0]
    waited = [" makes set " in (processes.folder / f"log{i}").read_text() for i in range(2)]
    assert sorted(waited) == [False, True]
    assert (
        SyntheticSet.load(the_set(store)).fingerprint()
        == SyntheticSet.load(the_set(processes.folder / "calm")).fingerprint()
    )


METHODS = {
    "dm": ["shorten.dm.iterations=40"],
    "idm": ["shorten.idm.iterations=20"],
    "idc": ["shorten.idc.iterations=10"],
    "mtt": ["shorten.mtt.iterations=20"],
}
COSTS = ("train_seconds", "distill_seconds", "teacher_seconds", "peak_memory_mb", "commit")


def bits(store):
    """Return all that a run leaves on a store, but for what it cost and when."""
    found = {}
    kinds = ("set", "teacher", "trajectory", "result")
    for file in sorted(path for kind in kinds for path in store.glob(f"{kind}/*/*")):
        if file.name == "row.json":
            found[file.relative_to(store)] = {
                k: v for k, v in json.loads(file.read_text()).items() if k not in COSTS
            }
        elif file.is_file() and file.name != "manifest.json":
            found[file.relative_to(store)] = file.read_bytes()
    return found


@pytest.mark.skipif(not COUNT, reason="takes long: SIGNALS=30 runs it")
@pytest.mark.parametrize("method", METHODS)
def test_runs_signalled_at_random_moments_end_in_the_same_bits(processes, method):
    more = [f"method={method}", "students=convnet3", "seeds=1", "split=1x2", *METHODS[method]]
    moments = random.Random(f"{method} {COUNT}")

    def started(store):
        return processes.start(store, "full", method, more)

    began = time.monotonic()
    assert processes.wait(started(processes.folder / f"{method}-calm")) == 0, processes.said(method)
    seconds, expected = time.monotonic() - began, bits(processes.folder / f"{method}-calm")
    assert {path.parts[0] for path in expected} >= {"set", "result"}
    to_send = [number for number in SENT for _ in range(-(-COUNT // len(METHODS)))]
    moments.shuffle(to_send)
    sent, rounds = dict.fromkeys(SENT, 0), 0
    while to_send:
        rounds += 1
        store = processes.folder / f"{method}-{rounds}"
        code = None
        while code != 0:
            pid = started(store)
            if to_send:
                time.sleep(moments.uniform(0, seconds))
                os.kill(pid, to_send[-1])
            code = processes.wait(pid)
            if code != 0:
                assert code == SENT[to_send[-1]], processes.said(method)
                sent[to_send.pop()] += 1
                assert state_of(processes.folder / f"out-{method}") != "running"
        assert bits(store) == expected and not list(store.glob("work/*"))
    print(f"{method}: {sent} in {rounds} stores")  # with pytest -s
