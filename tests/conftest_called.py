"""Command lines run in this process, as a user types them."""

import logging
import sys

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from moe_distill.run import main

USUAL = {"scale": "smoke", "logger": "none", "threads": "1", "trainer": "cpu", "data": "digits"}


@pytest.fixture
def called(tmp_path, monkeypatch, capfd):
    """Gives a function that runs a command line in a fresh folder and returns exit code and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("MOE_DISTILL_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no keys"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    threads, handlers = torch.get_num_threads(), logging.root.handlers[:]

    def call(*given):
        said = {o.split("=")[0].lstrip("+") for o in given}
        monkeypatch.setattr(
            sys, "argv", ["run", *(f"{k}={v}" for k, v in USUAL.items() if k not in said), *given]
        )
        GlobalHydra.instance().clear()
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code
        return code, capfd.readouterr().err

    yield call
    GlobalHydra.instance().clear()
    torch.set_num_threads(threads)
    logging.root.handlers[:] = handlers


def refused(called, store, *given):
    """Run a command line that must be refused; return what it said."""
    before = sorted(store.glob("*/*/manifest.json"))
    code, err = called(*given)
    assert code == 2 and err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    assert sorted(store.glob("*/*/manifest.json")) == before and not list(store.glob("work/*/*"))
    return err.removeprefix("error: ").rstrip("\n")
