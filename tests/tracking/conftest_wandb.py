"""Offline Weights & Biases runs, read back by wandb's own reader."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

VARIABLES = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_MODE", "WANDB_DIR", "WANDB_API_KEY")


@contextmanager
def clean_environment():
    """Hide what a developer may have set, and undo what the tracker sets."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in VARIABLES:
            patch.setenv(variable, "")
            patch.delenv(variable)
        patch.setenv("NETRC", "/dev/null")
        yield


def inspected(folder, *flags):
    """Return what ``wandb leet inspect`` prints of a run's folder."""
    beside = shutil.which("wandb", path=f"{sys.prefix}/bin") or shutil.which("wandb")
    command = [beside, "leet", "inspect", str(folder), *flags, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def read(folder):
    """Return a run: its folder, its record, its state, the points of its history, its configuration and its
    summary."""
    records = [json.loads(line) for line in inspected(folder).splitlines()]
    told = json.loads(inspected(folder, "--summary"))
    (about,) = (r["run"] for r in records if r["type"] == "run")
    history = [r["history"]["item"] for r in records if r["type"] == "history"]
    return SimpleNamespace(
        folder=folder, about=about, told=told, history=history, config=told["config"], summary=told["summary"]
    )
