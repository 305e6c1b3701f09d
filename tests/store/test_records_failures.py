"""The store between processes, after a kill, and on a full disk."""

import errno
import fcntl
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import moe_distill
from moe_distill.errors import InputError
from moe_distill.results.run_tables import merged
from moe_distill.store.store import Store, write_json
from moe_distill.store.tensor_cache import cached
from moe_distill.teachers.recording import Recording

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(moe_distill.__file__).parents[1])}


def put(text="42"):
    return lambda folder: (folder / "value").write_text(text) and None


def start(script, *args):
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


WANTS = """
import pathlib, sys, time
from moe_distill.store.store import Store
root, notes, me = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
def make(folder):
    (notes / f"made_{me}").touch()
    (folder / "value").write_text("ha")
    while len(list(notes.glob("here_*"))) < 3:
        time.sleep(0.01)
    time.sleep(0.3)
    (folder / "value").write_text("whole")
(notes / f"here_{me}").touch()
path = Store(root).obtain("thing", {"a": 1}, make)
print((path / "value").read_text())
"""


def test_processes_that_want_the_same_artifact_compute_it_once(tmp_path):
    (tmp_path / "notes").mkdir()
    running = [start(WANTS, tmp_path / "store", tmp_path / "notes", i) for i in range(3)]
    said = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert [out.split()[-1] for out, _ in said] == ["whole"] * 3
    assert len(list((tmp_path / "notes").glob("made_*"))) == 1
    assert sum("waiting" in " ".join(out.split()) for out, _ in said) == 2


DIES = """
import sys, time
from moe_distill.store.store import Store
store = Store(sys.argv[1])
def make(folder):
    (folder / "value").write_text("ha")
    (store.work("thing", 1) / "last.ckpt").write_text("checkpoint")
    print("half way", flush=True)
    time.sleep(60)
store.obtain("thing", 1, make)
"""


def test_a_kill_in_the_middle_leaves_nothing_readable_and_frees_the_lock(tmp_path):
    process = start(DIES, tmp_path)
    assert process.stdout.readline() == "half way\n"
    process.kill()
    process.communicate()
    store = Store(tmp_path)
    assert store.find("thing", 1) is None and not list(tmp_path.rglob("manifest.json"))
    assert (store.work("thing", 1) / "last.ckpt").read_text() == "checkpoint"
    assert (store.obtain("thing", 1, put("whole")) / "value").read_text() == "whole"


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos, No space left on device"),
]


def assert_one_line_about_a_full_disk(error, root):
    assert error.key == "paths.store" and error.value == root
    assert "disk is full" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("error", FULL, ids=lambda e: type(e).__name__)
def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path, error):
    store = Store(tmp_path)
    earlier = store.obtain("thing", 1, put())

    def fails(folder):
        (folder / "value").write_text("half")
        (store.work("thing", 2) / "last.ckpt").write_text("checkpoint")
        raise error

    with pytest.raises(InputError) as caught:
        store.obtain("thing", 2, fails)
    assert_one_line_about_a_full_disk(caught.value, tmp_path)
    assert caught.value.__cause__ is error
    assert store.find("thing", 1) == earlier and (earlier / "value").read_text() == "42"
    assert store.find("thing", 2) is None and list((tmp_path / "thing").iterdir()) == [earlier]
    assert (store.work("thing", 2) / "last.ckpt").exists()
    store.obtain("thing", 2, put())


BLOCK = torch.zeros(1 << 20)  # 4 MiB
WRITERS = {
    "file": lambda path: path.write_bytes(BLOCK.numpy().tobytes()),
    "safetensors": lambda path: save_file({"x": BLOCK}, path),
    "torch": lambda path: torch.save(BLOCK, path),
    "numpy": lambda path: np.save(path, BLOCK.numpy()),  # says how much was written, not why no more
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_fills_up_is_one_line_and_the_command_goes_on_later(small_disk, writer):
    store = Store(small_disk)
    earlier = store.obtain("thing", 1, put())

    def too_much(folder):
        (store.work("thing", 2) / "last.ckpt").write_text("checkpoint")
        WRITERS[writer](folder / "value")

    with pytest.raises(InputError) as caught:
        store.obtain("thing", 2, too_much)
    assert_one_line_about_a_full_disk(caught.value, small_disk)
    assert (earlier / "value").read_text() == "42" and list((small_disk / "thing").iterdir()) == [earlier]
    assert (store.work("thing", 2) / "last.ckpt").read_text() == "checkpoint"
    del caught
    gc.collect()  # a file that a traceback holds open takes room though deleted
    with pytest.raises(ZeroDivisionError):  # with room again, an error is what it is
        store.obtain("thing", 2, lambda folder: 1 / 0)
    store.obtain("thing", 2, put())


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_refused_in_one_line(tmp_path, monkeypatch, number):
    def no_lock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    wanted = {
        f"paths.store={tmp_path / 'locks'}": lambda: Store(tmp_path).obtain("thing", 1, put()),
        f"paths.store={tmp_path}": lambda: cached(tmp_path / "x.safetensors", lambda: {}),
        f"paths.runs={tmp_path}": lambda: merged(tmp_path),
    }
    for said, act in wanted.items():
        with pytest.raises(InputError) as caught:
            act()
        assert str(caught.value) == f"{said}: a folder on a file system with flock"


def test_a_text_reaches_the_disk_before_its_name_does(tmp_path, monkeypatch):
    path, seen = tmp_path / "told.json", []
    monkeypatch.setattr(
        os, "fsync", lambda _: seen.extend((p.name, p.read_text()) for p in tmp_path.iterdir())
    )
    write_json(path, {"a": 1})
    assert [text for _, text in seen] == [path.read_text()] and seen[0][0] != path.name


def test_importing_the_records_is_light():
    heavy = "import sys, moe_distill.store.store; print([*{'torch', 'numpy', 'hydra'} & {*sys.modules}])"
    out, err = start(heavy).communicate(timeout=60)
    assert out.strip() == "[]", err


def test_a_disk_that_fills_up_while_recording_is_one_line(small_disk):
    store, blank = Store(small_disk), torch.nn.Linear(1000, 10)

    def make(folder):
        recording = Recording(store.work("trajectory", 1), 200, blank)  # 8 MB
        for epoch in range(201):
            recording.take(epoch, blank.state_dict())

    with pytest.raises(InputError, match="disk is full"):
        store.obtain("trajectory", 1, make)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["results.attempts.write_json", "pipelines.pretrain.pretrain"])
def test_a_disk_that_is_full_for_records_and_pages_too_is_one_line(suite, monkeypatch, place):
    monkeypatch.setattr(f"moe_distill.{place}", full)
    with pytest.raises(InputError) as caught:
        suite("pipeline=pretrain", "method=dm")
    assert_one_line_about_a_full_disk(caught.value, suite.store)
