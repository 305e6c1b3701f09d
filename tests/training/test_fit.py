"""The shell around a module that keeps its own clock: checkpoints, curves and costs over several attempts."""

import csv
import functools
import json
import time

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from moe_distill.training.trainer import Checkpoints, Curves, fit, gather_objects, read_curves, replay

TRAINER = functools.partial(
    pl.Trainer,
    accelerator="cpu",
    max_epochs=1,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


class Clock(pl.LightningModule):
    """A module that does nothing but tick, and can stop dead at a tick."""

    def __init__(self, total=25, dies_at=None, nap=0.0):
        super().__init__()
        self.automatic_optimization = False
        self.iteration, self.total, self.images_seen = 0, total, 0
        self.dies_at, self.nap = dies_at, nap

    def configure_optimizers(self):
        return None

    def train_dataloader(self):
        return DataLoader(range(self.iteration, self.total), batch_size=None)

    def training_step(self, step, _):
        time.sleep(self.nap)
        if step + 1 == self.dies_at:
            raise InterruptedError
        self.iteration, self.images_seen = step + 1, self.images_seen + 3

    def scalars(self):
        return {"square": self.iteration**2, "half": self.iteration / 2}

    def on_save_checkpoint(self, checkpoint):
        del checkpoint["loops"]
        checkpoint["clock"] = (self.iteration, self.images_seen)

    def on_load_checkpoint(self, checkpoint):
        self.iteration, self.images_seen = checkpoint["clock"]


def attempt(work, clock, every=1, seconds=0.0, **more):
    return fit(clock, TRAINER, work, "clock", checkpoint_seconds=seconds, curves_every=every, **more)


def killed(work, at, **more):
    with pytest.raises(InterruptedError):
        attempt(work, Clock(dies_at=at, nap=more.pop("nap", 0.0)), **more)


def iterations(work, name="square"):
    return [i for i, n, _ in read_curves(work / "curves.csv") if n == name]


def test_a_run_leaves_its_curves_and_its_cost(tmp_path):
    began = time.perf_counter()
    cost = attempt(tmp_path, Clock(), every=10)
    elapsed = time.perf_counter() - began
    assert read_curves(tmp_path / "curves.csv") == [
        row for i in (10, 20, 25) for row in ((i, "square", float(i * i)), (i, "half", i / 2))
    ]
    assert cost == json.loads((tmp_path / "cost.json").read_text())
    assert (cost["steps"], cost["images"]) == (25, 75)
    assert 0 < cost["seconds"] < elapsed and cost["peak_memory_mb"] > 50


def test_no_iteration_stands_twice_in_the_curves_after_two_kills(tmp_path):
    killed(tmp_path, at=15)
    assert iterations(tmp_path) == list(range(1, 15))  # the checkpoint is of iteration 10
    killed(tmp_path, at=24)
    resumed = Clock()
    attempt(tmp_path, resumed)
    assert iterations(tmp_path) == iterations(tmp_path, "half") == list(range(1, 26))
    assert (resumed.iteration, resumed.images_seen) == (25, 75)


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path):
    killed(tmp_path, at=9)
    assert not (tmp_path / "last.ckpt").exists()
    attempt(tmp_path, Clock())
    assert iterations(tmp_path) == list(range(1, 26))


def test_seconds_add_up_over_the_attempts(tmp_path):
    nap = 0.03
    killed(tmp_path, at=12, nap=nap)
    held = torch.load(tmp_path / "last.ckpt", weights_only=True)["cost"]
    assert held["seconds"] >= 10 * nap and (held["steps"], held["images"]) == (10, 30)
    began = time.perf_counter()
    cost = attempt(tmp_path, Clock())
    elapsed = time.perf_counter() - began
    assert held["seconds"] < cost["seconds"] < held["seconds"] + elapsed
    assert (cost["steps"], cost["images"]) == (25, 75)


@pytest.mark.parametrize(("seconds", "saved"), [(0.0, [10, 20]), (1e9, [])])
def test_checkpoints_wait_for_their_time_and_stand_only_at_whole_tens(tmp_path, monkeypatch, seconds, saved):
    seen = []
    monkeypatch.setattr(
        pl.Trainer,
        "save_checkpoint",
        lambda self, path: (seen.append(self.lightning_module.iteration), path.touch()),
    )
    (clock, own) = (Clock(), Checkpoints(tmp_path, seconds))
    TRAINER(callbacks=[own], logger=False, default_root_dir=tmp_path).fit(clock)
    assert seen == saved
    assert [path.name for path in tmp_path.glob("*.ckpt")] == (["last.ckpt"] if saved else [])


def test_a_failing_save_keeps_the_checkpoint_before_it(tmp_path, monkeypatch):
    real, calls = pl.Trainer.save_checkpoint, []

    def full(self, path, *args, **more):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(self, path, *args, **more)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        attempt(tmp_path, Clock())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["clock"] == (10, 30)
    attempt(tmp_path, Clock())
    assert iterations(tmp_path) == list(range(1, 26))


def test_a_row_cut_short_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "curves.csv"
    assert read_curves(path) == []
    for cut in ("2", "2,", "2,loss", "2,loss,"):
        path.write_text(f"iteration,name,value\r\n1,loss,0.5\r\n{cut}")
        assert read_curves(path) == [(1, "loss", 0.5)]


class Notes(pl.loggers.logger.DummyLogger):
    """A logger that keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def log_metrics(self, metrics, step=None):
        self.noted.append((step, metrics))


def points(*iterations):
    return [(i, {"square": i * i, "half": i / 2, "iteration": i}) for i in iterations]


def test_curves_reach_the_loggers_with_the_clock_as_their_step(tmp_path):
    notes = Notes()
    attempt(tmp_path, Clock(), every=20, loggers=[notes])
    assert notes.noted == points(20, 25)


def test_a_resumed_run_and_a_finished_one_tell_the_loggers_the_whole_curve_once(tmp_path):
    killed(tmp_path, at=15)
    resumed, again = Notes(), Notes()
    attempt(tmp_path, Clock(), loggers=[resumed])
    assert resumed.noted == points(*range(1, 26))
    replay(read_curves(tmp_path / "curves.csv"), [again])
    assert again.noted == resumed.noted


def test_given_callbacks_act_before_the_checkpoint_is_written(tmp_path):
    class Adds(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            module.images_seen += 1

    killed(tmp_path, at=11, callbacks=[Adds()])
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["clock"] == (10, 40)


def test_the_curves_file_is_plain_csv(tmp_path):
    TRAINER(callbacks=[Curves(tmp_path, 25)], logger=False, default_root_dir=tmp_path).fit(Clock())
    with (tmp_path / "curves.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["iteration", "name", "value"], ["25", "square", "625"], ["25", "half", "12.5"]]


def test_a_single_process_gathers_its_own_object():
    assert gather_objects({"a": 1}) == [{"a": 1}]
