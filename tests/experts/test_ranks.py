"""Who ends when a rank of several dies, hangs or raises, and what is said of it."""

import atexit
import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.multiprocessing.spawn import ProcessContext, ProcessRaisedException

from moe_distill.context.hardware import Hardware
from moe_distill.errors import LostRank
from moe_distill.experts import ranks
from moe_distill.experts.strategy import ExpertParallelStrategy
from moe_distill.training.trainer import gather_objects, ticks


def beat(beats, rank, end):
    """A rank that beats until its end, if it has one."""
    for _ in range(600):
        beats[rank] += 1
        time.sleep(0.02)
        if end is not None and beats[rank] == 5:
            end()


def raises(path):
    Path(path).write_bytes(pickle.dumps("ValueError: no such thing"))
    sys.exit(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGSTOP), "has not moved for 1 s"),
        (lambda: os._exit(3), "ended with exit code 3"),
    ],
)
def test_a_rank_that_is_lost_is_named(tmp_path, monkeypatch, end, how):
    monkeypatch.setattr(ranks, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(ranks, "SILENT_BEATS", 8)
    monkeypatch.setattr(ranks, "_SETTLE_SECONDS", 0.1)
    forking = multiprocessing.get_context("fork")
    beats = forking.Array("Q", 2, lock=False)
    processes = [forking.Process(target=beat, args=(beats, i, end if i else None)) for i in range(2)]
    for process in processes:
        process.start()
    try:
        with pytest.raises(LostRank, match=rf"^rank 1 of .* \(process {processes[1].pid}\) {how}; "):
            ranks.watch(ProcessContext(processes, [str(tmp_path / str(i)) for i in range(2)]), beats, [0, 0])
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_a_rank_that_raises_says_what_and_ranks_that_end_well_say_nothing(tmp_path):
    forking = multiprocessing.get_context("fork")
    for target, args in ((raises, (str(tmp_path / "0"),)), (time.sleep, (0.1,))):
        process = forking.Process(target=target, args=args)
        process.start()
        watched = ProcessContext([process], [str(tmp_path / "0")])
        if target is raises:
            with pytest.raises(ProcessRaisedException, match="ValueError: no such thing"):
                ranks.watch(watched, [0], [0])
        else:
            ranks.watch(watched, [0], [0])


class Endless(pl.LightningModule):
    """A module whose second step comes to no end in the second rank."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def train_dataloader(self):
        return ticks(0, 2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def training_step(self, iteration, _):
        if (iteration, self.global_rank) == (1, 1):
            time.sleep(60)

    def on_train_batch_end(self, *_):
        gather_objects(None)


@pytest.mark.slow
def test_a_rank_that_comes_to_no_end_is_named_where_another_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "STEP_BEATS", 4)
    trainer = Hardware("cpu", 2, ExpertParallelStrategy())(logger=False, default_root_dir=tmp_path)
    said = r"^rank 1 of .* has been at one iteration for [4-9] s, while rank 0 waits for it; "
    with pytest.raises(LostRank, match=said):
        trainer.fit(Endless())


class AbortedLate(Endless):
    """A module whose ranks would abort while Python takes itself down, as busy destructors sometimes do."""

    def __init__(self, end):
        super().__init__()
        self.end = end

    def training_step(self, iteration, _):
        atexit.register(os.abort)
        if self.end is not None:
            raise self.end


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "error", "how"),
    [
        (None, None, ""),
        (SystemExit("interrupted"), LostRank, "ended with exit code 1; "),
        (SystemExit(3), LostRank, "ended with exit code 3; "),
        (ValueError("no such thing"), ProcessRaisedException, "ValueError: no such thing"),
    ],
    ids=["well", "interrupted", "exit code", "exception"],
)
def test_a_rank_ends_without_destructors_however_it_ends(tmp_path, end, error, how, capfd):
    trainer = Hardware("cpu", 2, ExpertParallelStrategy())(logger=False, default_root_dir=tmp_path)
    with contextlib.nullcontext() if error is None else pytest.raises(error, match=how):
        trainer.fit(AbortedLate(end))
    assert ("interrupted" in capfd.readouterr().err) == (str(end) == "interrupted")
