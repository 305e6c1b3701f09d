"""Whole programs: that of the design, and scripts whose own parts, interruption and keys need a process."""

import subprocess
import sys
import time

import pytest
from users_parts import TinyNet

import moe_distill as md


@pytest.mark.slow
def test_the_program_of_the_design_on_digits(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, test = digits
    common = {"scale": "small", "width": 0.25, "threads": 1, "progress": False}
    began = time.monotonic()
    synthetic = md.distill(
        train,
        method="idm",
        ipc=5,
        noe=2,
        network="convnet3",
        diversity="dcor_relu",
        seed=0,
        store="runs/store",
        **common,
        options={
            "method.iterations": 20,
            "recipe.epochs": 150,
            "features.recipe.epochs": 2,
            "features.networks": 1,
        },
    )
    scores = md.evaluate(synthetic, test, students=["convnet3", TinyNet], fusion="cross_expert", seeds=3)
    random = md.evaluate(md.random_images(train, ipc=10, store="runs/store", **common), test, like=scores)
    synthetic.export("out/", layout="huggingface")
    seconds = time.monotonic() - began
    convnet = [row["accuracy_last"] for row in scores.rows if row["architecture"] == "convnet3"]
    assert min(convnet) > 0.3  # of ten classes, after a short distillation
    assert str(scores.table()).splitlines()[1].split()[:3] == ["trained", "on", "convnet3"]
    assert [*scores.compare(random).by_network] == ["convnet3", "tiny_net", "average"]
    assert (tmp_path / "out" / "README.md").is_file()
    assert seconds < 60, f"{seconds:.0f} s"


PROGRAM = """
import sys, moe_distill as md

GAIN = {gain}

def faded(real, c, n, rng):
    return real.class_batch(c, n, rng) * GAIN  # {comment}

train, _ = md.load_dataset("digits")
print(md.distill(train, method="dm", init=faded, ipc=1, noe=1, store="store", scale="smoke", threads=1).path)
"""


@pytest.mark.slow
def test_what_a_script_defines_has_its_code_in_the_key(tmp_path):
    def key_of(**words):
        (tmp_path / "program.py").write_text(PROGRAM.format(**words))
        done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = key_of(gain=0.5, comment="one")
    assert key_of(gain=0.5, comment="another") == first
    assert key_of(gain=0.25, comment="one") != first


STOPPED = """
import os, signal, threading, moe_distill as md

train, _ = md.load_dataset("digits")
settings = dict(method="dm", ipc=1, noe=1, store="store", scale="smoke", threads=1, checkpoint_seconds=0,
                options={"method.iterations": 400}, progress=False)
threading.Timer(4.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    md.distill(train, **settings)
    print("too fast")
except KeyboardInterrupt as error:
    print("stopped:", error)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print(md.distill(train, **{**settings, "options": {"method.iterations": 400}}))
"""


@pytest.mark.slow
def test_an_interrupted_call_ends_as_python_does_and_goes_on(tmp_path):
    (tmp_path / "program.py").write_text(STOPPED.replace("400", "3000"))
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first == "stopped: the same command goes on"
    assert others == ["True", "dm1x1 of digits: 10 images of 1 × 8 × 8"]


PARALLEL = """
import moe_distill as md

if __name__ == "__main__":
    train, _ = md.load_dataset("digits")
    settings = dict(method="dm", ipc=2, noe=2, scale="smoke", threads=1, progress=False)
    in_two = md.distill(train, store="two", trainer="expert_parallel", **settings)
    in_one = md.distill(train, store="one", **settings)
    assert in_two.fingerprint() == in_one.fingerprint()
"""


@pytest.mark.slow
def test_experts_in_processes_of_their_own_are_as_quiet_and_make_the_same_images(tmp_path):
    (tmp_path / "program.py").write_text(PARALLEL)
    line = [sys.executable, "-W", "ignore", "program.py"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
